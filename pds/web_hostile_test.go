package pds

import (
	"encoding/base64"
	"html"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"perch/pds/account"
	"perch/pds/passkey"
	"perch/pds/passkey/passkeytest"
	"perch/pds/store"
)

var assetsInPage = regexp.MustCompile(`(?:href|src)="(/assets/[^"]+)"`)

// What caches between server and browser may keep for everybody must hold nothing of one.
func TestFilesBringNoCookies(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	v := n.visitor(t).signIn("alice.test", "alice-password").shows(200, "/account")
	files := assetsInPage.FindAllSubmatch(v.page.body, -1)
	if len(files) < 3 {
		t.Fatalf("the page has %d files", len(files))
	}
	n.deviceOf(t, alice, func(d *store.Device) { d.RotatedAt = d.RotatedAt.Add(-time.Hour) }) // it is time for another cookie
	for _, f := range files {
		for _, query := range []string{"", "?lang=de"} {
			h := v.open(string(f[1]) + query).page.header
			if !strings.Contains(h.Get("Cache-Control"), "public") || h.Get("Set-Cookie") != "" || v.page.status != 200 {
				t.Errorf("%s: %d, %q may be kept and brings %q", f[1], v.page.status, h.Get("Cache-Control"), h.Get("Set-Cookie"))
			}
		}
	}
	if v.open("/account").page.header.Get("Set-Cookie") == "" {
		t.Error("the cookie was not renewed, so the test tests nothing")
	}
}

// deviceOf changes what is known of an account's browsers.
func (n *network) deviceOf(t *testing.T, c *client, change func(*store.Device)) {
	t.Helper()
	devices, _, err := n.srv.store.AccountDevices(t.Context(), n.accountOf(t, c.did).ID)
	if err != nil || len(devices) == 0 {
		t.Fatal(err, len(devices))
	}
	err = n.srv.store.Update(t.Context(), func(tx *store.Tx) error {
		for _, d := range devices {
			change(&d)
			if err := tx.PutDevice(t.Context(), d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAccountsGiveNoMoreTries(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.RateLimitsEnabled = true })
	alice := n.signUp(t, "alice")
	n.signUp(t, "bob")
	v := n.visitor(t).signIn("alice.test", "alice-password").signIn("bob.test", "bob-password")
	for i := range 15 {
		v.open("/account/reset").send("/account/reset", "email", string(rune('a'+i))+"@example.com").shows(200, "/account/reset/code")
	}
	v.open("/account/reset").send("/account/reset", "email", "z@example.com").shows(429, "/account/reset")
	v.open("/account/switch").send("/account/switch", "did", alice.did).shows(200, "/account")
	v.open("/account/reset").send("/account/reset", "email", "z@example.com").shows(429, "/account/reset")
}

// A passkey must not be added after a reset by a request that was let in before it.
func TestPasskeyOfBeforeAReset(t *testing.T) {
	n, _ := startMailNetwork(t, nil)
	alice := n.signUp(t, "alice")
	before := n.accountOf(t, alice.did)
	ask, err := n.srv.accounts.AskPasskey(t.Context(), account.NewPasskey, before, "browser")
	if err != nil {
		t.Fatal(err)
	}
	if err := n.srv.accounts.SetPassword(t.Context(), before.ID, "another password", true); err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString
	answer := n.authenticator().Create(text(ask.Challenge), text(ask.UserHandle), passkeytest.NewKey(passkey.ES256))
	err = n.srv.accounts.AddPasskey(t.Context(), before, ask.Sealed, "browser", answer, "thief's", pageHost{n.srv}.PasskeyAdded(t.Context()))
	if keys, _ := n.srv.accounts.Passkeys(t.Context(), before.ID); err == nil || len(keys) > 0 {
		t.Errorf("%v, and there are %d passkeys", err, len(keys))
	}
}

// Forms that browsers of today do not send, or only for somebody hostile.
func TestPagesRefuseOddForms(t *testing.T) {
	n := startNetwork(t, nil)
	n.signUp(t, "alice")
	v := n.visitor(t).signIn("alice.test", "alice-password").shows(200, "/account")
	token := v.hidden("token")
	field := "--x\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n" + token + "\r\n"
	for name, c := range map[string]struct {
		verb, path, kind, body string
		status                 int
	}{
		"too long":                  {"POST", "/account/profile", "application/x-www-form-urlencoded", "token=" + token + "&name=" + strings.Repeat("a", 70<<10), 413},
		"too long, and forged":      {"POST", "/account/profile", "application/x-www-form-urlencoded", strings.Repeat("a=b&", 70<<10), 413},
		"in parts":                  {"POST", "/account/devices", "multipart/form-data; boundary=x", field + "--x--\r\n", 403},
		"in very many parts":        {"POST", "/account/devices", "multipart/form-data; boundary=x", strings.Repeat(field, 10_000) + "--x--\r\n", 403},
		"parts without end":         {"POST", "/account/devices", "multipart/form-data; boundary=x", field, 403},
		"very many parts for files": {"POST", "/account/profile", "multipart/form-data; boundary=x", strings.Repeat(field, 10_000) + "--x--\r\n", 413},
		"files without end":         {"POST", "/account/profile", "multipart/form-data; boundary=x", field, 400},
		"as JSON":                   {"POST", "/account/profile", "application/json", `{"token":"` + token + `"}`, 403},
		"no UTF-8":                  {"POST", "/account/profile", "application/x-www-form-urlencoded", "token=" + token + "&name=%ff%fe", 400},
		"half an escape":            {"POST", "/account/profile", "application/x-www-form-urlencoded", "token=" + token + "&name=%f", 400},
		"the token in the address":  {"POST", "/account/profile?token=" + token, "application/x-www-form-urlencoded", "name=x", 403},
		"a verb of its own":         {"PUT", "/account/profile", "application/x-www-form-urlencoded", "token=" + token, 405},
		"a form that gets":          {"GET", "/account/sign-out", "application/x-www-form-urlencoded", "token=" + token + "&all=yes", 404},
		"a look at a form":          {"HEAD", "/account/switch?did=x", "", "", 200},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.verb, n.url+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		if c.kind != "" {
			req.Header.Set("Content-Type", c.kind)
		}
		res, err := v.client.Do(req)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode != c.status {
			t.Errorf("%s: %d, want %d", name, res.StatusCode, c.status)
		}
	}
	v.open("/account").shows(200, "/account", "alice.test")
}

// Handle, DID and address share one number of guesses, and using it up tells nobody that they belong together.
func TestSpellingsShareTheirGuesses(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.RateLimitsEnabled = true })
	alice := n.signUp(t, "alice")
	signIn := func(name, password string) *answer { return n.signInWith(t, name, password, "") }
	for range 40 { // right passwords are no guesses
		signIn("alice.test", "alice-password")
	}
	var wg sync.WaitGroup
	for range 10 {
		for _, name := range []string{"ALICE@example.com ", alice.did, "no@example.com"} {
			wg.Go(func() { signIn(name, "wrong-password").fails(401, "AuthenticationRequired") })
		}
	}
	for range 10 {
		wg.Go(func() {
			n.anonymous(t).post("com.atproto.server.deleteAccount", map[string]any{"did": alice.did, "password": "wrong-password", "token": "x"}).fails(401, "AuthenticationRequired")
		})
	}
	wg.Wait()
	a, b := signIn("alice@example.com", "alice-password"), signIn("no@example.com", "alice-password")
	a.fails(401, "AuthenticationRequired")
	for _, h := range []string{"Ratelimit-Limit", "Ratelimit-Remaining", "Ratelimit-Policy", "Retry-After"} {
		if a.header.Get(h) != b.header.Get(h) {
			t.Errorf("%s tells them apart: %s and %s", h, a.header.Get(h), b.header.Get(h))
		}
	}
	n.visitor(t).signIn("alice@example.com", "alice-password").shows(422, "/account/sign-in", "Handle or password is wrong")
	away := n.visitor(t)
	away.header.Set("X-Forwarded-For", "203.0.113.7")
	away.signIn("alice@example.com", "alice-password").shows(200, "/account", "alice.test")
}

// Who signs up learns that an address is taken, but strangers get no list together, and nobody learns it without an invite code where one is needed.
func TestTakenAddressesAreToldRarely(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.RateLimitsEnabled = true })
	alice := n.signUp(t, "alice")
	v := n.visitor(t).open("/account/sign-up")
	page := func() *visitor {
		return v.open("/account/sign-up").send("/account/sign-up", "handle", "mallory", "email", "ALICE@example.com", "password", "mallory-password")
	}
	method := func(email string) *answer {
		return n.anonymous(t).post("com.atproto.server.createAccount", map[string]any{"handle": "mallory.test", "email": email, "password": "mallory-password"})
	}
	for range takenAddresses / 2 {
		page().shows(422, "/account/sign-up", "cannot be used")
		method("alice@example.com").fails(400, "InvalidRequest")
	}
	page().shows(429, "/account/sign-up", "Too many attempts")
	method("alice@example.com").fails(429, "RateLimitExceeded")
	method("free@example.com").fails(429, "RateLimitExceeded") // as one that is taken
	alice.post("com.atproto.server.updateEmail", map[string]any{"email": "free@example.com"}).fails(429, "RateLimitExceeded")
	v.header.Set("X-Forwarded-For", "203.0.113.7")
	page().shows(422, "/account/sign-up", "cannot be used")
}

func TestTakenAddressesNeedAnInvite(t *testing.T) {
	n := startNetwork(t, nil)
	n.signUp(t, "alice")
	n.stop()
	n.start(func(c *Config) { c.InviteRequired = true })
	answers := map[string]bool{}
	for _, email := range []string{"alice@example.com", "free@example.com"} {
		for _, code := range []string{"", "localhost-abcde-fghij"} {
			a := n.anonymous(t).post("com.atproto.server.createAccount", map[string]any{"handle": "mallory.test", "email": email, "password": "mallory-password", "inviteCode": code})
			a.fails(400, "InvalidInviteCode")
			answers[code+string(a.body)] = true
		}
	}
	if len(answers) != 2 {
		t.Errorf("the answers differ: %v", answers)
	}
}

// The page sets an app up where there is none. One that is in force ends by a code of it, whoever has begun another; and what was begun before a reset is nobody's.
func TestAppInForceIsNotReplaced(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	v := n.visitor(t).signIn("alice.test", "alice-password")
	v.open("/account/security").send("/account/security", "do", "app").shows(200, "/account/security/app")
	if err := n.srv.accounts.SetPassword(t.Context(), n.accountOf(t, alice.did).ID, "alice-password", false); err != nil {
		t.Fatal(err)
	}
	v.signIn("alice.test", "alice-password").open("/account/security/app").shows(200, "/account/security")

	v.send("/account/security", "do", "app")
	code := totpNow(t, v.textOf("secret"))
	v.send("/account/security/app", "do", "confirm", "code", code[:3]+" "+code[3:]).shows(200, "/account/security/app", "recovery codes") // as apps show it
	other, _ := n.factor(t, FactorRequest{Account: alice.did, Action: FactorBegin})
	v.send("/account/security/app", "do", "confirm", "code", totpNow(t, other.Secret)).shows(200, "/account/security")
	n.signInWith(t, "alice.test", "alice-password", totpNow(t, other.Secret)).fails(400, "InvalidToken")
}

var linksInPage = regexp.MustCompile(`(?:href|src|action)="([^"]*)"`)

// A link to a page of ours that does not exist must not become a page full of links to somebody else's.
func TestWrongAddressesLeadNowhereElse(t *testing.T) {
	n := startNetwork(t, nil)
	v := n.visitor(t)
	v.header.Set("Accept", "text/html")
	for _, path := range []string{"/%2fevil.example/x", "/%2F%2fevil.example", "/%5cevil.example", "/%2f%5cevil.example", "/javascript:alert(1)", "/%09/evil.example", "//evil.example/x"} {
		v.open(path)
		if v.page.status != 404 {
			t.Fatalf("%s: %d", path, v.page.status)
		}
		for _, m := range linksInPage.FindAllSubmatch(v.page.body, -1) {
			to, err := v.at.Parse(html.UnescapeString(string(m[1])))
			if err != nil || "http://"+to.Host != n.url || !strings.HasPrefix(to.EscapedPath(), "/") || strings.HasPrefix(to.EscapedPath(), "//") { // browsers take many slashes for two
				t.Errorf("%s has a link to %s", path, m[1])
			}
		}
	}
}

// The pages trust scripts of their own origin. Whatever else that origin answers is never taken for one, however much of it a stranger has written.
func TestNothingIsTakenForWhatItIsNot(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	v := n.visitor(t)
	for _, path := range []string{
		"/", "/nothing", "/xrpc/_health", "/xrpc/com.example.unknown", "/xrpc/com.atproto.repo.getRecord", "/xrpc/com.atproto.sync.getRepo?did=" + alice.did,
		"/xrpc/com.atproto.repo.listRecords?collection=app.bsky.feed.post&repo=" + alice.did, "/xrpc/com.atproto.sync.getBlob?did=" + alice.did + "&cid=x", "/.well-known/atproto-did",
		"/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource", "/oauth/jwks", "/oauth/token", "/robots.txt", "/tls-check?domain=x", "/oauth/authorize",
	} {
		if got := v.open(path).page.header.Get("X-Content-Type-Options"); got != "nosniff" {
			t.Errorf("%s: %d, %q", path, v.page.status, got)
		}
	}
}
