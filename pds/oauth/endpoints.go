package oauth

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"perch/pds/oauth/dpop"
	"perch/pds/oauth/scope"
)

// The endpoints. Browsers are sent to AuthorizePath, which belongs to the pages.
const (
	ResourcePath  = "/.well-known/oauth-protected-resource"
	ServerPath    = "/.well-known/oauth-authorization-server"
	JWKSPath      = "/oauth/jwks"
	AuthorizePath = "/oauth/authorize"
	PARPath       = "/oauth/par"
	TokenPath     = "/oauth/token"
	RevokePath    = "/oauth/revoke"
)

// maxForm is the largest body of a request in bytes. Scopes of 16 KB fit in, however they are escaped.
const maxForm = 64 << 10

// Documents are the well-known documents and the keys, by path: JSON for everybody, by GET.
func (s *Service) Documents() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		ResourcePath: document(s.resourceMetadata()),
		ServerPath:   document(s.serverMetadata()),
		JWKSPath:     document(map[string]any{"keys": []any{}}), // tokens are not signed: nobody but this server reads them
	}
}

// Endpoints are what apps post forms to, by path.
func (s *Service) Endpoints() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		PARPath:    s.endpoint(http.StatusCreated, s.push),
		TokenPath:  s.endpoint(http.StatusOK, s.token),
		RevokePath: s.endpoint(http.StatusOK, s.revoke),
	}
}

func document(v any) http.HandlerFunc {
	body, err := json.Marshal(v)
	if err != nil {
		panic("oauth: " + err.Error())
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "max-age=300")
		_, _ = w.Write(body)
	}
}

func (s *Service) resourceMetadata() any {
	return map[string]any{
		"resource":                 s.opts.Issuer,
		"authorization_servers":    []string{s.opts.Issuer},
		"scopes_supported":         []string{},
		"bearer_methods_supported": []string{"header"},
		"resource_documentation":   "https://atproto.com",
	}
}

func (s *Service) serverMetadata() any {
	algs := make([]string, len(assertionAlgorithms))
	for i, a := range assertionAlgorithms {
		algs[i] = string(a)
	}
	at := func(path string) string { return s.opts.Issuer + path }
	return map[string]any{
		"issuer":                                                s.opts.Issuer,
		"authorization_endpoint":                                at(AuthorizePath),
		"token_endpoint":                                        at(TokenPath),
		"revocation_endpoint":                                   at(RevokePath),
		"pushed_authorization_request_endpoint":                 at(PARPath),
		"jwks_uri":                                              at(JWKSPath),
		"scopes_supported":                                      scope.Supported(),
		"subject_types_supported":                               []string{"public"},
		"response_types_supported":                              []string{"code"},
		"response_modes_supported":                              []Mode{Query, Fragment, FormPost},
		"grant_types_supported":                                 []string{grantCode, grantRefresh},
		"code_challenge_methods_supported":                      []string{"S256"},
		"display_values_supported":                              displays,
		"prompt_values_supported":                               prompts,
		"authorization_response_iss_parameter_supported":        true,
		"request_parameter_supported":                           false,
		"request_uri_parameter_supported":                       true,
		"require_request_uri_registration":                      true,
		"require_pushed_authorization_requests":                 true,
		"token_endpoint_auth_methods_supported":                 []string{methodNone, methodPrivateKey},
		"token_endpoint_auth_signing_alg_values_supported":      algs,
		"revocation_endpoint_auth_methods_supported":            []string{methodNone, methodPrivateKey},
		"revocation_endpoint_auth_signing_alg_values_supported": algs,
		"dpop_signing_alg_values_supported":                     []string{dpop.Algorithm},
		"protected_resources":                                   []string{s.opts.Issuer},
		"client_id_metadata_document_supported":                 true,
	}
}

// call is a request to an endpoint, with its form read.
type call struct {
	r    *http.Request
	form url.Values
	url  string // of the endpoint, as apps know it

	assertion *assertion // of who calls; nil for public clients, and before it was checked
}

// endpoint makes a handler of what an endpoint does. Every answer carries the nonce for the next proof.
func (s *Service) endpoint(status int, do func(c *call) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Pragma", "no-cache")
		h.Set(dpop.NonceHeader, s.opts.DPoP.Nonce())
		form, err := readForm(w, r)
		var out any
		if err == nil {
			c := &call{r: r, form: form, url: s.opts.Issuer + r.URL.EscapedPath()}
			out, err = do(c)
			err = s.settle(r.Context(), c.assertion, err)
		}
		if err != nil {
			s.fail(w, r, err)
			return
		}
		answer(w, status, out)
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func (s *Service) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := asError(err)
	if e.Status >= 500 && !e.Away { // which strangers can bring about
		s.opts.Logger.ErrorContext(r.Context(), "OAuth", "path", r.URL.Path, "err", e)
	}
	if e.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `DPoP algs="`+dpop.Algorithm+`", error="`+string(e.Code)+`"`)
	}
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(e.RetryAfter.Seconds())))
	}
	answer(w, e.Status, map[string]string{"error": string(e.Code), "error_description": e.Description})
}

// readForm reads the body, in which every parameter stands once at most.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, refuse(InvalidRequest, "The body must have the type application/x-www-form-urlencoded")
	}
	if r.URL.RawQuery != "" {
		return nil, refuse(InvalidRequest, "Parameters stand in the body, not in the address")
	}
	if r.Header.Get("Authorization") != "" {
		return nil, refuse(InvalidClient, "Clients authenticate themselves with a client_assertion, not with a header")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		e := refuse(InvalidRequest, "The body is too large").because(err)
		e.Status = http.StatusRequestEntityTooLarge
		return nil, e
	}
	if err != nil {
		return nil, refuse(InvalidRequest, "The body did not come").because(err)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, refuse(InvalidRequest, "The body is no form").because(err)
	}
	for name, values := range form {
		if len(values) > 1 {
			return nil, refuse(InvalidRequest, "There are two values of "+clip(name))
		}
		if strings.ContainsRune(values[0], 0) {
			return nil, refuse(InvalidRequest, "There is a zero byte in "+clip(name))
		}
	}
	return form, nil
}

func clip(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	return strings.ToValidUTF8(s, "?")
}

// caller is who has made a call: a client, and the key that it holds tokens by.
type caller struct {
	client    *client
	key       clientKey  // zero for public clients
	assertion *assertion // nil for public clients; to be used up by act
	jkt       string     // thumbprint of the DPoP key; "" without a proof
}

// identify finds out who calls: the proof of the DPoP key first, because the rest may cost a request to the client's host.
func (s *Service) identify(c *call) (caller, error) {
	proof, err := dpop.FromHeader(c.r.Header)
	jkt := ""
	if err == nil && proof != "" {
		jkt, err = s.opts.DPoP.Verify(proof, dpop.Request{Method: c.r.Method, URL: c.url})
	}
	if err != nil {
		return caller{}, proofError(err)
	}
	who, err := s.identifyClient(c, jkt)
	if err == nil {
		err = s.checkUnused(c.r.Context(), who.assertion)
	}
	if err != nil {
		return caller{}, err
	}
	c.assertion = who.assertion
	return who, nil
}

func (s *Service) identifyClient(c *call, jkt string) (caller, error) {
	id := c.form.Get("client_id")
	if id == "" {
		return caller{}, refuse(InvalidRequest, "client_id is missing")
	}
	cl, err := s.clients.get(c.r.Context(), id)
	if err != nil {
		return caller{}, err
	}
	key, assertion, err := s.authenticate(cl, c.form, jkt)
	if errors.Is(err, errUnknownKey) { // it may be a new key of the client's
		if cl, err = s.clients.newer(c.r.Context(), cl); err != nil {
			return caller{}, err
		}
		key, assertion, err = s.authenticate(cl, c.form, jkt)
	}
	return caller{cl, key, assertion, jkt}, err
}
