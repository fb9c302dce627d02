package mst

import (
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"
)

// ErrNode says that a block is not a node of a tree, or does not belong where it is linked.
var ErrNode = errors.New("invalid tree node")

// maxCID bounds the bytes of a record's CID. Foreign trees may hold others than
// the data model has, and they are kept as they are.
const maxCID = 100

// Node is a tree node as it stands in a block.
type Node struct {
	Layer   int // height of the keys; -1 if there are none
	Entries []Entry
	Kids    []cid.Cid // left of the first entry, then right of each; cid.Undef: none
}

// ReadNode reads a node and accepts only the one canonical encoding of it: keys
// of one height, strictly rising, with the longest shared prefix left out; links to nodes with
// SHA-256 and DAG-CBOR; nothing after the end. Errors are [ErrNode].
func ReadNode(block []byte) (Node, error) {
	n, err := decode(block)
	if err != nil {
		return Node{}, err
	}
	out := Node{Layer: n.layer, Entries: n.entries, Kids: make([]cid.Cid, len(n.kids))}
	for i, k := range n.kids {
		out.Kids[i] = k.stub
	}
	return out, nil
}

// decode reads a node, whose kids become stubs. Without entries its layer is not known: -1.
func decode(block []byte) (*node, error) {
	d := decoder{b: block}
	d.expect(cborMap|2, cborText|1, 'e')
	count := d.head(cborArray)
	if count > MaxEntries || count > uint64(len(block)) {
		return nil, fmt.Errorf("%w: %d entries", ErrNode, count)
	}
	entries := make([]Entry, 0, count)
	kids := make([]kid, 1, count+1)
	layer := -1
	for i := 0; i < int(count) && d.err == nil; i++ {
		e, right := d.entry(entries)
		if d.err != nil {
			break
		}
		if h := Height(e.Key); i == 0 {
			layer = h
		} else if h != layer {
			d.fail("key %q of height %d beside %d", e.Key, h, layer)
		}
		entries, kids = append(entries, e), append(kids, right)
	}
	d.expect(cborText|1, 'l')
	kids[0] = d.child()
	if d.err == nil && d.i != len(block) {
		d.fail("data after the end")
	}
	if d.err != nil {
		return nil, d.err
	}
	return newNode(layer, entries, kids), nil
}

// decoder reads the one encoding a node has; its first fault sticks.
type decoder struct {
	b   []byte
	i   int
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s at byte %d", ErrNode, fmt.Sprintf(format, args...), d.i)
	}
}

func (d *decoder) expect(want ...byte) {
	got := d.take(uint64(len(want)))
	if d.err == nil && string(got) != string(want) {
		d.fail("not the fields of a node")
	}
}

func (d *decoder) take(n uint64) []byte {
	if d.err == nil && n > uint64(len(d.b)-d.i) {
		d.fail("cut short")
	}
	if d.err != nil {
		return nil
	}
	d.i += int(n)
	return d.b[d.i-int(n) : d.i]
}

// head reads the shortest head of the given major type and returns its argument.
func (d *decoder) head(major byte) uint64 {
	h := d.take(1)
	if d.err != nil {
		return 0
	}
	if h[0]&0xe0 != major {
		d.fail("unexpected type %#x", h[0])
		return 0
	}
	info := h[0] & 0x1f
	if info < 24 {
		return uint64(info)
	}
	if info > 26 { // no node needs more than 32 bits
		d.fail("number too large or of indefinite length")
		return 0
	}
	size := uint(1) << (info - 24)
	var v uint64
	for _, x := range d.take(uint64(size)) {
		v = v<<8 | uint64(x)
	}
	if v < 24 || (size > 1 && v>>(4*size) == 0) {
		d.fail("number not in shortest form")
	}
	return v
}

// entry reads one entry, whose key continues the last of before, and its right subtree.
func (d *decoder) entry(before []Entry) (Entry, kid) {
	d.expect(cborMap|4, cborText|1, 'k')
	rest := d.take(d.head(cborBytes))
	d.expect(cborText|1, 'p')
	p := d.head(0)
	prev := ""
	if len(before) > 0 {
		prev = before[len(before)-1].Key
	}
	if d.err == nil && p > uint64(len(prev)) {
		d.fail("prefix of %d bytes, of a key of %d", p, len(prev))
	}
	if d.err == nil && p+uint64(len(rest)) > MaxKey {
		d.fail("key too long")
	}
	if d.err != nil {
		return Entry{}, kid{}
	}
	key := prev[:p] + string(rest)
	if key <= prev || commonPrefix(prev, key) != int(p) {
		d.fail("key %q out of order, or its prefix not the longest", key)
	}
	d.expect(cborText|1, 't')
	right := d.child()
	d.expect(cborText|1, 'v')
	return Entry{Key: key, Value: d.link()}, right
}

// child reads a link to a node, or null.
func (d *decoder) child() kid {
	if d.err == nil && d.i < len(d.b) && d.b[d.i] == cborNull {
		d.i++
		return kid{}
	}
	c := d.link()
	if d.err == nil && (c.ByteLen() != cidLen || c.KeyString()[:len(cidPrefix)] != cidPrefix) {
		d.fail("link to a node that is not DAG-CBOR with SHA-256")
	}
	return kid{stub: c}
}

func (d *decoder) link() cid.Cid {
	d.expect(cborTag42a, cborTag42b)
	b := d.take(d.head(cborBytes))
	if d.err != nil {
		return cid.Undef
	}
	if len(b) < 2 || len(b) > 1+maxCID || b[0] != 0 {
		d.fail("malformed link")
		return cid.Undef
	}
	c, err := cid.Cast(b[1:])
	if err != nil || c.Version() != 1 {
		d.fail("malformed CID")
	}
	return c
}

// Load makes a tree out of blocks, all of it or a part: a subtree whose block is
// missing cannot be entered, and what needs it answers [ErrPartial]. block must
// return only data that hashes to the CID. The walk is strict: layers fall by
// one, keys stay between their neighbours above, and no node is linked twice, so
// that its cost is bounded by the blocks. Errors are [ErrNode], or [ErrPartial] without the root.
//
// A loaded tree is changed and read with a nil Source.
func Load(root cid.Cid, block func(cid.Cid) ([]byte, bool)) (Tree, error) {
	if root == emptyRoot {
		return Tree{}, nil
	}
	w := loadWalk{block: block, seen: map[cid.Cid]bool{}}
	k, err := w.load(root, topLayer, span{})
	if err != nil {
		return Tree{}, err
	}
	if k.node == nil {
		return Tree{}, fmt.Errorf("%w: root %s", ErrPartial, root)
	}
	return Tree{root: k}, nil
}

type loadWalk struct {
	block func(cid.Cid) ([]byte, bool)
	seen  map[cid.Cid]bool
}

func (w *loadWalk) load(c cid.Cid, layer int, s span) (kid, error) {
	if w.seen[c] {
		return kid{}, fmt.Errorf("%w: %s is linked twice", ErrNode, c)
	}
	w.seen[c] = true
	data, ok := w.block(c)
	if !ok {
		return kid{stub: c}, nil
	}
	n, err := decode(data)
	if err != nil {
		return kid{}, fmt.Errorf("%s: %w", c, err)
	}
	if err := n.place(layer, s); err != nil {
		return kid{}, fmt.Errorf("%s: %w", c, err)
	}
	for i, k := range n.kids {
		if k.none() {
			continue
		}
		if n.kids[i], err = w.load(k.stub, n.layer-1, n.gap(i, s)); err != nil {
			return kid{}, err
		}
	}
	m := newNode(n.layer, n.entries, n.kids)
	m.dirty = false
	m.enc.Store(&Block{CID: c})
	return kid{node: m}, nil
}

// place checks that a node just read may stand on the layer and between the keys of s.
func (n *node) place(layer int, s span) error {
	if len(n.entries) == 0 {
		if layer == topLayer || layer == 0 || n.kids[0].none() {
			return fmt.Errorf("%w: no keys", ErrNode)
		}
		n.layer = layer
		return nil
	}
	if layer != topLayer && n.layer != layer {
		return fmt.Errorf("%w: keys of height %d on layer %d", ErrNode, n.layer, layer)
	}
	first, last := n.entries[0].Key, n.entries[len(n.entries)-1].Key
	if first <= s.lo || (s.hi != "" && last >= s.hi) {
		return fmt.Errorf("%w: keys not between %q and %q", ErrNode, s.lo, s.hi)
	}
	if n.layer == 0 {
		for _, k := range n.kids {
			if !k.none() {
				return fmt.Errorf("%w: subtree below layer 0", ErrNode)
			}
		}
	}
	return nil
}
