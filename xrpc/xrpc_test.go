package xrpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

type listParams struct {
	Repo       syntax.AtIdentifier `query:"repo"`
	Collection syntax.NSID         `query:"collection"`
	Limit      int                 `query:"limit"`
	Cursor     *string             `query:"cursor"`
	Reverse    bool                `query:"reverse"`
}

type sessionInput struct {
	Identifier string `json:"identifier"`
	Password   string `json:"password"`
}

type recordInput struct {
	Repo       syntax.AtIdentifier `json:"repo"`
	Collection syntax.NSID         `json:"collection"`
	Record     json.RawMessage     `json:"record"`
}

type profilesParams struct {
	Actors []syntax.AtIdentifier `query:"actors"`
}

type codesInput struct {
	CodeCount int64 `json:"codeCount"`
	UseCount  int64 `json:"useCount"`
}

type userKey struct{}

func user(ctx context.Context, r *http.Request) (context.Context, error) {
	switch r.Header.Get("Authorization") {
	case "":
		return nil, AuthRequired(NameAuthMissing, "Authentication Required")
	case "Bearer alice":
		SetDID(ctx, "did:plc:alice")
		return context.WithValue(ctx, userKey{}, "alice"), nil
	}
	return nil, &Error{Status: 400, Name: "InvalidToken", Message: "Bad token"}
}

var errMapped = errors.New("mapped")

// testMux has one method of every shape, with handlers that tell what they got.
func testMux(opts Options) *Mux {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.MapError == nil {
		opts.MapError = func(err error) *Error {
			if errors.Is(err, errMapped) {
				return &Error{Status: 400, Name: "Mapped", Message: "mapped"}
			}
			return nil
		}
	}
	m := New(opts)
	Query(m, "com.atproto.repo.listRecords", nil, func(_ context.Context, p *listParams) (*map[string]any, error) {
		out := map[string]any{"repo": p.Repo, "limit": p.Limit, "reverse": p.Reverse}
		if p.Cursor != nil {
			out["cursor"] = *p.Cursor
		}
		return &out, nil
	})
	Query(m, "app.bsky.actor.getProfiles", nil, func(_ context.Context, p *profilesParams) (*map[string]any, error) {
		return &map[string]any{"actors": p.Actors}, nil
	})
	Query(m, "com.atproto.server.getSession", user, func(ctx context.Context, _ *struct{}) (*map[string]any, error) {
		return &map[string]any{"user": ctx.Value(userKey{})}, nil
	})
	Procedure(m, "com.atproto.server.createSession", nil, func(_ context.Context, in *sessionInput) (*map[string]any, error) {
		switch in.Identifier {
		case "panic":
			panic("boom")
		case "secret":
			return nil, errors.New("the database password is hunter2")
		case "mapped":
			return nil, fmt.Errorf("wrapped: %w", errMapped)
		}
		return &map[string]any{"identifier": in.Identifier}, nil
	})
	Procedure(m, "com.atproto.repo.createRecord", user, func(_ context.Context, in *recordInput) (*map[string]any, error) {
		return &map[string]any{"record": in.Record}, nil
	}, WithBodyLimit(1_000_000))
	Procedure(m, "com.atproto.server.refreshSession", nil, func(context.Context, *struct{}) (*struct{}, error) { return nil, nil })
	Procedure(m, "com.atproto.server.createInviteCodes", nil, func(_ context.Context, in *codesInput) (*codesInput, error) { return in, nil })
	Stream(m, "com.atproto.repo.uploadBlob", user, func(w http.ResponseWriter, r *http.Request) error {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/json")
		_, err = fmt.Fprintf(w, `{"size":%d,"length":%d}`, n, r.ContentLength)
		return err
	}, WithBodyLimit(2_000_000))
	Stream(m, "com.atproto.repo.importRepo", user, func(_ http.ResponseWriter, r *http.Request) error {
		_, err := io.Copy(io.Discard, r.Body)
		return err
	})
	Stream(m, "com.atproto.sync.getRepo", nil, func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Content-Type", "application/vnd.ipld.car")
		if r.URL.Query().Get("did") == "did:web:broken.example" {
			_, _ = w.Write(bytes.Repeat([]byte("car"), 5000))
			return errors.New("disk on fire")
		}
		_, err := w.Write(bytes.Repeat([]byte("car"), 5000))
		return err
	}, WithoutGlobalLimit())
	Stream(m, "com.atproto.sync.getBlocks", nil, func(w http.ResponseWriter, r *http.Request) error {
		_, err := fmt.Fprint(w, len(r.URL.Query()["cids"]))
		return err
	})
	Stream(m, "com.atproto.sync.subscribeRepos", nil, func(http.ResponseWriter, *http.Request) error {
		return InvalidRequest("upgrade required")
	})
	m.PageFunc("GET", "/xrpc/_health", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"version":"test"}`)
	}, WithCORS())
	m.PageFunc("GET", "/robots.txt", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "User-agent: *\n") })
	return m
}

func do(h http.Handler, verb, target, body string, headers ...string) *httptest.ResponseRecorder {
	var b io.Reader
	if body != "" {
		b = strings.NewReader(body)
	}
	r := httptest.NewRequest(verb, "http://pds.test/", b)
	r.URL.Path, r.URL.RawQuery, _ = strings.Cut(target, "?")
	if len(headers) == 0 && body != "" {
		headers = []string{"Content-Type", "application/json"}
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const (
	list    = "/xrpc/com.atproto.repo.listRecords?repo=alice.test&collection=a.b.c"
	session = "/xrpc/com.atproto.server.createSession"
	create  = "/xrpc/com.atproto.repo.createRecord"
	upload  = "/xrpc/com.atproto.repo.uploadBlob"
	refresh = "/xrpc/com.atproto.server.refreshSession"
)

func TestAnswers(t *testing.T) {
	h := testMux(Options{}).Handler()
	auth := []string{"Authorization", "Bearer alice", "Content-Type", "application/json"}
	for _, tc := range []struct {
		name, verb, target, body string
		headers                  []string
		status                   int
		want                     string
	}{
		{"params and defaults", "GET", list, "", nil, 200, `{"limit":50,"repo":"alice.test","reverse":false}`},
		{"all params", "GET", list + "&limit=7&reverse=true&cursor=x", "", nil, 200, `{"cursor":"x","limit":7,"repo":"alice.test","reverse":true}`},
		{"array param", "GET", "/xrpc/app.bsky.actor.getProfiles?actors=a.test&actors[]=b.test", "", nil, 200, `{"actors":["a.test","b.test"]}`},
		{"head", "HEAD", list, "", nil, 200, "-"},
		{"access", "GET", "/xrpc/com.atproto.server.getSession", "", auth, 200, `{"user":"alice"}`},
		{"body", "POST", session, `{"identifier":"a","password":"b"}`, nil, 200, `{"identifier":"a"}`},
		{"charset", "POST", session, `{"identifier":"a","password":"b"}`, []string{"Content-Type", "Application/JSON; charset=utf-8"}, 200, `{"identifier":"a"}`},
		{"record passes untouched", "POST", create, `{"repo":"a.test","collection":"a.b.c","record":{"b":1, "a":"<&>"}}`, auth, 200, `{"record":{"b":1,"a":"<&>"}}`},
		{"defaults of a body", "POST", "/xrpc/com.atproto.server.createInviteCodes", `{"useCount":2}`, nil, 200, `{"codeCount":1,"useCount":2}`},
		{"no body", "POST", refresh, "", nil, 200, ""},
		{"no body, but a type", "POST", refresh, "", []string{"Content-Type", "application/json"}, 200, ""},
		{"stream", "POST", upload, "12345", []string{"Authorization", "Bearer alice", "Content-Type", "image/png"}, 200, `{"size":5,"length":5}`},
		{"stream with brackets", "GET", "/xrpc/com.atproto.sync.getBlocks?did=did:plc:abc&cids[]=bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq", "", nil, 200, "1"},
		{"page", "GET", "/xrpc/_health", "", nil, 200, `{"version":"test"}`},
		{"page head", "HEAD", "/robots.txt", "", nil, 200, "-"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := do(h, tc.verb, tc.target, tc.body, tc.headers...)
			if w.Code != tc.status || tc.want != "-" && strings.TrimSpace(w.Body.String()) != tc.want {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if w.Header().Get("X-Request-Id") == "" {
				t.Error("no request id")
			}
		})
	}
}

func TestErrorsOfHandlers(t *testing.T) {
	var log bytes.Buffer
	h := testMux(Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}).Handler()
	for identifier, want := range map[string]string{
		"panic": "500 InternalServerError", "secret": "500 InternalServerError", "mapped": "400 Mapped",
	} {
		w := do(h, "POST", session, `{"identifier":"`+identifier+`","password":"b"}`)
		name, message := wireErr(t, w)
		if got := fmt.Sprint(w.Code, " ", name); got != want {
			t.Errorf("%s: %s", identifier, got)
		}
		id := w.Header().Get("X-Request-Id")
		if w.Code == 500 && (!strings.Contains(message, id) || strings.Contains(message, "hunter2")) {
			t.Errorf("%s: message %q", identifier, message)
		}
		if !strings.Contains(log.String(), id) {
			t.Errorf("%s: request %s is not in the log", identifier, id)
		}
	}
	if !strings.Contains(log.String(), "hunter2") || !strings.Contains(log.String(), "boom") {
		t.Error("the causes are not in the log")
	}
}

func wireErr(t *testing.T, w *httptest.ResponseRecorder) (name, message string) {
	t.Helper()
	var e struct{ Error, Message string }
	if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Error == "" || strings.ContainsAny(e.Error, " \n") {
		t.Fatalf("%d answer is no error object: %q", w.Code, w.Body)
	}
	if ct := w.Header().Get("Content-Type"); !strings.HasPrefix(ct, "application/json") {
		t.Fatalf("error of type %q", ct)
	}
	return e.Error, e.Message
}

func TestAccessHeaders(t *testing.T) {
	h := testMux(Options{}).Handler()
	w := do(h, "GET", "/xrpc/com.atproto.server.getSession", "")
	if name, _ := wireErr(t, w); w.Code != 401 || name != "AuthMissing" || w.Header().Get("WWW-Authenticate") == "" {
		t.Errorf("%d %s %v", w.Code, name, w.Header())
	}
	if w.Header().Get("Cache-Control") != "private" || !strings.Contains(strings.Join(w.Header().Values("Vary"), ","), "Authorization") {
		t.Errorf("answers to callers could be shared: %v", w.Header())
	}
	if w := do(h, "GET", list, ""); w.Header().Get("Cache-Control") != "" {
		t.Errorf("public answer is private: %v", w.Header())
	}
}

func TestCORS(t *testing.T) {
	h := testMux(Options{}).Handler()
	w := do(h, "OPTIONS", create, "", "Origin", "https://app.test", "Access-Control-Request-Method", "POST",
		"Access-Control-Request-Headers", "authorization,dpop,atproto-proxy")
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin": "*", "Access-Control-Max-Age": "86400",
		"Access-Control-Allow-Headers": "authorization,dpop,atproto-proxy",
	} {
		if got := w.Header().Get(name); w.Code != 204 || got != want {
			t.Errorf("%d %s: %q", w.Code, name, got)
		}
	}
	for _, target := range []string{list, "/xrpc/com.example.unknown.method", "/xrpc/_health", session} {
		w := do(h, "GET", target, "")
		if w.Header().Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(w.Header().Get("Access-Control-Expose-Headers"), "DPoP-Nonce") {
			t.Errorf("%s: %d %v", target, w.Code, w.Header())
		}
	}
	if w := do(h, "GET", "/robots.txt", ""); w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Error("pages must ask for CORS")
	}
}

func TestFallbackGetsUnknownMethods(t *testing.T) {
	var got string
	m := testMux(Options{Fallback: func(w http.ResponseWriter, r *http.Request) error {
		b, _ := io.ReadAll(r.Body)
		got = r.Method + " " + NSID(r.Context()) + " " + string(b)
		if NSID(r.Context()) == "com.example.fails.now" {
			return NewError(502, NameUpstreamFailure, "Upstream is gone")
		}
		w.WriteHeader(http.StatusTeapot)
		return nil
	}})
	if w := do(m.Handler(), "POST", "/xrpc/app.bsky.feed.sendInteractions", "{}"); w.Code != 418 || got != "POST app.bsky.feed.sendInteractions {}" {
		t.Errorf("%d %s", w.Code, got)
	}
	w := do(m.Handler(), "GET", "/xrpc/com.example.fails.now", "")
	if name, _ := wireErr(t, w); w.Code != 502 || name != "UpstreamFailure" {
		t.Errorf("%d %s", w.Code, name)
	}
	got = ""
	if w := do(m.Handler(), "GET", "/xrpc/not-an-nsid", ""); w.Code != 400 || got != "" {
		t.Errorf("an invalid NSID went to the fallback: %d %s", w.Code, got)
	}
	m.opts.RateLimits.Global = &RateLimit{Points: 1, Window: time.Minute}
	m = testMux(m.opts)
	do(m.Handler(), "GET", "/xrpc/com.example.some.method", "")
	got = ""
	if w := do(m.Handler(), "GET", "/xrpc/com.example.some.method", ""); w.Code != 429 || got != "" {
		t.Errorf("beyond the limit: %d %s", w.Code, got)
	}
}

func TestRequestIDsFromOutside(t *testing.T) {
	h := testMux(Options{}).Handler()
	for given, kept := range map[string]bool{"abc-123._X": true, "": false, "a b": false, "a\nb": false, strings.Repeat("x", 65): false, "<script>": false} {
		w := do(h, "GET", "/robots.txt", "", "X-Request-Id", given)
		if id := w.Header().Get("X-Request-Id"); (id == given) != kept || id == "" {
			t.Errorf("%q became %q", given, id)
		}
	}
}

func TestRegistrationMistakesPanic(t *testing.T) {
	for name, register := range map[string]func(*Mux){
		"twice": func(m *Mux) {
			Procedure(m, "com.atproto.server.createSession", nil, func(context.Context, *struct{}) (*struct{}, error) { return nil, nil })
		},
		"wrong kind": func(m *Mux) {
			Query(m, "com.atproto.server.deleteSession", nil, func(context.Context, *struct{}) (*struct{}, error) { return nil, nil })
		},
		"not in the catalog": func(m *Mux) {
			Query(m, "com.example.my.method", nil, func(context.Context, *struct{}) (*struct{}, error) { return nil, nil })
		},
		"no such parameter": func(m *Mux) {
			Query(m, "com.atproto.sync.getHead", nil, func(context.Context, *listParams) (*struct{}, error) { return nil, nil })
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			register(testMux(Options{}))
		}()
	}
}

type page1 struct{ n int }

func (p *page1) AppendJSON(dst []byte) ([]byte, error) {
	if p.n < 0 {
		return nil, errors.New("row is corrupt")
	}
	return fmt.Appendf(dst, `{"n":%d}`, p.n), nil
}

func TestOutputsThatWriteThemselves(t *testing.T) {
	m := New(Options{Logger: slog.New(slog.DiscardHandler)})
	Query(m, "com.atproto.repo.listRecords", nil, func(_ context.Context, p *listParams) (*page1, error) { return &page1{p.Limit - 2}, nil })
	if w := do(m.Handler(), "GET", list+"&limit=9", ""); w.Body.String() != `{"n":7}` || w.Header().Get("Content-Length") != "7" {
		t.Errorf("%s %v", w.Body, w.Header())
	}
	w := do(m.Handler(), "GET", list+"&limit=1", "")
	if name, message := wireErr(t, w); w.Code != 500 || name != NameInternal || strings.Contains(message, "corrupt") {
		t.Errorf("%d %s %s", w.Code, name, message)
	}
}

func TestErrorsReplaceWhatWasNotSentYet(t *testing.T) {
	m := New(Options{Logger: slog.New(slog.DiscardHandler)})
	Stream(m, "com.atproto.sync.getRepo", nil, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", "application/vnd.ipld.car")
		_, _ = io.WriteString(w, "beginning")
		return InvalidRequest("No such repo")
	})
	w := do(m.Handler(), "GET", "/xrpc/com.atproto.sync.getRepo?did=did:plc:a", "", "Accept-Encoding", "gzip")
	if name, _ := wireErr(t, w); w.Code != 400 || name != NameInvalidRequest {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestOneLogLineForEachRequest(t *testing.T) {
	var log bytes.Buffer
	h := testMux(Options{Logger: slog.New(slog.NewJSONHandler(&log, nil))}).Handler()
	do(h, "GET", "/xrpc/com.atproto.server.getSession?token=hush", "", "Authorization", "Bearer alice", "X-Request-Id", "r1")
	var line struct {
		ID, Verb, Method, DID, IP string
		Status, Bytes             int
		Took                      int64
	}
	if err := json.Unmarshal(log.Bytes(), &line); err != nil {
		t.Fatalf("%v: %s", err, log.String())
	}
	if line.ID != "r1" || line.Verb != "GET" || line.Method != "com.atproto.server.getSession" || line.DID != "did:plc:alice" ||
		line.IP != "192.0.2.1" || line.Status != 200 || line.Bytes != len(`{"user":"alice"}`) || line.Took <= 0 {
		t.Errorf("%s", log.String())
	}
	if strings.Contains(log.String(), "Bearer") || strings.Contains(log.String(), "hush") {
		t.Errorf("credentials in the log: %s", log.String())
	}
}
