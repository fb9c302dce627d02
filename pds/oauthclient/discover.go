package oauthclient

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const maxAnswer = 256 << 10 // bytes

// Server is an authorization server.
type Server struct {
	Issuer        string `json:"issuer"`
	Authorization string `json:"authorization_endpoint"`
	Token         string `json:"token_endpoint"`
	Pushed        string `json:"pushed_authorization_request_endpoint"`
	Revocation    string `json:"revocation_endpoint"`

	ResponseTypes []string `json:"response_types_supported"`
	GrantTypes    []string `json:"grant_types_supported"`
	Challenges    []string `json:"code_challenge_methods_supported"`
	AuthMethods   []string `json:"token_endpoint_auth_methods_supported"`
	Scopes        []string `json:"scopes_supported"`
	DPoP          []string `json:"dpop_signing_alg_values_supported"`
	IssParameter  bool     `json:"authorization_response_iss_parameter_supported"`
	MustPush      bool     `json:"require_pushed_authorization_requests"`
	MetadataIDs   bool     `json:"client_id_metadata_document_supported"`
}

// Discover finds the authorization server of the host at an origin. The error is ErrNone when there is none that fits.
func (c *Client) Discover(ctx context.Context, origin string) (*Server, error) {
	var resource struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
	}
	if err := c.get(ctx, origin+"/.well-known/oauth-protected-resource", &resource); err != nil {
		return nil, err
	}
	if resource.Resource != origin || len(resource.Servers) != 1 {
		return nil, fmt.Errorf("%w: %s does not name itself and one authorization server", ErrNone, origin)
	}
	issuer := resource.Servers[0]
	if u, err := c.endpoint(issuer); err != nil || u.Scheme+"://"+u.Host != issuer {
		return nil, fmt.Errorf("%w: %.100q is no issuer", ErrNone, issuer)
	}
	s := &Server{}
	if err := c.get(ctx, issuer+"/.well-known/oauth-authorization-server", s); err != nil {
		return nil, err
	}
	return s, c.check(s, issuer)
}

func (c *Client) check(s *Server, issuer string) error {
	for what, ok := range map[string]bool{
		"its issuer":            s.Issuer == issuer,
		"response type code":    slices.Contains(s.ResponseTypes, "code"),
		"both grant types":      slices.Contains(s.GrantTypes, "authorization_code") && slices.Contains(s.GrantTypes, "refresh_token"),
		"S256":                  slices.Contains(s.Challenges, "S256"),
		"public clients":        slices.Contains(s.AuthMethods, "none"),
		"scope atproto":         slices.Contains(s.Scopes, "atproto"),
		"DPoP with ES256":       slices.Contains(s.DPoP, "ES256"),
		"the parameter iss":     s.IssParameter,
		"pushed requests":       s.MustPush,
		"documents for clients": s.MetadataIDs,
	} {
		if !ok {
			return fmt.Errorf("%w: the metadata of %s lack %s", ErrNone, issuer, what)
		}
	}
	for _, e := range []string{s.Authorization, s.Token, s.Pushed} {
		if _, err := c.endpoint(e); err != nil {
			return err
		}
	}
	if _, err := c.endpoint(s.Revocation); err != nil {
		s.Revocation = "" // it may be missing
	}
	return nil
}

// endpoint takes URLs that may be sent a secret to.
func (c *Client) endpoint(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || !plainHost(u.Host) || u.User != nil || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !c.Insecure) {
		return nil, fmt.Errorf("%w: %.100q is no endpoint", ErrNone, text)
	}
	return u, nil
}

// plainHost takes names and addresses of the usual letters: a host stands in the headers of our pages, where others have a meaning.
func plainHost(host string) bool {
	odd := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".-_:[]", r))
	}
	return host != "" && !strings.ContainsFunc(host, odd)
}

func (c *Client) get(ctx context.Context, target string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); resp.StatusCode != http.StatusOK || kind != "application/json" {
		if resp.StatusCode >= http.StatusInternalServerError {
			return fmt.Errorf("%s answers %s", target, resp.Status)
		}
		return fmt.Errorf("%w: %s answers %s, %s", ErrNone, target, resp.Status, kind)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrNone, target, err)
	}
	return nil
}
