package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
)

const (
	// sendTimeout bounds every step of a delivery: connecting, and each command.
	sendTimeout = 30 * time.Second

	portSubmission  = 587 // STARTTLS
	portSubmissions = 465 // TLS from the first byte
)

// encryption says how a connection gets its TLS.
type encryption int

const (
	startTLS  encryption = iota // STARTTLS, or no delivery
	fromStart                   // TLS from the first byte
	ifOffered                   // STARTTLS if the server has it
	none
)

// Options configure NewServer. URL and From are needed.
type Options struct {
	// URL of the SMTP server, as PDS_EMAIL_SMTP_URL: smtp://user:password@host:port or smtps://…. Special characters of user and password are
	// percent-encoded. See ParseURL.
	URL string
	// From is the sender's address, bare or with a name.
	From string
	// Name stands before the address of a bare From.
	Name string
	// Hostname is what the server says it is, to the other one and in message ids; "" for "localhost".
	Hostname string
	// TLS, unless nil, replaces the usual TLS settings, for tests.
	TLS *tls.Config
}

// Server is an SMTP server that takes our mail. It is safe for use by many goroutines.
type Server struct {
	where         location
	name, address string
	hostname      string
	tls           *tls.Config
}

// location is what a URL says.
type location struct {
	host           string
	port           int
	user, password string
	encryption     encryption
	anyCertificate bool
}

// ParseURL checks the URL of an SMTP server. Without a port it is 465 for smtps and 587 for smtp. With smtps, or on port 465, TLS begins with
// the first byte. With smtp, STARTTLS is used if it is offered, and is demanded where a password would go over the network otherwise.
// Parameters, which are those that the reference understands: requireTLS=true demands STARTTLS, ignoreTLS=true never uses it,
// tls.rejectUnauthorized=false takes any certificate.
func ParseURL(raw string) error {
	_, err := parseURL(raw)
	return err
}

func parseURL(raw string) (location, error) {
	u, err := url.Parse(raw)
	if err != nil { // its own words would repeat the password
		return location{}, errors.New("it is no URL; special characters of user and password must be percent-encoded: %23 for #, %2F for /, %3F for ?, %25 for %")
	}
	if u.Scheme != "smtp" && u.Scheme != "smtps" {
		return location{}, errors.New("it must begin with smtp:// or smtps://")
	}
	l := location{host: u.Hostname(), port: portSubmission}
	if l.host == "" {
		return location{}, errors.New("it names no host")
	}
	if u.Scheme == "smtps" {
		l.port = portSubmissions
	}
	if p := u.Port(); p != "" {
		if l.port, err = strconv.Atoi(p); err != nil || l.port < 1 || l.port > 1<<16-1 {
			return location{}, errors.New("its port is no TCP port")
		}
	}
	if u.Path != "" && u.Path != "/" || u.Fragment != "" {
		return location{}, errors.New("there is something after the port; if that is part of the password, percent-encode it: %23 for #, %2F for /, %3F for ?")
	}
	l.user = u.User.Username()
	l.password, _ = u.User.Password()
	query := u.Query()
	l.anyCertificate = query.Get("tls.rejectUnauthorized") == "false"
	l.encryption = l.encryptionFor(u.Scheme, query)
	return l, nil
}

func (l *location) encryptionFor(scheme string, query url.Values) encryption {
	switch {
	case scheme == "smtps" || l.port == portSubmissions:
		return fromStart
	case query.Get("ignoreTLS") == "true":
		return none
	case query.Get("requireTLS") == "true", l.user != "" && !isLoopback(l.host):
		return startTLS
	}
	return ifOffered
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// NewServer returns the server that the options name. It does not connect. The error says what is wrong with the options.
func NewServer(opt Options) (*Server, error) {
	s := &Server{hostname: opt.Hostname, tls: opt.TLS}
	var err error
	if s.where, err = parseURL(opt.URL); err != nil {
		return nil, err
	}
	if s.name, s.address, err = ParseSender(opt.From); err != nil {
		return nil, err
	}
	if s.name == "" {
		s.name = opt.Name
	}
	if s.hostname == "" {
		s.hostname = "localhost"
	}
	return s, nil
}

// Send delivers a message. ErrRefused says that the recipient does not exist or does not want it; with any other error it may work later.
func (s *Server) Send(ctx context.Context, m Message) error {
	msg, err := s.message(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*sendTimeout)
	defer cancel()
	client, err := s.client(ctx)
	if err != nil {
		return err
	}
	session, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return fmt.Errorf("mail server %s: %w", s.where.host, s.explain(err))
	}
	if err := client.SendWithSMTPClient(session, msg); err != nil {
		return sendError(err)
	}
	_ = client.CloseWithSMTPClient(session) // it has been taken: a farewell that fails must not send it again
	return nil
}

// message builds the MIME form.
func (s *Server) message(m Message) (*gomail.Msg, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	err := msg.FromFormat(s.name, s.address)
	if err == nil {
		err = msg.To(m.To)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	msg.Subject(oneLine(m.Subject))
	msg.SetDate()
	if m.ID != "" {
		msg.SetMessageIDWithValue(m.ID + "@" + s.hostname)
	} else {
		msg.SetMessageID()
	}
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // no out-of-office answers, please
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	if m.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	}
	return msg, nil
}

// client makes the library's client for one delivery. Its connection is closed when ctx ends.
func (s *Server) client(ctx context.Context) (*gomail.Client, error) {
	config := s.tlsConfig()
	opts := []gomail.Option{
		gomail.WithPort(s.where.port), gomail.WithTimeout(sendTimeout), gomail.WithHELO(s.hostname), gomail.WithTLSConfig(config),
		gomail.WithDialContextFunc(func(dial context.Context, _, _ string) (net.Conn, error) {
			conn, err := s.dial(dial, config)
			if err == nil { // the library leaves it open when the greeting fails, and waits for answers whatever becomes of ctx
				context.AfterFunc(ctx, func() { _ = conn.Close() })
			}
			return conn, err
		}),
	}
	switch s.where.encryption {
	case startTLS:
		opts = append(opts, gomail.WithTLSPolicy(gomail.TLSMandatory))
	case ifOffered:
		opts = append(opts, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	default:
		opts = append(opts, gomail.WithTLSPolicy(gomail.NoTLS))
	}
	if s.where.user != "" {
		opts = append(opts, gomail.WithUsername(s.where.user), gomail.WithPassword(s.where.password), s.mechanisms())
	}
	return gomail.NewClient(s.where.host, opts...)
}

func (s *Server) dial(ctx context.Context, config *tls.Config) (net.Conn, error) {
	addr := net.JoinHostPort(s.where.host, strconv.Itoa(s.where.port)) // the library's own lacks the brackets of IPv6
	if s.where.encryption == fromStart {
		return (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", addr)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
}

// mechanisms are tried in the order of the reference's library, so that what works there works here. In the clear a password goes to this
// machine, or where the operator has said so.
func (s *Server) mechanisms() gomail.Option {
	if s.where.encryption == none {
		return gomail.WithOpportunisticSMTPAuth(gomail.SMTPAuthPlainNoEnc, gomail.SMTPAuthLoginNoEnc, gomail.SMTPAuthCramMD5)
	}
	return gomail.WithOpportunisticSMTPAuth(gomail.SMTPAuthPlain, gomail.SMTPAuthLogin, gomail.SMTPAuthCramMD5,
		gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthSCRAMSHA1)
}

func (s *Server) tlsConfig() *tls.Config {
	config := &tls.Config{}
	if s.tls != nil {
		config = s.tls.Clone()
	}
	config.ServerName, config.MinVersion = s.where.host, tls.VersionTLS12
	config.InsecureSkipVerify = s.where.anyCertificate // only when the operator has said so, for a server of their own
	return config
}

// explain adds to an error of connecting what the operator can do.
func (s *Server) explain(err error) error {
	var unknown *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	switch text := err.Error(); {
	case errors.As(err, &unknown):
		return fmt.Errorf("%w; name the host as its certificate does, or add ?tls.rejectUnauthorized=false to the URL if it is your own server", err)
	case errors.As(err, &header):
		return fmt.Errorf("%w; it speaks no TLS on this port: begin the URL with smtp:// or use port %d", err, portSubmissions)
	case strings.Contains(text, "does not support STARTTLS"):
		return fmt.Errorf("%w; use smtps://, or add ?ignoreTLS=true to the URL to send the password in the clear", err)
	case strings.Contains(text, "AUTH failed"):
		return fmt.Errorf("%w; are user and password right, and their special characters percent-encoded?", err)
	}
	return err
}

// sendError tells what the server will never take from what it may take later.
func sendError(err error) error {
	var e *gomail.SendError
	if errors.As(err, &e) && e.Reason == gomail.ErrSMTPRcptTo && !e.IsTemp() && e.ErrorCode() >= 500 {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}
