package mst

import "github.com/ipfs/go-cid"

// Proof returns the nodes that prove the state of keys in this tree and let a
// reader undo a change of them: for each key the nodes on the way to it, to the
// key before it and to the key after it, down to the bottom on both sides, in
// pre-order and once each. The top node is always among them. For a change, take the new tree and all its keys
// (Sync 1.1, covering proofs).
func (t Tree) Proof(src Source, keys ...string) ([]Block, error) {
	var blocks []Block
	err := t.Walk(src, keys, func(b Block) error {
		blocks = append(blocks, b)
		return nil
	}, nil)
	return blocks, err
}

// Walk visits the nodes of [Tree.Proof] and those of [Tree.NewBlocks] in
// pre-order. The entries of a visited node that are among keys are given to
// leaf, each between the subtrees on its sides; leaf may be nil.
func (t Tree) Walk(src Source, keys []string, visit func(Block) error, leaf func(Entry) error) error {
	if t.root.none() {
		return visit(t.emptyBlock())
	}
	w := walk{loader: loader{src: src}, marks: map[*node]*marks{}, visit: visit, leaf: leaf}
	root, err := w.load(t.root, topLayer, span{})
	if err != nil {
		return err
	}
	w.at(root) // also without keys: a reader cannot even enter a tree without its top
	for _, key := range keys {
		w.focus = key
		if err := w.mark(root, key, span{}); err != nil {
			return err
		}
	}
	return w.emit(root)
}

// marks says what of a node belongs to a walk.
type marks struct {
	keys   map[int]bool  // entries that were asked for
	loaded map[int]*node // children that were stubs
}

type walk struct {
	loader
	marks map[*node]*marks
	visit func(Block) error
	leaf  func(Entry) error
}

func (w *walk) at(n *node) *marks {
	m := w.marks[n]
	if m == nil {
		m = &marks{}
		w.marks[n] = m
	}
	return m
}

// kid returns the child i of n, loaded, or nil.
func (w *walk) kid(n *node, i int, s span) (*node, error) {
	k := n.kids[i]
	if k.none() || k.node != nil {
		return k.node, nil
	}
	m := w.at(n)
	if c := m.loaded[i]; c != nil {
		return c, nil
	}
	c, err := w.load(k, n.layer-1, n.gap(i, s))
	if err != nil {
		return nil, err
	}
	if m.loaded == nil {
		m.loaded = map[int]*node{}
	}
	m.loaded[i] = c
	return c, nil
}

// mark marks the way to key, and when it is there the ways to its neighbours.
// When it is not there, they are on its way.
func (w *walk) mark(n *node, key string, s span) error {
	m := w.at(n)
	i, found := n.search(key)
	if !found {
		c, err := w.kid(n, i, s)
		if c == nil || err != nil {
			return err
		}
		return w.mark(c, key, n.gap(i, s))
	}
	if m.keys == nil {
		m.keys = map[int]bool{}
	}
	m.keys[i] = true
	if err := w.edge(n, i, s, true); err != nil {
		return err
	}
	return w.edge(n, i+1, s, false)
}

// edge marks the outermost nodes of the child i of n down to the bottom.
func (w *walk) edge(n *node, i int, s span, right bool) error {
	for {
		c, err := w.kid(n, i, s)
		if c == nil || err != nil {
			return err
		}
		w.at(c)
		n, s, i = c, n.gap(i, s), 0
		if right {
			i = len(n.entries)
		}
	}
}

func (w *walk) emit(n *node) error {
	m := w.marks[n]
	if m == nil && !n.dirty {
		return nil
	}
	if m != nil || n.fresh {
		if err := w.visit(n.full()); err != nil {
			return err
		}
	}
	for i, k := range n.kids {
		if m != nil && k.node == nil {
			k.node = m.loaded[i]
		}
		if k.node != nil {
			if err := w.emit(k.node); err != nil {
				return err
			}
		}
		if m != nil && m.keys[i] && w.leaf != nil {
			if err := w.leaf(n.entries[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Path returns the nodes on the way to key, top first, which prove that it is
// there with the value returned, or that it is not there (cid.Undef).
func (t Tree) Path(src Source, key string) ([]Block, cid.Cid, error) {
	if err := checkKey(key); err != nil {
		return nil, cid.Undef, err
	}
	if t.root.none() {
		return []Block{t.emptyBlock()}, cid.Undef, nil
	}
	var blocks []Block
	l := loader{src, key}
	k, layer, s := t.root, topLayer, span{}
	for !k.none() {
		n, err := l.load(k, layer, s)
		if err != nil {
			return nil, cid.Undef, err
		}
		blocks = append(blocks, n.full())
		i, found := n.search(key)
		if found {
			return blocks, n.entries[i].Value, nil
		}
		k, layer, s = n.kids[i], n.layer-1, n.gap(i, s)
	}
	return blocks, cid.Undef, nil
}
