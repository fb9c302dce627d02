package xrpc

import "net/http"

const (
	// corsMaxAge is how long browsers may keep a preflight answer, in seconds.
	corsMaxAge  = "86400"
	corsMethods = "GET,HEAD,PUT,PATCH,POST,DELETE"
	// corsExposed are the answer headers that scripts may read.
	corsExposed = "DPoP-Nonce, WWW-Authenticate, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, RateLimit-Policy, " +
		"Retry-After, X-Request-Id, atproto-repo-rev, atproto-content-labelers, Atproto-Upstream-Lag"
	// maxCORSHeaders is the longest list of request headers that a preflight repeats, in bytes.
	maxCORSHeaders = 4 << 10
)

var (
	corsOrigin = []string{"*"}
	corsExpose = []string{corsExposed}
)

// setCORS lets scripts of any origin read the answer. Credentials are never cookies here, so
// "*" gives nothing away.
func setCORS(h http.Header) {
	h["Access-Control-Allow-Origin"] = corsOrigin
	h["Access-Control-Expose-Headers"] = corsExpose
}

// preflight answers an OPTIONS request. The headers asked for are repeated, because "*" does not
// cover Authorization.
func preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", corsMethods)
	h.Set("Access-Control-Max-Age", corsMaxAge)
	if ask := r.Header.Get("Access-Control-Request-Headers"); ask != "" && len(ask) <= maxCORSHeaders {
		h.Set("Access-Control-Allow-Headers", ask)
		h.Add("Vary", "Access-Control-Request-Headers")
	}
	w.WriteHeader(http.StatusNoContent)
}
