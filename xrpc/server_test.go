package xrpc

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// start serves a mux on a real connection, as in life.
func start(t testing.TB, m *Mux) string {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.Config = NewServer(m.Handler(), slog.New(slog.DiscardHandler))
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

func get(t testing.TB, url string, headers ...string) (*http.Response, []byte, error) {
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}).Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, b, err
}

func TestCompression(t *testing.T) {
	m := testMux(Options{})
	m.PageFunc("GET", "/big", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.URL.Query().Get("type"))
		if r.URL.Query().Get("encoded") != "" {
			w.Header().Set("Content-Encoding", "gzip")
		}
		for range 100 {
			_, _ = io.WriteString(w, strings.Repeat("abc ", 50))
		}
	})
	m.PageFunc("GET", "/small", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "tiny ")
		_, _ = io.WriteString(w, "page")
	})
	url := start(t, m)
	for _, tc := range []struct{ path, accept, rng, want string }{
		{"/big?type=text/html", "gzip", "", "gzip"},
		{"/big?type=text/html", "gzip, deflate, br, zstd", "", "zstd"},
		{"/big?type=text/html", "gzip;q=1, zstd;q=0.5", "", "gzip"},
		{"/big?type=text/html", "zstd;q=0, *", "", "gzip"},
		{"/big?type=text/html", "br", "", ""},
		{"/big?type=text/html", "", "", ""},
		{"/big?type=text/html", "gzip;q=0", "", ""},
		{"/big?type=text/html", "gzip", "bytes=0-5", ""},
		{"/big?type=image/png", "gzip", "", ""},
		{"/big?type=application/json&encoded=1", "zstd", "", "gzip"},
		{"/small", "gzip", "", ""},
		{"/xrpc/com.atproto.sync.getRepo?did=did:plc:a", "zstd", "", "zstd"},
		{list, "gzip", "", ""},
	} {
		resp, body, err := get(t, url+tc.path, "Accept-Encoding", tc.accept, "Range", tc.rng)
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.Header.Get("Content-Encoding"); got != tc.want {
			t.Errorf("%s %q: %q, want %q", tc.path, tc.accept, got, tc.want)
		}
		if tc.want != "" && !strings.Contains(tc.path, "encoded") {
			plain := decompress(t, tc.want, body)
			if len(plain) < 10_000 || len(body) >= len(plain) {
				t.Errorf("%s: %d bytes from %d", tc.path, len(plain), len(body))
			}
			if resp.ContentLength >= 0 && resp.ContentLength != int64(len(body)) || !strings.Contains(strings.Join(resp.Header.Values("Vary"), ","), "Accept-Encoding") {
				t.Errorf("%s: headers %v", tc.path, resp.Header)
			}
		}
		if tc.path == "/small" && string(body) != "tiny page" {
			t.Errorf("small page is %q", body)
		}
	}
}

func decompress(t *testing.T, coding string, b []byte) []byte {
	t.Helper()
	var r io.Reader
	var err error
	if coding == "gzip" {
		r, err = gzip.NewReader(bytes.NewReader(b))
	} else {
		r, err = zstd.NewReader(bytes.NewReader(b))
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEncodedBodiesAreDecoded(t *testing.T) {
	const in = `{"identifier":"a","password":"b"}`
	var zl, fl, zs bytes.Buffer
	z := zlib.NewWriter(&zl)
	_, _ = z.Write([]byte(in))
	_ = z.Close()
	f, _ := flate.NewWriter(&fl, 5)
	_, _ = f.Write([]byte(in))
	_ = f.Close()
	s, _ := zstd.NewWriter(&zs)
	_, _ = s.Write([]byte(in))
	_ = s.Close()
	h := testMux(Options{}).Handler()
	for _, tc := range []struct{ coding, body string }{
		{"gzip", gzipped(in)}, {"x-gzip", gzipped(in)}, {"GZIP", gzipped(in)}, {"deflate", zl.String()}, {"deflate", fl.String()},
		{"zstd", zs.String()}, {"identity", in}, {"gzip, gzip", gzipped(gzipped(in))}, {"identity, gzip", gzipped(in)},
	} {
		w := do(h, "POST", session, tc.body, "Content-Type", "application/json", "Content-Encoding", tc.coding)
		if w.Code != 200 {
			t.Errorf("%s: %d %s", tc.coding, w.Code, w.Body)
		}
		w = do(h, "POST", upload, tc.body, "Content-Type", "text/plain", "Content-Encoding", tc.coding, "Authorization", "Bearer alice")
		if !strings.Contains(w.Body.String(), `"size":33,`) || tc.coding != "identity" && !strings.Contains(w.Body.String(), `"length":-1`) {
			t.Errorf("%s: blob %s", tc.coding, w.Body)
		}
	}
}

func TestBrokenStreamsAreCut(t *testing.T) {
	url := start(t, testMux(Options{}))
	for _, accept := range []string{"", "gzip", "zstd"} {
		_, body, err := get(t, url+"/xrpc/com.atproto.sync.getRepo?did=did:web:broken.example", "Accept-Encoding", accept)
		if err == nil {
			t.Errorf("%q: the client takes %d bytes for the whole", accept, len(body))
		}
	}
}

func TestStreamsFlush(t *testing.T) {
	m := New(Options{Logger: slog.New(slog.DiscardHandler)})
	next := make(chan struct{})
	Stream(m, "com.atproto.sync.getRepo", nil, func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Type", "application/vnd.ipld.car")
		_, _ = io.WriteString(w, "first")
		if err := http.NewResponseController(w).Flush(); err != nil {
			return err
		}
		<-next
		_, err := io.WriteString(w, "second")
		return err
	})
	url := start(t, m)
	for _, accept := range []string{"identity", "gzip"} {
		r, _ := http.NewRequest("GET", url+"/xrpc/com.atproto.sync.getRepo?did=did:plc:a", nil)
		r.Header.Set("Accept-Encoding", accept)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		var body io.Reader = resp.Body
		if accept == "gzip" {
			if body, err = gzip.NewReader(resp.Body); err != nil {
				t.Fatal(err)
			}
		}
		first := make([]byte, 5)
		if _, err := io.ReadFull(body, first); err != nil || string(first) != "first" {
			t.Fatalf("%s: %q %v", accept, first, err)
		}
		next <- struct{}{}
		if rest, err := io.ReadAll(body); err != nil || string(rest) != "second" {
			t.Errorf("%s: %q %v", accept, rest, err)
		}
		_ = resp.Body.Close()
	}
}

func TestWebsockets(t *testing.T) {
	m := New(Options{Logger: slog.New(slog.DiscardHandler)})
	Stream(m, "com.atproto.sync.subscribeRepos", nil, func(w http.ResponseWriter, r *http.Request) error {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return nil // Accept has answered
		}
		if err := conn.Write(r.Context(), websocket.MessageText, []byte("cursor "+r.URL.Query().Get("cursor"))); err != nil {
			return err
		}
		return conn.Close(websocket.StatusNormalClosure, "")
	})
	url := start(t, m)
	conn, resp, err := websocket.Dial(t.Context(), url+"/xrpc/com.atproto.sync.subscribeRepos?cursor=5", &websocket.DialOptions{
		HTTPHeader: http.Header{"Accept-Encoding": {"gzip"}},
	})
	if err != nil {
		t.Fatal(err, resp)
	}
	if _, b, err := conn.Read(t.Context()); err != nil || string(b) != "cursor 5" {
		t.Errorf("%q %v", b, err)
	}
	_ = conn.CloseNow()
}

func TestRawConnections(t *testing.T) {
	url := start(t, testMux(Options{}))
	for name, tc := range map[string]struct{ request, want string }{
		"huge header":          {"GET " + list + " HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 100_000) + "\r\n\r\n", "431"},
		"path of NULs":         {"GET /xrpc/\x00 HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
		"no host":              {"GET " + list + " HTTP/1.1\r\n\r\n", "400"},
		"two lengths":          {"POST " + session + " HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "400"},
		"dots":                 {"GET /xrpc/../robots.txt HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
		"encoded slash":        {"GET /xrpc%2fcom.atproto.repo.listRecords HTTP/1.1\r\nHost: x\r\n\r\n", "404"},
		"encoded dot":          {"GET /xrpc/com%2eatproto%2erepo%2elistRecords HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
		"absolute":             {"GET http://x" + strings.ReplaceAll(list, " ", "") + " HTTP/1.1\r\nHost: x\r\n\r\n", "200"},
		"chunked and empty":    {"POST " + refresh + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "200"},
		"chunked for none":     {"POST " + refresh + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "400"},
		"chunked, none given":  {"POST " + session + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		"lie about the length": {"POST " + session + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n{", "413"},
		"options *":            {"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", ""},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, tc.request)
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.Contains(line, " "+tc.want) || strings.Contains(line, " 500") {
			t.Errorf("%s: %q %v, want %s", name, line, err, tc.want)
		}
		_ = conn.Close()
	}
}

func TestSlowBodiesAreGivenUp(t *testing.T) {
	g := &guardedBody{ReadCloser: io.NopCloser(strings.NewReader("x")), rc: http.NewResponseController(httptest.NewRecorder()), start: time.Unix(1000, 0), limit: noLimit}
	g.extend()
	if want := time.Unix(1000, 0).Add(bodyGrace); !g.deadline.Equal(want) {
		t.Errorf("first deadline %v", g.deadline)
	}
	g.read = 100 * bodyRate
	g.extend()
	if want := time.Unix(1100, 0).Add(bodyGrace); !g.deadline.Equal(want) {
		t.Errorf("deadline after progress %v", g.deadline)
	}
}

func TestServeStopsGracefully(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	m := New(Options{Logger: slog.New(slog.DiscardHandler)})
	m.PageFunc("GET", "/slow", func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		_, _ = io.WriteString(w, "done")
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, NewServer(m.Handler(), nil), ln, time.Minute) }()
	answer := make(chan string, 1)
	go func() {
		_, b, err := get(t, "http://"+ln.Addr().String()+"/slow")
		answer <- string(b) + " " + errText(err)
	}()
	<-entered
	stop()
	close(release)
	if got := <-answer; got != "done " {
		t.Errorf("the running request got %q", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestServeReportsABrokenListener(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := Serve(t.Context(), NewServer(http.NotFoundHandler(), nil), ln, time.Second); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
