package repo

import (
	"crypto/sha256"
	"fmt"

	"github.com/ipfs/go-cid"
)

// Multicodecs of the two kinds of CIDs that the data model knows.
const (
	codecDagCBOR = 0x71
	codecRaw     = 0x55
)

// cidLen is the length of every CID of the data model in bytes: version, codec,
// hash function, hash length, 32 bytes of SHA-256.
const cidLen = 4 + sha256.Size

// CIDOf returns the CID of a block of DAG-CBOR.
func CIDOf(cbor []byte) cid.Cid { return makeCID(codecDagCBOR, sha256.Sum256(cbor)) }

// BlobCIDOf returns the CID of a blob whose bytes have the given SHA-256.
func BlobCIDOf(sum [32]byte) cid.Cid { return makeCID(codecRaw, sum) }

func makeCID(codec byte, sum [32]byte) cid.Cid {
	b := [cidLen]byte{1, codec, 0x12, sha256.Size}
	copy(b[4:], sum[:])
	c, err := cid.Cast(b[:])
	if err != nil {
		panic("repo: a sha-256 CID was not accepted: " + err.Error()) // cannot happen: the prefix is well-formed
	}
	return c
}

// AppendCID appends the text of a CID of version 1, given in its binary form: "b" and lower-case base32.
func AppendCID(dst, binary []byte) []byte {
	return base32Lower.AppendEncode(append(dst, 'b'), binary)
}

// castCID reads one of the two kinds of CIDs that the data model knows: version 1, SHA-256,
// codec dag-cbor or raw.
func castCID(b []byte) (cid.Cid, error) {
	if !blessed(b) {
		return cid.Undef, fmt.Errorf("%w: not a CIDv1 of dag-cbor or raw with sha-256", ErrCID)
	}
	c, err := cid.Cast(b)
	if err != nil {
		return cid.Undef, fmt.Errorf("%w: %w", ErrCID, err)
	}
	return c, nil
}

func blessed(b []byte) bool {
	return len(b) == cidLen && b[0] == 1 && (b[1] == codecDagCBOR || b[1] == codecRaw) && b[2] == 0x12 && b[3] == sha256.Size
}

// codecOf returns the codec of a CID made by castCID.
func codecOf(c cid.Cid) byte { return c.KeyString()[1] }

// hashes says whether data has the hash that a CID made by castCID names.
func hashes(c cid.Cid, data []byte) bool {
	sum := sha256.Sum256(data)
	return c.KeyString()[4:] == string(sum[:])
}
