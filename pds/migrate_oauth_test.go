package pds

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/oauthclient"
	"perch/pds/web"
)

// A host without OAuth is left with nothing done, and can be left by password. With it, testdata/peers/move does it.
func TestMigrateByOAuthNeedsAHostThatHasIt(t *testing.T) {
	m := startMoving(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/.well-known/oauth-") {
				http.NotFound(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	if _, err := m.ask(MigrateRequest{Action: MigrateOAuth}); err == nil || !strings.HasPrefix(err.Error(), "OAuthNotOffered:") {
		t.Errorf("%v", err)
	}
	if _, err := m.to.srv.store.Migration(t.Context(), syntax.DID(m.old.did)); err == nil {
		t.Error("a move is left behind")
	}
	for _, state := range []string{"", "x", "x.y", "x." + m.old.did} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, m.to.url+web.MoveCallbackPath+"?"+url.Values{"state": {state}, "code": {"c"}, "iss": {"i"}}.Encode(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if a := m.to.anonymous(t).send(req, "callback"); a.status != http.StatusNotFound {
			t.Errorf("state %q: %d %s", state, a.status, a.body)
		}
	}
	m.mustBegin()
	if _, err := m.ask(MigrateRequest{Action: MigrateStay}); err == nil || !strings.HasPrefix(err.Error(), "OtherState:") {
		t.Errorf("stay: %v", err)
	}
}

func TestClientMetadata(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.Hostname, c.DevMode = "pds.example.com", false })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.url+oauthclient.MetadataPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := n.anonymous(t).send(req, "metadata")
	var doc oauthclient.Metadata
	if err := json.Unmarshal(a.body, &doc); err != nil || a.status != http.StatusOK {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	if doc.ClientID != "https://pds.example.com/oauth-client-metadata.json" || doc.ClientURI != "https://pds.example.com" || !doc.DPoPBound ||
		len(doc.RedirectURIs) != 1 || !strings.HasPrefix(doc.RedirectURIs[0], "https://pds.example.com/") || !strings.HasPrefix(doc.Scope, "atproto ") {
		t.Errorf("%+v", doc)
	}
}
