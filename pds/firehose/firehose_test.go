package firehose

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestCursorRules(t *testing.T) {
	const first, last = epoch, epoch + 90 // ten events, ten apart
	all := []int64{epoch, epoch + 10, epoch + 20, epoch + 30, epoch + 40, epoch + 50, epoch + 60, epoch + 70, epoch + 80, epoch + 90}
	tests := []struct {
		name   string
		cursor string
		info   bool
		want   []int64
		future bool
	}{
		{"absent is live", "", false, nil, false},
		{"zero is the oldest, without info", "?cursor=0", false, all, false},
		{"older than the oldest", "?cursor=1", true, all, false},
		{"just older than the oldest", fmt.Sprintf("?cursor=%d", int64(first-1)), true, all, false},
		{"the oldest", fmt.Sprintf("?cursor=%d", int64(first)), false, all[1:], false},
		{"inside", fmt.Sprintf("?cursor=%d", int64(epoch+40)), false, all[5:], false},
		{"inside, between two events", fmt.Sprintf("?cursor=%d", int64(epoch+45)), false, all[5:], false},
		{"the last is live", fmt.Sprintf("?cursor=%d", int64(last)), false, nil, false},
		{"future", fmt.Sprintf("?cursor=%d", int64(last+1)), false, nil, true},
		{"far future", "?cursor=9223372036854775807", false, nil, true},
	}
	// A ring that holds everything, one that holds little, and one filled before the start (only the table has them).
	for _, ringBytes := range []int{1 << 20, 300, 0} {
		st := &table{}
		if ringBytes == 0 {
			st.fill(t, first, 10, 10)
		}
		f, url := serve(t, st, Options{RingBytes: max(ringBytes, 1)})
		if ringBytes != 0 {
			st.fill(t, first, 10, 10)
		}
		next := int64(last)
		for _, tt := range tests {
			t.Run(fmt.Sprintf("ring %d/%s", ringBytes, tt.name), func(t *testing.T) {
				if tt.future && next > last {
					tt.cursor = strings.Replace(tt.cursor, fmt.Sprint(int64(last+1)), fmt.Sprint(next+1), 1)
				}
				if strings.HasSuffix(tt.cursor, fmt.Sprint(int64(last))) {
					tt.cursor = fmt.Sprintf("?cursor=%d", next)
				}
				c := dial(t, url+tt.cursor)
				if tt.future {
					if g := c.next(); g.kind != "error" || g.name != "FutureCursor" {
						t.Fatalf("got %+v, want FutureCursor", g)
					}
					c.expectClose(websocket.StatusPolicyViolation)
					return
				}
				if tt.info {
					if g := c.next(); g.kind != "#info" || g.name != "OutdatedCursor" {
						t.Fatalf("got %+v, want OutdatedCursor", g)
					}
				}
				if tt.want != nil { // what earlier cases added follows
					for s := int64(last + 10); s <= next; s += 10 {
						tt.want = append(tt.want[:len(tt.want):len(tt.want)], s)
					}
				}
				c.expect(tt.want...)
				wait(t, "live", func() bool { cs := f.Stats().Consumers; return len(cs) == 1 && cs[0].Cursor == next })
				next += 10
				st.commit(identityEvent(t, next))
				c.expect(next)
				_ = c.Close(websocket.StatusNormalClosure, "")
				wait(t, "the end", func() bool { return len(f.Stats().Consumers) == 0 })
			})
		}
	}
}

func TestCursorOnEmptyStream(t *testing.T) {
	st := &table{}
	f, url := serve(t, st, Options{})
	zero := dialLive(t, f, url+"?cursor=0")
	live := dialLive(t, f, url)
	future := dial(t, url+"?cursor=5")
	if g := future.next(); g.name != "FutureCursor" {
		t.Fatalf("got %+v, want FutureCursor", g)
	}
	st.fill(t, epoch, 2, 1)
	zero.expect(epoch, epoch+1)
	live.expect(epoch, epoch+1)
}

func TestRefusals(t *testing.T) {
	st := &table{}
	f := New(Options{Store: st, MaxSubscribers: 3, MaxPerIP: 2, ClientIP: func(r *http.Request) string { return r.Header.Get("From") }})
	srv := httptest.NewServer(f)
	defer srv.Close()
	defer func() { _ = f.Shutdown(context.Background()) }()
	ask := func(method, query, upgrade string) (int, string, http.Header) {
		req, _ := http.NewRequest(method, srv.URL+query, nil)
		if upgrade != "" {
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", upgrade)
			req.Header.Set("Sec-WebSocket-Version", "13")
			req.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
		}
		req.Header.Set("From", "ip1")
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var body struct{ Error, Message string }
		if res.StatusCode >= 400 {
			if err := json.NewDecoder(res.Body).Decode(&body); err != nil || body.Message == "" {
				t.Errorf("%s %s: no error body: %v", method, query, err)
			}
		}
		return res.StatusCode, body.Error, res.Header
	}
	tests := []struct {
		method, query, upgrade string
		status                 int
		name                   string
	}{
		{"POST", "", "websocket", 405, "InvalidRequest"},
		{"GET", "", "", 426, "UpgradeRequired"},
		{"GET", "", "h2c", 426, "UpgradeRequired"},
		{"GET", "?cursor=-1", "websocket", 400, "InvalidRequest"},
		{"GET", "?cursor=", "websocket", 400, "InvalidRequest"},
		{"GET", "?cursor=abc", "websocket", 400, "InvalidRequest"},
		{"GET", "?cursor=%2B1", "websocket", 400, "InvalidRequest"},
		{"GET", "?cursor=1.0", "websocket", 400, "InvalidRequest"},
		{"GET", "?cursor=9223372036854775808", "websocket", 400, "InvalidRequest"},
		{"GET", "?cursor=1&cursor=2", "websocket", 400, "InvalidRequest"},
	}
	for _, tt := range tests {
		status, name, _ := ask(tt.method, tt.query, tt.upgrade)
		if status != tt.status || name != tt.name {
			t.Errorf("%s %q upgrade %q: %d %s, want %d %s", tt.method, tt.query, tt.upgrade, status, name, tt.status, tt.name)
		}
	}

	url := "ws" + strings.TrimPrefix(srv.URL, "http")
	connect := func(ip string) *websocket.Conn {
		c, _, err := websocket.Dial(context.Background(), url, &websocket.DialOptions{HTTPHeader: http.Header{"From": {ip}}})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	one := connect("ip1")
	defer one.CloseNow()
	defer connect("ip1").CloseNow()
	if status, name, h := ask("GET", "", "websocket"); status != 429 || name != "RateLimitExceeded" || h.Get("Retry-After") == "" {
		t.Errorf("third from one address: %d %s", status, name)
	}
	wait(t, "both", func() bool { return len(f.Stats().Consumers) == 2 })
	_ = one.CloseNow()
	wait(t, "the place", func() bool { return len(f.Stats().Consumers) == 1 })
	defer connect("ip2").CloseNow()
	defer connect("ip2").CloseNow()
	if status, name, h := ask("GET", "", "websocket"); status != 503 || h.Get("Retry-After") == "" {
		t.Errorf("fourth of all: %d %s", status, name)
	}
	if err := f.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := ask("GET", "", "websocket"); status != 503 {
		t.Errorf("after shutdown: %d", status)
	}
}

// Whoever has one IPv6 address has 2^64 of them, and must not get as many times the subscriptions.
func TestSite(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "::ffff:192.0.2.1", "what": "what", "": "",
		"2001:db8:1:2::1": "2001:db8:1:2::/64", "2001:db8:1:2:ffff::9": "2001:db8:1:2::/64", "2001:db8:1:3::1": "2001:db8:1:3::/64",
	} {
		if got := site(ip); got != want {
			t.Errorf("%s counts as %s, want %s", ip, got, want)
		}
	}
	f := New(Options{Store: &table{}, MaxPerIP: 2})
	defer func() { _ = f.Shutdown(context.Background()) }()
	for i, want := range []bool{true, true, false} {
		s := &subscriber{ip: fmt.Sprintf("2001:db8::%d", i)}
		refused := f.reserve(s.ip)
		if (refused == nil) != want {
			t.Errorf("subscription %d of a network: %v", i, refused)
		}
		if refused == nil {
			defer f.wg.Done()
			defer f.leave(s)
		}
	}
}

func TestHandshakeIsTolerant(t *testing.T) {
	st := &table{}
	f, url := serve(t, st, Options{})
	conn, res, err := websocket.Dial(context.Background(), url, &websocket.DialOptions{
		HTTPHeader:      http.Header{"Origin": {"https://elsewhere.example"}},
		Subprotocols:    []string{"xrpc.v9.json", "what"},
		CompressionMode: websocket.CompressionContextTakeover,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if ext := res.Header.Get("Sec-WebSocket-Extensions"); ext != "" {
		t.Errorf("extensions %q", ext)
	}
	c := &consumer{t, conn}
	// What a consumer says is ignored.
	for range 100 {
		if err := conn.Write(context.Background(), websocket.MessageText, []byte(strings.Repeat("hello", 100))); err != nil {
			t.Fatal(err)
		}
	}
	st.fill(t, epoch, 1, 1)
	c.expect(epoch)
	if err := conn.Write(context.Background(), websocket.MessageBinary, make([]byte, maxClientMessage+1)); err != nil {
		t.Fatal(err)
	}
	c.expectClose(websocket.StatusMessageTooBig)
	wait(t, "the end", func() bool { return len(f.Stats().Consumers) == 0 })
}

// hijackHook calls before when a connection is about to be upgraded.
type hijackHook struct {
	http.ResponseWriter
	before func()
}

func (h hijackHook) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	h.before()
	return http.NewResponseController(h.ResponseWriter).Hijack()
}

// Whoever connects without a cursor and then writes must see what it wrote, however slow the server is after the handshake.
func TestNothingIsMissedAfterTheHandshake(t *testing.T) {
	st := &table{}
	f, _ := serve(t, st, Options{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.ServeHTTP(hijackHook{w, func() { st.fill(t, epoch, 1, 1) }}, r)
	}))
	defer srv.Close()
	conn, _, err := websocket.Dial(context.Background(), "ws"+strings.TrimPrefix(srv.URL, "http"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	c := &consumer{t, conn}
	c.expect(epoch)
}

func TestPings(t *testing.T) {
	st := &table{}
	f, url := serve(t, st, Options{PingInterval: 20 * time.Millisecond, PongWait: 2 * time.Second})
	pings := make(chan struct{}, 100)
	good, _, err := websocket.Dial(context.Background(), url, &websocket.DialOptions{
		OnPingReceived: func(context.Context, []byte) bool {
			select {
			case pings <- struct{}{}:
			default:
			}
			return true
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer good.CloseNow()
	errs := make(chan error, 1)
	go func() { _, _, err := good.Read(context.Background()); errs <- err }()
	mute := rawDial(t, url)
	_ = mute.SetReadDeadline(time.Now().Add(time.Minute))
	buf := make([]byte, 4096)
	for err = nil; err == nil; _, err = mute.Read(buf) {
	}
	if nerr, ok := err.(net.Error); ok && nerr.Timeout() {
		t.Error("a consumer that never answers a ping is kept")
	}
	for range cap(pings) + 20 { // the good one, which came first, has outlived the deadline and goes on
		select {
		case <-pings:
		case err := <-errs:
			t.Fatal("a consumer that answers was dropped:", err)
		}
	}
	if n := len(f.Stats().Consumers); n != 1 {
		t.Errorf("%d consumers, want 1", n)
	}
}

// rawDial does the handshake and nothing more: it answers no ping and reads nothing, and has little room for what comes.
func rawDial(tb testing.TB, url string) net.Conn {
	tb.Helper()
	conn := handshake(tb, url)
	_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	return conn
}

func handshake(tb testing.TB, url string) net.Conn {
	tb.Helper()
	addr := strings.TrimPrefix(url, "ws://")
	addr, path, _ := strings.Cut(addr, "/")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	fmt.Fprintf(conn, "GET /%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path)
	status := make([]byte, len("HTTP/1.1 101"))
	if _, err := conn.Read(status); err != nil || string(status) != "HTTP/1.1 101" {
		tb.Fatalf("handshake: %q %v", status, err)
	}
	return conn
}
