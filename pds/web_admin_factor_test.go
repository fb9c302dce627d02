package pds

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"perch/pds/account"
	"perch/pds/store"
)

const factorPage = "/account/confirm/factor"

func (n *network) giveRole(t *testing.T, name string, on bool) *answer {
	t.Helper()
	return n.operatorJSON(t, RolePath, RoleRequest{Account: name, Role: &on})
}

// totp gives an account an authenticator app, and returns its secret and recovery codes.
func (n *network) totp(t *testing.T, name string) (secret string, recovery []any) {
	t.Helper()
	secret = n.operatorJSON(t, FactorPath, FactorRequest{Account: name, Action: FactorBegin}).ok().str("secret")
	out := n.operatorJSON(t, FactorPath, FactorRequest{Account: name, Action: FactorConfirm, Code: totpNow(t, secret)}).ok()
	return secret, out.at("recoveryCodes").([]any)
}

// shownFactor changes what is noted of when a strong factor was shown in the account's browsers.
func (c *client) factorShown(at time.Time) {
	c.t.Helper()
	_, rows, err := c.srv.store.AccountDevices(c.t.Context(), c.account().ID)
	if err != nil || len(rows) == 0 {
		c.t.Fatal(err, len(rows))
	}
	for _, row := range rows {
		row.FactorAt = at
		if err := c.srv.store.Update(c.t.Context(), func(tx *store.Tx) error { return tx.PutDeviceAccount(c.t.Context(), row) }); err != nil {
			c.t.Fatal(err)
		}
	}
}

func TestRoleNeedsAStrongFactor(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	if err := n.srv.accounts.SetEmailFactor(t.Context(), alice.account().ID, true); err == nil {
		t.Fatal("codes by mail to an address that is not confirmed")
	}
	n.giveRole(t, "alice.test", true).fails(400, "FactorNeeded")
	n.giveRole(t, "alice.test", false) // that is always possible
	if alice.account().Role != "" {
		t.Fatal("an account without a second factor is an administrator")
	}
	secret, _ := n.totp(t, "alice.test")
	if a := n.giveRole(t, "alice.test", true); a.status != http.StatusOK || secret == "" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if alice.account().Role != store.RoleAdmin {
		t.Error("no administrator")
	}
}

// With the last strong factor the role ends, whoever takes it away: who sets up the next one may have no more than the password, or the mailbox.
func TestRoleEndsWithTheLastFactor(t *testing.T) {
	n := startNetwork(t, nil)
	a := n.authenticator()
	reset := func(c *client) {
		code, err := n.srv.accounts.NewCode(t.Context(), c.account().ID, account.ForResetPassword, nil)
		if err == nil {
			n.anonymous(t).post(resetNSID, map[string]any{"token": code.Text, "password": "another password"}).ok()
		} else {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name      string
		app, keep bool // has an authenticator app beside the passkey; is an administrator afterwards
		do        func(c *client)
		actor     string // kind
	}{
		{"p-reset", false, false, reset, auditAccount},
		{"p-app", true, true, reset, ""},
		{"p-keys", false, false, func(c *client) {
			if out := n.operatorJSON(t, FactorPath, FactorRequest{Account: c.did, Action: FactorRemovePasskeys}).ok(); out.at("roleEnded") != true {
				t.Errorf("the operator is not told: %v", out)
			}
		}, auditPassword},
		{"p-word", false, false, func(c *client) {
			c.admin("com.atproto.admin.updateAccountPassword", map[string]any{"did": c.did, "password": "another password"}).ok()
		}, auditPassword},
		{"p-both", true, false, func(c *client) {
			n.operatorJSON(t, FactorPath, FactorRequest{Account: c.did, Action: FactorRemove}).ok()
			if c.account().Role != store.RoleAdmin {
				t.Error("the passkey does not count")
			}
			n.operatorJSON(t, FactorPath, FactorRequest{Account: c.did, Action: FactorRemovePasskeys}).ok()
		}, auditPassword},
	} {
		c := n.signUp(t, tc.name)
		n.visitor(t).signIn(c.handle, tc.name+"-password").addPasskey(a, "Phone")
		if tc.app {
			n.totp(t, c.did)
		}
		if got := n.giveRole(t, c.did, true); got.status != http.StatusOK {
			t.Fatalf("%s: %d %s", tc.name, got.status, got.body)
		}
		tc.do(c)
		if is := c.account().Role == store.RoleAdmin; is != tc.keep {
			t.Errorf("%s: is an administrator afterwards: %t", tc.name, is)
		}
		ended := slices.IndexFunc(n.audits(t, store.AuditQuery{Subject: c.did}), func(l store.Audit) bool {
			return l.Action == "role" && l.Detail == "off" && l.Reason == "no second factor left" && l.Kind == tc.actor && l.Result == store.AuditDone && l.Address == "127.0.0.1"
		})
		if tc.keep != (ended < 0) {
			t.Errorf("%s: the log is %+v", tc.name, n.audits(t, store.AuditQuery{Subject: c.did}))
		}
	}
}

func TestAdministratorsKeepAFactor(t *testing.T) {
	n := startNetwork(t, nil)
	alice, a := n.signUp(t, "alice"), n.authenticator()
	v := n.visitor(t).signIn("alice.test", "alice-password")
	key := v.addPasskey(a, "Phone")
	n.giveRole(t, "alice.test", true)
	v.open("/account/passkeys").shows(200, factorPage).answer(confirmPasskey, a, key, "next", "/account/passkeys").shows(200, "/account/passkeys")
	v.send("/account/passkeys/remove", "passkey", v.hidden("passkey")).shows(422, "/account/passkeys/remove", "An administrator always keeps")
	v.open("/account/security").send("/account/security", "do", "password", "old-password", "alice-password", "new-password", "another password", "revoke", "on")
	v.shows(422, "/account/security", "An administrator always keeps")
	n.totp(t, "alice.test")
	v.open("/account/security").send("/account/security", "do", "password", "old-password", "alice-password", "new-password", "another password", "revoke", "on")
	v.shows(200, "/account/security") // the app is left
	v.send("/account/security", "do", "remove").shows(422, "/account/security", "An administrator always keeps")
	v.open("/admin").shows(200, "/admin") // with the password changed it is the same browser
	if alice.account().Role != store.RoleAdmin {
		t.Error("the role is gone")
	}
}

func TestAdminPagesTakeAPasskey(t *testing.T) {
	n := startNetwork(t, nil)
	alice, a := n.signUp(t, "alice"), n.authenticator()
	n.signUp(t, "bob")
	v := n.visitor(t).signIn("alice.test", "alice-password")
	key := v.addPasskey(a, "Phone")
	other := n.visitor(t).signIn("bob.test", "bob-password").addPasskey(a, "Bob's")
	n.giveRole(t, "alice.test", true)
	// To have made a passkey in a browser with a password alone says nothing of who sits there.
	v.open("/admin/accounts?q=x").shows(200, factorPage)
	v.answer(confirmPasskey, a, other, "next", v.at.Query().Get("next")).shows(422, confirmPasskey)
	v.open("/admin/accounts?q=x").answer(confirmPasskey, a, key, "next", v.at.Query().Get("next")).shows(200, "/admin/accounts")
	n.visitor(t).open("/account/sign-in").answer(byPasskey, a, key, "next", "/admin").shows(200, "/admin")

	// Whoever has the password alone gets no further, and adds no factor of his own.
	thief := n.visitor(t).signIn("alice.test", "alice-password").shows(200, "/account")
	token := thief.hidden("token")
	for _, path := range append(slices.Clone(adminGets), "/account/security", "/account/security/app", "/account/passkeys") {
		thief.open(path).shows(200, factorPage)
	}
	for path, fields := range map[string][]string{
		"/account/passkeys": {"ask", "x", "answer", "{}"}, "/account/passkeys/rename": nil, "/account/passkeys/remove": nil, "/account/security": {"do", "app"},
		"/account/security/app": {"do", "confirm", "code", "000000"}, "/admin/accounts/" + alice.did: {"do", "mail"},
	} {
		thief.send(path, append(fields, "token", token)...)
		if !strings.Contains(string(thief.page.body), "Confirm with your second factor") {
			t.Errorf("POST %s led to %d %s", path, thief.page.status, thief.at)
		}
	}
	if f, err := n.srv.accounts.Factors(t.Context(), alice.account().ID); err != nil || f.TOTP || f.Passkeys != 1 {
		t.Errorf("%+v, %v", f, err)
	}
	thief.open(factorPage).send(factorPage, "code", "123456").shows(200, factorPage)
	thief.open("/admin").shows(200, factorPage)
}

// A browser that was signed in before there was an authenticator app has not shown it.
func TestAdminFactorIsShownInEachBrowser(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	v := n.visitor(t).signIn("alice.test", "alice-password")
	_, recovery := n.totp(t, "alice.test")
	n.giveRole(t, "alice.test", true)
	v.open("/admin").shows(200, factorPage, "authenticator app")
	v.send(factorPage, "code", "").shows(422, factorPage)
	v.send(factorPage, "code", "000000", "next", "/admin").shows(422, factorPage)
	v.send(factorPage, "code", recovery[0].(string), "next", "https://evil.example/").shows(200, "/account")
	v.open("/admin").shows(200, "/admin")
	v.send(factorPage, "code", recovery[0].(string), "next", "/admin").shows(422, factorPage) // each code is good once
	alice.factorShown(time.Now().Add(-13 * time.Hour))
	v.open("/admin").shows(200, factorPage).send(factorPage, "code", recovery[1].(string), "next", "/admin").shows(200, "/admin")

	// A code that was mailed is not such a factor.
	bob := n.signUp(t, "bob")
	if err := n.srv.store.Update(t.Context(), func(tx *store.Tx) error {
		return tx.PutSecondFactor(t.Context(), store.SecondFactor{Account: bob.account().ID, Email: true})
	}); err != nil {
		t.Fatal(err)
	}
	n.giveRole(t, "bob.test", true).fails(400, "FactorNeeded")
	code, err := n.srv.accounts.NewCode(t.Context(), bob.account().ID, account.ForSignIn, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := n.visitor(t).signIn("bob.test", "bob-password")
	w.send("/account/sign-in/code", "half", w.hidden("half"), "code", code.Text).shows(200, "/account")
	n.totp(t, "bob.test")
	n.giveRole(t, "bob.test", true)
	w.open("/admin").shows(200, factorPage)
}
