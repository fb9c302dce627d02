package mst

import (
	"errors"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"
)

// NextRecord gives the records of a repository in key order, and io.EOF after
// the last. The body may be nil, and is not used after the next call.
type NextRecord func() (key string, value cid.Cid, body []byte, err error)

// Export emits the blocks of the whole repository in pre-order, each record
// between the subtrees on its sides (the streamable order), out of one ordered pass over the
// records. Records without a body are not emitted. Memory is bounded by the
// records below the largest stub. Records that do not fit the tree are [ErrCorrupt], found before
// anything wrong is emitted.
func (t Tree) Export(next NextRecord, emit func(cid.Cid, []byte) error) error {
	x := export{next: next, emit: emit}
	if err := x.advance(); err != nil {
		return err
	}
	var err error
	if t.root.none() {
		b := t.emptyBlock()
		err = emit(b.CID, b.Data)
	} else {
		err = x.kid(t.root, topLayer, "")
	}
	if err != nil {
		return err
	}
	if !x.done {
		return fmt.Errorf("%w: %q is not in the tree", ErrCorrupt, x.key)
	}
	return nil
}

type export struct {
	next   NextRecord
	emit   func(cid.Cid, []byte) error
	key    string // the record to come
	value  cid.Cid
	body   []byte
	done   bool
	bodies [][]byte // of the stub in hand, in key order
	arena  []byte
}

func (x *export) advance() error {
	var err error
	x.key, x.value, x.body, err = x.next()
	if errors.Is(err, io.EOF) {
		x.done = true
		return nil
	}
	return err
}

// kid emits a subtree of which all keys are less than hi.
func (x *export) kid(k kid, layer int, hi string) error {
	if k.node == nil {
		return x.stub(k, layer, hi)
	}
	n := k.node
	b := n.full()
	if err := x.emit(b.CID, b.Data); err != nil {
		return err
	}
	for i := range n.kids {
		if !n.kids[i].none() {
			if err := x.kid(n.kids[i], n.layer-1, n.gap(i, span{hi: hi}).hi); err != nil {
				return err
			}
		}
		if i < len(n.entries) {
			if err := x.record(n.entries[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// record emits the record to come, which must be e.
func (x *export) record(e Entry) error {
	if x.done || x.key != e.Key || x.value != e.Value {
		return fmt.Errorf("%w: %q is not in the records", ErrCorrupt, e.Key)
	}
	if x.body != nil {
		if err := x.emit(x.value, x.body); err != nil {
			return err
		}
	}
	return x.advance()
}

// stub takes the records up to hi, makes the subtree of them and emits it.
func (x *export) stub(k kid, layer int, hi string) error {
	b := builders.Get().(*builder)
	defer b.release()
	clear(x.bodies)
	x.bodies, x.arena = x.bodies[:0], x.arena[:0]
	for !x.done && (hi == "" || x.key < hi) {
		if err := b.add(x.key, x.value); err != nil {
			return err
		}
		x.hold(x.body)
		if err := x.advance(); err != nil {
			return err
		}
	}
	n := b.finish(layer)
	if n == nil || n.block().CID != k.stub {
		return fmt.Errorf("%w: before %q", ErrCorrupt, hi)
	}
	held := x.bodies
	return x.held(n, &held)
}

// arenaChunk is how many bytes of bodies are put together at a time.
const arenaChunk = 64 << 10

// hold copies a body, since the next record may overwrite it. A full arena is left to the bodies in it and a new one begun: to grow it would keep every smaller
// copy alive through them, five times what there is to hold.
func (x *export) hold(body []byte) {
	if body == nil {
		x.bodies = append(x.bodies, nil)
		return
	}
	if cap(x.arena)-len(x.arena) < len(body) {
		x.arena = make([]byte, 0, max(arenaChunk, len(body)))
	}
	start := len(x.arena)
	x.arena = append(x.arena, body...)
	x.bodies = append(x.bodies, x.arena[start:len(x.arena):len(x.arena)])
}

// held emits a subtree made just now with the bodies held for it.
func (x *export) held(n *node, bodies *[][]byte) error {
	b := n.full()
	if err := x.emit(b.CID, b.Data); err != nil {
		return err
	}
	for i, k := range n.kids {
		if k.node != nil {
			if err := x.held(k.node, bodies); err != nil {
				return err
			}
		}
		if i == len(n.entries) {
			break
		}
		if body := (*bodies)[0]; body != nil {
			if err := x.emit(n.entries[i].Value, body); err != nil {
				return err
			}
		}
		*bodies = (*bodies)[1:]
	}
	return nil
}
