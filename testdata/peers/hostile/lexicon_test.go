package hostile

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// property is the part of a lexicon property that bad values are made from.
type property struct {
	Type      string
	Format    string
	Minimum   *int64
	Maximum   *int64
	MaxLength *int64
	Items     *property
	Default   any
}

type object struct {
	Required   []string
	Properties map[string]property
}

// method is a query or procedure of com.atproto that the server implements itself.
type method struct {
	nsid  string
	query bool
	param object
	input *object // nil: no JSON input
}

// implemented are the methods of the first release; rows for others would test the proxy.
var implemented = strings.Fields(`
	server.describeServer server.createAccount server.createSession server.refreshSession server.getSession server.deleteSession
	server.createAppPassword server.listAppPasswords server.revokeAppPassword server.createInviteCode server.createInviteCodes
	server.getAccountInviteCodes server.getServiceAuth server.checkAccountStatus
	repo.createRecord repo.putRecord repo.deleteRecord repo.applyWrites repo.getRecord repo.listRecords repo.describeRepo
	repo.uploadBlob repo.listMissingBlobs
	sync.getRepo sync.getRecord sync.getBlocks sync.getLatestCommit sync.getRepoStatus sync.listRepos sync.listReposByCollection
	sync.getBlob sync.listBlobs sync.getHead sync.getCheckout
	identity.resolveHandle identity.resolveDid identity.resolveIdentity identity.refreshIdentity`)

// lexicons reads the methods' definitions.
func (s *target) lexicons(t *testing.T) []method {
	t.Helper()
	var all []method
	for _, short := range implemented {
		b, err := os.ReadFile(filepath.Join(s.vectors, "lexicons", "com", "atproto", filepath.FromSlash(strings.ReplaceAll(short, ".", "/"))+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Defs struct {
				Main struct {
					Type       string
					Parameters object
					Input      *struct {
						Encoding string
						Schema   object
					}
				}
			}
		}
		if err := json.Unmarshal(b, &doc); err != nil {
			t.Fatal(err)
		}
		m := method{nsid: "com.atproto." + short, query: doc.Defs.Main.Type == "query", param: doc.Defs.Main.Parameters}
		if in := doc.Defs.Main.Input; in != nil && in.Encoding == "application/json" {
			m.input = &in.Schema
		}
		all = append(all, m)
	}
	return all
}

// as is who may call the method, so that the refusal is for the value and not for want of a token.
func (m *method) as() principal {
	switch name := strings.TrimPrefix(m.nsid, "com.atproto."); {
	case strings.HasPrefix(name, "server.createInviteCode"):
		return admin
	case name == "server.refreshSession" || name == "server.deleteSession":
		return refresh
	case strings.HasPrefix(name, "sync."), strings.HasPrefix(name, "identity.resolve"), name == "repo.getRecord", name == "repo.listRecords",
		name == "repo.describeRepo", name == "server.createAccount", name == "server.createSession", name == "server.describeServer":
		return nobody
	}
	return victim
}

// plausible is a value that passes, by the property's name or else by its format and type.
func (s *target) plausible(name string, p property) any {
	did := s.victim.DID
	byName := map[string]any{
		"repo": did, "did": did, "collection": "app.bsky.feed.post", "rkey": "3jzfcijpj2z2a", "cid": s.record.CID, "cids": []any{s.record.CID},
		"handle": "fresh.test", "identifier": "victim.test", "password": "wrong-password", "aud": "did:web:example.com", "name": "row",
		"record": map[string]any{"$type": "app.bsky.feed.post", "text": "x", "createdAt": "2026-01-01T00:00:00Z"}, "useCount": 1, "codeCount": 1,
		"writes": []any{map[string]any{"$type": "com.atproto.repo.applyWrites#create", "collection": "app.bsky.feed.post",
			"value": map[string]any{"$type": "app.bsky.feed.post", "text": "x", "createdAt": "2026-01-01T00:00:00Z"}}},
		"lxm": "app.bsky.feed.getTimeline",
	}
	if v, ok := byName[name]; ok {
		return v
	}
	switch p.Type {
	case "integer":
		return 1
	case "boolean":
		return true
	case "array":
		return []any{}
	case "string":
		return "x"
	}
	return map[string]any{}
}

// bad is a value that a property must refuse; lenient ones are odd and may pass.
type bad struct {
	label   string
	value   string
	lenient bool
}

const vectorsPerFormat = 12

// badStrings are invalid values of a format out of the interoperability vectors, or odd ones of a free string.
func (s *target) badStrings(t *testing.T, format string) []bad {
	files := map[string]string{"did": "did", "handle": "handle", "at-identifier": "atidentifier", "nsid": "nsid", "tid": "tid", "cid": "cid",
		"record-key": "recordkey", "at-uri": "aturi", "datetime": "datetime"}
	file, ok := files[format]
	if !ok {
		return []bad{{"long", strings.Repeat("A", 8000), true}, {"nul", "a\x00b", true}, {"not utf-8", "a\xff\xfeb", true}, {"quotes", `'"; DROP TABLE record; --`, true}, {"empty", "", true}}
	}
	all := []bad{{"long", strings.Repeat("a", 8000), false}, {"nul", "a\x00b", false}, {"not utf-8", "\xff\xfe\xc3\x28", false}, {"dots", "../../etc/passwd", false}}
	for i, line := range lines(t, filepath.Join(s.vectors, "atproto", "syntax", "testdata", file+"_syntax_invalid.txt")) {
		if i == vectorsPerFormat {
			break
		}
		all = append(all, bad{"vector " + strconv.Itoa(i), line, format == "cid" && strings.HasPrefix(line, "Qm")}) // of the old form, and well known
	}
	return all
}

// lines reads a vector file; line ends are not trimmed otherwise, since spaces are what some vectors are about.
func lines(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimRight(line, "\r\n"); line != "" && !strings.HasPrefix(line, "#") {
			all = append(all, line)
		}
	}
	return all
}

// badParams are bad values as they stand in a query string.
func (s *target) badParams(t *testing.T, p property) []bad {
	switch p.Type {
	case "integer":
		all := []bad{{"letters", "abc", false}, {"fraction", "1.5", false}, {"empty", "", true}, {"exponent", "1e3", true}, {"hex", "0x10", false},
			{"beyond 64 bits", "99999999999999999999", false}, {"NaN", "NaN", false}, {"unicode digits", "٣", false}}
		if p.Minimum != nil {
			all = append(all, bad{"below minimum", strconv.FormatInt(*p.Minimum-1, 10), false}, bad{"far below", "-9007199254740993", false})
		}
		if p.Maximum != nil {
			all = append(all, bad{"above maximum", strconv.FormatInt(*p.Maximum+1, 10), false})
		}
		return all
	case "boolean":
		return []bad{{"letters", "maybe", true}, {"number", "2", true}, {"empty", "", true}}
	case "array":
		return s.badParams(t, *p.Items)
	}
	return s.badStrings(t, p.Format)
}

func (s *target) paramRows(t *testing.T, methods []method) []row {
	var rows []row
	for _, m := range methods {
		verb := http.MethodPost
		if m.query {
			verb = http.MethodGet
		}
		add := func(label string, q url.Values, lenient bool) {
			rows = append(rows, row{name: m.nsid + "/" + label, method: verb, path: "/xrpc/" + m.nsid + "?" + q.Encode(), as: m.as(), want: wanted(lenient), lenient: lenient})
		}
		base := url.Values{}
		for _, name := range m.param.Required {
			v := s.plausible(name, m.param.Properties[name])
			if list, ok := v.([]any); ok {
				v = list[0]
			}
			base.Set(name, v.(string))
		}
		for _, name := range m.param.Required {
			q := maps.Clone(base)
			q.Del(name)
			add("without "+name, q, false)
		}
		for _, name := range slices.Sorted(maps.Keys(m.param.Properties)) {
			p := m.param.Properties[name]
			for _, b := range s.badParams(t, p) {
				q := maps.Clone(base)
				q[name] = []string{b.value}
				add(name+" "+b.label, q, b.lenient)
			}
			if p.Type != "array" {
				q := maps.Clone(base)
				q[name] = []string{"a", "b"}
				add(name+" twice", q, true)
			}
		}
		q := maps.Clone(base)
		q.Set("unknown-"+strings.Repeat("p", 3000), "x")
		add("unknown parameter", q, true)
	}
	return rows
}

// wanted is the name that a bad value gets.
func wanted(lenient bool) string {
	if lenient {
		return ""
	}
	return "InvalidRequest"
}

func (s *target) inputRows(t *testing.T, methods []method) []row {
	var rows []row
	for _, m := range methods {
		if m.input == nil {
			continue
		}
		add := func(label string, in map[string]any, b bad) {
			body, err := json.Marshal(in)
			if err != nil {
				t.Fatal(err)
			}
			if b.value != "" {
				body = []byte(strings.Replace(string(body), `"@@"`, b.value, 1))
			}
			rows = append(rows, row{name: m.nsid + "/" + label, method: http.MethodPost, path: "/xrpc/" + m.nsid, as: m.as(), kind: "application/json", body: body, want: wanted(b.lenient), lenient: b.lenient})
		}
		base := map[string]any{}
		for _, name := range m.input.Required {
			base[name] = s.plausible(name, m.input.Properties[name])
		}
		for _, name := range m.input.Required {
			in := maps.Clone(base)
			delete(in, name)
			add("without "+name, in, bad{lenient: m.input.Properties[name].Default != nil})
		}
		for _, name := range slices.Sorted(maps.Keys(m.input.Properties)) {
			for _, b := range s.badInputs(t, m.input.Properties[name]) {
				in := maps.Clone(base)
				in[name] = "@@"
				add(name+" "+b.label, in, b)
			}
		}
	}
	return rows
}

// badInputs are bad values as JSON.
func (s *target) badInputs(t *testing.T, p property) []bad {
	other := map[string][]bad{
		"string":  {{"number", "123", false}, {"list", "[]", false}, {"object", "{}", false}, {"true", "true", false}},
		"integer": {{"string", `"1"`, false}, {"fraction", "1.5", false}, {"huge", "1e400", false}, {"beyond 64 bits", "99999999999999999999", false}, {"list", "[1]", false}},
		"boolean": {{"string", `"true"`, false}, {"number", "1", false}, {"list", "[]", false}},
		"array":   {{"object", "{}", false}, {"string", `"x"`, false}, {"number", "5", false}, {"numbers", "[5]", false}, {"nulls", "[null]", false}, {"lists", "[[]]", false}},
	}
	all, ok := other[p.Type]
	if !ok { // unknown, ref, union
		all = []bad{{"number", "5", false}, {"string", `"x"`, false}, {"list", "[]", false}, {"true", "true", false}}
	}
	all = append(slices.Clone(all), bad{"null", "null", true})
	if p.Type != "string" {
		return all
	}
	for _, b := range s.badStrings(t, p.Format) {
		quoted, err := json.Marshal(b.value)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(b.label, "not utf-8") {
			quoted = []byte("\"" + b.value + "\"")
		}
		all = append(all, bad{b.label, string(quoted), b.lenient})
	}
	return all
}
