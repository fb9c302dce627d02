package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/repo"
)

func TestCommitStoresAll(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	r := newRepo(t, s, "alice")
	first := s.LastSeq()
	d := r.mustCommit(t, create("a", "one"), create("b", "two"))
	head, stats, err := s.Head(ctx, r.id)
	if err != nil || head.CID != d.Head.CID || head.Commit.Rev != d.Head.Commit.Rev {
		t.Fatalf("head %v, %v; want %v", head.CID, err, d.Head.CID)
	}
	size := int64(len(d.Writes[0].Record) + len(d.Writes[1].Record))
	if stats != (RepoStats{Records: 2, Bytes: size}) {
		t.Errorf("stats %+v, want 2 records of %d bytes", stats, size)
	}
	rec, err := s.Record(ctx, r.id, "app.bsky.feed.post/b")
	if err != nil || rec.CID != d.Writes[1].CID || rec.Rev != d.Head.Commit.Rev || string(rec.Body) != string(d.Writes[1].Record) {
		t.Errorf("record %+v, %v", rec, err)
	}
	events, err := s.Events(ctx, first, 10, 1<<20)
	if err != nil || len(events) != 1 || events[0].Kind != "commit" || events[0].Seq != s.LastSeq() {
		t.Errorf("events %v, %v", events, err)
	}
	r.mustCommit(t, write(repo.Update, "a", "longer than before"), remove("b"))
	if _, err := s.Record(ctx, r.id, "app.bsky.feed.post/b"); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted record: %v", err)
	}
	rec, _ = s.Record(ctx, r.id, "app.bsky.feed.post/a")
	if _, stats, _ := s.Head(ctx, r.id); stats != (RepoStats{Records: 1, Bytes: int64(len(rec.Body))}) {
		t.Errorf("stats after update and delete: %+v", stats)
	}
	mustCheck(t, s)
}

func TestCommitWithoutChange(t *testing.T) {
	s := openTest(t)
	r := newRepo(t, s, "alice")
	was := r.mustCommit(t, create("a", "one"))
	seq := s.LastSeq()
	d := r.mustCommit(t, write(repo.Put, "a", "one"))
	if d.Changed() || d.Head.CID != was.Head.CID || s.LastSeq() != seq {
		t.Errorf("the same record again made a commit: %v", d.Head.CID)
	}
}

func TestEmptyCommit(t *testing.T) {
	s := openTest(t)
	r := newRepo(t, s, "alice")
	was := r.mustCommit(t, create("a", "one"))
	d := r.mustCommit(t)
	if !d.Changed() || d.Head.Commit.Data != was.Head.Commit.Data || d.Head.Commit.Rev <= was.Head.Commit.Rev {
		t.Errorf("empty commit: %+v", d.Head.Commit)
	}
	mustCheck(t, s)
}

func TestRefusedWrites(t *testing.T) {
	s := openTest(t)
	r := newRepo(t, s, "alice")
	d := r.mustCommit(t, create("a", "one"))
	other := repo.CIDOf([]byte{1})
	swapped := func(w repo.Write, c cid.Cid) repo.Write { w.Swap = &c; return w }
	blob := create("x", "x")
	blob.Blobs = []repo.BlobRef{{CID: repo.BlobCIDOf([32]byte{1}), MimeType: "image/png", Size: 3}}
	tests := []struct {
		name  string
		write repo.Write
		swap  *cid.Cid
		want  error
	}{
		{"create what exists", create("a", "two"), nil, repo.ErrRecordExists},
		{"update what does not", write(repo.Update, "b", "two"), nil, repo.ErrRecordNotFound},
		{"delete what does not", remove("b"), nil, repo.ErrRecordNotFound},
		{"swapCommit of another head", create("b", "two"), &other, repo.ErrSwap},
		{"swapRecord of another CID", swapped(write(repo.Put, "a", "two"), other), nil, repo.ErrSwap},
		{"swapRecord null of a record", swapped(write(repo.Put, "a", "two"), cid.Undef), nil, repo.ErrSwap},
		{"blob never uploaded", blob, nil, ErrBlobNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			seq := s.LastSeq()
			req := CommitRequest{Account: r.id, DID: r.did, Key: r.key, SwapCommit: tt.swap, Writes: []repo.Write{tt.write}}
			if _, err := s.Commit(context.Background(), req); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if head, _, _ := s.Head(context.Background(), r.id); head.CID != d.Head.CID || s.LastSeq() != seq {
				t.Error("a refused write changed something")
			}
		})
	}
	mustCheck(t, s)
}

func TestInactiveAccount(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	r := newRepo(t, s, "alice")
	if err := s.Update(ctx, func(tx *Tx) error { return tx.SetTakedown(ctx, r.id, "mod-1") }); err != nil {
		t.Fatal(err)
	}
	if _, err := r.commit(create("a", "one")); !errors.Is(err, ErrInactive) {
		t.Fatalf("write of a taken down account: %v", err)
	}
	seq := s.LastSeq()
	req := CommitRequest{Account: r.id, DID: r.did, Key: r.key, Writes: []repo.Write{create("a", "one")}, AllowInactive: true}
	if _, err := s.Commit(ctx, req); err != nil || s.LastSeq() != seq {
		t.Fatalf("allowed write: %v; seq %d, was %d", err, s.LastSeq(), seq)
	}
	mustCheck(t, s)
}

func TestExtraUndoesCommit(t *testing.T) {
	s := openTest(t)
	r := newRepo(t, s, "alice")
	was := r.mustCommit(t, create("a", "one"))
	boom, seq := errors.New("boom"), s.LastSeq()
	req := CommitRequest{Account: r.id, DID: r.did, Key: r.key, Writes: []repo.Write{create("b", "two")},
		Extra: func(*Tx, *repo.Diff) error { return boom }}
	if _, err := s.Commit(context.Background(), req); !errors.Is(err, boom) {
		t.Fatalf("error %v, want that of Extra", err)
	}
	if s.LastSeq() != seq {
		t.Error("the undone commit left an event")
	}
	if d := r.mustCommit(t, create("b", "two")); d.Since != was.Head.Commit.Rev {
		t.Errorf("since %s, want %s", d.Since, was.Head.Commit.Rev)
	}
	mustCheck(t, s)
}

func TestDuplicateRule(t *testing.T) {
	s := openTest(t)
	r := newRepo(t, s, "alice")
	const like = syntax.NSID("app.bsky.feed.like")
	likeOf := func(rkey, subject string) repo.Write {
		w := writeOf(repo.Create, like, rkey, map[string]any{"$type": like.String(), "subject": subject, "n": rkey})
		w.Subject, w.Dedup = subject, true
		return w
	}
	r.mustCommit(t, likeOf("1", "at://x"), likeOf("2", "at://y"))
	repost := likeOf("9", "at://x")
	repost.Collection = "app.bsky.feed.repost"
	r.mustCommit(t, repost)
	d := r.mustCommit(t, likeOf("3", "at://x"))
	if len(d.Ops) != 2 || len(d.Results) != 1 || d.Results[0].Path != like.String()+"/3" {
		t.Errorf("ops %v, results %v", d.Ops, d.Results)
	}
	if likes, _ := r.keys(t, like, "", 10, true); fmt.Sprint(likes) != "[2 3]" {
		t.Errorf("likes %v", likes)
	}
	if reposts, _ := r.keys(t, "app.bsky.feed.repost", "", 10, true); len(reposts) != 1 {
		t.Errorf("a repost of the same post went too")
	}
	mustCheck(t, s)
}

func TestListRepos(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	for _, name := range []string{"alice", "bob", "carol"} {
		newRepo(t, s, name)
	}
	_ = s.Update(ctx, func(tx *Tx) error { return tx.SetDeactivated(ctx, 2, tx.Now(), tx.Now()) })
	var got []string
	for cursor := ""; ; {
		repos, next, err := s.ListRepos(ctx, cursor, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range repos {
			got = append(got, string(r.DID)+" "+r.Status)
		}
		if cursor = next; next == "" {
			break
		}
	}
	if want := "[did:plc:alice  did:plc:bob deactivated did:plc:carol ]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	if _, _, err := s.ListRepos(ctx, "x", 2); !errors.Is(err, ErrCursor) {
		t.Errorf("cursor x: %v", err)
	}
}

func TestSwapRace(t *testing.T) {
	s := openTest(t)
	r := newRepo(t, s, "alice")
	head, _, _ := s.Head(context.Background(), r.id)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 16 {
		wg.Go(func() {
			req := CommitRequest{Account: r.id, DID: r.did, Key: r.key, SwapCommit: &head.CID, Writes: []repo.Write{create(fmt.Sprint(i), "x")}}
			switch _, err := s.Commit(context.Background(), req); {
			case err == nil:
				mu.Lock()
				won++
				mu.Unlock()
			case !errors.Is(err, repo.ErrSwap):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d of 16 swaps of the same head succeeded", won)
	}
	mustCheck(t, s)
}

func TestConcurrentWriters(t *testing.T) {
	s := openTest(t)
	repos := []*testRepo{newRepo(t, s, "alice"), newRepo(t, s, "bob")}
	var tapped []int64
	first := s.LastSeq()
	s.OnEvents(func(events []StoredEvent) {
		for _, e := range events {
			if e.Seq > first { // the tap may still be told of the last of the new accounts
				tapped = append(tapped, e.Seq)
			}
		}
	})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 20 {
				if _, err := repos[g%2].commit(create(fmt.Sprintf("%d-%d", g, i), "x")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	events, err := s.Events(context.Background(), first, 1000, 1<<30)
	if err != nil || len(events) != 160 {
		t.Fatalf("%d events, %v; want 160", len(events), err)
	}
	_ = s.Close() // the tap has run for all once the writer has ended
	for i, e := range events {
		if i >= len(tapped) || tapped[i] != e.Seq {
			t.Fatalf("tap saw %v", tapped)
		}
	}
}

func TestDeleteRepo(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	r, other := newRepo(t, s, "alice"), newRepo(t, s, "bob")
	for i := range 10 {
		r.mustCommit(t, create(fmt.Sprint(i), "x"))
	}
	other.mustCommit(t, create("a", "x"))
	if err := s.Update(ctx, func(tx *Tx) error { return tx.MarkDeleted(ctx, r.id, tx.Now()) }); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteRepo(ctx, r.id); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"repo", "record", "collection", "blob_ref", "outline"} {
		var n int
		if err := s.read.queryRow(ctx, "SELECT count(*) FROM "+table+" WHERE account = ?", int64(r.id)).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d rows left in %s, %v", n, table, err)
		}
	}
	events, _ := s.Events(ctx, 0, 1000, 1<<30)
	for _, e := range events {
		if e.Account == r.id && e.Kind != "account" {
			t.Errorf("event %s of the deleted account is left", e.Kind)
		}
	}
	if _, err := r.commit(create("z", "x")); !errors.Is(err, ErrNotFound) {
		t.Errorf("write to a deleted repository: %v", err)
	}
	mustCheck(t, s)
}
