package mst

// Seal returns the same tree after its changes have become part of the source:
// no node counts as new any more and what lies below layer keep is a stub
// again. It looks only at the nodes that changed or were loaded since the last Seal.
func (t Tree) Seal(keep int) Tree {
	n := t.root.node
	if n == nil || !n.dirty {
		return t
	}
	// The top stays, whatever its layer: otherwise small trees would be scanned for every read.
	return Tree{root: kid{node: n.seal(keep)}}
}

func (n *node) seal(keep int) *node {
	kids := make([]kid, len(n.kids))
	for i, k := range n.kids {
		switch {
		case k.node == nil:
		case n.layer-1 < keep:
			k = kid{stub: k.link()}
		case k.node.dirty:
			k = kid{node: k.node.seal(keep)}
		}
		kids[i] = k
	}
	c := newNode(n.layer, n.entries, kids)
	c.dirty = false
	c.enc.Store(&Block{CID: n.block().CID})
	return c
}

// NewBlocks returns the nodes made by changes since the last Seal, in pre-order.
// Only those that are part of the tree count.
func (t Tree) NewBlocks() []Block {
	var blocks []Block
	if n := t.root.node; n != nil {
		n.newBlocks(&blocks)
	}
	if t.root.none() {
		blocks = append(blocks, Empty().emptyBlock())
	}
	return blocks
}

func (n *node) newBlocks(blocks *[]Block) {
	if !n.dirty {
		return
	}
	if n.fresh {
		*blocks = append(*blocks, n.full())
	}
	for _, k := range n.kids {
		if k.node != nil {
			k.node.newBlocks(blocks)
		}
	}
}

func (t Tree) emptyBlock() Block {
	return Block{CID: emptyRoot, Data: (&node{kids: []kid{{}}}).encode(nil)}
}
