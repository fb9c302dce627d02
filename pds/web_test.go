package pds

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// visitor is a browser without script: it keeps cookies, follows redirects, and sends forms with the token of the page they are on.
type visitor struct {
	*network
	t      *testing.T
	client *http.Client
	header http.Header
	page   *answer // the last one
	at     *url.URL
}

func (n *network) visitor(t *testing.T) *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{network: n, t: t, client: &http.Client{Jar: jar}, header: http.Header{}}
}

func (v *visitor) do(verb, path string, form url.Values) *visitor {
	v.t.Helper()
	req, err := http.NewRequestWithContext(v.t.Context(), verb, v.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header = v.header.Clone()
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
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
	for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
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
