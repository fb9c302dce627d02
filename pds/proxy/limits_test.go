package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

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
