package pds

import (
	"net/http"

	"perch/identity"
	"perch/pds/migrate"
	"perch/pds/oauthclient"
	"perch/pds/web"
)

// newOAuthClient makes this server a client of others, for moves to here.
func (s *Server) newOAuthClient() (*oauthclient.Client, error) {
	guarded := identity.NewClient(identity.ClientOptions{AllowPrivate: s.cfg.AllowPrivate(), AnyPort: true, MaxRedirects: -1})
	return oauthclient.New(guarded, s.cfg.PublicURL(), web.MoveCallbackPath, migrate.Scope(s.serviceDID), s.cfg.AllowPrivate())
}

func (s *Server) clientMetadata(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.oauthClient.Metadata(s.cfg.DisplayName(), s.cfg.PublicURL()))
}
