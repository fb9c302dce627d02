package oauth_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"perch/pds/oauth/oauthtest"
)

// TestAssertionsAreUsedOnce: wherever a client has shown an assertion, nobody else proves anything with it, then or after a restart, and what was tried with it has hurt nobody.
func TestAssertionsAreUsedOnce(t *testing.T) {
	badScope, noGrant := fields{"scope": "atproto repo:*"}, fields{"refresh_token": "ref-x"}
	for _, first := range []struct {
		name string
		use  func(w *world, a *oauthtest.App, c change) oauthtest.Answer
		want int
	}{
		{"push", func(_ *world, a *oauthtest.App, c change) oauthtest.Answer { return a.Push(c) }, 201},
		{"push that fails", func(_ *world, a *oauthtest.App, c change) oauthtest.Answer { c.Form = badScope; return a.Push(c) }, 400},
		{"redeem", func(w *world, a *oauthtest.App, c change) oauthtest.Answer { return a.Redeem(w.code(a, change{}), c) }, 200},
		{"redeem that fails", func(_ *world, a *oauthtest.App, c change) oauthtest.Answer { return a.Redeem("cod-x", c) }, 400},
		{"refresh", func(_ *world, a *oauthtest.App, c change) oauthtest.Answer { return a.Renew(c) }, 200},
		{"refresh that fails", func(_ *world, a *oauthtest.App, c change) oauthtest.Answer { c.Form = noGrant; return a.Renew(c) }, 400},
		{"revoke", func(w *world, a *oauthtest.App, c change) oauthtest.Answer {
			other := *a
			w.signIn(&other)
			return a.Post("/oauth/revoke", fields{"client_id": a.ClientID, "token": other.Refresh}, c)
		}, 200},
		{"revoke of nothing", func(_ *world, a *oauthtest.App, c change) oauthtest.Answer {
			return a.Post("/oauth/revoke", fields{"client_id": a.ClientID, "token": "x"}, c)
		}, 200},
	} {
		t.Run(first.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.signIn(w.confidential())
			code := w.code(a, change{})
			verifier, seen := a.Verifier, change{AuthClaim: fields{"jti": oauthtest.Random()}}
			if r := first.use(w, a, seen); r.Status != first.want {
				t.Fatalf("%d %s", r.Status, r.Body)
			}
			again := func() {
				t.Helper()
				a.Push(seen).Fails(401, "invalid_client")
				a.Push(change{AuthClaim: seen.AuthClaim, Form: badScope}).Fails(401, "invalid_client")
				a.Verifier = verifier
				a.Redeem(code, seen).Fails(401, "invalid_client")
				a.Renew(seen).Fails(401, "invalid_client")
				a.Post("/oauth/revoke", fields{"client_id": a.ClientID, "token": a.Refresh}, seen).Fails(401, "invalid_client")
			}
			again()
			w.restart()
			again()
			a.Renew(change{}).OK()
			a.Verifier = verifier
			a.Redeem(code, change{}).OK()
		})
	}
}

// TestAssertionsAreUsedOnceAtATime: of many requests at once with one assertion, one has it.
func TestAssertionsAreUsedOnceAtATime(t *testing.T) {
	w := newWorld(t)
	a := w.confidential()
	a.Push(change{}).OK() // the nonce
	seen := change{AuthClaim: fields{"jti": oauthtest.Random()}}
	var wg sync.WaitGroup
	statuses := make(chan int, 16)
	for range cap(statuses) {
		twin := *a
		wg.Go(func() { statuses <- twin.Push(seen).Status })
	}
	wg.Wait()
	close(statuses)
	got := map[int]int{}
	for s := range statuses {
		got[s]++
	}
	if got[http.StatusCreated] != 1 || got[http.StatusUnauthorized] != cap(statuses)-1 {
		t.Errorf("%v", got)
	}
}

// TestAssertionsAreForgottenInTheEnd: what has expired goes with the sweep, and the client may use the name again, swept or not.
func TestAssertionsAreForgottenInTheEnd(t *testing.T) {
	w := newWorld(t)
	a := w.confidential()
	id := change{AuthClaim: fields{"jti": "1"}}
	for _, sweep := range []bool{false, true} {
		a.Push(id).OK()
		w.pass(100 * time.Second)
		if err := w.svc.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		a.Push(id).Fails(401, "invalid_client")
		w.pass(5 * time.Minute)
		if sweep {
			if err := w.svc.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	a.Push(id).OK()
}

// TestAssertionsForOneKey: an assertion that names a DPoP key is of no use with another, or without one.
func TestAssertionsForOneKey(t *testing.T) {
	w := newWorld(t)
	a := w.confidential()
	mine := a.Key.Thumbprint()
	bound := func(jkt any, form fields) change {
		return change{AuthClaim: fields{"cnf": fields{"jkt": jkt}}, Form: form, NoProof: form != nil}
	}
	a.Redeem(w.code(a, bound(mine, nil)), bound(mine, nil)).OK()
	a.Renew(bound(mine, nil)).OK()
	a.Push(bound(mine, fields{"dpop_jkt": mine})).OK()
	other := oauthtest.NewKey("").Thumbprint()
	for _, jkt := range []any{other, "", 7, fields{}} {
		a.Push(bound(jkt, nil)).Fails(401, "invalid_client")
		a.Push(bound(jkt, fields{"dpop_jkt": mine})).Fails(401, "invalid_client")
		a.Renew(bound(jkt, nil)).Fails(401, "invalid_client")
		a.Post("/oauth/revoke", fields{"client_id": a.ClientID, "token": a.Refresh}, bound(jkt, nil)).Fails(401, "invalid_client")
	}
	a.Post("/oauth/revoke", fields{"client_id": a.ClientID, "token": a.Refresh}, bound(mine, fields{})).Fails(401, "invalid_client")
	a.Push(change{AuthClaim: fields{"cnf": fields{"x5t#S256": "x"}}}).OK() // another way to confirm is not ours to judge
	a.Renew(change{}).OK()
}
