package repo

import (
	"encoding/base64"
	"fmt"
	"strconv"

	"github.com/bluesky-social/indigo/atproto/atdata"
)

// DecodeRecord reads the CBOR of a record as strictly as [CheckDRISL], with the
// limits of [RecordLimits] and the rules of the data model on $type and blobs.
func DecodeRecord(cbor []byte) (map[string]any, error) {
	lim := RecordLimits()
	if len(cbor) > lim.Bytes {
		return nil, fmt.Errorf("%w: %d bytes of CBOR, at most %d", ErrSize, len(cbor), lim.Bytes)
	}
	r := reader{b: cbor, lim: lim}
	v, err := r.value(0)
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, ErrNotObject
	}
	return m, r.end()
}

func (r *reader) value(depth int) (any, error) {
	major, arg, err := r.head()
	if err != nil {
		return nil, err
	}
	switch major {
	case majorUint, majorNint:
		return r.integer(major, arg)
	case majorBytes:
		b, err := r.take(arg)
		return atdata.Bytes(append([]byte{}, b...)), err
	case majorText:
		s, err := r.text(arg)
		return string(s), err
	case majorTag:
		c, err := r.link(arg)
		return atdata.CIDLink(c), err
	case majorArray:
		return r.list(arg, depth+1)
	case majorMap:
		return r.object(arg, depth+1)
	}
	switch arg | majorOther {
	case cborNull:
		return nil, nil
	case cborTrue, cborFalse:
		return arg|majorOther == cborTrue, nil
	}
	return nil, r.fault(ErrValue, "simple value")
}

func (r *reader) list(n uint64, depth int) (any, error) {
	if err := r.enter(n, depth); err != nil {
		return nil, err
	}
	list := make([]any, 0, min(n, 64))
	for range n {
		v, err := r.value(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func (r *reader) object(n uint64, depth int) (any, error) {
	if err := r.enter(n, depth); err != nil {
		return nil, err
	}
	m := make(map[string]any, min(n, 64))
	var k []byte
	for i := range n {
		var err error
		if k, err = r.key(k, i == 0); err != nil {
			return nil, err
		}
		name := string(k)
		if m[name], err = r.value(depth); err != nil {
			return nil, err
		}
	}
	return r.reserved(m)
}

// reserved applies the rules on reserved keys. Links and bytes have CBOR types of their own,
// so an object that looks like their JSON would change its meaning there.
func (r *reader) reserved(m map[string]any) (any, error) {
	if _, ok := m["$link"]; ok {
		return nil, ErrLink
	}
	if _, ok := m["$bytes"]; ok {
		return nil, ErrBytes
	}
	return special(m)
}

// AppendJSON appends the JSON of a record in CBOR: links as {"$link": ...}, bytes
// as {"$bytes": ...} in unpadded base64, keys in the order of the CBOR. It reads
// as strictly as [CheckDRISL]; on an error dst is returned as it was.
func AppendJSON(dst, cbor []byte) ([]byte, error) {
	r := reader{b: cbor, lim: RecordLimits()}
	out, err := r.json(dst, 0)
	if err == nil {
		err = r.end()
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}

func (r *reader) json(out []byte, depth int) ([]byte, error) {
	major, arg, err := r.head()
	if err != nil {
		return nil, err
	}
	switch major {
	case majorUint, majorNint:
		v, err := r.integer(major, arg)
		return strconv.AppendInt(out, v, 10), err
	case majorBytes:
		b, err := r.take(arg)
		out = base64.RawStdEncoding.AppendEncode(append(out, `{"$bytes":"`...), b)
		return append(out, `"}`...), err
	case majorText:
		s, err := r.text(arg)
		return appendQuoted(out, s), err
	case majorTag:
		b, err := r.linkBytes(arg)
		out = base32Lower.AppendEncode(append(out, `{"$link":"b`...), b)
		return append(out, `"}`...), err
	case majorArray:
		return r.jsonList(out, arg, depth+1)
	case majorMap:
		return r.jsonObject(out, arg, depth+1)
	}
	switch arg | majorOther {
	case cborNull:
		return append(out, "null"...), nil
	case cborTrue:
		return append(out, "true"...), nil
	case cborFalse:
		return append(out, "false"...), nil
	}
	return nil, r.fault(ErrValue, "simple value")
}

func (r *reader) jsonList(out []byte, n uint64, depth int) ([]byte, error) {
	if err := r.enter(n, depth); err != nil {
		return nil, err
	}
	out = append(out, '[')
	for i := range n {
		if i > 0 {
			out = append(out, ',')
		}
		var err error
		if out, err = r.json(out, depth); err != nil {
			return nil, err
		}
	}
	return append(out, ']'), nil
}

func (r *reader) jsonObject(out []byte, n uint64, depth int) ([]byte, error) {
	if err := r.enter(n, depth); err != nil {
		return nil, err
	}
	out = append(out, '{')
	var k []byte
	for i := range n {
		if i > 0 {
			out = append(out, ',')
		}
		var err error
		if k, err = r.key(k, i == 0); err != nil {
			return nil, err
		}
		out = append(appendQuoted(out, k), ':')
		if out, err = r.json(out, depth); err != nil {
			return nil, err
		}
	}
	return append(out, '}'), nil
}

const hexDigits = "0123456789abcdef"

// appendQuoted appends valid UTF-8 as a JSON string, escaping only what must be.
func appendQuoted(out, s []byte) []byte {
	out = append(out, '"')
	start := 0
	for i, c := range s {
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		out = append(out, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			out = append(out, '\\', c)
		case '\n':
			out = append(out, '\\', 'n')
		case '\t':
			out = append(out, '\\', 't')
		case '\r':
			out = append(out, '\\', 'r')
		default:
			out = append(out, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(append(out, s[start:]...), '"')
}
