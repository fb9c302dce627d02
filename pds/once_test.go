package pds

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"perch/pds/account"
)

// atOnce makes a call n times at once and returns how many succeeded. The others must be refused with one of the names.
func atOnce(t *testing.T, n int, call func(i int) *answer, refused ...string) int {
	t.Helper()
	answers := make([]*answer, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { answers[i] = call(i) })
	}
	wg.Wait()
	done := 0
	for _, a := range answers {
		if a.status == 200 {
			done++
			continue
		}
		if !slices.Contains(refused, a.errorName()) {
			t.Errorf("%s: %d %s", a.what, a.status, a.body)
		}
	}
	return done
}

// Whoever sends a thing that is good once several times at the same time gets it once.
func TestWhatIsGoodOnceIsGoodOnceAtATime(t *testing.T) {
	n := startNetwork(t, nil)
	const tries = 8
	var people atomic.Int64
	anyone := n.anonymous(t)
	for what, call := range map[string]func(c *client) (func(i int) *answer, []string){
		"a reset code": func(c *client) (func(i int) *answer, []string) {
			code := makeCode(t, n, c, account.ForResetPassword)
			return func(i int) *answer {
				return anyone.post(resetNSID, map[string]any{"token": code, "password": fmt.Sprint("new-password-", i)})
			}, []string{"InvalidToken"}
		},
		"a confirmation": func(c *client) (func(i int) *answer, []string) {
			code := makeCode(t, n, c, account.ForConfirmEmail)
			return func(int) *answer {
				return c.post(confirmNSID, map[string]any{"email": c.account().Email, "token": code})
			}, []string{"InvalidToken"}
		},
		"a new address": func(c *client) (func(i int) *answer, []string) {
			c.post(confirmNSID, map[string]any{"email": c.account().Email, "token": makeCode(t, n, c, account.ForConfirmEmail)}).ok()
			code := makeCode(t, n, c, account.ForUpdateEmail)
			return func(int) *answer { // all want the same one, because the new one could be changed without a code
				return c.post(updateNSID, map[string]any{"email": c.account().Email, "token": code})
			}, []string{"InvalidToken"}
		},
		"a deletion": func(c *client) (func(i int) *answer, []string) {
			code := makeCode(t, n, c, account.ForDeleteAccount)
			return func(int) *answer {
				return anyone.post(deleteNSID, map[string]any{"did": c.did, "password": passwordOf(c), "token": code})
			}, []string{"InvalidToken", "AuthenticationRequired", "AccountNotFound"}
		},
		"a deletion by the operator": func(c *client) (func(i int) *answer, []string) {
			return func(int) *answer {
				return anyone.admin("com.atproto.admin.deleteAccount", map[string]any{"did": c.did})
			}, []string{"NotFound"}
		},
		"a code for an operation": func(c *client) (func(i int) *answer, []string) {
			code := makeCode(t, n, c, account.ForPLCOperation)
			return func(int) *answer {
				return c.post("com.atproto.identity.signPlcOperation", map[string]any{"token": code})
			}, []string{"InvalidToken"}
		},
		"a code of the app": func(c *client) (func(i int) *answer, []string) {
			setup, _ := n.factor(t, FactorRequest{Account: c.did, Action: FactorBegin})
			code := totpNow(t, setup.Secret)
			return func(int) *answer {
				_, a := n.factor(t, FactorRequest{Account: c.did, Action: FactorConfirm, Code: code})
				return a
			}, []string{"InvalidToken"}
		},
		"a recovery code": func(c *client) (func(i int) *answer, []string) {
			setup, _ := n.factor(t, FactorRequest{Account: c.did, Action: FactorBegin})
			out, _ := n.factor(t, FactorRequest{Account: c.did, Action: FactorConfirm, Code: totpNow(t, setup.Secret)})
			return func(int) *answer { return n.signInWith(t, c.did, passwordOf(c), out.RecoveryCodes[0]) }, []string{"InvalidToken"}
		},
		"the name of an app password": func(c *client) (func(i int) *answer, []string) {
			return func(int) *answer {
				return c.post("com.atproto.server.createAppPassword", map[string]any{"name": "phone"})
			}, []string{"InvalidRequest"}
		},
	} {
		t.Run(what, func(t *testing.T) {
			c := n.signUp(t, fmt.Sprint("person", people.Add(1)))
			send, refused := call(c)
			if done := atOnce(t, tries, send, refused...); done != 1 {
				t.Errorf("%d of %d succeeded", done, tries)
			}
		})
	}
	n.checkAll(t)
}

// passwordOf is what signUp has given.
func passwordOf(c *client) string { return c.handle[:len(c.handle)-len(".test")] + "-password" }

// Two people who want one name: one gets it, and both DIDs say what the database says.
func TestOneNameForTwo(t *testing.T) {
	n := startNetwork(t, nil)
	people := []*client{n.signUp(t, "alice"), n.signUp(t, "bob"), n.signUp(t, "carol")}
	done := atOnce(t, len(people), func(i int) *answer {
		return people[i].post("com.atproto.identity.updateHandle", map[string]any{"handle": "dave.test"})
	}, "InvalidRequest")
	if done > 1 {
		t.Errorf("%d have the name", done)
	}
	for _, c := range people {
		if op := c.lastOp(); op.AlsoKnownAs[0] != "at://"+c.account().Handle.String() {
			t.Errorf("the DID says %s, the database %s", op.AlsoKnownAs[0], c.account().Handle)
		}
	}
}
