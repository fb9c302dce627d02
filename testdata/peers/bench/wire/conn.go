// Package wire is the thin client of the measuring and crash-testing programs: one HTTP/1.1 connection that reuses its
// buffers, a firehose reader that does not decode, and the few XRPC calls that make accounts and posts. net/http costs as
// much CPU per request as a fast server does; a client that shares the machine with what it measures cannot afford that.
package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

const (
	readBuffer = 64 << 10
	maxHeader  = 64 << 10
	// DefaultTimeout bounds one request, so that a server that hangs fails a run instead of stopping it.
	DefaultTimeout = 60 * time.Second
)

// ErrBroken is wrapped by every error of Do after which it is unknown whether the server has handled the request.
var ErrBroken = errors.New("connection broken")

// Request is one HTTP request. Path begins with a slash and holds the query.
type Request struct {
	Method      string // GET when empty
	Path        string
	Token       string // bearer token, or a whole Authorization value when it holds a space; "" for none
	ContentType string
	Body        []byte
	Browser     bool // say, as browsers do, that it goes to a page; the reference refuses its pages otherwise
	Discard     bool // count the answer's body instead of keeping it
}

// Response is an answer. Body is valid until the connection's next request; Size is its length also when it was discarded.
type Response struct {
	Status int
	Body   []byte
	Size   int64
}

// Conn is one keep-alive connection; not for use by several goroutines at once.
type Conn struct {
	Addr    string
	Timeout time.Duration // of one request; DefaultTimeout when zero

	conn   net.Conn
	r      *bufio.Reader
	out    []byte
	in     []byte
	served int // requests answered on the present connection
}

// NewConn returns a connection to host:port that is dialled by its first request.
func NewConn(addr string) *Conn { return &Conn{Addr: addr} }

// Close closes the connection; the next request dials again.
func (c *Conn) Close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// Do sends a request and reads its answer. A server may close an idle connection at any time: a GET is then sent once more
// on a new one. Other methods are never repeated.
func (c *Conn) Do(req *Request) (Response, error) {
	reused := c.conn != nil && c.served > 0
	res, err := c.once(req)
	if err != nil && reused && (req.Method == "" || req.Method == "GET") {
		c.Close()
		res, err = c.once(req)
	}
	if err != nil {
		c.Close()
		return res, fmt.Errorf("%w: %s %s: %w", ErrBroken, req.Method, req.Path, err)
	}
	return res, nil
}

func (c *Conn) once(req *Request) (Response, error) {
	if err := c.dial(); err != nil {
		return Response{}, err
	}
	timeout := c.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	c.conn.SetDeadline(time.Now().Add(timeout))
	c.out = appendRequest(c.out[:0], c.Addr, req)
	if _, err := c.conn.Write(c.out); err != nil {
		return Response{}, err
	}
	return c.read(req)
}

func (c *Conn) dial() error {
	if c.conn != nil {
		return nil
	}
	conn, err := net.DialTimeout("tcp", c.Addr, DefaultTimeout)
	if err != nil {
		return err
	}
	c.conn, c.served = conn, 0
	if c.r == nil {
		c.r = bufio.NewReaderSize(conn, readBuffer)
	} else {
		c.r.Reset(conn)
	}
	return nil
}

func appendRequest(b []byte, host string, req *Request) []byte {
	method := req.Method
	if method == "" {
		method = "GET"
	}
	b = append(b, method...)
	b = append(b, ' ')
	b = append(b, req.Path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, host...)
	if req.Browser {
		b = append(b, "\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Site: none"...)
	}
	if req.Token != "" {
		b = append(b, "\r\nAuthorization: "...)
		if !strings.Contains(req.Token, " ") {
			b = append(b, "Bearer "...)
		}
		b = append(b, req.Token...)
	}
	if req.ContentType != "" {
		b = append(b, "\r\nContent-Type: "...)
		b = append(b, req.ContentType...)
	}
	if req.Body != nil || method == "POST" {
		b = append(b, "\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(len(req.Body)), 10)
	}
	b = append(b, "\r\n\r\n"...)
	return append(b, req.Body...)
}

type head struct {
	status  int
	length  int64 // -1: not told
	chunked bool
	close   bool
}

func (c *Conn) read(req *Request) (Response, error) {
	h, err := readHead(c.r)
	for err == nil && h.status >= 100 && h.status < 200 && h.status != 101 {
		h, err = readHead(c.r)
	}
	if err != nil {
		return Response{}, err
	}
	res := Response{Status: h.status}
	c.in = c.in[:0]
	switch {
	case req.Method == "HEAD" || h.status == 204 || h.status == 304:
	case h.chunked:
		err = c.readChunks(&res, req.Discard)
	case h.length >= 0:
		err = c.readBody(&res, h.length, req.Discard)
	default:
		h.close = true
		err = c.readAll(&res, req.Discard)
	}
	if err != nil {
		return res, err
	}
	c.served++
	res.Body = c.in
	if h.close {
		c.Close()
	}
	return res, nil
}

func readHead(r *bufio.Reader) (head, error) {
	h := head{length: -1}
	line, err := r.ReadSlice('\n')
	if err != nil {
		return h, err
	}
	if len(line) < 12 || string(line[:7]) != "HTTP/1." {
		return h, fmt.Errorf("not an HTTP answer: %q", line)
	}
	if h.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return h, err
	}
	for total := 0; total < maxHeader; {
		line, err = r.ReadSlice('\n')
		if err != nil {
			return h, err
		}
		total += len(line)
		if len(line) <= 2 {
			return h, nil
		}
		if err := h.field(line); err != nil {
			return h, err
		}
	}
	return h, errors.New("answer's header is too long")
}

// field takes in the header lines that say where the body ends. The first letter sorts out most of the others cheaply.
func (h *head) field(line []byte) (err error) {
	switch line[0] | 0x20 {
	case 'c', 't':
	default:
		return nil
	}
	name, value, _ := strings.Cut(string(line), ":")
	value = strings.TrimSpace(value)
	switch {
	case strings.EqualFold(name, "content-length"):
		h.length, err = strconv.ParseInt(value, 10, 64)
	case strings.EqualFold(name, "transfer-encoding"):
		h.chunked = strings.EqualFold(value, "chunked")
	case strings.EqualFold(name, "connection"):
		h.close = strings.EqualFold(value, "close")
	}
	return err
}

func (c *Conn) readBody(res *Response, n int64, discard bool) error {
	res.Size += n
	if discard {
		_, err := c.r.Discard(int(n))
		return err
	}
	at := len(c.in)
	if need := at + int(n); need > cap(c.in) {
		c.in = append(make([]byte, 0, need+need/2), c.in...)
	}
	c.in = c.in[:at+int(n)]
	_, err := io.ReadFull(c.r, c.in[at:])
	return err
}

func (c *Conn) readChunks(res *Response, discard bool) error {
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, _, _ := strings.Cut(strings.TrimSpace(string(line)), ";")
		n, err := strconv.ParseInt(size, 16, 64)
		if err != nil {
			return err
		}
		if n == 0 {
			return c.readTrailer()
		}
		if err := c.readBody(res, n, discard); err != nil {
			return err
		}
		if _, err := c.r.Discard(2); err != nil {
			return err
		}
	}
}

func (c *Conn) readTrailer() error {
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil || len(line) <= 2 {
			return err
		}
	}
}

func (c *Conn) readAll(res *Response, discard bool) error {
	if discard {
		n, err := io.Copy(io.Discard, c.r)
		res.Size += n
		return err
	}
	b, err := io.ReadAll(c.r)
	c.in = append(c.in, b...)
	res.Size += int64(len(b))
	return err
}
