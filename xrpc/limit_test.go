package xrpc

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"testing"
	"time"
)

type fakeClock struct{ now time.Time }

func (c *fakeClock) Now() time.Time { return c.now }

func from(ip string, headers ...string) *http.Request {
	r := httptest.NewRequest("GET", list, nil)
	r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(ip), 1234).String()
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func send(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestGlobalLimit(t *testing.T) {
	clock := &fakeClock{time.Unix(1_800_000_000, 0)}
	h := testMux(Options{Now: clock.Now, RateLimits: RateLimits{
		Global:    &RateLimit{Points: 2, Window: 5 * time.Minute},
		BypassKey: "sesame", BypassIPs: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")},
	}}).Handler()
	for i, want := range []string{"1", "0"} {
		w := send(h, from("198.51.100.1"))
		head := w.Header()
		if w.Code != 200 || head.Get("RateLimit-Limit") != "2" || head.Get("RateLimit-Remaining") != want ||
			head.Get("RateLimit-Reset") != "1800000300" || head.Get("RateLimit-Policy") != "2;w=300" {
			t.Errorf("request %d: %d %v", i, w.Code, head)
		}
	}
	clock.now = clock.now.Add(100 * time.Second)
	w := send(h, from("198.51.100.1"))
	if name, _ := wireErr(t, w); w.Code != 429 || name != "RateLimitExceeded" || w.Header().Get("Retry-After") != "200" || w.Header().Get("RateLimit-Remaining") != "0" {
		t.Errorf("%d %s %v", w.Code, name, w.Header())
	}
	if w.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Error("scripts cannot read the refusal")
	}
	for name, r := range map[string]*http.Request{
		"another address": from("198.51.100.2"), "the key": from("198.51.100.1", "x-ratelimit-bypass", "sesame"), "a free address": from("203.0.113.9"),
	} {
		if w := send(h, r); w.Code != 200 {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	if w := send(h, from("198.51.100.1", "x-ratelimit-bypass", "sesam")); w.Code != 429 {
		t.Errorf("a wrong key: %d", w.Code)
	}
	unknown := from("198.51.100.1")
	unknown.URL.Path = "/xrpc/com.example.un.known"
	if w := send(h, unknown); w.Code != 429 {
		t.Errorf("unknown methods are not counted: %d", w.Code)
	}
	free := from("198.51.100.1")
	free.URL.Path, free.URL.RawQuery = "/xrpc/com.atproto.sync.getRepo", "did=did:plc:a"
	if w := send(h, free); w.Code != 200 {
		t.Errorf("getRepo has its own limit: %d", w.Code)
	}
	clock.now = clock.now.Add(200 * time.Second)
	if w := send(h, from("198.51.100.1")); w.Code != 200 {
		t.Errorf("the window never ends: %d", w.Code)
	}
}

func TestForwardedAddresses(t *testing.T) {
	for _, tc := range []struct{ peer, forwarded, want string }{
		{"198.51.100.1", "192.0.2.1", "198.51.100.1"},
		{"127.0.0.1", "", "127.0.0.1"},
		{"127.0.0.1", "192.0.2.1", "192.0.2.1"},
		{"127.0.0.1", "1.1.1.1, 192.0.2.1", "192.0.2.1"},
		{"127.0.0.1", "1.1.1.1, 192.0.2.1, 10.0.0.1", "192.0.2.1"},
		{"127.0.0.1", "192.0.2.1:4711", "192.0.2.1"},
		{"::1", "[2001:db8::1]:4711", "2001:db8::1"},
		{"::1", "2001:db8::1", "2001:db8::1"},
		{"127.0.0.1", "junk", "127.0.0.1"},
		{"127.0.0.1", "192.0.2.1, junk", "127.0.0.1"},
		{"10.0.0.5", "::ffff:192.0.2.1", "192.0.2.1"},
		{"203.0.113.7", "192.0.2.1", "192.0.2.1"}, // configured
		{"127.0.0.1", "10.0.0.1,10.0.0.2", "10.0.0.1"},
	} {
		p := newProxies([]netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, false)
		if got := p.client(from(tc.peer, "X-Forwarded-For", tc.forwarded)).String(); got != tc.want {
			t.Errorf("%s, %q: %s, want %s", tc.peer, tc.forwarded, got, tc.want)
		}
	}
	if got := newProxies(nil, true).client(from("127.0.0.1", "X-Forwarded-For", "192.0.2.1")).String(); got != "127.0.0.1" {
		t.Errorf("distrusted proxy: %s", got)
	}
	two := from("127.0.0.1", "X-Forwarded-For", "1.1.1.1", "X-Forwarded-For", "192.0.2.1")
	if got := newProxies(nil, false).client(two).String(); got != "192.0.2.1" {
		t.Errorf("two headers: %s", got)
	}
}

func TestMethodLimits(t *testing.T) {
	clock := &fakeClock{time.Unix(1_800_000_000, 0)}
	m := New(Options{Now: clock.Now, Logger: slog.New(slog.DiscardHandler)})
	byWho := func(_ context.Context, _ *http.Request, input any) string { return input.(*sessionInput).Identifier }
	Procedure(m, "com.atproto.server.createSession", nil, func(context.Context, *sessionInput) (*struct{}, error) { return nil, nil },
		WithInputRateLimit(RateLimit{Points: 2, Window: time.Minute, Key: byWho}, RateLimit{Points: 3, Window: time.Hour, Key: byWho}))
	body := func(who string) string { return fmt.Sprintf(`{"identifier":%q,"password":"x"}`, who) }
	h := m.Handler()
	codes := func(who string, n int) (out []int) {
		for range n {
			out = append(out, do(h, "POST", session, body(who)).Code)
		}
		return out
	}
	if got := fmt.Sprint(codes("alice", 3), codes("bob", 1)); got != "[200 200 429] [200]" {
		t.Errorf("first minute: %s", got)
	}
	clock.now = clock.now.Add(time.Minute)
	if got := fmt.Sprint(codes("alice", 1)); got != "[200]" {
		t.Errorf("second minute, third of three an hour: %s", got)
	}
	w := do(h, "POST", session, body("alice"))
	if w.Code != 429 || w.Header().Get("RateLimit-Policy") != "3;w=3600" || w.Header().Get("Retry-After") != "3540" {
		t.Errorf("headers of the rule that refuses: %v", w.Header())
	}
	if w := do(h, "POST", session, body("carol")); w.Header().Get("RateLimit-Policy") != "2;w=60" {
		t.Errorf("headers of the tightest rule: %v", w.Header())
	}
}

func TestSharedBucketsAndCosts(t *testing.T) {
	m := New(Options{Logger: slog.New(slog.DiscardHandler)})
	who := func(context.Context, *http.Request, any) string { return "did:plc:alice" }
	rule := func(cost int) Option {
		return WithRateLimit(RateLimit{Name: "repo-write", Points: 5, Window: time.Hour, Key: who, Cost: func(context.Context, *http.Request, any) int { return cost }})
	}
	ok := func(http.ResponseWriter, *http.Request) error { return nil }
	Stream(m, "com.atproto.repo.createRecord", nil, ok, rule(3))
	Stream(m, "com.atproto.repo.deleteRecord", nil, ok, rule(1))
	Stream(m, "com.atproto.repo.putRecord", nil, ok, rule(0))
	h := m.Handler()
	got := ""
	for _, name := range []string{"createRecord", "createRecord", "deleteRecord", "deleteRecord", "deleteRecord", "putRecord"} {
		got += strconv.Itoa(do(h, "POST", "/xrpc/com.atproto.repo."+name, "{}").Code) + " "
	}
	if got != "200 429 200 200 429 200 " {
		t.Error(got)
	}
}

func TestLimiterStaysSmall(t *testing.T) {
	clock := &fakeClock{time.Unix(1_800_000_000, 0)}
	l := newLimiter(RateLimits{MaxKeys: 1600}, clock.Now)
	rule := &RateLimit{Points: 1, Window: time.Hour}
	for i := range 100_000 {
		l.count(uint64(i)*2654435761, rule, 1, clock.now.Unix())
	}
	total := 0
	for i := range l.shards {
		total += len(l.shards[i].windows)
	}
	if total > 1600 {
		t.Errorf("%d windows", total)
	}
}

func TestLimitsCanBeOff(t *testing.T) {
	h := testMux(Options{RateLimits: RateLimits{Disabled: true, Global: &RateLimit{Points: 1, Window: time.Hour}}}).Handler()
	for range 3 {
		if w := send(h, from("198.51.100.1")); w.Code != 200 || w.Header().Get("RateLimit-Limit") != "" {
			t.Errorf("%d %v", w.Code, w.Header())
		}
	}
}

func TestIPv6NeighboursShareALimit(t *testing.T) {
	h := testMux(Options{RateLimits: RateLimits{Global: &RateLimit{Points: 1, Window: time.Hour}}}).Handler()
	got := ""
	for _, ip := range []string{"2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"} {
		got += strconv.Itoa(send(h, from(ip)).Code) + " "
	}
	if got != "200 429 200 " {
		t.Error(got)
	}
}
