package web

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"

	"perch/pds/account"
	"perch/pds/oauth"
)

const authorizePath = "/oauth/authorize"

// flow is the way of an app's request through the pages: opened by the app, perhaps a sign-in or sign-up, the question, and back to the app.
type flow struct {
	Request *oauth.Request
	// App is what the pages call the app: its name if the operator trusts it, or else the host that answers for it.
	App  string
	Logo string // of trusted apps only
	// Hint is the only account that may be chosen, as the app wrote it; "" for any.
	Hint string
}

// openFlow finds the request that a client_id and a request_uri stand for. The first browser that opens it keeps it.
func (r *request) openFlow(clientID, requestURI string) (*flow, error) {
	if r.site.opts.OAuth == nil {
		return nil, problem(http.StatusNotFound, "missing")
	}
	req, err := r.site.opts.OAuth.Open(r.Context(), clientID, requestURI, r.browserID())
	if err != nil {
		return nil, err
	}
	f := &flow{Request: req, App: appName(req.Client), Hint: req.LoginHint}
	if req.Client.Trusted {
		f.Logo = req.Client.LogoURI
		if origin := originOf(f.Logo); origin != "" {
			r.images = append(r.images, origin)
		}
	}
	r.flow = f
	r.formTargets = append(r.formTargets, formTarget(req.RedirectURI))
	if r.cookie(languageCookie) == "" && r.URL.Query().Get("lang") == "" && len(req.UILocales) > 0 {
		r.words = matchLanguage(req.UILocales, r.Header)
	}
	return f, nil
}

// resumeFlow finds the request that waits for a sign-in or sign-up: the page to go on to is its. One that has ended is told of there.
func (r *request) resumeFlow() {
	if r.flow != nil || r.site.opts.OAuth == nil {
		return
	}
	path, query, _ := strings.Cut(localPath(r.FormValue("next")), "?")
	values, err := url.ParseQuery(query)
	if path != authorizePath || err != nil {
		return
	}
	_, _ = r.openFlow(values.Get("client_id"), values.Get("request_uri"))
}

// browserID names this browser to the authorization server. It opens nothing.
func (r *request) browserID() string {
	r.needBrowser()
	sum := sha256.Sum256([]byte("oauth\x00" + r.browser))
	return hex.EncodeToString(sum[:16])
}

// appName is what an app is called: only what somebody answers for.
func appName(c oauth.Client) string {
	if c.Trusted && c.Name != "" {
		return isolate(c.Name)
	}
	if u, err := url.Parse(c.ID); err == nil && u.Host != "" {
		return u.Host
	}
	return c.ID
}

func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || !plainHost(u.Host) {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// plainHost tells whether a host can stand in a Content-Security-Policy. URLs permit more, as a semicolon, with which a directive would end.
func plainHost(host string) bool {
	return host != "" && !strings.ContainsFunc(host, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune(".-_:", c))
	})
}

// formTarget is what form-action must permit for a redirect URI: its scheme. The app may lead the browser on from there, to any of its sites, and Chromium holds those
// redirects against form-action, too. http: permits https: as well.
func formTarget(redirectURI string) string {
	u, err := url.Parse(redirectURI)
	if err != nil || u.Scheme == "" {
		return "'none'"
	}
	return u.Scheme + ":"
}

// address is the page of the request, with more parameters in pairs.
func (f *flow) address(more ...string) string {
	query := url.Values{"client_id": {f.Request.ClientID}, "request_uri": {f.Request.URI}}
	for i := 0; i+1 < len(more); i += 2 {
		query.Set(more[i], more[i+1])
	}
	return authorizePath + "?" + query.Encode()
}

// chosenIn adds to the page of a request which account was just signed in.
func chosenIn(next, did string) string {
	path, query, _ := strings.Cut(next, "?")
	values, err := url.ParseQuery(query)
	if path != authorizePath || err != nil {
		return next
	}
	values.Set("account", did)
	return path + "?" + values.Encode()
}

// Choose is the page on which an account of this browser goes on.
func (f *flow) Choose(a account.SignedIn) string {
	return f.address("account", string(a.Account.DID))
}

// Another is the page on which another account goes on.
func (f *flow) Another() string { return f.signIn("") }

// Inactive is the page on which a deactivated account goes on as it is.
func (f *flow) Inactive(a *account.SignedIn) string {
	return f.address("account", string(a.Account.DID), "inactive", "yes")
}

// signIn is the page on which somebody signs in to this request.
func (f *flow) signIn(identifier string) string {
	to := withNext("/account/sign-in", f.address())
	if identifier != "" {
		to += "&" + url.Values{"identifier": {identifier}}.Encode()
	}
	return to
}
