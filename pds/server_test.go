package pds

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

func signIn(c *client, identifier, password string) *answer {
	c.t.Helper()
	return c.post("com.atproto.server.createSession", map[string]any{"identifier": identifier, "password": password})
}

func TestSignInByEveryName(t *testing.T) {
	c := startNetwork(t, nil).signUp(t, "alice")
	anyone := c.anonymous(t)
	for _, id := range []string{"alice.test", "ALICE.test", "alice@example.com", c.did} {
		if out := signIn(anyone, id, "alice-password").ok(); out.str("did") != c.did || out.at("active") != true {
			t.Errorf("%s: %v", id, out)
		}
	}
	signIn(anyone, "alice.test", "wrong").fails(401, "AuthenticationRequired")
	signIn(anyone, "nobody.test", "alice-password").fails(401, "AuthenticationRequired")
	signIn(anyone, strings.Repeat("x", 600), "alice-password").fails(401, "AuthenticationRequired")
}

// Other spellings of a name must not give as many guesses again.
func TestGuessesCountForAllSpellings(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.RateLimitsEnabled = true })
	anyone := n.anonymous(t)
	spellings := []string{"nobody.test", "NoBody.Test", " nobody.test", "nobody.test\n", "@nobody.test", " @NOBODY.TEST "}
	body := func(i int) map[string]any { // a password too long to be looked at costs no hash
		return map[string]any{"identifier": spellings[i%len(spellings)], "password": strings.Repeat("x", 600)}
	}
	const allowed = 30
	var wg sync.WaitGroup
	for i := range allowed {
		wg.Go(func() { anyone.post("com.atproto.server.createSession", body(i)).fails(401, "AuthenticationRequired") })
	}
	wg.Wait()
	for i := range spellings {
		anyone.post("com.atproto.server.createSession", body(i)).fails(429, "RateLimitExceeded")
	}
}

// Neither must other doors at which a password can be tried, nor other addresses of one household.
func TestGuessesCountForAllDoors(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.RateLimitsEnabled = true })
	const did = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
	doors := []func() *answer{
		func() *answer { return signIn(n.anonymous(t), did, strings.Repeat("x", 600)) },
		func() *answer {
			return n.anonymous(t).post(deleteNSID, map[string]any{"did": did, "password": strings.Repeat("x", 600), "token": "AAAAA-AAAAA"})
		},
	}
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() { doors[i%len(doors)]().fails(401, "AuthenticationRequired") })
	}
	wg.Wait()
	for _, door := range doors {
		door().fails(429, "RateLimitExceeded")
	}
	v := n.visitor(t).open("/account/sign-in")
	v.send("/account/sign-in", "identifier", did, "password", "xxxxxxxx").shows(429, "/account/sign-in", "Too many attempts")
}

func TestTokensAreNotInterchangeable(t *testing.T) {
	c := startNetwork(t, nil).signUp(t, "alice")
	access, refresh := c.token, c.fresh
	c.token = refresh
	c.get("com.atproto.server.getSession").fails(400, "InvalidToken")
	c.token = access
	c.post("com.atproto.server.refreshSession", nil).fails(400, "InvalidToken")
	c.token = c.get("com.atproto.server.getServiceAuth", "aud", c.srv.serviceDID.String(), "lxm", "com.atproto.repo.uploadBlob").ok().str("token")
	c.get("com.atproto.server.getSession").fails(400, "InvalidToken")
	c.upload("image/png", png("by service token"))
	c.token = "nonsense"
	c.get("com.atproto.server.getSession").fails(400, "InvalidToken")
}

func TestRefreshAndSignOut(t *testing.T) {
	c := startNetwork(t, nil).signUp(t, "alice")
	first := c.fresh
	c.token = first
	a := c.post("com.atproto.server.refreshSession", nil).ok()
	b := c.post("com.atproto.server.refreshSession", nil).ok() // the answer was lost: the old token works on
	if a.str("did") != c.did || b.str("refreshJwt") == "" {
		t.Fatalf("refresh: %v %v", a, b)
	}
	c.token = b.str("accessJwt")
	c.get("com.atproto.server.getSession").ok()
	c.token = b.str("refreshJwt")
	c.post("com.atproto.server.deleteSession", nil).ok()
	c.post("com.atproto.server.refreshSession", nil).fails(400, "ExpiredToken")
	c.token = first
	c.post("com.atproto.server.refreshSession", nil).fails(400, "ExpiredToken")
}

func TestAppPasswordsHaveFewerRights(t *testing.T) {
	c := startNetwork(t, nil).signUp(t, "alice")
	secret := c.post("com.atproto.server.createAppPassword", map[string]any{"name": "phone"}).ok().str("password")
	c.post("com.atproto.server.createAppPassword", map[string]any{"name": "phone"}).fails(400, "InvalidRequest")
	app := c.anonymous(t)
	app.did = c.did
	app.token = signIn(app, c.handle, secret).ok().str("accessJwt")
	app.createPost("from the phone")
	app.post("com.atproto.server.createAppPassword", map[string]any{"name": "x"}).fails(400, "InvalidToken")
	app.get("com.atproto.server.listAppPasswords").fails(400, "InvalidToken")
	app.get("com.atproto.server.getServiceAuth", "aud", "did:web:api.bsky.chat", "lxm", "chat.bsky.convo.getLog").fails(400, "InvalidToken")
	app.get("com.atproto.server.getServiceAuth", "aud", "did:web:api.bsky.app", "lxm", "app.bsky.feed.getTimeline").ok()
	c.post("com.atproto.server.revokeAppPassword", map[string]any{"name": ""}).ok()
	c.get("com.atproto.server.getSession").ok()
	app.get("com.atproto.server.getSession").ok()
	c.post("com.atproto.server.revokeAppPassword", map[string]any{"name": "phone"}).ok()
	app.get("com.atproto.server.getSession").fails(400, "ExpiredToken")
}

func TestSignUpRefusals(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.InviteRequired = true })
	anyone := n.anonymous(t)
	admin := func(method string, input any) *answer {
		return n.anonymous(t).admin(method, input)
	}
	good := func() map[string]any {
		return map[string]any{"handle": "carol.test", "email": "carol@example.com", "password": "carol-password"}
	}
	in := good()
	anyone.post(createAccountNSID, in).fails(400, "InvalidInviteCode")
	code := admin("com.atproto.server.createInviteCode", map[string]any{"useCount": 1}).ok().str("code")
	for _, bad := range []struct{ key, value, name string }{
		{"handle", "carol.example.net", "UnsupportedDomain"},
		{"handle", "a.test", "InvalidHandle"},
		{"handle", "not a handle", "InvalidRequest"},
		{"handle", "admin.test", "HandleNotAvailable"},
		{"handle", "too.deep.test", "InvalidHandle"},
		{"email", "not-an-address", "InvalidRequest"},
		{"password", "short", "InvalidPassword"},
		{"inviteCode", "localhost-aaaaa-aaaaa", "InvalidInviteCode"},
		{"recoveryKey", "did:key:nonsense", "InvalidRequest"},
	} {
		in := good()
		in["inviteCode"] = code
		in[bad.key] = bad.value
		anyone.post(createAccountNSID, in).fails(400, bad.name)
	}
	in["inviteCode"] = code
	in["recoveryKey"] = "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme"
	out := anyone.post(createAccountNSID, in).ok()
	anyone.post(createAccountNSID, in).fails(400, "InvalidInviteCode")
	data, err := n.srv.plc.Data(t.Context(), syntax.DID(out.str("did")))
	if err != nil || len(data.RotationKeys) != 2 || data.RotationKeys[0] != in["recoveryKey"] {
		t.Errorf("rotation keys %v (%v): the owner's comes first", data.RotationKeys, err)
	}
	second := good()
	second["inviteCode"] = admin("com.atproto.server.createInviteCode", map[string]any{"useCount": 5}).ok().str("code")
	anyone.post(createAccountNSID, second).fails(400, "InvalidRequest") // handle taken
	second["handle"] = "caroline.test"
	anyone.post(createAccountNSID, second).fails(400, "InvalidRequest") // e-mail taken
}

// admin calls a procedure with the admin password.
func (c *client) admin(method string, input any) *answer {
	c.t.Helper()
	c.network.t.Helper()
	req := c.jsonRequest(method, input)
	req.SetBasicAuth("admin", "admin-pass")
	return c.send(req, method)
}

func TestAdminPassword(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	in := map[string]any{"useCount": 1}
	c.post("com.atproto.server.createInviteCode", in).fails(401, "AuthenticationRequired")
	req := c.jsonRequest("com.atproto.server.createInviteCode", in)
	req.SetBasicAuth("admin", "wrong")
	c.send(req, "com.atproto.server.createInviteCode").fails(401, "AuthenticationRequired")
	codes := c.admin("com.atproto.server.createInviteCodes", map[string]any{"codeCount": 2, "useCount": 1, "forAccounts": []string{c.did}}).ok()
	if got := c.get("com.atproto.server.getAccountInviteCodes").ok(); len(got.at("codes").([]any)) != 2 {
		t.Errorf("made %v, account has %v", codes, got)
	}
}

func TestServiceAuthRefusals(t *testing.T) {
	c := startNetwork(t, nil).signUp(t, "alice")
	c.get("com.atproto.server.getServiceAuth", "aud", "nonsense").fails(400, "InvalidRequest")
	c.get("com.atproto.server.getServiceAuth", "aud", "did:web:x.example.com#a#b").fails(400, "InvalidRequest")
	c.get("com.atproto.server.getServiceAuth", "aud", "did:web:x.example.com", "lxm", "com.atproto.server.activateAccount").fails(400, "InvalidToken")
	c.get("com.atproto.server.getServiceAuth", "aud", "did:web:x.example.com", "lxm", "com.atproto.Server.ActivateAccount").fails(400, "InvalidToken")
	c.get("com.atproto.server.getServiceAuth", "aud", "did:web:x.example.com", "exp", "1").fails(400, "BadExpiration")
	c.get("com.atproto.server.getServiceAuth", "aud", "did:web:x.example.com", "exp", "99999999999").fails(400, "BadExpiration")
}

func TestPreferences(t *testing.T) {
	c := startNetwork(t, nil).signUp(t, "alice")
	prefs := []any{map[string]any{"$type": "app.bsky.actor.defs#adultContentPref", "enabled": true}}
	c.post("app.bsky.actor.putPreferences", map[string]any{"preferences": prefs}).ok()
	if got := c.get("app.bsky.actor.getPreferences").ok(); got.at("preferences.0.enabled") != true {
		t.Errorf("preferences %v", got)
	}
	c.post("app.bsky.actor.putPreferences", map[string]any{"preferences": []any{map[string]any{"$type": "com.example.pref"}}}).fails(400, "InvalidRequest")
}

func TestPages(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	page := func(path, host string) (int, string) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, n.url+path, nil)
		if host != "" {
			req.Host = host
		}
		a := c.anonymous(t).send(req, path)
		return a.status, string(a.body)
	}
	for path, want := range map[string]string{
		"/": "AT Protocol", "/robots.txt": "Allow: /", "/xrpc/_health": `"version"`, "/.well-known/did.json": "AtprotoPersonalDataServer",
	} {
		if status, body := page(path, ""); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, body := page("/.well-known/atproto-did", "alice.test"); status != 200 || body != c.did {
		t.Errorf("atproto-did of alice: %d %q", status, body)
	}
	for domain, want := range map[string]int{"localhost": 200, "alice.test": 200, "nobody.test": 404, "": 404, "evil.example.com": 404} {
		if status, _ := page("/tls-check?domain="+domain, ""); status != want {
			t.Errorf("tls-check of %q: %d, want %d", domain, status, want)
		}
	}
	if status, _ := page("/.well-known/atproto-did", "nobody.test"); status != 404 {
		t.Errorf("atproto-did of nobody: %d", status)
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	first := c.createPost("before")
	if err := n.srv.Close(); err != nil {
		t.Fatal(err)
	}
	n.start(nil)
	second := c.createPost("after") // with the old token
	if second.str("commit.rev") <= first.str("commit.rev") {
		t.Error("rev did not rise over the restart")
	}
	list := c.get("com.atproto.repo.listRecords", "repo", c.did, "collection", postCollection).ok()
	if len(list.at("records").([]any)) != 2 {
		t.Errorf("records after the restart: %v", list)
	}
}
