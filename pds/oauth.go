package pds

import (
	"net/http"
	"time"

	"perch/identity"
	"perch/pds/oauth"
	"perch/pds/oauth/dpop"
	"perch/pds/seal"
	"perch/xrpc"
)

// oauthFetchTime is how long an app's host may take to give out its metadata.
const oauthFetchTime = 5 * time.Second

// buildOAuth makes the authorization server, and what checks the proofs that go with its tokens.
func (s *Server) buildOAuth(box *seal.Box, secrets *Secrets) {
	s.proofs = dpop.New(secrets.DPoPSecret, nil)
	s.oauth = oauth.New(oauth.Options{
		Store:       s.store,
		Issuer:      s.cfg.PublicURL(),
		TokenSecret: box.Derive("oauth tokens"),
		DPoP:        s.proofs,
		Client: identity.NewClient(identity.ClientOptions{
			AllowPrivate: s.cfg.AllowPrivate(),
			Timeout:      oauthFetchTime,
			MaxBody:      s.cfg.FetchMaxResponseSize,
			MaxRedirects: -1,
		}),
		TrustedClients: s.cfg.OAuthTrustedClients,
		Lexicon:        s.publishedLexicon,
		Logger:         s.log,
	})
}

// oauthEndpoints are what apps ask, from the scripts of any origin.
func (s *Server) oauthEndpoints() {
	for path, h := range s.oauth.Documents() {
		s.mux.PageFunc(http.MethodGet, path, h, xrpc.WithCORS(), xrpc.WithGlobalLimit())
	}
	points := map[string]int{oauth.PARPath: 100, oauth.TokenPath: 600, oauth.RevokePath: 100} // behind one address may be the server of an app
	for path, h := range s.oauth.Endpoints() {
		s.mux.PageFunc(http.MethodPost, path, h, xrpc.WithCORS(), xrpc.WithGlobalLimit(),
			xrpc.WithPageRateLimit(xrpc.RateLimit{Points: points[path], Window: 5 * time.Minute}))
	}
}
