package repo

import (
	"bytes"
	"cmp"
	"encoding/base32"
	"fmt"
	"unicode/utf8"

	"github.com/ipfs/go-cid"
)

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// reader takes canonical DAG-CBOR apart, and refuses everything else. It never
// reads beyond b and makes nothing larger than what b holds.
type reader struct {
	b   []byte
	i   int
	lim Limits
}

func (r *reader) fault(kind error, what string) error {
	return fmt.Errorf("%w: %s at byte %d of the CBOR", kind, what, r.i)
}

// head reads the head of one item: its major type and argument in shortest form.
func (r *reader) head() (major byte, arg uint64, err error) {
	if r.i >= len(r.b) {
		return 0, 0, r.fault(ErrSyntax, "end")
	}
	c := r.b[r.i]
	major, info := c&0xe0, c&0x1f
	if info < 24 {
		r.i++
		return major, uint64(info), nil
	}
	if major == majorOther || info > 27 {
		return 0, 0, r.badHead(major, info)
	}
	n := 1 << (info - 24)
	if len(r.b)-r.i-1 < n {
		return 0, 0, r.fault(ErrSyntax, "head cut short")
	}
	for _, x := range r.b[r.i+1 : r.i+1+n] {
		arg = arg<<8 | uint64(x)
	}
	if arg < 24 || (n > 1 && arg>>(4*n) == 0) {
		return 0, 0, r.fault(ErrNotCanonical, "number not in shortest form")
	}
	r.i += 1 + n
	return major, arg, nil
}

func (r *reader) badHead(major, info byte) error {
	switch {
	case major == majorOther && info >= 25 && info <= 27:
		return r.fault(ErrFloat, "float")
	case major == majorOther && info == 31, info == 31:
		return r.fault(ErrNotCanonical, "indefinite length")
	case major == majorOther:
		return r.fault(ErrValue, "simple value")
	}
	return r.fault(ErrSyntax, "reserved head")
}

// take returns the next n bytes.
func (r *reader) take(n uint64) ([]byte, error) {
	if n > uint64(len(r.b)-r.i) {
		return nil, r.fault(ErrSyntax, "text, bytes or list cut short")
	}
	s := r.b[r.i : r.i+int(n)]
	r.i += int(n)
	return s, nil
}

func (r *reader) text(n uint64) ([]byte, error) {
	s, err := r.take(n)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(s) {
		return nil, r.fault(ErrUTF8, "text")
	}
	return s, nil
}

// key reads the key of a map, which must come after last in the order of DRISL.
func (r *reader) key(last []byte, first bool) ([]byte, error) {
	major, n, err := r.head()
	if err != nil {
		return nil, err
	}
	switch {
	case major != majorText:
		return nil, r.fault(ErrValue, "key that is not text")
	case n > uint64(r.lim.Key):
		return nil, r.fault(ErrSize, "key")
	case n == 0:
		return nil, r.fault(ErrEmptyKey, "key")
	}
	k, err := r.text(n)
	if err != nil || first {
		return k, err
	}
	c := cmp.Compare(len(last), len(k))
	if c == 0 {
		c = bytes.Compare(last, k)
	}
	switch {
	case c == 0:
		return nil, r.fault(ErrDuplicateKey, "key")
	case c > 0:
		return nil, r.fault(ErrKeyOrder, "key")
	}
	return k, nil
}

// link reads the CID inside a tag whose head has been read.
func (r *reader) link(tag uint64) (cid.Cid, error) {
	b, err := r.linkBytes(tag)
	if err != nil {
		return cid.Undef, err
	}
	return castCID(b)
}

func (r *reader) linkBytes(tag uint64) ([]byte, error) {
	if tag != tagCID {
		return nil, r.fault(ErrValue, "tag other than 42")
	}
	major, n, err := r.head()
	if err != nil {
		return nil, err
	}
	b, err := r.take(n)
	if err != nil {
		return nil, err
	}
	if major != majorBytes || len(b) == 0 || b[0] != 0 || !blessed(b[1:]) {
		return nil, r.fault(ErrCID, "link")
	}
	return b[1:], nil
}

// enter checks the length of an array or map against the limits and what is left.
func (r *reader) enter(n uint64, depth int) error {
	switch {
	case depth > r.lim.Depth:
		return r.fault(ErrDepth, "array or map")
	case n > uint64(r.lim.Container):
		return r.fault(ErrSize, "array or map")
	case n > uint64(len(r.b)-r.i): // an element is a byte at least
		return r.fault(ErrSyntax, "array or map cut short")
	}
	return nil
}

// integer returns the value of an integer; the data model has those of 64 signed bits.
func (r *reader) integer(major byte, arg uint64) (int64, error) {
	if arg > 1<<63-1 {
		return 0, r.fault(ErrIntRange, "integer")
	}
	if major == majorNint {
		return -1 - int64(arg), nil
	}
	return int64(arg), nil
}

func (r *reader) end() error {
	if r.i != len(r.b) {
		return r.fault(ErrSyntax, "data after the end")
	}
	return nil
}

// CheckDRISL says whether b is one item of canonical DAG-CBOR as the AT Protocol has it (DRISL
// without floats) within the limits. Everything from outside passes here, or through a parser
// as strict, before anything else reads it. Errors wrap [ErrInvalidRecord].
func CheckDRISL(b []byte, lim Limits) error {
	if len(b) > lim.Bytes {
		return fmt.Errorf("%w: %d bytes of CBOR, at most %d", ErrSize, len(b), lim.Bytes)
	}
	r := reader{b: b, lim: lim}
	if err := r.skip(0); err != nil {
		return err
	}
	return r.end()
}

// skip checks one item.
func (r *reader) skip(depth int) error {
	major, arg, err := r.head()
	if err != nil {
		return err
	}
	switch major {
	case majorUint, majorNint:
		_, err = r.integer(major, arg)
	case majorBytes:
		_, err = r.take(arg)
	case majorText:
		_, err = r.text(arg)
	case majorTag:
		_, err = r.linkBytes(arg)
	case majorArray:
		if err = r.enter(arg, depth+1); err != nil {
			return err
		}
		for i := uint64(0); i < arg && err == nil; i++ {
			err = r.skip(depth + 1)
		}
	case majorMap:
		err = r.skipMap(arg, depth+1)
	default:
		err = r.simple(arg)
	}
	return err
}

func (r *reader) skipMap(n uint64, depth int) error {
	if err := r.enter(n, depth); err != nil {
		return err
	}
	var k []byte
	for i := uint64(0); i < n; i++ {
		var err error
		if k, err = r.key(k, i == 0); err != nil {
			return err
		}
		if err := r.skip(depth); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) simple(arg uint64) error {
	if arg < cborFalse&0x1f || arg > cborNull&0x1f {
		return r.fault(ErrValue, "simple value")
	}
	return nil
}
