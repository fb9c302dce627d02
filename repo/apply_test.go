package repo

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/repo/mst"
)

func TestStart(t *testing.T) {
	d, err := Start(did, "3lzzzzzzzzz2a", testKey(t))
	if err != nil || !d.Changed() || d.Since != "" || d.PrevData.Defined() || d.Head.Commit.Data != mst.Empty().Root() {
		t.Fatalf("%+v, %v", d, err)
	}
	judge(t, d, publicKey(t, testKey(t)))
	d, err = Start(did, "3lzzzzzzzzz2a", testKey(t), record(t, Create, "a.b.c/x", "1"))
	if err != nil || len(d.Ops) != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	judge(t, d, publicKey(t, testKey(t)))
}

func TestEmptyCommit(t *testing.T) {
	a := newAccount(t)
	first := a.commit(record(t, Create, "a.b.c/x", "1"))
	d := a.commit()
	if !d.Changed() || d.Head.CID == first.Head.CID || d.Head.Commit.Data != first.Head.Commit.Data || d.Since != first.Head.Commit.Rev {
		t.Errorf("%+v", d)
	}
	judge(t, d, publicKey(t, a.key))
}

// TestApplyActions applies writes to a repository with the record a.b.c/there, whose text is "old".
func TestApplyActions(t *testing.T) {
	there, gone := "a.b.c/there", "a.b.c/gone"
	old := record(t, Create, there, "old").CID
	undef, other := cid.Undef, CIDOf([]byte("other"))
	swap := func(w Write, c cid.Cid) Write { w.Swap = &c; return w }
	ifExists := func(w Write) Write { w.IfExists = true; return w }
	w := func(action Action, path, text string) Write { return record(t, action, path, text) }
	for _, tt := range []struct {
		name   string
		writes []Write
		ops    string
		err    error
	}{
		{"create", []Write{w(Create, gone, "1")}, "create gone", nil},
		{"create what exists", []Write{w(Create, there, "1")}, "", ErrRecordExists},
		{"create what exists, same", []Write{w(Create, there, "old")}, "", ErrRecordExists},
		{"update", []Write{w(Update, there, "1")}, "update there", nil},
		{"update what is not there", []Write{w(Update, gone, "1")}, "", ErrRecordNotFound},
		{"update to the same", []Write{w(Update, there, "old")}, "", nil},
		{"put new", []Write{w(Put, gone, "1")}, "create gone", nil},
		{"put over", []Write{w(Put, there, "1")}, "update there", nil},
		{"put the same", []Write{w(Put, there, "old")}, "", nil},
		{"delete", []Write{w(Delete, there, "")}, "delete there", nil},
		{"delete what is not there", []Write{w(Delete, gone, "")}, "", ErrRecordNotFound},
		{"delete if exists", []Write{ifExists(w(Delete, gone, ""))}, "", nil},
		{"swap right", []Write{swap(w(Update, there, "1"), old)}, "update there", nil},
		{"swap wrong", []Write{swap(w(Update, there, "1"), other)}, "", ErrSwap},
		{"swap none, exists", []Write{swap(w(Put, there, "1"), undef)}, "", ErrSwap},
		{"swap none, new", []Write{swap(w(Put, gone, "1"), undef)}, "create gone", nil},
		{"swap of what is not there", []Write{swap(w(Put, gone, "1"), old)}, "", ErrSwap},
		{"swap delete wrong", []Write{swap(w(Delete, there, ""), other)}, "", ErrSwap},
		{"swap put the same, wrong", []Write{swap(w(Put, there, "old"), other)}, "", ErrSwap},
		{"create and update", []Write{w(Create, gone, "1"), w(Update, gone, "2")}, "create gone", nil},
		{"create and delete", []Write{w(Create, gone, "1"), w(Delete, gone, "")}, "", nil},
		{"delete and create", []Write{w(Delete, there, ""), w(Create, there, "1")}, "update there", nil},
		{"delete and create the same", []Write{w(Delete, there, ""), w(Create, there, "old")}, "", nil},
		{"delete twice", []Write{w(Delete, there, ""), w(Delete, there, "")}, "", ErrRecordNotFound},
		{"two paths", []Write{w(Create, gone, "1"), w(Delete, there, "")}, "create gone, delete there", nil},
		{"good and bad", []Write{w(Create, gone, "1"), w(Create, there, "1")}, "", ErrRecordExists},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAccount(t)
			a.commit(w(Create, there, "old"))
			before := *a.head
			d, err := a.apply(tt.writes...)
			if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
				t.Fatalf("%v, want %v", err, tt.err)
			}
			if err != nil {
				return
			}
			var ops []string
			for _, op := range d.Ops {
				ops = append(ops, string(op.Action)+" "+strings.TrimPrefix(op.Path, "a.b.c/"))
			}
			if got := strings.Join(ops, ", "); got != tt.ops {
				t.Errorf("ops %s, want %s", got, tt.ops)
			}
			if len(d.Results) != len(tt.writes) || len(d.Writes) != len(d.Ops) {
				t.Errorf("%d results, %d writes", len(d.Results), len(d.Writes))
			}
			if len(ops) == 0 {
				if d.Changed() || d.Head.CID != before.CID || d.Tree.Root() != before.Commit.Data {
					t.Errorf("a commit without changes: %+v", d)
				}
				return
			}
			judge(t, d, publicKey(t, a.key))
		})
	}
}

func TestResultsSayWhatEachWriteDid(t *testing.T) {
	a := newAccount(t)
	p := "a.b.c/x"
	one, two := record(t, Put, p, "1"), record(t, Put, p, "2")
	d := a.commit(one, two, record(t, Delete, p, ""), one)
	want := []Op{{Create, p, one.CID, cid.Undef}, {Update, p, two.CID, one.CID}, {Delete, p, cid.Undef, two.CID}, {Create, p, one.CID, cid.Undef}}
	if fmt.Sprint(d.Results) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", d.Results, want)
	}
}

// TestSameRecordTwice has two paths with one record, and a record that comes back: its block is always there.
func TestSameRecordTwice(t *testing.T) {
	a := newAccount(t)
	pub := publicKey(t, a.key)
	c := syntax.NSID("a.b.c")
	same := func(rkey string) Write {
		w, err := NewWrite(Create, c, syntax.RecordKey(rkey), map[string]any{"$type": "a.b.c"})
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	judge(t, a.commit(same("one"), same("two")), pub)
	judge(t, a.commit(same("three")), pub)
	judge(t, a.commit(record(t, Delete, "a.b.c/one", "")), pub)
	judge(t, a.commit(same("one")), pub)
	a.judgeExport()
}

func TestApplyRefuses(t *testing.T) {
	a := newAccount(t)
	a.commit(record(t, Create, "a.b.c/x", "1"))
	w := record(t, Create, "a.b.c/y", "1")
	other := CIDOf([]byte("other"))
	wrongCID, noPath, action, deleteWith := w, w, w, w
	wrongCID.CID, noPath.RKey, action.Action, deleteWith.Action = other, "", "upsert", Delete
	large := w
	large.Record = make([]byte, MaxRecord+1)
	many := make([]Write, MaxOps+1)
	for i := range many {
		many[i] = record(t, Create, fmt.Sprintf("a.b.c/many%d", i), "1")
	}
	var heavy []Write
	for i := range 3 {
		heavy = append(heavy, record(t, Create, fmt.Sprintf("a.b.c/heavy%d", i), strings.Repeat("x", 900_000-i)))
	}
	_, wrongTree := mst.Empty(), a.tree
	wrongTree, _, err := wrongTree.Put(a, "a.b.c/z", other)
	if err != nil {
		t.Fatal(err)
	}
	rev := a.rev()
	for _, tt := range []struct {
		name   string
		err    error
		did    syntax.DID
		head   *Head
		tree   mst.Tree
		rev    syntax.TID
		swap   *cid.Cid
		writes []Write
	}{
		{"wrong commit", ErrSwap, did, a.head, a.tree, rev, &other, []Write{w}},
		{"commit expected, none", ErrSwap, did, nil, mst.Empty(), rev, &other, nil},
		{"no commit expected, one", ErrSwap, did, a.head, a.tree, rev, new(cid.Cid), nil},
		{"same rev", ErrRev, did, a.head, a.tree, a.head.Commit.Rev, nil, []Write{w}},
		{"earlier rev", ErrRev, did, a.head, a.tree, "2222222222222", nil, []Write{w}},
		{"another account", ErrCorrupt, "did:plc:other", a.head, a.tree, rev, nil, []Write{w}},
		{"another tree", ErrCorrupt, did, a.head, wrongTree, rev, nil, []Write{w}},
		{"tree without commit", ErrCorrupt, did, nil, a.tree, rev, nil, []Write{w}},
		{"another CID", ErrInvalidRecord, did, a.head, a.tree, rev, nil, []Write{wrongCID}},
		{"no path", ErrInvalidRecord, did, a.head, a.tree, rev, nil, []Write{noPath}},
		{"unknown action", ErrInvalidRecord, did, a.head, a.tree, rev, nil, []Write{action}},
		{"delete with a record", ErrInvalidRecord, did, a.head, a.tree, rev, nil, []Write{deleteWith}},
		{"record too large", ErrTooLarge, did, a.head, a.tree, rev, nil, []Write{large}},
		{"event too large", ErrTooLarge, did, a.head, a.tree, rev, nil, heavy},
		{"too many", ErrTooManyOps, did, a.head, a.tree, rev, nil, many},
	} {
		_, err := Apply(tt.did, tt.head, tt.tree, a, tt.rev, a.key, tt.swap, tt.writes...)
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.err)
		}
	}
	if _, err := a.apply(many[:MaxOps]...); err != nil {
		t.Errorf("%d writes: %v", MaxOps, err)
	}
	if _, err := a.apply(heavy[:2]...); err != nil {
		t.Errorf("two large records: %v", err)
	}
}

// TestRecordsBehindTheTree changes a record without a commit.
func TestRecordsBehindTheTree(t *testing.T) {
	a := newAccount(t)
	for i := range 200 {
		a.commit(record(t, Create, fmt.Sprintf("a.b.c/k%d", i), "1"))
	}
	for i := range 200 {
		p := fmt.Sprintf("a.b.c/k%d", i)
		if mst.Height(p) == 0 {
			a.bodies[p] = []byte{0xa0}
			break
		}
	}
	var failed error
	for i := range 200 {
		if _, err := a.apply(record(t, Create, fmt.Sprintf("a.b.c/k%dx", i), "1")); err != nil {
			failed = err
		}
	}
	if !errors.Is(failed, ErrCorrupt) {
		t.Errorf("%v", failed)
	}
	if err := Export(&bytes.Buffer{}, *a.head, a.tree, a, a.next()); !errors.Is(err, ErrCorrupt) {
		t.Errorf("export: %v", err)
	}
}

func TestNextRev(t *testing.T) {
	now := time.UnixMicro(1_760_000_000_123_456)
	first := NextRev("", now, 7)
	if first != syntax.NewTID(now.UnixMicro(), 7) {
		t.Errorf("first rev %s", first)
	}
	future := NextRev("", now.Add(time.Hour), 1023)
	for _, tt := range []struct {
		name string
		prev syntax.TID
		now  time.Time
		id   uint
	}{
		{"later", first, now.Add(time.Second), 0},
		{"same microsecond", first, now, 7},
		{"same microsecond, smaller clock", first, now, 0},
		{"clock stepped back", first, now.Add(-time.Hour), 7},
		{"prev from a host ahead", future, now, 3},
		{"before 1970", first, time.UnixMicro(-5), 7},
		{"prev with the top bit", "c234567abcdef", now, 3},
		{"prev of the last microsecond", "jzzzzzzzzzz22", now, 3},
	} {
		next := NextRev(tt.prev, tt.now, tt.id)
		if _, err := syntax.ParseTID(next.String()); err != nil || next <= tt.prev {
			t.Errorf("%s: %s after %s, %v", tt.name, next, tt.prev, err)
		}
	}
	prev := first
	for range 10_000 {
		next := NextRev(prev, now, 7)
		if next <= prev {
			t.Fatalf("%s after %s", next, prev)
		}
		prev = next
	}
}
