package repo

import (
	"errors"
	"fmt"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/repo/mst"
)

// Diff is a change of a repository, to be stored as one.
type Diff struct {
	Head     Head       // the new head; the old one when nothing changed
	Since    syntax.TID // rev of the commit before; "" for the first
	PrevData cid.Cid    // data of the commit before; cid.Undef for the first
	Tree     mst.Tree   // the new tree, to be sealed when it is stored
	Ops      []Op       // at most one for each path
	Writes   []Write    // what to store: for each op the write that decided it
	CAR      []byte     // the CAR slice of the #commit event
	Results  []Op       // what each of the given writes did, in their order
}

// Changed says whether there is a new commit to store.
func (d *Diff) Changed() bool { return d.CAR != nil }

// Apply makes the next commit of a repository: all writes, in order, or an error.
//
// head is the current head, nil before the first commit. tree must be its tree
// and src show its records. Writes to one path become one op, and vanish if
// the record ends up as it was; when all vanish, the diff holds the old head and no
// commit is made. Without writes the commit is made all the same, for a new key or
// a new host.
//
// Errors: [ErrSwap], [ErrRecordExists], [ErrRecordNotFound], [ErrTooManyOps],
// [ErrTooLarge], [ErrRev], [ErrInvalidRecord], and [ErrCorrupt] when head, tree and records do not fit.
func Apply(did syntax.DID, head *Head, tree mst.Tree, src mst.Source, rev syntax.TID, key Signer, swap *cid.Cid, writes ...Write) (*Diff, error) {
	a := apply{tree: tree, src: src, byPath: make(map[string]int, len(writes))}
	if err := a.start(did, head, rev, swap); err != nil {
		return nil, err
	}
	if len(writes) > MaxOps {
		return nil, fmt.Errorf("%w: %d, at most %d", ErrTooManyOps, len(writes), MaxOps)
	}
	for i := range writes {
		if err := a.write(&writes[i]); err != nil {
			return nil, fmt.Errorf("write %d, %s: %w", i, writes[i].Path(), treeError(err))
		}
	}
	a.coalesce()
	if len(writes) > 0 && len(a.diff.Ops) == 0 && head != nil {
		a.diff.Head, a.diff.Tree = *head, tree
		return &a.diff, nil
	}
	a.diff.Tree = a.tree
	newHead, err := SignCommit(Commit{DID: did, Data: a.tree.Root(), Rev: rev}, key)
	if err != nil {
		return nil, err
	}
	a.diff.Head = newHead
	if a.diff.CAR, err = a.slice(); err != nil {
		return nil, treeError(err)
	}
	return &a.diff, nil
}

// Start makes the first commit of a repository.
func Start(did syntax.DID, rev syntax.TID, key Signer, writes ...Write) (*Diff, error) {
	return Apply(did, nil, mst.Empty(), noRecords{}, rev, key, nil, writes...)
}

// noRecords is the source of a repository without records.
type noRecords struct{}

func (noRecords) Scan(string, string, func(string, cid.Cid) error) error { return nil }

func treeError(err error) error {
	if errors.Is(err, mst.ErrCorrupt) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// apply is one Apply under way.
type apply struct {
	tree    mst.Tree
	src     mst.Source
	diff    Diff
	byPath  map[string]int // index into touched
	touched []touch
}

// touch is what the writes so far did to one path.
type touch struct {
	path   string
	before cid.Cid // in the repository
	now    cid.Cid
	last   *Write
}

func (a *apply) start(did syntax.DID, head *Head, rev syntax.TID, swap *cid.Cid) error {
	if head == nil {
		if swap != nil && swap.Defined() {
			return fmt.Errorf("%w: there is no commit", ErrSwap)
		}
		if !a.tree.IsEmpty() {
			return fmt.Errorf("%w: tree without a commit", ErrCorrupt)
		}
		return nil
	}
	c := head.Commit
	switch {
	case swap != nil && *swap != head.CID:
		return fmt.Errorf("%w: commit is %s", ErrSwap, head.CID)
	case c.DID != did:
		return fmt.Errorf("%w: commit of %s", ErrCorrupt, c.DID)
	case rev <= c.Rev:
		return fmt.Errorf("%w: %s after %s", ErrRev, rev, c.Rev)
	case a.tree.Root() != c.Data:
		return fmt.Errorf("%w: tree %s, commit has %s", ErrCorrupt, a.tree.Root(), c.Data)
	}
	a.diff.Since, a.diff.PrevData = c.Rev, c.Data
	return nil
}

// write applies one write to the tree and notes what it did.
func (a *apply) write(w *Write) error {
	if err := w.check(); err != nil {
		return err
	}
	path := w.Path()
	tree, prev, err := a.change(w, path)
	if err != nil {
		return err
	}
	if w.Swap != nil && *w.Swap != prev {
		return fmt.Errorf("%w: record is %s", ErrSwap, cidOrNone(prev))
	}
	op := Op{Action: w.Action, Path: path, CID: w.CID, Prev: prev}
	switch {
	case w.Action == Create && prev.Defined():
		return ErrRecordExists
	case w.Action == Update && !prev.Defined(), w.Action == Delete && !prev.Defined() && !w.IfExists:
		return ErrRecordNotFound
	case w.Action == Put && prev.Defined():
		op.Action = Update
	case w.Action == Put:
		op.Action = Create
	}
	a.tree = tree
	a.diff.Results = append(a.diff.Results, op)
	i, ok := a.byPath[path]
	if !ok {
		i = len(a.touched)
		a.byPath[path] = i
		a.touched = append(a.touched, touch{path: path, before: prev})
	}
	a.touched[i].now, a.touched[i].last = w.CID, w
	return nil
}

// change returns the tree after the write, and what was at its path. What may not be is
// found by the caller, who then drops the tree.
func (a *apply) change(w *Write, path string) (mst.Tree, cid.Cid, error) {
	if w.Action != Delete {
		return a.tree.Put(a.src, path, w.CID)
	}
	tree, prev, err := a.tree.Delete(a.src, path)
	if errors.Is(err, mst.ErrNotFound) {
		return a.tree, cid.Undef, nil
	}
	return tree, prev, err
}

func cidOrNone(c cid.Cid) string {
	if !c.Defined() {
		return "absent"
	}
	return c.String()
}

// coalesce makes one op of all writes to a path, and none where nothing changed.
func (a *apply) coalesce() {
	for _, t := range a.touched {
		op := Op{Path: t.path, CID: t.now, Prev: t.before}
		switch {
		case t.now == t.before:
			continue
		case !t.before.Defined():
			op.Action = Create
		case !t.now.Defined():
			op.Action = Delete
		default:
			op.Action = Update
		}
		w := *t.last
		w.Action = op.Action
		a.diff.Ops = append(a.diff.Ops, op)
		a.diff.Writes = append(a.diff.Writes, w)
	}
}

// slice returns the CAR of the event in streamable order: the commit, then the new
// nodes and those of the covering proofs in pre-order, with the new records between them.
func (a *apply) slice() ([]byte, error) {
	keys := make([]string, len(a.diff.Ops))
	records := make(map[string][]byte, len(a.diff.Ops))
	size := 4096
	for i, op := range a.diff.Ops {
		keys[i] = op.Path
		if op.CID.Defined() {
			records[op.Path] = a.diff.Writes[i].Record
			size += len(a.diff.Writes[i].Record) + 64
		}
	}
	head := a.diff.Head
	b := appendSection(appendCARHeader(make([]byte, 0, size), head.CID), head.CID, head.Block)
	sent := map[cid.Cid]bool{}
	err := a.tree.Walk(a.src, keys, func(n Block) error {
		b = appendSection(b, n.CID, n.Data)
		return checkEventSize(b)
	}, func(e mst.Entry) error {
		if body, ok := records[e.Key]; ok && !sent[e.Value] {
			sent[e.Value] = true
			b = appendSection(b, e.Value, body)
		}
		return checkEventSize(b)
	})
	return b, err
}

func checkEventSize(car []byte) error {
	if len(car) > MaxEventCAR {
		return fmt.Errorf("%w: event of more than %d bytes", ErrTooLarge, MaxEventCAR)
	}
	return nil
}
