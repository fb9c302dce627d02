package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/ipfs/go-cid"

	"perch/repo"
	"perch/repo/mst"
)

// logSize is that of the file of the write-ahead log.
func logSize(t testing.TB, s *Store) int64 {
	t.Helper()
	info, err := os.Stat(s.opts.Path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// storm writes commits of some 200 KB to r until stop returns true, and returns how large the log was at most.
func (r *testRepo) storm(t testing.TB, tag string, stop func(i int) bool) (most int64) {
	text := strings.Repeat("x", 20_000)
	for i := 0; !stop(i); i++ {
		var writes []repo.Write
		for k := range 10 {
			writes = append(writes, create(fmt.Sprintf("%s%d-%d", tag, i, k), text))
		}
		if _, err := r.commit(writes...); err != nil {
			t.Error(err)
			return most
		}
		most = max(most, logSize(t, r.s))
	}
	return most
}

// TestLogStaysSmallBesideExports: readers of a repository follow each other without a gap, the slowest of them never reads on, and others write.
func TestLogStaysSmallBesideExports(t *testing.T) {
	const limit, rounds = 4 << 20, 200 // 40 MB
	ctx := context.Background()
	s := openTest(t, func(o *Options) { o.LogBytes = limit })
	read, written := newRepo(t, s, "read"), newRepo(t, s, "written")
	read.fill(t, 3000)
	slow, err := s.Snapshot(ctx, read.id)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	bodies := slow.Bodies("")
	first, _, _, err := bodies.Next()
	if err != nil {
		t.Fatal(err)
	}

	done := make(chan struct{})
	var exports sync.WaitGroup
	for range 3 {
		exports.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					if n := exportedRecords(t, s, read.id); n != 3000 {
						t.Errorf("an export beside the writes has %d records", n)
						return
					}
				}
			}
		})
	}
	most := written.storm(t, "w", func(i int) bool { return i == rounds })
	close(done)
	exports.Wait()
	if most > 8*limit {
		t.Errorf("the log grew to %d MB", most>>20)
	}
	t.Logf("the log grew to %.1f MB", float64(most)/(1<<20))

	// The slow reader lost its transaction on the way, and still reads the repository as it was.
	n := 1
	for last := first; ; n++ {
		path, _, _, err := bodies.Next()
		if err == io.EOF {
			break
		}
		if err != nil || path <= last {
			t.Fatalf("%s after %s: %v", path, last, err)
		}
		last = path
	}
	if n != 3000 {
		t.Errorf("the slow reader saw %d records", n)
	}
	mustCheck(t, s)
}

// exportedRecords exports a repository and returns how many records are in it.
func exportedRecords(t *testing.T, s *Store, acct AccountID) int {
	sn, err := s.Snapshot(context.Background(), acct)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer sn.Close()
	var car bytes.Buffer
	if err := repo.Export(&car, sn.Head, sn.Tree, sn, sn.Bodies("").Next); err != nil {
		t.Error(sn.Cause(err))
		return 0
	}
	blocks := map[cid.Cid][]byte{}
	if _, err := repo.ReadCAR(&car, repo.EventCARLimits(), func(b repo.Block) error { blocks[b.CID] = b.Data; return nil }); err != nil {
		t.Error(err)
	}
	n := 0
	err = mst.Walk(sn.Head.Commit.Data, func(c cid.Cid) ([]byte, error) { return blocks[c], nil }, func(e mst.Entry) error {
		if blocks[e.Value] != nil {
			n++
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return n
}

// TestOvertakenExport: what an interrupted export has read may change, what it has not read may not.
func TestOvertakenExport(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		rkey string // of the record that goes
		want error
	}{
		"nothing":            {"", nil},
		"what was read":      {"a0001", nil},
		"what was not":       {"a2999", ErrOvertaken},
		"something new late": {"z", ErrOvertaken},
	} {
		t.Run(name, func(t *testing.T) {
			s := openTest(t)
			r := newRepo(t, s, "alice")
			for i := 0; i < 3000; i += repo.MaxOps {
				var writes []repo.Write
				for k := i; k < i+repo.MaxOps; k++ {
					writes = append(writes, create(fmt.Sprintf("a%04d", k), "x"))
				}
				r.mustCommit(t, writes...)
			}
			sn, err := s.Snapshot(ctx, r.id)
			if err != nil {
				t.Fatal(err)
			}
			defer sn.Close()
			var car bytes.Buffer
			records, nodes, n := 0, sn.Bodies(""), 0
			next := func() (string, cid.Cid, []byte, error) {
				if n++; n == 2000 {
					switch c.rkey {
					case "":
					case "z":
						r.mustCommit(t, create("z", "new"))
					default:
						r.mustCommit(t, remove(c.rkey))
					}
					s.gate.hold()
					s.gate.release()
				}
				records++
				return nodes.Next()
			}
			err = sn.Cause(repo.Export(&car, sn.Head, sn.Tree, sn, next))
			if !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Errorf("after %d records: %v, want %v", records, err, c.want)
			}
			if got := sn.Moved(); got != (c.rkey != "") {
				t.Errorf("moved: %v", got)
			}
			if _, err := sn.Body(ctx, postNSID.String()+"/a0500"); c.rkey != "" && !errors.Is(err, ErrOvertaken) || c.rkey == "" && err != nil {
				t.Errorf("a body by itself: %v", err)
			}
			if blocks, err := s.CountBlocks(ctx, r.id); err != nil || blocks < 3000 {
				t.Errorf("%d blocks, %v", blocks, err)
			}
		})
	}
}

// TestSnapshotsWaitForTheGate: while the log is reset, snapshots neither begin nor go on.
func TestSnapshotsWaitForTheGate(t *testing.T) {
	s := openTest(t)
	r := newRepo(t, s, "alice")
	r.mustCommit(t, create("a", "x"))
	s.gate.hold()
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan error)
	go func() {
		_, err := s.Snapshot(ctx, r.id)
		gone <- err
	}()
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who leaves: %v", err)
	}
	got := make(chan error)
	go func() {
		sn, err := s.Snapshot(context.Background(), r.id)
		if err == nil {
			sn.Close()
		}
		got <- err
	}()
	s.gate.release()
	if err := <-got; err != nil {
		t.Error(err)
	}
	if len(s.gate.open) != 0 {
		t.Errorf("%d snapshots are left over", len(s.gate.open))
	}
}
