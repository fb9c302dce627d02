package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/repo"
)

// randomWrites makes a batch over the keys 0 to keys-1, of which has holds the ones that are there; grow sways it to creates or deletes.
func randomWrites(rng *rand.Rand, has map[int]bool, keys, n int, grow bool) []repo.Write {
	seen := map[int]bool{}
	var writes []repo.Write
	for len(writes) < n {
		k := rng.IntN(keys)
		if seen[k] {
			continue
		}
		seen[k] = true
		rkey, text := fmt.Sprintf("k%d", k), fmt.Sprint(rng.Int64())
		switch {
		case !has[k]:
			has[k] = true
			writes = append(writes, create(rkey, text))
		case grow:
			writes = append(writes, write(repo.Update, rkey, text))
		default:
			delete(has, k)
			writes = append(writes, remove(rkey))
		}
	}
	return writes
}

// TestColdEqualsWarm takes one repository through growth and decline twice: with its tree in memory throughout, and with nothing in memory before each commit.
func TestColdEqualsWarm(t *testing.T) {
	ctx := context.Background()
	small := func(o *Options) { o.OutlineRecords = 600 }
	cold, warm := newRepo(t, openTest(t, small), "alice"), newRepo(t, openTest(t, small), "alice")
	rng := rand.New(rand.NewPCG(1, 2))
	has := map[int]bool{}
	layers := map[int]bool{}
	for step := range 40 {
		writes := randomWrites(rng, has, 3000, 1+rng.IntN(200), step < 20)
		a := warm.mustCommit(t, writes...)
		cold.s.trees.drop(cold.id)
		b := cold.mustCommit(t, writes...)
		if a.Head.Commit.Data != b.Head.Commit.Data {
			t.Fatalf("step %d: warm tree %s, cold %s", step, a.Head.Commit.Data, b.Head.Commit.Data)
		}
		for _, r := range []*testRepo{warm, cold} {
			row, err := readRepo(ctx, r.s.read, r.id)
			if err != nil || row.Records != int64(len(has)) {
				t.Fatalf("step %d: %d records, %v; want %d", step, row.Records, err, len(has))
			}
			layers[row.outline] = true
			if want := row.Records >= 600; want && row.outline == 0 {
				t.Fatalf("step %d: no outline of %d records", step, row.Records)
			}
			if row.outline > 0 {
				tree, err := readOutline(ctx, r.s.read, r.id, row.outline)
				if err != nil || tree.Root() != row.head.Commit.Data {
					t.Fatalf("step %d: outline does not fit: %v", step, err)
				}
			}
		}
	}
	if !layers[0] || !layers[outlineLayer] {
		t.Error("the repository did not cross the threshold")
	}
	mustCheck(t, warm.s)
	mustCheck(t, cold.s)
}

// TestOutlineRebuilt breaks the stored outline in several ways: it costs a warning and a scan, never a wrong tree.
func TestOutlineRebuilt(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, func(o *Options) { o.OutlineRecords = 500 })
	r := newRepo(t, s, "alice")
	r.fill(t, 2000)
	for i, damage := range []string{
		"DELETE FROM outline",
		"UPDATE outline SET below = NULL",
		"UPDATE outline SET cid = x'00' WHERE path <> ''",
		"UPDATE outline SET path = path || 'x' WHERE path <> ''",
		"DELETE FROM outline WHERE path = (SELECT max(path) FROM outline)",
	} {
		if err := s.Update(ctx, func(tx *Tx) error { _, err := tx.exec(ctx, damage); return err }); err != nil {
			t.Fatal(err)
		}
		s.trees.drop(r.id)
		r.mustCommit(t, create(fmt.Sprint("new", i), "x"))
		mustCheck(t, s)
	}
}

// TestLostRecordIsNoticed has a record vanish behind the store's back: the next commit must refuse, not sign another tree.
func TestLostRecordIsNoticed(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	r := newRepo(t, s, "alice")
	r.fill(t, 50)
	if err := s.Update(ctx, func(tx *Tx) error {
		_, err := tx.exec(ctx, "DELETE FROM record WHERE path = (SELECT max(path) FROM record)")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	s.trees.drop(r.id)
	if _, err := r.commit(create("zz", "x")); !errors.Is(err, repo.ErrCorrupt) {
		t.Errorf("commit to a damaged repository: %v", err)
	}
}

func TestTreeCacheIsBounded(t *testing.T) {
	s := openTest(t, func(o *Options) { o.TreeCacheBytes = 20_000 })
	var repos []*testRepo
	for i := range 20 {
		repos = append(repos, newRepo(t, s, fmt.Sprintf("user%d", i)))
	}
	for i := range 100 {
		repos[i*7%20].mustCommit(t, create(fmt.Sprint(i), "x"))
		if s.trees.weight > s.trees.max {
			t.Fatalf("cache holds %d bytes, at most %d", s.trees.weight, s.trees.max)
		}
	}
	if n := s.trees.recent.Len(); n == 0 || n == 20 || n != len(s.trees.byAcct) {
		t.Errorf("%d accounts cached, %d known", n, len(s.trees.byAcct))
	}
	mustCheck(t, s)
}

func TestSnapshotStaysAsItWas(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, func(o *Options) { o.Snapshots = 1 })
	r := newRepo(t, s, "alice")
	r.fill(t, 300)
	middle := r.mustCommit(t, create("before", "x"))
	sn, err := s.Snapshot(ctx, r.id)
	if err != nil {
		t.Fatal(err)
	}
	defer sn.Close()
	r.mustCommit(t, create("after", "x"), remove("before"))
	if _, err := sn.Body(ctx, middle.Ops[0].Path); err != nil {
		t.Errorf("record deleted after the snapshot: %v", err)
	}
	for since, wantRecords := range map[string]int{"": 301, middle.Since.String(): 1} {
		if got := exportRecords(t, sn, since); got != wantRecords {
			t.Errorf("export since %q has %d records, want %d", since, got, wantRecords)
		}
	}
	full, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Snapshot(full, r.id); !errors.Is(err, context.Canceled) {
		t.Errorf("one snapshot too many: %v", err)
	}
	sn.Close()
	sn.Close()
	next, err := s.Snapshot(ctx, r.id)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if got := exportRecords(t, next, ""); got != 301 {
		t.Errorf("%d records in the next snapshot", got)
	}
}

// exportRecords exports the snapshot, reads it back and returns how many of its records are in it.
func exportRecords(t *testing.T, sn *Snapshot, since string) int {
	t.Helper()
	bodies := sn.Bodies(syntax.TID(since))
	var car bytes.Buffer
	if err := repo.Export(&car, sn.Head, sn.Tree, sn, bodies.Next); err != nil {
		t.Fatal(err)
	}
	blocks := map[cid.Cid]bool{}
	if _, err := repo.ReadCAR(&car, repo.EventCARLimits(), func(b repo.Block) error { blocks[b.CID] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := sn.Scan("", "", func(_ string, c cid.Cid) error {
		if blocks[c] {
			n++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSnapshotOfNobody(t *testing.T) {
	s := openTest(t, func(o *Options) { o.Snapshots = 1 })
	for range 3 { // the connection must come back each time
		if _, err := s.Snapshot(context.Background(), 99); !errors.Is(err, ErrNotFound) {
			t.Fatalf("snapshot of no account: %v", err)
		}
	}
}
