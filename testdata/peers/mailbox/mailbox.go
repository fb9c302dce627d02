// Package mailbox is an SMTP server for programs of any language that have to read the codes in mails.
package mailbox

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// Mailbox is an SMTP server that keeps what it is sent, and hands it out over HTTP: GET /ADDRESS is the newest message to it, once.
type Mailbox struct {
	SMTP string // URL
	HTTP string // URL

	mu   sync.Mutex
	mail map[string][]string // guarded by mu; by recipient
}

// Open starts one for the time of a test.
func Open(t testing.TB) *Mailbox {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	m := &Mailbox{SMTP: "smtp://" + ln.Addr().String(), mail: make(map[string][]string)}
	web := httptest.NewServer(http.HandlerFunc(m.serve))
	t.Cleanup(web.Close)
	m.HTTP = web.URL
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go m.receive(conn)
		}
	}()
	return m
}

func (m *Mailbox) serve(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	to := strings.ToLower(strings.TrimPrefix(r.URL.Path, "/"))
	all := m.mail[to]
	if len(all) == 0 {
		http.NotFound(w, r)
		return
	}
	delete(m.mail, to)
	fmt.Fprint(w, all[len(all)-1])
}

// receive speaks as much SMTP as it takes.
func (m *Mailbox) receive(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	var to []string
	fmt.Fprint(conn, "220 mailbox\r\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb := strings.ToUpper(line)
		switch {
		case strings.HasPrefix(verb, "RCPT TO:"):
			address, _, _ := strings.Cut(line[len("RCPT TO:"):], ">")
			to = append(to, strings.ToLower(strings.TrimLeft(address, " <")))
			fmt.Fprint(conn, "250 ok\r\n")
		case strings.HasPrefix(verb, "DATA"):
			fmt.Fprint(conn, "354 go on\r\n")
			m.keep(to, data(r))
			to = nil
			fmt.Fprint(conn, "250 ok\r\n")
		case strings.HasPrefix(verb, "QUIT"):
			fmt.Fprint(conn, "221 bye\r\n")
			return
		default:
			fmt.Fprint(conn, "250 ok\r\n")
		}
	}
}

func data(r *bufio.Reader) string {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil || line == ".\r\n" {
			return b.String()
		}
		b.WriteString(line)
	}
}

func (m *Mailbox) keep(to []string, text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, address := range to {
		m.mail[address] = append(m.mail[address], text)
	}
}

var codePattern = regexp.MustCompile(`\b[A-Z2-7]{5}-[A-Z2-7]{5}\b`)

// Code waits for a mail to an address and returns the code in it; "" when none comes.
func (m *Mailbox) Code(address string, patience time.Duration) string {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		m.mu.Lock()
		all := m.mail[address]
		delete(m.mail, address)
		m.mu.Unlock()
		if len(all) > 0 {
			if code := codePattern.FindString(all[len(all)-1]); code != "" {
				return code
			}
		}
	}
	return ""
}
