package pds

import (
	"errors"
	"html/template"
	"net/http"

	"perch/identity"
	"perch/pds/migrate"
	"perch/pds/oauthclient"
	"perch/pds/store"
)

// migrateCallbackPath is where browsers come back from the old host.
const migrateCallbackPath = "/perch/migrate/signed-in"

// newOAuthClient makes this server a client of others, for moves to here.
func (s *Server) newOAuthClient() (*oauthclient.Client, error) {
	guarded := identity.NewClient(identity.ClientOptions{AllowPrivate: s.cfg.AllowPrivate(), AnyPort: true, MaxRedirects: -1})
	return oauthclient.New(guarded, s.cfg.PublicURL(), migrateCallbackPath, migrate.Scope(s.serviceDID), s.cfg.AllowPrivate())
}

func (s *Server) clientMetadata(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.oauthClient.Metadata(s.cfg.DisplayName(), s.cfg.PublicURL()))
}

var signedInPage = template.Must(template.New("signed in").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}}</title>
<style>
  :root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
  body { max-width: 36rem; margin: 12vh auto; padding: 0 1rem }
</style>
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
</html>
`))

// migrateCallback takes a browser back that has signed in at the old host of an account that moves here.
func (s *Server) migrateCallback(w http.ResponseWriter, r *http.Request) {
	if s.movePageCallback(w, r) {
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer") // the address has the code in it
	h.Set("Cache-Control", "no-store")
	did, err := s.migrations.Returned(r.Context(), r.URL.Query())
	status, title, text := http.StatusOK, "Signed in", "The move of your account goes on where it was begun. You may close this page."
	switch {
	case errors.Is(err, store.ErrNotFound):
		status, title, text = http.StatusNotFound, "Nothing waits for this", "No move of an account waits for this sign-in. It may have been used already: begin it again."
	case errors.Is(err, oauthclient.ErrRefused), errors.Is(err, oauthclient.ErrAnswer):
		status, title, text = http.StatusBadRequest, "Not signed in", err.Error()
	case err != nil:
		status, title, text = http.StatusBadGateway, "Not signed in", "The old server does not answer as it should. Begin the sign-in again."
		s.log.WarnContext(r.Context(), "sign in at the old host", "did", did, "err", err)
	}
	w.WriteHeader(status)
	if err := signedInPage.Execute(w, map[string]any{"Title": title, "Text": text}); err != nil {
		s.log.WarnContext(r.Context(), "write page", "err", err)
	}
}
