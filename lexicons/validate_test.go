package lexicons

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/bluesky-social/indigo/atproto/syntax"
)

func TestRecordErrorsSayWhereAndWhy(t *testing.T) {
	const tid, ts = "3jui7kd54zh2y", `"createdAt":"2026-01-01T00:00:00.000Z"`
	const cid = "bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq"
	blob := func(mime string, size int) string {
		return fmt.Sprintf(`{"$type":"blob","ref":{"$link":"bafkreibme22gw2h7y2h7tg2fhqotaqjucnbc24deqo72b6mkl2egezxhvy"},"mimeType":%q,"size":%d}`, mime, size)
	}
	for _, tc := range []struct{ name, collection, rkey, data, want string }{
		{"fine", "app.bsky.feed.post", tid, `"text":"hi",` + ts, ""},
		{"extra fields are welcome", "app.bsky.feed.post", tid, `"text":"hi","via":"x","deep":{"a":[1]},` + ts, ""},
		{"missing", "app.bsky.feed.post", tid, `"text":"hi"`, `Record must have the property "createdAt"`},
		{"wrong type", "app.bsky.feed.post", tid, `"text":5,` + ts, `Record/text must be a string`},
		{"null", "app.bsky.feed.post", tid, `"text":null,` + ts, `Record/text must be a string`},
		{"graphemes", "app.bsky.feed.post", tid, `"text":"` + strings.Repeat("a", 301) + `",` + ts, `Record/text must not be longer than 300 graphemes`},
		{"families count once", "app.bsky.feed.post", tid, `"text":"` + strings.Repeat("👨‍👩‍👧‍👧", 100) + `",` + ts, ""},
		{"bytes", "app.bsky.feed.post", tid, `"text":"` + strings.Repeat("👨‍👩‍👧‍👧", 121) + `",` + ts, `Record/text must not be longer than 3000 characters`},
		{"list too long", "app.bsky.feed.post", tid, `"text":"","langs":["en","de","fr","ja"],` + ts, `Record/langs must not have more than 3 elements`},
		{"in a list", "app.bsky.feed.post", tid, `"text":"","langs":["en","klingon!"],` + ts, `Record/langs/1 must be a well-formed BCP 47 language tag`},
		{"through a reference", "app.bsky.feed.post", tid, `"text":"","reply":{"root":{"uri":"at://x","cid":"` + cid + `"},"parent":{"uri":"at://did:plc:a/b.c.d/e","cid":"` + cid + `"}},` + ts, `Record/reply/root/uri must be a valid at-uri`},
		{"reference missing", "app.bsky.feed.like", tid, `"subject":{"uri":"at://did:plc:abc/app.bsky.feed.post/3jui7kd54zh2y"},` + ts, `Record/subject must have the property "cid"`},
		{"datetime", "app.bsky.feed.like", tid, `"subject":{"uri":"at://did:plc:abc/app.bsky.feed.post/3jui7kd54zh2y","cid":"` + cid + `"},"createdAt":"yesterday"`, `Record/createdAt must be an valid atproto datetime (both RFC-3339 and ISO-8601)`},
		{"union variant", "app.bsky.feed.post", tid, `"text":"","embed":{"$type":"app.bsky.embed.images","images":[{"alt":"x","image":` + blob("text/html", 5) + `}]},` + ts, `Record/embed/images/0/image must be a blob of type image/*, not text/html`},
		{"blob too big", "app.bsky.feed.post", tid, `"text":"","embed":{"$type":"app.bsky.embed.images","images":[{"alt":"x","image":` + blob("image/png", 5_000_000) + `}]},` + ts, `Record/embed/images/0/image must not be a blob larger than 2000000 bytes, it has 5000000`},
		{"blob fits", "app.bsky.feed.post", tid, `"text":"","embed":{"$type":"app.bsky.embed.images","images":[{"alt":"x","image":` + blob("image/png", 500) + `}]},` + ts, ""},
		{"open union, unknown type", "app.bsky.feed.post", tid, `"text":"","embed":{"$type":"com.example.thing","images":1},` + ts, ""},
		{"open union, no data type", "app.bsky.feed.post", tid, `"text":"","embed":{"$type":"com.atproto.server.getSession"},` + ts, ""},
		{"open union without type", "app.bsky.feed.post", tid, `"text":"","embed":{"images":[]},` + ts, `Record/embed must be an object which includes the "$type" property`},
		{"rkey tid", "app.bsky.feed.post", "self", `"text":"hi",` + ts, `Record key must be a valid TID`},
		{"rkey literal", "app.bsky.actor.profile", tid, ``, `Record key must be "self"`},
		{"rkey literal fits", "app.bsky.actor.profile", "self", ``, ""},
		{"rkey any", "app.bsky.feed.generator", "cats", `"did":"did:web:example.com","displayName":"c",` + ts, ""},
		{"rkey any, but a key", "app.bsky.feed.generator", "..", `"did":"did:web:example.com","displayName":"c",` + ts, `Record key must be a valid Record Key`},
		{"rkey nsid", "com.atproto.lexicon.schema", "not an nsid", `"lexicon":1`, `Record key must be a valid nsid`},
		{"did", "app.bsky.graph.follow", tid, `"subject":"alice.example.com",` + ts, `Record/subject must be a valid did`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fields := strings.Trim(`"$type":"`+tc.collection+`",`+tc.data, ",")
			data, err := atdata.UnmarshalJSON([]byte("{" + fields + "}"))
			if err != nil {
				t.Fatal(err)
			}
			known, err := Default().ValidateRecord(syntax.NSID(tc.collection), syntax.RecordKey(tc.rkey), data)
			if got := text(err); !known || got != tc.want {
				t.Errorf("known %v\n got %s\nwant %s", known, got, tc.want)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestRecordTypeAndOldBlobs(t *testing.T) {
	cat := Default()
	for _, typ := range []any{nil, 5, "app.bsky.feed.like", "app.bsky.feed.post#main"} {
		data := map[string]any{"$type": typ, "text": "x", "createdAt": "2026-01-01T00:00:00Z"}
		if _, err := cat.ValidateRecord("app.bsky.feed.post", "3jui7kd54zh2y", data); err == nil {
			t.Errorf("$type %v passes", typ)
		}
	}
	old := map[string]any{"$type": "app.bsky.actor.profile", "avatar": atdata.Blob{MimeType: "image/png", Size: -1}}
	_, err := cat.ValidateRecord("app.bsky.actor.profile", "self", old)
	var violation *Error
	if !errors.As(err, &violation) || violation.Path != "Record/avatar" {
		t.Errorf("old form of blob: %v", err)
	}
	if known, err := cat.ValidateRecord("com.example.unknown", "x", map[string]any{}); known || err != nil {
		t.Errorf("unknown collection: %v %v", known, err)
	}
}

func TestParams(t *testing.T) {
	for _, tc := range []struct{ method, query, want string }{
		{"com.atproto.repo.listRecords", "repo=did:plc:abc&collection=app.bsky.feed.post", `repo=did:plc:abc collection=app.bsky.feed.post limit=50`},
		{"com.atproto.repo.listRecords", "repo=alice.test&collection=a.b.c&limit=100&reverse=true&junk=1", `repo=alice.test collection=a.b.c limit=100 reverse=true`},
		{"com.atproto.repo.listRecords", "repo=alice.test&collection=a.b.c&limit=&cursor=", `repo=alice.test collection=a.b.c limit=50`},
		{"com.atproto.repo.listRecords", "collection=a.b.c", `Params must have the property "repo"`},
		{"com.atproto.repo.listRecords", "repo=&collection=a.b.c", `Params must have the property "repo"`},
		{"com.atproto.repo.listRecords", "repo=nope&collection=a.b.c", `repo must be a valid did or a handle`},
		{"com.atproto.repo.listRecords", "repo=alice.test&collection=abc", `collection must be a valid nsid`},
		{"com.atproto.repo.listRecords", "repo=alice.test&collection=a.b.c&limit=0", `limit can not be less than 1`},
		{"com.atproto.repo.listRecords", "repo=alice.test&collection=a.b.c&limit=101", `limit can not be greater than 100`},
		{"com.atproto.repo.listRecords", "repo=alice.test&collection=a.b.c&limit=ten", `limit must be an integer`},
		{"com.atproto.repo.listRecords", "repo=alice.test&collection=a.b.c&limit=99999999999999999999", `limit must be an integer`},
		{"com.atproto.repo.listRecords", "repo=alice.test&collection=a.b.c&reverse=yes", `reverse must be a boolean`},
		{"com.atproto.repo.listRecords", "repo=alice.test&repo=bob.test&collection=a.b.c", `repo must not be given more than once`},
		{"com.atproto.repo.listRecords", "repo=alice.test&collection=a.b.c&cursor=%zz", `Params must be percent-encoded UTF-8`},
		{"com.atproto.repo.listRecords", "repo=alice.test&collection=a.b.c&cursor=%ff", `Params must be percent-encoded UTF-8`},
		{"com.atproto.repo.listRecords", "repo=alice.test&collection=a.b.c&cursor=a%20b+c", `repo=alice.test collection=a.b.c cursor=a b c limit=50`},
		{"app.bsky.actor.getProfiles", "actors=a.test&actors=b.test", `actors=[a.test b.test]`},
		{"app.bsky.actor.getProfiles", "actors[]=a.test&actors%5B%5D=b.test&actors[7]=c.test", `actors=[a.test b.test c.test]`},
		{"app.bsky.actor.getProfiles", "actors[x]=a.test", `Params must have the property "actors"`},
		{"app.bsky.actor.getProfiles", strings.Repeat("actors=a.test&", 26), `actors must not have more than 25 elements`},
		{"app.bsky.actor.getProfiles", "actors=a.test&actors=!", `actors must be a valid did or a handle`},
		{"com.atproto.repo.getRecord", "repo[]=a.test&collection=a.b.c&rkey=x", `Params must have the property "repo"`},
		{"com.atproto.server.describeServer", "a=%zz", `Params must be percent-encoded UTF-8`},
		{"com.atproto.server.describeServer", "a=" + strings.Repeat("x", MaxQuery), `Params must not be longer than 65536 bytes`},
	} {
		m, err := Default().Method(tc.method)
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.ParseParams(tc.query)
		if s := show(got, err); s != tc.want {
			t.Errorf("%s?%.80s\n got %s\nwant %s", tc.method, tc.query, s, tc.want)
		}
	}
}

func show(p Params, err error) string {
	if err != nil {
		return err.Error()
	}
	var parts []string
	for _, x := range p {
		if x.List != nil {
			parts = append(parts, fmt.Sprintf("%s=%v", x.Name, x.List))
		} else {
			parts = append(parts, x.Name+"="+x.Value)
		}
	}
	return strings.Join(parts, " ")
}

func TestInput(t *testing.T) {
	const session, create, apply = "com.atproto.server.createSession", "com.atproto.repo.createRecord", "com.atproto.repo.applyWrites"
	deep := strings.Repeat(`{"a":`, 80) + "1" + strings.Repeat("}", 80)
	for _, tc := range []struct{ method, body, want string }{
		{session, `{"identifier":"a","password":"b"}`, ""},
		{session, ` {"identifier":"a","password":"b","extra":[1,2.5e3,{"x":null}]} `, ""},
		{session, `{"password":"b"}`, `Input must have the property "identifier"`},
		{session, `{"identifier":5,"password":"b"}`, `Input/identifier must be a string`},
		{session, `{"identifier":null,"password":"b"}`, `Input/identifier must be a string`},
		{session, `{"identifier":"a","password":"b","password":"c"}`, `Input must have the property "password" only once`},
		{session, `{"identifier":"a","password":"b","pass\u0077ord":"c"}`, `Input must have the property "password" only once`},
		{session, `{"identifier":"a","password":"b","Password":"c"}`, `Input must spell the property "Password" as "password"`},
		{session, `{"identifier":"a","password":"\ud83d"}`, `Input/password must not hold half of a surrogate pair`},
		{session, `{"identifier":"a","password":"\ud83d\ude00"}`, ""},
		{session, `{"identifier":"a","password":"b"} x`, "malformed"},
		{session, `{"identifier":"a","password":"b",}`, "malformed"},
		{session, `{"identifier":"a" "password":"b"}`, "malformed"},
		{session, `{"identifier":"a","password":"b"`, "malformed"},
		{session, "{\"identifier\":\"a\",\"password\":\"\xff\"}", "malformed"},
		{session, "{\"identifier\":\"a\",\"password\":\"\x01\"}", "malformed"},
		{session, `{"identifier":"a","password":"\x"}`, "malformed"},
		{session, `{"identifier":"a","password":"\u12"}`, "malformed"},
		{session, ``, "malformed"},
		{session, `[]`, `Input must be an object`},
		{session, `"x"`, `Input must be an object`},
		{session, `tru`, "malformed"},
		{session, `{"identifier":"a","password":"b","x":01}`, "malformed"},
		{session, `{"identifier":"a","password":"b","x":-}`, "malformed"},
		{session, `{"identifier":"a","password":"b","x":1.}`, "malformed"},
		{session, `{"identifier":"a","password":"b","x":` + deep + `}`, "malformed"},
		{create, `{"repo":"a.test","collection":"a.b.c","record":{}}`, ""},
		{create, `{"repo":"a.test","collection":"a.b.c","record":[]}`, `Input/record must be an object`},
		{create, `{"repo":"a.test","collection":"a.b.c","record":{},"validate":"yes"}`, `Input/validate must be a boolean`},
		{create, `{"repo":"a..test","collection":"a.b.c","record":{}}`, `Input/repo must be a valid did or a handle`},
		{create, `{"repo":"a.test","collection":"a.b.c","record":{},"rkey":"` + strings.Repeat("k", 513) + `"}`, `Input/rkey must not be longer than 512 characters`},
		{create, `{"repo":"a.test","collection":"a.b.c","record":{},"swapCommit":"x"}`, `Input/swapCommit must be a cid string`},
		{"com.atproto.repo.putRecord", `{"repo":"a.test","collection":"a.b.c","rkey":"x","record":{},"swapRecord":null}`, ""},
		{"com.atproto.repo.putRecord", `{"repo":"a.test","collection":"a.b.c","rkey":"x","record":{},"swapCommit":null}`, `Input/swapCommit must be a string`},
		{apply, `{"repo":"a.test","writes":[{"$type":"com.atproto.repo.applyWrites#create","collection":"a.b.c","value":{}}]}`, ""},
		{apply, `{"repo":"a.test","writes":[{"collection":"a.b.c","value":{},"$type":"com.atproto.repo.applyWrites#delete"}]}`, `Input/writes/0 must have the property "rkey"`},
		{apply, `{"repo":"a.test","writes":[{"collection":"a.b.c","value":{}}]}`, `Input/writes/0 must be an object which includes the "$type" property`},
		{apply, `{"repo":"a.test","writes":[{"$type":"com.example.other"}]}`, `Input/writes/0 $type must be one of com.atproto.repo.applyWrites#create, com.atproto.repo.applyWrites#update, com.atproto.repo.applyWrites#delete`},
		{apply, `{"repo":"a.test","writes":[{"$type":"com.atproto.repo.applyWrites#create","collection":"a.b.c","value":{},"$type":"com.atproto.repo.applyWrites#delete"}]}`, `Input/writes/0 must have the property "$type" only once`},
		{apply, `{"repo":"a.test","writes":[{"$type":"com.atproto.repo.applyWrites#create","collection":"a.b.c","value":{},"\u0024type":"com.atproto.repo.applyWrites#delete"}]}`, `Input/writes/0 must have the property "$type" only once`},
		{apply, `{"repo":"a.test","writes":[1]}`, `Input/writes/0 must be an object which includes the "$type" property`},
		{apply, `{"repo":"a.test","writes":{}}`, `Input/writes must be an array`},
		{"com.atproto.server.createInviteCode", `{"useCount":1.5}`, `Input/useCount must be an integer`},
		{"com.atproto.server.createInviteCode", `{"useCount":1e1}`, `Input/useCount must be an integer`},
		{"com.atproto.server.createInviteCode", `{"useCount":"1"}`, `Input/useCount must be an integer`},
		{"app.bsky.actor.putPreferences", `{"preferences":[{"$type":"app.bsky.actor.defs#adultContentPref","enabled":1}]}`, `Input/preferences/0/enabled must be a boolean`},
		{"app.bsky.actor.putPreferences", `{"preferences":[{"$type":"com.example.pref","enabled":1}]}`, ""},
	} {
		m, err := Default().Method(tc.method)
		if err != nil {
			t.Fatal(err)
		}
		err = m.ValidateInput([]byte(tc.body))
		got := text(err)
		if errors.Is(err, ErrMalformedJSON) {
			got = "malformed"
		}
		if got != tc.want {
			t.Errorf("%s %.120s\n got %s (%v)\nwant %s", tc.method, tc.body, got, err, tc.want)
		}
	}
}

// The scanner and the standard library must agree on what JSON is, and what passes a schema must
// decode without surprises.
func FuzzInput(f *testing.F) {
	for _, s := range []string{
		`{"identifier":"a","password":"b"}`, `{"a":[1,-2.5e+3,true,false,null,"\u00e9\n"]}`, `[`, `"\ud800"`,
		`{"identifier":"a","Identifier":"b","password":""}`, "\ufeff{}", `{"identifier":"\u0061"}`, `-0`, `1e`, `{"":0}`,
	} {
		f.Add([]byte(s))
	}
	session, err := Default().Method("com.atproto.server.createSession")
	if err != nil {
		f.Fatal(err)
	}
	apply, err := Default().Method("com.atproto.repo.applyWrites")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if CheckJSON(b) == nil && !json.Valid(b) {
			t.Fatalf("accepts what is not JSON: %q", b)
		}
		if json.Valid(b) && strings.ToValidUTF8(string(b), "") == string(b) && CheckJSON(b) != nil && strings.Count(string(b), "[")+strings.Count(string(b), "{") <= MaxDepth {
			t.Fatalf("refuses JSON: %q: %v", b, CheckJSON(b))
		}
		_ = apply.ValidateInput(b)
		if session.ValidateInput(b) != nil {
			return
		}
		var in struct{ Identifier, Password string }
		var raw map[string]any
		if err := json.Unmarshal(b, &in); err != nil {
			t.Fatalf("valid, but does not decode: %q: %v", b, err)
		}
		if err := json.Unmarshal(b, &raw); err != nil || raw["identifier"] != in.Identifier || raw["password"] != in.Password {
			t.Fatalf("decodes to something else than was checked: %q", b)
		}
	})
}

func FuzzParams(f *testing.F) {
	for _, s := range []string{"repo=a.test&collection=a.b.c", "limit=5&limit[]=6", "%", "a=b&&c", "cursor=%00", "repo[]=x", "=&=", "limit=+5"} {
		f.Add(s)
	}
	m, err := Default().Method("com.atproto.repo.listRecords")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, q string) {
		p, err := m.ParseParams(q)
		if err != nil {
			var violation *Error
			if !errors.As(err, &violation) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if p.Get("repo") == "" || p.Get("collection") == "" || p.Get("limit") == "" {
			t.Fatalf("required or default parameter is gone: %q: %v", q, p)
		}
	})
}

func TestOutputOfTheDefaultsIsStable(t *testing.T) {
	m, err := Default().Method("com.atproto.repo.listRecords")
	if err != nil {
		t.Fatal(err)
	}
	a, _ := m.ParseParams("repo=a.test&collection=a.b.c")
	b, _ := m.ParseParams("collection=a.b.c&repo=a.test")
	if a.Get("limit") != "50" || !reflect.DeepEqual(a.Get("repo"), b.Get("repo")) {
		t.Errorf("%v %v", a, b)
	}
}

func BenchmarkValidatePost(b *testing.B) {
	data, err := atdata.UnmarshalJSON([]byte(`{"$type":"app.bsky.feed.post","text":"hello @alice.test, this is a post of an ordinary length with a link and a reply","langs":["en"],
	"facets":[{"index":{"byteStart":6,"byteEnd":17},"features":[{"$type":"app.bsky.richtext.facet#mention","did":"did:plc:44ybard66vv44zksje25o7dz"}]}],
	"reply":{"root":{"uri":"at://did:plc:44ybard66vv44zksje25o7dz/app.bsky.feed.post/3jui7kd54zh2y","cid":"bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq"},
	"parent":{"uri":"at://did:plc:44ybard66vv44zksje25o7dz/app.bsky.feed.post/3jui7kd54zh2y","cid":"bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq"}},
	"createdAt":"2026-01-01T00:00:00.000Z"}`))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Default().ValidateRecord("app.bsky.feed.post", "3jui7kd54zh2y", data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidateCreateRecordInput(b *testing.B) {
	m, err := Default().Method("com.atproto.repo.createRecord")
	if err != nil {
		b.Fatal(err)
	}
	body := []byte(`{"repo":"did:plc:44ybard66vv44zksje25o7dz","collection":"app.bsky.feed.post","record":{"$type":"app.bsky.feed.post","text":"` +
		strings.Repeat("hello ", 50) + `","createdAt":"2026-01-01T00:00:00.000Z"}}`)
	b.ReportAllocs()
	for b.Loop() {
		if err := m.ValidateInput(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompileEverySchema(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		c := &Catalog{kinds: Default().kinds, read: readEmbedded}
		for _, nsid := range Default().names {
			if _, err := c.document(nsid); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkParseParams(b *testing.B) {
	m, err := Default().Method("com.atproto.repo.listRecords")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.ParseParams("repo=did:plc:44ybard66vv44zksje25o7dz&collection=app.bsky.feed.post&limit=100"); err != nil {
			b.Fatal(err)
		}
	}
}
