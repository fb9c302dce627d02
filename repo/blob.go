package repo

import (
	"slices"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/ipfs/go-cid"
)

// BlobRef is a reference from a record to a blob.
type BlobRef struct {
	CID      cid.Cid
	MimeType string
	Size     int64 // bytes
}

// BlobRefs returns the blobs that a record refers to, at any depth: each different
// reference once, in no particular order.
func BlobRefs(record map[string]any) []BlobRef {
	var refs []BlobRef
	eachValue(record, func(v any) bool {
		if b, ok := v.(atdata.Blob); ok {
			refs = addRef(refs, BlobRef{CID: b.Ref.CID(), MimeType: b.MimeType, Size: b.Size})
		}
		return true
	})
	return refs
}

func addRef(refs []BlobRef, ref BlobRef) []BlobRef {
	for _, r := range refs {
		if r == ref {
			return refs
		}
	}
	return append(refs, ref)
}

// HasLegacyBlob says whether a record holds, at any depth, a blob reference in
// the shape from before 2023: an object of exactly cid and mimeType, both text. Such may be
// read but must not be written.
func HasLegacyBlob(record map[string]any) bool {
	return !eachValue(record, func(v any) bool { return !legacyBlob(v).Defined() })
}

// legacyBlob returns the CID of a blob reference in the shape from before 2023, cid.Undef when v is none.
func legacyBlob(v any) cid.Cid {
	m, ok := v.(map[string]any)
	if !ok || len(m) != 2 {
		return cid.Undef
	}
	link, isLink := m["cid"].(string)
	_, isMime := m["mimeType"].(string)
	if !isLink || !isMime {
		return cid.Undef
	}
	c, err := cid.Decode(link)
	if err != nil {
		return cid.Undef
	}
	return c
}

// BlobLinks returns the CIDs of the blobs that a record refers to, at any depth, each once: those of BlobRefs, and those of references in the shape from
// before 2023, which a repository from elsewhere may hold and whose blobs must not be lost.
func BlobLinks(record map[string]any) []cid.Cid {
	var links []cid.Cid
	eachValue(record, func(v any) bool {
		c := legacyBlob(v)
		if b, ok := v.(atdata.Blob); ok {
			c = b.Ref.CID()
		}
		if c.Defined() && !slices.Contains(links, c) {
			links = append(links, c)
		}
		return true
	})
	return links
}

// eachValue calls f for v and everything inside it, until f returns false.
func eachValue(v any, f func(any) bool) bool {
	if !f(v) {
		return false
	}
	switch v := v.(type) {
	case map[string]any:
		for _, x := range v {
			if !eachValue(x, f) {
				return false
			}
		}
	case []any:
		for _, x := range v {
			if !eachValue(x, f) {
				return false
			}
		}
	}
	return true
}
