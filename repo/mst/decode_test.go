package mst

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
)

// raw encodes a node without checking anything, for hostile ones.
func raw(left kid, entries ...rawEntry) []byte {
	b := []byte{cborMap | 2, cborText | 1, 'e'}
	b = appendHead(b, cborArray, uint64(len(entries)))
	for _, e := range entries {
		b = append(b, cborMap|4, cborText|1, 'k')
		b = append(appendHead(b, cborBytes, uint64(len(e.k))), e.k...)
		b = appendHead(append(b, cborText|1, 'p'), 0, e.p)
		b = appendLink(append(b, cborText|1, 't'), e.right.stub)
		b = appendLink(append(b, cborText|1, 'v'), val(1))
	}
	return appendLink(append(b, cborText|1, 'l'), left.stub)
}

type rawEntry struct {
	p     uint64
	k     string
	right kid
}

// keysOf returns n rising keys of one height.
func keysOf(height, n int) []string {
	var keys []string
	for i := 0; len(keys) < n; i++ {
		if k := fmt.Sprintf("a/%06d", i); Height(k) == height {
			keys = append(keys, k)
		}
	}
	return keys
}

func TestReadNodeRefuses(t *testing.T) {
	low, high := keysOf(0, 2), keysOf(1, 1)
	good := raw(kid{}, rawEntry{k: low[0]})
	if _, err := ReadNode(good); err != nil {
		t.Fatal(err)
	}
	other := cid.NewCidV1(0x55, val(1).Hash())
	p := uint64(commonPrefix(low[0], low[1]))
	for name, b := range map[string][]byte{
		"nothing":              {},
		"trailing byte":        append(bytes.Clone(good), 0),
		"cut short":            good[:len(good)-1],
		"prefix of nothing":    raw(kid{}, rawEntry{p: 5, k: low[0]}),
		"prefix too long":      raw(kid{}, rawEntry{k: low[0]}, rawEntry{p: 200, k: low[1]}),
		"prefix 2^32-1":        raw(kid{}, rawEntry{k: low[0]}, rawEntry{p: 1<<32 - 1, k: low[1]}),
		"prefix too short":     raw(kid{}, rawEntry{k: low[0]}, rawEntry{p: p - 1, k: low[1][p-1:]}),
		"keys not sorted":      raw(kid{}, rawEntry{k: low[1]}, rawEntry{p: p, k: low[0][p:]}),
		"key twice":            raw(kid{}, rawEntry{k: low[0]}, rawEntry{p: uint64(len(low[0]))}),
		"empty key":            raw(kid{}, rawEntry{}),
		"key too long":         raw(kid{}, rawEntry{k: strings.Repeat("x", MaxKey+1)}),
		"keys of two heights":  raw(kid{}, rawEntry{k: low[0]}, rawEntry{p: 7, k: high[0][7:]}),
		"left not DAG-CBOR":    raw(kid{stub: other}, rawEntry{k: low[0]}),
		"right not DAG-CBOR":   raw(kid{}, rawEntry{k: low[0], right: kid{stub: other}}),
		"long head":            bytes.Replace(good, []byte{cborArray | 1}, []byte{cborArray | 24, 1}, 1),
		"indefinite array":     bytes.Replace(good, []byte{cborArray | 1}, []byte{0x9f}, 1),
		"entries that are not": bytes.Replace(good, []byte{cborArray | 1}, []byte{cborArray | 26, 0xff, 0xff, 0xff, 0xff}, 1),
		"negative prefix":      bytes.Replace(good, []byte{cborText | 1, 'p', 0}, []byte{cborText | 1, 'p', 0x20}, 1),
		"64 bit prefix":        bytes.Replace(good, []byte{cborText | 1, 'p', 0}, append([]byte{cborText | 1, 'p', 0x1b}, bytes.Repeat([]byte{0xff}, 8)...), 1),
		"value null":           bytes.Replace(good, appendLink(nil, val(1)), []byte{cborNull}, 1),
		"fields in disorder":   bytes.Replace(good, []byte{cborText | 1, 'e'}, []byte{cborText | 1, 'l'}, 1),
	} {
		if n, err := ReadNode(b); !errors.Is(err, ErrNode) {
			t.Errorf("%s: %v, %v", name, n, err)
		}
	}
}

// forest is a set of blocks to load a tree from.
type forest map[cid.Cid][]byte

func (f forest) add(b []byte) kid {
	c := sumCID(b)
	f[c] = b
	return kid{stub: c}
}

func (f forest) load(root kid) error {
	_, err := Load(root.stub, func(c cid.Cid) ([]byte, bool) { b, ok := f[c]; return b, ok })
	return err
}

func TestLoadRefuses(t *testing.T) {
	k0, k1, k2 := keysOf(0, 3), keysOf(1, 3), keysOf(2, 3)
	f := forest{}
	leaf := f.add(raw(kid{}, rawEntry{k: k0[0]}))
	hollow := f.add(raw(kid{}))
	for name, root := range map[string]kid{
		"layer skipped":        f.add(raw(leaf, rawEntry{k: "b" + k2[0]}, rawEntry{k: "c"})),
		"layer skipped, real":  f.add(raw(leaf, rawEntry{k: k2[2]})),
		"keys beyond bound":    f.add(raw(kid{}, rawEntry{k: k1[2], right: leaf})),
		"shared subtree":       f.add(raw(leaf, rawEntry{k: k1[1], right: leaf})),
		"empty node below":     f.add(raw(hollow, rawEntry{k: k1[1]})),
		"top without keys":     f.add(raw(leaf)),
		"subtree of a bottom":  f.add(raw(leaf, rawEntry{k: k0[2]})),
		"child higher":         f.add(raw(f.add(raw(kid{}, rawEntry{k: k2[0]})), rawEntry{k: k1[2]})),
		"shared missing child": f.add(raw(kid{stub: val(7)}, rawEntry{k: k1[1], right: kid{stub: val(7)}})),
	} {
		if err := f.load(root); !errors.Is(err, ErrNode) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := f.load(kid{stub: val(9)}); !errors.Is(err, ErrPartial) {
		t.Errorf("no root: %v", err)
	}
	if err := f.load(hollow); err != nil {
		t.Errorf("empty tree: %v", err)
	}
}

// TestLoadOfLaughs gives Load a tree in which every node links the next one many times over. Followed
// naively it has more nodes than anyone can visit.
func TestLoadOfLaughs(t *testing.T) {
	f := forest{}
	k := f.add(raw(kid{}, rawEntry{k: keysOf(0, 1)[0]}))
	for layer := 1; layer <= 4; layer++ {
		var entries []rawEntry
		prev := ""
		for _, key := range keysOf(layer, 20) {
			p := commonPrefix(prev, key)
			entries = append(entries, rawEntry{p: uint64(p), k: key[p:], right: k})
			prev = key
		}
		k = f.add(raw(k, entries...))
	}
	if err := f.load(k); !errors.Is(err, ErrNode) {
		t.Fatal(err)
	}
}

// TestLoadDeep chains nodes without keys: links end with the layers.
func TestLoadDeep(t *testing.T) {
	f := forest{}
	k := kid{stub: val(3)}
	for range 10_000 {
		k = f.add(raw(k))
	}
	top := f.add(raw(k, rawEntry{k: keysOf(3, 1)[0]}))
	if err := f.load(top); !errors.Is(err, ErrNode) {
		t.Fatal(err)
	}
}

func FuzzReadNode(f *testing.F) {
	low := keysOf(0, 2)
	p := commonPrefix(low[0], low[1])
	f.Add(raw(kid{}))
	f.Add(raw(kid{}, rawEntry{k: low[0]}))
	f.Add(raw(kid{stub: val(1)}, rawEntry{k: low[0]}, rawEntry{p: uint64(p), k: low[1][p:], right: kid{stub: val(2)}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := decode(b)
		if err != nil {
			if !errors.Is(err, ErrNode) {
				t.Fatal(err)
			}
			return
		}
		if again := n.encode(nil); !bytes.Equal(again, b) {
			t.Fatalf("read %x, writes %x", b, again)
		}
	})
}
