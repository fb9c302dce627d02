package hostile

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"perch/testdata/peers/bench/wire"
)

const (
	subscribe  = "/xrpc/com.atproto.sync.subscribeRepos"
	upgrade    = "Upgrade: websocket\r\nConnection: Upgrade\r\n"
	keyHeader  = "Sec-WebSocket-Key: cGVyY2ggYmVuY2ggMTIzNA==\r\n"
	version    = "Sec-WebSocket-Version: 13\r\n"
	manySocket = 200
	silence    = 2 * time.Second // after which a stream counts as open and quiet, which is no failure
)

// websocket abuses the event stream.
func (s *target) websocket(t *testing.T) {
	for name, request := range map[string]string{
		"no upgrade": "GET " + subscribe + " HTTP/1.1\r\nHost: x\r\n\r\n", "no key": "GET " + subscribe + " HTTP/1.1\r\nHost: x\r\n" + upgrade + version + "\r\n",
		"bad key": "GET " + subscribe + " HTTP/1.1\r\nHost: x\r\n" + upgrade + version + "Sec-WebSocket-Key: ***\r\n\r\n", "old version": "GET " + subscribe + " HTTP/1.1\r\nHost: x\r\n" + upgrade + keyHeader + "Sec-WebSocket-Version: 8\r\n\r\n",
		"no version": "GET " + subscribe + " HTTP/1.1\r\nHost: x\r\n" + upgrade + keyHeader + "\r\n", "post": "POST " + subscribe + " HTTP/1.1\r\nHost: x\r\n" + upgrade + version + keyHeader + "Content-Length: 0\r\n\r\n",
		"upgrade to h2c": "GET " + subscribe + " HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "upgrade elsewhere": "GET /xrpc/com.atproto.repo.getRecord HTTP/1.1\r\nHost: x\r\n" + upgrade + version + keyHeader + "\r\n",
		"upgrade of nothing": "GET /xrpc/com.example.none.stream HTTP/1.1\r\nHost: x\r\n" + upgrade + version + keyHeader + "\r\n", "http 1.0": "GET " + subscribe + " HTTP/1.0\r\nHost: x\r\n" + upgrade + version + keyHeader + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			code, err := dialogue(s.Addr, []byte(request))
			if err != nil {
				t.Fatal(err)
			}
			if code != 0 && (code < 400 || code >= 500) {
				t.Errorf("status %d", code)
			}
		})
	}
	for i, cursor := range []string{"abc", "-1", "1.5", "1e3", "99999999999999999999", "9007199254740993", "0x10", "%00", "%20", "null", strings.Repeat("9", 3000), "1&cursor=2", "9007199254740991"} {
		t.Run(fmt.Sprintf("cursor %d", i), func(t *testing.T) { s.refusedCursor(t, cursor) })
	}
	for name, frame := range map[string]string{
		"unmasked text": "\x81\x02hi", "masked text": "\x81\x82\x00\x00\x00\x00hi", "binary": "\x82\x82\x00\x00\x00\x00hi", "reserved opcode": "\x83\x80\x00\x00\x00\x00", "reserved bits": "\xf1\x80\x00\x00\x00\x00",
		"huge length": "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", "negative length": "\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", "long ping": "\x89\xfe\x00\xff\x00\x00\x00\x00" + strings.Repeat("p", 255),
		"fragmented ping": "\x09\x80\x00\x00\x00\x00", "bad close": "\x88\x81\x00\x00\x00\x00x", "close with a bad code": "\x88\x82\x00\x00\x00\x00\x00\x01", "continuation of nothing": "\x80\x80\x00\x00\x00\x00",
		"bad utf-8": "\x81\x82\x00\x00\x00\x00\xff\xfe", "not websocket": "GET / HTTP/1.1\r\n\r\n", "pings": strings.Repeat("\x89\x80\x00\x00\x00\x00", 5000), "zeros": strings.Repeat("\x00", 100000),
		"a megabyte": "\x82\xff\x00\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00" + strings.Repeat("m", 1<<20),
	} {
		t.Run(name, func(t *testing.T) { s.frames(t, frame) })
	}
	t.Run("many that never read", s.deafConsumers)
}

// refusedCursor: the handshake is refused, or the stream ends with an error frame or a close. The stream of a cursor that
// a server reads leniently stays open; it must then go on working.
func (s *target) refusedCursor(t *testing.T, cursor string) {
	f, err := wire.Subscribe(s.Addr, cursor)
	if err != nil {
		var netErr net.Error
		if errors.As(err, &netErr) && netErr.Timeout() || strings.Contains(err.Error(), "answered 5") {
			t.Error(err)
		}
		return
	}
	defer f.Close()
	f.SetDeadline(time.Now().Add(silence))
	msg, err := f.Next()
	if err != nil { // closed, or open and silent
		return
	}
	if text, bad := wire.IsError(msg); !bad {
		t.Logf("cursor %.40q is read as a number: first message %.40q", cursor, msg)
	} else if !strings.Contains(text, "Cursor") && !strings.Contains(text, "InvalidRequest") {
		t.Errorf("error frame %q", text)
	}
}

// frames sends bytes on an open stream and waits until the server has closed it or taken them.
func (s *target) frames(t *testing.T, frame string) {
	conn, err := net.DialTimeout("tcp", s.Addr, answerWait)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(answerWait))
	io.WriteString(conn, "GET "+subscribe+" HTTP/1.1\r\nHost: x\r\n"+upgrade+version+keyHeader+"\r\n")
	answer := make([]byte, 12)
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "HTTP/1.1 101" {
		t.Fatalf("handshake: %q %v", answer, err)
	}
	conn.SetDeadline(time.Now().Add(silence))
	io.WriteString(conn, frame)
	conn.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, io.LimitReader(conn, 4<<20))
}

// deafConsumers open many streams from the start of the log and never read; a write must not wait for them.
func (s *target) deafConsumers(t *testing.T) {
	var held []*wire.Firehose
	for range manySocket {
		f, err := wire.Subscribe(s.Addr, "0")
		if err != nil && strings.Contains(err.Error(), "answered 429") {
			break // a bound on the streams of one address is as good
		}
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, f)
	}
	for _, f := range held[:len(held)/10] { // room for one that reads
		f.Close()
	}
	defer func() {
		for _, f := range held {
			f.Close()
		}
	}()
	c := wire.NewConn(s.Addr)
	defer c.Close()
	c.Timeout = answerWait
	s.post(t, c, new(wire.Written))
	f, err := wire.Subscribe(s.Addr, "0")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.SetDeadline(time.Now().Add(answerWait))
	if _, err := f.Next(); err != nil {
		t.Errorf("a consumer that reads gets nothing beside %d that do not: %v", len(held), err)
	}
}
