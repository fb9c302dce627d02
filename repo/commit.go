package repo

import (
	"bytes"
	"fmt"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
)

// Version is the version of the repository format.
const Version = 3

// sigLen is the length of a signature: r and s, 32 bytes each.
const sigLen = 64

// maxCommit bounds the bytes of a commit: the longest DID and some 200 for the rest.
const maxCommit = 2048 + 512

// Commit is the signed state of a repository (format version 3).
type Commit struct {
	DID  syntax.DID
	Data cid.Cid // root of the tree
	Rev  syntax.TID
	Prev cid.Cid // the commit before, in old repositories; cid.Undef is written as null
	Sig  []byte  // 64 bytes; nil before signing
}

// Head is the latest commit of a repository, as stored.
type Head struct {
	CID    cid.Cid
	Block  []byte // the commit in CBOR
	Commit Commit
}

// Signer signs commits; an atcrypto.PrivateKey is one.
type Signer interface {
	// HashAndSign returns the 64 byte, low-S signature of the SHA-256 of its argument.
	HashAndSign([]byte) ([]byte, error)
}

// SignCommit signs c and returns it encoded, with its CID.
func SignCommit(c Commit, key Signer) (Head, error) {
	c.Sig = nil
	sig, err := key.HashAndSign(c.Encode())
	if err != nil {
		return Head{}, fmt.Errorf("sign commit: %w", err)
	}
	c.Sig = sig
	block := c.Encode()
	return Head{CID: CIDOf(block), Block: block, Commit: c}, nil
}

// Encode returns the canonical CBOR of the commit; without a signature it is
// what gets signed. Data must be defined.
func (c Commit) Encode() []byte {
	b := make([]byte, 0, 256+len(c.DID))
	n := uint64(5)
	if c.Sig != nil {
		n++
	}
	b = appendHead(b, majorMap, n)
	b = appendText(appendText(b, "did"), c.DID.String())
	b = appendText(appendText(b, "rev"), c.Rev.String())
	if c.Sig != nil {
		b = appendHead(appendText(b, "sig"), majorBytes, uint64(len(c.Sig)))
		b = append(b, c.Sig...)
	}
	b = appendCID(appendText(b, "data"), c.Data)
	b = appendText(b, "prev")
	if c.Prev.Defined() {
		b = appendCID(b, c.Prev)
	} else {
		b = append(b, cborNull)
	}
	return appendInt(appendText(b, "version"), Version)
}

// ParseCommit reads a signed commit: exactly the fields of version 3, in canonical
// form. Errors are [ErrCommit].
func ParseCommit(b []byte) (Commit, error) {
	c, err := parseCommit(b)
	if err != nil {
		return Commit{}, fmt.Errorf("%w: %w", ErrCommit, err)
	}
	// One form for one commit: what was read must be what we would write.
	if !bytes.Equal(c.Encode(), b) {
		return Commit{}, fmt.Errorf("%w: not canonical", ErrCommit)
	}
	return c, nil
}

func parseCommit(b []byte) (Commit, error) {
	var c Commit
	if len(b) > maxCommit {
		return c, fmt.Errorf("%d bytes", len(b))
	}
	lim := RecordLimits()
	lim.Depth = 1
	r := reader{b: b, lim: lim}
	v, err := r.value(0)
	if err != nil {
		return c, err
	}
	if err := r.end(); err != nil {
		return c, err
	}
	m, ok := v.(map[string]any)
	if !ok || len(m) != 6 {
		return c, fmt.Errorf("not a map of six fields")
	}
	return commitFrom(m)
}
