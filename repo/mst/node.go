package mst

import (
	"cmp"
	"slices"
	"sync/atomic"

	"github.com/ipfs/go-cid"
)

// kid is a link from a node to a subtree one layer below: nothing, a node in
// memory, or a stub of which only the CID is known.
type kid struct {
	node *node
	stub cid.Cid
}

func (k kid) none() bool { return k.node == nil && !k.stub.Defined() }

func (k kid) link() cid.Cid {
	if k.node != nil {
		return k.node.block().CID
	}
	return k.stub
}

func (k kid) size() int64 {
	if k.node != nil {
		return k.node.size
	}
	return int64(k.stub.ByteLen())
}

// node is a node of a tree. Nothing changes in it once it is reachable from a
// Tree, but for the block, which any goroutine may compute and set.
type node struct {
	enc     atomic.Pointer[Block]
	entries []Entry
	kids    []kid // one more than entries: left of the first, then right of each
	size    int64 // bytes of memory below and including this node, roughly
	layer   int
	fresh   bool // made by a change since the last Seal: a new block
	dirty   bool // made or loaded since the last Seal: Seal has to look at it
}

// Rough costs in memory of the parts of a tree, for Size.
const (
	nodeBytes  = 112 + 88 // the struct, its block header and CID
	entryBytes = 32 + 64  // the struct, the bytes of the CID
	kidBytes   = 24
)

func newNode(layer int, entries []Entry, kids []kid) *node {
	n := &node{layer: layer, entries: entries, kids: kids, dirty: true}
	n.size = nodeBytes
	for i := range entries {
		n.size += entryBytes + int64(len(entries[i].Key))
	}
	for _, k := range kids {
		n.size += kidBytes + k.size()
	}
	return n
}

// changed is newNode for a node whose content is new.
func changed(layer int, entries []Entry, kids []kid) *node {
	n := newNode(layer, entries, kids)
	n.fresh = true
	return n
}

// block returns the encoded node; the bytes are nil when only the CID was kept.
func (n *node) block() *Block {
	if b := n.enc.Load(); b != nil {
		return b
	}
	data := n.encode(nil)
	b := &Block{CID: sumCID(data), Data: slices.Clip(data)}
	n.enc.Store(b)
	return b
}

// full returns the encoded node with its bytes.
func (n *node) full() Block {
	b := n.block()
	if b.Data != nil {
		return *b
	}
	return Block{CID: b.CID, Data: n.encode(nil)}
}

// search returns the place of key in the entries, and whether it is there.
func (n *node) search(key string) (int, bool) {
	lo, hi := 0, len(n.entries)
	for lo < hi {
		switch mid := (lo + hi) / 2; cmp.Compare(n.entries[mid].Key, key) {
		case 0:
			return mid, true
		case -1:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return lo, false
}

// span is a range of keys, both ends exclusive, "" for no bound.
type span struct{ lo, hi string }

// gap returns the range of keys of n.kids[i] when n itself covers s.
func (n *node) gap(i int, s span) span {
	if i > 0 {
		s.lo = n.entries[i-1].Key
	}
	if i < len(n.entries) {
		s.hi = n.entries[i].Key
	}
	return s
}

// with returns n with kids[i] replaced. The content is new unless same is true,
// which says that the replacement is only the same subtree, loaded.
func (n *node) with(i int, k kid, same bool) *node {
	kids := make([]kid, len(n.kids))
	copy(kids, n.kids)
	kids[i] = k
	if same {
		return n.loaded(kids)
	}
	return changed(n.layer, n.entries, kids)
}

// loaded returns n with kids that are the same subtrees, some of them loaded.
func (n *node) loaded(kids []kid) *node {
	c := newNode(n.layer, n.entries, kids)
	c.fresh = n.fresh
	c.enc.Store(n.enc.Load())
	return c
}

// orNone returns the node as a link, or nothing when it has neither keys nor a child.
func (n *node) orNone() kid {
	if len(n.entries) == 0 && n.kids[0].none() {
		return kid{}
	}
	return kid{node: n}
}

// raise puts empty nodes on top of k until it is on layer `to`: links never skip a layer.
func raise(k kid, from, to int) kid {
	for ; from < to && !k.none(); from++ {
		k = kid{node: changed(from+1, nil, []kid{k})}
	}
	return k
}
