package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity"
)

// requestHeaders go to the service, responseHeaders back to the client. What is
// not named here stays, above all Authorization, DPoP and cookies.
var (
	requestHeaders  = []string{"Accept-Language", "Atproto-Accept-Labelers", "X-Bsky-Topics"}
	bodyHeaders     = []string{"Content-Type", "Content-Encoding"}
	responseHeaders = []string{"Content-Length", "Content-Encoding", "Content-Type", "Content-Language",
		"Atproto-Repo-Rev", "Atproto-Content-Labelers", "Retry-After"}
)

// maxErrorBody bounds what is read of a service's error.
const maxErrorBody = 64 << 10

// Call is one request to a service.
type Call struct {
	User   syntax.DID // whose token goes with it; "" sends none
	Method syntax.NSID
	Target Target
	// Aud and Lxm take the place, in the token, of the target's DID and of
	// Method when they are not "".
	Aud, Lxm string
	// Query is the raw query string.
	Query string
	// Header is the client's; what may pass on is taken from it.
	Header http.Header
	// Body makes it a POST. Length is its size in bytes, -1 when unknown.
	Body   io.Reader
	Length int64
	// Again is asked once all of Body has come, before the service gets the end of
	// it; its error ends the exchange and goes to the client as it is. May be nil.
	Again func(context.Context) error
}

// Forward sends call and streams the answer to w. Verb, query, headers and body
// are r's, but for a Body set in call. It checks nobody's rights: see Serve,
// which also says what it returns.
func (p *Proxy) Forward(w http.ResponseWriter, r *http.Request, call Call) error {
	call.Query, call.Header = r.URL.RawQuery, r.Header
	if call.Body == nil && r.Method == http.MethodPost {
		call.Body, call.Length = r.Body, r.ContentLength
	}
	x, err := p.start(r.Context(), call, r.Method)
	if err != nil {
		return err
	}
	defer x.close()
	encoding := strings.Join(r.Header.Values("Accept-Encoding"), ", ")
	if encoding == "" {
		encoding = "identity" // or the transport would choose, and decode
	}
	x.req.Header.Set("Accept-Encoding", encoding)
	res, err := x.do(p.transport)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if err := refused(res); err != nil {
		return err
	}
	return x.pipe(w, res)
}

// Response is a service's answer in memory.
type Response struct {
	Header http.Header // those that may go back to a client, no lengths or encodings
	Body   []byte
}

// Fetch sends call, a GET unless it has a Body, and returns a 2xx answer, with
// any compression undone. A refusal is an *Error with the service's own name,
// message and status, but 502 for its 500.
func (p *Proxy) Fetch(ctx context.Context, call Call) (*Response, error) {
	verb := http.MethodGet
	if call.Body != nil {
		verb = http.MethodPost
	}
	x, err := p.start(ctx, call, verb)
	if err != nil {
		return nil, err
	}
	defer x.close()
	res, err := x.do(p.transport)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return nil, readError(res)
	}
	body, err := io.ReadAll(&watchedReader{r: res.Body, x: x})
	if err != nil {
		return nil, failure(x.ctx, err)
	}
	out := &Response{Header: http.Header{}, Body: body}
	copyHeaders(out.Header, res.Header, responseHeaders)
	out.Header.Del("Content-Length")
	out.Header.Del("Content-Encoding")
	return out, nil
}

// exchange is one request under way.
type exchange struct {
	req    *http.Request
	ctx    context.Context
	cancel context.CancelCauseFunc
	stop   context.CancelFunc
	idle   *time.Timer   // cancels with errTimeout when nothing moves
	before time.Duration // for how long that may be before the answer begins
	during time.Duration // and after
}

// start makes the request with its token and the clock that bounds it.
func (p *Proxy) start(parent context.Context, call Call, verb string) (*exchange, error) {
	origin, ok := originOf(call.Target.URL)
	if !ok {
		return nil, badRequest("could not resolve proxy did service url")
	}
	x := &exchange{before: p.opts.HeaderTimeout + p.opts.BodyTimeout, during: p.opts.BodyTimeout}
	total, stop := context.WithTimeoutCause(parent, totalTimeout, errTimeout)
	x.ctx, x.cancel = context.WithCancelCause(total)
	x.stop = stop
	x.idle = time.AfterFunc(x.before, func() { x.cancel(errTimeout) })
	url := origin + "/xrpc/" + call.Method.String()
	if call.Query != "" {
		url += "?" + call.Query
	}
	req, err := http.NewRequestWithContext(x.ctx, verb, url, nil)
	if err != nil {
		x.close()
		return nil, badRequest("invalid request")
	}
	x.req = req
	copyHeaders(req.Header, call.Header, requestHeaders)
	if call.Body != nil && verb == http.MethodPost {
		if err := x.setBody(call, p.opts.MaxRequest); err != nil {
			x.close()
			return nil, err
		}
	}
	if err := p.authorize(x.ctx, req, call); err != nil {
		x.close()
		return nil, err
	}
	return x, nil
}

func (x *exchange) setBody(call Call, limit int64) error {
	if call.Length > limit {
		return failure(x.ctx, errTooLarge)
	}
	copyHeaders(x.req.Header, call.Header, bodyHeaders)
	if call.Length == 0 {
		return nil
	}
	x.req.ContentLength = call.Length
	body := io.Reader(&requestBody{r: call.Body, left: limit, x: x})
	if call.Again != nil {
		body = newHeldBody(body, func() error { return call.Again(x.ctx) })
	}
	x.req.Body = io.NopCloser(body)
	return nil
}

// authorize adds the account's token for this service and method.
func (p *Proxy) authorize(ctx context.Context, req *http.Request, call Call) error {
	if call.User == "" {
		return nil
	}
	aud, lxm := call.Aud, call.Lxm
	if aud == "" {
		aud = call.Target.DID.String()
		if p.opts.FragmentAudience {
			aud = call.Target.Ref()
		}
	}
	if lxm == "" {
		lxm = call.Method.String()
	}
	token, err := p.opts.Sign(ctx, call.User, aud, lxm)
	if err != nil {
		return fmt.Errorf("sign service token: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return nil
}

func (x *exchange) do(transport http.RoundTripper) (*http.Response, error) {
	res, err := transport.RoundTrip(x.req) // not a client: redirects are not followed
	if err != nil {
		return nil, failure(x.ctx, err)
	}
	x.idle.Reset(x.during)
	return res, nil
}

func (x *exchange) close() {
	x.idle.Stop()
	x.cancel(nil)
	x.stop()
}

// refused returns the error for answers that are not passed through as they
// are: redirects, internal errors, and refusals that are not JSON.
func refused(res *http.Response) error {
	switch {
	case res.StatusCode < 300:
		return nil
	case res.StatusCode < 400:
		return upstreamFailure("Upstream service answered with a redirect", fmt.Errorf("status %d", res.StatusCode))
	case res.StatusCode == http.StatusInternalServerError, !isJSON(res.Header), res.Request.Method == http.MethodHead:
		return readError(res)
	}
	return nil
}

func isJSON(h http.Header) bool {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(kind), "application/json")
}

// readError makes an *Error of a service's refusal.
func readError(res *http.Response) *Error {
	e := &Error{Status: res.StatusCode, Message: "Upstream service answered with status " + http.StatusText(res.StatusCode), Header: http.Header{}}
	e.Err = fmt.Errorf("upstream status %d", res.StatusCode)
	copyHeaders(e.Header, res.Header, []string{"Retry-After", "Atproto-Repo-Rev"})
	var body struct{ Error, Message string }
	if isJSON(res.Header) && res.Header.Get("Content-Encoding") == "" {
		b, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorBody))
		if json.Unmarshal(b, &body) == nil && body.Message != "" {
			e.Message = body.Message
		}
	}
	if res.StatusCode == http.StatusInternalServerError || res.StatusCode < 400 {
		e.Status, e.Name = http.StatusBadGateway, "UpstreamFailure"
		return e
	}
	if e.Name = body.Error; e.Name == "" {
		e.Name = statusName(e.Status)
	}
	return e
}

// headStart is how much of an answer is read before any of it is passed on.
// When the service fails that early, the client can still be told.
const headStart = 32 << 10

// pipe streams res to w.
func (x *exchange) pipe(w http.ResponseWriter, res *http.Response) error {
	body := &watchedReader{r: res.Body, x: x}
	var head []byte
	var err error
	if res.Request.Method != http.MethodHead {
		head, err = readHead(body)
		if err != nil && err != io.EOF {
			return failure(x.ctx, err)
		}
	}
	h := w.Header()
	copyHeaders(h, res.Header, responseHeaders)
	disarm(h)
	w.WriteHeader(res.StatusCode)
	if res.Request.Method == http.MethodHead {
		return nil
	}
	whole := err == io.EOF
	_, err = w.Write(head)
	if err == nil && !whole {
		_, err = io.Copy(w, body)
	}
	if err == nil {
		return nil
	}
	// A write deadline in the past breaks the connection instead of ending
	// the answer as if it were whole.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Unix(1, 0))
	return fmt.Errorf("%w: %w", ErrAborted, errors.Join(err, context.Cause(x.ctx)))
}

// Write answers w with a response that Fetch got, with its status 200.
func (r *Response) Write(w http.ResponseWriter) error {
	h := w.Header()
	for name, values := range r.Header {
		h[name] = values
	}
	disarm(h)
	_, err := w.Write(r.Body)
	return err
}

// disarm keeps browsers from running, or guessing at, a stranger's bytes, which
// come from this server's origin now.
func disarm(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
}

// readHead reads until headStart bytes are there or r ends, which is io.EOF.
func readHead(r io.Reader) ([]byte, error) {
	buf := make([]byte, 0, headStart)
	for len(buf) < cap(buf) {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err != nil {
			return buf, err
		}
	}
	return buf, nil
}

func copyHeaders(dst, src http.Header, names []string) {
	for _, name := range names {
		if v := src.Values(name); len(v) > 0 {
			dst[name] = append([]string{}, v...)
		}
	}
}

var _ DIDResolver = (*identity.Resolver)(nil)
