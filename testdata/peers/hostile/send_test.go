package hostile

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	answerWait = time.Minute // a server under load may take its time; none at all is a failure
	maxAnswer  = 8 << 20
)

// row is one request and what must become of it.
type row struct {
	name   string
	method string // GET when empty
	path   string
	as     principal
	header http.Header
	body   []byte
	kind   string // content type; "" sends none

	want    string // error names that will do, separated by |; "" any
	status  []int  // statuses that will do; any 4xx when empty
	lenient bool   // may also succeed: the value is odd, not wrong. Only a 5xx or a broken answer fails
	page    bool   // not an XRPC method: the refusal needs no name
}

// principal is how the request authenticates.
type principal string

const (
	nobody  principal = ""
	alice   principal = "alice"
	victim  principal = "victim" // for requests that might harm the account if the server took them
	refresh principal = "refresh"
	admin   principal = "admin"
)

// raw is an Authorization header as it stands.
func raw(authorization string) principal { return principal("raw:" + authorization) }

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// sender keeps one connection to the server.
type sender struct {
	addr string
	auth func(principal) string
	conn net.Conn
	r    *bufio.Reader
}

func (s *sender) close() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// send makes the request byte by byte, since net/http's client would refuse to send many of them.
func (s *sender) send(r *row) (*answer, error) {
	res, err := s.try(r)
	var timeout net.Error
	if err != nil && !(errors.As(err, &timeout) && timeout.Timeout()) { // a kept connection may have been closed because of the request before
		s.close()
		res, err = s.try(r)
	}
	if err != nil {
		s.close()
	}
	return res, err
}

func (s *sender) try(r *row) (*answer, error) {
	if s.conn == nil {
		conn, err := net.DialTimeout("tcp", s.addr, answerWait)
		if err != nil {
			return nil, err
		}
		s.conn, s.r = conn, bufio.NewReader(conn)
	}
	s.conn.SetDeadline(time.Now().Add(answerWait))
	head := s.encode(r)
	// A server may refuse while the body is still on its way, so writing must not hold up reading.
	sent := make(chan error, 1)
	conn := s.conn
	go func() {
		_, err := conn.Write(append(head, r.body...))
		sent <- err
	}()
	res, err := http.ReadResponse(s.r, &http.Request{Method: r.verb()})
	if err != nil {
		s.close()
		<-sent
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if res.Close || len(r.body) > 64<<10 || err != nil {
		s.close()
	}
	<-sent
	return &answer{res.StatusCode, res.Header, body}, nil
}

func (r *row) verb() string {
	if r.method == "" {
		return http.MethodGet
	}
	return r.method
}

func (s *sender) encode(r *row) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.verb(), r.path, s.addr)
	if a := s.auth(r.as); a != "" {
		fmt.Fprintf(&b, "Authorization: %s\r\n", a)
	}
	if r.kind != "" {
		fmt.Fprintf(&b, "Content-Type: %s\r\n", r.kind)
	}
	for name, values := range r.header {
		for _, v := range values {
			fmt.Fprintf(&b, "%s: %s\r\n", name, v)
		}
	}
	if r.body != nil || r.verb() == http.MethodPost {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.body))
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

var (
	errorName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*$`)
	// oauthErrorName is what RFC 6750 and RFC 9449 call what is wrong with an app's token or proof.
	oauthErrorName = regexp.MustCompile(`^(invalid_token|invalid_dpop_proof|use_dpop_nonce)$`)
)

// judge tells what is wrong with an answer.
func (r *row) judge(a *answer) error {
	switch {
	case a.status >= 500:
		return fmt.Errorf("status %d: %.300s", a.status, a.body)
	case a.status < 400 && r.lenient:
		return nil
	case a.status < 400:
		return fmt.Errorf("accepted with %d: %.200s", a.status, a.body)
	case len(r.status) > 0 && !slices.Contains(r.status, a.status):
		return fmt.Errorf("status %d, want %v: %.200s", a.status, r.status, a.body)
	case r.page || r.method == http.MethodHead:
		return nil
	}
	return r.judgeName(a)
}

func (r *row) judgeName(a *answer) error {
	var e struct {
		Error   *string
		Message *string
	}
	if err := json.Unmarshal(a.body, &e); err != nil {
		return fmt.Errorf("status %d with a body that is not JSON: %.200q", a.status, a.body)
	}
	if !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		return fmt.Errorf("status %d with content type %q", a.status, a.header.Get("Content-Type"))
	}
	names := errorName
	if strings.HasPrefix(a.header.Get("WWW-Authenticate"), "DPoP ") {
		names = oauthErrorName
	}
	if e.Error == nil || e.Message == nil || !names.MatchString(*e.Error) || *e.Message == "" {
		return fmt.Errorf("status %d without a name and a message: %.200s", a.status, a.body)
	}
	if r.want != "" && !slices.Contains(strings.Split(r.want, "|"), *e.Error) {
		return fmt.Errorf("status %d named %s, want %s: %.200s", a.status, *e.Error, r.want, *e.Message)
	}
	return nil
}

// dialogue sends bytes as they are on a connection of its own and returns the first status line's code; 0 when the server
// closed the connection without one.
func dialogue(addr string, request []byte) (int, error) {
	conn, err := net.DialTimeout("tcp", addr, answerWait)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(answerWait))
	go conn.Write(request)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return 0, errors.New("no answer and no end")
	}
	if err != nil {
		return 0, nil
	}
	res.Body.Close()
	return res.StatusCode, nil
}
