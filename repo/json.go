package repo

import (
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/ipfs/go-cid"
)

// ParseRecordJSON reads one JSON object as a record of the data model. It is
// strict where JSON libraries guess: no duplicate or empty keys, no lone surrogates, no
// fractions (123.0 is 123), no integers beyond ±(2^53-1), at most [MaxDepth] levels, and
// exact shapes of $link, $bytes and blobs. The errors wrap [ErrInvalidRecord].
// That the record itself has a $type is for the caller to check, after filling in the default.
func ParseRecordJSON(b []byte) (map[string]any, error) {
	if len(b) > MaxRecordJSON {
		return nil, fmt.Errorf("%w: %d bytes of JSON, at most %d", ErrSize, len(b), MaxRecordJSON)
	}
	p := jsonParser{b: b}
	p.space()
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	p.space()
	if p.i != len(b) {
		return nil, p.fault("data after the end")
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, ErrNotObject
	}
	return m, nil
}

type jsonParser struct {
	b []byte
	i int
}

func (p *jsonParser) fault(what string) error {
	return fmt.Errorf("%w: %s at byte %d of the JSON", ErrSyntax, what, p.i)
}

func (p *jsonParser) space() {
	for p.i < len(p.b) {
		switch p.b[p.i] {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return
		}
	}
}

// peek returns the next byte, or 0 at the end.
func (p *jsonParser) peek() byte {
	if p.i < len(p.b) {
		return p.b[p.i]
	}
	return 0
}

func (p *jsonParser) value(depth int) (any, error) {
	switch c := p.peek(); c {
	case '{':
		return p.object(depth + 1)
	case '[':
		return p.array(depth + 1)
	case '"':
		return p.text()
	case 't':
		return true, p.literal("true")
	case 'f':
		return false, p.literal("false")
	case 'n':
		return nil, p.literal("null")
	default:
		if c == '-' || (c >= '0' && c <= '9') {
			return p.number()
		}
		return nil, p.fault("no value")
	}
}

func (p *jsonParser) literal(s string) error {
	if len(p.b)-p.i < len(s) || string(p.b[p.i:p.i+len(s)]) != s {
		return p.fault("no value")
	}
	p.i += len(s)
	return nil
}

func (p *jsonParser) array(depth int) (any, error) {
	if depth > MaxDepth {
		return nil, ErrDepth
	}
	p.i++
	list := []any{}
	p.space()
	if p.peek() == ']' {
		p.i++
		return list, nil
	}
	for {
		p.space()
		v, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		if list = append(list, v); len(list) > MaxContainer {
			return nil, fmt.Errorf("%w: array of more than %d elements", ErrSize, MaxContainer)
		}
		p.space()
		switch p.peek() {
		case ',':
			p.i++
		case ']':
			p.i++
			return list, nil
		default:
			return nil, p.fault("array not continued")
		}
	}
}

func (p *jsonParser) object(depth int) (any, error) {
	if depth > MaxDepth {
		return nil, ErrDepth
	}
	p.i++
	m := make(map[string]any, 4)
	p.space()
	if p.peek() == '}' {
		p.i++
		return m, nil
	}
	for {
		if err := p.member(m, depth); err != nil {
			return nil, err
		}
		p.space()
		switch p.peek() {
		case ',':
			p.i++
		case '}':
			p.i++
			return special(m)
		default:
			return nil, p.fault("object not continued")
		}
	}
}

func (p *jsonParser) member(m map[string]any, depth int) error {
	p.space()
	if p.peek() != '"' {
		return p.fault("no key")
	}
	k, err := p.text()
	switch {
	case err != nil:
		return err
	case k == "":
		return ErrEmptyKey
	case len(k) > MaxObjectKey:
		return fmt.Errorf("%w: key of %d bytes", ErrSize, len(k))
	}
	p.space()
	if p.peek() != ':' {
		return p.fault("no colon")
	}
	p.i++
	p.space()
	v, err := p.value(depth)
	if err != nil {
		return err
	}
	n := len(m)
	m[k] = v
	if len(m) == n {
		return fmt.Errorf("%w: %q", ErrDuplicateKey, k)
	}
	if n >= MaxContainer {
		return fmt.Errorf("%w: object of more than %d members", ErrSize, MaxContainer)
	}
	return nil
}

// text reads a string, starting at its quote.
func (p *jsonParser) text() (string, error) {
	p.i++
	start, ascii := p.i, true
	for p.i < len(p.b) {
		switch c := p.b[p.i]; {
		case c == '"':
			s := p.b[start:p.i]
			if !ascii && !utf8.Valid(s) {
				return "", ErrUTF8
			}
			p.i++
			return string(s), nil
		case c == '\\':
			return p.escaped(start)
		case c < 0x20:
			return "", p.fault("control character in text")
		case c >= 0x80:
			ascii = false
		}
		p.i++
	}
	return "", p.fault("text not ended")
}

// escaped is text from the first backslash on.
func (p *jsonParser) escaped(start int) (string, error) {
	out := append(make([]byte, 0, 2*(p.i-start)+64), p.b[start:p.i]...)
	for p.i < len(p.b) {
		switch c := p.b[p.i]; {
		case c == '"':
			p.i++
			if !utf8.Valid(out) {
				return "", ErrUTF8
			}
			return string(out), nil
		case c == '\\':
			p.i++
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, r)
			continue
		case c < 0x20:
			return "", p.fault("control character in text")
		default:
			out = append(out, c)
			p.i++
		}
	}
	return "", p.fault("text not ended")
}

func (p *jsonParser) escape() (rune, error) {
	c := p.peek()
	p.i++
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		return p.unicode()
	}
	return 0, p.fault("unknown escape")
}

// unicode reads the digits of \u, of both halves of a surrogate pair.
func (p *jsonParser) unicode() (rune, error) {
	r, err := p.hex4()
	if err != nil || !utf16.IsSurrogate(r) {
		return r, err
	}
	if p.literal(`\u`) == nil {
		low, err := p.hex4()
		if err != nil {
			return 0, err
		}
		if full := utf16.DecodeRune(r, low); full != utf8.RuneError {
			return full, nil
		}
	}
	return 0, fmt.Errorf("%w: lone surrogate", ErrUTF8)
}

func (p *jsonParser) hex4() (rune, error) {
	if len(p.b)-p.i < 4 {
		return 0, p.fault("escape cut short")
	}
	var r rune
	for _, c := range p.b[p.i : p.i+4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, p.fault("escape is not hexadecimal")
		}
	}
	p.i += 4
	return r, nil
}

// special turns an object into a link, bytes or blob where its keys say so, and checks $type.
func special(m map[string]any) (any, error) {
	if v, ok := m["$link"]; ok {
		return parseLink(m, v)
	}
	if v, ok := m["$bytes"]; ok {
		return parseBytes(m, v)
	}
	v, ok := m["$type"]
	if !ok {
		return m, nil
	}
	switch typ, _ := v.(string); typ {
	case "":
		return nil, ErrType
	case "blob":
		return parseBlob(m)
	}
	return m, nil
}

func parseLink(m map[string]any, v any) (any, error) {
	s, ok := v.(string)
	if !ok || len(m) != 1 {
		return nil, ErrLink
	}
	c, err := parseCID(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %q", ErrLink, s)
	}
	return atdata.CIDLink(c), nil
}

// cidTextLen is the length of a CID of the data model as text.
const cidTextLen = 59

func parseCID(s string) (cid.Cid, error) {
	if len(s) != cidTextLen || s[0] != 'b' {
		return cid.Undef, ErrCID
	}
	var b [cidLen]byte
	n, err := base32Lower.Decode(b[:], []byte(s[1:]))
	if err != nil || base32Lower.EncodeToString(b[:n]) != s[1:] {
		return cid.Undef, ErrCID
	}
	return castCID(b[:n])
}

func parseBytes(m map[string]any, v any) (any, error) {
	s, ok := v.(string)
	if !ok || len(m) != 1 || strings.ContainsAny(s, "\r\n") {
		return nil, ErrBytes
	}
	enc := base64.RawStdEncoding // padding is optional; bits after the last byte are ignored
	if strings.HasSuffix(s, "=") {
		enc = base64.StdEncoding
	}
	b, err := enc.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBytes, err)
	}
	return atdata.Bytes(b), nil
}

func parseBlob(m map[string]any) (any, error) {
	ref, okRef := m["ref"].(atdata.CIDLink)
	mime, okMime := m["mimeType"].(string)
	size, okSize := m["size"].(int64)
	switch {
	case len(m) != 4:
		return nil, fmt.Errorf("%w: must have $type, ref, mimeType and size, and nothing else", ErrBlob)
	case !okRef || codecOf(ref.CID()) != codecRaw:
		return nil, fmt.Errorf("%w: ref must be a link to raw bytes", ErrBlob)
	case !okMime || mime == "":
		return nil, fmt.Errorf("%w: mimeType must be a non-empty string", ErrBlob)
	case !okSize || size < 0:
		return nil, fmt.Errorf("%w: size must be an integer and not negative", ErrBlob)
	}
	return atdata.Blob{Ref: ref, MimeType: mime, Size: size}, nil
}
