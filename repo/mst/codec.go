package mst

import (
	"crypto/sha256"

	"github.com/ipfs/go-cid"
)

// Bytes of the canonical encoding, see encode.
const (
	cidPrefix  = "\x01\x71\x12\x20" // CIDv1, dag-cbor, sha-256, 32 bytes
	cidLen     = len(cidPrefix) + sha256.Size
	cborNull   = 0xf6
	cborArray  = 0x80
	cborBytes  = 0x40
	cborText   = 0x60
	cborMap    = 0xa0
	cborTag42a = 0xd8
	cborTag42b = 0x2a
)

// emptyRoot is the CID of the node without entries, the tree of an empty repository.
var emptyRoot = sumCID((&node{kids: []kid{{}}}).encode(nil))

// sumCID returns the CID of a block of DAG-CBOR. It puts the CID together in the
// unused capacity of data, which saves an allocation where there is some.
func sumCID(data []byte) cid.Cid {
	sum := sha256.Sum256(data)
	b := append(append(data, cidPrefix...), sum[:]...)[len(data):]
	c, err := cid.Cast(b)
	if err != nil {
		panic("mst: a sha-256 CID was not accepted: " + err.Error()) // cannot happen: the prefix is constant
	}
	return c
}

// encode appends the canonical DAG-CBOR of a node:
//
//	{"e": [{"k": rest of key, "p": shared with the key before, "t": right subtree or null, "v": record}], "l": left subtree or null}
//
// Stubs and nodes below must have their CIDs, which block computes when needed.
func (n *node) encode(b []byte) []byte {
	if b == nil {
		b = make([]byte, 0, encodedSize(n))
	}
	b = append(b, cborMap|2, cborText|1, 'e')
	b = appendHead(b, cborArray, uint64(len(n.entries)))
	prev := ""
	for i := range n.entries {
		key := n.entries[i].Key
		p := commonPrefix(prev, key)
		b = append(b, cborMap|4, cborText|1, 'k')
		b = appendHead(b, cborBytes, uint64(len(key)-p))
		b = append(b, key[p:]...)
		b = append(b, cborText|1, 'p')
		b = appendHead(b, 0, uint64(p))
		b = append(b, cborText|1, 't')
		b = appendLink(b, n.kids[i+1].link())
		b = append(b, cborText|1, 'v')
		b = appendLink(b, n.entries[i].Value)
		prev = key
	}
	b = append(b, cborText|1, 'l')
	return appendLink(b, n.kids[0].link())
}

func encodedSize(n *node) int {
	size := 64 + cidLen // with room for sumCID
	for i := range n.entries {
		size += 104 + len(n.entries[i].Key)
	}
	return size
}

func appendLink(b []byte, c cid.Cid) []byte {
	if !c.Defined() {
		return append(b, cborNull)
	}
	b = append(b, cborTag42a, cborTag42b)
	b = appendHead(b, cborBytes, uint64(c.ByteLen()+1))
	b = append(b, 0)
	return append(b, c.KeyString()...)
}

// appendHead appends the shortest head of the CBOR major type with argument v.
func appendHead(b []byte, major byte, v uint64) []byte {
	switch {
	case v < 24:
		return append(b, major|byte(v))
	case v < 1<<8:
		return append(b, major|24, byte(v))
	case v < 1<<16:
		return append(b, major|25, byte(v>>8), byte(v))
	default:
		return append(b, major|26, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
	}
}

// commonPrefix returns how many leading bytes a and b share.
func commonPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := 0; i < n; i++ {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
