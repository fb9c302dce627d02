package repo

import (
	"fmt"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
)

// commitFrom takes the fields of a commit out of a map with six keys.
func commitFrom(m map[string]any) (c Commit, err error) {
	if v, ok := m["version"].(int64); !ok || v != Version {
		return c, fmt.Errorf("version %v", m["version"])
	}
	did, _ := m["did"].(string)
	if c.DID, err = syntax.ParseDID(did); err != nil {
		return c, err
	}
	rev, _ := m["rev"].(string)
	if c.Rev, err = syntax.ParseTID(rev); err != nil {
		return c, err
	}
	if c.Data, err = commitLink(m, "data"); err != nil {
		return c, err
	}
	prev, ok := m["prev"]
	if !ok {
		return c, fmt.Errorf("no prev")
	}
	if prev != nil {
		if c.Prev, err = commitLink(m, "prev"); err != nil {
			return c, err
		}
	}
	sig, _ := m["sig"].(atdata.Bytes)
	if len(sig) != sigLen {
		return c, fmt.Errorf("signature of %d bytes", len(sig))
	}
	c.Sig = sig
	return c, nil
}

func commitLink(m map[string]any, field string) (cid.Cid, error) {
	link, ok := m[field].(atdata.CIDLink)
	if !ok || codecOf(link.CID()) != codecDagCBOR {
		return cid.Undef, fmt.Errorf("%s is not a link to DAG-CBOR", field)
	}
	return link.CID(), nil
}

// Verify says whether pub made the signature, or returns [ErrSignature].
func (c Commit) Verify(pub atcrypto.PublicKey) error {
	sig := c.Sig
	c.Sig = nil
	if len(sig) != sigLen {
		return fmt.Errorf("%w: %d bytes", ErrSignature, len(sig))
	}
	if err := pub.HashAndVerify(c.Encode(), sig); err != nil {
		return fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return nil
}

// ParseHead reads a stored commit.
func ParseHead(block []byte) (Head, error) {
	c, err := ParseCommit(block)
	if err != nil {
		return Head{}, err
	}
	return Head{CID: CIDOf(block), Block: block, Commit: c}, nil
}
