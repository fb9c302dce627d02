package mst

import (
	"fmt"

	"github.com/ipfs/go-cid"
)

// Walk goes through a whole tree from outside in key order and gives every entry to yield. block returns the bytes of a node and must return only what
// hashes to the CID; its error, as yield's, ends the walk and is returned as it is.
//
// The walk is as strict as [Load]: one canonical encoding, layers that fall by one, keys that rise between their neighbours above. Two nodes of a tree never
// hold the same keys, so a node that is linked twice breaks the order, and the cost is bounded by the blocks; memory is one node for
// each layer. Faults are [ErrNode].
func Walk(root cid.Cid, block func(cid.Cid) ([]byte, error), yield func(Entry) error) error {
	if root == emptyRoot {
		return nil
	}
	return (&treeWalk{block, yield}).node(root, topLayer, span{})
}

type treeWalk struct {
	block func(cid.Cid) ([]byte, error)
	yield func(Entry) error
}

func (w *treeWalk) node(c cid.Cid, layer int, s span) error {
	data, err := w.block(c)
	if err != nil {
		return err
	}
	n, err := decode(data)
	if err == nil {
		err = n.place(layer, s)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	for i, k := range n.kids {
		if !k.none() {
			if err := w.node(k.stub, n.layer-1, n.gap(i, s)); err != nil {
				return err
			}
		}
		if i < len(n.entries) {
			if err := w.yield(n.entries[i]); err != nil {
				return err
			}
		}
	}
	return nil
}
