package repo

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/repo/mst"
)

// RecordProof returns a CAR that proves to anyone with the account's key that the record at path is there,
// or is not: the commit, the nodes on the way to it, and the record. body is the
// record, nil when there is none; if that does not fit the tree the answer is [ErrCorrupt].
func RecordProof(head Head, tree mst.Tree, src mst.Source, path string, body []byte) ([]byte, error) {
	nodes, value, err := tree.Path(src, path)
	if err != nil {
		return nil, treeError(err)
	}
	if tree.Root() != head.Commit.Data || value.Defined() != (body != nil) || (body != nil && CIDOf(body) != value) {
		return nil, fmt.Errorf("%w: record %s is not what the tree says", ErrCorrupt, path)
	}
	b := appendSection(appendCARHeader(nil, head.CID), head.CID, head.Block)
	for _, n := range nodes {
		b = appendSection(b, n.CID, n.Data)
	}
	if body != nil {
		b = appendSection(b, value, body)
	}
	return b, nil
}

// proofLimits bounds a record proof: one record and the nodes on the way to it.
func proofLimits() CARLimits {
	return CARLimits{Header: 4096, Block: MaxRecord, Blocks: 1000, Total: 4 * MaxRecord}
}

// VerifyRecordProof checks a CAR made by [RecordProof] against the account's DID and
// key. It returns the CID and bytes of the record, or cid.Undef and nil when the proof is
// that there is none.
func VerifyRecordProof(car []byte, did syntax.DID, pub atcrypto.PublicKey, path string) (cid.Cid, []byte, error) {
	root, blocks, err := readBlocks(car, proofLimits())
	if err != nil {
		return cid.Undef, nil, err
	}
	c, tree, err := loadCommit(root, blocks)
	if err != nil {
		return cid.Undef, nil, err
	}
	if c.DID != did {
		return cid.Undef, nil, fmt.Errorf("%w: commit of %s", ErrProof, c.DID)
	}
	if err := c.Verify(pub); err != nil {
		return cid.Undef, nil, err
	}
	value, err := tree.Get(nil, path)
	if errors.Is(err, mst.ErrNotFound) {
		return cid.Undef, nil, nil
	}
	if err != nil {
		return cid.Undef, nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	body, ok := blocks[value]
	if !ok {
		return cid.Undef, nil, fmt.Errorf("%w: no block of record %s", ErrProof, value)
	}
	return value, body, nil
}

// readBlocks reads a small CAR into memory and returns its first root.
func readBlocks(car []byte, lim CARLimits) (cid.Cid, map[cid.Cid][]byte, error) {
	blocks := map[cid.Cid][]byte{}
	roots, err := ReadCAR(bytes.NewReader(car), lim, func(b Block) error {
		blocks[b.CID] = b.Data
		return nil
	})
	if err != nil {
		return cid.Undef, nil, err
	}
	return roots[0], blocks, nil
}

// loadCommit reads the commit and what there is of its tree.
func loadCommit(root cid.Cid, blocks map[cid.Cid][]byte) (Commit, mst.Tree, error) {
	block, ok := blocks[root]
	if !ok || codecOf(root) != codecDagCBOR {
		return Commit{}, mst.Tree{}, fmt.Errorf("%w: no commit block", ErrProof)
	}
	c, err := ParseCommit(block)
	if err != nil {
		return Commit{}, mst.Tree{}, err
	}
	tree, err := mst.Load(c.Data, func(id cid.Cid) ([]byte, bool) {
		b, ok := blocks[id]
		return b, ok
	})
	if err != nil {
		return Commit{}, mst.Tree{}, fmt.Errorf("%w: %w", ErrProof, err)
	}
	return c, tree, nil
}
