package auth

import (
	"errors"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/repo"
)

func TestMayWrite(t *testing.T) {
	w := newWorld(t)
	acct, _ := w.person()
	other, _ := w.person()
	const post = "app.bsky.feed.post"
	session := func(scope Scope) Principal {
		return Principal{Kind: Session, DID: acct.DID, Scope: scope, Account: acct}
	}
	inactive := *acct
	inactive.DeactivatedAt = time.Now()
	takendown := *acct
	takendown.TakedownRef = "x"
	cases := []struct {
		name string
		p    Principal
		did  syntax.DID
		want *Error
	}{
		{"nobody", Principal{}, acct.DID, ErrAuthMissing},
		{"admin", Principal{Kind: Admin}, acct.DID, ErrAuthRequired},
		{"admin, no DID", Principal{Kind: Admin}, "", ErrAuthRequired},
		{"service token", Principal{Kind: Service, DID: acct.DID, Account: acct}, acct.DID, ErrAuthRequired},
		{"refresh token", Principal{Kind: Refresh, DID: acct.DID, Account: acct}, acct.DID, ErrAuthRequired},
		{"another's repo", session(ScopeAccess), other.DID, ErrWrongRepo},
		{"no repo", session(ScopeAccess), "", ErrWrongRepo},
		{"takendown session", session(ScopeTakendown), acct.DID, ErrInvalidToken},
		{"deactivated", Principal{Kind: Session, DID: acct.DID, Scope: ScopeAccess, Account: &inactive}, acct.DID, ErrAccountDeactivated},
		{"taken down", Principal{Kind: Session, DID: acct.DID, Scope: ScopeAccess, Account: &takendown}, acct.DID, ErrAccountTakedown},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if err := c.p.MayWrite(c.did, post, "create"); !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
		})
	}
	for _, scope := range []Scope{ScopeAccess, ScopeAppPass, ScopeAppPassPrivileged} {
		for _, action := range []string{"create", "update", "delete", "put"} {
			if err := session(scope).MayWrite(acct.DID, post, repo.Action(action)); err != nil {
				t.Errorf("%s %s: %v", scope, action, err)
			}
		}
	}
	if session(ScopeAccess).MayWrite(acct.DID, post, "purge") == nil || session(ScopeAccess).MayWrite(acct.DID, "", "create") == nil {
		t.Error("an unknown action, or no collection, was allowed")
	}
}

func TestMayCall(t *testing.T) {
	session := func(scope Scope) Principal {
		return Principal{Kind: Session, DID: "did:web:a.example.com", Scope: scope}
	}
	cases := []struct {
		method                                 string
		mainOnly, privileged, plain, takendown bool
	}{
		{"app.bsky.feed.getTimeline", true, true, true, false},
		{"", true, true, false, false},
		{"chat.bsky.convo.sendMessage", true, true, false, false},
		{"chat.bsky.convo.addReaction", true, true, false, false},
		{"CHAT.bsky.convo.SendMessage", true, true, false, false},
		{"com.atproto.server.createAccount", true, true, false, true},
		{"com.atproto.server.CREATEACCOUNT", true, true, false, true},
		{"com.atproto.server.createAppPassword", false, false, false, false},
		{"com.atproto.server.createapppassword", false, false, false, false},
		{"COM.ATPROTO.identity.signPlcOperation", false, false, false, false},
		{"com.atproto.identity.submitPlcOperation", false, false, false, false},
	}
	for _, c := range cases {
		for scope, want := range map[Scope]bool{ScopeAccess: c.mainOnly, ScopeAppPassPrivileged: c.privileged, ScopeAppPass: c.plain, ScopeTakendown: c.takendown} {
			if err := session(scope).MayCall(syntax.NSID(c.method), serviceDID); (err == nil) != want {
				t.Errorf("%s with %s: %v, want ok %v", c.method, scope, err, want)
			}
		}
	}
	for _, p := range []Principal{{}, {Kind: Admin}, {Kind: Service, DID: "did:web:a.example.com"}, {Kind: Refresh}} {
		if p.MayCall("app.bsky.feed.getTimeline", serviceDID) == nil {
			t.Errorf("%+v may call", p)
		}
	}
}
