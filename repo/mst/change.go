package mst

import (
	"fmt"
	"slices"

	"github.com/ipfs/go-cid"
)

// Put returns the tree with key set to value, and the CID that was there before
// (cid.Undef when the key is new). src must show the state before the changes
// since the last Seal. Putting the value that is there returns the tree itself.
func (t Tree) Put(src Source, key string, value cid.Cid) (Tree, cid.Cid, error) {
	if err := checkKey(key); err != nil {
		return t, cid.Undef, err
	}
	if !value.Defined() {
		return t, cid.Undef, fmt.Errorf("%w: %q without a value", ErrKey, key)
	}
	p := put{loader: loader{src, key}, Entry: Entry{key, value}, height: Height(key)}
	root, err := p.top(t.root)
	if err != nil {
		return t, cid.Undef, err
	}
	if p.prev == value {
		return t, value, nil
	}
	return Tree{root: kid{node: root}}, p.prev, nil
}

// put is one Put under way.
type put struct {
	loader
	Entry
	height int
	prev   cid.Cid
}

func (p *put) top(root kid) (*node, error) {
	if root.none() {
		return changed(p.height, []Entry{p.Entry}, make([]kid, 2)), nil
	}
	n, err := p.load(root, topLayer, span{})
	if err != nil {
		return nil, err
	}
	if p.height <= n.layer {
		return p.in(n, span{})
	}
	left, right, err := p.split(kid{node: n}, n.layer, p.Key, span{})
	if err != nil {
		return nil, err
	}
	kids := []kid{raise(left, n.layer, p.height-1), raise(right, n.layer, p.height-1)}
	return changed(p.height, []Entry{p.Entry}, kids), nil
}

// in puts the key into n, which covers s, or below it.
func (p *put) in(n *node, s span) (*node, error) {
	i, found := n.search(p.Key)
	switch {
	case n.layer > p.height:
		return p.below(n, i, s)
	case found:
		if p.prev = n.entries[i].Value; p.prev == p.Value {
			return n, nil
		}
		entries := slices.Clone(n.entries)
		entries[i].Value = p.Value
		return changed(n.layer, entries, n.kids), nil
	}
	if len(n.entries) >= MaxEntries {
		return nil, fmt.Errorf("%w: at %q", ErrLimit, p.Key)
	}
	left, right, err := p.split(n.kids[i], n.layer-1, p.Key, n.gap(i, s))
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(n.entries)+1)
	entries = append(append(append(entries, n.entries[:i]...), p.Entry), n.entries[i:]...)
	kids := make([]kid, 0, len(n.kids)+1)
	kids = append(append(append(kids, n.kids[:i]...), left, right), n.kids[i+1:]...)
	return changed(n.layer, entries, kids), nil
}

// below puts the key into the child i of n.
func (p *put) below(n *node, i int, s span) (*node, error) {
	k := n.kids[i]
	if k.none() {
		leaf := kid{node: changed(p.height, []Entry{p.Entry}, make([]kid, 2))}
		return n.with(i, raise(leaf, p.height, n.layer-1), false), nil
	}
	c, err := p.load(k, n.layer-1, n.gap(i, s))
	if err != nil {
		return nil, err
	}
	d, err := p.in(c, n.gap(i, s))
	if err != nil {
		return nil, err
	}
	if p.prev == p.Value {
		return n, nil
	}
	return n.with(i, kid{node: d}, false), nil
}

// split divides a subtree that does not hold key into what is less and what is
// greater. Both sides of the cut are loaded down to the bottom, so that no stub is left
// whose neighbours changed.
func (l loader) split(k kid, layer int, key string, s span) (left, right kid, err error) {
	if k.none() {
		return kid{}, kid{}, nil
	}
	n, err := l.load(k, layer, s)
	if err != nil {
		return kid{}, kid{}, err
	}
	i, _ := n.search(key)
	a, b, err := l.split(n.kids[i], layer-1, key, n.gap(i, s))
	if err != nil {
		return kid{}, kid{}, err
	}
	// Nothing on one side: the other is the node as it was.
	if i == 0 && a.none() {
		return kid{}, kid{node: n.with(0, b, true)}, nil
	}
	if i == len(n.entries) && b.none() {
		return kid{node: n.with(i, a, true)}, kid{}, nil
	}
	lk := append(slices.Clone(n.kids[:i]), a)
	rk := append([]kid{b}, n.kids[i+1:]...)
	return changed(layer, n.entries[:i:i], lk).orNone(), changed(layer, n.entries[i:], rk).orNone(), nil
}

// Delete returns the tree without key and the CID that was there, or [ErrNotFound].
// src is as for Put.
func (t Tree) Delete(src Source, key string) (Tree, cid.Cid, error) {
	if err := checkKey(key); err != nil {
		return t, cid.Undef, err
	}
	if t.root.none() {
		return t, cid.Undef, ErrNotFound
	}
	d := del{loader: loader{src, key}, key: key, height: Height(key)}
	root, err := d.load(t.root, topLayer, span{})
	if err != nil {
		return t, cid.Undef, err
	}
	k, err := d.in(root, span{})
	if err != nil {
		return t, cid.Undef, err
	}
	// A top that only points to a subtree is not allowed.
	for k.node != nil && len(k.node.entries) == 0 {
		below := k.node.kids[0]
		if below.node == nil {
			if below.node, err = d.load(below, k.node.layer-1, span{}); err != nil {
				return t, cid.Undef, err
			}
			below.stub = cid.Undef
		}
		k = below
	}
	return Tree{root: k}, d.prev, nil
}

// del is one Delete under way.
type del struct {
	loader
	key    string
	height int
	prev   cid.Cid
}

// in deletes the key from n, which covers s, or below it. What remains may be none.
func (d *del) in(n *node, s span) (kid, error) {
	i, found := n.search(d.key)
	if !found {
		return d.below(n, i, s)
	}
	if n.layer != d.height {
		return kid{}, fmt.Errorf("%w: %q on layer %d", ErrCorrupt, d.key, n.layer)
	}
	d.prev = n.entries[i].Value
	left, right := n.gap(i, s), n.gap(i+1, s)
	m, err := d.merge(n.kids[i], n.kids[i+1], n.layer-1, left, right)
	if err != nil {
		return kid{}, err
	}
	entries := make([]Entry, 0, len(n.entries)-1)
	entries = append(append(entries, n.entries[:i]...), n.entries[i+1:]...)
	kids := make([]kid, 0, len(n.kids)-1)
	kids = append(append(append(kids, n.kids[:i]...), m), n.kids[i+2:]...)
	return changed(n.layer, entries, kids).orNone(), nil
}

func (d *del) below(n *node, i int, s span) (kid, error) {
	if n.layer <= d.height || n.kids[i].none() {
		return kid{}, ErrNotFound
	}
	c, err := d.load(n.kids[i], n.layer-1, n.gap(i, s))
	if err != nil {
		return kid{}, err
	}
	k, err := d.in(c, n.gap(i, s))
	if err != nil {
		return kid{}, err
	}
	return n.with(i, k, false).orNone(), nil
}

// merge joins the subtrees left and right of a key that goes away. Both edges of
// the joint are loaded down to the bottom, even where the other side is empty:
// no stub may be left whose neighbour was the key.
func (l loader) merge(a, b kid, layer int, as, bs span) (kid, error) {
	if a.none() || b.none() {
		return l.edges(a, b, layer, as, bs)
	}
	an, err := l.load(a, layer, as)
	if err != nil {
		return kid{}, err
	}
	bn, err := l.load(b, layer, bs)
	if err != nil {
		return kid{}, err
	}
	last := len(an.kids) - 1
	m, err := l.merge(an.kids[last], bn.kids[0], layer-1, an.gap(last, as), bn.gap(0, bs))
	if err != nil {
		return kid{}, err
	}
	kids := make([]kid, 0, len(an.kids)+len(bn.kids)-1)
	kids = append(append(append(kids, an.kids[:last]...), m), bn.kids[1:]...)
	return kid{node: changed(layer, slices.Concat(an.entries, bn.entries), kids)}, nil
}

// edges is merge when at most one of the two is there.
func (l loader) edges(a, b kid, layer int, as, bs span) (kid, error) {
	switch {
	case a.none() && b.none():
		return kid{}, nil
	case l.src == nil && a.none():
		return b, nil // a partial tree has no ranges to scan, so they need not be right
	case l.src == nil:
		return a, nil
	case a.none():
		return l.edge(b, layer, bs, false)
	}
	return l.edge(a, layer, as, true)
}

// edge loads the outermost nodes of a subtree, on the right or the left side, down to the bottom.
func (l loader) edge(k kid, layer int, s span, right bool) (kid, error) {
	if k.none() {
		return k, nil
	}
	n, err := l.load(k, layer, s)
	if err != nil {
		return kid{}, err
	}
	i := 0
	if right {
		i = len(n.entries)
	}
	e, err := l.edge(n.kids[i], layer-1, n.gap(i, s), right)
	if err != nil {
		return kid{}, err
	}
	if e == n.kids[i] && k.node != nil {
		return k, nil
	}
	return kid{node: n.with(i, e, true)}, nil
}
