package identity

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestCheckAddressRefuses(t *testing.T) {
	for _, a := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254",
		"169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.171", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1",
		"198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1",
		"2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::1", "2002::1", "3fff::1",
		"5f00::1", "fc00::1", "fd12:3456:789a::1", "fe80::1", "febf::1", "fec0::1", "ff02::1", "4000::1", "fe80::1%eth0",
	} {
		if err := CheckAddress(netip.MustParseAddr(a)); !errors.Is(err, ErrBlocked) {
			t.Errorf("%s: err = %v, want ErrBlocked", a, err)
		}
	}
	if err := CheckAddress(netip.Addr{}); !errors.Is(err, ErrBlocked) {
		t.Errorf("no address: %v", err)
	}
	for _, a := range []string{"1.1.1.1", "8.8.8.8", "44.10.0.1", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.0.1.1", "198.17.0.1",
		"198.20.0.1", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888", "2003::1"} {
		if err := CheckAddress(netip.MustParseAddr(a)); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
}

// The strict client against URLs and DNS answers that lead inside. No request
// may reach the server that listens on loopback.
func TestClientRefusesPrivateAddresses(t *testing.T) {
	var reached atomic.Int32
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer srv.Close()
	port := srv.URL[strings.LastIndex(srv.URL, ":")+1:]
	zone := newDNS(t)
	zone.a("inside.example.com", "127.0.0.1")
	zone.a("inside6.example.com", "::1")
	zone.a("metadata.example.com", "169.254.169.254")
	zone.a("mapped.example.com", "::ffff:127.0.0.1")
	zone.a("sixtofour.example.com", "2002:7f00:1::1")
	zone.a("both.example.com", "10.0.0.1", "127.0.0.1")
	t.Setenv("HTTPS_PROXY", srv.URL)
	t.Setenv("HTTP_PROXY", srv.URL)

	c := NewClient(ClientOptions{Resolver: zone.resolver(), RootCAs: rootsOf(srv), AnyPort: true})
	for _, host := range []string{
		"127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::]", "169.254.169.254", "[fe80::1%25eth0]",
		"inside.example.com", "INSIDE.example.com.", "inside6.example.com", "metadata.example.com", "mapped.example.com", "sixtofour.example.com", "both.example.com",
	} {
		if _, err := c.Get("https://" + host + ":" + port + "/"); !errors.Is(err, ErrBlocked) {
			t.Errorf("%s: err = %v, want ErrBlocked", host, err)
		}
	}
	// Forms that some libraries take for addresses: names that do not exist.
	for _, host := range []string{"2130706433", "0x7f000001", "017700000001", "127.1", "0177.0.0.1", "localhost"} {
		if _, err := c.Get("https://" + host + ":" + port + "/"); err == nil {
			t.Errorf("%s: reached", host)
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d requests reached the inside", n)
	}
}

func TestClientRefusesURLs(t *testing.T) {
	c := NewClient(ClientOptions{})
	for _, u := range []string{
		"http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "https://user@example.com/", "https://user:pass@example.com/",
		"https://example.com:22/", "https://example.com:80/", "https://example.com:8443/", "https:///nohost", "https://127.0.0.1/", "https://[::1]/",
	} {
		if _, err := c.Get(u); !errors.Is(err, ErrBlocked) {
			t.Errorf("%s: err = %v, want ErrBlocked", u, err)
		}
	}
	dev := NewClient(ClientOptions{AllowPrivate: true})
	for _, u := range []string{"file:///etc/passwd", "ftp://localhost/", "http://user@localhost/"} {
		if _, err := dev.Get(u); !errors.Is(err, ErrBlocked) {
			t.Errorf("development: %s: err = %v, want ErrBlocked", u, err)
		}
	}
}

func rootsOf(srv *httptest.Server) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	return pool
}

// outside is a client for which 127.0.0.1 is public and every other address is
// judged as ever, so that redirects can be tested against real servers. All
// names under example.com are at 127.0.0.1.
func outside(t *testing.T, o ClientOptions, servers ...*httptest.Server) *http.Client {
	t.Helper()
	zone := newDNS(t)
	zone.a("example.com", "127.0.0.1") // the name on httptest's certificate
	zone.a("inside.example.com", "10.1.2.3")
	o.Resolver = zone.resolver()
	o.checkAddress = func(a netip.Addr) error {
		if a == netip.MustParseAddr("127.0.0.1") {
			return nil
		}
		return CheckAddress(a)
	}
	for _, s := range servers {
		u, _ := url.Parse(s.URL)
		o.ports = append(o.ports, u.Port())
		o.RootCAs = rootsOf(s)
	}
	return NewClient(o)
}

func TestClientRedirects(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "plain") }))
	defer plain.Close()
	private, err := net.Listen("tcp", "[::1]:0") // stands for what must not be reached
	if err != nil {
		t.Skip("no IPv6 loopback")
	}
	defer private.Close()
	var srv *httptest.Server
	srv = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		port := srv.URL[strings.LastIndex(srv.URL, ":")+1:]
		_, privatePort, _ := net.SplitHostPort(private.Addr().String())
		to := map[string]string{
			"/private4":  "https://10.0.0.1:" + port + "/ok",
			"/private6":  "https://[::1]:" + privatePort + "/ok",
			"/name":      "https://inside.example.com:" + port + "/ok",
			"/http":      plain.URL,
			"/port":      "https://example.com:22/",
			"/user":      "https://a:b@example.com:" + port + "/ok",
			"/file":      "file:///etc/passwd",
			"/loop":      "/loop",
			"/one":       "/ok",
			"/three":     "/two",
			"/two":       "/one",
			"/four":      "/three",
			"/elsewhere": "https://127.0.0.1:" + port + "/ok",
		}[r.URL.Path]
		if to == "" {
			io.WriteString(w, "ok")
			return
		}
		http.Redirect(w, r, to, http.StatusFound)
	}))
	defer srv.Close()
	c := outside(t, ClientOptions{}, srv)
	base := "https://example.com:" + srv.URL[strings.LastIndex(srv.URL, ":")+1:]
	for _, path := range []string{"/private4", "/private6", "/name", "/http", "/port", "/user", "/file", "/loop", "/four"} {
		if _, err := c.Get(base + path); !errors.Is(err, ErrBlocked) {
			t.Errorf("%s: err = %v, want ErrBlocked", path, err)
		}
	}
	for _, path := range []string{"/ok", "/one", "/three", "/elsewhere"} {
		if body, err := readAll(context.Background(), c, base+path, "*/*", 100); err != nil || string(body) != "ok" {
			t.Errorf("%s: %q, %v", path, body, err)
		}
	}
	none := outside(t, ClientOptions{MaxRedirects: -1}, srv)
	if _, err := none.Get(base + "/one"); !errors.Is(err, ErrBlocked) {
		t.Errorf("no redirects allowed: %v", err)
	}
	dev := NewClient(ClientOptions{AllowPrivate: true, RootCAs: rootsOf(srv)})
	if _, err := dev.Get(srv.URL + "/http"); !errors.Is(err, ErrBlocked) {
		t.Errorf("development: redirect from https to http: %v", err)
	}
}

func TestClientBodyLimit(t *testing.T) {
	const limit = 1000
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n int
		fmt.Sscan(r.URL.Query().Get("n"), &n)
		if r.URL.Path == "/chunked" {
			w.(http.Flusher).Flush()
		} else {
			w.Header().Set("Content-Length", fmt.Sprint(n))
		}
		if r.Method != http.MethodHead {
			w.Write(make([]byte, n))
		}
	}))
	defer srv.Close()
	c := NewClient(ClientOptions{AllowPrivate: true, MaxBody: limit})
	for _, tt := range []struct {
		path string
		n    int
		ok   bool
	}{{"/known", limit, true}, {"/known", limit + 1, false}, {"/chunked", 0, true}, {"/chunked", limit, true}, {"/chunked", limit + 1, false}, {"/chunked", 50 * limit, false}} {
		res, err := c.Get(fmt.Sprintf("%s%s?n=%d", srv.URL, tt.path, tt.n))
		var b []byte
		if err == nil {
			b, err = io.ReadAll(res.Body)
			res.Body.Close()
		}
		if tt.ok && (err != nil || len(b) != tt.n) {
			t.Errorf("%s %d: %d bytes, %v", tt.path, tt.n, len(b), err)
		}
		if !tt.ok && !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s %d: err = %v, want ErrTooLarge", tt.path, tt.n, err)
		}
	}
	if res, err := c.Head(srv.URL + "/known?n=5000"); err != nil {
		t.Errorf("HEAD of something large: %v", err)
	} else {
		res.Body.Close()
	}
}

// A small answer that unpacks to a large one is large.
func TestClientLimitsWhatIsUnpacked(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(gzipped(1 << 20))
	}))
	defer srv.Close()
	res, err := NewClient(ClientOptions{AllowPrivate: true, MaxBody: 100_000}).Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadAll(res.Body); !errors.Is(err, ErrTooLarge) {
		t.Errorf("err = %v, want ErrTooLarge", err)
	}
}

func TestClientTimeout(t *testing.T) {
	done := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			w.(http.Flusher).Flush()
		}
		select {
		case <-done:
		case <-r.Context().Done():
		}
	}))
	defer srv.Close()
	defer close(done)
	c := NewClient(ClientOptions{AllowPrivate: true, Timeout: 30 * time.Millisecond})
	for _, path := range []string{"/headers", "/body"} {
		if _, err := readAll(context.Background(), c, srv.URL+path, "*/*", 100); err == nil || !errors.As(err, new(net.Error)) {
			t.Errorf("%s: err = %v, want a timeout", path, err)
		}
	}
}
