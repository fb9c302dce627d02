package mst

import (
	"fmt"
	"slices"
	"sync"

	"github.com/ipfs/go-cid"
)

// level is the node of one layer that a builder is filling.
type level struct {
	entries []Entry
	kids    []kid  // right of each entry, preceded by the left one; the last is pending
	pending kid    // the subtree that ended just now, left of the entry to come
	lo      string // the key left of the node, on a layer above
}

// builder makes a tree out of keys that come in order, in one pass. Of the nodes it makes it
// hashes some and forgets them, so that they become stubs: those on layers
// below keep, and with a focus those that do not touch that key.
type builder struct {
	keep   int
	dirty  bool   // mark the nodes made
	focus  string // keep only nodes that hold this key or have it as their neighbour; "": all
	levels []level
	last   string
	buf    []byte
}

// builders are kept for their slices, since most make a tree of a few nodes.
var builders = sync.Pool{New: func() any { return &builder{} }}

// release makes b ready for another tree.
func (b *builder) release() {
	for i := range b.levels {
		lv := &b.levels[i]
		*lv = level{entries: lv.entries[:0], kids: lv.kids[:0]}
	}
	*b = builder{levels: b.levels[:0], buf: b.buf}
	builders.Put(b)
}

// add appends a key, which must be greater than all before it.
func (b *builder) add(key string, value cid.Cid) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if key <= b.last {
		return fmt.Errorf("%w: %q after %q", ErrOrder, key, b.last)
	}
	b.last = key
	b.addAt(Height(key), 0, key, value)
	return nil
}

// addAt appends a key of the given height when layers below base are not built here.
func (b *builder) addAt(height, base int, key string, value cid.Cid) {
	b.closeTo(height, base, key)
	lv := &b.levels[height]
	lv.entries = append(lv.entries, Entry{Key: key, Value: value})
	lv.kids = append(lv.kids, lv.pending)
	lv.pending = kid{}
}

// closeTo ends the nodes of all layers from base below layer `to` and hands each
// to the next. hi is the key that ends them, "" at the end of all.
func (b *builder) closeTo(to, base int, hi string) {
	for len(b.levels) <= to {
		if len(b.levels) < cap(b.levels) {
			b.levels = b.levels[:len(b.levels)+1]
		} else {
			b.levels = append(b.levels, level{})
		}
	}
	for l := base; l < to; l++ {
		if k := b.close(l, hi); !k.none() {
			b.levels[l+1].pending = k
		}
		b.levels[l].lo = hi
	}
}

// close ends the node of one layer: nothing, a node, or a stub.
func (b *builder) close(l int, hi string) kid {
	lv := &b.levels[l]
	if len(lv.entries) == 0 && lv.pending.none() {
		return kid{}
	}
	lv.kids = append(lv.kids, lv.pending)
	lv.pending = kid{}
	n := node{entries: lv.entries, kids: lv.kids}
	b.buf = n.encode(slices.Grow(b.buf[:0], encodedSize(&n)))
	id := sumCID(b.buf)
	k := kid{stub: id}
	if l >= b.keep && (b.focus == "" || lv.lo <= b.focus && (hi == "" || b.focus <= hi)) {
		n := newNode(l, slices.Clone(lv.entries), slices.Clone(lv.kids))
		n.dirty = b.dirty
		n.enc.Store(&Block{CID: id})
		k = kid{node: n}
	}
	lv.entries, lv.kids = lv.entries[:0], lv.kids[:0]
	return k
}

// Derive makes the tree of all records of src in one ordered scan. Nodes on
// layers below keep are hashed and forgotten: memory is that of the layers from
// keep up, plus one open node a layer.
func Derive(src Source, keep int) (Tree, error) {
	b := builder{keep: keep}
	if err := src.Scan("", "", b.add); err != nil {
		return Tree{}, fmt.Errorf("derive tree: %w", err)
	}
	return Tree{root: kid{node: b.finish(topLayer)}}, nil
}

// topLayer stands for the layer of a whole tree of which only the CID is known:
// whatever the highest key has.
const topLayer = -1

// loader turns stubs into nodes by scanning the records they cover.
type loader struct {
	src   Source // nil for a partial tree, whose stubs cannot be loaded
	focus string // the key for which nodes are loaded
}

// load returns the node of a link that is not none, sits on the given layer and covers s. Of the
// nodes below it come those that touch the focus. They are marked dirty, since Seal
// has to drop them again.
func (l loader) load(k kid, layer int, s span) (*node, error) {
	if k.node != nil {
		return k.node, nil
	}
	if l.src == nil {
		return nil, fmt.Errorf("%w: %s", ErrPartial, k.stub)
	}
	b := builders.Get().(*builder)
	defer b.release()
	b.dirty, b.focus = true, l.focus
	if err := l.src.Scan(s.lo, s.hi, b.add); err != nil {
		return nil, fmt.Errorf("load tree between %q and %q: %w", s.lo, s.hi, err)
	}
	n := b.finish(layer)
	if n == nil || n.block().CID != k.stub {
		return nil, fmt.Errorf("%w: between %q and %q", ErrCorrupt, s.lo, s.hi)
	}
	return n, nil
}

// finish ends the tree as one node on the given layer, or returns nil when there
// are no keys or one is higher.
func (b *builder) finish(layer int) *node {
	if layer == topLayer {
		layer = len(b.levels) - 1
	}
	if len(b.levels) == 0 || len(b.levels) > layer+1 {
		return nil
	}
	b.closeTo(layer, 0, "")
	b.keep, b.focus = min(b.keep, layer), "" // the top is a node in any case
	return b.close(layer, "").node
}
