package mst

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/bits"

	"github.com/ipfs/go-cid"
)

// Limits on what a tree may hold. The specification names none; these keep
// mined keys from making nodes that nobody can handle.
const (
	// MaxKey is the length of the longest key in bytes; a record path has at most 830.
	MaxKey = 1024
	// MaxEntries is the largest number of entries of one node. With honest keys a
	// node has four on average, and 200 in one of 10^25.
	MaxEntries = 4096
)

var (
	// ErrNotFound says that a key is not in the tree.
	ErrNotFound = errors.New("key not found in tree")
	// ErrCorrupt says that the records do not fit the tree that was made from them.
	ErrCorrupt = errors.New("records do not match the tree")
	// ErrKey says that a key is empty or longer than [MaxKey].
	ErrKey = errors.New("invalid tree key")
	// ErrLimit says that a node would exceed [MaxEntries].
	ErrLimit = errors.New("tree node limit exceeded")
	// ErrPartial says that a node is needed that a partial tree does not hold.
	ErrPartial = errors.New("tree node missing")
	// ErrOrder says that keys did not come in strictly rising byte order.
	ErrOrder = errors.New("tree keys out of order")
)

// Entry is one key of a tree and the CID of its record.
type Entry struct {
	Key   string
	Value cid.Cid
}

// Block is a piece of DAG-CBOR and the CID it hashes to.
type Block struct {
	CID  cid.Cid
	Data []byte
}

// Source scans the records of one repository in byte order of their keys. lo and
// hi are exclusive; "" leaves that side unbounded. An error of yield ends the
// scan and is returned as it is. Keys and values must stay valid after the call.
type Source interface {
	Scan(lo, hi string, yield func(key string, value cid.Cid) error) error
}

// Tree is an immutable Merkle search tree. The zero value is the empty tree.
type Tree struct {
	root kid
}

// Empty returns the tree without keys: one node without entries.
func Empty() Tree { return Tree{} }

// Root returns the CID of the top node, the `data` of a commit.
func (t Tree) Root() cid.Cid {
	if t.root.none() {
		return emptyRoot
	}
	return t.root.link()
}

// IsEmpty says whether the tree has no keys.
func (t Tree) IsEmpty() bool { return t.root.none() || t.Root() == emptyRoot }

// Size returns roughly how many bytes of memory the tree holds on to.
func (t Tree) Size() int64 { return t.root.size() }

// Height returns the layer of a key: the number of leading zero bits of its
// SHA-256, halved (fanout 4).
func Height(key string) int {
	sum := sha256.Sum256([]byte(key))
	zeros := 0
	for _, b := range sum {
		zeros += bits.LeadingZeros8(b)
		if b != 0 {
			break
		}
	}
	return zeros / 2
}

func checkKey(key string) error {
	if key == "" || len(key) > MaxKey {
		return fmt.Errorf("%w: %d bytes", ErrKey, len(key))
	}
	return nil
}

// Get returns the CID of the record under key, or [ErrNotFound]. It reads from
// src only when the key lies below the layers in memory.
func (t Tree) Get(src Source, key string) (cid.Cid, error) {
	if err := checkKey(key); err != nil {
		return cid.Undef, err
	}
	l := loader{src, key}
	k, layer, s := t.root, topLayer, span{}
	for {
		if k.none() {
			return cid.Undef, ErrNotFound
		}
		n, err := l.load(k, layer, s)
		if err != nil {
			return cid.Undef, err
		}
		i, found := n.search(key)
		if found {
			return n.entries[i].Value, nil
		}
		k, layer, s = n.kids[i], n.layer-1, n.gap(i, s)
	}
}
