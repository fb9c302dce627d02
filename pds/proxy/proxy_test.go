package proxy

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity"
)

const (
	alice   = syntax.DID("did:plc:aliceaaaaaaaaaaaaaaaaaaa")
	appView = syntax.DID("did:web:api.example.com")
	service = "did:web:label.example.com"
)

// docs is a DIDResolver that knows what is in the map.
type docs map[syntax.DID]string // DID to the endpoint of its service #atproto_labeler

func (d docs) ResolveDID(_ context.Context, did syntax.DID) (*identity.Document, error) {
	endpoint, ok := d[did]
	if !ok {
		return nil, identity.ErrNotFound
	}
	return &identity.Document{DID: did, Services: []identity.Service{{ID: "#atproto_labeler", Type: "AtprotoLabeler", Endpoint: endpoint}}}, nil
}

func signForTest(_ context.Context, user syntax.DID, aud, lxm string) (string, error) {
	return fmt.Sprintf("token:%s:%s:%s", user, aud, lxm), nil
}

// pds is a server that passes everything on, and an upstream for it.
type pds struct {
	t        *testing.T
	url      string
	upstream *httptest.Server
	proxy    *Proxy
	caller   Caller
	errs     chan error // what Serve returned, one for each request
}

func newPDS(t *testing.T, h http.HandlerFunc, change func(*Options)) *pds {
	t.Helper()
	p := &pds{t: t, caller: Caller{DID: alice, Privileged: true}, errs: make(chan error, 100)}
	p.upstream = httptest.NewServer(h)
	t.Cleanup(p.upstream.Close)
	o := Options{
		Resolver:     docs{syntax.DID(service): p.upstream.URL},
		Sign:         signForTest,
		AppView:      &Target{DID: appView, Service: "bsky_appview", URL: p.upstream.URL},
		AllowPrivate: true,
	}
	if change != nil {
		change(&o)
	}
	p.proxy = New(o)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := p.proxy.Serve(w, r, p.caller)
		var e *Error
		switch {
		case err == nil, errors.Is(err, ErrAborted):
		case errors.As(err, &e):
			for k, v := range e.Header {
				w.Header()[k] = v
			}
			w.WriteHeader(e.Status)
			fmt.Fprintf(w, `{"error":%q,"message":%q}`, e.Name, e.Message)
		default:
			http.Error(w, err.Error(), 599)
		}
		p.errs <- err
	}))
	t.Cleanup(srv.Close)
	p.url = srv.URL
	return p
}

func (p *pds) do(method, path, body string, headers ...string) *http.Response {
	p.t.Helper()
	req, err := http.NewRequest(method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { res.Body.Close() })
	return res
}

func read(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Nothing of the client's own credentials may reach another service.
func TestNoCredentialLeaves(t *testing.T) {
	var got http.Header
	p := newPDS(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Clone() }, nil)
	secret := []string{
		"Authorization", "DPoP secret-access-token", "DPoP", "secret-proof", "Cookie", "session=secret-cookie", "Proxy-Authorization", "Basic secret",
		"X-Forwarded-For", "secret-ip", "Forwarded", "for=secret-ip", "X-Real-Ip", "secret-ip", "Referer", "https://secret/", "Origin", "https://secret",
		"X-Api-Key", "secret", "Atproto-Proxy", service + "#atproto_labeler", "User-Agent", "secret-agent", "If-None-Match", "secret", "Range", "bytes=0-1",
	}
	for _, method := range []string{"GET", "HEAD", "POST"} {
		res := p.do(method, "/xrpc/app.bsky.feed.getTimeline", "", append(secret, "Accept-Language", "de", "Atproto-Accept-Labelers", "did:plc:x;redact",
			"X-Bsky-Topics", "cats", "Accept-Encoding", "br, gzip")...)
		if res.StatusCode != 200 {
			t.Fatalf("%s: %s", method, res.Status)
		}
		for name, values := range got {
			if strings.Contains(strings.Join(values, " "), "secret") {
				t.Errorf("%s: leaked %s: %s", method, name, values)
			}
		}
		want := map[string]string{"Authorization": "Bearer token:" + alice.String() + ":" + service + ":app.bsky.feed.getTimeline", "Accept-Language": "de",
			"Atproto-Accept-Labelers": "did:plc:x;redact", "X-Bsky-Topics": "cats", "Accept-Encoding": "br, gzip", "User-Agent": "Perch"}
		for name, v := range want {
			if got.Get(name) != v {
				t.Errorf("%s: %s = %q, want %q", method, name, got.Get(name), v)
			}
			delete(got, name)
		}
		delete(got, "Content-Length")
		if len(got) > 0 {
			t.Errorf("%s: more headers: %v", method, got)
		}
	}
}

func TestProxyHeader(t *testing.T) {
	p := newPDS(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("Authorization")) }, func(o *Options) {
		o.Resolver.(docs)["did:web:mail.example.com"] = "mailto:x@example.com"
		o.Resolver.(docs)["did:web:user.example.com"] = "https://u:p@example.com"
	})
	for header, want := range map[string]string{
		"#atproto_labeler":                          "no did specified in proxy header",
		"#":                                         "no did specified in proxy header",
		service:                                     "no service id specified in proxy header",
		service + "#":                               "no service id specified in proxy header",
		service + "#atproto_labeler#x":              "invalid proxy header format",
		service + "##":                              "invalid proxy header format",
		service + " #atproto_labeler":               "proxy header cannot contain spaces",
		service + "# atproto_labeler":               "proxy header cannot contain spaces",
		service + "#atproto_labeler, a#b":           "invalid proxy header format",
		"foo#atproto_labeler":                       "could not resolve proxy did",
		"did:plc:unknownaaaaaaaaaaaaaaaaa#x":        "could not resolve proxy did",
		service + "#unknown":                        "could not resolve proxy did service url",
		service + "#Atproto_labeler":                "could not resolve proxy did service url",
		"did:web:mail.example.com#atproto_labeler":  "could not resolve proxy did service url",
		"did:web:user.example.com#atproto_labeler":  "could not resolve proxy did service url",
		"did:web:api.example.com#bsky_notification": "could not resolve proxy did",
	} {
		res := p.do("GET", "/xrpc/app.bsky.feed.getTimeline", "", "Atproto-Proxy", header)
		if body := read(t, res); res.StatusCode != 400 || body != fmt.Sprintf(`{"error":"InvalidRequest","message":%q}`, want) {
			t.Errorf("%q: %d %s, want %s", header, res.StatusCode, body, want)
		}
	}
	two := p.do("GET", "/xrpc/app.bsky.feed.getTimeline", "", "Atproto-Proxy", service+"#atproto_labeler", "Atproto-Proxy", service+"#atproto_labeler")
	if two.StatusCode != 400 {
		t.Errorf("two headers: %s", two.Status)
	}
	for header, aud := range map[string]string{"": appView.String(), appView.String() + "#bsky_appview": appView.String(), service + "#atproto_labeler": service} {
		res := p.do("GET", "/xrpc/app.bsky.feed.getTimeline", "", "Atproto-Proxy", header)
		if body := read(t, res); body != "Bearer token:"+alice.String()+":"+aud+":app.bsky.feed.getTimeline" {
			t.Errorf("%q: %s", header, body)
		}
	}
}

func TestFragmentAudienceAndAllow(t *testing.T) {
	p := newPDS(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("Authorization")) }, func(o *Options) { o.FragmentAudience = true })
	refusal := &Error{Status: 403, Name: "ScopeMissingError", Message: "no"}
	p.caller.Allow = func(method, aud string) error {
		if method == "app.bsky.feed.getTimeline" && aud == appView.String()+"#bsky_appview" {
			return nil
		}
		return refusal
	}
	if body := read(t, p.do("GET", "/xrpc/app.bsky.feed.getTimeline", "")); !strings.Contains(body, ":"+appView.String()+"#bsky_appview:") {
		t.Error(body)
	}
	if res := p.do("GET", "/xrpc/app.bsky.feed.getFeed", ""); res.StatusCode != 403 {
		t.Errorf("method outside the grant: %s", res.Status)
	}
	if res := p.do("GET", "/xrpc/app.bsky.feed.getTimeline", "", "Atproto-Proxy", service+"#atproto_labeler"); res.StatusCode != 403 {
		t.Errorf("service outside the grant: %s", res.Status)
	}
}

func TestRefusals(t *testing.T) {
	p := newPDS(t, func(http.ResponseWriter, *http.Request) { t.Error("reached the service") }, nil)
	for _, m := range []string{"com.atproto.server.getSession", "com.atproto.server.deactivateAccount", "com.atproto.identity.signPlcOperation",
		"com.atproto.identity.SIGNPLCOPERATION", "Com.Atproto.Server.getsession", "COM.atproto.admin.sendEmail"} {
		res := p.do("POST", "/xrpc/"+m, "")
		if body := read(t, res); res.StatusCode != 400 || body != `{"error":"InvalidToken","message":"Bad token method"}` {
			t.Errorf("%s: %d %s", m, res.StatusCode, body)
		}
	}
	p.caller.Privileged = false
	for _, m := range []string{"chat.bsky.convo.getLog", "chat.bsky.convo.addReaction", "Chat.Bsky.convo.listConvos", "com.atproto.server.createAccount"} {
		if res := p.do("GET", "/xrpc/"+m, ""); res.StatusCode != 400 || !strings.Contains(read(t, res), "InvalidToken") {
			t.Errorf("%s without privilege: %s", m, res.Status)
		}
	}
	for path, want := range map[string]int{"/xrpc/": 400, "/xrpc/nope": 400, "/xrpc/app.bsky.feed.getTimeline/": 400, "/xrpc/app.bsky.feed.getTimeline/x": 400,
		"/xrpc/app.bsky.feed..getTimeline": 400, "/xrpc/app.bsky.feed.get%2fTimeline": 400, "/other/app.bsky.feed.getTimeline": 400, "/xrpc/..%2fadmin": 400} {
		if res := p.do("GET", path, ""); res.StatusCode != want {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	for _, verb := range []string{"PUT", "DELETE", "PATCH", "OPTIONS"} {
		if res := p.do(verb, "/xrpc/app.bsky.feed.getTimeline", ""); res.StatusCode != 400 {
			t.Errorf("%s: %s", verb, res.Status)
		}
	}
	if res := p.do("GET", "/xrpc/com.atproto.sync.subscribeRepos", "", "Connection", "Upgrade", "Upgrade", "websocket"); res.StatusCode != 400 {
		t.Errorf("websocket: %s", res.Status)
	}
	for _, m := range []string{"tools.ozone.moderation.emitEvent", "com.atproto.moderation.createReport"} {
		if body := read(t, p.do("POST", "/xrpc/"+m, "")); !strings.Contains(body, "No service configured for "+m) {
			t.Errorf("%s: %s", m, body)
		}
	}
	for status, want := range map[string]string{"deactivated": "AccountDeactivated", "takendown": "AccountTakedown", "suspended": "AccountTakedown", "deleted": "AccountNotFound"} {
		p.caller = Caller{DID: alice, Privileged: true, Status: status}
		if body := read(t, p.do("GET", "/xrpc/app.bsky.feed.getTimeline", "")); !strings.Contains(body, want) {
			t.Errorf("%s account: %s", status, body)
		}
	}
	p.caller = Caller{}
	if res := p.do("GET", "/xrpc/app.bsky.feed.getTimeline", ""); res.StatusCode != 401 || !strings.Contains(read(t, res), "AuthMissing") {
		t.Errorf("nobody signed in: %s", res.Status)
	}
}

func TestGuardStandsUnlessSwitchedOff(t *testing.T) {
	p := newPDS(t, func(http.ResponseWriter, *http.Request) { t.Error("reached a private address") }, func(o *Options) { o.AllowPrivate = false })
	for _, header := range []string{"", service + "#atproto_labeler"} { // http://127.0.0.1
		if res := p.do("GET", "/xrpc/app.bsky.feed.getTimeline", "", "Atproto-Proxy", header); res.StatusCode != 502 {
			t.Errorf("%q: %s", header, res.Status)
		}
	}
	if err := <-p.errs; !errors.Is(err, identity.ErrBlocked) {
		t.Errorf("cause: %v", err)
	}
}

func TestPassesOn(t *testing.T) {
	p := newPDS(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		for k, v := range map[string]string{"Content-Type": "application/json; charset=utf-8", "Content-Language": "de", "Atproto-Repo-Rev": "3k", "Atproto-Content-Labelers": "did:plc:x",
			"Set-Cookie": "a=b", "Access-Control-Allow-Origin": "https://evil", "X-Secret": "y", "Location": "/x", "Www-Authenticate": "z"} {
			w.Header().Set(k, v)
		}
		fmt.Fprintf(w, "%s %s %s %s %s", r.Method, r.URL.RequestURI(), r.Header.Get("Content-Type"), r.Header.Get("Content-Encoding"), body)
	}, nil)
	res := p.do("GET", "/xrpc/app.bsky.feed.getPosts?uris=at://a%2Fb&uris=c&x=%00", "", "Content-Type", "text/x")
	if got := read(t, res); got != "GET /xrpc/app.bsky.feed.getPosts?uris=at://a%2Fb&uris=c&x=%00   " {
		t.Errorf("GET: %q", got)
	}
	for name, want := range map[string]string{"Content-Type": "application/json; charset=utf-8", "Content-Language": "de", "Atproto-Repo-Rev": "3k", "Atproto-Content-Labelers": "did:plc:x",
		"X-Content-Type-Options": "nosniff", "Set-Cookie": "", "Access-Control-Allow-Origin": "", "X-Secret": "", "Location": "", "Www-Authenticate": ""} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	res = p.do("POST", "/xrpc/app.bsky.graph.muteActor?a=b", `{"actor":"x"}`, "Content-Type", "application/json", "Content-Encoding", "x-test")
	if got := read(t, res); got != `POST /xrpc/app.bsky.graph.muteActor?a=b application/json x-test {"actor":"x"}` {
		t.Errorf("POST: %q", got)
	}
	res = p.do("HEAD", "/xrpc/app.bsky.feed.getPosts", "")
	if res.StatusCode != 200 || res.Header.Get("Content-Length") == "" || res.Header.Get("Atproto-Repo-Rev") != "3k" {
		t.Errorf("HEAD: %s %v", res.Status, res.Header)
	}
}

// A body without known length, and a compressed answer, go through as they are.
func TestStreams(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write([]byte("hello"))
	z.Close()
	p := newPDS(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("X", r.Header.Get("Accept-Encoding"))
		w.Header().Set("Content-Encoding", "gzip")
		fmt.Fprint(w, packed.String())
	}, nil)
	req, _ := http.NewRequest("POST", p.url+"/xrpc/app.bsky.graph.muteActor", io.MultiReader(strings.NewReader("a"), strings.NewReader("b")))
	req.Header.Set("Accept-Encoding", "gzip")
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := read(t, res); got != packed.String() || res.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("%q %v", got, res.Header)
	}
	r, err := p.proxy.Fetch(context.Background(), Call{Method: "app.bsky.feed.getPosts", Target: *p.proxy.opts.AppView, Header: http.Header{"Accept-Encoding": {"br"}}})
	if err != nil || string(r.Body) != "hello" || r.Header.Get("Content-Encoding") != "" {
		t.Errorf("Fetch: %+v, %v", r, err)
	}
}

func TestUpstreamErrors(t *testing.T) {
	p := newPDS(t, func(w http.ResponseWriter, r *http.Request) {
		var status int
		fmt.Sscan(r.URL.Query().Get("status"), &status)
		w.Header().Set("Retry-After", "7")
		w.Header().Set("Location", "https://evil.example.com/")
		if r.URL.Query().Has("html") {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			io.WriteString(w, "<script>alert(1)</script>")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, `{"error":"ItsName","message":"its words","more":1}`)
	}, nil)
	for _, tt := range []struct {
		query  string
		status int
		body   string
	}{
		{"status=400", 400, `{"error":"ItsName","message":"its words","more":1}`},
		{"status=401", 401, `{"error":"ItsName","message":"its words","more":1}`},
		{"status=429", 429, `{"error":"ItsName","message":"its words","more":1}`},
		{"status=503", 503, `{"error":"ItsName","message":"its words","more":1}`},
		{"status=500", 502, `{"error":"UpstreamFailure","message":"its words"}`},
		{"status=302", 502, `{"error":"UpstreamFailure","message":"Upstream service answered with a redirect"}`},
		{"status=404&html", 404, `{"error":"XRPCNotSupported","message":"Upstream service answered with status Not Found"}`},
		{"status=500&html", 502, `{"error":"UpstreamFailure","message":"Upstream service answered with status Internal Server Error"}`},
		{"status=503&html", 503, `{"error":"NotEnoughResources","message":"Upstream service answered with status Service Unavailable"}`},
	} {
		res := p.do("GET", "/xrpc/app.bsky.feed.getPosts?"+tt.query, "")
		if body := read(t, res); res.StatusCode != tt.status || body != tt.body || res.Header.Get("Location") != "" {
			t.Errorf("%s: %d %s %v", tt.query, res.StatusCode, body, res.Header)
		}
		if tt.query != "status=302" && res.Header.Get("Retry-After") != "7" {
			t.Errorf("%s: no Retry-After", tt.query)
		}
		if res := p.do("HEAD", "/xrpc/app.bsky.feed.getPosts?"+tt.query, ""); res.StatusCode != tt.status {
			t.Errorf("HEAD %s: %d", tt.query, res.StatusCode)
		}
	}
	_, err := p.proxy.Fetch(context.Background(), Call{Method: "app.bsky.feed.getPosts", Target: *p.proxy.opts.AppView, Query: "status=400"})
	var e *Error
	if !errors.As(err, &e) || e.Status != 400 || e.Name != "ItsName" || e.Message != "its words" {
		t.Errorf("Fetch: %v", err)
	}
	p.upstream.Close()
	res := p.do("GET", "/xrpc/app.bsky.feed.getPosts", "")
	if body := read(t, res); res.StatusCode != 502 || body != `{"error":"UpstreamFailure","message":"Upstream service unreachable"}` {
		t.Errorf("service gone: %d %s", res.StatusCode, body)
	}
}

func TestLimits(t *testing.T) {
	const limit = 1000
	p := newPDS(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		var n int
		fmt.Sscan(r.URL.Query().Get("n"), &n)
		if r.URL.Query().Has("chunked") {
			w.(http.Flusher).Flush()
		}
		w.Write(make([]byte, n))
	}, func(o *Options) { o.MaxResponse, o.MaxRequest = limit, limit })
	if res := p.do("GET", "/xrpc/app.bsky.feed.getPosts?n=1000", ""); len(read(t, res)) != limit {
		t.Errorf("largest answer: %s", res.Status)
	}
	if res := p.do("GET", "/xrpc/app.bsky.feed.getPosts?n=1001", ""); res.StatusCode != 502 {
		t.Errorf("too large an answer: %s", res.Status)
	}
	if res := p.do("GET", "/xrpc/app.bsky.feed.getPosts?chunked&n=100000", ""); res.StatusCode != 502 {
		t.Errorf("too large an answer without length: %s", res.Status)
	}
	if res := p.do("POST", "/xrpc/app.bsky.graph.muteActor", strings.Repeat("x", limit)); res.StatusCode != 200 {
		t.Errorf("largest body: %s", res.Status)
	}
	if res := p.do("POST", "/xrpc/app.bsky.graph.muteActor", strings.Repeat("x", limit+1)); res.StatusCode != 413 {
		t.Errorf("too large a body: %s", res.Status)
	}
	req, _ := http.NewRequest("POST", p.url+"/xrpc/app.bsky.graph.muteActor", io.MultiReader(strings.NewReader(strings.Repeat("x", 2*limit))))
	if res, err := http.DefaultClient.Do(req); err != nil || res.StatusCode != 413 {
		t.Errorf("too large a body without length: %v, %v", res, err)
	}
	if _, err := p.proxy.Fetch(context.Background(), Call{Method: "app.bsky.feed.getPosts", Target: *p.proxy.opts.AppView, Query: "chunked&n=5000"}); !isStatus(err, 502) {
		t.Errorf("Fetch of too much: %v", err)
	}
}

func isStatus(err error, status int) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == status
}

func TestTimeouts(t *testing.T) {
	stop := make(chan struct{})
	p := newPDS(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("body") {
			io.WriteString(w, "some")
			w.(http.Flusher).Flush()
		}
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	}, func(o *Options) { o.HeaderTimeout, o.BodyTimeout = 30*time.Millisecond, 30*time.Millisecond })
	defer close(stop)
	res := p.do("GET", "/xrpc/app.bsky.feed.getPosts", "")
	if body := read(t, res); res.StatusCode != 504 || !strings.Contains(body, "UpstreamTimeout") {
		t.Errorf("no headers: %d %s", res.StatusCode, body)
	}
	<-p.errs
	res = p.do("GET", "/xrpc/app.bsky.feed.getPosts?body", "")
	if body := read(t, res); res.StatusCode != 504 || strings.Contains(body, "some") {
		t.Errorf("no end: %d %s", res.StatusCode, body)
	}
	if _, err := p.proxy.Fetch(context.Background(), Call{Method: "app.bsky.feed.getPosts", Target: *p.proxy.opts.AppView, Query: "body"}); !isStatus(err, 504) {
		t.Errorf("Fetch without end: %v", err)
	}
}

// A client that goes away takes the exchange with it.
func TestClientGoesAway(t *testing.T) {
	arrived, left := make(chan struct{}), make(chan struct{})
	p := newPDS(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(left)
	}, nil)
	ctx, cancel := context.WithCancel(context.Background())
	req, _ := http.NewRequestWithContext(ctx, "GET", p.url+"/xrpc/app.bsky.feed.getPosts", nil)
	go func() {
		<-arrived
		cancel()
	}()
	if _, err := http.DefaultClient.Do(req); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	<-left
	if err := <-p.errs; !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

// A service that breaks off early becomes an error. Later the client must not
// take the part that it has for the whole.
func TestServiceBreaksOff(t *testing.T) {
	p := newPDS(t, func(w http.ResponseWriter, r *http.Request) {
		var n int
		fmt.Sscan(r.URL.Query().Get("n"), &n)
		w.Write(make([]byte, n))
		w.(http.Flusher).Flush()
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			conn.Close()
		}
	}, nil)
	if res := p.do("GET", "/xrpc/app.bsky.feed.getPosts?n=100", ""); res.StatusCode != 502 {
		t.Errorf("early: %s", res.Status)
	}
	<-p.errs
	res := p.do("GET", "/xrpc/app.bsky.feed.getPosts?n=1000000", "")
	if b, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("part of an answer looks whole: %d bytes", len(b))
	}
	if err := <-p.errs; !errors.Is(err, ErrAborted) {
		t.Errorf("err = %v", err)
	}
}

func TestFetchAnonymousAndOverrides(t *testing.T) {
	p := newPDS(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s|%s|%s", r.Method, r.Header.Get("Authorization"), body)
	}, nil)
	target := *p.proxy.opts.AppView
	r, err := p.proxy.Fetch(context.Background(), Call{Method: "com.atproto.identity.resolveHandle", Target: target, Header: http.Header{"Authorization": {"Bearer secret"}}})
	if err != nil || string(r.Body) != "GET||" {
		t.Errorf("%+v, %v", r, err)
	}
	r, err = p.proxy.Fetch(context.Background(), Call{User: alice, Method: "app.bsky.feed.getFeed", Target: target, Aud: "did:web:feed.example.com",
		Lxm: "app.bsky.feed.getFeedSkeleton", Body: strings.NewReader("in"), Length: 2})
	if err != nil || string(r.Body) != "POST|Bearer token:"+alice.String()+":did:web:feed.example.com:app.bsky.feed.getFeedSkeleton|in" {
		t.Errorf("%s, %v", r.Body, err)
	}
	p.proxy.opts.Sign = func(context.Context, syntax.DID, string, string) (string, error) { return "", errors.New("no key") }
	if _, err = p.proxy.Fetch(context.Background(), Call{User: alice, Method: "app.bsky.feed.getFeed", Target: target}); err == nil {
		t.Error("sent without a token")
	}
}
