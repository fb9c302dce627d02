package main

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	_ "modernc.org/sqlite"
)

// patience is how long a script waits for what must happen.
const patience = 60 * time.Second

// insist: sends SIGTERM to all background commands again and again until they have ended.
func insist(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: insist")
	}
	for _, cmd := range ts.BackgroundCmds() {
		end := time.Now().Add(patience)
		for cmd.Process.Signal(syscall.SIGTERM) == nil {
			if time.Now().After(end) {
				ts.Fatalf("it goes on in spite of SIGTERM")
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// stall PORT: begins a request that never ends, and returns when the server has begun to read its body.
func stall(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: stall PORT")
	}
	conn, err := net.Dial("tcp", "127.0.0.1:"+args[0])
	ts.Check(err)
	ts.Defer(func() { _ = conn.Close() })
	_, err = fmt.Fprint(conn, "POST /xrpc/com.atproto.server.createSession HTTP/1.1\r\nHost: localhost\r\n"+
		"Content-Type: application/json\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
	ts.Check(err)
	ts.Check(conn.SetReadDeadline(time.Now().Add(patience)))
	line, err := bufio.NewReader(conn).ReadString('\n')
	ts.Check(err)
	if !strings.Contains(line, "100 Continue") {
		ts.Fatalf("the server answers %q", line)
	}
}

// post PORT HANDLE PASSWORD: uploads a picture and posts it.
func post(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: post PORT HANDLE PASSWORD")
	}
	origin := "http://127.0.0.1:" + args[0]
	var session struct{ AccessJwt string }
	ts.Check(call(origin, "com.atproto.server.createSession", "application/json", "",
		fmt.Appendf(nil, `{"identifier":%q,"password":%q}`, args[1], args[2]), &session))
	var upload struct{ Blob json.RawMessage }
	ts.Check(call(origin, "com.atproto.repo.uploadBlob", "image/png", session.AccessJwt,
		[]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"), &upload))
	record := fmt.Appendf(nil, `{"text":"look","createdAt":"2026-01-01T00:00:00Z","embed":{"$type":"app.bsky.embed.images","images":[{"alt":"","image":%s}]}}`, upload.Blob)
	ts.Check(call(origin, "com.atproto.repo.createRecord", "application/json", session.AccessJwt,
		fmt.Appendf(nil, `{"repo":%q,"collection":"app.bsky.feed.post","record":%s}`, args[1], record), &struct{}{}))
}

func call(origin, nsid, contentType, token string, body []byte, out any) error {
	req, err := http.NewRequest(http.MethodPost, origin+"/xrpc/"+nsid, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New(nsid + ": " + res.Status)
	}
	return json.NewDecoder(res.Body).Decode(out)
}

// copy FROM TO: copies a folder, in place of the one that is there. Files become private.
func copyTree(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: copy FROM TO")
	}
	to := ts.MkAbs(args[1])
	ts.Check(os.RemoveAll(to))
	ts.Check(os.CopyFS(to, os.DirFS(ts.MkAbs(args[0]))))
	ts.Check(filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Chmod(path, 0o600)
	}))
}

// sql FILE STATEMENT: changes a database behind the server's back.
func runSQL(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sql FILE STATEMENT")
	}
	db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	defer db.Close()
	res, err := db.Exec(args[1])
	ts.Check(err)
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		ts.Fatalf("the statement changes %d rows (%v)", n, err)
	}
}

// remove PATTERN: deletes the files that match.
func removeFiles(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: remove PATTERN")
	}
	files, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(files) == 0 {
		ts.Fatalf("no file matches %s", args[0])
	}
	for _, f := range files {
		ts.Check(os.Remove(f))
	}
}
