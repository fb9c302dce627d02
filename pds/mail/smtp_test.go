package mail_test

import (
	"context"
	"crypto/tls"
	"errors"
	"mime"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"perch/pds/mail"
	"perch/pds/mail/mailtest"
)

var example = mail.Letters{Service: "Vogelhaus & Söhne", URL: "https://pds.example.com", Contact: "help@example.com"}

func letter(t *testing.T) mail.Message {
	t.Helper()
	m, ok := example.Code("reset_password", "alice@example.com", "alice.example.com", "ABCDE-FGH23", 15*time.Minute)
	if !ok {
		t.Fatal("no letter")
	}
	return m
}

func send(t *testing.T, s *mailtest.Server, url string, m mail.Message) error {
	t.Helper()
	opt := mail.Options{URL: strings.Replace(url, "HOST", s.Addr, 1), From: "pds@example.com", Name: example.Service, Hostname: "pds.example.com"}
	if s.Roots != nil {
		opt.TLS = &tls.Config{RootCAs: s.Roots}
	}
	server, err := mail.NewServer(opt)
	if err != nil {
		t.Fatal(err)
	}
	return server.Send(t.Context(), m)
}

// password has every character that URLs treat in a special way.
const (
	password        = `p@ss:w/o?r#d%&=+ "ü'`
	passwordEncoded = `p%40ss%3Aw%2Fo%3Fr%23d%25%26%3D%2B%20%22%C3%BC'`
)

func TestDeliveryByEveryKindOfServer(t *testing.T) {
	auth := mailtest.Options{User: "pds@example.com", Password: password}
	with := func(change func(*mailtest.Options)) mailtest.Options {
		o := auth
		change(&o)
		return o
	}
	const user = "pds%40example.com:" + passwordEncoded + "@"
	for name, c := range map[string]struct {
		server mailtest.Options
		url    string
		tls    bool
	}{
		"in the clear":                 {mailtest.Options{}, "smtp://HOST", false},
		"in the clear, with a slash":   {mailtest.Options{}, "smtp://HOST/", false},
		"STARTTLS when it is offered":  {mailtest.Options{StartTLS: true}, "smtp://HOST", true},
		"STARTTLS demanded":            {mailtest.Options{StartTLS: true}, "smtp://HOST?requireTLS=true", true},
		"STARTTLS not wanted":          {mailtest.Options{StartTLS: true}, "smtp://HOST?ignoreTLS=true", false},
		"TLS":                          {mailtest.Options{TLS: true}, "smtps://HOST", true},
		"TLS, password":                {with(func(o *mailtest.Options) { o.TLS = true }), "smtps://" + user + "HOST", true},
		"STARTTLS, password":           {with(func(o *mailtest.Options) { o.StartTLS = true }), "smtp://" + user + "HOST", true},
		"bare @ in the user":           {with(func(o *mailtest.Options) { o.TLS = true }), "smtps://pds@example.com:" + passwordEncoded + "@HOST", true},
		"LOGIN":                        {with(func(o *mailtest.Options) { o.TLS, o.Mechanism = true, "LOGIN" }), "smtps://" + user + "HOST", true},
		"password on this machine":     {auth, "smtp://" + user + "HOST", false},
		"password in the clear, asked": {auth, "smtp://" + user + "HOST?ignoreTLS=true", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := mailtest.Start(t, c.server)
			if err := send(t, s, c.url, letter(t)); err != nil {
				t.Fatal(err)
			}
			m := s.Next()
			if m.TLS != c.tls || m.User != c.server.User || m.From != "pds@example.com" || m.To != "alice@example.com" {
				t.Errorf("%+v", m)
			}
			if m.Code() != "ABCDE-FGH23" {
				t.Errorf("code %q in\n%s\n%s", m.Code(), m.Text, m.HTML)
			}
		})
	}
}

func TestAnyCertificateOnlyWhenAsked(t *testing.T) {
	s := mailtest.Start(t, mailtest.Options{TLS: true})
	s.Roots = nil // as it is with a certificate that the operator made
	err := send(t, s, "smtps://HOST", letter(t))
	if err == nil || !strings.Contains(err.Error(), "tls.rejectUnauthorized=false") {
		t.Fatalf("%v", err)
	}
	if err := send(t, s, "smtps://HOST?tls.rejectUnauthorized=false", letter(t)); err != nil {
		t.Fatal(err)
	}
}

func TestFailedDeliveries(t *testing.T) {
	full := &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 2, 2}, Message: "mailbox full"}
	refusing := func(err error) mailtest.Options { return mailtest.Options{Refuse: func(string) error { return err }} }
	for name, c := range map[string]struct {
		server mailtest.Options
		url    string
		final  bool
		says   string
	}{
		"wrong password":   {mailtest.Options{TLS: true, User: "u", Password: "p"}, "smtps://u:q@HOST", false, "percent-encoded"},
		"no STARTTLS":      {mailtest.Options{}, "smtp://HOST?requireTLS=true", false, "ignoreTLS=true"},
		"no TLS":           {mailtest.Options{}, "smtps://HOST", false, "smtp://"},
		"unknown mailbox":  {refusing(mailtest.NoSuchMailbox), "smtp://HOST", true, "no such mailbox"},
		"mailbox is full":  {refusing(full), "smtp://HOST", false, "full"},
		"password missing": {mailtest.Options{User: "u", Password: "p"}, "smtp://HOST", false, "auth"},
	} {
		t.Run(name, func(t *testing.T) {
			s := mailtest.Start(t, c.server)
			err := send(t, s, c.url, letter(t))
			if err == nil || errors.Is(err, mail.ErrRefused) != c.final || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(c.says)) {
				t.Errorf("%v", err)
			}
			if err != nil && strings.Contains(err.Error(), "ABCDE") {
				t.Errorf("the error has the code: %v", err)
			}
			s.Empty()
		})
	}
}

func TestSilentServerHoldsNobodyUp(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	server, err := mail.NewServer(mail.Options{URL: "smtp://" + ln.Addr().String(), From: "pds@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := ln.Accept()
		if err == nil {
			accepted <- c
			cancel()
		}
	}()
	if err := server.Send(ctx, letter(t)); err == nil {
		t.Error("a server that says nothing took a mail")
	}
	(<-accepted).Close()
}

func TestHeaders(t *testing.T) {
	s := mailtest.Start(t, mailtest.Options{})
	m := example.Plain("alice@example.com", "About your account\r\nBcc: everybody@example.com", "Grüße")
	m.ID = "mail-7"
	if err := send(t, s, "smtp://HOST", m); err != nil {
		t.Fatal(err)
	}
	got := s.Next()
	from, err := new(mime.WordDecoder).DecodeHeader(got.Header.Get("From"))
	if err != nil || from != `"Vogelhaus & Söhne" <pds@example.com>` && from != `Vogelhaus & Söhne <pds@example.com>` {
		t.Errorf("From: %q (%v)", from, err)
	}
	for name, want := range map[string]string{
		"Subject": "About your account Bcc: everybody@example.com", "Bcc": "", "Message-Id": "<mail-7@pds.example.com>", "Auto-Submitted": "auto-generated",
	} {
		if got.Header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Header.Get(name), want)
		}
	}
	if _, err := got.Header.Date(); err != nil {
		t.Error(err)
	}
	if got.Text != "Grüße\n" || got.HTML != "" {
		t.Errorf("%q %q", got.Text, got.HTML)
	}
}

func TestLetters(t *testing.T) {
	for purpose, subject := range map[string]string{
		"reset_password": "Password Reset Requested", "delete_account": "Account Deletion Requested", "confirm_email": "Email Confirmation",
		"update_email": "Email Update Requested", "plc_operation": "PLC Update Operation Requested",
		"sign_in": "Sign-in Code",
	} {
		m, ok := example.Code(purpose, "alice@example.com", "alice.<b>.example", "ABCDE-FGH23", 15*time.Minute)
		if !ok || m.Subject != subject || m.To != "alice@example.com" {
			t.Fatalf("%s: %+v", purpose, m)
		}
		for _, want := range []string{"ABCDE-FGH23", "15 minutes", "https://pds.example.com", "help@example.com"} {
			if !strings.Contains(m.Text, want) || !strings.Contains(m.HTML, want) {
				t.Errorf("%s does not say %q:\n%s\n%s", purpose, want, m.Text, m.HTML)
			}
		}
		if !strings.Contains(m.Text, "Vogelhaus & Söhne") || !strings.Contains(m.HTML, "Vogelhaus &amp; Söhne") || strings.Contains(m.HTML, "<b>") {
			t.Errorf("%s: names are not escaped as they should be:\n%s\n%s", purpose, m.Text, m.HTML)
		}
	}
	if _, ok := example.Code("nothing", "", "", "", 0); ok {
		t.Error("a letter for nothing")
	}
}

func TestURLs(t *testing.T) {
	for url, problem := range map[string]string{
		"smtp://mail.example.com":                     "",
		"smtps://u:p@mail.example.com:465/":           "",
		"smtp://[::1]:2525":                           "",
		"http://mail.example.com":                     "smtp://",
		"mail.example.com:25":                         "smtp://",
		"smtp://":                                     "no host",
		"smtps://u:pa#ss@mail.example.com":            "percent-encode",
		"smtps://u:pa/ss@mail.example.com":            "percent-encode",
		"smtps://u:pa%ss@mail.example.com":            "percent-encode",
		"smtp://mail.example.com:99999":               "port",
		"smtp://mail.example.com/path":                "after the port",
		"smtp://user:secret word@mail.example.com:25": "percent-encode",
	} {
		err := mail.ParseURL(url)
		if problem == "" && err != nil || problem != "" && (err == nil || !strings.Contains(err.Error(), problem)) {
			t.Errorf("%s: %v, want %q", url, err, problem)
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "pa%ss")) {
			t.Errorf("%s: the error has the password: %v", url, err)
		}
	}
}
