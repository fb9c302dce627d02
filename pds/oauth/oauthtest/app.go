package oauthtest

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Localhost is the client_id of an app on the person's machine with the scopes.
func Localhost(redirect, scope string) string {
	return "http://localhost?" + url.Values{"redirect_uri": {redirect}, "scope": {scope}}.Encode()
}

// App is an app that signs people in.
type App struct {
	T        testing.TB
	Server   string // URL of the server, also its issuer
	ClientID string
	Redirect string
	Scope    string
	Key      *Key             // of the DPoP proofs
	Auth     *Key             // of client assertions; nil for a public client
	Now      func() time.Time // the app's clock
	HTTP     *http.Client

	Nonce    string // the last one that the server has told
	Verifier string // of the request that was pushed last
	Access   string
	Refresh  string
}

// New returns an app on localhost that asks for the scopes.
func New(t testing.TB, server, scope string) *App {
	const redirect = "http://127.0.0.1/callback"
	return &App{
		T: t, Server: server, ClientID: Localhost(redirect, scope), Redirect: redirect, Scope: scope,
		Key: NewKey(""), Now: time.Now, HTTP: &http.Client{},
	}
}

// Change alters a message before it is sent. The value nil removes a member.
type Change struct {
	Form      JSON // parameters of the form
	Header    JSON // of the DPoP proof
	Claims    JSON
	AuthHead  JSON // of the client assertion
	AuthClaim JSON
	NoProof   bool
	Proof     string // in place of the proof
	ProofKey  *Key   // signs the proof in place of the app's, which stays in the header unless Header changes it
	AuthKey   *Key   // signs the assertion likewise
	HTTP      http.Header
	KeepNonce bool // do not repeat the request when the server asks for its nonce
	Chunked   bool // do not tell the length of the body of a call
}

func change(base, with JSON) JSON {
	out := maps.Clone(base)
	for k, v := range with {
		if out[k] = v; v == nil {
			delete(out, k)
		}
	}
	return out
}

// Proof makes a DPoP proof. token is the access token that it goes with, "" for none.
func (a *App) Proof(verb, address, token string, c Change) string {
	if c.Proof != "" {
		return c.Proof
	}
	claims := JSON{"jti": Random(), "htm": verb, "htu": address, "iat": a.Now().Unix()}
	if a.Nonce != "" {
		claims["nonce"] = a.Nonce
	}
	if token != "" {
		claims["ath"] = Hash(token)
	}
	key := a.Key
	if c.ProofKey != nil {
		key = c.ProofKey
	}
	return key.Sign(change(JSON{"typ": "dpop+jwt", "alg": "ES256", "jwk": a.Key.JWK()}, c.Header), change(claims, c.Claims))
}

// Assertion makes a client assertion.
func (a *App) Assertion(c Change) string {
	key := a.Auth
	if c.AuthKey != nil {
		key = c.AuthKey
	}
	now := a.Now()
	claims := JSON{"iss": a.ClientID, "sub": a.ClientID, "aud": a.Server, "jti": Random(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()}
	return key.Sign(change(JSON{"typ": "JWT", "alg": "ES256", "kid": a.Auth.ID}, c.AuthHead), change(claims, c.AuthClaim))
}

// Answer is what the server said.
type Answer struct {
	T      testing.TB
	What   string
	Status int
	Header http.Header
	Body   []byte
	JSON   JSON
}

// OK expects success.
func (r Answer) OK() JSON {
	r.T.Helper()
	if r.Status < 200 || r.Status > 299 {
		r.T.Fatalf("%s: %d %s", r.What, r.Status, r.Body)
	}
	return r.JSON
}

// Fails expects an error of the status and code.
func (r Answer) Fails(status int, code string) {
	r.T.Helper()
	if r.Status != status || r.JSON["error"] != code {
		r.T.Errorf("%s: got %d %s, want %d %s", r.What, r.Status, r.Body, status, code)
	}
}

// Post sends a form to an endpoint of the authorization server. When the server asks for its nonce the app tries again with it.
func (a *App) Post(path string, form JSON, c Change) Answer {
	a.T.Helper()
	if a.Auth != nil {
		form = change(form, JSON{"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion": a.Assertion(c)})
	}
	values := url.Values{}
	for k, v := range change(form, c.Form) {
		switch v := v.(type) {
		case []string:
			values[k] = v
		case string:
			values.Set(k, v)
		}
	}
	address := a.Server + path
	req, err := http.NewRequestWithContext(a.T.Context(), http.MethodPost, address, strings.NewReader(values.Encode()))
	if err != nil {
		a.T.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if !c.NoProof {
		req.Header.Set("DPoP", a.Proof(http.MethodPost, address, "", c))
	}
	maps.Copy(req.Header, c.HTTP)
	before := a.Nonce
	r := a.send(req)
	if !c.KeepNonce && r.JSON["error"] == "use_dpop_nonce" && a.Nonce != before {
		return a.Post(path, form, c)
	}
	return r
}

func (a *App) send(req *http.Request) Answer {
	a.T.Helper()
	res, err := a.HTTP.Do(req)
	if err != nil {
		a.T.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		a.T.Fatal(err)
	}
	if n := res.Header.Get("DPoP-Nonce"); n != "" {
		a.Nonce = n
	}
	r := Answer{T: a.T, What: req.Method + " " + req.URL.Path, Status: res.StatusCode, Header: res.Header, Body: body}
	_ = json.Unmarshal(body, &r.JSON)
	return r
}

// Push pushes an authorization request.
func (a *App) Push(c Change) Answer {
	a.T.Helper()
	a.Verifier = Random()
	return a.Post("/oauth/par", JSON{
		"client_id": a.ClientID, "response_type": "code", "redirect_uri": a.Redirect, "scope": a.Scope, "state": Random(),
		"code_challenge": Hash(a.Verifier), "code_challenge_method": "S256",
	}, c)
}

// Redeem trades a code for tokens, and keeps them.
func (a *App) Redeem(code string, c Change) Answer {
	a.T.Helper()
	return a.keep(a.Post("/oauth/token", JSON{
		"grant_type": "authorization_code", "client_id": a.ClientID, "code": code, "redirect_uri": a.Redirect, "code_verifier": a.Verifier,
	}, c))
}

// Renew trades the refresh token for new tokens, and keeps them.
func (a *App) Renew(c Change) Answer {
	a.T.Helper()
	return a.keep(a.Post("/oauth/token", JSON{"grant_type": "refresh_token", "client_id": a.ClientID, "refresh_token": a.Refresh}, c))
}

func (a *App) keep(r Answer) Answer {
	if r.Status == http.StatusOK {
		a.Access, _ = r.JSON["access_token"].(string)
		a.Refresh, _ = r.JSON["refresh_token"].(string)
	}
	return r
}

// Call calls a method with the access token.
func (a *App) Call(verb, path, contentType, body string, c Change) Answer {
	a.T.Helper()
	address := a.Server + path
	in := io.Reader(strings.NewReader(body))
	if c.Chunked {
		in = io.MultiReader(in)
	}
	req, err := http.NewRequestWithContext(a.T.Context(), verb, address, in)
	if err != nil {
		a.T.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("Authorization", "DPoP "+a.Access)
	at, _, _ := strings.Cut(address, "?")
	if !c.NoProof {
		req.Header.Set("DPoP", a.Proof(verb, at, a.Access, c))
	}
	maps.Copy(req.Header, c.HTTP)
	before := a.Nonce
	r := a.send(req)
	if !c.KeepNonce && r.JSON["error"] == "use_dpop_nonce" && a.Nonce != before {
		return a.Call(verb, path, contentType, body, c)
	}
	return r
}
