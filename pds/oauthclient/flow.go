package oauthclient

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// PendingTime is how long a person may take to sign in.
const PendingTime = 15 * time.Minute

// Pending is a sign-in for which a browser has been sent away. It is good for one answer.
type Pending struct {
	Server   Server          `json:"server"`
	State    string          `json:"state"`
	Verifier string          `json:"verifier"` // PKCE
	Key      jose.JSONWebKey `json:"key"`      // private
	Until    time.Time       `json:"until"`
}

// Session is somebody signed in at another server.
type Session struct {
	Issuer     string          `json:"issuer"`
	Token      string          `json:"token"` // endpoint
	Revocation string          `json:"revocation,omitempty"`
	Key        jose.JSONWebKey `json:"key"` // private
	Access     string          `json:"access"`
	Refresh    string          `json:"refresh"`
	Scope      string          `json:"scope"`
}

// NewState returns a state that nobody can guess, and that ends in "." and what: it tells the caller again to what an answer belongs.
func NewState(what string) string { return random() + "." + what }

// StateOf returns what a state was made for.
func StateOf(state string) string {
	_, what, _ := strings.Cut(state, ".")
	return what
}

func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// Begin pushes a request to the authorization server, and returns where the browser has to go. hint is the handle or DID of who shall sign in.
func (c *Client) Begin(ctx context.Context, s *Server, hint, state string) (*Pending, string, error) {
	key, err := newKey()
	if err != nil {
		return nil, "", err
	}
	p := &Pending{Server: *s, State: state, Verifier: random(), Key: key, Until: time.Now().Add(PendingTime)}
	var pushed struct {
		RequestURI string `json:"request_uri"`
	}
	err = c.post(ctx, s.Pushed, key, url.Values{
		"client_id": {c.ID}, "response_type": {"code"}, "code_challenge": {hash(p.Verifier)}, "code_challenge_method": {"S256"},
		"state": {state}, "redirect_uri": {c.Redirect}, "scope": {c.Scope}, "login_hint": {hint},
	}, &pushed)
	if err != nil {
		return nil, "", err
	}
	if pushed.RequestURI == "" {
		return nil, "", fmt.Errorf("%w: no request_uri", ErrRefused)
	}
	to, err := c.endpoint(s.Authorization)
	if err != nil {
		return nil, "", err
	}
	q := to.Query()
	q.Set("client_id", c.ID)
	q.Set("request_uri", pushed.RequestURI)
	to.RawQuery = q.Encode()
	return p, to.String(), nil
}

// Finish takes the parameters with which the browser came back, and exchanges the code that is among them. sub is the DID of who must have signed in.
func (c *Client) Finish(ctx context.Context, p *Pending, q url.Values, sub string) (*Session, error) {
	code, err := p.code(q)
	if err != nil {
		return nil, err
	}
	s := &Session{Issuer: p.Server.Issuer, Token: p.Server.Token, Revocation: p.Server.Revocation, Key: p.Key}
	err = c.exchange(ctx, s, sub, url.Values{
		"client_id": {c.ID}, "grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {p.Verifier}, "redirect_uri": {c.Redirect},
	})
	return s, err
}

// Is tells whether a state is the one that this sign-in was begun with.
func (p *Pending) Is(state string) bool {
	return subtle.ConstantTimeCompare([]byte(state), []byte(p.State)) == 1
}

// code checks what a browser came back with.
func (p *Pending) code(q url.Values) (string, error) {
	for _, name := range []string{"state", "iss", "code", "error"} {
		if len(q[name]) > 1 {
			return "", fmt.Errorf("%w: more than one %s", ErrAnswer, name)
		}
	}
	switch {
	case !p.Is(q.Get("state")):
		return "", fmt.Errorf("%w: another state", ErrAnswer)
	case q.Get("iss") != p.Server.Issuer:
		return "", fmt.Errorf("%w: another issuer", ErrAnswer)
	case time.Now().After(p.Until):
		return "", fmt.Errorf("%w: it came too late", ErrAnswer)
	case q.Has("error"):
		return "", fmt.Errorf("%w: %.100q: %.300q", ErrRefused, q.Get("error"), q.Get("error_description"))
	case q.Get("code") == "":
		return "", fmt.Errorf("%w: no code", ErrAnswer)
	}
	return q.Get("code"), nil
}

// Renew returns the session with new tokens. Those of s are good no more, also when the answer was lost. The error is ErrEnded when there will be none.
func (c *Client) Renew(ctx context.Context, s *Session, sub string) (*Session, error) {
	next := *s
	err := c.exchange(ctx, &next, sub, url.Values{"client_id": {c.ID}, "grant_type": {"refresh_token"}, "refresh_token": {s.Refresh}})
	if errors.Is(err, ErrRefused) || errors.Is(err, ErrAnswer) {
		err = fmt.Errorf("%w: %w", ErrEnded, err)
	}
	return &next, err
}

// Revoke ends a session, if its server has a way to.
func (c *Client) Revoke(ctx context.Context, s *Session) error {
	if s.Revocation == "" {
		return nil
	}
	return c.post(ctx, s.Revocation, s.Key, url.Values{"client_id": {c.ID}, "token": {s.Refresh}}, nil)
}

// exchange gets tokens and sees that they are what they should be.
func (c *Client) exchange(ctx context.Context, s *Session, sub string, in url.Values) error {
	var out struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		Type    string `json:"token_type"`
		Scope   string `json:"scope"`
		Sub     string `json:"sub"`
	}
	if err := c.post(ctx, s.Token, s.Key, in, &out); err != nil {
		return err
	}
	s.Access, s.Refresh, s.Scope = out.Access, out.Refresh, out.Scope
	var wrong string
	switch {
	case out.Sub != sub:
		wrong = fmt.Sprintf("%.100q has signed in, not %s", out.Sub, sub)
	case !strings.EqualFold(out.Type, "DPoP"):
		wrong = "a token that is bound to no key"
	case out.Access == "" || out.Refresh == "":
		wrong = "a token is missing"
	case len(out.Access) > maxToken || len(out.Refresh) > maxToken:
		wrong = "a token is too long"
	case !slices.Contains(strings.Fields(out.Scope), "atproto"):
		wrong = "the scope atproto is missing"
	default:
		return nil
	}
	_ = c.Revoke(ctx, s)
	return fmt.Errorf("%w: %s", ErrAnswer, wrong)
}

// post sends a form with a proof, and once more when the server wants a nonce in it. The error is ErrRefused when the server refuses it for good.
func (c *Client) post(ctx context.Context, endpoint string, key jose.JSONWebKey, form url.Values, out any) error {
	for again := true; ; again = false {
		retry, err := c.postOnce(ctx, endpoint, key, form, out)
		if !retry || !again {
			return err
		}
	}
}

func (c *Client) postOnce(ctx context.Context, endpoint string, key jose.JSONWebKey, form url.Values, out any) (retry bool, err error) {
	target, err := c.endpoint(endpoint)
	if err != nil {
		return false, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return false, err
	}
	proof, err := c.proof(key, req.Method, target, "")
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("DPoP", proof)
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	c.Observe(resp)
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return false, err
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusCreated {
		if out == nil {
			return false, nil
		}
		if err := json.Unmarshal(body, out); err != nil {
			return false, fmt.Errorf("%w: %w", ErrAnswer, err)
		}
		return false, nil
	}
	var said struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	_ = json.Unmarshal(body, &said)
	if resp.StatusCode >= http.StatusInternalServerError || resp.StatusCode == http.StatusTooManyRequests || said.Error == "" {
		return false, fmt.Errorf("%s answers %s", endpoint, resp.Status)
	}
	return said.Error == "use_dpop_nonce", fmt.Errorf("%w: %.100q: %.300q", ErrRefused, said.Error, said.Description)
}
