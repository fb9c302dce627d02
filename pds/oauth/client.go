package oauth

import (
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	strict "github.com/go-jose/go-jose/v4/json" // no member twice, and none in other letters

	"perch/pds/oauth/dpop"
	"perch/pds/oauth/scope"
)

const (
	maxURL       = 2048 // bytes, of URLs that clients give
	maxName      = 200  // characters, of the names of clients
	maxRedirects = 100  // declared by one client
	maxKeys      = 50   // of one client
	maxClientKey = 16 << 10
	minRSA       = 2048 // bits
	maxRSA       = 8192

	methodNone       = "none"
	methodPrivateKey = "private_key_jwt"
)

// assertionAlgorithms are those that clients may sign their assertions with.
var assertionAlgorithms = []jose.SignatureAlgorithm{
	jose.ES256, jose.ES384, jose.ES512, jose.PS256, jose.PS384, jose.PS512, jose.RS256, jose.RS384, jose.RS512, jose.EdDSA,
}

// metadata is what a client says about itself, in the document at its client_id.
type metadata struct {
	ClientID        string          `json:"client_id"`
	ApplicationType string          `json:"application_type"`
	ClientName      string          `json:"client_name"`
	ClientURI       string          `json:"client_uri"`
	LogoURI         string          `json:"logo_uri"`
	PolicyURI       string          `json:"policy_uri"`
	TermsURI        string          `json:"tos_uri"`
	RedirectURIs    []string        `json:"redirect_uris"`
	GrantTypes      []string        `json:"grant_types"`
	ResponseTypes   []string        `json:"response_types"`
	Scope           string          `json:"scope"`
	AuthMethod      string          `json:"token_endpoint_auth_method"`
	AuthAlgorithm   string          `json:"token_endpoint_auth_signing_alg"`
	DPoPBound       bool            `json:"dpop_bound_access_tokens"`
	JWKS            json.RawMessage `json:"jwks"`
	JWKSURI         string          `json:"jwks_uri"`
	SubjectType     string          `json:"subject_type"`

	// What asks for something that this server does not do.
	MTLSBound     bool            `json:"tls_client_certificate_bound_access_tokens"`
	EncryptedAlg  string          `json:"authorization_encrypted_response_alg"`
	EncryptedEnc  string          `json:"authorization_encrypted_response_enc"`
	Authorization json.RawMessage `json:"authorization_details_types"`
}

// client is an app whose metadata have been checked. It is shared: never change it.
type client struct {
	id        string
	url       *url.URL // nil for Localhost
	meta      metadata
	scopes    []string
	keys      []jose.JSONWebKey // of a confidential client
	trusted   bool
	localhost bool
}

func (c *client) confidential() bool { return c.meta.AuthMethod == methodPrivateKey }

// refreshes tells whether the client may refresh its tokens.
func (c *client) refreshes() bool { return slices.Contains(c.meta.GrantTypes, "refresh_token") }

func (c *client) public() Client {
	m := c.meta
	return Client{
		ID: c.id, Trusted: c.trusted, Confidential: c.confidential(), Localhost: c.localhost, Native: m.ApplicationType == "native",
		Name: scope.PlainText(strings.TrimSpace(m.ClientName), maxName), URI: m.ClientURI, LogoURI: m.LogoURI, PolicyURI: m.PolicyURI, TermsURI: m.TermsURI,
	}
}

// parseClientID checks the form of a client_id that is the address of a document.
func parseClientID(id string) (*url.URL, error) {
	u, err := url.Parse(id)
	switch {
	case err != nil || len(id) > maxURL || !isASCII(id) || u.String() != id:
		return nil, fmt.Errorf("client_id is no URL in its plain form")
	case u.Scheme != "https":
		return nil, fmt.Errorf("client_id must be an https URL, or http://localhost for development")
	case u.User != nil || u.Port() != "" || strings.Contains(id, "#") || u.Opaque != "":
		return nil, fmt.Errorf("client_id must not have a user name, a port or a fragment")
	case !hostPattern.MatchString(u.Host): // url.Parse takes the escapes out of it: letters of other scripts, of which pages would make another's name
		return nil, fmt.Errorf("client_id must name a host, in ASCII")
	case u.Host != strings.ToLower(u.Host) || !strings.Contains(u.Hostname(), ".") || isLocal(u.Hostname()) || isIP(u.Hostname()):
		return nil, fmt.Errorf("client_id must name a public host")
	case u.Path == "" || u.Path == "/" || strings.HasSuffix(u.Path, "/"):
		return nil, fmt.Errorf("client_id must have the path of a document")
	case strings.HasPrefix(strings.ToLower(strings.TrimLeft(u.Path, "/")), "xrpc/"): // some proxies make one slash of two; what people upload to their server stands there, in its name
		return nil, fmt.Errorf("client_id must not be a method of a personal data server")
	case slices.ContainsFunc(strings.Split(u.Path, "/"), func(s string) bool { return s == "." || s == ".." }):
		return nil, fmt.Errorf("client_id must not have dots as parts of its path")
	}
	return u, nil
}

// isASCII tells whether an address can be shown as it is: nothing in it looks like something else, hides, or turns what stands beside it.
func isASCII(address string) bool {
	return !strings.ContainsFunc(address, func(c rune) bool { return c <= ' ' || c > '~' })
}

func isIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

const localhostID = "http://localhost"

// isLocalhostID tells whether the client_id is one of development: no document stands behind it.
func isLocalhostID(id string) bool {
	rest, ok := strings.CutPrefix(id, localhostID)
	return ok && (rest == "" || rest[0] == '/' || rest[0] == '?')
}

// localhostClient makes the client that a client_id on localhost stands for: http://localhost?redirect_uri=…&scope=….
func localhostClient(id string) (*client, error) {
	u, err := url.Parse(id)
	if err != nil || len(id) > maxURL || !isASCII(id) || u.Host != "localhost" || u.Path != "" && u.Path != "/" || strings.Contains(id, "#") {
		return nil, fmt.Errorf("a client_id on localhost has no port and no path: http://localhost?redirect_uri=…&scope=…")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil || len(q["scope"]) > 1 {
		return nil, fmt.Errorf("the client_id has a malformed query")
	}
	for key := range q {
		if key != "redirect_uri" && key != "scope" {
			return nil, fmt.Errorf("a client_id on localhost has no parameters but redirect_uri and scope")
		}
	}
	m := metadata{
		ClientID: id, ApplicationType: "native", RedirectURIs: q["redirect_uri"], Scope: q.Get("scope"), AuthMethod: methodNone, DPoPBound: true,
		GrantTypes: []string{"authorization_code", "refresh_token"}, ResponseTypes: []string{"code"},
	}
	if len(m.RedirectURIs) == 0 {
		m.RedirectURIs = []string{"http://127.0.0.1/", "http://[::1]/"}
	}
	if !q.Has("scope") {
		m.Scope = scope.Atproto
	}
	c := &client{id: id, meta: m, localhost: true}
	for _, uri := range m.RedirectURIs {
		if r, err := url.Parse(uri); err != nil || r.Scheme != "http" {
			return nil, fmt.Errorf("redirect_uri %.200q must be an http URL on 127.0.0.1 or [::1]", uri)
		}
	}
	return c, c.check()
}

// documentClient checks the document at a client_id.
func documentClient(id string, body []byte) (*client, error) {
	u, err := parseClientID(id)
	if err != nil {
		return nil, err
	}
	m := metadata{ApplicationType: "web", GrantTypes: []string{"authorization_code"}, ResponseTypes: []string{"code"}}
	if err := strict.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("the document is not the JSON of client metadata: %w", err)
	}
	if m.ClientID != id {
		return nil, fmt.Errorf("client_id in the document is not its address")
	}
	c := &client{id: id, url: u, meta: m}
	return c, c.check()
}

// check holds the client's metadata against the profile.
func (c *client) check() error {
	m := &c.meta
	if err := c.checkTypes(); err != nil {
		return err
	}
	if err := c.checkLinks(); err != nil {
		return err
	}
	if len(m.RedirectURIs) == 0 || len(m.RedirectURIs) > maxRedirects {
		return fmt.Errorf("redirect_uris must have 1 to %d entries", maxRedirects)
	}
	for _, uri := range m.RedirectURIs {
		if wrong := checkRedirectURI(uri, c.url, m.ApplicationType == "native"); wrong != "" {
			return fmt.Errorf("redirect_uri %.200q %s", uri, wrong)
		}
	}
	values, err := scope.Split(m.Scope)
	if err != nil || len(values) != strings.Count(m.Scope, " ")+1 {
		return fmt.Errorf("scope must be values with single spaces between them, none twice")
	}
	if !slices.Contains(values, scope.Atproto) {
		return fmt.Errorf("scope must have %q", scope.Atproto)
	}
	c.scopes = values
	return c.checkKeys()
}

func (c *client) checkTypes() error {
	m := &c.meta
	switch {
	case !m.DPoPBound:
		return fmt.Errorf("dpop_bound_access_tokens must be true")
	case m.ApplicationType != "web" && m.ApplicationType != "native":
		return fmt.Errorf("application_type must be web or native")
	case !slices.Contains(m.ResponseTypes, "code"):
		return fmt.Errorf("response_types must have code")
	case !slices.Contains(m.GrantTypes, "authorization_code"):
		return fmt.Errorf("grant_types must have authorization_code")
	case m.SubjectType != "" && m.SubjectType != "public":
		return fmt.Errorf("subject_type must be public")
	case m.MTLSBound || m.EncryptedAlg != "" || m.EncryptedEnc != "":
		return fmt.Errorf("bound TLS certificates and encrypted responses are not supported")
	case len(m.Authorization) > 0 && string(m.Authorization) != "null" && string(m.Authorization) != "[]":
		return fmt.Errorf("authorization_details_types are not supported")
	}
	for i, g := range m.GrantTypes {
		if g != "authorization_code" && g != "refresh_token" || slices.Contains(m.GrantTypes[:i], g) {
			return fmt.Errorf("grant_types may have authorization_code and refresh_token, once each")
		}
	}
	return nil
}

// checkLinks looks at the addresses that pages show.
func (c *client) checkLinks() error {
	m := &c.meta
	for name, link := range map[string]string{"client_uri": m.ClientURI, "logo_uri": m.LogoURI, "policy_uri": m.PolicyURI, "tos_uri": m.TermsURI} {
		if link == "" {
			continue
		}
		u, err := url.Parse(link)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || len(link) > maxURL {
			return fmt.Errorf("%s must be an https URL", name)
		}
		if name == "client_uri" && (c.url == nil || !strings.EqualFold(u.Host, c.url.Host)) {
			return fmt.Errorf("client_uri must have the host of the client_id")
		}
	}
	return nil
}

func (c *client) checkKeys() error {
	m := &c.meta
	hasKeys := len(m.JWKS) > 0 && string(m.JWKS) != "null"
	switch {
	case hasKeys && m.JWKSURI != "":
		return fmt.Errorf("jwks and jwks_uri exclude each other")
	case m.AuthMethod == methodNone:
		if m.AuthAlgorithm != "" {
			return fmt.Errorf("token_endpoint_auth_signing_alg is for private_key_jwt")
		}
		return nil
	case m.AuthMethod != methodPrivateKey:
		return fmt.Errorf("token_endpoint_auth_method must be none or private_key_jwt")
	case m.ApplicationType == "native":
		return fmt.Errorf("an installed program cannot keep a key: its token_endpoint_auth_method must be none")
	case !slices.Contains(assertionAlgorithms, jose.SignatureAlgorithm(m.AuthAlgorithm)):
		return fmt.Errorf("token_endpoint_auth_signing_alg must be one that the server supports, such as ES256")
	case hasKeys:
		return c.setKeys(m.JWKS)
	case m.JWKSURI == "":
		return fmt.Errorf("private_key_jwt needs jwks or jwks_uri")
	}
	if u, err := url.Parse(m.JWKSURI); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return fmt.Errorf("jwks_uri must be an https URL")
	}
	return nil
}

// setKeys reads the public keys of a confidential client. Keys that are for something else, or of a kind that is not known, are left out.
func (c *client) setKeys(body []byte) error {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil || len(set.Keys) > maxKeys {
		return fmt.Errorf("jwks is no set of at most %d keys", maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var members map[string]json.RawMessage
		if json.Unmarshal(raw, &members) != nil || len(raw) > maxClientKey {
			return fmt.Errorf("jwks has an entry that is no key")
		}
		for _, member := range []string{"d", "k"} {
			if _, has := members[member]; has {
				return fmt.Errorf("jwks has a private key: it is known to everybody now, make another")
			}
		}
		dpop.FillCoordinates(members)
		full, err := json.Marshal(members)
		if err != nil {
			return err
		}
		var k jose.JSONWebKey
		if k.UnmarshalJSON(full) != nil || !k.Valid() || !k.IsPublic() || k.KeyID == "" || k.Use != "" && k.Use != "sig" || !isSound(k.Key) {
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return fmt.Errorf("jwks has no public key with a kid that can be used")
	}
	c.keys = keys
	return nil
}

// isSound tells whether an RSA key is neither so small that others can sign with it, nor so large that it takes long to verify.
func isSound(key any) bool {
	k, ok := key.(*rsa.PublicKey)
	return !ok || k.N.BitLen() >= minRSA && k.N.BitLen() <= maxRSA
}
