package plc

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
)

// Bytes returns the canonical DAG-CBOR of the signed operation, from which its
// CID, and the DID of a genesis operation, are made.
func (op Operation) Bytes() ([]byte, error) {
	if op.Sig == "" {
		return nil, fmt.Errorf("%w: not signed", ErrInvalidOperation)
	}
	return op.encode(true)
}

// UnsignedBytes returns the canonical DAG-CBOR without the sig field: the bytes
// that are signed.
func (op Operation) UnsignedBytes() ([]byte, error) {
	return op.encode(false)
}

func (op Operation) encode(signed bool) ([]byte, error) {
	m, err := op.fields()
	if err != nil {
		return nil, err
	}
	if signed {
		m["sig"] = op.Sig
	}
	return appendCBOR(nil, m), nil
}

// fields returns the operation as the map that is signed, hashed and sent.
func (op Operation) fields() (map[string]any, error) {
	m := map[string]any{"type": op.Type, "prev": nil}
	if op.Prev != "" {
		m["prev"] = op.Prev
	}
	switch op.Type {
	case TypeTombstone:
	case TypeOperation:
		m["rotationKeys"] = op.RotationKeys
		m["verificationMethods"] = op.VerificationMethods
		m["alsoKnownAs"] = op.AlsoKnownAs
		m["services"] = op.Services
	case TypeCreate:
		if op.legacy == nil {
			return nil, fmt.Errorf("%w: a create operation can only be read", ErrInvalidOperation)
		}
		m["signingKey"] = op.legacy.signingKey
		m["recoveryKey"] = op.legacy.recoveryKey
		m["handle"] = op.legacy.handle
		m["service"] = op.legacy.service
	default:
		return nil, fmt.Errorf("%w: unknown type %q", ErrInvalidOperation, op.Type)
	}
	return m, nil
}

// CBOR major types, already in the upper three bits.
const (
	cborText  = 3 << 5
	cborArray = 4 << 5
	cborMap   = 5 << 5
	cborNull  = 0xf6
)

// appendCBOR appends the few shapes an operation is made of: nil, strings,
// lists of strings, and maps, whose keys it sorts by length and then bytes.
func appendCBOR(b []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		return append(appendHead(b, cborText, len(v)), v...)
	case []string:
		b = appendHead(b, cborArray, len(v))
		for _, s := range v {
			b = appendCBOR(b, s)
		}
		return b
	case Service:
		return appendCBOR(b, map[string]string{"type": v.Type, "endpoint": v.Endpoint})
	case map[string]string:
		return appendMap(b, v)
	case map[string]Service:
		return appendMap(b, v)
	case map[string]any:
		return appendMap(b, v)
	}
	return append(b, cborNull)
}

func appendMap[V any](b []byte, m map[string]V) []byte {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y string) int {
		if len(x) != len(y) {
			return len(x) - len(y)
		}
		return strings.Compare(x, y)
	})
	b = appendHead(b, cborMap, len(m))
	for _, k := range keys {
		b = appendCBOR(appendCBOR(b, k), m[k])
	}
	return b
}

func appendHead(b []byte, major byte, n int) []byte {
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
}

func hashCID(b []byte) cid.Cid {
	sum := sha256.Sum256(b)
	hash, err := mh.Encode(sum[:], mh.SHA2_256)
	if err != nil {
		panic("plc: sha2-256 is not a known multihash: " + err.Error())
	}
	return cid.NewCidV1(cid.DagCBOR, hash)
}

// MarshalJSON writes the operation as the directory's API has it, with sig only
// when there is one.
func (op Operation) MarshalJSON() ([]byte, error) {
	m, err := op.fields()
	if err != nil {
		return nil, err
	}
	if op.Type == TypeOperation { // absent lists are empty ones, not null
		m["rotationKeys"] = append([]string{}, op.RotationKeys...)
		m["alsoKnownAs"] = append([]string{}, op.AlsoKnownAs...)
		if op.VerificationMethods == nil {
			m["verificationMethods"] = map[string]string{}
		}
		if op.Services == nil {
			m["services"] = map[string]Service{}
		}
	}
	if op.Sig != "" {
		m["sig"] = op.Sig
	}
	return json.Marshal(m)
}

// UnmarshalJSON reads an operation of any kind. Every field of its kind must be
// there but sig, and no other: what is not read could not be verified.
func (op *Operation) UnmarshalJSON(b []byte) error {
	raw, err := rawFields(b)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidOperation, err)
	}
	d := fieldReader{raw: raw}
	parsed := Operation{}
	d.read("type", &parsed.Type)
	parsed.Prev = d.nullable("prev")
	switch parsed.Type {
	case TypeTombstone:
	case TypeOperation:
		d.read("rotationKeys", &parsed.RotationKeys)
		d.read("verificationMethods", &parsed.VerificationMethods)
		d.read("alsoKnownAs", &parsed.AlsoKnownAs)
		parsed.Services = d.services()
	case TypeCreate:
		var l legacyCreate
		d.read("signingKey", &l.signingKey)
		d.read("recoveryKey", &l.recoveryKey)
		d.read("handle", &l.handle)
		d.read("service", &l.service)
		parsed.setLegacy(l)
	default:
		d.fail("type", fmt.Errorf("unknown type %q", parsed.Type))
	}
	if _, ok := raw["sig"]; ok {
		d.read("sig", &parsed.Sig)
	}
	if err := d.finish(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidOperation, err)
	}
	*op = parsed
	return nil
}

// setLegacy says in today's terms what an old create operation means.
func (op *Operation) setLegacy(l legacyCreate) {
	handle := l.handle
	if !strings.HasPrefix(handle, "at://") {
		handle = "at://" + strings.TrimPrefix(strings.TrimPrefix(handle, "https://"), "http://")
	}
	endpoint := l.service
	if !strings.HasPrefix(endpoint, "https://") && !strings.HasPrefix(endpoint, "http://") {
		endpoint = "https://" + endpoint
	}
	op.legacy = &l
	op.RotationKeys = []string{l.recoveryKey, l.signingKey}
	op.VerificationMethods = map[string]string{SigningKeyName: l.signingKey}
	op.AlsoKnownAs = []string{handle}
	op.Services = map[string]Service{PDSServiceName: {Type: PDSServiceType, Endpoint: endpoint}}
}

// rawFields reads exactly one JSON object. encoding/json matches the names of
// struct fields whatever their case, and a map does not.
func rawFields(b []byte) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	var raw map[string]json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		return nil, err
	}
	if raw == nil {
		return nil, errors.New("not an object")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("more than one value")
	}
	return raw, nil
}

// fieldReader reads the fields of an object and remembers the first error and
// which fields were asked for.
type fieldReader struct {
	raw  map[string]json.RawMessage
	seen int
	err  error
}

func (d *fieldReader) fail(name string, err error) {
	if d.err == nil {
		d.err = fmt.Errorf("field %s: %w", name, err)
	}
}

func (d *fieldReader) read(name string, to any) {
	b, ok := d.raw[name]
	if !ok {
		d.fail(name, errors.New("missing"))
		return
	}
	d.seen++
	if string(b) == "null" {
		d.fail(name, errors.New("null"))
		return
	}
	if err := json.Unmarshal(b, to); err != nil {
		d.fail(name, err)
	}
}

// nullable reads a string that may be null but not empty nor absent.
func (d *fieldReader) nullable(name string) (s string) {
	if string(d.raw[name]) == "null" {
		d.seen++
		return ""
	}
	d.read(name, &s)
	if s == "" {
		d.fail(name, errors.New("empty"))
	}
	return s
}

func (d *fieldReader) services() map[string]Service {
	var raw map[string]json.RawMessage
	d.read("services", &raw)
	services := make(map[string]Service, len(raw))
	for name, b := range raw {
		fields, err := rawFields(b)
		if err != nil {
			d.fail("services", err)
			continue
		}
		var s Service
		entry := fieldReader{raw: fields}
		entry.read("type", &s.Type)
		entry.read("endpoint", &s.Endpoint)
		if err := entry.finish(); err != nil {
			d.fail("services", err)
		}
		services[name] = s
	}
	return services
}

func (d *fieldReader) finish() error {
	if d.err == nil && d.seen != len(d.raw) {
		return errors.New("unknown field")
	}
	return d.err
}
