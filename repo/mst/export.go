package mst

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/ipfs/go-cid"
)

// NextRecord gives the records of a repository in key order, and io.EOF after
// the last. The body may be nil, and is not used after the next call.
type NextRecord func() (key string, value cid.Cid, body []byte, err error)

// Bounds on what an export reads ahead. A stub of honest keys stays within them: with the layers from 4 up in memory it
// has some 256 records. Whoever chooses keys that are all of a low height can make one of any size.
const (
	aheadBytes = 512 << 10 // of bodies, plus one record
	aheadKeys  = 4096      // of a stub that is made into nodes at once
)

// Export emits the blocks of the whole repository in pre-order, each record
// between the subtrees on its sides (the streamable order), out of one ordered pass over the
// records. Records without a body are not emitted. Nodes come before what lies below them, so next is read ahead a
// little; where that is not enough, src is scanned ahead for keys alone, for a very large stub once for each
// layer. So memory is bounded whatever the keys. Records that do not fit the tree are [ErrCorrupt], found before
// anything wrong is emitted.
func (t Tree) Export(src Source, next NextRecord, emit func(cid.Cid, []byte) error) error {
	x := export{src: src, next: next, emit: emit, maxBytes: aheadBytes, maxKeys: aheadKeys}
	return x.run(t)
}

func (x *export) run(t Tree) error {
	var err error
	if t.root.none() {
		b := t.emptyBlock()
		err = x.emit(b.CID, b.Data)
	} else {
		err = x.kid(t.root, topLayer, span{})
	}
	if err != nil {
		return err
	}
	if err := x.pull(); err != nil {
		return err
	}
	if x.waiting() > 0 {
		return fmt.Errorf("%w: %q is not in the tree", ErrCorrupt, x.queue[x.head].Key)
	}
	return nil
}

type export struct {
	src  Source
	next NextRecord
	emit func(cid.Cid, []byte) error

	maxBytes, maxKeys int // aheadBytes, aheadKeys

	queue []aheadRecord // those from head on were read and wait to be emitted
	head  int
	bytes int // of their bodies
	arena []byte
	done  bool // next has no more
}

type aheadRecord struct {
	Entry
	body []byte
}

func (x *export) waiting() int { return len(x.queue) - x.head }

// pull reads one record ahead, unless there are no more.
func (x *export) pull() error {
	if x.done {
		return nil
	}
	key, value, body, err := x.next()
	if errors.Is(err, io.EOF) {
		x.done = true
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case x.waiting() == 0:
		clear(x.queue)
		x.queue, x.head, x.arena = x.queue[:0], 0, x.arena[:0]
	case len(x.queue) == cap(x.queue) && x.head > 0:
		n := copy(x.queue, x.queue[x.head:])
		clear(x.queue[n:])
		x.queue, x.head = x.queue[:n], 0
	}
	x.queue = append(x.queue, aheadRecord{Entry{key, value}, x.hold(body)})
	x.bytes += len(body)
	return nil
}

// arenaChunk is how many bytes of bodies are put together at a time.
const arenaChunk = 64 << 10

// hold copies a body, since the next record may overwrite it. A full arena is left to the bodies in it and a new one begun: to grow it would keep every smaller
// copy alive through them, five times what there is to hold.
func (x *export) hold(body []byte) []byte {
	if body == nil {
		return nil
	}
	if cap(x.arena)-len(x.arena) < len(body) {
		x.arena = make([]byte, 0, max(arenaChunk, len(body)))
	}
	start := len(x.arena)
	x.arena = append(x.arena, body...)
	return x.arena[start:len(x.arena):len(x.arena)]
}

// take returns the record to come.
func (x *export) take() (e Entry, body []byte, err error) {
	if x.waiting() > 0 {
		r := &x.queue[x.head]
		x.head++
		x.bytes -= len(r.body)
		return r.Entry, r.body, nil
	}
	if x.done {
		return Entry{}, nil, nil
	}
	e.Key, e.Value, body, err = x.next()
	if errors.Is(err, io.EOF) {
		x.done, err = true, nil
	}
	return e, body, err
}

// kid emits a subtree that covers s.
func (x *export) kid(k kid, layer int, s span) error {
	n := k.node
	if n == nil {
		var err error
		if n, err = x.load(k, layer, s); err != nil {
			return err
		}
	}
	b := n.full()
	if err := x.emit(b.CID, b.Data); err != nil {
		return err
	}
	for i := range n.kids {
		if !n.kids[i].none() {
			if err := x.kid(n.kids[i], n.layer-1, n.gap(i, s)); err != nil {
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
	got, body, err := x.take()
	if err != nil {
		return err
	}
	if got != e {
		return fmt.Errorf("%w: %q is not in the records", ErrCorrupt, e.Key)
	}
	if body == nil {
		return nil
	}
	return x.emit(e.Value, body)
}

// errManyKeys says that a stub is too large for all its nodes to be made at once.
var errManyKeys = errors.New("too many keys in one stub")

// load makes the nodes of a stub out of the records to come: all of them, or of a very large one the top, with stubs below.
func (x *export) load(k kid, layer int, s span) (*node, error) {
	n, err := x.build(layer, s, 0, x.maxKeys)
	if err == errManyKeys {
		n, err = x.build(layer, s, math.MaxInt, math.MaxInt)
	}
	if err != nil {
		return nil, err
	}
	if n == nil || n.block().CID != k.stub {
		return nil, fmt.Errorf("%w: between %q and %q", ErrCorrupt, s.lo, s.hi)
	}
	return n, nil
}

// build makes the nodes from layer keep up, and at least the top, of the records to come within s. More than limit are errManyKeys.
func (x *export) build(layer int, s span, keep, limit int) (*node, error) {
	b := builders.Get().(*builder)
	defer b.release()
	b.keep = keep
	last, n := s.lo, 0
	add := func(key string, value cid.Cid) error {
		if n++; n > limit {
			return errManyKeys
		}
		return b.add(key, value)
	}
	for {
		if n == x.waiting() {
			if !x.done && (x.bytes >= x.maxBytes || n >= x.maxKeys) {
				break // the rest without bodies, which come later
			}
			if err := x.pull(); err != nil {
				return nil, err
			}
			if x.done {
				return b.finish(layer), nil
			}
		}
		r := &x.queue[x.head+n]
		if s.hi != "" && r.Key >= s.hi {
			return b.finish(layer), nil
		}
		last = r.Key
		if err := add(r.Key, r.Value); err != nil {
			return nil, err
		}
	}
	if err := x.src.Scan(last, s.hi, add); err != nil {
		return nil, err
	}
	return b.finish(layer), nil
}
