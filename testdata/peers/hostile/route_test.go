package hostile

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
)

const (
	recordNSID = "com.atproto.repo.createRecord"
	getNSID    = "com.atproto.repo.getRecord"
	jsonKind   = "application/json"
)

// routeRows are wrong paths and verbs.
func (s *target) routeRows() []row {
	var rows []row
	for _, p := range []string{
		"/xrpc/", "/xrpc", "/xrpc//", "/xrpc/foo", "/xrpc/com.atproto", "/xrpc/com.atproto.", "/xrpc/.com.atproto.repo", "/xrpc/com.atproto.repo.getRecord/",
		"/xrpc/com.atproto.repo.getRecord/extra", "/xrpc/com.atproto.repo.getRecord%00", "/xrpc/com.atproto.repo.getRecord%2f..%2f..",
		"/xrpc/..%2f..%2fetc%2fpasswd", "/xrpc/%2e%2e/%2e%2e/etc/passwd", "/xrpc/../../etc/passwd", "/xrpc/com.atproto.repo.getRecord;x=1",
		"/xrpc/com.atproto.repo.get%20Record", "/xrpc/com.atproto.repo.get_record", "/xrpc/*", "/xrpc/{nsid}", "/xrpc/:nsid", "/xrpc/com.atproto.repo.*",
		"/xrpc/" + strings.Repeat("a", 5000), "/xrpc/" + strings.Repeat("a.", 300) + "b", "/xrpc/com.example.unknown.method", "/xrpc/%ff%fe", "/xrpc/a%0d%0aSet-Cookie:x",
		"/xrpc/com.atproto.admin.noSuchMethod", "/xrpc/com.atproto.sync.noSuchMethod", "/xrpc/app.bsky.feed.getTimeline", "/xrpc/chat.bsky.convo.listConvos",
	} {
		rows = append(rows, row{name: "path " + p[:min(len(p), 60)], path: p, page: true})
	}
	for _, p := range []string{
		"/../../../etc/passwd", "/..%2f..%2fperch.db", "/.env", "/.git/config", "/perch.db", "/data/perch.db", "/.well-known/../perch.db", "/.well-known/", "/%00",
		"/blobs/", "/debug/pprof/", "/metrics/../../x", "//evil.example/xrpc", "/XRPC/com.atproto.server.describeServer", "/.well-known/atproto-did", "/index.php?x=<script>",
	} {
		rows = append(rows, row{name: "page " + p, path: p, page: true})
	}
	for _, verb := range []string{"POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "get", "G\u00c9T"} {
		rows = append(rows, row{name: "query by " + verb, method: verb, path: "/xrpc/com.atproto.server.describeServer", body: []byte{}, page: verb != "POST"})
	}
	for _, verb := range []string{"GET", "HEAD", "PUT", "DELETE", "PATCH"} {
		rows = append(rows, row{name: "procedure by " + verb, method: verb, path: "/xrpc/" + recordNSID, as: alice, page: verb != "GET"})
	}
	for i, q := range []string{"?%", "?%zz", "?a=%", "?=&=&", "?&&&&", "?repo", "?repo=" + strings.Repeat("%41", 3000), "?repo;collection", "?repo=%00&collection=%00&rkey=%00",
		"?" + strings.Repeat("a=b&", 4000), "?repo[]=a&repo[x]=b&collection={}&rkey=()"} {
		rows = append(rows, row{name: fmt.Sprintf("query string %d", i), path: "/xrpc/" + getNSID + q, page: i < 3})
	}
	return rows
}

// jsonRows are bodies that are not the JSON object that a procedure wants.
func (s *target) jsonRows(methods []method) []row {
	var rows []row
	for _, m := range methods {
		if m.input == nil || len(m.input.Required) == 0 {
			continue
		}
		for label, body := range notObjects() {
			rows = append(rows, row{name: m.nsid + "/" + label, method: "POST", path: "/xrpc/" + m.nsid, as: m.as(), kind: jsonKind, body: []byte(body), want: "InvalidRequest|PayloadTooLarge"})
		}
		for label, kind := range map[string]string{"no type": "", "text": "text/plain", "bytes": "application/octet-stream", "form": "application/x-www-form-urlencoded",
			"multipart": "multipart/form-data; boundary=x", "garbage": ";;;", "cbor": "application/cbor", "car": "application/vnd.ipld.car", "xml": "text/xml"} {
			rows = append(rows, row{name: m.nsid + "/type " + label, method: "POST", path: "/xrpc/" + m.nsid, as: m.as(), kind: kind, body: []byte(`{}`), want: "InvalidRequest|UnsupportedMediaType"})
		}
	}
	return rows
}

func notObjects() map[string]string {
	return map[string]string{
		"empty": "", "space": " \n", "open": "{", "cut string": `{"a":"b`, "null": "null", "list": "[]", "string": `"x"`, "number": "7", "true": "true",
		"two": "{} {}", "trailing comma": `{"a":1,}`, "single quotes": `{'a':1}`, "bare key": `{a:1}`, "comment": `{/* */}`, "byte order mark": "\ufeff{}",
		"NaN": `{"a":NaN}`, "Infinity": `{"a":-Infinity}`, "leading zero": `{"a":01}`, "hex": `{"a":0x1}`, "bad escape": `{"a":"\x"}`, "cut escape": `{"a":"\u12"}`,
		"raw newline": "{\"a\":\"b\nc\"}", "nul": "{\"a\":\"b\x00\"}", "utf-16": "\xff\xfe{\x00}\x00", "cbor": "\xa1\x61a\x01", "gzip": "\x1f\x8b\x08\x00\x00",
		"deep lists": strings.Repeat("[", 20000), "deep objects": strings.Repeat(`{"a":`, 20000), "deep closed": strings.Repeat("[", 20000) + strings.Repeat("]", 20000),
		"deep closed object": `{"a":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + "}",
	}
}

// headerRows are headers that lie or do not fit.
func (s *target) headerRows() []row {
	good := s.validPost("x")
	path := "/xrpc/" + recordNSID
	post := func(name string, h http.Header, body []byte) row {
		return row{name: name, method: "POST", path: path, as: alice, kind: jsonKind, header: h, body: body, want: "InvalidRequest|UnsupportedMediaType|PayloadTooLarge"}
	}
	encoding := func(v string) http.Header { return http.Header{"Content-Encoding": {v}} }
	rows := []row{
		post("gzip that is none", encoding("gzip"), good),
		post("gzip cut short", encoding("gzip"), zipped(good)[:20]),
		post("gzip bomb", encoding("gzip"), zipped(bytes.Repeat([]byte(" "), 50<<20))),
		post("gzip bomb of a record", encoding("gzip"), zipped(s.validPost(strings.Repeat("A", 20<<20)))),
		post("gzip twice", encoding("gzip, gzip"), zipped(zipped(bytes.Repeat([]byte(" "), 20<<20)))),
		post("deflate that is none", encoding("deflate"), good),
		post("br that is none", encoding("br"), good),
		post("zstd that is none", encoding("zstd"), good),
		post("unknown encoding", encoding("rot13"), good),
		{name: "garbage encoding", method: "POST", path: path, as: alice, kind: jsonKind, header: encoding("\x01\x02"), body: good, page: true},
		{name: "oversize", method: "POST", path: path, as: alice, kind: jsonKind, body: s.validPost(strings.Repeat("A", 3<<20)), want: "PayloadTooLarge", status: []int{413}},
		{name: "oversize session", method: "POST", path: "/xrpc/com.atproto.server.createSession", kind: jsonKind, body: []byte(`{"identifier":"` + strings.Repeat("a", 2<<20) + `","password":"x"}`), want: "PayloadTooLarge", status: []int{413}},
		{name: "oversize blob", method: "POST", path: "/xrpc/com.atproto.repo.uploadBlob", as: alice, kind: "image/png", body: make([]byte, 6<<20), want: "PayloadTooLarge", status: []int{413}},
		{name: "blob without type", method: "POST", path: "/xrpc/com.atproto.repo.uploadBlob", as: alice, body: []byte("x"), want: "InvalidRequest"},
		{name: "blob with a bad type", method: "POST", path: "/xrpc/com.atproto.repo.uploadBlob", as: alice, kind: "no type at all", body: []byte("x"), lenient: true},
		{name: "blob with a long type", method: "POST", path: "/xrpc/com.atproto.repo.uploadBlob", as: alice, kind: "image/" + strings.Repeat("x", 5000), body: []byte("x"), lenient: true},
		{name: "empty blob", method: "POST", path: "/xrpc/com.atproto.repo.uploadBlob", as: alice, kind: "image/png", body: []byte{}, lenient: true},
		{name: "long user agent", path: "/xrpc/com.atproto.server.getSession", header: http.Header{"User-Agent": {strings.Repeat("u", 6000)}}},
	}
	for i, v := range []string{"x", "did:web:example.com", "did:web:example.com#", "#x", "did:web:exa mple.com#x", "did:plc:" + strings.Repeat("a", 24) + "#bsky_appview", "did:web:127.0.0.1#x",
		"did:web:localhost%3A22#x", "did:web:169.254.169.254#x", "did:web:[::1]#x", "https://example.com", "did:web:example.com#x#y", strings.Repeat("d", 5000), "did:key:zQ3sh#x"} {
		rows = append(rows, row{name: fmt.Sprintf("atproto-proxy %d", i), path: "/xrpc/app.bsky.feed.getTimeline", as: alice, header: http.Header{"Atproto-Proxy": {v}}, status: []int{400, 401, 403, 404}})
	}
	for i, v := range []string{"bytes=-", "bytes=9-1", "bytes=0-0,1-1", "lines=1-2", "bytes=99999999999999999999-", "bytes=" + strings.Repeat("0-0,", 2000) + "0-0", "bytes=-0", "bytes=a-b", "="} {
		rows = append(rows, row{name: fmt.Sprintf("range %d", i), path: "/xrpc/com.atproto.sync.getBlob?did=" + s.alice.DID + "&cid=" + s.record.CID, header: http.Header{"Range": {v}}})
	}
	for name, v := range map[string]string{"Accept-Encoding": "gzip;q=abc, br;q=9, *;;;", "Accept": "\x7f\x01", "If-None-Match": `"` + strings.Repeat("x", 5000), "X-Forwarded-For": strings.Repeat("1,", 2000) + "::::", "Origin": "null\x01",
		"Accept-Language": strings.Repeat("xx-", 2000), "Forwarded": `for="[`, "X-Request-Id": "a\tb<script>", "Atproto-Accept-Labelers": strings.Repeat("did:plc:x;redact,", 500)} {
		rows = append(rows, row{name: "header " + name, path: "/xrpc/com.atproto.server.describeServer", header: http.Header{name: {v}}, lenient: true, page: true})
	}
	return rows
}

func zipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func (s *target) validPost(text string) []byte {
	return fmt.Appendf(nil, `{"repo":%q,"collection":"app.bsky.feed.post","record":{"$type":"app.bsky.feed.post","text":%q,"createdAt":"2026-01-01T00:00:00Z"}}`, s.alice.DID, text)
}
