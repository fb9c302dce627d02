package xrpc

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
)

func gzipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.String()
}

type hostile struct {
	name, verb, target, body string
	headers                  []string
	status                   int
	error                    string
}

// hostileRequests lists what strangers may send; each row must be refused by status and name.
func hostileRequests() []hostile {
	rows := hostilePaths()
	rows = append(rows, hostileVerbs()...)
	rows = append(rows, hostileParams()...)
	rows = append(rows, hostileBodies()...)
	return append(rows, hostileHeaders()...)
}

func hostilePaths() (rows []hostile) {
	long := "com." + strings.Repeat("a.", 200) + "x"
	for path, want := range map[string]string{
		"/xrpc":    "404 XRPCNotSupported",
		"/xrpc/":   "404 XRPCNotSupported",
		"/xrpc//":  "404 XRPCNotSupported",
		"/xrpc///": "404 XRPCNotSupported",
		"/xrpc//com.atproto.server.describeServer":   "400 InvalidRequest",
		"/xrpc/com.atproto.repo.listRecords/":        "400 InvalidRequest",
		"/xrpc/com.atproto.repo.listRecords//":       "400 InvalidRequest",
		"/xrpc/com.atproto.repo.listRecords/x":       "400 InvalidRequest",
		"/xrpc/../xrpc/com.atproto.repo.listRecords": "400 InvalidRequest",
		"/xrpc/./com.atproto.repo.listRecords":       "400 InvalidRequest",
		"/xrpc/..":                                   "400 InvalidRequest",
		"/xrpc/%2e%2e/etc/passwd":                    "400 InvalidRequest",
		"/xrpc/%2e":                                  "400 InvalidRequest",
		"/xrpc/com%2eatproto%2erepo%2elistRecords":   "400 InvalidRequest",
		"/xrpc/com.atproto.repo.listRecords%00":      "400 InvalidRequest",
		"/xrpc/com.atproto.repo.listRecords\x00":     "400 InvalidRequest",
		"/xrpc/\x00":                                 "400 InvalidRequest",
		"/xrpc/com.atproto.repo.listRecords\n":       "400 InvalidRequest",
		"/xrpc/com.atproto.repo.listRecords ":        "400 InvalidRequest",
		"/xrpc/com.atproto.repo.listRecords;a=b":     "400 InvalidRequest",
		"/xrpc/com.atproto.repo.listRecords#main":    "400 InvalidRequest",
		"/xrpc/com.atproto.repo.listRecord\u017f":    "400 InvalidRequest",
		"/xrpc/com.atproto.repo.*":                   "400 InvalidRequest",
		"/xrpc/*":                                    "400 InvalidRequest",
		"/xrpc/:nsid":                                "400 InvalidRequest",
		"/xrpc/com.atproto":                          "400 InvalidRequest",
		"/xrpc/com":                                  "400 InvalidRequest",
		"/xrpc/.":                                    "400 InvalidRequest",
		"/xrpc/com..atproto.x":                       "400 InvalidRequest",
		"/xrpc/1om.atproto.x":                        "400 InvalidRequest",
		"/xrpc/com.atproto.1x":                       "400 InvalidRequest",
		"/xrpc/com.atproto.a-b":                      "400 InvalidRequest",
		"/xrpc/-com.atproto.x":                       "400 InvalidRequest",
		"/xrpc/com.at proto.x":                       "400 InvalidRequest",
		"/xrpc/com.atproto.\xff":                     "400 InvalidRequest",
		"/xrpc/com.atproto.exämple":                  "400 InvalidRequest",
		"/xrpc/" + long:                              "400 InvalidRequest",
		"/xrpc/" + strings.Repeat("a", 100_000):      "400 InvalidRequest",
		"/xrpc/" + strings.Repeat("../", 1000):       "400 InvalidRequest",
		"/xrpc/_health/x":                            "400 InvalidRequest",
		"/xrpc/com.atproto.sync.notifyOfUpdate":      "501 MethodNotImplemented",
		"/xrpc/com.atproto.server.doesNotExist":      "404 XRPCNotSupported",
		"/xrpc/com.atproto.repo.LISTRECORDS":         "404 XRPCNotSupported",
		"/xrpc/app.bsky.feed.post":                   "404 XRPCNotSupported",
		"/XRPC/com.atproto.repo.listRecords":         "404 NotFound",
		"//xrpc/com.atproto.repo.listRecords":        "404 NotFound",
		"/pds/xrpc/com.atproto.repo.listRecords":     "404 NotFound",
		"/xrpccom.atproto.repo.listRecords":          "404 NotFound",
		"/robots.txt/":                               "404 NotFound",
		"/../robots.txt":                             "404 NotFound",
		"/.git/config":                               "404 NotFound",
		"/":                                          "404 NotFound",
		"":                                           "404 NotFound",
	} {
		rows = append(rows, row("GET", path, "", want))
	}
	return rows
}

func row(verb, target, body, want string, headers ...string) hostile {
	r := hostile{name: verb + " " + target, verb: verb, target: target, body: body, headers: headers}
	_, _ = fmt.Sscan(want, &r.status, &r.error)
	return r
}

func hostileVerbs() (rows []hostile) {
	for _, verb := range []string{"PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "REPORT", "BREW", "get", "post", "G", strings.Repeat("X", 5000)} {
		for _, target := range []string{list, session, refresh, "/xrpc/com.atproto.sync.subscribeRepos", "/xrpc/com.example.no.such", upload} {
			rows = append(rows, row(verb, target, "", "400 InvalidRequest"))
		}
		rows = append(rows, row(verb, "/robots.txt", "", "405 InvalidRequest"))
	}
	return append(rows,
		row("POST", list, `{}`, "400 InvalidRequest"),
		row("GET", session, "", "400 InvalidRequest"),
		row("HEAD", session, "", "400 -"),
		row("HEAD", "/xrpc/com.atproto.sync.subscribeRepos", "", "400 -"),
		row("POST", "/robots.txt", "x", "405 InvalidRequest"),
		row("POST", "/nowhere", "x", "404 NotFound"))
}

func hostileParams() (rows []hostile) {
	const base = "/xrpc/com.atproto.repo.listRecords?"
	for _, query := range []string{
		"", "repo=alice.test", "collection=a.b.c", "repo=&collection=a.b.c", "repo=alice.test&collection=",
		"repo=alice&collection=a.b.c", "repo=did:&collection=a.b.c", "repo=did:plc:&collection=a.b.c",
		"repo=alice.test&collection=a", "repo=alice.test&collection=a.b.c%00", "repo=alice.test%00&collection=a.b.c",
		"repo=alice.test&collection=a.b.c&limit=-1", "repo=alice.test&collection=a.b.c&limit=0", "repo=alice.test&collection=a.b.c&limit=101",
		"repo=alice.test&collection=a.b.c&limit=1e2", "repo=alice.test&collection=a.b.c&limit=0x10", "repo=alice.test&collection=a.b.c&limit=10.0",
		"repo=alice.test&collection=a.b.c&limit=NaN", "repo=alice.test&collection=a.b.c&limit=%2010", "repo=alice.test&collection=a.b.c&limit=1_0",
		"repo=alice.test&collection=a.b.c&limit=9223372036854775808", "repo=alice.test&collection=a.b.c&limit=null",
		"repo=alice.test&collection=a.b.c&limit=5&limit=6", "repo=alice.test&collection=a.b.c&limit=٣",
		"repo=alice.test&collection=a.b.c&reverse=1", "repo=alice.test&collection=a.b.c&reverse=TRUE", "repo=alice.test&collection=a.b.c&reverse=on",
		"repo=alice.test&repo=bob.test&collection=a.b.c", "repo[]=alice.test&collection=a.b.c", "repo[0]=alice.test&collection=a.b.c",
		"repo=alice.test&collection=a.b.c&cursor=%", "repo=alice.test&collection=a.b.c&cursor=%f", "repo=alice.test&collection=a.b.c&cursor=%ff%fe",
		"repo=alice.test&collection=a.b.c&%zz=1", "repo=alice.test&collection=a.b.c&cursor=\xff", "REPO=alice.test&collection=a.b.c",
		"repo=alice.test;collection=a.b.c", "repo=alice.test%26collection=a.b.c", "__proto__=x", "constructor=x&repo[__proto__]=y",
		"repo=" + strings.Repeat("a", 300) + ".test&collection=a.b.c", "repo=did:plc:" + strings.Repeat("a", 3000) + "&collection=a.b.c",
		"x=" + strings.Repeat("a", 70_000), strings.Repeat("a&", 40_000), "repo=<script>&collection=a.b.c", "repo=' OR 1=1--&collection=a.b.c",
		"repo=at://alice.test&collection=a.b.c", "repo=alice.test.&collection=a.b.c", "repo=.test&collection=a.b.c",
		"repo=alice.test&collection=A..b.c", "repo=@alice.test&collection=a.b.c", "repo=did:PLC:abc&collection=a.b.c",
	} {
		rows = append(rows, row("GET", base+query, "", "400 InvalidRequest"))
	}
	for _, query := range []string{
		"", "actors=", "actors=!", "actors=a.test&actors=b", "actors[x]=a.test", "actors[0=a.test", strings.Repeat("actors=a.test&", 26),
		"actors[0][1]=a.test", "actors.0=a.test", strings.Repeat("actors[]=a.test&", 5000),
	} {
		rows = append(rows, row("GET", "/xrpc/app.bsky.actor.getProfiles?"+query, "", "400 InvalidRequest"))
	}
	return append(rows,
		row("GET", "/xrpc/com.atproto.sync.getRepo", "", "400 InvalidRequest"),
		row("GET", "/xrpc/com.atproto.sync.getRepo?did=alice.test", "", "400 InvalidRequest"),
		row("GET", "/xrpc/com.atproto.sync.getRepo?did=did:plc:a&since=yesterday", "", "400 InvalidRequest"),
		row("GET", "/xrpc/com.atproto.sync.subscribeRepos?cursor=latest", "", "400 InvalidRequest"),
		row("GET", "/xrpc/com.atproto.sync.subscribeRepos", "", "400 InvalidRequest"))
}

func hostileBodies() (rows []hostile) {
	nested := func(open, close string, n int) string { return strings.Repeat(open, n) + strings.Repeat(close, n) }
	for _, body := range []string{
		"", " ", "null", "true", "1", `"x"`, "[]", "{}", "{", "}", "{]", "[", "{}{}", "{},", "\x00", "\xef\xbb\xbf{}", "{'identifier':'a'}",
		`{"identifier":"a"}`, `{"password":"b"}`, `{"identifier":1,"password":"b"}`, `{"identifier":null,"password":"b"}`,
		`{"identifier":["a"],"password":"b"}`, `{"identifier":{"a":1},"password":"b"}`, `{"identifier":true,"password":"b"}`,
		`{"identifier":"a","password":"b"`, `{"identifier":"a","password":"b"}}`, `{"identifier":"a","password":"b"} {"x":1}`,
		`{"identifier":"a","password":"b",}`, `{"identifier":"a",,"password":"b"}`, `{"identifier" "a","password":"b"}`, `{identifier:"a","password":"b"}`,
		`{"identifier":"a","identifier":"b","password":"c"}`, `{"identifier":"a","password":"b","IDENTIFIER":"c"}`, `{"Identifier":"a","Password":"b"}`,
		"{\"identifier\":\"\xff\",\"password\":\"b\"}", "{\"identifier\":\"\xed\xa0\x80\",\"password\":\"b\"}", `{"identifier":"\ud800","password":"b"}`,
		"{\"identifier\":\"a\nb\",\"password\":\"b\"}", `{"identifier":"\q","password":"b"}`, `{"identifier":"\u00","password":"b"}`,
		`{"identifier":"a","password":"b","n":1e}`, `{"identifier":"a","password":"b","n":.5}`, `{"identifier":"a","password":"b","n":+1}`, `{"identifier":"a","password":"b","n":NaN}`,
		`{"identifier":"a","password":"b","n":0x1}`, `{"identifier":"a","password":"b","n":Infinity}`, `{"identifier":"a","password":"b","n":undefined}`,
		`{"identifier":"a","password":"b" /* c */}`, `{"identifier":"a","authFactorToken":5,"password":"b"}`,
		nested("[", "]", 10_000), nested(`{"a":`, "}", 10_000), `{"identifier":"a","password":"b","x":` + nested("[", "]", 100) + "}",
		strings.Repeat("[", 100_000), `{"identifier":"` + strings.Repeat("a", 1000), "identifier=a&password=b", "<xml/>",
	} {
		r := row("POST", session, body, "400 InvalidRequest", "Content-Type", "application/json")
		r.name = fmt.Sprintf("body %.60q", body)
		rows = append(rows, r)
	}
	for _, body := range []string{
		`{}`, `{"repo":"a.test"}`, `{"repo":"a.test","collection":"a.b.c"}`, `{"repo":"a.test","collection":"a.b.c","record":null}`,
		`{"repo":"a.test","collection":"a.b.c","record":[]}`, `{"repo":"a.test","collection":"a.b.c","record":"x"}`, `{"repo":"a.test","collection":"a.b.c","record":{"a":}}`,
		`{"repo":"a.test","collection":"abc","record":{}}`, `{"repo":"did:x","collection":"a.b.c","record":{}}`, `{"repo":"a.test","collection":"a.b.c","record":{},"rkey":"."}`,
		`{"repo":"a.test","collection":"a.b.c","record":{},"rkey":"a/b"}`, `{"repo":"a.test","collection":"a.b.c","record":{},"rkey":"` + strings.Repeat("k", 513) + `"}`,
		`{"repo":"a.test","collection":"a.b.c","record":{},"rkey":""}`, `{"repo":"a.test","collection":"a.b.c","record":{},"rkey":"é"}`,
		`{"repo":"a.test","collection":"a.b.c","record":{},"swapCommit":"nope!"}`, `{"repo":"a.test","collection":"a.b.c","record":{},"validate":1}`,
		`{"repo":"a.test","collection":"a.b.c","record":` + nested(`{"a":`, "}", 100) + `}`,
	} {
		r := row("POST", create, body, "400 InvalidRequest", "Content-Type", "application/json", "Authorization", "Bearer alice")
		r.name = fmt.Sprintf("record %.60q", body)
		rows = append(rows, r)
	}
	big := `{"identifier":"a","password":"` + strings.Repeat("x", 200_000) + `"}`
	return append(rows,
		hostile{"big body", "POST", session, big, []string{"Content-Type", "application/json"}, 413, NamePayloadTooLarge},
		hostile{"big record", "POST", create, strings.Repeat(" ", 1_000_001), []string{"Content-Type", "application/json", "Authorization", "Bearer alice"}, 413, NamePayloadTooLarge},
		hostile{"big blob", "POST", upload, strings.Repeat(" ", 2_000_001), []string{"Content-Type", "image/png", "Authorization", "Bearer alice"}, 413, NamePayloadTooLarge},
		hostile{"gzip bomb", "POST", session, gzipped(big), []string{"Content-Type", "application/json", "Content-Encoding", "gzip"}, 413, NamePayloadTooLarge},
		hostile{"gzip bomb in a blob", "POST", upload, gzipped(strings.Repeat("0", 50_000_000)), []string{"Content-Type", "image/png", "Content-Encoding", "gzip", "Authorization", "Bearer alice"}, 413, NamePayloadTooLarge},
		hostile{"no gzip", "POST", session, `{"identifier":"a","password":"b"}`, []string{"Content-Type", "application/json", "Content-Encoding", "gzip"}, 400, NameInvalidRequest},
		hostile{"half a gzip", "POST", session, gzipped(`{"identifier":"a","password":"b"}`)[:20], []string{"Content-Type", "application/json", "Content-Encoding", "gzip"}, 400, NameInvalidRequest},
		hostile{"no zstd", "POST", session, "xxxx", []string{"Content-Type", "application/json", "Content-Encoding", "zstd"}, 400, NameInvalidRequest},
		hostile{"no deflate", "POST", session, "\xff\xff\xff", []string{"Content-Type", "application/json", "Content-Encoding", "deflate"}, 400, NameInvalidRequest},
		hostile{"broken blob", "POST", upload, "xxxx", []string{"Content-Type", "image/png", "Content-Encoding", "gzip", "Authorization", "Bearer alice"}, 400, NameInvalidRequest},
		hostile{"body for none", "POST", refresh, "{}", []string{"Content-Type", "application/json"}, 400, NameInvalidRequest},
		hostile{"empty blob", "POST", upload, "", []string{"Content-Type", "image/png", "Authorization", "Bearer alice"}, 400, NameInvalidRequest})
}

func hostileHeaders() (rows []hostile) {
	const ok = `{"identifier":"a","password":"b"}`
	for _, ct := range []string{"", " ", ";", "text/plain", "application/jsonp", "application", "json", "*/*", "application/x-www-form-urlencoded",
		"multipart/form-data; boundary=x", "application/json, text/plain", "application/ld+json", "\x00", strings.Repeat("a/", 5000)} {
		r := row("POST", session, ok, "400 InvalidRequest", "Content-Type", ct)
		r.name = fmt.Sprintf("content type %.40q", ct)
		rows = append(rows, r)
	}
	for _, ct := range []string{"", "image", "image/png/x", ";x=y"} {
		r := row("POST", upload, "x", "400 InvalidRequest", "Content-Type", ct, "Authorization", "Bearer alice")
		r.name = fmt.Sprintf("blob type %.40q", ct)
		rows = append(rows, r)
	}
	for _, ce := range []string{"br", "compress", "gzip, br", "identity, br", "x", "gzip gzip", "\x00", "gzip,gzip,gzip", strings.Repeat("gzip,", 1000)} {
		r := row("POST", session, ok, "415 UnsupportedMediaType", "Content-Type", "application/json", "Content-Encoding", ce)
		r.name = fmt.Sprintf("content encoding %.40q", ce)
		rows = append(rows, r)
	}
	for _, auth := range []string{"Bearer", "Bearer ", "Bearer x", "Basic \xff", "bearer alice", "Bearer alice alice", strings.Repeat("A", 50_000)} {
		r := row("GET", "/xrpc/com.atproto.server.getSession", "", "400 InvalidToken", "Authorization", auth)
		r.name = fmt.Sprintf("authorization %.40q", auth)
		rows = append(rows, r)
	}
	return append(rows,
		row("GET", "/xrpc/com.atproto.server.getSession", "", "401 AuthMissing"),
		row("POST", create, ok, "401 AuthMissing"),
		row("POST", upload, strings.Repeat("x", 5_000_000), "401 AuthMissing", "Content-Type", "image/png"),
		row("POST", "/xrpc/com.atproto.repo.importRepo", "x", "400 InvalidRequest", "Content-Type", "application/json", "Authorization", "Bearer alice"))
}

func TestHostileRequestsAreRefusedByName(t *testing.T) {
	h := testMux(Options{}).Handler()
	rows := hostileRequests()
	if len(rows) < 200 {
		t.Errorf("only %d rows", len(rows))
	}
	for _, r := range rows {
		t.Run(fmt.Sprintf("%.100q", r.name), func(t *testing.T) {
			w := do(h, r.verb, r.target, r.body, append(r.headers, "X-Test", "1")...)
			if r.error == "-" {
				if w.Code != r.status {
					t.Errorf("%d, want %d", w.Code, r.status)
				}
				return
			}
			name, message := wireErr(t, w)
			if w.Code != r.status || name != r.error {
				t.Errorf("%d %s (%s), want %d %s", w.Code, name, message, r.status, r.error)
			}
			if len(message) > 1000 {
				t.Errorf("the answer repeats %d bytes", len(message))
			}
			if w.Code == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") == "" {
				t.Error("no challenge")
			}
		})
	}
}
