package identity

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/mr-tron/base58"
)

const (
	testDID = syntax.DID("did:plc:ewvi7nxzyoun6zhxrhs64oiz")
	testK   = "zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme"
	testP   = "zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169"
)

// object is JSON by hand.
type object = map[string]any

func parse(t *testing.T, fields object) *Document {
	t.Helper()
	if fields["id"] == nil {
		fields["id"] = testDID
	}
	b, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := ParseDocument(testDID, b)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestParseDocumentRefuses(t *testing.T) {
	for text, want := range map[string]error{
		``: ErrInvalidDocument, `null`: ErrInvalidDocument, `[]`: ErrInvalidDocument, `{}`: ErrInvalidDocument, `{"id":1}`: ErrInvalidDocument,
		`{"id":"did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"}`:                   ErrMismatch,
		`{"id":"DID:plc:ewvi7nxzyoun6zhxrhs64oiz"}`:                   ErrMismatch,
		`{"id":"did:plc:ewvi7nxzyoun6zhxrhs64oiz#x"}`:                 ErrMismatch,
		`<html>not here</html>`:                                       ErrInvalidDocument,
		`{"id":"did:plc:ewvi7nxzyoun6zhxrhs64oiz"}{"id":"did:plc:x"}`: ErrInvalidDocument,
	} {
		if _, err := ParseDocument(testDID, []byte(text)); !errors.Is(err, want) {
			t.Errorf("%s: err = %v, want %v", text, err, want)
		}
	}
}

func TestDocumentHandle(t *testing.T) {
	for _, tt := range []struct {
		aliases any
		want    string
	}{
		{nil, ""},
		{[]string{}, ""},
		{"at://alice.example.com", ""},
		{[]string{"at://alice.example.com", "at://bob.example.com"}, "alice.example.com"},
		{[]string{"https://alice.example.com", "at://Alice.Example.COM"}, "alice.example.com"},
		{[]string{"at://alice.example.com/path", "at://bad", "at://bob.example.com"}, "bob.example.com"},
		{[]any{1, object{}, nil, "at://bob.example.com"}, "bob.example.com"},
		{[]string{"AT://alice.example.com", "at://did:plc:abc"}, ""},
	} {
		h, ok := parse(t, object{"alsoKnownAs": tt.aliases}).Handle()
		if h.String() != tt.want || ok != (tt.want != "") {
			t.Errorf("%v: %q, %t", tt.aliases, h, ok)
		}
	}
}

func TestDocumentSigningKey(t *testing.T) {
	k256, _ := atcrypto.ParsePublicMultibase(testK)
	p256, _ := atcrypto.ParsePublicMultibase(testP)
	method := func(id, kind, controller, key string) object {
		return object{"id": id, "type": kind, "controller": controller, "publicKeyMultibase": key}
	}
	self := testDID.String()
	legacy := func(b []byte) string { return "z" + base58.Encode(b) }
	for name, tt := range map[string]struct {
		methods []any
		want    string // did:key
	}{
		"absolute id":         {[]any{method(self+"#atproto", "Multikey", self, testK)}, k256.DIDKey()},
		"relative id":         {[]any{method("#atproto", "Multikey", self, testP)}, p256.DIDKey()},
		"the first counts":    {[]any{method("#other", "Multikey", self, testP), method("#atproto", "Multikey", self, testK), method("#atproto", "Multikey", self, testP)}, k256.DIDKey()},
		"odd entries skipped": {[]any{"x", 1, object{"id": 1}, method("#atproto", "Multikey", self, testK)}, k256.DIDKey()},
		"legacy k256, uncompressed": {[]any{method("#atproto", "EcdsaSecp256k1VerificationKey2019", self,
			legacy(k256.(*atcrypto.PublicKeyK256).UncompressedBytes()))}, k256.DIDKey()},
		"legacy p256, uncompressed": {[]any{method("#atproto", "EcdsaSecp256r1VerificationKey2019", self,
			legacy(p256.(*atcrypto.PublicKeyP256).UncompressedBytes()))}, p256.DIDKey()},
		"legacy k256, compressed": {[]any{method("#atproto", "EcdsaSecp256k1VerificationKey2019", self, legacy(k256.Bytes()))}, k256.DIDKey()},
		"none":                    {nil, ""},
		"other name":              {[]any{method("#atproto_label", "Multikey", self, testK)}, ""},
		"id without fragment":     {[]any{method("atproto", "Multikey", self, testK)}, ""},
		"id of another DID":       {[]any{method("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa#atproto", "Multikey", self, testK)}, ""},
		"controlled by another":   {[]any{method("#atproto", "Multikey", "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", testK)}, ""},
		"no controller":           {[]any{method("#atproto", "Multikey", "", testK)}, ""},
		"unknown type":            {[]any{method("#atproto", "JsonWebKey2020", self, testK)}, ""},
		"another curve":           {[]any{method("#atproto", "Multikey", self, "z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK")}, ""},
		"no key":                  {[]any{method("#atproto", "Multikey", self, "")}, ""},
		"legacy with a bad point": {[]any{method("#atproto", "EcdsaSecp256k1VerificationKey2019", self, legacy(make([]byte, 65)))}, ""},
		"legacy with no bytes":    {[]any{method("#atproto", "EcdsaSecp256r1VerificationKey2019", self, "z")}, ""},
	} {
		key, err := parse(t, object{"verificationMethod": tt.methods}).SigningKey()
		if tt.want == "" {
			if !errors.Is(err, ErrNoKey) {
				t.Errorf("%s: err = %v, want ErrNoKey", name, err)
			}
		} else if err != nil || key.DIDKey() != tt.want {
			t.Errorf("%s: %v, %v", name, key, err)
		}
	}
}

func TestDocumentServices(t *testing.T) {
	service := func(id, kind string, endpoint any) object {
		return object{"id": id, "type": kind, "serviceEndpoint": endpoint}
	}
	doc := parse(t, object{"service": []any{
		"x", service("#odd", "T", object{"uri": "https://x.example.com"}), service("#atproto_labeler", "AtprotoLabeler", "https://label.example.com/path"),
		service(testDID.String()+"#bsky_fg", "BskyFeedGenerator", "https://feed.example.com"),
	}})
	for name, want := range map[string]string{"atproto_labeler": "https://label.example.com/path", "bsky_fg": "https://feed.example.com", "odd": "", "": "", "none": ""} {
		if s, ok := doc.Service(name); s.Endpoint != want || ok != (want != "") {
			t.Errorf("%s: %+v, %t", name, s, ok)
		}
	}
	const kind = "AtprotoPersonalDataServer"
	for endpoint, want := range map[string]string{
		"https://pds.example.com": "https://pds.example.com", "https://pds.example.com/": "https://pds.example.com", "https://pds.example.com:8443": "https://pds.example.com:8443",
		"http://localhost:2583": "http://localhost:2583", "https://pds.example.com/xrpc": "", "https://u:p@pds.example.com": "", "https://pds.example.com?x": "",
		"https://pds.example.com?": "", "https://pds.example.com#x": "", "ftp://pds.example.com": "", "pds.example.com": "", "https://": "", "": "", "javascript:alert(1)": "",
	} {
		got, ok := parse(t, object{"service": []any{service("#atproto_pds", "Other", "https://other.example.com"), service("#atproto_pds", kind, endpoint)}}).PDSEndpoint()
		if got != want || ok != (want != "") {
			t.Errorf("%q: %q, %t", endpoint, got, ok)
		}
	}
}

func FuzzParseDocument(f *testing.F) {
	f.Add([]byte(`{"id":"did:plc:ewvi7nxzyoun6zhxrhs64oiz","alsoKnownAs":["at://a.b"],"verificationMethod":[{"id":"#atproto","type":"Multikey","controller":"did:plc:ewvi7nxzyoun6zhxrhs64oiz","publicKeyMultibase":"` + testK + `"}],"service":[{"id":"#atproto_pds","type":"AtprotoPersonalDataServer","serviceEndpoint":"https://a.b"}]}`))
	f.Add([]byte(`{"id":"did:plc:ewvi7nxzyoun6zhxrhs64oiz","verificationMethod":[{"id":"#atproto","type":"EcdsaSecp256k1VerificationKey2019","controller":"did:plc:ewvi7nxzyoun6zhxrhs64oiz","publicKeyMultibase":"zabc"}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		doc, err := ParseDocument(testDID, in)
		if err != nil {
			return
		}
		if h, ok := doc.Handle(); ok {
			if _, err := syntax.ParseHandle(h.String()); err != nil {
				t.Errorf("handle %q", h)
			}
		}
		doc.SigningKey()
		doc.PDSEndpoint()
		doc.Service("x")
	})
}
