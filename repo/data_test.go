package repo

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/bluesky-social/indigo/atproto/syntax"
)

const vectors = "../testdata/interop"

func readVectors[T any](t testing.TB, name string) T {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(vectors, name))
	if err != nil {
		t.Fatal(err)
	}
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestDataModelVectors(t *testing.T) {
	for i, v := range readVectors[[]struct {
		JSON       json.RawMessage
		CBORBase64 string `json:"cbor_base64"`
		CID        string
	}](t, "data-model/data-model-fixtures.json") {
		record, err := ParseRecordJSON(v.JSON)
		if err != nil {
			t.Fatal(i, err)
		}
		want, err := base64.RawStdEncoding.DecodeString(v.CBORBase64)
		if err != nil {
			t.Fatal(err)
		}
		cbor, err := EncodeRecord(record)
		if err != nil || !bytes.Equal(cbor, want) {
			t.Errorf("%d: CBOR %x, %v, want %x", i, cbor, err, want)
		}
		if c := CIDOf(cbor); c.String() != v.CID {
			t.Errorf("%d: CID %s, want %s", i, c, v.CID)
		}
		sameData(t, want, record)
	}
}

// sameData checks that CBOR decodes to record, and to JSON that parses to it too.
func sameData(t *testing.T, cbor []byte, record map[string]any) {
	t.Helper()
	if err := CheckDRISL(cbor, RecordLimits()); err != nil {
		t.Error(err)
	}
	decoded, err := DecodeRecord(cbor)
	if err != nil || !reflect.DeepEqual(decoded, record) {
		t.Errorf("decoded %v, %v, want %v", decoded, err, record)
	}
	text, err := AppendJSON(nil, cbor)
	if err != nil || !json.Valid(text) {
		t.Fatalf("JSON %s, %v", text, err)
	}
	again, err := ParseRecordJSON(text)
	if err != nil || !reflect.DeepEqual(again, record) {
		t.Errorf("JSON %s reads %v, %v, want %v", text, again, err, record)
	}
}

type dataCase struct {
	Note string
	JSON json.RawMessage
}

func TestDataModelValid(t *testing.T) {
	for _, v := range readVectors[[]dataCase](t, "data-model/data-model-valid.json") {
		record, err := ParseRecordJSON(v.JSON)
		if err != nil {
			t.Errorf("%s: %v", v.Note, err)
			continue
		}
		cbor, err := EncodeRecord(record)
		if err != nil {
			t.Errorf("%s: %v", v.Note, err)
		}
		sameData(t, cbor, record)
	}
}

func TestDataModelInvalid(t *testing.T) {
	for _, v := range readVectors[[]dataCase](t, "data-model/data-model-invalid.json") {
		if record, err := ParseRecordJSON(v.JSON); !errors.Is(err, ErrInvalidRecord) {
			t.Errorf("%s: %v, %v", v.Note, record, err)
		}
	}
}

// link and blobLink are CIDs of the data model, of data and of a blob.
const (
	link     = "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a"
	blobLink = "bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity"
)

func TestParseRecordJSONRefuses(t *testing.T) {
	blob := func(ref, rest string) string {
		return `{"b":{"$type":"blob","ref":{"$link":"` + ref + `"},` + rest + `}}`
	}
	for _, tt := range []struct {
		name, json string
		want       error
	}{
		{"nothing", ``, ErrSyntax},
		{"array", `[]`, ErrNotObject},
		{"link as record", `{"$link":"` + link + `"}`, ErrNotObject},
		{"blob as record", `{"$type":"blob","ref":{"$link":"` + blobLink + `"},"mimeType":"a/b","size":1}`, ErrNotObject},
		{"data after", `{} {}`, ErrSyntax},
		{"not ended", `{"a":1`, ErrSyntax},
		{"text not ended", `{"a":"b`, ErrSyntax},
		{"comma before end", `{"a":1,}`, ErrSyntax},
		{"comma in array", `{"a":[1,]}`, ErrSyntax},
		{"bare word", `{"a":nul}`, ErrSyntax},
		{"no colon", `{"a" 1}`, ErrSyntax},
		{"single quotes", `{'a':1}`, ErrSyntax},
		{"comment", `{/**/}`, ErrSyntax},
		{"key twice", `{"a":1,"a":2}`, ErrDuplicateKey},
		{"key twice, escaped", `{"a":1,"\u0061":2}`, ErrDuplicateKey},
		{"empty key", `{"":1}`, ErrEmptyKey},
		{"long key", `{"` + strings.Repeat("k", MaxObjectKey+1) + `":1}`, ErrSize},
		{"control character", "{\"a\":\"\n\"}", ErrSyntax},
		{"unknown escape", `{"a":"\x"}`, ErrSyntax},
		{"short escape", `{"a":"\u12"}`, ErrSyntax},
		{"lone high surrogate", `{"a":"\ud83d"}`, ErrUTF8},
		{"lone low surrogate", `{"a":"\ude00"}`, ErrUTF8},
		{"surrogates swapped", `{"a":"\ude00\ud83d"}`, ErrUTF8},
		{"surrogate and text", `{"a":"\ud83dx"}`, ErrUTF8},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", ErrUTF8},
		{"invalid UTF-8 after escape", "{\"a\":\"\\n\xff\"}", ErrUTF8},
		{"encoded surrogate", "{\"a\":\"\xed\xa0\x80\"}", ErrUTF8},
		{"float", `{"a":1.5}`, ErrFloat},
		{"small float", `{"a":1e-3}`, ErrFloat},
		{"2^53", `{"a":9007199254740992}`, ErrIntRange},
		{"-2^53", `{"a":-9007199254740992}`, ErrIntRange},
		{"2^53+1", `{"a":9007199254740993}`, ErrIntRange},
		{"1e300", `{"a":1e300}`, ErrIntRange},
		{"huge exponent", `{"a":1e99999999999999999999}`, ErrIntRange},
		{"leading zero", `{"a":012}`, ErrSyntax},
		{"plus", `{"a":+1}`, ErrSyntax},
		{"only minus", `{"a":-}`, ErrSyntax},
		{"point without digits", `{"a":1.}`, ErrSyntax},
		{"NaN", `{"a":NaN}`, ErrSyntax},
		{"arrays too deep", `{"a":` + strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth) + `}`, ErrDepth},
		{"objects too deep", strings.Repeat(`{"a":`, MaxDepth+1) + "1" + strings.Repeat("}", MaxDepth+1), ErrDepth},
		{"bottomless", strings.Repeat("[", 1_000_000), ErrDepth},
		{"too many elements", `{"a":[` + strings.Repeat("1,", MaxContainer) + `1]}`, ErrSize},
		{"too long", `{"a":"` + strings.Repeat("x", MaxRecordJSON) + `"}`, ErrSize},
		{"empty $type", `{"a":{"$type":""}}`, ErrType},
		{"$type null", `{"$type":null}`, ErrType},
		{"$type array", `{"a":[{"$type":[]}]}`, ErrType},
		{"link to CIDv0", `{"a":{"$link":"QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n"}}`, ErrLink},
		{"link in base58", `{"a":{"$link":"zdj7WhuEjrB52m1BisYCtmjH1hSKa7yZ3jEZ9JcXaFRD51wVz"}}`, ErrLink},
		{"link to dag-pb", `{"a":{"$link":"bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"}}`, ErrLink},
		{"link in capitals", `{"a":{"$link":"b` + strings.ToUpper(link[1:]) + `"}}`, ErrLink},
		{"link with stray bits", `{"a":{"$link":"` + link[:58] + `b"}}`, ErrLink},
		{"link null", `{"a":{"$link":null}}`, ErrLink},
		{"bytes null", `{"a":{"$bytes":null}}`, ErrBytes},
		{"bytes url-safe", `{"a":{"$bytes":"-_-_"}}`, ErrBytes},
		{"bytes with newline", `{"a":{"$bytes":"AA\nAA"}}`, ErrBytes},
		{"bytes cut short", `{"a":{"$bytes":"AAAAA"}}`, ErrBytes},
		{"blob of data", blob(link, `"mimeType":"a/b","size":1`), ErrBlob},
		{"blob without MIME type", blob(blobLink, `"mimeType":"","size":1`), ErrBlob},
		{"blob of negative size", blob(blobLink, `"mimeType":"a/b","size":-1`), ErrBlob},
		{"blob with more", blob(blobLink, `"mimeType":"a/b","size":1,"x":1`), ErrBlob},
		{"blob, ref as text", `{"b":{"$type":"blob","ref":"` + blobLink + `","mimeType":"a/b","size":1}}`, ErrBlob},
	} {
		m, err := ParseRecordJSON([]byte(tt.json))
		if !errors.Is(err, tt.want) || !errors.Is(err, ErrInvalidRecord) {
			t.Errorf("%s: %.100v, %v, want %v", tt.name, m, err, tt.want)
		}
	}
}

func TestParseRecordJSONAccepts(t *testing.T) {
	for _, tt := range []struct {
		json string
		want any
	}{
		{`"a\"\\\/\b\f\n\r\t\u0000é\ud83d\ude00"`, "a\"\\/\b\f\n\r\t\x00é😀"},
		{`9007199254740991`, int64(MaxSafeInt)},
		{`-9007199254740991`, int64(MinSafeInt)},
		{`-0`, int64(0)},
		{`0.000`, int64(0)},
		{`1.50e1`, int64(15)},
		{`1E3`, int64(1000)},
		{`1200e-2`, int64(12)},
		{`0e99999`, int64(0)},
		{` [ 1 , null ] `, []any{int64(1), nil}},
		{`{"$bytes":"123"}`, atdata.Bytes{0xd7, 0x6d}},
		{`{"$bytes":"AAE="}`, atdata.Bytes{0, 1}},
		{`{"$bytes":""}`, atdata.Bytes{}},
		{`{"$unknown":1}`, map[string]any{"$unknown": int64(1)}},
	} {
		m, err := ParseRecordJSON([]byte(`{"v":` + tt.json + "}\n"))
		if err != nil || !reflect.DeepEqual(m["v"], tt.want) {
			t.Errorf("%s: %#v, %v, want %#v", tt.json, m["v"], err, tt.want)
		}
	}
	deep := strings.Repeat(`{"a":`, MaxDepth) + "1" + strings.Repeat("}", MaxDepth)
	m, err := ParseRecordJSON([]byte(deep))
	if err != nil {
		t.Fatalf("%d levels: %v", MaxDepth, err)
	}
	if _, err := EncodeRecord(m); err != nil {
		t.Errorf("encode %d levels: %v", MaxDepth, err)
	}
}

func TestEncodeRecordRefuses(t *testing.T) {
	deep := map[string]any{}
	for range MaxDepth {
		deep = map[string]any{"a": deep}
	}
	for _, tt := range []struct {
		name   string
		record map[string]any
		want   error
	}{
		{"float", map[string]any{"a": 1.0}, ErrFloat},
		{"struct", map[string]any{"a": struct{}{}}, ErrValue},
		{"empty key", map[string]any{"": nil}, ErrEmptyKey},
		{"invalid UTF-8", map[string]any{"a": "\xff"}, ErrUTF8},
		{"invalid UTF-8 in key", map[string]any{"\xff": nil}, ErrUTF8},
		{"no CID", map[string]any{"a": atdata.CIDLink{}}, ErrCID},
		{"blob without CID", map[string]any{"a": atdata.Blob{}}, ErrBlob},
		{"too deep", deep, ErrDepth},
		{"too large", map[string]any{"a": strings.Repeat("x", MaxRecord)}, ErrTooLarge},
	} {
		if _, err := EncodeRecord(tt.record); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestBlobRefs(t *testing.T) {
	m, err := ParseRecordJSON([]byte(`{"a":[{"x":{"$type":"blob","ref":{"$link":"` + blobLink + `"},"mimeType":"image/png","size":5}}],
		"b":{"$type":"blob","ref":{"$link":"` + blobLink + `"},"mimeType":"image/png","size":5}}`))
	if err != nil {
		t.Fatal(err)
	}
	refs := BlobRefs(m)
	if len(refs) != 1 || refs[0].CID.String() != blobLink || refs[0].MimeType != "image/png" || refs[0].Size != 5 {
		t.Error(refs)
	}
	if HasLegacyBlob(m) {
		t.Error("legacy blob found")
	}
	m, err = ParseRecordJSON([]byte(`{"a":[{"x":{"cid":"` + blobLink + `","mimeType":"image/png"}}]}`))
	if err != nil || !HasLegacyBlob(m) {
		t.Error("no legacy blob found", err)
	}
	m["again"] = m["a"]
	if links := BlobLinks(m); len(links) != 1 || links[0].String() != blobLink {
		t.Errorf("links of blobs: %v", links)
	}
}

func TestSubjectOf(t *testing.T) {
	for _, tt := range []struct{ collection, record, want string }{
		{"app.bsky.graph.follow", `{"subject":"did:web:a.example"}`, "did:web:a.example"},
		{"app.bsky.graph.block", `{"subject":{"uri":"x"}}`, ""},
		{"app.bsky.feed.like", `{"subject":{"uri":"at://did:web:a.example/c/r","cid":"x"}}`, "at://did:web:a.example/c/r"},
		{"app.bsky.feed.repost", `{"subject":"x"}`, ""},
		{"app.bsky.feed.post", `{"subject":"x"}`, ""},
	} {
		m, err := ParseRecordJSON([]byte(tt.record))
		if err != nil {
			t.Fatal(err)
		}
		if got := SubjectOf(syntax.NSID(tt.collection), m); got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.collection, tt.record, got, tt.want)
		}
	}
}

func TestSignatureVectors(t *testing.T) {
	for _, v := range readVectors[[]struct {
		Comment, MessageBase64, PublicKeyDID, SignatureBase64 string
		ValidSignature                                        bool
	}](t, "crypto/signature-fixtures.json") {
		pub, err := atcrypto.ParsePublicDIDKey(v.PublicKeyDID)
		if err != nil {
			t.Fatal(err)
		}
		msg, err1 := base64.RawStdEncoding.DecodeString(v.MessageBase64)
		sig, err2 := base64.RawStdEncoding.DecodeString(v.SignatureBase64)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if err := pub.HashAndVerify(msg, sig); (err == nil) != v.ValidSignature {
			t.Errorf("%s: %v", v.Comment, err)
		}
	}
}
