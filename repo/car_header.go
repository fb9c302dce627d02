package repo

import (
	"errors"
	"fmt"
	"io"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/ipfs/go-cid"
)

// header reads the header of a CAR: version 1 and at least one root.
func (c *carReader) header(limit int) ([]cid.Cid, error) {
	n, err := c.size(limit)
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: empty", ErrCAR)
	}
	if err != nil {
		return nil, err
	}
	b, err := c.take(n)
	if err != nil {
		return nil, err
	}
	roots, err := parseCARHeader(b)
	if err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrCAR, err)
	}
	return roots, nil
}

func parseCARHeader(b []byte) ([]cid.Cid, error) {
	m, err := DecodeRecord(b)
	if err != nil {
		return nil, err
	}
	if v, ok := m["version"].(int64); !ok || v != 1 {
		return nil, fmt.Errorf("version %v", m["version"])
	}
	list, _ := m["roots"].([]any)
	if len(list) == 0 {
		return nil, errors.New("no roots")
	}
	roots := make([]cid.Cid, len(list))
	for i, v := range list {
		link, ok := v.(atdata.CIDLink)
		if !ok {
			return nil, errors.New("root is not a link")
		}
		roots[i] = link.CID()
	}
	return roots, nil
}
