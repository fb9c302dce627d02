package store

import (
	"bytes"
	"fmt"

	"github.com/ipfs/go-cid"
)

// parseCID reads a CID in its binary form; the bytes are copied.
func parseCID(b []byte) (cid.Cid, error) {
	n, c, err := cid.CidFromBytes(b)
	if err != nil {
		return cid.Undef, fmt.Errorf("stored CID: %w", err)
	}
	if n != len(b) {
		return cid.Undef, fmt.Errorf("stored CID has %d bytes too many", len(b)-n)
	}
	return c, nil
}

// parseOptionalCID is parseCID with cid.Undef for NULL.
func parseOptionalCID(b []byte) (cid.Cid, error) {
	if b == nil {
		return cid.Undef, nil
	}
	return parseCID(b)
}

// cidArg is the column's form of c: NULL for cid.Undef.
func cidArg(c cid.Cid) any {
	if !c.Defined() {
		return nil
	}
	return c.Bytes()
}

// cidAfter is the argument for "cid > ?"; of cid.Undef it lets every CID through.
func cidAfter(c cid.Cid) []byte {
	if !c.Defined() {
		return []byte{}
	}
	return bytes.Clone(c.Bytes())
}
