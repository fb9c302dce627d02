package hostile

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"perch/testdata/peers/bench/wire"
)

// rawHTTP sends what is not HTTP, or barely: a refusal or a closed connection, never a hang. 501 and 505 are the protocol's
// own answers to a transfer coding and a version that nobody knows.
func (s *target) rawHTTP(t *testing.T) {
	const get = "GET /xrpc/com.atproto.server.describeServer HTTP/1.1\r\n"
	const post = "POST /xrpc/com.atproto.server.createSession HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	for name, request := range map[string]string{
		"garbage": "\x00\x01\x02\x03\r\n\r\n", "tls hello": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 200) + "\r\n\r\n", "http 0.9": "GET /\r\n\r\n", "http 2 preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"http 3": "GET / HTTP/3.0\r\nHost: x\r\n\r\n", "http 1.99": "GET / HTTP/1.99\r\nHost: x\r\n\r\n", "no path": "GET HTTP/1.1\r\nHost: x\r\n\r\n", "spaces": "GET  /  HTTP/1.1\r\nHost: x\r\n\r\n",
		"no host": get + "\r\n", "two hosts": get + "Host: a\r\nHost: b\r\n\r\n", "bad host": get + "Host: a b\r\n\r\n", "host with path": get + "Host: a/../b\r\n\r\n", "connect": "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n",
		"absolute": "GET http://example.com/xrpc/x HTTP/1.1\r\nHost: example.com\r\n\r\n", "bad percent": "GET /xrpc/%zz HTTP/1.1\r\nHost: x\r\n\r\n", "fragment": "GET /xrpc/a#b HTTP/1.1\r\nHost: x\r\n\r\n",
		"long line": "GET /" + strings.Repeat("a", 2<<20) + " HTTP/1.1\r\nHost: x\r\n\r\n", "long header": get + "Host: x\r\nX: " + strings.Repeat("a", 2<<20) + "\r\n\r\n", "many headers": get + "Host: x\r\n" + strings.Repeat("X-A: b\r\n", 200000) + "\r\n",
		"header without colon": get + "Host: x\r\nbroken\r\n\r\n", "folded header": get + "Host: x\r\nX: a\r\n b\r\n\r\n", "header with nul": get + "Host: x\r\nX: a\x00b\r\n\r\n", "space before colon": get + "Host: x\r\nX : a\r\n\r\n",
		"negative length": post + "Content-Length: -1\r\n\r\n", "length letters": post + "Content-Length: abc\r\n\r\n", "two lengths": post + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
		"huge length": post + "Content-Length: 99999999999999999999\r\n\r\n{}", "length and chunks": post + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "unknown coding": post + "Transfer-Encoding: gzip\r\n\r\n{}",
		"bad chunk": post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", "huge chunk": post + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n{}\r\n0\r\n\r\n", "chunk extension": post + "Transfer-Encoding: chunked\r\n\r\n2;" + strings.Repeat("x", 100000) + "\r\n{}\r\n0\r\n\r\n",
		"expectation": post + "Expect: miracles\r\nContent-Length: 2\r\n\r\n{}", "smuggled": post + "Content-Length: 4\r\nTransfer-Encoding: xchunked\r\n\r\n5c\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			code, err := dialogue(s.Addr, []byte(request))
			if err != nil {
				t.Fatal(err)
			}
			if code >= 500 && code != 501 && code != 505 {
				t.Errorf("status %d", code)
			}
		})
	}
}

const (
	slowConnections = 60
	abortedUploads  = 20
)

// slow holds many connections in the middle of a request: others must be served meanwhile, and nothing breaks when they go.
func (s *target) slow(t *testing.T) {
	token := s.authorization(alice)
	var held []net.Conn
	for i := range slowConnections {
		conn, err := net.DialTimeout("tcp", s.Addr, answerWait)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
		begin := "POST /xrpc/com.atproto.repo.createRecord HTTP/1.1\r\nHost: x\r\nAuthorization: " + token + "\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{\"repo\":"
		switch i % 3 {
		case 1:
			begin = "POST /xrpc/com.atproto.repo.uploadBlob HTTP/1.1\r\nHost: x\r\nAuthorization: " + token + "\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n"
		case 2:
			begin = "GET /xrpc/com.atproto.server.describeServer HTTP/1.1\r\nHo"
		}
		if _, err := io.WriteString(conn, begin); err != nil {
			t.Fatal(err)
		}
	}
	c := wire.NewConn(s.Addr)
	defer c.Close()
	c.Timeout = answerWait
	s.post(t, c, new(wire.Written))
	for _, conn := range held {
		conn.Close()
	}
	s.abort(t, token)
	s.post(t, c, new(wire.Written))
}

// abort breaks off uploads and downloads half-way.
func (s *target) abort(t *testing.T, token string) {
	var wg sync.WaitGroup
	for i := range abortedUploads {
		wg.Go(func() {
			conn, err := net.DialTimeout("tcp", s.Addr, answerWait)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			if i%2 == 0 {
				fmt.Fprintf(conn, "POST /xrpc/com.atproto.repo.uploadBlob HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Type: image/png\r\nContent-Length: 1000000\r\n\r\n%s", token, strings.Repeat("z", 300000))
				return
			}
			fmt.Fprintf(conn, "GET /xrpc/com.atproto.sync.getRepo?did=%s HTTP/1.1\r\nHost: x\r\n\r\n", s.alice.DID)
			io.ReadFull(conn, make([]byte, 10))
		})
	}
	wg.Wait()
}
