package hostile

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const postNSID = "app.bsky.feed.post"

// recordRows are records that must not become part of a repository.
func (s *target) recordRows(t *testing.T) []row {
	var rows []row
	add := func(label, collection, record string, lenient bool) {
		body := fmt.Sprintf(`{"repo":%q,"collection":%q,"record":%s}`, s.alice.DID, collection, record)
		rows = append(rows, row{name: label, method: "POST", path: "/xrpc/" + recordNSID, as: alice, kind: jsonKind, body: []byte(body), lenient: lenient, want: wantedRecord(lenient)})
	}
	// Data that cannot be in any record: sent to a collection that no lexicon describes, so that the data model has to refuse it.
	for label, value := range notData() {
		add("data/"+label, "com.example.any", `{"$type":"com.example.any","x":`+value+`}`, false)
	}
	for label, value := range oddData() {
		add("odd/"+label, "com.example.any", `{"$type":"com.example.any","x":`+value+`}`, true)
	}
	for i, fixture := range s.fixtures(t) {
		add(fmt.Sprintf("vector/%d %s", i, fixture.Note), "com.example.any", string(fixture.JSON), fixture.lenient())
	}
	for label, record := range notPosts() {
		add("post/"+label, postNSID, record, false)
	}
	for label, blob := range s.badImages() {
		add("image/"+label, postNSID, `{"$type":"app.bsky.feed.post","text":"","createdAt":"2026-01-01T00:00:00Z","embed":{"$type":"app.bsky.embed.images","images":[{"alt":"","image":`+blob+`}]}}`, false)
	}
	for label, c := range map[string][2]string{
		"like without subject": {"app.bsky.feed.like", `{"createdAt":"2026-01-01T00:00:00Z"}`},
		"like of a string":     {"app.bsky.feed.like", `{"createdAt":"2026-01-01T00:00:00Z","subject":"at://x"}`},
		"like of a bad uri":    {"app.bsky.feed.like", `{"createdAt":"2026-01-01T00:00:00Z","subject":{"uri":"nope","cid":"` + s.record.CID + `"}}`},
		"like of a bad cid":    {"app.bsky.feed.like", `{"createdAt":"2026-01-01T00:00:00Z","subject":{"uri":"at://did:plc:x/a.b.c/d","cid":"nope"}}`},
		"follow of no did":     {"app.bsky.graph.follow", `{"createdAt":"2026-01-01T00:00:00Z","subject":"alice.test"}`},
		"block of a number":    {"app.bsky.graph.block", `{"createdAt":"2026-01-01T00:00:00Z","subject":5}`},
		"profile with a list":  {"app.bsky.actor.profile", `{"displayName":[]}`},
		"long profile name":    {"app.bsky.actor.profile", `{"displayName":"` + strings.Repeat("n", 2000) + `"}`},
		"wrong type":           {"app.bsky.feed.like", `{"$type":"app.bsky.feed.post","text":"","createdAt":"2026-01-01T00:00:00Z"}`},
	} {
		add("lexicon/"+label, c[0], c[1], false)
	}
	return rows
}

func wantedRecord(lenient bool) string {
	if lenient {
		return ""
	}
	return "InvalidRequest|InvalidRecord|InvalidMimeType|InvalidSize|BlobNotFound|BlobTooLarge|PayloadTooLarge"
}

func notData() map[string]string {
	return map[string]string{
		"float": "1.5", "small float": "1e-7", "big float": "1e400", "minus big float": "-1e400", "beyond 53 bits": "9007199254740993", "beyond 64 bits": "18446744073709551616",
		"far beyond": strings.Repeat("9", 400), "link to nothing": `{"$link":""}`, "link of a number": `{"$link":5}`, "link of null": `{"$link":null}`, "link with more": `{"$link":"bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a","x":1}`,
		"link version 0": `{"$link":"QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n"}`, "link garbage": `{"$link":"bafybroken"}`, "link base58": `{"$link":"zdpuAyvkgEDQm9TenwGkd5eNaosSxjgEYd8QatfPetgB1CdEZ"}`,
		"bytes of a number": `{"$bytes":5}`, "bytes not base64": `{"$bytes":"***"}`, "bytes with more": `{"$bytes":"AAAA","x":1}`, "bytes of a list": `{"$bytes":[1,2]}`,
		"type null": `{"$type":null}`, "type empty": `{"$type":""}`, "type number": `{"$type":7}`,
		"blob without ref": `{"$type":"blob","mimeType":"image/png","size":1}`, "blob without size": `{"$type":"blob","mimeType":"image/png","ref":{"$link":"bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity"}}`,
		"blob negative":      `{"$type":"blob","mimeType":"image/png","size":-1,"ref":{"$link":"bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity"}}`,
		"blob without type":  `{"$type":"blob","size":1,"ref":{"$link":"bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity"}}`,
		"blob with text ref": `{"$type":"blob","mimeType":"image/png","size":1,"ref":"bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity"}`,
		"blob not uploaded":  `{"$type":"blob","mimeType":"image/png","size":1,"ref":{"$link":"bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity"}}`,
		"duplicate keys":     `{"a":1,"a":2}`, "lone surrogate": `"\ud800"`, "reversed surrogates": `"\udc00\ud800"`, "raw bytes": "\"\xff\xfe\"", "cut utf-8": "\"\xe2\x82\"", "overlong utf-8": "\"\xc0\xaf\"",
		"deep": strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000), "deep list": strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
		"megabyte": `"` + strings.Repeat("m", 1100000) + `"`,
	}
}

// oddData may pass or be refused, but not break anything.
func oddData() map[string]string {
	return map[string]string{
		"minus zero": "-0", "whole float": "123.0", "exponent": "1e3", "highest": "9007199254740991", "null": "null", "nul": `"\u0000"`, "empty key": `{"":1}`, "long key": `{"` + strings.Repeat("k", 100000) + `":1}`,
		"many keys": manyKeys(5000), "many nulls": "[" + strings.Repeat("null,", 50000) + "null]", "proto": `{"__proto__":{"x":1},"constructor":5}`, "direction": `"\u202e\u2066"`, "noncharacter": `"\uffff\ufdd0"`,
		"depth 20": strings.Repeat("[", 20) + strings.Repeat("]", 20), "legacy blob": `{"cid":"bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity","mimeType":"image/png"}`, "dollar key": `{"$weird":1}`,
	}
}

func manyKeys(n int) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = fmt.Sprintf(`"k%d":%d`, i, i)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

type fixture struct {
	Note string
	JSON json.RawMessage
}

// lenient: the vectors also hold cases that are wrong at the top level in ways that a server may read otherwise.
func (f *fixture) lenient() bool { return !strings.HasPrefix(strings.TrimSpace(string(f.JSON)), "{") }

// fixtures are the data model's invalid examples.
func (s *target) fixtures(t *testing.T) []fixture {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.vectors, "atproto", "atdata", "testdata", "data-model-invalid.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []fixture
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// notPosts break the lexicon of posts.
func notPosts() map[string]string {
	post := func(fields string) string {
		return `{"$type":"app.bsky.feed.post","text":"x","createdAt":"2026-01-01T00:00:00Z",` + fields + `}`
	}
	all := map[string]string{
		"empty": `{}`, "string": `"x"`, "number": `5`, "list": `[]`, "null": `null`, "bool": `true`,
		"no text": `{"$type":"app.bsky.feed.post","createdAt":"2026-01-01T00:00:00Z"}`, "no time": `{"$type":"app.bsky.feed.post","text":"x"}`,
		"other type": `{"$type":"app.bsky.feed.like","text":"x","createdAt":"2026-01-01T00:00:00Z"}`, "type number": `{"$type":5,"text":"x","createdAt":"2026-01-01T00:00:00Z"}`,
		"type with fragment": `{"$type":"app.bsky.feed.post#main","text":"x","createdAt":"2026-01-01T00:00:00Z"}`, "type empty": `{"$type":"","text":"x","createdAt":"2026-01-01T00:00:00Z"}`,
		"text number": `{"$type":"app.bsky.feed.post","text":5,"createdAt":"2026-01-01T00:00:00Z"}`, "text null": `{"$type":"app.bsky.feed.post","text":null,"createdAt":"2026-01-01T00:00:00Z"}`,
		"text of 301 graphemes": `{"$type":"app.bsky.feed.post","text":"` + strings.Repeat("é", 301) + `","createdAt":"2026-01-01T00:00:00Z"}`,
		"text of 3001 bytes":    `{"$type":"app.bsky.feed.post","text":"` + strings.Repeat("e\u0301\u0301\u0301\u0301\u0301\u0301", 231) + `","createdAt":"2026-01-01T00:00:00Z"}`,
		"langs string":          post(`"langs":"en"`), "langs bad": post(`"langs":["not a language"]`), "four langs": post(`"langs":["en","de","fr","es"]`), "langs numbers": post(`"langs":[1]`),
		"nine tags": post(`"tags":["1","2","3","4","5","6","7","8","9"]`), "long tag": post(`"tags":["` + strings.Repeat("t", 700) + `"]`),
		"facets object": post(`"facets":{}`), "facet without index": post(`"facets":[{"features":[]}]`), "facet negative": post(`"facets":[{"index":{"byteStart":-1,"byteEnd":1},"features":[]}]`),
		"facet fraction": post(`"facets":[{"index":{"byteStart":0.5,"byteEnd":1},"features":[]}]`), "facet mention of no did": post(`"facets":[{"index":{"byteStart":0,"byteEnd":1},"features":[{"$type":"app.bsky.richtext.facet#mention","did":"alice"}]}]`),
		"reply string": post(`"reply":"at://x"`), "reply without root": post(`"reply":{"parent":{"uri":"at://did:plc:x/a.b.c/d","cid":"bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a"}}`),
		"reply with bad uri": post(`"reply":{"parent":{"uri":"http://x","cid":"b"},"root":{"uri":"x","cid":"y"}}`), "embed without type": post(`"embed":{"images":[]}`), "embed string": post(`"embed":"x"`),
		"five images": post(`"embed":{"$type":"app.bsky.embed.images","images":[{},{},{},{},{}]}`), "images object": post(`"embed":{"$type":"app.bsky.embed.images","images":{}}`),
		"external without uri": post(`"embed":{"$type":"app.bsky.embed.external","external":{"title":"","description":""}}`), "external bad uri": post(`"embed":{"$type":"app.bsky.embed.external","external":{"uri":"not a uri","title":"","description":""}}`),
		"labels of no kind": post(`"labels":{"values":[]}`), "record without cid": post(`"embed":{"$type":"app.bsky.embed.record","record":{"uri":"at://did:plc:x/a.b.c/d"}}`),
	}
	for i, at := range []string{"", "yesterday", "2026", "2026-01-01", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00", "2026-01-01 00:00:00Z", "2026-01-01T25:00:00Z", "0000-01-01T00:00:00-00:00", "2026-01-01T00:00:00+9999", strings.Repeat("2", 500)} {
		all[fmt.Sprintf("time %d", i)] = fmt.Sprintf(`{"$type":"app.bsky.feed.post","text":"x","createdAt":%q}`, at)
	}
	return all
}

// badImages are blob references that a post's image must not have. The account has uploaded one blob, a text.
func (s *target) badImages() map[string]string {
	const unknown = "bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity"
	blob := func(ref, mime, size string) string {
		return `{"$type":"blob","ref":{"$link":"` + ref + `"},"mimeType":` + mime + `,"size":` + size + `}`
	}
	return map[string]string{
		"a text": s.blob, "never uploaded": blob(unknown, `"image/png"`, "100"), "too large": blob(unknown, `"image/png"`, "100000000"), "negative": blob(unknown, `"image/png"`, "-5"), "fraction": blob(unknown, `"image/png"`, "1.5"),
		"size text": blob(unknown, `"image/png"`, `"5"`), "type number": blob(unknown, "5", "5"), "type empty": blob(unknown, `""`, "5"), "type wild": blob(unknown, `"*/*"`, "5"), "no image": blob(unknown, `"text/plain"`, "5"),
		"record cid": blob(s.record.CID, `"image/png"`, "5"), "string": `"` + unknown + `"`, "null": "null", "link": `{"$link":"` + unknown + `"}`, "bytes": `{"$bytes":"AAAA"}`, "legacy": `{"cid":"` + unknown + `","mimeType":"image/png"}`,
		"type lie": strings.Replace(s.blob, "text/plain", "image/png", 1), "bad cid": blob("bafy", `"image/png"`, "5"),
	}
}
