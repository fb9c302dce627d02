package pds

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// robots lets crawlers in: everything public here is public by design.
const robots = "# Crawling the public API is allowed\nUser-agent: *\nAllow: /\n"

func (s *Server) robots(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(robots))
}

// health answers /xrpc/_health: the version, and 503 when the database does not answer.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	out := map[string]string{"version": s.version()}
	status := http.StatusOK
	if err := s.store.Ping(r.Context()); err != nil {
		s.log.ErrorContext(r.Context(), "health check", "err", err)
		status, out["error"] = http.StatusServiceUnavailable, "Service Unavailable"
	}
	writeJSON(w, status, out)
}

// serverDocument writes the document of the server's own did:web.
func (s *Server) serverDocument(w http.ResponseWriter) {
	did := s.cfg.ServiceDID()
	writeJSON(w, http.StatusOK, map[string]any{
		"@context": []string{"https://www.w3.org/ns/did/v1"},
		"id":       did,
		"service": []map[string]string{{
			"id":              "#atproto_pds",
			"type":            "AtprotoPersonalDataServer",
			"serviceEndpoint": s.cfg.PublicURL(),
		}},
	})
}

// atprotoDID answers the HTTPS method of handle resolution for handles of this server, by the Host that was asked.
func (s *Server) atprotoDID(w http.ResponseWriter, r *http.Request) {
	handle, err := syntax.ParseHandle(hostAsked(r))
	if err == nil {
		if did, err := s.accountOfHandle(r.Context(), handle); err == nil {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = w.Write([]byte(did))
			return
		}
	}
	http.Error(w, "User not found", http.StatusNotFound)
}

// tlsCheck tells a TLS proxy whether to get a certificate for the domain that it names.
func (s *Server) tlsCheck(w http.ResponseWriter, r *http.Request) {
	if !s.servesHost(r.Context(), strings.ToLower(r.URL.Query().Get("domain"))) {
		writeJSON(w, http.StatusNotFound, map[string]string{"error": "InvalidRequest", "message": "No account of this server has that handle"})
		return
	}
	writeJSON(w, http.StatusOK, map[string]bool{"success": true})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, `{"error":"InternalServerError"}`, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}
