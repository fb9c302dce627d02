package pds

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/account"
	"perch/pds/store"
	"perch/repo"
)

func TestOwnerDeletesAccount(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	alice, anyone := n.signUp(t, "alice"), n.anonymous(t)
	alice.createPost("hello")
	ref := alice.upload("image/png", png("x"))
	alice.post("com.atproto.repo.createRecord", map[string]any{"repo": alice.did, "collection": postCollection, "record": imagePost(ref)}).ok()
	acct := alice.account()
	alice.post(requestDelete, nil).ok()
	code := alice.mailed(inbox, "Account Deletion Requested")
	remove := func(did, password, token string) *answer {
		return anyone.post(deleteNSID, map[string]any{"did": did, "password": password, "token": token})
	}
	remove(alice.did, "wrong", code).fails(401, "AuthenticationRequired")
	remove("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "alice-password", code).fails(401, "AuthenticationRequired")
	remove(alice.did, "alice-password", "AAAAA-AAAAA").fails(400, "InvalidToken")
	alice.get(getSession).ok()

	before := n.srv.store.LastSeq()
	remove(alice.did, "alice-password", code).ok()
	alice.get(getSession).fails(403, "AccountNotFound")
	remove(alice.did, "alice-password", code).fails(401, "AuthenticationRequired")
	n.anonymous(t).post(createAccountNSID, map[string]any{"handle": "alice.test", "email": "alice@example.com", "password": "alice-password"}).ok() // both are free at once
	eventually(t, "the end of the account's row", func() bool {
		_, err := n.srv.store.AccountByID(t.Context(), acct.ID)
		return errors.Is(err, store.ErrNotFound)
	})
	if got := n.eventsAfter(t, before); len(got) == 0 || got[0] != "account deleted" {
		t.Errorf("events %q", got)
	}
	n.nothingLeft(t, acct)
	n.checkAll(t)
}

// nothingLeft looks for what a deleted account must not leave: rows, files, and events but for the one that tells of the deletion.
func (n *network) nothingLeft(t *testing.T, acct *store.Account) {
	t.Helper()
	ctx, st := t.Context(), n.srv.store
	if _, _, err := st.Head(ctx, acct.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("repository: %v", err)
	}
	if blobs, err := st.BlobStats(ctx, acct.ID); err != nil || blobs != (store.BlobStats{}) {
		t.Errorf("blobs: %+v %v", blobs, err)
	}
	if mails, err := st.Mails(ctx, 10); err != nil || slices.ContainsFunc(mails, func(m store.Mail) bool { return m.Account == acct.ID }) {
		t.Errorf("mails: %+v %v", mails, err)
	}
	var left []string
	err := filepath.WalkDir(n.srv.cfg.BlobDirectory(), func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.Contains(path, acct.DID.String()) {
			left = append(left, path)
		}
		return err
	})
	if err != nil || len(left) > 0 {
		t.Errorf("files: %v %v", left, err)
	}
	events, err := st.Events(ctx, 0, 10_000, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Account == acct.ID && e.Kind != "account" {
			t.Errorf("event %d of kind %s is still in the backlog", e.Seq, e.Kind)
		}
	}
	if sessions, err := st.Sessions(ctx, acct.ID); err != nil || len(sessions) > 0 {
		t.Errorf("%d sessions (%v)", len(sessions), err)
	}
}

// dying is a context that ends after some number of looks at it, as a process is killed.
type dying struct {
	context.Context
	left atomic.Int64
}

func (d *dying) Err() error {
	if d.left.Add(-1) < 0 {
		return context.Canceled
	}
	return d.Context.Err()
}

func TestDeletionIsFinishedAfterACrash(t *testing.T) {
	n := startNetwork(t, nil)
	alice, bob := n.signUp(t, "alice"), n.signUp(t, "bob")
	var writes []map[string]any
	for range 200 {
		writes = append(writes, map[string]any{"$type": "com.atproto.repo.applyWrites#create", "collection": postCollection, "value": postRecord("hello")})
	}
	for range 6 { // more than two steps of deleting records
		alice.post("com.atproto.repo.applyWrites", map[string]any{"repo": alice.did, "writes": writes}).ok()
	}
	ref := alice.upload("image/png", png("x"))
	alice.post("com.atproto.repo.createRecord", map[string]any{"repo": alice.did, "collection": postCollection, "record": imagePost(ref)}).ok()
	bob.createPost("stays")
	acct := alice.account()
	n.anonymous(t).post(deleteNSID, map[string]any{"did": alice.did, "password": "alice-password", "token": makeCode(t, n, alice, account.ForDeleteAccount)}).ok()

	crashes := 0
	for steps := int64(0); ; steps += 2 {
		if err := n.srv.Close(); err != nil {
			t.Fatal(err)
		}
		n.start(nil)
		n.srv.log = slog.New(slog.DiscardHandler)
		ctx := &dying{Context: t.Context()}
		ctx.left.Store(steps)
		jobs, err := n.srv.store.DueJobs(t.Context(), time.Now().Add(time.Hour), 10, jobDeleteAccount)
		if err != nil {
			t.Fatal(err)
		}
		if len(jobs) == 0 {
			break
		}
		if err := n.srv.doJob(ctx, jobs[0]); err == nil {
			// Killed once more, between the end of the work and the note of it.
			if err := n.srv.doJob(t.Context(), jobs[0]); err != nil {
				t.Fatalf("the job is not over: %v", err)
			}
			if err := n.srv.store.FinishJob(t.Context(), jobs[0].ID); err != nil {
				t.Fatal(err)
			}
			continue
		}
		crashes++
		if crashes > 200 {
			t.Fatal("the job does not come to an end")
		}
	}
	if crashes < 3 {
		t.Errorf("only %d crashes: the test does not reach the middle", crashes)
	}
	n.nothingLeft(t, acct)
	n.checkAll(t)
	n.anonymous(t).get("com.atproto.sync.getRepo", "did", bob.did).ok()
}

func TestDeletedDIDMayComeBack(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	alice.createPost("first life")
	first := alice.account()
	n.anonymous(t).post(deleteNSID, map[string]any{"did": alice.did, "password": "alice-password", "token": makeCode(t, n, alice, account.ForDeleteAccount)}).ok()
	_, err := n.srv.accounts.Reserve(t.Context(), account.NewAccount{Handle: "alice.test", Email: "alice@example.com", Password: "alice-password", DID: first.DID})
	if !errors.Is(err, store.ErrDIDTaken) {
		t.Errorf("while the old account's data are still there: %v", err)
	}
	n.srv.runJobs(t.Context())
	again := n.moveIn(t, "alice", first.DID, time.Time{})
	if again.ID <= first.ID {
		t.Errorf("id %d was used again after %d", again.ID, first.ID)
	}
	alice.get(getSession).fails(400, "ExpiredToken") // a token of the first life
	n.checkAll(t)
}

// moveIn makes an account as one that moves here has it: deactivated, with an empty repository.
func (n *network) moveIn(t *testing.T, name string, did syntax.DID, deleteAfter time.Time) *store.Account {
	t.Helper()
	res, err := n.srv.accounts.Reserve(t.Context(), account.NewAccount{
		Handle: name + ".test", Email: name + "@example.com", Password: name + "-password", DID: did, Deactivated: true, DeleteAfter: deleteAfter,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Release()
	d, err := repo.Start(did, repo.NextRev("", time.Now(), 1), res.SigningKey)
	if err != nil {
		t.Fatal(err)
	}
	ses, err := res.Commit(t.Context(), did, func(tx *store.Tx, acct *store.Account) error { return tx.InsertRepo(t.Context(), acct, d) })
	if err != nil {
		t.Fatal(err)
	}
	return ses.Account
}

func TestDeleteAfterIsHonoured(t *testing.T) {
	n := startNetwork(t, nil)
	alice, bob, carol := n.signUp(t, "alice"), n.signUp(t, "bob"), n.signUp(t, "carol")
	soon := map[string]any{"deleteAfter": time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)}
	later := map[string]any{"deleteAfter": time.Now().Add(30 * 24 * time.Hour).UTC().Format(time.RFC3339)}
	alice.post(deactivateNSID, map[string]any{"deleteAfter": "tomorrow"}).fails(400, "InvalidRequest")
	alice.post(deactivateNSID, later).ok()
	bob.post(deactivateNSID, later).ok()
	carol.post(deactivateNSID, soon).ok()
	if left := time.Until(carol.account().DeleteAfter); left < 71*time.Hour || left > 73*time.Hour {
		t.Errorf("a session alone can have an account deleted in %v", left)
	}
	bob.post(activateNSID, nil).ok()
	if !bob.account().DeleteAfter.IsZero() {
		t.Error("coming back does not call the deletion off")
	}
	// The time of alice is over.
	overdue := func(id store.AccountID, at time.Time) {
		t.Helper()
		err := n.srv.store.Update(t.Context(), func(tx *store.Tx) error { return tx.SetDeactivated(t.Context(), id, at, time.Now().Add(-time.Second)) })
		if err != nil {
			t.Fatal(err)
		}
	}
	acct := alice.account()
	overdue(acct.ID, acct.DeactivatedAt)
	// Two have never finished moving here. Nobody was told of them; one's DID names this server already.
	stranger := n.moveIn(t, "dan", n.registered(t, "dan", "https://other.example.com"), time.Now().Add(-time.Second))
	halfway := n.moveIn(t, "erin", n.registered(t, "erin", n.srv.cfg.PublicURL()), time.Now().Add(-time.Second))
	n.wantEvents(t, func() {
		if err := n.srv.deleteExpired(t.Context()); err != nil {
			t.Fatal(err)
		}
	}, "account deleted")
	n.srv.runJobs(t.Context())
	n.nothingLeft(t, acct)
	n.nothingLeft(t, stranger)
	for _, did := range []string{bob.did, carol.did, halfway.DID.String()} {
		if now := n.accountOf(t, did); !now.DeletedAt.IsZero() || !now.DeleteAfter.IsZero() && now.DeleteAfter.Before(time.Now()) {
			t.Errorf("%s was deleted, or is about to be: %+v", now.Handle, now)
		}
	}
	n.checkAll(t)
}

// registered makes a DID in the directory that names a server.
func (n *network) registered(t *testing.T, name, server string) syntax.DID {
	t.Helper()
	key, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	op, err := plc.Sign(plc.Genesis([]string{public.DIDKey()}, public.DIDKey(), syntax.Handle(name+".test"), server), key)
	if err != nil {
		t.Fatal(err)
	}
	did, err := plc.DIDOf(op)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.srv.plc.Submit(t.Context(), did, op); err != nil {
		t.Fatal(err)
	}
	return did
}

func TestDeletionEmptiesTheStream(t *testing.T) {
	n := startNetwork(t, nil)
	alice, bob := n.signUp(t, "alice"), n.signUp(t, "bob")
	for range 5 {
		alice.createPost("hello")
		bob.createPost("hello")
	}
	before := n.srv.firehose.Stats().RingFrames
	n.anonymous(t).post(deleteNSID, map[string]any{"did": alice.did, "password": "alice-password", "token": makeCode(t, n, alice, account.ForDeleteAccount)}).ok()
	n.srv.runJobs(t.Context())
	// Of alice are left: #account at the start and at the end. The ring and the table agree.
	events, err := n.srv.store.Events(t.Context(), 0, 1000, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if got := n.srv.firehose.Stats().RingFrames; got != len(events) || got != before+1-8 {
		t.Errorf("%d frames in memory after %d, %d in the table", got, before, len(events))
	}
}
