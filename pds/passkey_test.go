package pds

import (
	"encoding/json"
	"html"
	"regexp"
	"strings"
	"testing"

	"perch/pds/account"
	"perch/pds/passkey"
	"perch/pds/passkey/passkeytest"
	"perch/pds/store"
)

var questionInPage = regexp.MustCompile(`data-passkey="([^"]*)"`)

// question is what the page that is open asks an authenticator.
type question struct {
	Kind      string
	PublicKey struct {
		Challenge, RPID string
		RP, User        struct{ ID, Name string }
		Exclude         []struct{ ID string } `json:"excludeCredentials"`
		Allow           []struct{ ID string } `json:"allowCredentials"`
	}
}

func (v *visitor) question() (q question) {
	v.t.Helper()
	m := questionInPage.FindSubmatch(v.page.body)
	if m == nil {
		v.t.Fatalf("%s asks for no passkey:\n%s", v.page.what, v.page.body)
	}
	if err := json.Unmarshal([]byte(html.UnescapeString(string(m[1]))), &q); err != nil {
		v.t.Fatal(err)
	}
	return q
}

func (n *network) authenticator() *passkeytest.Authenticator {
	return passkeytest.New(n.srv.cfg.Hostname, n.srv.cfg.PublicURL())
}

// addPasskey signs in, goes to the page of passkeys and adds one.
func (v *visitor) addPasskey(a *passkeytest.Authenticator, name string) *passkeytest.Key {
	v.t.Helper()
	key := passkeytest.NewKey(passkey.ES256)
	v.open("/account/passkeys").shows(200, "/account/passkeys")
	q := v.question()
	v.send("/account/passkeys", "ask", v.hidden("ask"), "answer", a.Create(q.PublicKey.Challenge, q.PublicKey.User.ID, key), "name", name)
	v.shows(200, "/account/passkeys", html.EscapeString(name), "The passkey is added")
	return key
}

// answer sends what an authenticator says to the question of the page that is open.
func (v *visitor) answer(path string, a *passkeytest.Authenticator, key *passkeytest.Key, more ...string) *visitor {
	v.t.Helper()
	return v.send(path, append([]string{"ask", v.hidden("ask"), "answer", a.Get(v.question().PublicKey.Challenge, key)}, more...)...)
}

const (
	byPasskey      = "/account/sign-in/passkey"
	passkeyForCode = "/account/sign-in/code/passkey"
	confirmPasskey = "/account/confirm/passkey"
)

func TestPasskeySignsIn(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	alice := n.signUp(t, "alice")
	v, a := n.visitor(t), n.authenticator()
	v.signIn("alice.test", "alice-password")
	phone := v.addPasskey(a, "Phone")
	q := v.question()
	if q.Kind != "create" || q.PublicKey.RP.ID != n.srv.cfg.Hostname || len(q.PublicKey.Exclude) != 1 {
		t.Errorf("the next question: %+v", q)
	}
	if strings.Contains(string(phone.User), "did:") || len(phone.User) != 32 {
		t.Errorf("the user handle tells of the account: %q", phone.User)
	}
	second := v.addPasskey(a, "Blue <key>")
	if string(second.User) != string(phone.User) {
		t.Error("an account has two user handles")
	}

	fresh := n.visitor(t).open("/account/sign-in")
	if q := fresh.question(); q.Kind != "get" || q.PublicKey.RPID != n.srv.cfg.Hostname || len(q.PublicKey.Allow) != 0 {
		t.Errorf("the sign-in's question: %+v", q)
	}
	fresh.answer(byPasskey, a, phone, "next", "/account/passkeys").shows(200, "/account/passkeys", "Last used", "Blue &lt;key&gt;") // it counts as having confirmed, too

	fresh.open("/account/passkeys").send("/account/passkeys/rename", "passkey", fresh.hidden("passkey"), "name", "  Old   phone ").shows(200, "/account/passkeys", "Old phone")
	fresh.send("/account/passkeys/rename", "passkey", fresh.hidden("passkey"), "name", strings.Repeat("x", 65)).shows(422, "/account/passkeys/rename", "1 to 64 characters")
	fresh.open("/account/passkeys").send("/account/passkeys/remove", "passkey", fresh.hidden("passkey")).shows(200, "/account/passkeys", "The passkey is removed")
	gone := n.visitor(t).open("/account/sign-in")
	gone.answer(byPasskey, a, phone).shows(422, byPasskey, "does not work here")
	gone.answer(byPasskey, a, second).shows(200, "/account", "alice.test")

	for _, want := range []string{"added", "added", "removed"} {
		if m := inbox.Next(); m.To != "alice@example.com" || m.Header.Get("Subject") != "A passkey was "+want+" to your account" && m.Header.Get("Subject") != "A passkey was "+want+" from your account" {
			t.Errorf("mail to %s: %s, want %s", m.To, m.Header.Get("Subject"), want)
		}
	}
	// A thief who takes the account over with the mailbox, or has had it, keeps no passkey; the owner's phone that was stolen neither.
	code, err := n.srv.accounts.NewCode(t.Context(), n.accountOf(t, alice.did).ID, account.ForResetPassword, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.srv.accounts.ResetPassword(t.Context(), code.Text, "another password"); err != nil {
		t.Fatal(err)
	}
	n.visitor(t).open("/account/sign-in").answer(byPasskey, a, second).shows(422, byPasskey, "does not work here")
}

func TestPasskeyInPlaceOfCodeAndPassword(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	n.signUp(t, "bob")
	a := n.authenticator()
	va, vb := n.visitor(t), n.visitor(t)
	key := va.signIn("alice.test", "alice-password").addPasskey(a, "Phone")
	other := vb.signIn("bob.test", "bob-password").addPasskey(a, "Bob's")
	alice.withTOTP()
	v := n.visitor(t)
	v.signIn("alice.test", "alice-password").shows(200, "/account/sign-in", "Use a passkey")
	if q := v.question(); len(q.PublicKey.Allow) != 1 {
		t.Errorf("asks for %+v", q.PublicKey.Allow)
	}
	half := v.hidden("half")
	v.answer(passkeyForCode, a, other, "half", half).shows(422, passkeyForCode, "does not work here")
	v.answer(passkeyForCode, a, key, "half", v.hidden("half")).shows(200, "/account", "alice.test")
	v.open("/account/confirm?next=/account").answer(confirmPasskey, a, other).shows(422, confirmPasskey, "does not work here")
	v.answer(confirmPasskey, a, key, "next", "/account").shows(200, "/account", "alice.test")

	// A question of one page is of no use on another.
	fresh := n.visitor(t).open("/account/sign-in")
	ask, answer := fresh.hidden("ask"), a.Get(fresh.question().PublicKey.Challenge, key)
	fresh.signIn("alice.test", "alice-password")
	fresh.send(passkeyForCode, "half", fresh.hidden("half"), "ask", ask, "answer", answer).shows(422, passkeyForCode, "took too long")
	n.visitor(t).signIn("alice.test", "alice-password").shows(200, "/account/sign-in", "Confirm that it is you") // the password alone is not enough
}

func TestPasskeysOfThoseWhoCheat(t *testing.T) {
	n := startNetwork(t, nil)
	n.signUp(t, "alice")
	n.signUp(t, "bob")
	a := n.authenticator()
	key := n.visitor(t).signIn("alice.test", "alice-password").addPasskey(a, "Phone")
	v := n.visitor(t)
	v.open("/account/sign-in").answer(byPasskey, a, key).shows(200, "/account") // so that the counter is not zero
	v.send("/account/sign-out", "all", "on")
	const refused = "does not work here"
	for name, c := range map[string]struct {
		says  string
		cheat func(*passkeytest.Authenticator, *passkeytest.Key)
	}{
		"another origin":      {refused, func(a *passkeytest.Authenticator, _ *passkeytest.Key) { a.Origin = "https://evil.example" }},
		"another party":       {refused, func(a *passkeytest.Authenticator, _ *passkeytest.Key) { a.Party = "evil.example" }},
		"nobody verified":     {refused, func(a *passkeytest.Authenticator, _ *passkeytest.Key) { a.Flags = passkeytest.Present }},
		"a clone":             {"have been copied", func(_ *passkeytest.Authenticator, k *passkeytest.Key) { k.Count-- }},
		"another user handle": {refused, func(_ *passkeytest.Authenticator, k *passkeytest.Key) { k.User = []byte("bob") }},
		"no user handle":      {refused, func(_ *passkeytest.Authenticator, k *passkeytest.Key) { k.User = nil }},
		"unknown credential":  {refused, func(_ *passkeytest.Authenticator, k *passkeytest.Key) { k.ID = []byte("unknown") }},
	} {
		liar, lied := *a, *key
		c.cheat(&liar, &lied)
		v := n.visitor(t).open("/account/sign-in")
		v.answer(byPasskey, &liar, &lied)
		if v.page.status != 422 || !strings.Contains(string(v.page.body), c.says) {
			t.Errorf("%s: %d\n%s", name, v.page.status, v.page.body)
		}
		v.open("/account").shows(200, "/account/sign-in")
	}
	for _, nonsense := range []string{"", "{}", "null", strings.Repeat("[", 15000)} {
		v.open("/account/sign-in").send(byPasskey, "ask", v.hidden("ask"), "answer", nonsense).shows(422, byPasskey, refused)
		v.open("/account/sign-in").send(byPasskey, "ask", nonsense, "answer", a.Get(v.question().PublicKey.Challenge, key)).shows(422, byPasskey, "took too long")
	}

	// The same answer in another browser, then in this one, then once more.
	v.open("/account/sign-in")
	ask, challenge := v.hidden("ask"), v.question().PublicKey.Challenge
	answer := a.Get(challenge, key)
	n.visitor(t).open("/account/sign-in").send(byPasskey, "ask", ask, "answer", answer).shows(422, byPasskey, "took too long")
	v.send(byPasskey, "ask", ask, "answer", answer).shows(200, "/account", "alice.test")
	v.send("/account/sign-out", "all", "on").send(byPasskey, "ask", ask, "answer", a.Get(challenge, key)).shows(422, byPasskey, "took too long")
	v.open("/account").shows(200, "/account/sign-in")

	// A passkey of one account cannot become another's.
	bob := n.visitor(t).signIn("bob.test", "bob-password").open("/account/passkeys")
	q := bob.question()
	bob.send("/account/passkeys", "ask", bob.hidden("ask"), "answer", a.Create(q.PublicKey.Challenge, q.PublicKey.User.ID, key), "name", "mine").shows(422, "/account/passkeys", refused)
	bob.send("/account/passkeys/remove", "passkey", strings.Repeat("A", 43)).shows(200, "/account/passkeys")
}

func TestPasskeysHaveALimit(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	id, a := n.accountOf(t, alice.did).ID, n.authenticator()
	v := n.visitor(t).signIn("alice.test", "alice-password")
	v.addPasskey(a, "First")
	first, err := n.srv.accounts.Passkeys(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	v.open("/account/passkeys")
	q, ask := v.question(), v.hidden("ask")
	err = n.srv.store.Update(t.Context(), func(tx *store.Tx) error {
		for i := range account.MaxPasskeys - 1 {
			p := first[0]
			p.Credential = []byte{byte(i)}
			if err := tx.PutPasskey(t.Context(), p); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	v.send("/account/passkeys", "ask", ask, "answer", a.Create(q.PublicKey.Challenge, q.PublicKey.User.ID, passkeytest.NewKey(passkey.ES256))).shows(422, "/account/passkeys", "can have 20 passkeys")
	v.open("/account/passkeys").shows(200, "/account/passkeys", "You have 20 passkeys")
}
