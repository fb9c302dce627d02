package pds

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"perch/pds/account"
)

// longAgo is before what counts as a moment ago.
func longAgo() time.Time { return time.Now().Add(-11 * time.Minute) }

func (v *visitor) cookieNamed(name string) string {
	at, err := url.Parse(v.url)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, c := range v.client.Jar.Cookies(at) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

func TestFormGoesOnAfterThePassword(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	v := n.visitor(t).signIn("alice.test", "alice-password").open("/account/app-passwords")
	n.confirmedAt(t, alice, longAgo())
	v.send("/account/app-passwords", "do", "create", "name", "My <phone>", "privileged", "on").shows(200, "/account/app-passwords", "is kept")
	held := v.hidden("held")
	if text := string(v.page.body); strings.Contains(text, "phone") {
		t.Error("what waits can be read")
	}
	v.send("/account/confirm", "held", held, "password", "wrong").shows(422, "/account/confirm", "password is wrong")
	if list := alice.get("com.atproto.server.listAppPasswords").ok().at("passwords").([]any); len(list) > 0 {
		t.Fatalf("it went on without the password: %v", list)
	}
	v.send("/account/confirm", "held", v.hidden("held"), "password", "alice-password").shows(200, "/account/confirm", "My &lt;phone&gt;", `id="secret"`)
	if made := alice.get("com.atproto.server.listAppPasswords").ok(); made.str("passwords.0.name") != "My <phone>" || made.at("passwords.0.privileged") != true {
		t.Errorf("made: %v", made)
	}
}

func TestPasskeyGoesOnWithAForm(t *testing.T) {
	n, _ := startMailNetwork(t, nil)
	alice := n.signUp(t, "alice")
	v := n.visitor(t).signIn("alice.test", "alice-password")
	device := n.authenticator()
	key := v.addPasskey(device, "key")
	n.confirmedAt(t, alice, longAgo())
	v.open("/account").send("/account/passkeys/rename", "passkey", base64.RawURLEncoding.EncodeToString(key.ID), "name", "Pocket").shows(200, "/account/passkeys/rename")
	v.answer(confirmPasskey, device, key, "held", v.hidden("held"), "next", "/account").shows(200, "/account/passkeys", "Pocket")
}

// No secret waits in a page, not even sealed: the form comes back with all else filled in, and does nothing by itself.
func TestHeldFormHasNoSecrets(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	alice := n.signUp(t, "alice")
	v := n.visitor(t).signIn("alice.test", "alice-password").open("/account/close")
	v.send("/account/close", "do", "ask")
	code := nextCode(inbox)
	n.confirmedAt(t, alice, longAgo())
	v.send("/account/close", "do", "delete", "code", code, "password", "alice-password").shows(200, "/account/close")
	held, ok := n.srv.accounts.OpenHeldForm(v.hidden("held"), n.accountOf(t, alice.did).ID, v.cookieNamed("perch-browser"))
	if !ok || strings.Contains(held.Fields.Encode(), "alice-password") || held.Fields.Get("token") != "" {
		t.Errorf("held: %v %+v", ok, held)
	}
	v.send("/account/confirm", "held", v.hidden("held"), "password", "alice-password").shows(422, "/account/confirm", "Enter it again", code)
	if strings.Contains(string(v.page.body), "alice-password") {
		t.Error("the page shows the password")
	}
	v.send("/account/close", "do", "delete", "code", code, "password", "alice-password").shows(200, "/", "Example PDS")

	bob := n.signUp(t, "bob")
	v.signIn("bob.test", "bob-password").open("/account/security")
	n.confirmedAt(t, bob, longAgo())
	v.send("/account/security", "do", "password", "old-password", "bob-password", "new-password", "another password", "revoke", "on")
	v.send("/account/confirm", "held", v.hidden("held"), "password", "bob-password").shows(422, "/account/confirm", "Enter it again", `name="revoke" value="on" checked`)
	n.signInWith(t, "bob.test", "bob-password", "").ok()
}

// A held form is of use to nobody but who sent it.
func TestHeldFormOfAnother(t *testing.T) {
	n := startNetwork(t, nil)
	alice, bob := n.signUp(t, "alice"), n.signUp(t, "bob")
	v := n.visitor(t).signIn("alice.test", "alice-password")
	a, b := n.accountOf(t, alice.did).ID, n.accountOf(t, bob.did).ID
	form := account.HeldForm{Path: "/account/app-passwords", Fields: url.Values{"do": {"create"}, "name": {"phone"}}}
	mine := n.srv.accounts.HoldForm(form, a, v.cookieNamed("perch-browser"))
	for name, held := range map[string]string{
		"of another account": n.srv.accounts.HoldForm(form, b, v.cookieNamed("perch-browser")),
		"of another browser": n.srv.accounts.HoldForm(form, a, "elsewhere"),
		"of no browser":      n.srv.accounts.HoldForm(form, a, ""),
		"half":               n.srv.accounts.HalfSignIn(account.Login{Account: n.accountOf(t, alice.did)}, v.cookieNamed("perch-browser")),
		"changed":            mine[:len(mine)-4] + "AAAA",
	} {
		v.open("/account/confirm").send("/account/confirm", "held", held, "password", "alice-password", "next", "/account/data").shows(200, "/account/data")
		if list := alice.get("com.atproto.server.listAppPasswords").ok().at("passwords").([]any); len(list) > 0 {
			t.Fatalf("a form %s was sent: %v", name, list)
		}
	}
	n.confirmedAt(t, alice, longAgo())
	v.open("/account").send("/account/profile", "name", "x") // asks for no password
	v.open("/account/confirm").send("/account/app-passwords", "do", "create", "name", strings.Repeat("a", 30<<10)).shows(200, "/account/confirm")
	if regexp.MustCompile(`name="held"`).Match(v.page.body) {
		t.Error("a form of 30 KB is held")
	}
}
