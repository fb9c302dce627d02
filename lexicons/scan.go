package lexicons

import (
	"encoding/json"
	"fmt"
	"strconv"
)

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
