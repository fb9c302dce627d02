package repo

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/repo/mst"
)

// CommitEvent is what a #commit event says, as far as it can be verified.
type CommitEvent struct {
	DID      syntax.DID
	Commit   cid.Cid
	Rev      syntax.TID
	PrevData cid.Cid // cid.Undef for the first commit of a repository
	Ops      []Op
	Blocks   []byte // the CAR slice
}

// Event returns what the #commit event of d says.
func (d *Diff) Event() CommitEvent {
	return CommitEvent{
		DID: d.Head.Commit.DID, Commit: d.Head.CID, Rev: d.Head.Commit.Rev,
		PrevData: d.PrevData, Ops: d.Ops, Blocks: d.CAR,
	}
}

// VerifyCommit checks a #commit event as a relay does: the CAR and its limits, the
// commit and its signature, the blocks of all new records, and that undoing the ops in the part
// of the tree that the CAR holds leads to PrevData. pub may be nil: then
// the signature is not checked. It returns the commit. Errors are [ErrCAR], [ErrCommit],
// [ErrSignature], [ErrTooManyOps] and [ErrProof].
func VerifyCommit(ev CommitEvent, pub atcrypto.PublicKey) (Commit, error) {
	if len(ev.Ops) > MaxOps {
		return Commit{}, fmt.Errorf("%w: %d", ErrTooManyOps, len(ev.Ops))
	}
	root, blocks, err := readBlocks(ev.Blocks, EventCARLimits())
	if err != nil {
		return Commit{}, err
	}
	c, tree, err := loadCommit(root, blocks)
	if err != nil {
		return Commit{}, err
	}
	if root != ev.Commit || c.DID != ev.DID || c.Rev != ev.Rev {
		return Commit{}, fmt.Errorf("%w: commit %s of %s at %s, event says %s of %s at %s", ErrProof, root, c.DID, c.Rev, ev.Commit, ev.DID, ev.Rev)
	}
	if pub != nil {
		if err := c.Verify(pub); err != nil {
			return Commit{}, err
		}
	}
	if err := checkOps(ev.Ops, tree, blocks); err != nil {
		return Commit{}, err
	}
	before, err := invert(tree, ev.Ops)
	if err != nil {
		return Commit{}, fmt.Errorf("%w: %w", ErrProof, err)
	}
	want := ev.PrevData
	if !want.Defined() {
		want = mst.Empty().Root()
	}
	if before != want {
		return Commit{}, fmt.Errorf("%w: undoing the ops gives %s, prevData is %s", ErrProof, before, want)
	}
	return c, nil
}

// checkOps checks the ops by themselves, and that the tree and the blocks hold what they say.
func checkOps(ops []Op, tree mst.Tree, blocks map[cid.Cid][]byte) error {
	paths := make(map[string]bool, len(ops))
	for _, op := range ops {
		if _, _, err := syntax.ParseRepoPath(op.Path); err != nil || paths[op.Path] {
			return fmt.Errorf("%w: op path %q malformed or twice", ErrProof, op.Path)
		}
		paths[op.Path] = true
		if !op.wellFormed() {
			return fmt.Errorf("%w: %s of %s with CID %v and prev %v", ErrProof, op.Action, op.Path, op.CID, op.Prev)
		}
		if op.Action == Delete {
			continue
		}
		if v, err := tree.Get(nil, op.Path); err != nil || v != op.CID {
			return fmt.Errorf("%w: %s is not in the tree as %s", ErrProof, op.Path, op.CID)
		}
		if _, ok := blocks[op.CID]; !ok {
			return fmt.Errorf("%w: no block of record %s", ErrProof, op.Path)
		}
	}
	return nil
}

// wellFormed says whether the op has the CIDs that its action needs, and no others.
func (op Op) wellFormed() bool {
	switch op.Action {
	case Create:
		return op.CID.Defined() && !op.Prev.Defined()
	case Update:
		return op.CID.Defined() && op.Prev.Defined() && op.CID != op.Prev
	case Delete:
		return !op.CID.Defined() && op.Prev.Defined()
	}
	return false
}

// invert undoes ops and returns the root it leads to. Deletes come first, as elsewhere on the
// network: they only add to the part of the tree that is known.
func invert(tree mst.Tree, ops []Op) (cid.Cid, error) {
	ops = slices.Clone(ops)
	slices.SortFunc(ops, func(a, b Op) int {
		if (a.Action == Delete) != (b.Action == Delete) {
			if a.Action == Delete {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Path, b.Path)
	})
	for _, op := range ops {
		var was cid.Cid
		var err error
		if op.Action == Create {
			tree, was, err = tree.Delete(nil, op.Path)
		} else {
			tree, was, err = tree.Put(nil, op.Path, op.Prev)
		}
		if err != nil {
			return cid.Undef, fmt.Errorf("undo %s of %s: %w", op.Action, op.Path, err)
		}
		if was != op.CID {
			return cid.Undef, fmt.Errorf("undo %s of %s: found %s", op.Action, op.Path, cidOrNone(was))
		}
	}
	return tree.Root(), nil
}
