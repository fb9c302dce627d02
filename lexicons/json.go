package lexicons

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// MaxDepth is how deep arrays and objects may nest in a JSON body. Records, which have a limit
// of their own, sit a few levels down in some bodies.
const MaxDepth = 64

// ErrMalformedJSON is the error, wrapped, for bytes that are not one JSON value in UTF-8.
var ErrMalformedJSON = errors.New("malformed JSON")

// CheckJSON checks that b is exactly one JSON value (RFC 8259) in UTF-8, nested no deeper than
// MaxDepth. Errors wrap ErrMalformedJSON.
func CheckJSON(b []byte) error { return (*Catalog)(nil).validateJSON(nil, b, "") }

// validateJSON checks a body against a schema in one pass over its bytes, without building it.
// A nil schema checks the syntax alone.
func (c *Catalog) validateJSON(n *node, b []byte, name string) error {
	if !utf8.Valid(b) {
		return fmt.Errorf("%w: not UTF-8", ErrMalformedJSON)
	}
	s := &scanner{b: b, cat: c}
	var e *Error
	if s.space(); n == nil {
		s.skip()
	} else if e = s.value(n); e == nil && s.err == nil {
		s.space()
	}
	if s.err != nil {
		return s.err
	}
	if e != nil {
		return e.root(name)
	}
	if s.space(); s.i != len(b) {
		s.fail("more data after the value")
	}
	return s.err
}

// value checks the value at the scanner against a schema element, and passes it.
func (s *scanner) value(n *node) *Error {
	switch n.kind {
	case kindRef:
		to, err := s.cat.follow(n)
		if err != nil {
			return mismatch("can not be checked: %v", err)
		}
		return s.value(to)
	case kindUnion:
		return s.union(n)
	case kindObject:
		return s.props(n)
	case kindRecord:
		return s.props(n.items)
	case kindArray:
		return s.list(n)
	case kindUnknown:
		if s.peek() != '{' {
			return s.mismatch("must be an object")
		}
		s.skip()
		return nil
	case kindString:
		if s.peek() != '"' {
			return s.mismatch("must be a string")
		}
		v, e := s.text()
		if e != nil || s.err != nil {
			return e
		}
		return n.checkString(v)
	case kindInteger:
		return s.integer(n)
	case kindBoolean:
		return s.boolean(n)
	default:
		return s.shaped(n)
	}
}

// mismatch is for a value of the wrong type; it still tells broken JSON from that.
func (s *scanner) mismatch(reason string) *Error {
	if s.skip(); s.err != nil {
		return nil
	}
	return &Error{Reason: reason}
}

func (s *scanner) integer(n *node) *Error {
	if c := s.peek(); c != '-' && (c < '0' || c > '9') {
		return s.mismatch("must be an integer")
	}
	v, err := strconv.ParseInt(string(s.number()), 10, 64)
	if s.err != nil {
		return nil
	}
	if err != nil {
		return mismatch("must be an integer")
	}
	return n.checkInt(v)
}

func (s *scanner) boolean(n *node) *Error {
	c := s.peek()
	if c != 't' && c != 'f' {
		return s.mismatch("must be a boolean")
	}
	if s.skip(); s.err != nil {
		return nil
	}
	return n.checkBool(c == 't')
}

func (s *scanner) list(n *node) (e *Error) {
	if s.peek() != '[' {
		return s.mismatch("must be an array")
	}
	count := 0
	s.array(func(i int) bool {
		if count = i + 1; int64(count) > n.max {
			return false
		}
		if e = s.value(n.items); e != nil {
			e.at(i)
		}
		return e == nil
	})
	if e != nil || s.err != nil {
		return e
	}
	return n.checkArrayLen(count)
}

// props checks an object: every property of the schema fits, appears once, and the required
// ones are there unless they have a default.
func (s *scanner) props(n *node) (e *Error) {
	if s.peek() != '{' {
		return s.mismatch("must be an object")
	}
	var seen [maxProps / 64]uint64 // one bit for each property
	typed := false                 // $type was there
	s.object(func(raw []byte, escaped bool) bool {
		if s.err != nil {
			return false
		}
		name := string(raw)
		if escaped {
			if name, e = s.unquote(raw, true); e != nil {
				return false
			}
		}
		i := n.prop(name)
		if i < 0 && name == "$type" && typed {
			e = mismatch("must have the property %q only once", name)
			return false
		}
		typed = typed || name == "$type"
		if i < 0 {
			e = n.foreign(name)
			s.skip()
			return e == nil
		}
		word, bit := &seen[i/64], uint64(1)<<(i%64)
		if *word&bit != 0 {
			e = mismatch("must have the property %q only once", name)
			return false
		}
		*word |= bit
		if p := &n.props[i]; p.nullable && s.peek() == 'n' {
			s.skip()
		} else if e = s.value(p.node); e != nil {
			e.in(name)
		}
		return e == nil
	})
	if e != nil || s.err != nil {
		return e
	}
	for i := range n.props {
		if p := &n.props[i]; p.required && p.node.def == nil && seen[i/64]&(1<<(i%64)) == 0 {
			return missing(p.name)
		}
	}
	return nil
}

// maxProps is how many properties an object schema may have, a multiple of 64.
const maxProps = 128

// foreign refuses a property whose name differs from one of the schema's in case only: Go's JSON
// decoder would take it for that one, unchecked. All other unknown properties are welcome.
func (n *node) foreign(name string) *Error {
	for i := range n.props {
		if strings.EqualFold(n.props[i].name, name) {
			return mismatch("must spell the property %q as %q", name, n.props[i].name)
		}
	}
	return nil
}

func (s *scanner) union(n *node) *Error {
	const reason = `must be an object which includes the "$type" property`
	if s.peek() != '{' {
		return s.mismatch(reason)
	}
	typ, ok := s.typeOf()
	if s.err != nil {
		return nil
	}
	if !ok {
		return &Error{Reason: reason}
	}
	to, e := s.cat.variant(n, typ)
	if e != nil {
		return e
	}
	if to == nil {
		s.skip()
		return nil
	}
	return s.value(to)
}

// typeOf reads the $type of the object at the scanner without moving it.
func (s *scanner) typeOf() (typ string, ok bool) {
	ahead := &scanner{b: s.b, i: s.i, depth: s.depth}
	ahead.object(func(raw []byte, _ bool) bool {
		if string(raw) == "$type" && ahead.peek() == '"' {
			v, e := ahead.text()
			typ, ok = v, e == nil
			return false
		}
		ahead.skip()
		return true
	})
	s.err = ahead.err
	return typ, ok
}

// shaped checks the types that JSON spells as an object of a fixed shape: bytes, links, blobs.
func (s *scanner) shaped(n *node) *Error {
	start := s.i
	if s.skip(); s.err != nil {
		return nil
	}
	var v struct {
		Type  string  `json:"$type"`
		Link  string  `json:"$link"`
		Bytes *string `json:"$bytes"`
		Ref   struct {
			Link string `json:"$link"`
		} `json:"ref"`
		MimeType string   `json:"mimeType"`
		Size     *float64 `json:"size"`
	}
	err := json.Unmarshal(s.b[start:s.i], &v)
	switch n.kind {
	case kindBytes:
		if err != nil || v.Bytes == nil {
			return mismatch("must be a byte array")
		}
		b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(*v.Bytes, "="))
		if err != nil {
			return mismatch("must be a byte array")
		}
		return n.checkBytesLen(len(b))
	case kindCIDLink:
		if _, bad := syntax.ParseCID(v.Link); err != nil || bad != nil {
			return mismatch("must be a CID")
		}
		return nil
	case kindBlob:
		_, bad := syntax.ParseCID(v.Ref.Link)
		if err != nil || bad != nil || v.Type != "blob" || v.Size == nil || *v.Size != math.Trunc(*v.Size) || *v.Size < 0 || *v.Size > 1<<53 {
			return mismatch("should be a blob ref")
		}
		return n.checkBlob(v.MimeType, int64(*v.Size))
	default:
		return mismatch("is of a type that holds no data")
	}
}
