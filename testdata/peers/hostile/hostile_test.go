package hostile

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"perch/testdata/peers/bench/server"
	"perch/testdata/peers/bench/wire"
	"perch/testdata/peers/peertest"
)

const (
	minRows     = 600
	maxMemory   = 600 << 20 // after everything; far above what it should be, far below what a leak of the large bodies makes
	adminSecret = "admin"
	jwtSecret   = "0123456789abcdef0123456789abcdef" // that of server.Perch
)

// target is the server under attack.
type target struct {
	*server.Process
	spec      server.Spec
	reference bool
	alice     *wire.Account
	bob       *wire.Account
	victim    *wire.Account
	leaver    *wire.Account // its sessions end
	record    wire.Written  // one of alice's
	blob      string        // JSON of a blob that alice has uploaded
	vectors   string        // the folder of indigo's module
	sender    *sender
}

func TestHostile(t *testing.T) {
	s := start(t)
	rows := s.rows(t)
	if len(rows) < minRows {
		t.Fatalf("only %d rows", len(rows))
	}
	t.Logf("%d requests", len(rows))
	for _, group := range rows {
		t.Run(group.name, func(t *testing.T) {
			a, err := s.sender.send(&group)
			if err != nil {
				t.Fatalf("no answer: %v", err)
			}
			if err := group.judge(a); err != nil {
				t.Errorf("%s %.200s: %v", group.verb(), group.path, err)
			}
		})
	}
	t.Run("raw", func(t *testing.T) { s.rawHTTP(t) })
	t.Run("slow", func(t *testing.T) { s.slow(t) })
	t.Run("websocket", func(t *testing.T) { s.websocket(t) })
	s.unharmed(t)
}

// rows puts the whole table together.
func (s *target) rows(t *testing.T) []row {
	var rows []row
	lexicons := s.lexicons(t)
	for _, part := range []struct {
		name string
		rows []row
	}{
		{"route", s.routeRows()},
		{"param", s.paramRows(t, lexicons)},
		{"input", s.inputRows(t, lexicons)},
		{"json", s.jsonRows(lexicons)},
		{"record", s.recordRows(t)},
		{"write", s.writeRows(t)},
		{"token", s.tokenRows(t)},
		{"swap", s.swapRows()},
		{"header", s.headerRows()},
		{"sync", s.syncRows(t)},
		{"car", s.carRows()},
	} {
		for _, r := range part.rows {
			r.name = part.name + "/" + r.name
			rows = append(rows, r)
		}
	}
	return rows
}

func start(t *testing.T) *target {
	dir := t.TempDir()
	s := &target{reference: os.Getenv("PERCH_HOSTILE_TARGET") == "reference", vectors: indigo(t)}
	s.spec = peertest.Spec(t, dir, peertest.PLC(t, dir), s.reference)
	s.spec.Env = append(s.spec.Env, "LOG_ENABLED=true", "PDS_LOG_LEVEL=info")
	s.Process = peertest.Start(t, s.spec)
	s.sender = &sender{addr: s.Addr, auth: s.authorization}
	s.populate(t)
	return s
}

// indigo is the folder of the indigo module, for its lexicons and syntax vectors.
func indigo(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/bluesky-social/indigo").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func (s *target) populate(t *testing.T) {
	t.Helper()
	c := wire.NewConn(s.Addr)
	defer c.Close()
	for name, to := range map[string]**wire.Account{"alice": &s.alice, "bob": &s.bob, "victim": &s.victim, "leaver": &s.leaver} {
		a, err := wire.CreateAccount(c, name)
		if err != nil {
			t.Fatal(err)
		}
		*to = a
	}
	s.post(t, c, &s.record)
	res, err := c.Do(&wire.Request{Method: "POST", Path: wire.XRPC("com.atproto.repo.uploadBlob", ""), Token: s.alice.Token, ContentType: "text/plain", Body: []byte("some text")})
	if err != nil || res.Status != 200 {
		t.Fatalf("uploadBlob: %d %s %v", res.Status, res.Body, err)
	}
	s.blob = strings.TrimSuffix(strings.TrimPrefix(string(res.Body), `{"blob":`), "}")
}

func (s *target) post(t *testing.T, c *wire.Conn, out *wire.Written) {
	t.Helper()
	body := wire.NewPosts("hostile").AppendCreate(nil, s.alice.DID)
	err := wire.Call(c, &wire.Request{Method: "POST", Path: wire.XRPC("com.atproto.repo.createRecord", ""), Token: s.alice.Token, ContentType: "application/json", Body: body}, out)
	if err != nil {
		t.Fatal(err)
	}
}

func (s *target) authorization(p principal) string {
	switch p {
	case nobody:
		return ""
	case alice:
		return "Bearer " + s.alice.Token
	case victim:
		return "Bearer " + s.victim.Token
	case refresh:
		return "Bearer " + s.leaver.Refresh
	case admin:
		return "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+adminSecret))
	}
	return strings.TrimPrefix(string(p), "raw:")
}

var (
	loggedFailure = regexp.MustCompile(`(?m)^.*"?status(?:Code)?"?[=:]\s*"?5\d\d\b.*$`)
	loggedPanic   = regexp.MustCompile(`(?m)^.*(panic|goroutine \d+ \[|fatal error|SIGSEGV).*$`)
)

// unharmed checks that the server is what it was before.
func (s *target) unharmed(t *testing.T) {
	if !s.Running() {
		t.Fatalf("the server is gone\n%s", s.LogTail())
	}
	c := wire.NewConn(s.Addr)
	defer c.Close()
	if err := wire.Call(c, &wire.Request{Path: "/xrpc/_health"}, nil); err != nil {
		t.Error(err)
	}
	s.post(t, c, new(wire.Written))
	for _, a := range []*wire.Account{s.alice, s.bob, s.victim} {
		if err := wire.Call(c, &wire.Request{Path: wire.XRPC("com.atproto.server.getSession", ""), Token: a.Token}, nil); err != nil {
			t.Errorf("the session of %s did not survive: %v", a.Handle, err)
		}
	}
	if u, err := s.Usage(); err != nil || u.RSS > maxMemory {
		t.Errorf("memory is %d MB, %v", u.RSS>>20, err)
	}
	log, err := os.ReadFile(s.Log)
	if err != nil {
		t.Fatal(err)
	}
	for what, lines := range map[string]*regexp.Regexp{"a 500": loggedFailure, "a panic": loggedPanic} {
		if found := lines.FindAll(log, -1); len(found) > 0 {
			t.Errorf("the log holds %s, %d times, first: %.600s\nlast: %.600s", what, len(found), found[0], found[len(found)-1])
		}
	}
	if s.reference {
		return
	}
	if len(log) == 0 {
		t.Error("the log is empty, so it proves nothing")
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if err := s.check(); err != nil {
		t.Error(err)
	}
}

func (s *target) check() error {
	cmd := exec.Command(s.spec.Command[0], "check")
	cmd.Env = append(os.Environ(), s.spec.Env...)
	cmd.Dir = s.spec.Dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("perch check: %w\n%s", err, out)
	}
	return nil
}
