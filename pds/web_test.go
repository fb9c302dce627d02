package pds

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// visitor is a browser without script: it keeps cookies, follows redirects, and sends forms with the token of the page they are on.
type visitor struct {
	*network
	t      *testing.T
	client *http.Client
	header http.Header
	host   string  // the Host asked for, "" for that of the address
	page   *answer // the last one
	at     *url.URL
}

func (n *network) visitor(t *testing.T) *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	stay := func(req *http.Request, _ []*http.Request) error {
		if !strings.HasPrefix(req.URL.String(), n.url+"/") {
			return http.ErrUseLastResponse // it leads to an app
		}
		return nil
	}
	return &visitor{network: n, t: t, client: &http.Client{Jar: jar, CheckRedirect: stay}, header: http.Header{}}
}

func (v *visitor) do(verb, path string, form url.Values) *visitor {
	v.t.Helper()
	kind := ""
	if form != nil {
		kind = "application/x-www-form-urlencoded"
	}
	return v.ask(verb, path, kind, strings.NewReader(form.Encode()))
}

// ask sends a request with a body of a kind, "" if it says none.
func (v *visitor) ask(verb, path, kind string, content io.Reader) *visitor {
	v.t.Helper()
	req, err := http.NewRequestWithContext(v.t.Context(), verb, v.url+path, content)
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header, req.Host = v.header.Clone(), v.host
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := v.client.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	v.page = &answer{t: v.t, what: verb + " " + path, status: resp.StatusCode, header: resp.Header, body: body}
	v.at = resp.Request.URL
	return v
}

func (v *visitor) open(path string) *visitor { v.t.Helper(); return v.do(http.MethodGet, path, nil) }

// newInEachPage is what makes two pages differ that say the same: tokens against forged forms, and challenges for passkeys.
var newInEachPage = regexp.MustCompile(`name="(?:token|ask)" value="[^"]+"|data-passkey="[^"]+"`)

var tokenInPage = regexp.MustCompile(`name="token" value="([^"]+)"`)

// send sends a form of the page that is open. Fields come in pairs of name and value.
func (v *visitor) send(path string, fields ...string) *visitor {
	v.t.Helper()
	form := url.Values{}
	if m := tokenInPage.FindSubmatch(v.page.body); m != nil {
		form.Set("token", string(m[1]))
	}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return v.do(http.MethodPost, path, form)
}

// hidden is the value of a hidden field of the page.
func (v *visitor) hidden(name string) string {
	m := regexp.MustCompile(`name="` + name + `" value="([^"]*)"`).FindSubmatch(v.page.body)
	if m == nil {
		v.t.Fatalf("%s has no field %s:\n%s", v.page.what, name, v.page.body)
	}
	return string(m[1])
}

// shows expects a page of that status at that path with those texts.
func (v *visitor) shows(status int, path string, texts ...string) *visitor {
	v.t.Helper()
	if v.page.status != status || v.at.Path != path {
		v.t.Fatalf("%s led to %d %s, want %d %s\n%s", v.page.what, v.page.status, v.at, status, path, v.page.body)
	}
	for _, text := range texts {
		if !strings.Contains(string(v.page.body), text) {
			v.t.Errorf("%s does not say %q:\n%s", v.page.what, text, v.page.body)
		}
	}
	return v
}

func (v *visitor) signIn(name, password string, more ...string) *visitor {
	v.t.Helper()
	return v.open("/account/sign-in").send("/account/sign-in", append([]string{"identifier", name, "password", password}, more...)...)
}

func TestPagesSignInAndOut(t *testing.T) {
	n := startNetwork(t, nil)
	n.signUp(t, "alice")
	v := n.visitor(t)
	v.open("/account").shows(200, "/account/sign-in")
	if v.at.Query().Get("next") != "/account" {
		t.Errorf("the way back is lost: %s", v.at)
	}
	v.signIn("alice.test", "wrong password").shows(422, "/account/sign-in", "Handle or password is wrong", `role="alert"`)
	v.signIn("alice.test", "alice-password").shows(200, "/account", "alice.test", "alice@example.com")
	v.send("/account/sign-out", "did", v.hidden("did")).shows(200, "/account/sign-in", "You are signed out")
	v.open("/account").shows(200, "/account/sign-in")
}

func TestPagesRefuseForgedForms(t *testing.T) {
	n := startNetwork(t, nil)
	n.signUp(t, "alice")
	n.signUp(t, "bob")
	v := n.visitor(t)
	signedIn := v.signIn("alice.test", "alice-password").page
	for name, forge := range map[string]func(*visitor){
		"no token": func(v *visitor) { v.send("/account/sign-out", "token", "") },
		"another's token": func(v *visitor) {
			v.send("/account/sign-out", "token", n.visitor(t).open("/account/sign-in").hidden("token"))
		},
		"nonsense": func(v *visitor) { v.send("/account/sign-out", "token", strings.Repeat("A", 86)) },
		"from another site": func(v *visitor) {
			v.header.Set("Sec-Fetch-Site", "cross-site")
			v.send("/account/sign-out")
			v.header.Del("Sec-Fetch-Site")
		},
		"from a site below the same domain": func(v *visitor) {
			v.header.Set("Sec-Fetch-Site", "same-site")
			v.send("/account/sign-out")
			v.header.Del("Sec-Fetch-Site")
		},
		"from another origin": func(v *visitor) {
			v.header.Set("Origin", "https://evil.example")
			v.send("/account/sign-out")
			v.header.Del("Origin")
		},
	} {
		v.page = signedIn
		forge(v)
		if v.page.status != 403 || !strings.Contains(string(v.page.body), "Please send that again") {
			t.Errorf("%s: %d", name, v.page.status)
		}
		v.open("/account").shows(200, "/account", "alice.test")
	}
	other := n.visitor(t)
	other.client.Jar = nil
	other.page = signedIn
	other.send("/account/sign-in").shows(403, "/account/sign-in", "cookies")

	// A form of one account does not act for another to which the browser has switched since.
	v.page = signedIn
	v.signIn("bob.test", "bob-password").shows(200, "/account", "bob.test")
	v.page = signedIn
	v.send("/account/sign-out", "all", "on").shows(403, "/account/sign-out")
}

func TestPagesHaveSafeHeaders(t *testing.T) {
	n := startNetwork(t, nil)
	v := n.visitor(t)
	h := v.open("/account/sign-in").page.header
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Cross-Origin-Opener-Policy": "same-origin", "Cache-Control": "no-store", "Referrer-Policy": "same-origin",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	policy := h.Get("Content-Security-Policy")
	asked, public := strings.TrimPrefix(n.url, "http://"), strings.TrimPrefix(n.srv.cfg.PublicURL(), "http://")
	files := asked + "/assets/ " + public + "/assets/;" // what people upload stands at this origin, too, and is no script
	for _, part := range []string{"default-src 'none'", "script-src " + files, "style-src " + files, "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
		if !strings.Contains(policy, part) {
			t.Errorf("the policy has no %s: %s", part, policy)
		}
	}
	if strings.Contains(policy, "unsafe") {
		t.Error(policy)
	}
	for _, path := range []string{"/", "/account/sign-in"} {
		total := len(v.open(path).page.body)
		body := string(v.page.body)
		if strings.Contains(body, "<style") || strings.Contains(body, " style=") || regexp.MustCompile(`<script[^>]*>[^<]`).MatchString(body) || regexp.MustCompile(`\son[a-z]+=`).MatchString(body) {
			t.Errorf("%s has script or style in it", path)
		}
		for _, m := range regexp.MustCompile(`(?:href|src)="(/assets/[^"]+)"`).FindAllStringSubmatch(body, -1) {
			v.open(m[1])
			if v.page.status != 200 || !strings.Contains(v.page.header.Get("Cache-Control"), "immutable") {
				t.Errorf("%s: %d %s", m[1], v.page.status, v.page.header.Get("Cache-Control"))
			}
			total += len(v.page.body)
		}
		if total > 60<<10 {
			t.Errorf("%s ships %d bytes", path, total)
		}
	}
}

func TestPagesKeepStrangersAddressesOut(t *testing.T) {
	n := startNetwork(t, nil)
	n.signUp(t, "alice")
	for _, next := range []string{"https://evil.example/", "//evil.example", `/\evil.example`, "/\tevil", "javascript:alert(1)", "account"} {
		v := n.visitor(t)
		v.open("/account/sign-in").send("/account/sign-in", "identifier", "alice.test", "password", "alice-password", "next", next).shows(200, "/account")
	}
}

func TestPagesSpeakLanguages(t *testing.T) {
	n := startNetwork(t, nil)
	v := n.visitor(t)
	v.header.Set("Accept-Language", "fr")
	v.open("/account/sign-in").shows(200, "/account/sign-in", `lang="fr"`)
	v.open("/account/sign-in?ui_locales=ja").shows(200, "/account/sign-in", `lang="ja"`)
	v.open("/account/sign-in?lang=de").shows(200, "/account/sign-in", `lang="de"`)
	v.open("/?ui_locales=ja").shows(200, "/", `lang="de"`) // what was chosen by hand stays
}

func TestPagesSignUp(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.InviteRequired = true })
	code := n.anonymous(t).inviteCode()
	v := n.visitor(t)
	v.open("/account/sign-up/handle?handle=al").shows(200, "/account/sign-up/handle", `"good":false`)
	v.open("/account/sign-up/handle?handle=alice").shows(200, "/account/sign-up/handle", `"good":true`)
	v.open("/account/sign-up").send("/account/sign-up", "handle", "alice", "check", "on").shows(200, "/account/sign-up", "alice.test is available")
	fields := func(more ...string) []string {
		return append([]string{"handle", "alice", "email", "alice@example.com", "password", "alice-password", "invite", code}, more...)
	}
	v.send("/account/sign-up", fields("invite", "wrong")...).shows(422, "/account/sign-up", `id="invite-error"`, `value="alice@example.com"`)
	v.send("/account/sign-up", fields("password", "short")...).shows(422, "/account/sign-up", `id="password-error"`)
	v.send("/account/sign-up", fields("handle", "x")...).shows(422, "/account/sign-up", `id="handle-error"`)
	v.send("/account/sign-up", fields("email", "nobody")...).shows(422, "/account/sign-up", `id="email-error"`)
	v.send("/account/sign-up", fields()...).shows(200, "/account", "alice.test", "Your account is ready")
	n.anonymous(t).get("com.atproto.repo.describeRepo", "repo", "alice.test").ok()
	v.open("/account/sign-up/handle?handle=alice").shows(200, "/account/sign-up/handle", `"good":false`)
}

// inviteCode makes an invite code as the operator does.
func (c *client) inviteCode() string {
	c.t.Helper()
	req := c.jsonRequest("com.atproto.server.createInviteCode", map[string]any{"useCount": 5})
	req.SetBasicAuth("admin", "admin-pass")
	return c.send(req, "com.atproto.server.createInviteCode").ok().str("code")
}

func TestPagesResetPassword(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	alice := n.signUp(t, "alice")
	elsewhere := n.visitor(t).signIn("alice.test", "alice-password").shows(200, "/account")

	v := n.visitor(t)
	unknown := string(v.open("/account/reset").send("/account/reset", "email", "nobody@example.com").shows(200, "/account/reset/code", "If there is an account").page.body)
	v.open("/account/reset").send("/account/reset", "email", " Alice@Example.com ").shows(200, "/account/reset/code")
	strip := func(s string) string { return newInEachPage.ReplaceAllString(s, "") }
	if strip(unknown) != strip(string(v.page.body)) {
		t.Error("the page tells whether there is an account")
	}
	code := alice.mailed(inbox, "Password Reset Requested")
	v.send("/account/reset/code", "code", "AAAAA-AAAAA", "password", "new-password").shows(422, "/account/reset/code", `id="code-error"`)
	v.send("/account/reset/code", "code", code, "password", "short").shows(422, "/account/reset/code", `id="password-error"`)
	v.send("/account/reset/code", "code", strings.ToLower(code), "password", "new-password").shows(200, "/account/sign-in", "Your new password is set")
	v.signIn("alice.test", "alice-password").shows(422, "/account/sign-in")
	v.signIn("alice.test", "new-password").shows(200, "/account")
	elsewhere.open("/account").shows(200, "/account/sign-in")
}

func TestPagesTellNothingOfAccounts(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	app := alice.post("com.atproto.server.createAppPassword", map[string]any{"name": "app"}).ok().str("password")
	v := n.visitor(t)
	bodies := map[string]bool{}
	for _, name := range []string{"alice.test", "nobody.test", "alice@example.com", "nobody@example.com", "not a name"} {
		v.signIn(name, "wrong-password").shows(422, "/account/sign-in")
		body := newInEachPage.ReplaceAllString(string(v.page.body), "")
		bodies[strings.ReplaceAll(body, name, "")] = true
	}
	if len(bodies) != 1 {
		t.Errorf("there are %d different answers to a wrong sign-in", len(bodies))
	}
	v.signIn("alice.test", app).shows(422, "/account/sign-in", "app password")
	v.open("/account").shows(200, "/account/sign-in")
}

func TestPagesAskForTheSecondFactor(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	setup, _ := n.factor(t, FactorRequest{Account: alice.did, Action: FactorBegin})
	setup, _ = n.factor(t, FactorRequest{Account: alice.did, Action: FactorConfirm, Code: totpNow(t, setup.Secret)})
	v := n.visitor(t)
	v.signIn("alice.test", "alice-password", "remember", "on").shows(200, "/account/sign-in", "authenticator app")
	half := v.hidden("half")
	v.send("/account/sign-in/code", "half", half, "code", "000000").shows(422, "/account/sign-in/code", `id="code-error"`)
	v.send("/account/sign-in/code", "half", half, "code", "").shows(422, "/account/sign-in/code", "Enter the code")
	v.open("/account").shows(200, "/account/sign-in")

	thief := n.visitor(t).open("/account/sign-in")
	thief.send("/account/sign-in/code", "half", half, "code", setup.RecoveryCodes[1]).shows(200, "/account/sign-in", "took too long")

	v.send("/account/sign-in/code", "half", half, "remember", "on", "code", setup.RecoveryCodes[0]).shows(200, "/account", "alice.test")
}

func TestPagesAccountsOfABrowser(t *testing.T) {
	n := startNetwork(t, nil)
	alice, bob := n.signUp(t, "alice"), n.signUp(t, "bob")
	v := n.visitor(t)
	v.signIn("alice.test", "alice-password").signIn("bob.test", "bob-password").shows(200, "/account", "bob.test")
	v.open("/account/switch").shows(200, "/account/switch", "alice.test", "bob.test")
	v.send("/account/switch", "did", alice.did).shows(200, "/account", "alice@example.com")
	v.open("/account/switch").send("/account/switch", "did", "did:plc:nobody").shows(404, "/account/switch")
	v.open("/account/switch").send("/account/sign-out", "did", alice.did).shows(200, "/account/switch", "bob.test")
	if strings.Contains(string(v.page.body), "alice.test") {
		t.Error("alice is still there")
	}
	n.anonymous(t).moderate(repoSubject(bob.did), takedown(true, "mod-event-1")).ok()
	v.open("/account").shows(200, "/account/sign-in")
	v.signIn("bob.test", "bob-password").shows(403, "/account/sign-in", "closed")
}

func TestPagesLimitGuesses(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.RateLimitsEnabled = true })
	n.signUp(t, "alice")
	v := n.visitor(t).open("/account/sign-in")
	var wg sync.WaitGroup
	for range 30 {
		one := *v
		wg.Go(func() { one.send("/account/sign-in", "identifier", " @ALICE.test", "password", "") })
	}
	wg.Wait()
	n.signInWith(t, "alice.test", "alice-password", "").fails(429, "RateLimitExceeded") // apps are counted with it
	v.send("/account/sign-in", "identifier", "alice.test", "password", "alice-password").shows(429, "/account/sign-in", "Too many attempts")
	if v.page.header.Get("Retry-After") == "" {
		t.Error("the answer does not say when to come back")
	}
}

func TestPagesOnHTTPS(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.Hostname = "pds.example.com" })
	h := n.visitor(t).open("/account/sign-in").page.header
	cookie := h.Get("Set-Cookie")
	for _, part := range []string{"__Host-perch-browser=", "Path=/", "HttpOnly", "Secure", "SameSite=Lax"} {
		if !strings.Contains(cookie, part) {
			t.Errorf("the cookie is %s", cookie)
		}
	}
	if h.Get("Strict-Transport-Security") == "" {
		t.Error("browsers may come back over plain http")
	}
}

func TestPagesWearTheBrand(t *testing.T) {
	n := startNetwork(t, func(c *Config) {
		c.ServiceName, c.LogoURL, c.SupportURL = "Bird House <3", "https://cdn.example.com/logo.png", "https://example.com/help"
		c.PrimaryColor, c.BackgroundLightURL = "#ffcc00", `https://pictures.example.com/a.png?"),x`
	})
	v := n.visitor(t)
	v.open("/").shows(200, "/", "Bird House &lt;3", `src="https://cdn.example.com/logo.png"`, `href="https://example.com/help"`)
	if policy := v.page.header.Get("Content-Security-Policy"); !strings.Contains(policy, "img-src 'self' data: https://cdn.example.com https://pictures.example.com") {
		t.Error(policy)
	}
	style := regexp.MustCompile(`/assets/style[^"]+`).FindString(string(v.page.body))
	v.open(style).shows(200, style, "--accent:#ffcc00", "--on-accent:#000000", `url("https://pictures.example.com/a.png?%22),x")`)
}
