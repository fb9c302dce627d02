package pds

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"perch/pds/store"
)

// openPages can be seen by people who are not signed in.
var openPages = []string{
	"/", "/account/sign-in", "/account/sign-in/code", "/account/sign-out", "/account/sign-up", "/account/sign-up/handle", "/account/reset", "/account/reset/code",
	"/oauth/authorize", "/oauth/authorize/reactivate", "/account/sign-in/passkey", "/perch/migrate/signed-in",
}

// openToAll tells whether people who are not signed in can see a page. Who moves an account here has none yet.
func openToAll(path string) bool {
	return slices.Contains(openPages, path) || path == "/move" || strings.HasPrefix(path, "/move/")
}

// sensitivePages ask for the password again. Whoever adds a page decides whether it stands here.
var sensitivePages = []string{
	"/account/handle", "/account/email", "/account/security", "/account/security/app", "/account/app-passwords", "/account/keys", "/account/close", "/account/data",
	"/account/data/zip", "/account/data/car", "/account/move/to", "/account/passkeys", "/account/passkeys/rename", "/account/passkeys/remove",
	factorPage, // where codes can be tried
}

// sensitiveForms ask for the password and the second factor on pages that everybody may see who is signed in.
var sensitiveForms = []string{"/account/move/progress", "/account/move/abandon"}

// routes are the pages with a fixed address, as "GET /path".
func (n *network) routes() (verbs, paths []string) {
	for _, p := range n.srv.web.Patterns() {
		verb, path, ok := strings.Cut(p, " ")
		if path = strings.TrimSuffix(path, "{$}"); ok && !strings.Contains(path, "{") {
			verbs, paths = append(verbs, verb), append(paths, path)
		}
	}
	return verbs, paths
}

func TestEveryFormIsRefusedWhenForged(t *testing.T) {
	n := startNetwork(t, nil)
	n.signUp(t, "alice")
	v := n.visitor(t).signIn("alice.test", "alice-password").shows(200, "/account")
	token := v.hidden("token")
	verbs, paths := n.routes()
	forms := 0
	for i, path := range paths {
		if verbs[i] != http.MethodPost {
			continue
		}
		forms++
		for name, c := range map[string]struct{ token, header, value string }{
			"no token":          {"", "", ""},
			"a wrong token":     {strings.Repeat("A", len(token)), "", ""},
			"another origin":    {token, "Origin", "https://evil.example"},
			"another site":      {token, "Sec-Fetch-Site", "cross-site"},
			"a site beside us":  {token, "Sec-Fetch-Site", "same-site"},
			"an origin of null": {token, "Origin", "null"},
		} {
			if c.header != "" {
				v.header.Set(c.header, c.value)
			}
			v.do(http.MethodPost, path, url.Values{"token": {c.token}})
			v.header.Del(c.header)
			if v.page.status != 403 || v.at.Path != path {
				t.Errorf("POST %s with %s: %d %s", path, name, v.page.status, v.at)
			}
		}
	}
	if forms < 20 {
		t.Errorf("only %d forms", forms)
	}
	v.open("/account").shows(200, "/account", "alice.test")
}

func TestEveryPageIsShutToStrangers(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.InviteRequired = true })
	v := n.visitor(t).open("/account/sign-in")
	token := v.hidden("token")
	verbs, paths := n.routes()
	for i, path := range paths {
		if openToAll(path) {
			continue
		}
		v.do(verbs[i], path, url.Values{"token": {token}})
		if v.page.status != 200 || v.at.Path != "/account/sign-in" {
			t.Errorf("%s %s: a stranger gets %d %s", verbs[i], path, v.page.status, v.at)
		}
	}
}

func TestSensitivePagesAskForThePassword(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	v := n.visitor(t).signIn("alice.test", "alice-password")
	token := v.hidden("token")
	n.confirmedAt(t, alice, time.Now().Add(-11*time.Minute))
	verbs, paths := n.routes()
	asked := 0
	for i, path := range paths {
		if openToAll(path) || path == "/account/confirm" {
			continue
		}
		v.do(verbs[i], path, url.Values{"token": {token}})
		want := slices.Contains(sensitivePages, path) || verbs[i] == http.MethodPost && slices.Contains(sensitiveForms, path)
		if want {
			asked++
		}
		if asks := v.at.Path == "/account/confirm"; asks != want {
			t.Errorf("%s %s leads to %s", verbs[i], path, v.at)
		}
	}
	if asked < 16 {
		t.Errorf("only %d ask", asked)
	}
	v.open("/account/data/zip").shows(200, "/account/confirm").send("/account/confirm", "password", "alice-password", "next", v.at.Query().Get("next"))
	v.shows(200, "/account/data")
}

// confirmedAt has the account's browsers have given the password at a time.
func (n *network) confirmedAt(t *testing.T, c *client, at time.Time) {
	t.Helper()
	acct := n.accountOf(t, c.did)
	_, rows, err := n.srv.store.AccountDevices(t.Context(), acct.ID)
	if err != nil || len(rows) == 0 {
		t.Fatal(err, len(rows))
	}
	err = n.srv.store.Update(t.Context(), func(tx *store.Tx) error {
		for _, row := range rows {
			row.ConfirmedAt = at
			if err := tx.PutDeviceAccount(t.Context(), row); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestEveryPageHasSafeHeadersAndIsSmall(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.InviteRequired = true })
	code := n.anonymous(t).inviteCode()
	v := n.visitor(t).open("/account/sign-up").send("/account/sign-up", "handle", "alice", "email", "alice@example.com", "password", "alice-password", "invite", code)
	v.shows(200, "/account")
	verbs, paths := n.routes()
	for i, path := range paths {
		if verbs[i] != http.MethodGet {
			continue
		}
		v.open(path)
		h := v.page.header
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Cache-Control": "no-store", "Referrer-Policy": "same-origin"} {
			if h.Get(name) != want {
				t.Errorf("GET %s: %s is %q", path, name, h.Get(name))
			}
		}
		policy := h.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("GET %s: %s", path, policy)
		}
		if len(v.page.body) > 25<<10 {
			t.Errorf("GET %s: %d bytes", path, len(v.page.body))
		}
		if v.page.status >= 500 {
			t.Errorf("GET %s: %d", path, v.page.status)
		}
	}
	v.open("/account/handle").send("/account/handle", "do", "nonsense").shows(400, "/account/handle")
}

// Who types a wrong address into a browser gets a page; programs get what they can read.
func TestPagesAreMissing(t *testing.T) {
	n := startNetwork(t, nil)
	v := n.visitor(t)
	v.open("/nowhere")
	if v.page.status != 404 || v.page.errorName() != "NotFound" {
		t.Errorf("%d %s", v.page.status, v.page.body)
	}
	v.header.Set("Accept", "text/html,application/xhtml+xml")
	v.open("/nowhere/at/all").shows(404, "/nowhere/at/all", "There is nothing here", "Go to the start page")
	if v.open("/oauth/par"); v.page.status != 405 || v.page.errorName() != "InvalidRequest" { // there is something, but not to be read
		t.Errorf("%d %s", v.page.status, v.page.body)
	}
	v.open("/xrpc/nowhere")
	if strings.Contains(string(v.page.body), "<html") {
		t.Errorf("a method's answer is a page: %s", v.page.body)
	}
	v.do(http.MethodPost, "/nowhere", url.Values{})
	if v.page.status != 404 || strings.Contains(string(v.page.body), "<html") {
		t.Errorf("%d %s", v.page.status, v.page.body)
	}
}
