package store

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/repo"
)

// keys lists record keys as Records gives them.
func (r *testRepo) keys(t *testing.T, collection syntax.NSID, after syntax.RecordKey, limit int, reverse bool) (keys []string, more bool) {
	t.Helper()
	more, err := r.s.Records(context.Background(), r.id, collection, after, limit, reverse, func(rec *RecordView) error {
		if repo.CIDOf(rec.Body).KeyString() != string(rec.CID) {
			t.Errorf("%s does not have the bytes of its CID", rec.Path)
		}
		keys = append(keys, string(rec.RKey()))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys, more
}

func TestRecordsPages(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	r := newRepo(t, s, "alice")
	// Collections whose names begin one another: their paths lie around each other.
	var writes []repo.Write
	for _, c := range []syntax.NSID{"a.b.c", "a.b.c.d", "a.b.c-d.e", "a.b.cd"} {
		for i := range 5 {
			writes = append(writes, writeOf(repo.Create, c, fmt.Sprint(i), map[string]any{"c": string(c)}))
		}
	}
	r.mustCommit(t, writes...)
	for _, reverse := range []bool{false, true} {
		var got string
		for after := syntax.RecordKey(""); ; {
			keys, _ := r.keys(t, "a.b.c", after, 2, reverse)
			if len(keys) == 0 {
				break
			}
			got += strings.Join(keys, "")
			after = syntax.RecordKey(keys[len(keys)-1])
		}
		if want := map[bool]string{false: "43210", true: "01234"}[reverse]; got != want {
			t.Errorf("reverse %v: %s, want %s", reverse, got, want)
		}
	}
	all, err := s.Collections(ctx, r.id)
	if err != nil || fmt.Sprint(all) != "[a.b.c-d.e a.b.c.d a.b.c a.b.cd]" {
		t.Errorf("collections %v, %v", all, err)
	}
	for i := range 5 {
		r.mustCommit(t, repo.Write{Action: repo.Delete, Collection: "a.b.c", RKey: syntax.RecordKey(fmt.Sprint(i))})
	}
	for c, want := range map[syntax.NSID]int{"a.b.c": 0, "a.b.c.d": 1} {
		if dids, next, err := s.ReposByCollection(ctx, c, "", 10); err != nil || len(dids) != want || next != "" {
			t.Errorf("repositories with %s: %v, %v, want %d", c, dids, err, want)
		}
	}
	mustCheck(t, s)
}

// A page of large records ends early, so that strangers cannot have the server put half a gigabyte together.
func TestPagesAreBoundedInBytes(t *testing.T) {
	s := openTest(t)
	r := newRepo(t, s, "alice")
	const n = 12
	for i := range n {
		r.mustCommit(t, writeOf(repo.Create, "a.b.c", fmt.Sprintf("%02d", i), map[string]any{"text": strings.Repeat("x", maxPageBytes/5)}))
	}
	var sizes []int
	var after syntax.RecordKey
	for more := true; more; {
		var keys []string
		if keys, more = r.keys(t, "a.b.c", after, 100, true); len(keys) == 0 {
			t.Fatal("an empty page")
		}
		if keys[0] == after.String() {
			t.Errorf("%s comes twice", after)
		}
		sizes, after = append(sizes, len(keys)), syntax.RecordKey(keys[len(keys)-1])
	}
	if fmt.Sprint(sizes) != "[5 5 2]" {
		t.Errorf("pages of %v records, want [5 5 2]", sizes)
	}
	if keys, more := r.keys(t, "a.b.c", "10", 1, true); len(keys) != 1 || more {
		t.Errorf("the last page: %v, more %v", keys, more)
	}
}
