package identity

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"unicode"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/mr-tron/base58"
	"golang.org/x/net/idna"
)

// Names of the entries of an atproto DID document.
const (
	signingKeyFragment = "atproto"
	pdsFragment        = "atproto_pds"
	pdsType            = "AtprotoPersonalDataServer"
)

// Document is a DID document, read leniently: entries of shapes that atproto
// does not use are left out. Raw holds all of it as it came.
type Document struct {
	DID         syntax.DID
	AlsoKnownAs []string
	Keys        []Key
	Services    []Service
	Raw         json.RawMessage
}

// Key is an entry of verificationMethod.
type Key struct {
	ID                 string `json:"id"` // "#name" or "did:...#name"
	Type               string `json:"type"`
	Controller         string `json:"controller"`
	PublicKeyMultibase string `json:"publicKeyMultibase"`
}

// Service is an entry of service whose endpoint is one URL.
type Service struct {
	ID       string `json:"id"` // "#name" or "did:...#name"
	Type     string `json:"type"`
	Endpoint string `json:"serviceEndpoint"`
}

// ParseDocument reads the DID document of did. It returns ErrInvalidDocument, or
// ErrMismatch when the document's id is not did.
func ParseDocument(did syntax.DID, raw []byte) (*Document, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, fmt.Errorf("%w of %s: %w", ErrInvalidDocument, did, err)
	}
	var id string
	if json.Unmarshal(fields["id"], &id) != nil || id == "" {
		return nil, fmt.Errorf("%w of %s: no id", ErrInvalidDocument, did)
	}
	if id != did.String() {
		return nil, fmt.Errorf("%w: %.200q, not %s", ErrMismatch, id, did)
	}
	return &Document{
		DID:         did,
		AlsoKnownAs: lenientList[string](fields["alsoKnownAs"]),
		Keys:        lenientList[Key](fields["verificationMethod"]),
		Services:    lenientList[Service](fields["service"]),
		Raw:         json.RawMessage(raw),
	}, nil
}

// lenientList reads a JSON list and leaves out what is no T.
func lenientList[T any](raw json.RawMessage) []T {
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		return nil
	}
	var out []T
	for _, item := range items {
		var v T
		if json.Unmarshal(item, &v) == nil {
			out = append(out, v)
		}
	}
	return out
}

// Handle returns the handle that the document claims, lower-case: the first
// at:// alias that is one. Nothing is known about whether it is true; that is
// what Resolver.Lookup finds out.
func (d *Document) Handle() (syntax.Handle, bool) {
	for _, alias := range d.AlsoKnownAs {
		name, ok := strings.CutPrefix(alias, "at://")
		if !ok {
			continue
		}
		if h, err := syntax.ParseHandle(name); err == nil {
			return h.Normalize(), true
		}
	}
	return "", false
}

// is says whether the id of an entry, relative or absolute, has the fragment.
func (d *Document) is(id, fragment string) bool {
	before, name, ok := strings.Cut(id, "#")
	return ok && name == fragment && (before == "" || before == d.DID.String())
}

// SigningKey returns the key that signs the account's repository and tokens:
// #atproto. The error is ErrNoKey.
func (d *Document) SigningKey() (atcrypto.PublicKey, error) {
	return d.Key(signingKeyFragment)
}

// Key returns the first key named fragment (without '#') that the DID itself
// controls. The error is ErrNoKey, also when the key is of an unknown kind.
func (d *Document) Key(fragment string) (atcrypto.PublicKey, error) {
	for _, k := range d.Keys {
		if !d.is(k.ID, fragment) || k.Controller != d.DID.String() {
			continue
		}
		pub, err := k.Parse()
		if err != nil {
			return nil, fmt.Errorf("%w: #%s of %s: %w", ErrNoKey, fragment, d.DID, err)
		}
		return pub, nil
	}
	return nil, fmt.Errorf("%w: #%s of %s", ErrNoKey, fragment, d.DID)
}

// Parse returns the public key, of type Multikey or of the two legacy types,
// whose bytes have no codec in front and may be uncompressed.
func (k Key) Parse() (atcrypto.PublicKey, error) {
	switch k.Type {
	case "Multikey":
		return atcrypto.ParsePublicMultibase(k.PublicKeyMultibase)
	case "EcdsaSecp256k1VerificationKey2019":
		b, err := k.legacyBytes()
		if err != nil {
			return nil, err
		}
		if len(b) == compressedLength {
			return atcrypto.ParsePublicBytesK256(b)
		}
		return atcrypto.ParsePublicUncompressedBytesK256(b)
	case "EcdsaSecp256r1VerificationKey2019":
		b, err := k.legacyBytes()
		if err != nil {
			return nil, err
		}
		if len(b) == compressedLength {
			return atcrypto.ParsePublicBytesP256(b)
		}
		return atcrypto.ParsePublicUncompressedBytesP256(b)
	}
	return nil, fmt.Errorf("key type %.80q", k.Type)
}

// compressedLength is the size of a compressed curve point.
const compressedLength = 33

func (k Key) legacyBytes() ([]byte, error) {
	s, ok := strings.CutPrefix(k.PublicKeyMultibase, "z")
	if !ok || len(s) > 256 {
		return nil, fmt.Errorf("key is not base58btc multibase")
	}
	return base58.Decode(s)
}

// Service returns the first service named fragment, without '#'.
func (d *Document) Service(fragment string) (Service, bool) {
	for _, s := range d.Services {
		if d.is(s.ID, fragment) {
			return s, true
		}
	}
	return Service{}, false
}

// PDSEndpoint returns the origin of the account's PDS, such as
// "https://pds.example.com": the first service #atproto_pds of the right type,
// if its endpoint is nothing but an origin.
func (d *Document) PDSEndpoint() (string, bool) {
	for _, s := range d.Services {
		if d.is(s.ID, pdsFragment) && s.Type == pdsType {
			return Origin(s.Endpoint)
		}
	}
	return "", false
}

// Origin returns scheme, host and port of a URL that has nothing else, in the one form that two URLs of the same server have. Its host is in ASCII, as the client asks for it and as
// pages show it.
func Origin(endpoint string) (string, bool) {
	u, err := url.Parse(endpoint)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") {
		return "", false
	}
	if (u.Path != "" && u.Path != "/") || u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(endpoint, "#") {
		return "", false
	}
	host, ok := plainHost(u.Hostname())
	if !ok {
		return "", false
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port := u.Port(); port != "" && port != map[string]string{"https": "443", "http": "80"}[u.Scheme] {
		host += ":" + port
	}
	return u.Scheme + "://" + host, true
}

// plainHost is a host as it is looked up: letters of other scripts as punycode, small, without the root's dot. ok is false for what no host is called.
func plainHost(host string) (plain string, ok bool) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.String(), addr.Zone() == ""
	}
	plain = strings.TrimSuffix(strings.ToLower(host), ".")
	if strings.ContainsFunc(plain, func(c rune) bool { return c > unicode.MaxASCII }) {
		var err error
		if plain, err = idna.Lookup.ToASCII(plain); err != nil {
			return "", false
		}
		plain = strings.TrimSuffix(plain, ".")
	}
	odd := func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.ContainsRune(".-_", c))
	}
	return plain, plain != "" && !strings.ContainsFunc(plain, odd)
}
