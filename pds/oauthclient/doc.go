// Package oauthclient signs people in at other servers, as an OAuth client in the profile of the AT Protocol: it finds the authorization server of a host,
// pushes the request (PAR), sends the browser there, and takes it back with the code; all with PKCE and keys that prove possession (DPoP).
//
// It keeps nothing but the servers' nonces. Pending and Session hold secrets, and are for the caller to seal.
package oauthclient

import (
	"errors"
	"net/http"
	"net/url"
	"sync"
)

// Errors that callers branch on.
var (
	// ErrNone: the host offers no OAuth that this client could use.
	ErrNone = errors.New("the server offers no sign-in by OAuth")
	// ErrRefused: the authorization server, or the person who sat before it, said no.
	ErrRefused = errors.New("the sign-in was refused")
	// ErrAnswer: what came back does not belong to what was asked.
	ErrAnswer = errors.New("the answer does not belong to this sign-in")
	// ErrEnded: the session cannot be renewed any more.
	ErrEnded = errors.New("the session has ended")
)

// Client is this server as a client. It is safe for use by several goroutines.
type Client struct {
	HTTP     *http.Client // guarded, and without redirects
	ID       string       // client_id
	Redirect string       // where browsers come back
	Scope    string
	Insecure bool // other servers may have http URLs: for development

	mu     sync.Mutex
	nonces map[string]string // by origin; guarded by mu
}

// MetadataPath is where a client describes itself to authorization servers.
const MetadataPath = "/oauth-client-metadata.json"

// New returns the client that a server at an origin is. One on localhost has the client ID that the protocol sets aside for development.
func New(client *http.Client, origin, callback, scope string, insecure bool) (*Client, error) {
	u, err := url.Parse(origin)
	if err != nil {
		return nil, err
	}
	c := &Client{HTTP: client, ID: origin + MetadataPath, Redirect: origin + callback, Scope: scope, Insecure: insecure}
	if u.Scheme == "http" { // such a client is called by an address
		u.Host = "127.0.0.1:" + u.Port()
		c.Redirect = u.String() + callback
		c.ID = "http://localhost?" + url.Values{"redirect_uri": {c.Redirect}, "scope": {scope}}.Encode()
	}
	return c, nil
}

// Metadata is the document at MetadataPath.
type Metadata struct {
	ClientID      string   `json:"client_id"`
	ClientName    string   `json:"client_name"`
	ClientURI     string   `json:"client_uri"`
	Application   string   `json:"application_type"`
	GrantTypes    []string `json:"grant_types"`
	ResponseTypes []string `json:"response_types"`
	RedirectURIs  []string `json:"redirect_uris"`
	Scope         string   `json:"scope"`
	AuthMethod    string   `json:"token_endpoint_auth_method"`
	DPoPBound     bool     `json:"dpop_bound_access_tokens"`
}

// Metadata describes the client to authorization servers.
func (c *Client) Metadata(name, origin string) Metadata {
	return Metadata{
		ClientID: c.ID, ClientName: name, ClientURI: origin, Application: "web", GrantTypes: []string{"authorization_code", "refresh_token"},
		ResponseTypes: []string{"code"}, RedirectURIs: []string{c.Redirect}, Scope: c.Scope, AuthMethod: "none", DPoPBound: true,
	}
}
