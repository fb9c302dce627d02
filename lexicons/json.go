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

// scanner walks over JSON text. The first syntax error stays in err and ends everything; schema
// violations are returned.
type scanner struct {
	b     []byte
	i     int
	depth int
	err   error
	cat   *Catalog
}

func (s *scanner) fail(what string) {
	if s.err == nil {
		s.err = fmt.Errorf("%w: %s at byte %d", ErrMalformedJSON, what, s.i)
	}
}

// peek returns the next byte, 0 at the end or after an error.
func (s *scanner) peek() byte {
	if s.err != nil || s.i >= len(s.b) {
		return 0
	}
	return s.b[s.i]
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// skip passes over one value of any type.
func (s *scanner) skip() {
	switch c := s.peek(); {
	case c == '{':
		s.object(func([]byte, bool) bool { s.skip(); return true })
	case c == '[':
		s.array(func(int) bool { s.skip(); return true })
	case c == '"':
		s.str()
	case c == '-' || c >= '0' && c <= '9':
		s.number()
	case c == 't':
		s.literal("true")
	case c == 'f':
		s.literal("false")
	case c == 'n':
		s.literal("null")
	default:
		s.fail("no value")
	}
}

// object calls yield at the value of every member, with the member's name as it is written and
// whether that holds escapes. yield must consume the value, or return false to end the scan.
func (s *scanner) object(yield func(raw []byte, escaped bool) bool) {
	if !s.enter() {
		return
	}
	if s.space(); s.peek() == '}' {
		s.leave()
		return
	}
	for s.err == nil {
		s.space()
		raw, escaped := s.str()
		s.space()
		if s.peek() != ':' {
			s.fail("no colon")
			return
		}
		s.i++
		s.space()
		if !yield(raw, escaped) || s.next('}') {
			return
		}
	}
}

// array calls yield at every element, as object does.
func (s *scanner) array(yield func(i int) bool) {
	if !s.enter() {
		return
	}
	if s.space(); s.peek() == ']' {
		s.leave()
		return
	}
	for i := 0; s.err == nil; i++ {
		s.space()
		if !yield(i) || s.next(']') {
			return
		}
	}
}

func (s *scanner) enter() bool {
	if s.depth++; s.depth > MaxDepth {
		s.fail("nested too deep")
		return false
	}
	s.i++
	return true
}

func (s *scanner) leave() { s.depth--; s.i++ }

// next passes a comma, or the closing bracket, and says whether it was the latter.
func (s *scanner) next(closing byte) bool {
	s.space()
	switch s.peek() {
	case ',':
		s.i++
		return false
	case closing:
		s.leave()
		return true
	}
	s.fail("no comma or bracket")
	return true
}

// str passes a string and returns what is between its quotes, and whether that holds escapes.
func (s *scanner) str() (raw []byte, escaped bool) {
	if s.peek() != '"' {
		s.fail("no string")
		return nil, false
	}
	s.i++
	start := s.i
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return s.b[start : s.i-1], escaped
		case c == '\\':
			escaped = true
			if !s.escape() {
				return nil, false
			}
		case c < ' ':
			s.fail("control character")
			return nil, false
		default:
			s.i++
		}
	}
	s.fail("string without end")
	return nil, false
}

func (s *scanner) escape() bool {
	if s.i+1 < len(s.b) {
		switch s.b[s.i+1] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			s.i += 2
			return true
		case 'u':
			if s.i+6 <= len(s.b) {
				if _, err := strconv.ParseUint(string(s.b[s.i+2:s.i+6]), 16, 16); err == nil {
					s.i += 6
					return true
				}
			}
		}
	}
	s.fail("bad escape")
	return false
}

func (s *scanner) literal(word string) {
	if s.i+len(word) > len(s.b) || string(s.b[s.i:s.i+len(word)]) != word {
		s.fail("no value")
		return
	}
	s.i += len(word)
}

func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > start
}

// number passes a number and returns its text.
func (s *scanner) number() []byte {
	start := s.i
	if s.peek() == '-' {
		s.i++
	}
	if s.peek() == '0' {
		s.i++
	} else if !s.digits() {
		s.fail("bad number")
	}
	if s.peek() == '.' {
		s.i++
		if !s.digits() {
			s.fail("bad number")
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.i++
		if c := s.peek(); c == '+' || c == '-' {
			s.i++
		}
		if !s.digits() {
			s.fail("bad number")
		}
	}
	return s.b[start:s.i]
}

// text passes a string and returns what it says.
func (s *scanner) text() (string, *Error) {
	raw, escaped := s.str()
	return s.unquote(raw, escaped)
}

func (s *scanner) unquote(raw []byte, escaped bool) (string, *Error) {
	if s.err != nil || !escaped {
		return string(raw), nil
	}
	if loneSurrogate(raw) {
		return "", mismatch("must not hold half of a surrogate pair")
	}
	var out string
	quoted := make([]byte, 0, len(raw)+2)
	quoted = append(append(append(quoted, '"'), raw...), '"')
	if err := json.Unmarshal(quoted, &out); err != nil {
		s.fail("bad escape")
	}
	return out, nil
}

// loneSurrogate says whether the text has a \u escape for half of a surrogate pair, which is no
// character. Escapes were checked before.
func loneSurrogate(raw []byte) bool {
	high := false // the last escape was the first half of a pair
	for i := 0; i < len(raw); i++ {
		wasHigh := high
		high = false
		if raw[i] == '\\' {
			if i++; raw[i] == 'u' {
				u, _ := strconv.ParseUint(string(raw[i+1:i+5]), 16, 16)
				i += 4
				if low := u >= 0xdc00 && u < 0xe000; low && !wasHigh {
					return true
				} else if low {
					continue
				}
				high = u >= 0xd800 && u < 0xdc00
			}
		}
		if wasHigh {
			return true
		}
	}
	return high
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
