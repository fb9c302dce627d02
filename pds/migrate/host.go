package migrate

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
	"time"
	"unicode"
	"unicode/utf8"

	"perch/pds/oauthclient"
	"perch/pds/store"
)

const (
	maxAnswer    = 1 << 20 // bytes of a JSON answer
	maxPrefs     = 2 << 20 // bytes of preferences: Perch keeps half of it
	answerTime   = time.Minute
	stallTime    = time.Minute // in which stallBytes of a body must come, or go, unless it ends
	stallBytes   = 256 << 10
	receiveTime  = 12 * time.Hour // for a repository
	maxErrorBody = 64 << 10
	maxErrorName = 80  // bytes
	maxErrorText = 300 // bytes
	maxToken     = 16 << 10
	commandTime  = 2 * time.Minute // for one request of a command: its owner waits, and all other commands about the account
)

// HostError is a refusal by the other host.
type HostError struct {
	Side    string // "old" or "new": which host it is
	Method  string
	Status  int
	Name    string
	Message string
	Vague   bool // no answer of XRPC's: a proxy in between may have given it
}

// Error implements error.
func (e *HostError) Error() string {
	return fmt.Sprintf("the %s host refuses %s: %s: %s (HTTP %d)", e.Side, e.Method, e.Name, e.Message, e.Status)
}

// errSignIn says that the other host does not know our session any more.
var errSignIn = errors.New("the other host has ended the session; sign in there again")

// tokens are a session at the other host.
type tokens struct {
	Access  string `json:"accessJwt"`
	Refresh string `json:"refreshJwt"`

	OAuth   *oauthclient.Session `json:"oauth,omitempty"`   // in place of those
	Pending *oauthclient.Pending `json:"pending,omitempty"` // a browser is on its way
}

// given are the tokens that a host has answered, and nothing else that it may have put there.
func (t tokens) given() (tokens, error) {
	if t.Access == "" || t.Refresh == "" || len(t.Access)+len(t.Refresh) > maxToken {
		return tokens{}, errors.New("the other host gives a session without tokens that could be used")
	}
	return tokens{Access: t.Access, Refresh: t.Refresh}, nil
}

// inside tells whether there is a session.
func (t tokens) inside() bool { return t.Access != "" || t.OAuth != nil }

// host is the other server, which an account leaves or goes to, as the account sees it.
type host struct {
	side    string // "old" or "new"
	origin  string
	client  *http.Client
	pace    *pacer
	retry   Backoff
	tries   int
	session session
	oauth   *oauthclient.Client
	did     string // whose session it is

	patience time.Duration // of somebody who waits for the answer; 0: there is all the time
}

// call is one request to the other host.
type call struct {
	method string // NSID
	query  url.Values
	input  any
	post   bool
	token  tokenKind
	once   bool // not to be repeated when the answer was lost
	send   *upload
	bearer string        // a token that is none of the session's
	most   time.Duration // for all of the answer; 0: no matter
}

// upload is a body that is streamed.
type upload struct {
	kind   string                        // Content-Type
	size   int64                         // 0: unknown
	open   func() (io.ReadCloser, error) // for each attempt anew
	answer time.Duration                 // how long the host may work on it; 0: as on everything else
}

type tokenKind int

const (
	noToken tokenKind = iota
	accessToken
	refreshToken
)

// json makes a call and decodes its answer into out, unless that is nil.
func (h *host) json(ctx context.Context, c call, out any) error {
	return h.do(ctx, c, func(resp *http.Response) error {
		most := maxAnswer
		if c.method == getPreferences {
			most = maxPrefs
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, int64(most)+1))
		switch {
		case err != nil:
			return fmt.Errorf("%s: read the answer of the %s host: %w", c.method, h.side, err)
		case len(body) > most:
			return fmt.Errorf("%s: the %s host answers more than %d bytes", c.method, h.side, most)
		case out == nil:
			return nil
		}
		if err := json.Unmarshal(body, out); err != nil {
			return fmt.Errorf("%s: the %s host does not answer JSON: %w", c.method, h.side, err)
		}
		return nil
	})
}

// do makes a call and hands its answer to read, whose error counts as a lost answer. It repeats what failed by chance, waits as long as the host asks for,
// and renews the session when it has expired.
func (h *host) do(ctx context.Context, c call, read func(*http.Response) error) error {
	renewed, nonce := false, false
	for try, waits := 0, 0; ; {
		used := h.session.get()
		err := h.try(ctx, c, used, read)
		var refused *HostError
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errNonce) && !nonce:
			nonce = true
			continue
		case errors.As(err, &refused) && refused.expired() && c.token == accessToken && !renewed:
			renewed = true
			if err := h.renew(ctx, used); err != nil {
				return err
			}
			continue
		case errors.As(err, &refused) && refused.final():
			return err
		case errors.Is(err, ErrBusy), errors.Is(err, errOurs), errors.Is(err, ErrRepoTooLarge), errors.Is(err, store.ErrDiskFull), c.once && !errors.As(err, &refused):
			return err
		}
		// Waiting because the host asks for it is no failure; the pacer does it. But who waits for the answer to a command does not wait again and again.
		if refused != nil && refused.Status == http.StatusTooManyRequests {
			if waits++; h.patience > 0 && waits >= commandWaits {
				return fmt.Errorf("%w: %w", ErrBusy, err)
			}
		} else {
			if try++; try >= h.tries {
				return err
			}
			if err := sleep(ctx, h.retry.after(try)); err != nil {
				return err
			}
		}
	}
}

// final tells that the answer will be the same next time. What something between here and the old host says may be over soon, but for the want of a session.
func (e *HostError) final() bool {
	if e.Vague && e.Status != http.StatusUnauthorized {
		return false
	}
	return e.Status != http.StatusTooManyRequests && (e.Status < 500 || e.Status == http.StatusNotImplemented)
}

// expired tells that it is the session that is refused.
func (e *HostError) expired() bool {
	return e.Status == http.StatusUnauthorized || e.Name == "ExpiredToken"
}

func (h *host) try(ctx context.Context, c call, t tokens, read func(*http.Response) error) error {
	leave, err := h.pace.enter(ctx, h.pacing(c), h.patience)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(answerTime, func() { cancel(fmt.Errorf("the %s host is silent", h.side)) })
	defer watch.Stop()
	most := c.most
	if h.patience > 0 {
		most = commandTime
	}
	if most > 0 {
		late := time.AfterFunc(most, func() { cancel(fmt.Errorf("the %s host does not come to an end", h.side)) })
		defer late.Stop()
	}
	req, err := h.request(ctx, c, t)
	if err == nil && c.send != nil {
		err = c.send.attach(req, watch)
	}
	if err != nil {
		return err
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return silence(ctx, fmt.Errorf("%s: %w", c.method, err))
	}
	defer resp.Body.Close()
	h.pace.observe(h.pacing(c), resp)
	if req.Header.Get("DPoP") != "" && h.oauth.Observe(resp) {
		return errNonce
	}
	resp.Body = &watched{ReadCloser: resp.Body, watch: watch, last: stallTime}
	if resp.StatusCode != http.StatusOK {
		return h.refusal(c.method, resp)
	}
	return silence(ctx, read(resp))
}

// pacing is what a call shares its pauses with. Who guesses at the password of an account makes only that one wait.
func (h *host) pacing(c call) string {
	if c.method == createSession {
		return c.method + " " + h.did
	}
	return c.method
}

func (u *upload) attach(req *http.Request, watch *time.Timer) error {
	body, err := u.open()
	if err != nil {
		return fmt.Errorf("%w: %w", errOurs, err)
	}
	req.Body, req.ContentLength = &watched{ReadCloser: body, watch: watch, last: max(u.answer, answerTime)}, u.size
	if u.size == 0 {
		req.ContentLength = -1
	}
	req.Header.Set("Content-Type", u.kind)
	return nil
}

// errNonce says that the request was refused for the want of a nonce, which has come with the refusal.
var errNonce = errors.New("the other host wants another nonce")

// errOurs says that it is not the other host's fault: asking it again is of no use.
var errOurs = errors.New("what is here could not be read")

// silence tells a host that says nothing from a caller that has gone.
func silence(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// watched puts the end of a request off as long as bytes come, or go; and not only one now and then.
type watched struct {
	io.ReadCloser
	watch *time.Timer
	last  time.Duration // what may pass once all bytes are through
	since int           // bytes since it was put off
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.ReadCloser.Read(b)
	switch {
	case errors.Is(err, io.EOF):
		w.watch.Reset(w.last)
	case n > 0:
		if w.since += n; w.since >= stallBytes {
			w.since = 0
			w.watch.Reset(stallTime)
		}
	}
	return n, err
}

func methodPath(method string) string { return "/xrpc/" + method }

func (h *host) request(ctx context.Context, c call, t tokens) (*http.Request, error) {
	target := h.origin + methodPath(c.method)
	if len(c.query) > 0 {
		target += "?" + c.query.Encode()
	}
	verb, body := http.MethodGet, []byte(nil)
	if c.post {
		verb = http.MethodPost
	}
	if c.input != nil {
		var err error
		if body, err = json.Marshal(c.input); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, verb, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if c.input != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	switch c.token {
	case noToken:
		if c.bearer != "" {
			req.Header.Set("Authorization", "Bearer "+c.bearer)
		}
	case accessToken:
		if t.OAuth != nil {
			return req, h.oauth.Sign(req, t.OAuth)
		}
		req.Header.Set("Authorization", "Bearer "+t.Access)
	case refreshToken:
		req.Header.Set("Authorization", "Bearer "+t.Refresh)
	}
	return req, nil
}

func (h *host) refusal(method string, resp *http.Response) error {
	e := &HostError{Side: h.side, Method: method, Status: resp.StatusCode}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	var said struct{ Error, Message string }
	if err != nil || json.Unmarshal(body, &said) != nil || said.Error == "" {
		said.Error, said.Message, e.Vague = strings.ReplaceAll(http.StatusText(resp.StatusCode), " ", ""), "no more is said", true
	}
	if resp.Request.URL.Path != methodPath(method) { // where a redirect led is perhaps no PDS
		e.Vague = true
	}
	e.Name, e.Message = clip(said.Error, maxErrorName), clip(said.Message, maxErrorText)
	return e
}

// clip keeps what another host has said short, and fit to be shown: it is stored with the move, once for each blob that is refused.
func clip(s string, most int) string {
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.Map(func(c rune) rune {
		if !unicode.IsGraphic(c) || c == utf8.RuneError {
			return ' '
		}
		return c
	}, s)
}

// renew refreshes the session, once for all requests that found it expired.
func (h *host) renew(ctx context.Context, used tokens) error {
	h.session.renewing.Lock()
	defer h.session.renewing.Unlock()
	if h.session.get() != used {
		return nil
	}
	if used.OAuth != nil {
		return h.renewOAuth(ctx, used)
	}
	var next tokens
	err := h.json(ctx, call{method: "com.atproto.server.refreshSession", post: true, token: refreshToken}, &next)
	var refused *HostError
	if errors.As(err, &refused) && refused.final() {
		return fmt.Errorf("%w: %w", errSignIn, err)
	}
	if err == nil {
		next, err = next.given()
	}
	if err != nil {
		return err
	}
	return h.session.set(ctx, next)
}
