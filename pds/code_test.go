package pds

import (
	"fmt"
	"testing"
	"time"

	"perch/pds/account"
	"perch/pds/store"
)

// codeCall is a call that takes a code from a mail.
type codeCall struct {
	purpose account.Purpose
	// use makes the call with the session of c and, where one is asked for, the password.
	use func(c *client, password, code string) *answer
	// expired is the error for a code that came too late.
	expired string
	// app is the error for a caller who has an app password, takendown that of an owner who is signed in to leave; "" when it is done nevertheless.
	app, takendown string
}

func codeCalls() map[string]codeCall {
	return map[string]codeCall{
		resetNSID: {account.ForResetPassword, func(c *client, _, code string) *answer {
			return c.anonymous(c.t).post(resetNSID, map[string]any{"token": code, "password": "new-password"})
		}, "ExpiredToken", "", ""},
		confirmNSID: {account.ForConfirmEmail, func(c *client, _, code string) *answer {
			return c.post(confirmNSID, map[string]any{"email": c.account().Email, "token": code})
		}, "ExpiredToken", "", "InvalidToken"},
		updateNSID: {account.ForUpdateEmail, func(c *client, _, code string) *answer {
			return c.post(updateNSID, map[string]any{"email": c.account().Email, "token": code})
		}, "ExpiredToken", "InvalidToken", "InvalidToken"},
		deleteNSID: {account.ForDeleteAccount, func(c *client, password, code string) *answer {
			return c.anonymous(c.t).post(deleteNSID, map[string]any{"did": c.did, "password": password, "token": code})
		}, "ExpiredToken", "AuthenticationRequired", ""},
		"com.atproto.identity.signPlcOperation": {account.ForPLCOperation, func(c *client, _, code string) *answer {
			return c.post("com.atproto.identity.signPlcOperation", map[string]any{"token": code})
		}, "ExpiredToken", "InvalidToken", ""},
		"com.atproto.server.createSession": {account.ForSignIn, func(c *client, password, code string) *answer {
			return c.signInWith(c.t, c.did, password, code)
		}, "InvalidToken", "", "AccountTakedown"}, // an app password needs no code
	}
}

// codeOwner is an account with a confirmed address that gets codes for everything.
func (n *network) codeOwner(t *testing.T, name string) *client {
	t.Helper()
	c := n.signUp(t, name)
	id := c.account().ID
	if err := n.srv.accounts.ConfirmEmail(t.Context(), id, c.account().Email, makeCode(t, n, c, account.ForConfirmEmail)); err != nil {
		t.Fatal(err)
	}
	if err := n.srv.accounts.SetEmailFactor(t.Context(), id, true); err != nil {
		t.Fatal(err)
	}
	return c
}

// expireCode has the account's code for a purpose be of yesterday.
func expireCode(t *testing.T, n *network, c *client, purpose account.Purpose) {
	t.Helper()
	err := n.srv.store.Update(t.Context(), func(tx *store.Tx) error {
		token, err := tx.EmailToken(t.Context(), c.account().ID, string(purpose))
		if err != nil {
			return err
		}
		token.ExpiresAt = time.Now().Add(-time.Second)
		return tx.PutEmailToken(t.Context(), token)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Every call that takes a code takes only the account's own, for this and nothing else, the newest, once, and in time.
func TestEveryCodeAgainstEveryMisuse(t *testing.T) {
	n := startNetwork(t, nil)
	people := 0
	fresh := func(t *testing.T) *client {
		people++
		return n.codeOwner(t, fmt.Sprint("person", people))
	}
	for name, call := range codeCalls() {
		t.Run(name, func(t *testing.T) {
			c, other := fresh(t), fresh(t)
			refused := func(what, code, want string) {
				t.Helper()
				if a := call.use(c, passwordOf(c), code); a.status != 400 || a.errorName() != want {
					t.Errorf("%s: %d %s, want %s", what, a.status, a.body, want)
				}
			}
			refused("an invented code", "AAAAA-AAAAA", "InvalidToken")
			replaced := makeCode(t, n, c, call.purpose)
			makeCode(t, n, c, call.purpose)
			refused("a code before the newest", replaced, "InvalidToken")
			for _, purpose := range account.Purposes() {
				if code := makeCode(t, n, c, purpose); purpose != call.purpose {
					refused("a code to "+string(purpose), code, "InvalidToken")
				}
			}
			foreign := makeCode(t, n, other, call.purpose)
			if call.purpose != account.ForResetPassword { // whose account it is, that code says by itself
				refused("another account's", foreign, "InvalidToken")
			}
			late := makeCode(t, n, c, call.purpose)
			expireCode(t, n, c, call.purpose)
			refused("an expired code", late, call.expired)
			code := makeCode(t, n, c, call.purpose)
			if a := call.use(c, passwordOf(c), code); a.status != 200 {
				t.Fatalf("the right code: %d %s", a.status, a.body)
			}
			if a := call.use(c, passwordOf(c), code); a.status == 200 {
				t.Error("the code works twice")
			}
			if call.purpose != account.ForResetPassword { // the other's is as good as before
				if a := call.use(other, passwordOf(other), foreign); a.status != 200 {
					t.Errorf("a code that somebody else has tried: %d %s", a.status, a.body)
				}
			}
		})
	}
}

func TestEveryCodeByWhoMayNot(t *testing.T) {
	n := startNetwork(t, nil)
	people := 0
	fresh := func(t *testing.T) *client {
		people++
		return n.codeOwner(t, fmt.Sprint("person", people))
	}
	outcome := func(t *testing.T, what string, a *answer, want string) {
		t.Helper()
		if got := a.errorName(); got != want {
			t.Errorf("%s: %d %q, want %q", what, a.status, got, want)
		}
	}
	for name, call := range codeCalls() {
		t.Run(name, func(t *testing.T) {
			c := fresh(t)
			app := c.post("com.atproto.server.createAppPassword", map[string]any{"name": "app", "privileged": true}).ok().str("password")
			phone := *c
			phone.token = signIn(n.anonymous(t), c.did, app).ok().str("accessJwt")
			outcome(t, "with an app password", call.use(&phone, app, makeCode(t, n, c, call.purpose)), call.app)

			c = fresh(t)
			c.post(deactivateNSID, map[string]any{}).ok()
			outcome(t, "deactivated", call.use(c, passwordOf(c), makeCode(t, n, c, call.purpose)), "")

			c = fresh(t)
			code := makeCode(t, n, c, account.ForSignIn)
			c.moderate(repoSubject(c.did), takedown(true, "case")).ok()
			c.token = c.anonymous(t).post("com.atproto.server.createSession",
				map[string]any{"identifier": c.did, "password": passwordOf(c), "authFactorToken": code, "allowTakendown": true}).ok().str("accessJwt")
			outcome(t, "taken down", call.use(c, passwordOf(c), makeCode(t, n, c, call.purpose)), call.takendown)

			c = fresh(t)
			code, password := makeCode(t, n, c, call.purpose), passwordOf(c)
			c.admin("com.atproto.admin.deleteAccount", map[string]any{"did": c.did}).ok()
			if a := call.use(&client{network: n, t: t, did: c.did, handle: c.handle, token: c.token}, password, code); a.status == 200 {
				t.Error("a code of a deleted account works")
			}
		})
	}
}
