package move

import (
	"errors"
	"net/http"
	"net/url"
	"testing"

	"perch/pds/oauthclient"
)

// A session at the reference is renewed as often as it takes, its tokens are good once, and it can be ended.
func TestOAuthSession(t *testing.T) {
	m := newWorld(t, "reference").join(t)
	c, err := oauthclient.New(http.DefaultClient, "http://localhost:1", "/back", "atproto account:email", true)
	must(t, err)
	whole := func(s *oauthclient.Session) int {
		t.Helper()
		for again := true; again; {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, m.old.origin()+"/xrpc/com.atproto.server.getSession?x=1", nil)
			must(t, err)
			must(t, c.Sign(req, s))
			resp, err := http.DefaultClient.Do(req)
			must(t, err)
			resp.Body.Close()
			if again = c.Observe(resp); !again {
				return resp.StatusCode
			}
		}
		return 0
	}
	server, err := c.Discover(t.Context(), m.old.origin())
	must(t, err)
	p, to, err := c.Begin(t.Context(), server, m.did, oauthclient.NewState(m.did))
	must(t, err)
	b := &browser{t: t, origin: m.old.origin(), cookies: map[string]string{}}
	back, err := url.Parse(b.signIn(to, m.did, "mover-password"))
	must(t, err)
	if _, err := c.Finish(t.Context(), p, url.Values{"state": {p.State}, "iss": {"https://evil.example.com"}, "code": {"x"}}, m.did); !errors.Is(err, oauthclient.ErrAnswer) {
		t.Errorf("another issuer: %v", err)
	}
	first, err := c.Finish(t.Context(), p, back.Query(), m.did)
	must(t, err)
	second, err := c.Renew(t.Context(), first, m.did)
	must(t, err)
	third, err := c.Renew(t.Context(), second, m.did)
	must(t, err)
	if got := whole(third); got != http.StatusOK {
		t.Errorf("a renewed session: %d", got)
	}
	if got := whole(first); got != http.StatusUnauthorized {
		t.Errorf("the first tokens: %d", got)
	}
	must(t, c.Revoke(t.Context(), third))
	if got := whole(third); got != http.StatusUnauthorized {
		t.Errorf("an ended session: %d", got)
	}
	if _, err := c.Renew(t.Context(), third, m.did); !errors.Is(err, oauthclient.ErrEnded) {
		t.Errorf("an ended session was renewed: %v", err)
	}
}
