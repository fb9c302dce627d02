package pds

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"perch/pds/oauth/oauthtest"
)

// firstRead is a body that does something when it is read for the first time: by then whoever sends it has been let in.
type firstRead struct {
	io.ReadCloser
	do func()
}

func (b *firstRead) Read(p []byte) (int, error) {
	if do := b.do; do != nil {
		b.do = nil
		do()
	}
	return b.ReadCloser.Read(p)
}

// TestWhoIsShutOutWhileTheBodyComes: a request that was begun before a session ended, and whose body comes after, does nothing: neither here nor at a service that it is passed on to.
func TestWhoIsShutOutWhileTheBodyComes(t *testing.T) {
	v := newAppView(t)
	var meanwhile func()
	services := func(c *Config) {
		c.AppViewURL, c.AppViewDID, c.ModServiceURL, c.ModServiceDID = v.url, v.did, v.url, v.did
	}
	n := startNetwork(t, services)
	v.net = n
	n.port, n.wrap = n.srv.cfg.Port, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if meanwhile != nil && r.Header.Get("X-Slow") != "" {
				r.Body = &firstRead{r.Body, meanwhile}
			}
			h.ServeHTTP(w, r)
		})
	}
	n.stop()
	n.start(services)
	alice := n.signUp(t, "alice")
	acct := n.accountOf(t, alice.did)
	ends := map[string]func(){
		"the app is sent away": func() {
			apps, err := n.srv.oauth.Sessions(t.Context(), acct.ID)
			if err != nil || len(apps) == 0 {
				t.Errorf("%d apps, %v", len(apps), err)
			}
			for _, app := range apps {
				if err := n.srv.oauth.EndSession(t.Context(), acct.ID, app.ID); err != nil {
					t.Error(err)
				}
			}
		},
		"the account is deactivated": func() {
			if err := n.srv.accounts.Deactivate(t.Context(), acct.ID, time.Time{}, nil); err != nil {
				t.Error(err)
			}
		},
	}
	requests := []struct{ method, kind, body string }{
		{"app.bsky.graph.muteActor", "application/json", `{"actor":"did:web:b.example.com"}`},
		{"app.bsky.notification.registerPush", "application/json", `{"serviceDid":"` + v.did + `","token":"a","platform":"ios","appId":"b"}`},
		{"com.atproto.moderation.createReport", "application/json",
			`{"reasonType":"com.atproto.moderation.defs#reasonSpam","subject":{"$type":"com.atproto.admin.defs#repoRef","did":"did:web:b.example.com"}}`},
		{"com.atproto.repo.uploadBlob", "text/plain", "some text"},
		{"com.example.one", "application/json", "1"},
	}
	for name, end := range ends {
		for _, r := range requests {
			if name != "the app is sent away" && r.method == "com.atproto.repo.uploadBlob" {
				continue // those who come back, or move here, upload while they are not active
			}
			for _, length := range []string{"", "unknown"} {
				if err := n.srv.accounts.Activate(t.Context(), acct.ID, nil); err != nil {
					t.Fatal(err)
				}
				meanwhile = nil
				app := alice.letIn("atproto transition:generic")
				app.Call(http.MethodGet, "/xrpc/com.atproto.server.getSession", "", "", oauthtest.Change{}).OK() // the nonce is known
				before := len(v.calls(r.method))
				send := func() oauthtest.Answer {
					return app.Call(http.MethodPost, "/xrpc/"+r.method, r.kind, r.body, oauthtest.Change{HTTP: http.Header{"X-Slow": {"1"}}, Chunked: length != ""})
				}
				if a := send(); a.Status != 200 {
					t.Fatalf("%s: %d %s", r.method, a.Status, a.Body)
				}
				passed := len(v.calls(r.method)) - before
				meanwhile = end
				if a := send(); a.Status != 401 {
					t.Errorf("%s, length %s, %s: %d %s", name, length, r.method, a.Status, a.Body)
				}
				if again := len(v.calls(r.method)) - before; again != passed {
					t.Errorf("%s, length %s, %s: it was passed on", name, length, r.method)
				}
			}
		}
	}
}

// TestBodiesArePassedOnWhole: holding the end back changes no byte.
func TestBodiesArePassedOnWhole(t *testing.T) {
	v, n := startAppView(t, nil)
	alice := n.signUp(t, "alice")
	app := alice.letIn("atproto transition:generic")
	for _, size := range []int{0, 1, 2, 32<<10 - 1, 32 << 10, 32<<10 + 1, 100_000} {
		for _, chunked := range []bool{false, true} {
			body := strings.Repeat("x", size)
			app.Call(http.MethodPost, "/xrpc/app.bsky.graph.muteActor", "application/json", body, oauthtest.Change{Chunked: chunked}).OK()
			if calls := v.calls("app.bsky.graph.muteActor"); calls[len(calls)-1].body != body {
				t.Errorf("of %d bytes came %d", size, len(calls[len(calls)-1].body))
			}
		}
	}
}
