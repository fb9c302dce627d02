package pds

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"perch/identity/plc"
	"perch/lexicons"
)

// network is a PDS on a loopback port with a PLC directory beside it, both real, in this process.
type network struct {
	t   *testing.T
	srv *Server
	url string
	plc string
	dir string

	plcOffset atomic.Int64 // of the directory's clock from the server's, in nanoseconds

	port   int                             // to listen on; 0: any
	wrap   func(http.Handler) http.Handler // unless nil, stands before the server
	change func(*Config)                   // for every start; unless nil
	log    io.Writer                       // unless nil, in place of the test's
	stop   func()                          // ends the server, as the end of the test does
}

// startNetwork starts both. change, unless nil, may alter the settings.
func startNetwork(t *testing.T, change func(*Config)) *network {
	t.Helper()
	n := &network{t: t, dir: t.TempDir()}
	directory, err := plc.OpenDirectory(filepath.Join(n.dir, "plc.jsonl"), plc.DirectoryOptions{
		Now: func() time.Time { return time.Now().Add(time.Duration(n.plcOffset.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { directory.Close() })
	directoryServer := httptest.NewServer(directory)
	t.Cleanup(directoryServer.Close)
	n.plc = directoryServer.URL
	n.start(change)
	return n
}

// start starts the PDS on the network's folder, as after a restart.
func (n *network) start(change func(*Config)) {
	n.t.Helper()
	ln, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", n.port))
	if err != nil {
		n.t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.DataDirectory = filepath.Join(n.dir, "pds")
	cfg.Port = ln.Addr().(*net.TCPAddr).Port
	cfg.DevMode = true
	cfg.InviteRequired = false
	cfg.AdminPassword = "admin-pass"
	cfg.PLCURL = n.plc
	cfg.RateLimitsEnabled = false
	for _, change := range []func(*Config){n.change, change} {
		if change != nil {
			change(cfg)
		}
	}
	log := n.log
	if log == nil {
		log = n.t.Output()
	}
	n.srv, err = New(context.Background(), cfg, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		n.t.Fatal(err)
	}
	handler := n.srv.Handler()
	if n.wrap != nil {
		handler = n.wrap(handler)
	}
	server := &httptest.Server{Listener: ln, Config: &http.Server{Handler: handler}}
	server.Start()
	n.url = server.URL
	srv := n.srv
	n.stop = sync.OnceFunc(func() {
		server.CloseClientConnections()
		server.Close()
		if err := srv.Close(); err != nil {
			n.t.Error(err)
		}
	})
	n.t.Cleanup(n.stop)
}

// client is somebody who calls the server; token may be empty.
type client struct {
	*network
	t      *testing.T
	did    string
	handle string
	token  string
	fresh  string // refresh token
}

// anonymous is a caller who is not signed in.
func (n *network) anonymous(t *testing.T) *client { return &client{network: n, t: t} }

// signUp makes an account and signs in to it.
func (n *network) signUp(t *testing.T, name string) *client {
	t.Helper()
	c := &client{network: n, t: t, handle: name + ".test"}
	out := c.post("com.atproto.server.createAccount", map[string]any{
		"handle": c.handle, "email": name + "@example.com", "password": name + "-password",
	}).ok()
	c.did, c.token, c.fresh = out.str("did"), out.str("accessJwt"), out.str("refreshJwt")
	return c
}

// answer is what the server said to one request.
type answer struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	body   []byte
}

// patience is how long a test waits for what must happen, on however busy a machine.
const patience = time.Minute

// eventually waits until something holds that nobody tells of.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// object is a decoded JSON answer.
type object map[string]any

func (o object) str(path string) string {
	s, _ := o.at(path).(string)
	return s
}

// at walks to a value: "commit.rev", "records.0.value".
func (o object) at(path string) any {
	var v any = map[string]any(o)
	for part := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[part]
		case []any:
			var i int
			if _, err := fmt.Sscan(part, &i); err != nil || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func (c *client) get(method string, params ...string) *answer {
	c.t.Helper()
	return c.do(http.MethodGet, method, values(params), "", nil)
}

func values(params []string) url.Values {
	q := url.Values{}
	for i := 0; i < len(params); i += 2 {
		q.Add(params[i], params[i+1])
	}
	return q
}

// query is a GET without credentials.
func (c *client) query(method string, params ...string) *http.Request {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.url+"/xrpc/"+method+"?"+values(params).Encode(), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return req
}

func (c *client) post(method string, input any) *answer {
	c.t.Helper()
	if input == nil {
		return c.do(http.MethodPost, method, nil, "", nil)
	}
	body, err := json.Marshal(input)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.do(http.MethodPost, method, nil, "application/json", body)
}

// do sends a request. A JSON answer to a method must fit the method's lexicon, whatever it says.
func (c *client) do(verb, method string, q url.Values, contentType string, body []byte) *answer {
	c.t.Helper()
	target := c.url + "/xrpc/" + method
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(c.t.Context(), verb, target, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return c.send(req, method)
}

// jsonRequest is a POST without credentials.
func (c *client) jsonRequest(method string, input any) *http.Request {
	c.t.Helper()
	body, err := json.Marshal(input)
	if err != nil {
		c.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.url+"/xrpc/"+method, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	return req
}

func (c *client) send(req *http.Request, method string) *answer {
	c.t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	a := &answer{t: c.t, what: req.Method + " " + method, status: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		c.t.Fatalf("%s: %v", a.what, err)
	}
	m, err := lexicons.Default().Method(method)
	if err == nil && a.status == http.StatusOK && m.OutputEncoding() == "application/json" {
		if err := m.ValidateOutput(a.body); err != nil {
			c.t.Errorf("%s: the answer does not fit the lexicon: %v\n%s", a.what, err, a.body)
		}
	}
	return a
}

// ok expects success and returns the decoded answer.
func (a *answer) ok() object {
	a.t.Helper()
	if a.status != http.StatusOK {
		a.t.Fatalf("%s: status %d: %s", a.what, a.status, a.body)
	}
	var out object
	if len(a.body) > 0 && strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(a.body, &out); err != nil {
			a.t.Fatalf("%s: %v", a.what, err)
		}
	}
	return out
}

// errorName is the name of the error in JSON, "" when there is none.
func (a *answer) errorName() string {
	var e struct{ Error string }
	_ = json.Unmarshal(a.body, &e)
	return e.Error
}

// fails expects an error of the given status and name.
func (a *answer) fails(status int, name string) {
	a.t.Helper()
	var e struct{ Error, Message string }
	if err := json.Unmarshal(a.body, &e); err != nil {
		a.t.Fatalf("%s: status %d, not an error in JSON: %q", a.what, a.status, a.body)
	}
	if a.status != status || e.Error != name {
		a.t.Errorf("%s: got %d %s (%s), want %d %s", a.what, a.status, e.Error, e.Message, status, name)
	}
	if e.Message == "" {
		a.t.Errorf("%s: %s has no message", a.what, e.Error)
	}
}

// post is the JSON of a record of app.bsky.feed.post.
func postRecord(text string) map[string]any {
	return map[string]any{"$type": "app.bsky.feed.post", "text": text, "createdAt": "2026-11-23T12:00:00.000Z"}
}

// createPost writes a post and returns the answer.
func (c *client) createPost(text string) object {
	c.t.Helper()
	return c.post("com.atproto.repo.createRecord", map[string]any{
		"repo": c.did, "collection": "app.bsky.feed.post", "record": postRecord(text),
	}).ok()
}
