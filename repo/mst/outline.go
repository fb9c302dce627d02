package mst

import (
	"fmt"

	"github.com/ipfs/go-cid"
)

// OutlineRow is one row of the outline of a tree from some layer up: a key of at
// least that height with its record, and the subtree between it and the next
// such key. The row with Key "" stands before the first and has no Value; of a
// tree lower than the layer it is the only row, and Below is the whole tree.
type OutlineRow struct {
	Key   string
	Value cid.Cid
	Below cid.Cid // the subtree below the layer; cid.Undef: no keys there
}

// Outline gives all rows of the outline from layer up, in key order. What the
// tree keeps in memory must reach down to that layer, else [ErrPartial].
func (t Tree) Outline(layer int, yield func(OutlineRow) error) error {
	row := OutlineRow{}
	n := t.root.node
	if n == nil || n.layer < layer {
		row.Below = t.Root()
		return yield(row)
	}
	if err := n.outline(layer, &row, yield); err != nil {
		return err
	}
	return yield(row)
}

// outline gives the rows that end within n; row is the open one.
func (n *node) outline(layer int, row *OutlineRow, yield func(OutlineRow) error) error {
	for i, k := range n.kids {
		switch {
		case k.none():
		case n.layer == layer:
			row.Below = k.link()
		case k.node == nil:
			return fmt.Errorf("outline from layer %d: %w", layer, ErrPartial)
		default:
			if err := k.node.outline(layer, row, yield); err != nil {
				return err
			}
		}
		if i < len(n.entries) {
			if err := yield(*row); err != nil {
				return err
			}
			*row = OutlineRow{Key: n.entries[i].Key, Value: n.entries[i].Value}
		}
	}
	return nil
}

// OutlineDiff returns the rows that differ between the outlines of two trees
// of which keys are all keys that changed: rows to write and keys of rows to
// remove. Its cost is the depth of the tree for each key.
func OutlineDiff(old, new Tree, layer int, keys []string) (write []OutlineRow, remove []string, err error) {
	seen := map[string]bool{}
	add := func(key string, strict bool) error {
		row, err := new.outlineRow(layer, key, strict)
		if err != nil || seen[row.Key] {
			return err
		}
		seen[row.Key] = true
		was, err := old.outlineRow(layer, row.Key, false)
		if err == nil && was != row {
			write = append(write, row)
		}
		return err
	}
	for _, key := range keys {
		if err := add(key, true); err != nil { // the row whose gap ends at or holds the key
			return nil, nil, err
		}
		if Height(key) < layer {
			continue
		}
		if err := add(key, false); err != nil { // the key's own row
			return nil, nil, err
		}
		if gone, err := goneRow(old, new, layer, key); err != nil {
			return nil, nil, err
		} else if gone {
			remove = append(remove, key)
		}
	}
	return write, remove, nil
}

// goneRow says whether key has a row in the old tree and none in the new.
func goneRow(old, new Tree, layer int, key string) (bool, error) {
	was, err := old.outlineRow(layer, key, false)
	if err != nil || was.Key != key {
		return false, err
	}
	is, err := new.outlineRow(layer, key, false)
	return is.Key != key, err
}

// outlineRow returns the row of the last key that is at most key, or less than key if strict.
func (t Tree) outlineRow(layer int, key string, strict bool) (OutlineRow, error) {
	row := OutlineRow{}
	n := t.root.node
	if n == nil || n.layer < layer {
		row.Below = t.Root()
		return row, nil
	}
	for {
		i, found := n.search(key)
		if found && !strict {
			i++
		}
		if i > 0 {
			row = OutlineRow{Key: n.entries[i-1].Key, Value: n.entries[i-1].Value}
		}
		k := n.kids[i]
		switch {
		case k.none():
			return row, nil
		case n.layer == layer:
			row.Below = k.link()
			return row, nil
		case k.node == nil:
			return row, fmt.Errorf("outline from layer %d: %w", layer, ErrPartial)
		}
		n = k.node
	}
}

// FromOutline makes the tree out of the rows of its outline, which next gives in
// key order until ok is false. Everything below the layer is stubs. The rows are
// not trusted: compare Root with the commit's data before using the tree.
func FromOutline(layer int, next func() (row OutlineRow, ok bool, err error)) (Tree, error) {
	b := builder{keep: layer}
	var first OutlineRow
	for n := 0; ; n++ {
		row, ok, err := next()
		if err != nil {
			return Tree{}, fmt.Errorf("read outline: %w", err)
		}
		if !ok {
			break
		}
		if (n == 0) != (row.Key == "") {
			return Tree{}, fmt.Errorf("%w: outline row %d is %q", ErrCorrupt, n, row.Key)
		}
		if n == 0 {
			first = row
			b.closeTo(layer, layer, "")
		} else if err := b.outlineRow(layer, row); err != nil {
			return Tree{}, err
		}
		b.levels[layer].pending = kid{stub: row.Below}
	}
	if b.last != "" {
		return Tree{root: kid{node: b.finishFrom(layer)}}, nil
	}
	if !first.Below.Defined() || first.Below == emptyRoot {
		return Tree{}, nil
	}
	return Tree{root: kid{stub: first.Below}}, nil
}

// outlineRow adds the key of a row; its gap is still to be set.
func (b *builder) outlineRow(layer int, row OutlineRow) error {
	if err := checkKey(row.Key); err != nil {
		return err
	}
	h := Height(row.Key)
	if row.Key <= b.last || h < layer || !row.Value.Defined() {
		return fmt.Errorf("%w: outline row %q", ErrCorrupt, row.Key)
	}
	b.last = row.Key
	b.addAt(h, layer, row.Key, row.Value)
	return nil
}

// finishFrom ends the tree at its highest layer, of nodes from base up.
func (b *builder) finishFrom(base int) *node {
	top := len(b.levels) - 1
	b.closeTo(top, base, "")
	return b.close(top, "").node
}
