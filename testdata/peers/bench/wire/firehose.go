package wire

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// maxFrame is far above what a PDS may send (2 MB of blocks and 200 ops).
const maxFrame = 16 << 20

// ErrClosed is returned by Next when the server ended the stream with a close frame.
var ErrClosed = errors.New("stream closed by the server")

// Firehose is one consumer of com.atproto.sync.subscribeRepos. It unmasks nothing (servers do not mask) and decodes
// nothing, so that a hundred of them are cheap beside the server that is measured.
type Firehose struct {
	conn net.Conn
	r    *bufio.Reader
	buf  []byte
}

// Subscribe opens the event stream at host:port; cursor "" asks for live events only.
func Subscribe(addr, cursor string) (*Firehose, error) {
	path := "/xrpc/com.atproto.sync.subscribeRepos"
	if cursor != "" {
		path += "?cursor=" + cursor
	}
	conn, err := net.DialTimeout("tcp", addr, DefaultTimeout)
	if err != nil {
		return nil, err
	}
	f := &Firehose{conn: conn, r: bufio.NewReaderSize(conn, readBuffer)}
	if err := f.upgrade(addr, path); err != nil {
		conn.Close()
		return nil, err
	}
	return f, nil
}

func (f *Firehose) upgrade(host, path string) error {
	f.conn.SetDeadline(time.Now().Add(DefaultTimeout))
	_, err := fmt.Fprintf(f.conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: cGVyY2ggYmVuY2ggMTIzNA==\r\n\r\n", path, host)
	if err != nil {
		return err
	}
	h, err := readHead(f.r)
	if err != nil {
		return err
	}
	if h.status != 101 {
		return fmt.Errorf("subscribeRepos answered %d", h.status)
	}
	return f.conn.SetDeadline(time.Time{})
}

// Close drops the connection without a goodbye.
func (f *Firehose) Close() { f.conn.Close() }

// SetDeadline bounds the reads to come; the zero time lifts the bound.
func (f *Firehose) SetDeadline(t time.Time) { f.conn.SetReadDeadline(t) }

// Next returns the next binary message, valid until the following call. Pings are answered.
func (f *Firehose) Next() ([]byte, error) {
	f.buf = f.buf[:0]
	for {
		op, fin, err := f.frame()
		if err != nil {
			return nil, err
		}
		switch op {
		case 0, 2:
			if fin {
				return f.buf, nil
			}
		case 8:
			return nil, ErrClosed
		case 9:
			f.buf = f.buf[:0] // servers do not put pings between the fragments of a message that they send in one piece
		}
	}
}

// frame reads one websocket frame; data is appended to f.buf, pings are answered with an empty pong.
func (f *Firehose) frame() (op byte, fin bool, err error) {
	var h [2]byte
	if _, err = io.ReadFull(f.r, h[:]); err != nil {
		return 0, false, err
	}
	op, fin = h[0]&15, h[0]&128 != 0
	n := uint64(h[1] & 127)
	var ext [8]byte
	switch n {
	case 126:
		_, err = io.ReadFull(f.r, ext[6:])
		n = binary.BigEndian.Uint64(ext[:])
	case 127:
		_, err = io.ReadFull(f.r, ext[:])
		n = binary.BigEndian.Uint64(ext[:])
	}
	if err != nil {
		return op, fin, err
	}
	if n > maxFrame || h[1]&128 != 0 {
		return op, fin, fmt.Errorf("bad websocket frame of %d bytes", n)
	}
	at := len(f.buf)
	if need := at + int(n); need > cap(f.buf) {
		f.buf = append(make([]byte, 0, need+need/2), f.buf...)
	}
	f.buf = f.buf[:at+int(n)]
	if _, err = io.ReadFull(f.r, f.buf[at:]); err != nil {
		return op, fin, err
	}
	if op == 9 {
		err = f.pong(f.buf[at:])
	}
	return op, fin, err
}

func (f *Firehose) pong(payload []byte) error {
	if len(payload) > 125 {
		return errors.New("ping is too long")
	}
	b := append([]byte{0x8a, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...) // a mask of zeros leaves the payload as it is
	_, err := f.conn.Write(b)
	return err
}

// revKey is the CBOR of the map key "rev" followed by the head of a 13-byte text.
var revKey = []byte("\x63rev\x6d")

// Rev finds the rev of a #commit message without decoding it; "" when there is none. The first occurrence is the
// message's own: "rev" sorts before "blocks", whose commit block holds the same one again.
func Rev(message []byte) string {
	i := bytes.Index(message, revKey)
	if i < 0 || len(message) < i+len(revKey)+13 {
		return ""
	}
	return string(message[i+len(revKey):][:13])
}

// IsError tells whether a message is an error frame (op -1), and returns its text for a report.
func IsError(message []byte) (string, bool) {
	if i := bytes.Index(message[:min(len(message), 16)], []byte("\x62op\x20")); i >= 0 {
		return strings.ToValidUTF8(string(message), "."), true
	}
	return "", false
}
