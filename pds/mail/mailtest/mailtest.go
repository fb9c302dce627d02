// Package mailtest is an SMTP server for tests. It takes mail over real sockets, with or without TLS and passwords, and shows what came.
package mailtest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/http/httptest"
	"net/mail"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// patience is how long a test waits for a mail that should come.
const patience = 20 * time.Second

// Options say what kind of server it is. The zero value takes everything in the clear.
type Options struct {
	TLS            bool // from the first byte
	StartTLS       bool
	User, Password string // "" for none
	// Mechanism of authentication: PLAIN unless it is set.
	Mechanism string
	// Refuse, unless nil, may refuse a recipient.
	Refuse func(to string) error
}

// Server is a running SMTP server.
type Server struct {
	Addr  string         // 127.0.0.1:port
	Roots *x509.CertPool // that know its certificate

	t     testing.TB
	opt   Options
	mails chan Mail
	tries atomic.Int64
}

// Mail is a message that came.
type Mail struct {
	From, To string // of the envelope
	Header   mail.Header
	Text     string
	HTML     string
	User     string // who was signed in
	TLS      bool
}

// NoSuchMailbox is a refusal for ever, for Options.Refuse.
var NoSuchMailbox error = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such mailbox"}

// Start starts a server, which ends with the test.
func Start(t testing.TB, opt Options) *Server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: ln.Addr().String(), t: t, opt: opt, mails: make(chan Mail, 100)}
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		s.tries.Add(1)
		return &session{server: s, conn: c}, nil
	}))
	server.Domain, server.AllowInsecureAuth, server.ErrorLog = "localhost", true, log.New(io.Discard, "", 0)
	if opt.TLS || opt.StartTLS {
		server.TLSConfig = s.certificate()
	}
	if opt.TLS {
		ln, server.TLSConfig = tls.NewListener(ln, server.TLSConfig), nil
	}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { _ = server.Close() })
	return s
}

// certificate borrows the one that net/http/httptest has for 127.0.0.1.
func (s *Server) certificate() *tls.Config {
	web := httptest.NewUnstartedServer(nil)
	web.StartTLS()
	defer web.Close()
	s.Roots = x509.NewCertPool()
	s.Roots.AddCert(web.Certificate())
	return &tls.Config{Certificates: web.TLS.Certificates}
}

// Next waits for the next mail.
func (s *Server) Next() Mail {
	s.t.Helper()
	select {
	case m := <-s.mails:
		return m
	case <-time.After(patience):
		s.t.Fatal("no mail came")
		return Mail{}
	}
}

// Empty fails the test if there is a mail that nobody has taken.
func (s *Server) Empty() {
	s.t.Helper()
	select {
	case m := <-s.mails:
		s.t.Errorf("unexpected mail to %s: %s", m.To, m.Header.Get("Subject"))
	default:
	}
}

// Connections is how many clients have got as far as a greeting.
func (s *Server) Connections() int { return int(s.tries.Load()) }

var code = regexp.MustCompile(`\b[A-Z2-7]{5}-[A-Z2-7]{5}\b`)

// Code returns the code in the text, which the HTML must have too; "" when there is none.
func (m *Mail) Code() string {
	found := code.FindString(m.Text)
	if found == "" || m.HTML != "" && code.FindString(m.HTML) != found {
		return ""
	}
	return found
}

type session struct {
	server *Server
	conn   *smtp.Conn
	mail   Mail
	user   string
}

var errPassword = &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "bad user or password"}

func (s *session) AuthMechanisms() []string {
	if s.server.opt.User == "" {
		return nil
	}
	if m := s.server.opt.Mechanism; m != "" {
		return []string{m}
	}
	return []string{sasl.Plain}
}

func (s *session) Auth(mechanism string) (sasl.Server, error) {
	check := func(user, password string) error {
		if user != s.server.opt.User || password != s.server.opt.Password {
			return errPassword
		}
		s.user = user
		return nil
	}
	if mechanism == sasl.Login {
		return &login{check: check}, nil
	}
	return sasl.NewPlainServer(func(_, user, password string) error { return check(user, password) }), nil
}

// login is the server's half of the mechanism LOGIN.
type login struct {
	check func(user, password string) error
	step  int
	user  string
}

func (l *login) Next(response []byte) (challenge []byte, done bool, err error) {
	l.step++
	switch l.step {
	case 1:
		return []byte("Username:"), false, nil
	case 2:
		l.user = string(response)
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check(l.user, string(response))
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if s.server.opt.User != "" && s.user == "" {
		return smtp.ErrAuthRequired
	}
	s.mail.From = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if s.server.opt.Refuse != nil {
		if err := s.server.opt.Refuse(to); err != nil {
			return err
		}
	}
	s.mail.To = to
	return nil
}

func (s *session) Data(r io.Reader) error {
	raw, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	m := s.mail
	m.Header, m.User = raw.Header, s.user
	_, m.TLS = s.conn.TLSConnectionState()
	if err := m.read(raw.Header.Get("Content-Type"), raw.Header.Get("Content-Transfer-Encoding"), raw.Body); err != nil {
		return err
	}
	s.server.mails <- m
	return nil
}

// read takes the text and the HTML out of a body.
func (m *Mail) read(contentType, encoding string, body io.Reader) error {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return err
	}
	if strings.HasPrefix(kind, "multipart/") {
		for parts := multipart.NewReader(body, params["boundary"]); ; {
			p, err := parts.NextRawPart()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err == nil {
				err = m.read(p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p)
			}
			if err != nil {
				return err
			}
		}
	}
	if encoding == "quoted-printable" {
		body = quotedprintable.NewReader(body)
	}
	var text bytes.Buffer
	if _, err := text.ReadFrom(body); err != nil {
		return err
	}
	switch kind {
	case "text/plain":
		m.Text = strings.ReplaceAll(text.String(), "\r\n", "\n")
	case "text/html":
		m.HTML = text.String()
	}
	return nil
}

func (s *session) Reset()        { s.mail = Mail{} }
func (s *session) Logout() error { return nil }
