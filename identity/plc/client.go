package plc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// Bounds of what the client reads from a directory.
const (
	maxDocumentBody = 64 << 10
	maxLogBody      = 8 << 20
	maxErrorBody    = 16 << 10
)

// Client talks to a PLC directory.
type Client struct {
	base string
	http *http.Client
}

// NewClient returns a client of the directory at base, such as
// "https://plc.directory". hc brings the timeouts and is not changed; nil means
// http.DefaultClient.
func NewClient(base string, hc *http.Client) *Client {
	if hc == nil {
		hc = http.DefaultClient
	}
	return &Client{base: strings.TrimRight(base, "/"), http: hc}
}

// Error is a directory's refusal. errors.Is knows it as ErrNotFound (404),
// ErrTombstoned (410), ErrRateLimited (429), ErrMisordered (409),
// ErrInvalidOperation (other 4xx) or ErrUnavailable (5xx).
type Error struct {
	Status  int
	Message string // what the directory said
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("PLC directory: status %d: %s", e.Status, e.Message)
}

// Is makes errors.Is work with this package's sentinels.
func (e *Error) Is(target error) bool {
	switch {
	case e.Status == http.StatusNotFound:
		return target == ErrNotFound
	case e.Status == http.StatusGone:
		return target == ErrTombstoned
	case e.Status == http.StatusTooManyRequests:
		return target == ErrRateLimited
	case e.Status == http.StatusConflict:
		return target == ErrMisordered
	case e.Status >= 500:
		return target == ErrUnavailable
	}
	return e.Status >= 400 && target == ErrInvalidOperation
}

// Submit posts a signed operation. An operation that turns out to be the DID's
// last one already counts as accepted, so a Submit whose answer was lost can be
// repeated.
func (c *Client) Submit(ctx context.Context, did syntax.DID, op Operation) error {
	want, err := op.CID()
	if err != nil {
		return err
	}
	err = c.post(ctx, did, op)
	if err == nil || errors.Is(err, ErrRateLimited) || ctx.Err() != nil {
		return err
	}
	last, lastErr := c.Last(ctx, did)
	if lastErr != nil {
		return err
	}
	if got, cidErr := last.CID(); cidErr == nil && got.Equals(want) {
		return nil
	}
	return err
}

func (c *Client) post(ctx context.Context, did syntax.DID, op Operation) error {
	body, err := json.Marshal(op)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url(did, ""), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	_, err = c.do(req, maxErrorBody)
	return err
}

// Last returns the newest operation that holds, a tombstone included: the one
// an update must name as prev.
func (c *Client) Last(ctx context.Context, did syntax.DID) (Operation, error) {
	var op Operation
	return op, c.get(ctx, did, "/log/last", &op)
}

// Log returns the operations that hold, oldest first.
func (c *Client) Log(ctx context.Context, did syntax.DID) ([]Operation, error) {
	var ops []Operation
	return ops, c.get(ctx, did, "/log", &ops)
}

// Audit returns the whole log with nullified operations and times, oldest
// first, as the directory has it; VerifyLog checks it.
func (c *Client) Audit(ctx context.Context, did syntax.DID) ([]LogEntry, error) {
	var log []LogEntry
	return log, c.get(ctx, did, "/log/audit", &log)
}

// Data returns the DID's present state; ErrTombstoned when it has none.
func (c *Client) Data(ctx context.Context, did syntax.DID) (Data, error) {
	var d Data
	return d, c.get(ctx, did, "/data", &d)
}

// Document returns the DID document as the directory wrote it.
func (c *Client) Document(ctx context.Context, did syntax.DID) (json.RawMessage, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url(did, ""), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/did+ld+json, application/json")
	return c.do(req, maxDocumentBody)
}

func (c *Client) url(did syntax.DID, path string) string {
	return c.base + "/" + url.PathEscape(did.String()) + path
}

func (c *Client) get(ctx context.Context, did syntax.DID, path string, to any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url(did, path), nil)
	if err != nil {
		return err
	}
	body, err := c.do(req, maxLogBody)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, to); err != nil {
		return fmt.Errorf("%w: unreadable answer to GET %s%s: %w", ErrUnavailable, did, path, err)
	}
	return nil
}

// do sends req and returns the body of a 2xx answer, at most limit bytes.
func (c *Client) do(req *http.Request, limit int64) ([]byte, error) {
	res, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return nil, readError(res)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if int64(len(body)) > limit {
		return nil, fmt.Errorf("%w: answer over %d bytes", ErrUnavailable, limit)
	}
	return body, nil
}

func readError(res *http.Response) error {
	e := &Error{Status: res.StatusCode, Message: http.StatusText(res.StatusCode)}
	var body struct {
		Message string `json:"message"`
	}
	b, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorBody))
	if json.Unmarshal(b, &body) == nil && body.Message != "" {
		e.Message = body.Message
	}
	return e
}
