package move

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// browser is somebody before the sign-in page of the reference: it sends what a real one would.
type browser struct {
	t       *testing.T
	origin  string // of the reference
	page    string // that is shown
	cookies map[string]string
}

func (b *browser) do(verb, target string, headers map[string]string, body any) (*http.Response, []byte) {
	b.t.Helper()
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		must(b.t, err)
		sent = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(b.t.Context(), verb, target, sent)
	must(b.t, err)
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	for name, value := range b.cookies {
		req.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	must(b.t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	must(b.t, err)
	for _, c := range resp.Cookies() {
		b.cookies[c.Name] = c.Value
	}
	return resp, answer
}

func (b *browser) open(target string) {
	b.t.Helper()
	resp, body := b.do(http.MethodGet, target, map[string]string{"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, nil)
	if resp.StatusCode != http.StatusOK {
		b.t.Fatalf("%s: %s: %s", target, resp.Status, body)
	}
	b.page = target
}

// press sends what a button of the page does.
func (b *browser) press(name, token string, in map[string]any) map[string]any {
	b.t.Helper()
	headers := map[string]string{
		"Content-Type": "application/json", "Origin": b.origin, "Referer": b.page, "X-Csrf-Token": b.cookies["csrf-token"],
		"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "same-origin", "Sec-Fetch-Dest": "empty",
	}
	if token != "" {
		headers["Authorization"] = "Bearer " + token
	}
	resp, body := b.do(http.MethodPost, b.origin+"/@atproto/oauth-provider/~api/"+name, headers, in)
	var out map[string]any
	if err := json.Unmarshal(body, &out); err != nil || resp.StatusCode != http.StatusOK {
		b.t.Fatalf("%s: %s: %s", name, resp.Status, body)
	}
	return out
}

// signIn signs in, agrees, and returns where the reference sends the browser back to.
func (b *browser) signIn(target, did, password string) string {
	b.t.Helper()
	b.open(target)
	in := b.press("sign-in", "", map[string]any{"locale": "en", "username": did, "password": password, "remember": false})
	token, _ := in["ephemeralToken"].(string)
	return b.leave(b.press("consent", token, map[string]any{"did": did}))
}

// leave follows the page's own address to the one of the client.
func (b *browser) leave(out map[string]any) string {
	b.t.Helper()
	own, _ := out["url"].(string)
	resp, body := b.do(http.MethodGet, own, map[string]string{
		"Referer": b.page, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document",
	}, nil)
	back := resp.Header.Get("Location")
	if back == "" {
		b.t.Fatalf("%s: %s: %s", own, resp.Status, body)
	}
	return back
}

// must asks and wants no refusal.
func (m *mover) must(action string, more map[string]any) map[string]any {
	m.t.Helper()
	st, err := m.ask(action, more)
	must(m.t, err)
	return st
}

func (m *mover) untilNeeds(what string) map[string]any {
	m.t.Helper()
	var st map[string]any
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if st = m.must("show", nil); st["needs"] == what {
			return st
		}
	}
	m.t.Fatalf("waited in vain for %s: %v", what, st)
	return nil
}

// away begins a sign-in by browser.
func (m *mover) away() string {
	m.t.Helper()
	out, err := (&caller{t: m.t, origin: m.here.origin()}).try("/perch/migrate", map[string]any{"account": m.did, "action": "oauth"})
	must(m.t, err)
	to, _ := out["url"].(string)
	if !strings.HasPrefix(to, m.old.origin()+"/oauth/authorize?") {
		m.t.Fatalf("sent to %q", to)
	}
	return to
}

// The account's owner signs in at the reference in a browser; Perch never sees the password.
func TestMoveByOAuth(t *testing.T) {
	m := newWorld(t, "reference").join(t)
	b := &browser{t: t, origin: m.old.origin(), cookies: map[string]string{}}
	get := func(target string, want int) {
		t.Helper()
		resp, body := b.do(http.MethodGet, target, nil, nil)
		if to, err := resp.Location(); err == nil { // where the code is not in the address any more
			resp, body = b.do(http.MethodGet, to.String(), nil, nil)
		}
		if resp.StatusCode != want {
			t.Fatalf("%s: %s, want %d: %s", target, resp.Status, want, body)
		}
	}
	with := func(target, name, value string) string {
		u, err := url.Parse(target)
		must(t, err)
		q := u.Query()
		q.Set(name, value)
		u.RawQuery = q.Encode()
		return u.String()
	}
	// Somebody says no; another is led to the wrong server.
	b.open(m.away())
	get(b.leave(b.press("reject", "", map[string]any{})), http.StatusBadRequest)
	if st := m.untilNeeds("consent"); !strings.Contains(st["error"].(string), "access_denied") {
		t.Errorf("after a no: %v", st)
	}
	get(with(b.signIn(m.away(), m.did, "mover-password"), "iss", "https://evil.example.com"), http.StatusBadRequest)
	// The right answer, which no wrong one before disturbs, counts once.
	back := b.signIn(m.away(), m.did, "mover-password")
	get(with(back, "state", "x."+m.did), http.StatusNotFound)
	get(with(back, "state", ""), http.StatusNotFound)
	get(back, http.StatusOK)
	get(back, http.StatusNotFound)
	m.untilNeeds("account")
	if _, err := m.ask("begin", map[string]any{"newPassword": "short"}); !isRefusal(err) {
		t.Fatalf("a short password: %v", err)
	}
	m.must("begin", map[string]any{"newPassword": "here-password"}) // and nobody has to sign in again
	m.untilNeeds("code")
	m.lead(func() { t.Fatal("the server has gone") })
	m.check()
}

// The operator of the reference signs with its rotation key, and nobody is mailed a code.
func TestMoveByRotationKey(t *testing.T) {
	m := newWorld(t, "reference").join(t)
	m.must("begin", map[string]any{"password": "mover-password", "newPassword": "here-password", "rotationKey": m.old.rotation})
	m.untilNeeds("key")
	m.must("code", map[string]any{"rotationKey": m.old.rotation})
	m.lead(func() { t.Fatal("the server has gone") })
	m.check()
	if code := m.mail.Code(m.name+"@example.com", 0); code != "" {
		t.Error("a code was mailed all the same")
	}
}
