package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"perch/repo"
)

// holdWriter keeps the writer busy until release is called, so that all jobs given meanwhile share a batch.
func holdWriter(s *Store) (release func()) {
	taken, free := make(chan struct{}), make(chan struct{})
	go func() { _ = s.Update(context.Background(), func(*Tx) error { close(taken); <-free; return nil }) }()
	<-taken
	return func() { close(free) }
}

// waitQueued waits until n jobs are in the queue.
func waitQueued(s *Store, n int) {
	for len(s.w.queue) < n {
		select {
		case <-s.w.stopped:
			return
		default:
		}
	}
}

func TestGroupIsolation(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	var repos []*testRepo
	for i := range 6 {
		repos = append(repos, newRepo(t, s, fmt.Sprintf("user%d", i)))
	}
	boom := errors.New("boom")
	badBlob := create("x", "x")
	badBlob.Blobs = []repo.BlobRef{{CID: repo.BlobCIDOf([32]byte{9}), MimeType: "image/png", Size: 1}}
	request := func(r *testRepo, w repo.Write, extra error) CommitRequest {
		req := CommitRequest{Account: r.id, DID: r.did, Key: r.key, Writes: []repo.Write{w}}
		if extra != nil {
			req.Extra = func(*Tx, *repo.Diff) error { return extra }
		}
		return req
	}
	jobs := []struct {
		do   func() error
		want error
	}{
		{func() error { _, err := s.Commit(ctx, request(repos[0], create("a", "x"), nil)); return err }, nil},
		{func() error { _, err := s.Commit(ctx, request(repos[1], badBlob, nil)); return err }, ErrBlobNotFound},
		{func() error { _, err := s.Commit(ctx, request(repos[2], create("a", "x"), boom)); return err }, boom},
		{func() error {
			return s.Update(ctx, func(tx *Tx) error {
				_, _ = tx.exec(ctx, "DELETE FROM repo")
				return boom
			})
		}, boom},
		{func() error {
			return s.Update(ctx, func(tx *Tx) error { _, err := tx.exec(ctx, "nonsense"); return err })
		}, errAny},
		{func() error { _, err := s.Commit(ctx, request(repos[3], create("a", "x"), nil)); return err }, nil},
		{func() error { return s.SetSecret(ctx, "name", []byte("value")) }, nil},
	}
	release := holdWriter(s)
	first := s.LastSeq()
	errs := make([]error, len(jobs))
	var wg sync.WaitGroup
	for i := range jobs {
		wg.Go(func() { errs[i] = jobs[i].do() })
	}
	waitQueued(s, len(jobs))
	release()
	wg.Wait()
	for i, j := range jobs {
		if ok := errors.Is(errs[i], j.want) || j.want == errAny && errs[i] != nil; !ok {
			t.Errorf("job %d: %v, want %v", i, errs[i], j.want)
		}
	}
	events, _ := s.Events(ctx, first, 100, 1<<20)
	if len(events) != 2 {
		t.Errorf("%d events of 2 good commits", len(events))
	}
	mustCheck(t, s)
	for _, r := range repos { // and all go on from where they are
		r.mustCommit(t, create("b", "x"))
	}
	mustCheck(t, s)
}

// errAny stands for whatever error.
var errAny = errors.New("any")

func TestFailedTransaction(t *testing.T) {
	for _, step := range []string{"records written", "before commit"} {
		t.Run(step, func(t *testing.T) {
			s := openTest(t)
			repos := []*testRepo{newRepo(t, s, "alice"), newRepo(t, s, "bob"), newRepo(t, s, "carol")}
			for _, r := range repos {
				r.mustCommit(t, create("a", "x"))
			}
			boom, seq := errors.New("boom"), s.LastSeq()
			release := holdWriter(s)
			errs := make([]error, len(repos))
			var wg sync.WaitGroup
			for i, r := range repos {
				wg.Go(func() { _, errs[i] = r.commit(create("b", "x")) })
			}
			waitQueued(s, len(repos))
			s.failAt = func(at string) error {
				if at == step {
					return boom
				}
				return nil
			}
			release()
			wg.Wait()
			_ = s.Update(context.Background(), func(*Tx) error { s.failAt = nil; return nil })
			for i, err := range errs {
				if !errors.Is(err, boom) {
					t.Errorf("commit %d: %v, want %v", i, err, boom)
				}
			}
			if s.LastSeq() != seq {
				t.Error("a failed transaction left an event")
			}
			mustCheck(t, s)
			for _, r := range repos {
				r.mustCommit(t, create("b", "x"))
			}
			mustCheck(t, s)
		})
	}
}

// A commit has no savepoint. One that panics in its midst must not leave what it has written so far to the transaction it shares.
func TestPanicLeavesNothing(t *testing.T) {
	s := openTest(t)
	r := newRepo(t, s, "alice")
	seq := s.LastSeq()
	s.failAt = func(at string) error {
		if at == "records written" {
			panic("boom")
		}
		return nil
	}
	if _, err := r.commit(create("a", "x")); err == nil {
		t.Fatal("a commit that panicked was acknowledged")
	}
	_ = s.Update(context.Background(), func(*Tx) error { s.failAt = nil; return nil })
	if s.LastSeq() != seq {
		t.Error("it left an event")
	}
	mustCheck(t, s)
	r.mustCommit(t, create("a", "x"))
	mustCheck(t, s)
}

func TestLeftUntouched(t *testing.T) {
	for _, err := range []error{nil, repo.ErrSwap, errMoved, ErrInactive, ErrBlobNotFound, fmt.Errorf("repository: %w", ErrNotFound)} {
		if !leftUntouched(err) {
			t.Errorf("%v ends the transaction", err)
		}
	}
	for _, err := range []error{errAny, fmt.Errorf("%w: %w", errHalfApplied, ErrNotFound), errors.New("disk I/O error")} {
		if leftUntouched(err) {
			t.Errorf("%v does not end the transaction", err)
		}
	}
}

func TestSeqNeverFallsBack(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	r := newRepo(t, s, "alice")
	last := s.LastSeq()
	for i := range 20 {
		r.mustCommit(t, create(fmt.Sprint(i), "x"))
		if s.LastSeq() <= last {
			t.Fatalf("seq %d after %d", s.LastSeq(), last)
		}
		last = s.LastSeq()
	}
	const ahead = 1<<52 + 5
	if err := s.Update(ctx, func(tx *Tx) error { tx.s.w.seq = ahead; return nil }); err != nil {
		t.Fatal(err)
	}
	r.mustCommit(t, create("x", "x"))
	if s.LastSeq() != ahead+1 {
		t.Errorf("seq %d, want one more than the last, %d", s.LastSeq(), ahead)
	}
}

func TestEventsPagesAndPrune(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	r := newRepo(t, s, "alice")
	changed := s.Changed()
	for i := range 10 {
		r.mustCommit(t, create(fmt.Sprint(i), "x"))
	}
	<-changed
	if events, err := s.Events(ctx, 0, 3, 1<<20); err != nil || len(events) != 3 {
		t.Errorf("limit 3: %d events, %v", len(events), err)
	}
	if events, err := s.Events(ctx, 0, 100, 1); err != nil || len(events) != 1 {
		t.Errorf("1 byte: %d events, %v; want one all the same", len(events), err)
	}
	if n, err := s.PruneEvents(ctx, s.opts.Now().Add(1<<40)); err != nil || n != 13 {
		t.Errorf("pruned %d, %v; want all but the last of 14", n, err)
	}
	if oldest, err := s.OldestSeq(ctx); err != nil || oldest != s.LastSeq() {
		t.Errorf("oldest %d, %v; want the last, %d", oldest, err, s.LastSeq())
	}
	mustCheck(t, s)
}
