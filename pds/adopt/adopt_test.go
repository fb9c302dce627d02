package adopt

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/blob"
	"perch/pds/event"
	"perch/pds/store"
)

const (
	alice = syntax.DID("did:plc:aliceaaaaaaaaaaaaaaaaaaa")
	bob   = syntax.DID("did:plc:bobbbbbbbbbbbbbbbbbbbbbb")
)

// target is a store for one test.
type target struct {
	Target
	t testing.TB
}

func newTarget(t testing.TB) *target {
	t.Helper()
	dir := t.TempDir()
	st, err := store.Open(t.Context(), store.Options{Path: filepath.Join(dir, "perch.db"), Now: func() time.Time { return testNow }})
	must(t, err)
	t.Cleanup(func() { st.Close() })
	blobs, err := blob.Open(filepath.Join(dir, "blobs"))
	must(t, err)
	t.Cleanup(func() { blobs.Close() })
	return &target{t: t, Target: Target{Store: st, Blobs: blobs, Link: true, SealKey: func(_ syntax.DID, key atcrypto.PrivateKeyExportable) ([]byte, string, error) {
		pub, err := key.PublicKey()
		return []byte("sealed"), pub.DIDKey(), err
	}}}
}

func noProgress(int, int, string) {}

// adopt runs Check and Import as they are run together.
func (tg *target) adopt(r *reference) (*Plan, *Result) {
	tg.t.Helper()
	plan, src := check(tg.t, r)
	defer src.Close()
	result, err := src.Import(tg.t.Context(), plan, tg.Target, noProgress)
	must(tg.t, err)
	return plan, result
}

func check(t testing.TB, r *reference) (*Plan, *Source) {
	t.Helper()
	src, err := Open(t.Context(), r.layout())
	must(t, err)
	plan, err := src.Check(t.Context(), testNow, testNow.Add(-72*time.Hour), noProgress)
	must(t, err)
	return plan, src
}

func (tg *target) clean() {
	tg.t.Helper()
	problems, err := tg.Store.Check(tg.t.Context(), 0, nil)
	must(tg.t, err)
	for _, p := range problems {
		tg.t.Error("check:", p)
	}
}

func (tg *target) head(did syntax.DID) string {
	tg.t.Helper()
	acct, err := tg.Store.AccountByDID(tg.t.Context(), did)
	must(tg.t, err)
	head, _, err := tg.Store.Head(tg.t.Context(), acct.ID)
	must(tg.t, err)
	return head.CID.String()
}

func (tg *target) events() []store.StoredEvent {
	tg.t.Helper()
	all, err := tg.Store.Events(tg.t.Context(), 0, 1000, 1<<30)
	must(tg.t, err)
	return all
}

func found(p *Plan, text string) bool {
	for _, f := range p.Findings {
		if strings.Contains(f.String(), text) {
			return true
		}
	}
	return false
}

// Each case breaks one thing in alice's data. bob is sound in all of them.
func TestBrokenAccountsAreFound(t *testing.T) {
	actorFile := func(name string) func(r *reference) string {
		return func(r *reference) string { return filepath.Join(r.actorDir(alice), name) }
	}
	for name, tt := range map[string]struct {
		harm func(r *reference)
		want string
	}{
		"no key":   {func(r *reference) { must(r.t, os.Remove(actorFile("key")(r))) }, "signing key"},
		"key cut":  {func(r *reference) { must(r.t, os.WriteFile(actorFile("key")(r), []byte("x"), 0o600)) }, "has 1 bytes, want 32"},
		"no store": {func(r *reference) { must(r.t, os.Remove(actorFile("store.sqlite")(r))) }, "its repository is missing"},
		"store is no store": {func(r *reference) {
			must(r.t, os.WriteFile(actorFile("store.sqlite")(r), []byte("not a database at all"), 0o600))
		}, "head of the repository"},
		"no head":        {func(r *reference) { r.actor(alice, "DELETE FROM repo_root") }, "head of the repository"},
		"commit missing": {func(r *reference) { r.actor(alice, "DELETE FROM repo_block WHERE cid = (SELECT cid FROM repo_root)") }, "is missing"},
		"commit changed": {func(r *reference) {
			r.actor(alice, "UPDATE repo_block SET content = content || x'00' WHERE cid = (SELECT cid FROM repo_root)")
		}, "hash to"},
		"another account's commit": {func(r *reference) {
			d := r.diffs[bob]
			r.actor(alice, "INSERT INTO repo_block VALUES (?, 'x', 1, ?)", d.Head.CID.String(), d.Head.Block)
			r.actor(alice, "UPDATE repo_root SET cid = ?", d.Head.CID.String())
		}, "of another account"},
		"record's bytes changed": {func(r *reference) {
			r.actor(alice, "UPDATE repo_block SET content = content || x'00' WHERE cid = (SELECT cid FROM record LIMIT 1)")
		}, "is damaged"},
		"record's bytes gone": {func(r *reference) {
			r.actor(alice, "DELETE FROM repo_block WHERE cid = (SELECT cid FROM record LIMIT 1)")
		}, "is missing"},
		"DID is none": {func(r *reference) { exec(r.t, r.accounts, "UPDATE actor SET did = '../../x' WHERE did = ?", alice) }, "did"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReference(t)
			r.account(alice, "alice.test", 5, 30, nil)
			r.account(bob, "bob.test", 5, 30, nil)
			tt.harm(r)
			r.stop()
			tg := newTarget(t)
			plan, result := tg.adopt(r)
			if plan.Broken() != 1 || result.Adopted != 1 || result.Left != 1 || !found(plan, tt.want) {
				t.Errorf("%d broken, %d adopted, %d left; want %q in %v", plan.Broken(), result.Adopted, result.Left, tt.want, plan.Findings)
			}
			if _, err := tg.Store.AccountByDID(t.Context(), alice); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("a broken account was taken over: %v", err)
			}
			tg.clean()
		})
	}
}

// What can be made good, or does no harm, stops nothing.
func TestDefectsThatStopNothing(t *testing.T) {
	other, err := atcrypto.GeneratePrivateKeyK256()
	must(t, err)
	for name, tt := range map[string]struct {
		signer atcrypto.PrivateKey
		harm   func(r *reference)
		want   string
		moved  bool // the head is a new one
		missed int  // blobs
	}{
		"index lacks a record": {harm: func(r *reference) { r.actor(alice, "DELETE FROM record WHERE rkey = '3k00000000002'") }, want: "read from its tree"},
		"index has one too many": {harm: func(r *reference) {
			r.actor(alice, "INSERT INTO record SELECT uri || 'x', cid, collection, rkey || 'x', repoRev, indexedAt, NULL FROM record LIMIT 1")
		}, want: "read from its tree"},
		"revision after the head": {harm: func(r *reference) { r.actor(alice, "UPDATE record SET repoRev = '3zzzzzzzzzzzz'") }},
		"signed by another key":   {signer: other, want: "new commit", moved: true},
		"blob missing":            {harm: func(r *reference) { must(r.t, os.Remove(firstBlob(r))) }, want: "its file is missing", missed: 1},
		"blob cut":                {harm: func(r *reference) { must(r.t, os.Truncate(firstBlob(r), 3)) }, want: "has 3 bytes", missed: 1},
		"blob changed":            {harm: func(r *reference) { must(r.t, os.WriteFile(firstBlob(r), make([]byte, 30), 0o600)) }, want: "holds other bytes", missed: 1},
		"last event is not of the head": {harm: func(r *reference) {
			exec(r.t, r.sequencer, "UPDATE repo_seq SET event = (SELECT event FROM repo_seq WHERE did = ?), did = ? WHERE did = ?", bob, alice, alice)
		}, want: "#sync event is added"},
		"deletion long due": {harm: func(r *reference) {
			exec(r.t, r.accounts, "UPDATE actor SET deactivatedAt = '2025-01-01T00:00:00.000Z', deleteAfter = '2025-01-04T00:00:00.000Z' WHERE did = ?", alice)
		}, want: "it will be after 2026-04-03"},
		"empty stream": {harm: func(r *reference) { exec(r.t, r.sequencer, "DELETE FROM repo_seq") }},
		"kind of event that is no more": {harm: func(r *reference) {
			exec(r.t, r.sequencer, "INSERT INTO repo_seq (did, eventType, event, sequencedAt) VALUES (?, 'handle', x'a0', ?)", alice, iso(testNow))
		}},
		"columns of an old release": {harm: func(r *reference) {
			exec(r.t, r.accounts, "ALTER TABLE actor DROP COLUMN deactivatedAt")
			exec(r.t, r.accounts, "ALTER TABLE actor DROP COLUMN deleteAfter")
			exec(r.t, r.accounts, "ALTER TABLE app_password DROP COLUMN privileged")
		}},
		"folder of nobody": {harm: func(r *reference) {
			must(r.t, os.MkdirAll(filepath.Join(r.dir, "actors", "ab", "did:plc:gone"), 0o700))
		}, want: "belong to no account"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReference(t)
			r.account(bob, "bob.test", 5, 30, nil)
			r.account(alice, "alice.test", 5, 30, tt.signer)
			if tt.harm != nil {
				tt.harm(r)
			}
			r.stop()
			tg := newTarget(t)
			plan, result := tg.adopt(r)
			if plan.Broken() != 0 || result.Adopted != 2 || tt.want != "" && !found(plan, tt.want) {
				t.Errorf("%d broken, %d adopted, want %q in %v", plan.Broken(), result.Adopted, tt.want, plan.Findings)
			}
			tg.clean()
			if moved := tg.head(alice) != r.diffs[alice].Head.CID.String(); moved != tt.moved {
				t.Errorf("head moved: %v", moved)
			}
			if tg.head(bob) != r.diffs[bob].Head.CID.String() {
				t.Error("bob's head moved")
			}
			acct, err := tg.Store.AccountByDID(t.Context(), alice)
			must(t, err)
			stats, err := tg.Store.BlobStats(t.Context(), acct.ID)
			must(t, err)
			if stats.Expected != 5 || stats.Imported != 5-int64(tt.missed) {
				t.Errorf("blobs: %+v", stats)
			}
			before := tg.events()
			if _, again := tg.adopt(r); again.Already != 2 || again.Adopted+again.Renewed+again.Events != 0 || len(tg.events()) != len(before) {
				t.Errorf("second run: %+v", again)
			}
		})
	}
}

// A server that was killed leaves a log beside its databases. What is in it counts, and it stays.
func TestLogIsReadAndStays(t *testing.T) {
	r := newReference(t)
	r.account(alice, "alice.test", 3, 30, nil)
	exec(t, r.accounts, "UPDATE actor SET handle = 'renamed.test'")
	killed := newReference(t) // a copy made while the databases are open is what a kill leaves
	killed.stop()
	must(t, os.CopyFS(filepath.Join(killed.dir, "copy"), os.DirFS(r.dir)))
	killed.dir = filepath.Join(killed.dir, "copy")
	must(t, os.Remove(filepath.Join(killed.dir, "account.sqlite-shm")))
	log, err := os.ReadFile(filepath.Join(killed.dir, "account.sqlite-wal"))
	must(t, err)
	if len(log) == 0 {
		t.Fatal("the test has no log")
	}
	tg := newTarget(t)
	tg.adopt(killed)
	if acct, err := tg.Store.AccountByDID(t.Context(), alice); err != nil || acct.Handle != "renamed.test" {
		t.Errorf("%+v, %v", acct, err)
	}
	after, err := os.ReadFile(filepath.Join(killed.dir, "account.sqlite-wal"))
	if err != nil || string(after) != string(log) {
		t.Errorf("the log was touched: %v", err)
	}
	if _, err := os.Stat(filepath.Join(killed.dir, "account.sqlite-shm")); err == nil {
		t.Error("SQLite has left its shared memory in the directory")
	}
	tg.clean()
}

// An account that is repaired after the rest was taken over comes later, and is told of.
func TestRepairedLater(t *testing.T) {
	r := newReference(t)
	r.account(alice, "alice.test", 3, 30, nil)
	r.account(bob, "bob.test", 3, 30, nil)
	r.stop()
	key := filepath.Join(r.actorDir(alice), "key")
	must(t, os.Rename(key, key+".lost"))
	tg := newTarget(t)
	tg.adopt(r)
	last := tg.Store.LastSeq()
	must(t, os.Rename(key+".lost", key))
	if _, result := tg.adopt(r); result.Adopted != 1 || result.Already != 1 {
		t.Errorf("%+v", result)
	}
	events := tg.events()
	if e := events[len(events)-1]; e.Kind != event.Sync || e.Seq <= last || e.Seq < event.MinSeq {
		t.Errorf("last event %s %d", e.Kind, e.Seq)
	}
	tg.clean()
}

// An interrupted run leaves whole accounts or none, and the next one finishes.
func TestInterrupted(t *testing.T) {
	r := newReference(t)
	for _, n := range []string{"a", "b", "c", "d", "e", "f"} {
		r.account(syntax.DID("did:plc:"+strings.Repeat(n, 24)), n+".test", 3, 30, nil)
	}
	r.stop()
	tg := newTarget(t)
	plan, src := check(t, r)
	defer src.Close()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := src.Import(ctx, plan, tg.Target, func(done, _ int, what string) {
		if what == "taking over accounts" && done == 2 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if tg.Store.LastSeq() != 0 {
		t.Error("events were taken over before the accounts")
	}
	tg.clean()
	if _, result := tg.adopt(r); result.Adopted+result.Already != 6 || result.Already < 2 || result.Events != 6 {
		t.Errorf("%+v", result)
	}
	tg.clean()
}

func TestNotAReference(t *testing.T) {
	if _, err := Open(t.Context(), Layout{AccountDB: filepath.Join(t.TempDir(), "account.sqlite")}); !errors.Is(err, ErrNoReference) {
		t.Error(err)
	}
}
