package pds

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"perch/pds/account"
	"perch/pds/passkey/passkeytest"
	"perch/pds/store"
)

// mailFactor gives an account codes by e-mail as its second factor.
func (c *client) mailFactor() {
	c.t.Helper()
	acct := c.account()
	err := c.srv.store.Update(c.t.Context(), func(tx *store.Tx) error { return tx.SetEmail(c.t.Context(), acct.ID, acct.Email, time.Now()) })
	if err == nil {
		err = c.srv.accounts.SetEmailFactor(c.t.Context(), acct.ID, true)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// signedInBefore is a browser in which an account was signed in before it was given a second factor.
func (n *network) signedInBefore(t *testing.T, c *client, name string, give func()) *visitor {
	t.Helper()
	v := n.visitor(t).signIn(c.handle, name+"-password").shows(200, "/account")
	give()
	return v
}

// Whatever asks for the password again asks for the second factor, too, of every account that has one; and for nothing more of those that have none.
func TestSensitivePagesAskForTheSecondFactor(t *testing.T) {
	n := startNetwork(t, nil)
	a := n.authenticator()
	for name, give := range map[string]func(*client){
		"has-app":     func(c *client) { c.withTOTP() },
		"has-mail":    (*client).mailFactor,
		"has-key":     func(c *client) { n.visitor(t).signIn(c.handle, "has-key-password").addPasskey(a, "Phone") },
		"has-nothing": func(*client) {},
	} {
		c := n.signUp(t, name)
		v := n.signedInBefore(t, c, name, func() { give(c) })
		token := v.hidden("token")
		verbs, paths := n.routes()
		for i, path := range paths {
			if openToAll(path) || path == "/account/confirm" || path == factorPage {
				continue
			}
			want := slices.Contains(sensitivePages, path) || verbs[i] == http.MethodPost && slices.Contains(sensitiveForms, path)
			v.do(verbs[i], path, url.Values{"token": {token}})
			if asks := v.at.Path == factorPage; asks != (want && name != "has-nothing") {
				t.Errorf("with %s, %s %s leads to %s", name, verbs[i], path, v.at)
			}
		}
	}
}

// thiefsDeeds are what somebody would do who sits at a browser that is signed in and knows the password.
var thiefsDeeds = []struct {
	path   string
	fields []string
}{
	{"/account/email", []string{"do", "ask"}},
	{"/account/email", []string{"do", "change", "email", "thief@example.com"}},
	{"/account/security", []string{"do", "password", "old-password", "alice-password", "new-password", "thiefs-password", "revoke", "on"}},
	{"/account/security", []string{"do", "app"}},
	{"/account/security", []string{"do", "renew", "factor-code", ""}},
	{"/account/security", []string{"do", "remove", "factor-code", ""}},
	{"/account/security", []string{"do", "mail-on"}},
	{"/account/security", []string{"do", "mail-ask"}},
	{"/account/security/app", []string{"do", "confirm", "code", "000000"}},
	{"/account/passkeys", []string{"ask", "x", "answer", "{}"}},
	{"/account/passkeys/rename", []string{"passkey", "x", "name", "y"}},
	{"/account/passkeys/remove", []string{"passkey", "x"}},
	{"/account/app-passwords", []string{"do", "create", "name", "thief"}},
	{"/account/app-passwords", []string{"do", "revoke", "name", "mine"}},
	{"/account/handle", []string{"do", "service", "label", "thief", "domain", ".test"}},
	{"/account/keys", []string{"do", "ask", "what", "create"}},
	{"/account/keys", []string{"do", "finish", "what", "create", "code", "AAAAA-AAAAA"}},
	{"/account/close", []string{"do", "deactivate"}},
	{"/account/close", []string{"do", "ask"}},
	{"/account/close", []string{"do", "delete", "password", "alice-password", "code", "AAAAA-AAAAA"}},
	{"/account/move/to", []string{"to", "https://thief.example", "keep", "yes", "email", "thief@example.com", "password", "thiefs-password"}},
	{"/account/move/progress", []string{"do", "confirm", "code", "AAAAA-AAAAA"}},
	{"/account/move/abandon", []string{"sure", "yes"}},
}

// settled is all of an account that a thief must not change, nor have done.
func (c *client) settled() string {
	t := c.t
	t.Helper()
	acct := c.account()
	f, err := c.srv.accounts.Factors(t.Context(), acct.ID)
	if err != nil {
		t.Fatal(err)
	}
	apps, err := c.srv.accounts.AppPasswords(t.Context(), acct.ID)
	if err != nil {
		t.Fatal(err)
	}
	mails, err := c.srv.store.Mails(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%+v %+v %d app passwords, %d mails", *acct, f, len(apps), len(mails))
}

func TestThiefWithThePasswordAlone(t *testing.T) {
	n := startNetwork(t, nil)
	alice, a := n.signUp(t, "alice"), n.authenticator()
	n.signUp(t, "bob")
	alice.post("com.atproto.server.createAppPassword", map[string]any{"name": "mine"}).ok()
	others := n.visitor(t).signIn("bob.test", "bob-password").addPasskey(a, "Bob's")
	var mine *passkeytest.Key
	thief := n.signedInBefore(t, alice, "alice", func() {
		mine = n.visitor(t).signIn("alice.test", "alice-password").addPasskey(a, "Phone")
	})
	tries := func() {
		t.Helper()
		before := alice.settled()
		for _, deed := range thiefsDeeds {
			thief.open("/account").send(deed.path, deed.fields...).shows(200, deed.path, "Confirm with your second factor")
			held := thief.hidden("held")
			// The password again is no second factor, and what is held does not go on with it, nor without the token.
			thief.send("/account/confirm", "held", held, "password", "alice-password").shows(200, "/account/confirm", "Confirm with your second factor")
			thief.do(http.MethodPost, factorPage, url.Values{"held": {held}, "code": {"000000"}}).shows(403, factorPage)
		}
		if after := alice.settled(); after != before {
			t.Errorf("%s\nbecame\n%s", before, after)
		}
	}
	tries()
	thief.open(factorPage).answer(confirmPasskey, a, others, "next", "/account/email").shows(422, confirmPasskey, "does not work here")
	thief.open(factorPage).send(factorPage, "code", "", "next", "/account/email").shows(200, factorPage)
	thief.open(factorPage).send(factorPage, "code", "000000", "next", "/account/email").shows(200, factorPage)
	thief.open("/account/email").shows(200, factorPage)

	// Who reads the mail has no passkey and no app by that: codes by mail are taken of nobody who has one of those.
	alice.mailFactor()
	code, err := n.srv.accounts.NewCode(t.Context(), alice.account().ID, account.ForSignIn, nil)
	if err != nil {
		t.Fatal(err)
	}
	thief.open(factorPage).send(factorPage, "code", code.Text, "next", "/account/email").shows(200, factorPage)
	thief.open("/account/email").shows(200, factorPage).saysNot("sent a code")
	tries()

	// A new browser that has shown such a code to sign in has shown no more than that.
	if code, err = n.srv.accounts.NewCode(t.Context(), alice.account().ID, account.ForSignIn, nil); err != nil {
		t.Fatal(err)
	}
	reader := n.visitor(t).signIn("alice.test", "alice-password")
	reader.send("/account/sign-in/code", "half", reader.hidden("half"), "code", code.Text).shows(200, "/account")
	reader.open("/account/passkeys").shows(200, factorPage)

	alice.withTOTP()
	tries()
	thief.open("/account/security").shows(200, factorPage).answer(confirmPasskey, a, mine, "next", "/account/security").shows(200, "/account/security")
}

// The factor is asked for after the password: who has only the browser neither guesses codes, nor locks the owner out by guessing, nor has mails sent.
func TestFactorComesAfterThePassword(t *testing.T) {
	n := startNetwork(t, nil)
	for name, give := range map[string]func(*client){"has-app": func(c *client) { c.withTOTP() }, "has-mail": (*client).mailFactor} {
		c := n.signUp(t, name)
		v := n.signedInBefore(t, c, name, func() { give(c) })
		n.confirmedAt(t, c, longAgo())
		before := c.settled()
		for range 7 {
			v.open("/account/email").shows(200, "/account/confirm")
			v.open(factorPage).shows(200, "/account/confirm")
			v.send(factorPage, "code", "000000").shows(200, factorPage, "Enter your password")
		}
		if after := c.settled(); after != before {
			t.Errorf("%s\nbecame\n%s", before, after)
		}
		f, err := n.srv.store.SecondFactor(t.Context(), c.account().ID)
		if err != nil || f.Failures+f.MailFailures > 0 {
			t.Errorf("%+v, %v", f, err)
		}
	}
}

func TestFormGoesOnAfterTheFactor(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	var recovery []string
	v := n.signedInBefore(t, alice, "alice", func() { recovery = alice.withTOTP() })
	v.open("/account").send("/account/app-passwords", "do", "create", "name", "My <phone>").shows(200, "/account/app-passwords", "is kept", "Confirm with your second factor")
	if strings.Contains(string(v.page.body), "phone") {
		t.Error("what waits can be read")
	}
	v.send(factorPage, "held", v.hidden("held"), "code", "").shows(422, factorPage, `id="code-error"`)
	v.send(factorPage, "held", v.hidden("held"), "code", "AAAAAAAA-AAAAAAAA").shows(422, factorPage, `id="code-error"`)
	v.send(factorPage, "held", v.hidden("held"), "code", recovery[0]).shows(200, factorPage, "My &lt;phone&gt;", `id="secret"`)

	// Both are asked for, one after the other, when both were given long ago. Secrets are not kept on the way.
	again := func() {
		n.confirmedAt(t, alice, longAgo())
		alice.factorShown(longAgo())
	}
	again()
	v.open("/account").send("/account/app-passwords", "do", "create", "name", "second").shows(200, "/account/app-passwords", "Enter your password")
	v.send("/account/confirm", "held", v.hidden("held"), "password", "alice-password").shows(200, "/account/confirm", "Confirm with your second factor")
	v.send(factorPage, "held", v.hidden("held"), "code", recovery[1]).shows(200, factorPage, "second", `id="secret"`)
	again()
	v.open("/account").send("/account/security", "do", "password", "old-password", "alice-password", "new-password", "another password", "revoke", "on")
	v.send("/account/confirm", "held", v.hidden("held"), "password", "alice-password").shows(200, "/account/confirm", "Confirm with your second factor")
	v.send(factorPage, "held", v.hidden("held"), "code", recovery[2]).shows(422, factorPage, "Enter it again", `name="revoke" value="on" checked`)
	if regexp.MustCompile("alice-password|another password").Match(v.page.body) {
		t.Error("the page shows a password")
	}
	v.send("/account/security", "do", "password", "old-password", "alice-password", "new-password", "another password").shows(200, "/account/security", "is changed")
	v.open("/account/email").shows(200, "/account/email") // it is the same browser with the new password
	v.open("/account/data/zip").shows(200, "/account/data/zip")
	alice.factorShown(longAgo())
	v.open("/account/data/zip").shows(200, factorPage).send(factorPage, "code", recovery[3], "next", v.at.Query().Get("next")).shows(200, "/account/data")
	v.open(factorPage+"?next=/account/email").shows(200, "/account/email") // nobody is asked for nothing
}

// What opens a page does not open it again.
func TestFactorCodeIsGoodOnce(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	secret, recovery := n.totp(t, "alice.test")
	code := totpNow(t, secret) // it has confirmed the app
	v := n.visitor(t).signIn("alice.test", "alice-password")
	v.send("/account/sign-in/code", "half", v.hidden("half"), "code", recovery[0].(string)).shows(200, "/account")
	v.open("/account/email").shows(200, "/account/email") // who has just shown it is not asked
	alice.factorShown(longAgo())
	v.open("/account/email").shows(200, factorPage)
	for _, used := range []string{code, recovery[0].(string)} {
		v.send(factorPage, "code", used, "next", "/account/email").shows(422, factorPage, "was used before")
	}
	v.send(factorPage, "code", recovery[1].(string), "next", "/account/email").shows(200, "/account/email")
	alice.factorShown(longAgo())
	v.open("/account/email").send(factorPage, "code", recovery[1].(string), "next", "/account/email").shows(422, factorPage)
}

func TestFactorGuessesAreBounded(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.RateLimitsEnabled = true })
	alice := n.signUp(t, "alice")
	v := n.visitor(t).signIn("alice.test", "alice-password").shows(200, "/account")
	secret, _ := n.totp(t, "alice.test")
	v.open("/account/email").shows(200, factorPage)
	for range 5 {
		v.send(factorPage, "code", "000000").shows(422, factorPage)
	}
	if err := n.srv.store.Update(t.Context(), func(tx *store.Tx) error { // the code of now was not used
		f, err := tx.SecondFactor(t.Context(), alice.account().ID)
		if err != nil {
			return err
		}
		f.TOTPStep = 0
		return tx.PutSecondFactor(t.Context(), f)
	}); err != nil {
		t.Fatal(err)
	}
	v.send(factorPage, "code", totpNow(t, secret), "next", "/account/email").shows(422, factorPage, "Too many wrong codes")
	for range 60 {
		v.send(factorPage, "code", "AAAAAAAA-AAAAAAAA")
	}
	v.shows(429, factorPage)
}

func TestFactorByMail(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	alice := n.signUp(t, "alice")
	v := n.signedInBefore(t, alice, "alice", alice.mailFactor)
	v.open("/account").send("/account/app-passwords", "do", "create", "name", "phone").shows(200, "/account/app-passwords", "sent a code", "is kept")
	held, code := v.hidden("held"), nextCode(inbox)
	v.send(factorPage, "held", held, "code", "AAAAA-AAAAA").shows(422, factorPage, `id="code-error"`)
	v.send(factorPage, "held", held, "resend", "on").shows(200, factorPage, "sent a code") // a moment ago: no other
	v.send(factorPage, "held", v.hidden("held"), "code", code).shows(200, factorPage, `id="secret"`)
	v.open("/account/email").shows(200, "/account/email")
	alice.factorShown(longAgo())
	v.open("/account/email").shows(200, factorPage).send(factorPage, "code", code, "next", "/account/email").shows(422, factorPage)

	// Sign-in shows it, too.
	w := n.visitor(t).signIn("alice.test", "alice-password").shows(200, "/account/sign-in")
	again, err := n.srv.accounts.NewCode(t.Context(), alice.account().ID, account.ForSignIn, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.send("/account/sign-in/code", "half", w.hidden("half"), "code", again.Text).shows(200, "/account")
	w.open("/account/email").shows(200, "/account/email")

	// With a mistake in a new address the codes go astray. It can be made good with the password, as the address was never confirmed.
	if err := n.srv.accounts.SetEmail(t.Context(), alice.account().ID, "alcie@example.com"); err != nil {
		t.Fatal(err)
	}
	alice.factorShown(longAgo())
	w.open("/account/email").shows(200, "/account/email").send("/account/email", "do", "change", "email", "alice@example.com").shows(200, "/account/email")
}

// Who sets up the first factor goes on; all other browsers have to show it.
func TestFirstFactorIsAskedForElsewhere(t *testing.T) {
	n := startNetwork(t, nil)
	app, key, mail := n.signUp(t, "has-app"), n.signUp(t, "has-key"), n.signUp(t, "has-mail")
	mine, elsewhere := map[string]*visitor{}, map[string]*visitor{}
	for _, c := range []*client{app, key, mail} {
		name := strings.TrimSuffix(c.handle, ".test")
		mine[name] = n.visitor(t).signIn(c.handle, name+"-password").open("/account/security").shows(200, "/account/security")
		elsewhere[name] = n.visitor(t).signIn(c.handle, name+"-password").open("/account/security").shows(200, "/account/security")
	}
	v := mine["has-app"].send("/account/security", "do", "app").shows(200, "/account/security/app")
	v.send("/account/security/app", "do", "confirm", "code", totpNow(t, v.textOf("secret"))).shows(200, "/account/security/app").recoveryCodes()
	mine["has-key"].addPasskey(n.authenticator(), "Phone")
	acct := mail.account()
	if err := n.srv.store.Update(t.Context(), func(tx *store.Tx) error { return tx.SetEmail(t.Context(), acct.ID, acct.Email, time.Now()) }); err != nil {
		t.Fatal(err)
	}
	mine["has-mail"].send("/account/security", "do", "mail-on").shows(200, "/account/security", "From now on")
	for name := range mine {
		mine[name].open("/account/security").shows(200, "/account/security")
		elsewhere[name].open("/account/security").shows(200, factorPage)
		elsewhere[name].open("/account/profile").shows(200, "/account/profile") // what harms nobody asks nobody
	}
}

// Of a passkey nobody needs the password beside it, and who has lost it is told what to do.
func TestPasskeyAloneIsTheFactor(t *testing.T) {
	n := startNetwork(t, nil)
	alice, a := n.signUp(t, "alice"), n.authenticator()
	v := n.visitor(t).signIn("alice.test", "alice-password")
	key := v.addPasskey(a, "Phone")
	n.confirmedAt(t, alice, longAgo())
	alice.factorShown(longAgo())
	v.open("/account").send("/account/app-passwords", "do", "create", "name", "phone").shows(200, "/account/app-passwords", "Confirm with your second factor", `href="/account/reset"`)
	v.answer(confirmPasskey, a, key, "held", v.hidden("held")).shows(200, confirmPasskey, `id="secret"`)
	v.open("/account/email").shows(200, "/account/email")
}
