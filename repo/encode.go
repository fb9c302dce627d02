package repo

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/ipfs/go-cid"
)

// CBOR major types, and the simple values the data model has.
const (
	majorUint  = 0 << 5
	majorNint  = 1 << 5
	majorBytes = 2 << 5
	majorText  = 3 << 5
	majorArray = 4 << 5
	majorMap   = 5 << 5
	majorTag   = 6 << 5
	majorOther = 7 << 5

	cborFalse = 0xf4
	cborTrue  = 0xf5
	cborNull  = 0xf6

	tagCID = 42
)

// EncodeRecord returns the canonical DAG-CBOR (DRISL) of a record made of the
// types of package atdata. It refuses what the data model does not have with an
// error that wraps [ErrInvalidRecord], and more than [MaxRecord] bytes with [ErrTooLarge].
func EncodeRecord(record map[string]any) ([]byte, error) {
	b, err := appendMap(make([]byte, 0, 512), record, 1)
	if err != nil {
		return nil, err
	}
	if len(b) > MaxRecord {
		return nil, fmt.Errorf("%w: record of %d bytes, at most %d", ErrTooLarge, len(b), MaxRecord)
	}
	return b, nil
}

func appendHead(b []byte, major byte, v uint64) []byte {
	switch {
	case v < 24:
		return append(b, major|byte(v))
	case v < 1<<8:
		return append(b, major|24, byte(v))
	case v < 1<<16:
		return append(b, major|25, byte(v>>8), byte(v))
	case v < 1<<32:
		return append(b, major|26, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
	}
	return append(b, major|27, byte(v>>56), byte(v>>48), byte(v>>40), byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

func appendText(b []byte, s string) []byte {
	return append(appendHead(b, majorText, uint64(len(s))), s...)
}

func appendInt(b []byte, v int64) []byte {
	if v < 0 {
		return appendHead(b, majorNint, uint64(-1-v))
	}
	return appendHead(b, majorUint, uint64(v))
}

// appendCID appends a link; c must be defined.
func appendCID(b []byte, c cid.Cid) []byte {
	b = append(b, majorTag|24, tagCID)
	b = appendHead(b, majorBytes, uint64(c.ByteLen()+1))
	return append(append(b, 0), c.KeyString()...)
}

func appendLink(b []byte, c cid.Cid) ([]byte, error) {
	if !blessed([]byte(c.KeyString())) {
		return nil, fmt.Errorf("%w: %s", ErrCID, c)
	}
	return appendCID(b, c), nil
}

func appendValue(b []byte, v any, depth int) ([]byte, error) {
	switch v := v.(type) {
	case string:
		if !utf8.ValidString(v) {
			return nil, ErrUTF8
		}
		return appendText(b, v), nil
	case map[string]any:
		return appendMap(b, v, depth+1)
	case []any:
		return appendArray(b, v, depth+1)
	case int64:
		return appendInt(b, v), nil
	case int:
		return appendInt(b, int64(v)), nil
	case bool:
		if v {
			return append(b, cborTrue), nil
		}
		return append(b, cborFalse), nil
	case nil:
		return append(b, cborNull), nil
	case atdata.CIDLink:
		return appendLink(b, v.CID())
	case cid.Cid:
		return appendLink(b, v)
	case atdata.Bytes:
		return append(appendHead(b, majorBytes, uint64(len(v))), v...), nil
	case []byte:
		return append(appendHead(b, majorBytes, uint64(len(v))), v...), nil
	case atdata.Blob:
		return appendBlob(b, v)
	case float64, float32:
		return nil, ErrFloat
	}
	return nil, fmt.Errorf("%w: %T", ErrValue, v)
}

func appendArray(b []byte, list []any, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return nil, ErrDepth
	}
	b = appendHead(b, majorArray, uint64(len(list)))
	for _, v := range list {
		var err error
		if b, err = appendValue(b, v, depth); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// compareKeys is the order of map keys in DRISL: that of their encodings, so by length first.
func compareKeys(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

func appendMap(b []byte, m map[string]any, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return nil, ErrDepth
	}
	var few [16]string // most objects are small: sort their keys on the stack
	keys := few[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compareKeys)
	b = appendHead(b, majorMap, uint64(len(m)))
	for _, k := range keys {
		if k == "" {
			return nil, ErrEmptyKey
		}
		if !utf8.ValidString(k) {
			return nil, ErrUTF8
		}
		b = appendText(b, k)
		var err error
		if b, err = appendValue(b, m[k], depth); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// appendBlob appends a blob reference; one without a size has the legacy shape.
func appendBlob(b []byte, v atdata.Blob) ([]byte, error) {
	if !v.Ref.IsDefined() || !utf8.ValidString(v.MimeType) {
		return nil, ErrBlob
	}
	if v.Size < 0 {
		b = append(b, majorMap|2)
		b = appendText(appendText(b, "cid"), v.Ref.String())
		return appendText(appendText(b, "mimeType"), v.MimeType), nil
	}
	b = append(b, majorMap|4)
	b, err := appendLink(appendText(b, "ref"), v.Ref.CID())
	if err != nil {
		return nil, err
	}
	b = appendInt(appendText(b, "size"), v.Size)
	b = appendText(appendText(b, "$type"), "blob")
	return appendText(appendText(b, "mimeType"), v.MimeType), nil
}
