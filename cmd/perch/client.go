package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"perch/pds"
)

// Limits of a request to the server.
const (
	requestTimeout = 60 * time.Second
	maxAnswer      = 8 << 20 // bytes
)

// client talks to the running server as its administrator.
type client struct {
	origin   string // http://localhost:2583
	password string
}

// serverFlag is common to all commands that talk to the running server.
var serverFlag = &cli.StringFlag{Name: "server", Usage: "the running server's `URL` (default: the one of the settings, on this machine)"}

// client finds the running server and the admin password.
func (p *program) client(ctx context.Context, c *cli.Command) (*client, error) {
	cfg, err := p.config(c)
	if err != nil {
		return nil, err
	}
	origin := strings.TrimSuffix(c.String("server"), "/")
	if origin == "" {
		origin = localOrigin(cfg)
	}
	if u, err := url.Parse(origin); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usagef("--server: %q is no web address; write one such as http://localhost:2583", c.String("server"))
	}
	password, err := pds.ShowSecret(ctx, cfg, "PDS_ADMIN_PASSWORD")
	if err != nil {
		return nil, fmt.Errorf("find the admin password: %w", err)
	}
	return &client{origin, password}, nil
}

// localOrigin is where the server listens, seen from this machine.
func localOrigin(cfg *pds.Config) string {
	host := cfg.BindAddress
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(cfg.Port))
}

// serverError is an XRPC error.
type serverError struct {
	Status  int    `json:"-"`
	Name    string `json:"error"`
	Message string `json:"message"`
}

func (e *serverError) Error() string {
	return fmt.Sprintf("the server says %s: %s (HTTP %d)", e.Name, e.Message, e.Status)
}

func (c *client) get(ctx context.Context, nsid string, params url.Values, out any) error {
	return c.do(ctx, http.MethodGet, "/xrpc/"+nsid+"?"+params.Encode(), nil, out)
}

func (c *client) post(ctx context.Context, nsid string, in, out any) error {
	return c.postTo(ctx, "/xrpc/"+nsid, in, out)
}

func (c *client) postTo(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodPost, path, body, out)
}

// errNoServer says that no server runs.
var errNoServer = errors.New("no server answers")

func (c *client) do(ctx context.Context, method, path string, body []byte, out any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.origin+path, bytes.NewReader(body))
	if err != nil {
		return usagef("--server: %w", err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	if method == http.MethodPost || strings.HasPrefix(path, "/xrpc/com.atproto.admin.") || !strings.HasPrefix(path, "/xrpc/") {
		req.SetBasicAuth("admin", c.password)
	}
	return c.answer(req, func(res *http.Response) error {
		answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
		if err != nil || out == nil {
			return err
		}
		return json.Unmarshal(answer, out)
	})
}

// unreachable says what to do when no server answers.
func (c *client) unreachable(err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w at %s: start it with `perch serve`, or name another one with --server", errNoServer, c.origin)
	}
	return err
}

// fault reads a refusal.
func (c *client) fault(res *http.Response, answer []byte) error {
	fault := &serverError{Status: res.StatusCode}
	if json.Unmarshal(answer, fault) != nil || fault.Name == "" {
		return fmt.Errorf("%s answers %s, which no PDS would", c.origin, res.Status)
	}
	if fault.Status == http.StatusUnauthorized {
		return fmt.Errorf("%w: it has another admin password than PDS_ADMIN_PASSWORD or PDS_DATA_DIRECTORY give here", fault)
	}
	return fault
}

// request is one as the administrator, of any length and for any time.
func (c *client) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.origin+path, body)
	if err != nil {
		return nil, usagef("--server: %w", err)
	}
	req.SetBasicAuth("admin", c.password)
	return req, nil
}

// endSession ends a session by its refresh token.
func (c *client) endSession(ctx context.Context, refresh string) error {
	req, err := c.request(ctx, http.MethodPost, "/xrpc/com.atproto.server.deleteSession", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+refresh)
	return c.answer(req, func(*http.Response) error { return nil })
}

// answer sends a request and gives a good answer to read.
func (c *client) answer(req *http.Request, read func(*http.Response) error) error {
	req.Header.Set("User-Agent", pds.CommandLineAgent)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusOK {
		return read(res)
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return err
	}
	return c.fault(res, text)
}

// watched tells how much of it was read.
type watched struct {
	io.Reader
	tell func(n int)
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Reader.Read(b)
	w.tell(n)
	return n, err
}
