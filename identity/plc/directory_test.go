package plc

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// testDirectory is a directory on loopback whose clock the test sets.
type testDirectory struct {
	*Directory
	*Client
	url string
	now time.Time
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func openTest(t *testing.T, path string) *testDirectory {
	t.Helper()
	td := &testDirectory{now: start}
	d, err := OpenDirectory(path, DirectoryOptions{Now: func() time.Time { return td.now }, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	srv := httptest.NewServer(d)
	t.Cleanup(srv.Close)
	td.Directory, td.Client, td.url = d, NewClient(srv.URL, srv.Client()), srv.URL
	return td
}

func (td *testDirectory) get(t *testing.T, path string) (int, string, http.Header) {
	t.Helper()
	res, err := http.Get(td.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b), res.Header
}

func (td *testDirectory) post(t *testing.T, did syntax.DID, body string) (int, string) {
	t.Helper()
	res, err := http.Post(td.url+"/"+did.String(), "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

func TestDirectoryLife(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plc.jsonl")
	td := openTest(t, path)
	ctx := context.Background()
	h := newHistory(t)
	unknown := syntax.DID("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")

	if _, err := td.Client.Document(ctx, h.did); !errors.Is(err, ErrNotFound) {
		t.Fatalf("unknown DID: %v", err)
	}
	if err := td.Client.Submit(ctx, unknown, h.log[0].Operation); !errors.Is(err, ErrInvalidOperation) {
		t.Errorf("genesis under another DID: %v", err)
	}
	if err := td.Client.Submit(ctx, h.did, h.log[0].Operation); err != nil {
		t.Fatal(err)
	}
	if err := td.Client.Submit(ctx, h.did, h.log[0].Operation); err != nil {
		t.Errorf("repeating a submission that was taken: %v", err)
	}
	doc, err := td.Client.Document(ctx, h.did)
	if err != nil || !strings.Contains(string(doc), `"at://alice.example.com"`) {
		t.Fatalf("document %s, %v", doc, err)
	}
	h.must(h.update(0, "thief.example.com", h.low), start)
	if err := td.Client.Submit(ctx, h.did, h.log[1].Operation); err != nil {
		t.Fatal(err)
	}
	if err := td.Client.Submit(ctx, h.did, h.update(0, "other.example.com", h.low)); !errors.Is(err, ErrInvalidOperation) {
		t.Errorf("fork without authority: %v", err)
	}
	td.now = start.Add(RecoveryWindow)
	h.must(h.update(0, "back.example.com", h.high), td.now)
	if err := td.Client.Submit(ctx, h.did, h.log[2].Operation); err != nil {
		t.Fatal(err)
	}
	h.must(h.tombstone(2, h.low), td.now)
	if err := td.Client.Submit(ctx, h.did, h.log[3].Operation); err != nil {
		t.Fatal(err)
	}
	if _, err := td.Client.Document(ctx, h.did); !errors.Is(err, ErrTombstoned) {
		t.Errorf("document of a tombstoned DID: %v", err)
	}
	if _, err := td.Client.Data(ctx, h.did); !errors.Is(err, ErrTombstoned) {
		t.Errorf("data of a tombstoned DID: %v", err)
	}

	check := func(td *testDirectory) {
		t.Helper()
		log, err := td.Client.Audit(ctx, h.did)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := json.Marshal(log)
		want, _ := json.Marshal(h.log)
		if !bytes.Equal(got, want) {
			t.Errorf("audit log\ngot  %s\nwant %s", got, want)
		}
		if last, err := td.Client.Last(ctx, h.did); err != nil || last.Type != TypeTombstone {
			t.Errorf("last = %+v, %v", last, err)
		}
		if ops, err := td.Client.Log(ctx, h.did); err != nil || len(ops) != 3 {
			t.Errorf("log = %d operations, %v", len(ops), err)
		}
	}
	check(td)
	td.Directory.Close()
	check(openTest(t, path)) // the same after a restart
}

func TestDirectoryStatuses(t *testing.T) {
	td := openTest(t, "")
	h := newHistory(t)
	genesis, _ := json.Marshal(h.log[0].Operation)
	if status, body := td.post(t, h.did, string(genesis)); status != 200 {
		t.Fatalf("genesis: %d %s", status, body)
	}
	for path, want := range map[string]int{
		"/_health":                          200,
		"/":                                 200,
		"/did:plc:aaaaaaaaaaaaaaaaaaaaaaaa": 404,
		"/did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/log/audit": 404,
		"/did:plc:short":                        400,
		"/did:web:example.com":                  400,
		"/" + h.did.String():                    200,
		"/" + h.did.String() + "/data":          200,
		"/" + h.did.String() + "/log":           200,
		"/" + h.did.String() + "/log/last":      200,
		"/" + h.did.String() + "/log/audit":     200,
		"/" + h.did.String() + "/log/nothing":   404,
		"/did%3Aplc%3Aaaaaaaaaaaaaaaaaaaaaaaaa": 404,
		"/export?count=0":                       400,
		"/export?after=yesterday":               400,
	} {
		if status, body, _ := td.get(t, path); status != want {
			t.Errorf("GET %s = %d %s, want %d", path, status, body, want)
		}
	}
	if _, _, header := td.get(t, "/"+h.did.String()); !strings.HasPrefix(header.Get("Content-Type"), "application/did+ld+json") {
		t.Errorf("content type of a document: %s", header.Get("Content-Type"))
	} else if header.Get("Access-Control-Allow-Origin") != "*" {
		t.Error("a web page may not read documents")
	}
	req, _ := http.NewRequest(http.MethodOptions, td.url+"/"+h.did.String(), nil)
	if res, err := http.DefaultClient.Do(req); err != nil || res.StatusCode != 204 {
		t.Errorf("OPTIONS: %v, %v", res, err)
	}
	misordered := h.update(0, "x.example.com", h.high)
	misordered.Prev = hashCID([]byte("x")).String()
	signed, _ := json.Marshal(sign(t, misordered, h.high))
	for name, tt := range map[string]struct {
		body string
		want int
	}{
		"not JSON":       {"{", 400},
		"no operation":   {"{}", 400},
		"misordered":     {string(signed), 409},
		"second genesis": {string(genesis), 409},
		"too large":      {strings.Repeat(" ", maxPostBody+1) + "{}", 413},
	} {
		status, body := td.post(t, h.did, tt.body)
		var answer struct{ Message string }
		if status != tt.want || json.Unmarshal([]byte(body), &answer) != nil || answer.Message == "" {
			t.Errorf("POST %s = %d %s, want %d and a message", name, status, body, tt.want)
		}
	}
}

func TestDirectoryRateLimit(t *testing.T) {
	td := openTest(t, "")
	h := newHistory(t)
	if err := td.Directory.Submit(h.did, h.log[0].Operation); err != nil {
		t.Fatal(err)
	}
	for i := range 9 {
		op := h.update(i, "x"+string(rune('a'+i))+".example.com", h.low)
		h.must(op, start)
		if err := td.Directory.Submit(h.did, op); err != nil {
			t.Fatal(i, err)
		}
	}
	op := h.update(9, "last.example.com", h.low)
	if err := td.Client.Submit(context.Background(), h.did, op); !errors.Is(err, ErrRateLimited) {
		t.Errorf("eleventh operation within the hour: %v", err)
	}
	td.now = start.Add(time.Hour)
	if err := td.Client.Submit(context.Background(), h.did, op); err != nil {
		t.Errorf("after the hour: %v", err)
	}
}

func TestDirectoryExport(t *testing.T) {
	td := openTest(t, "")
	a, b := newHistory(t), newHistory(t)
	for i, h := range []*history{a, b} {
		td.now = start.Add(time.Duration(i) * time.Minute)
		if err := td.Directory.Submit(h.did, h.log[0].Operation); err != nil {
			t.Fatal(err)
		}
	}
	lines := func(query string) (out []map[string]any) {
		_, body, _ := td.get(t, "/export"+query)
		sc := bufio.NewScanner(strings.NewReader(body))
		for sc.Scan() {
			var m map[string]any
			if err := json.Unmarshal(sc.Bytes(), &m); err != nil {
				t.Fatal(err)
			}
			out = append(out, m)
		}
		return out
	}
	if got := lines(""); len(got) != 2 || got[0]["did"] != a.did.String() || got[0]["seq"] != nil {
		t.Errorf("export = %v", got)
	}
	if got := lines("?count=1"); len(got) != 1 {
		t.Errorf("count=1 gave %d", len(got))
	}
	if got := lines("?after=2026-03-01T12:00:00.000Z"); len(got) != 1 || got[0]["did"] != b.did.String() {
		t.Errorf("after a time = %v", got)
	}
	if got := lines("?after=1"); len(got) != 1 || got[0]["did"] != b.did.String() || got[0]["seq"] != 2.0 || got[0]["type"] != "sequenced_op" {
		t.Errorf("after a number = %v", got)
	}
	if got := lines("?after=99"); len(got) != 0 {
		t.Errorf("after the end = %v", got)
	}
}

func TestDirectoryFileDamage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "plc.jsonl")
	h := newHistory(t)
	h.must(h.update(0, "new.example.com", h.low), start)
	d, err := OpenDirectory(path, DirectoryOptions{Now: func() time.Time { return start }})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range h.log {
		if err := d.Submit(h.did, e.Operation); err != nil {
			t.Fatal(err)
		}
	}
	d.Close()
	if err := d.Submit(h.did, h.update(1, "x.example.com", h.low)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("submit to a closed directory: %v", err)
	}
	whole, _ := os.ReadFile(path)
	second := bytes.IndexByte(whole, '\n') + 1

	for _, cut := range []int{1, second - 1, second, second + 1, len(whole) - 1, len(whole)} {
		os.WriteFile(path, whole[:cut], 0o600)
		d, err := OpenDirectory(path, DirectoryOptions{Logger: quiet()})
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		log, _ := d.Audit(h.did)
		want := bytes.Count(whole[:cut], []byte("\n"))
		if len(log) != want {
			t.Errorf("cut at %d: %d operations, want %d", cut, len(log), want)
		}
		if want == 1 { // what was lost can be sent again
			if err := d.Submit(h.did, h.log[1].Operation); err != nil {
				t.Errorf("cut at %d: submit again: %v", cut, err)
			}
		}
		d.Close()
	}

	for name, damaged := range map[string][]byte{
		"changed":  bytes.Replace(whole, []byte("alice"), []byte("malice"), 1),
		"garbage":  append(append([]byte{}, whole...), "x\n"...),
		"repeated": append(append([]byte{}, whole...), whole...),
		"reversed": append(append([]byte{}, whole[second:]...), whole[:second]...),
		"blank":    append([]byte("\n"), whole...),
	} {
		os.WriteFile(path, damaged, 0o600)
		if d, err := OpenDirectory(path, DirectoryOptions{Logger: quiet()}); err == nil {
			d.Close()
			t.Errorf("%s: opened", name)
		} else if !strings.Contains(err.Error(), "line ") {
			t.Errorf("%s: error names no line: %v", name, err)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(after, damaged) {
			t.Errorf("%s: the file was changed", name)
		}
	}
}

func TestDirectoryConcurrentSubmissions(t *testing.T) {
	td := openTest(t, filepath.Join(t.TempDir(), "plc.jsonl"))
	h := newHistory(t)
	if err := td.Directory.Submit(h.did, h.log[0].Operation); err != nil {
		t.Fatal(err)
	}
	var ops []Operation
	for i := range 8 {
		ops = append(ops, h.update(0, string(rune('a'+i))+".example.com", h.low))
	}
	var wg sync.WaitGroup
	taken := make(chan int, len(ops))
	for i, op := range ops {
		wg.Go(func() {
			if td.Client.Submit(context.Background(), h.did, op) == nil {
				taken <- i
			}
		})
	}
	wg.Wait()
	if len(taken) != 1 {
		t.Errorf("%d of the rival operations were taken, want 1", len(taken))
	}
}

func TestClientErrors(t *testing.T) {
	h := newHistory(t)
	ctx := context.Background()
	for status, want := range map[int]error{404: ErrNotFound, 410: ErrTombstoned, 429: ErrRateLimited, 409: ErrMisordered, 400: ErrInvalidOperation, 500: ErrUnavailable, 503: ErrUnavailable} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			writeError(w, status, "the reason")
		}))
		err := NewClient(srv.URL+"/", srv.Client()).Submit(ctx, h.did, h.log[0].Operation)
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "the reason") {
			t.Errorf("status %d: %v, want %v", status, err, want)
		}
		srv.Close()
		if _, err := NewClient(srv.URL, nil).Last(ctx, h.did); !errors.Is(err, ErrUnavailable) {
			t.Errorf("server gone: %v", err)
		}
	}
	big := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write(make([]byte, maxDocumentBody+1))
	}))
	defer big.Close()
	if _, err := NewClient(big.URL, nil).Document(ctx, h.did); !errors.Is(err, ErrUnavailable) {
		t.Errorf("huge document: %v", err)
	}
}

// A submission whose answer is lost counts as done when the directory has it.
func TestSubmitWhenTheAnswerIsLost(t *testing.T) {
	td := openTest(t, "")
	h := newHistory(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			td.Directory.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		td.Directory.ServeHTTP(w, r)
	}))
	defer srv.Close()
	if err := NewClient(srv.URL, nil).Submit(context.Background(), h.did, h.log[0].Operation); err != nil {
		t.Errorf("err = %v", err)
	}
}
