package proxy

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// HeaderName is the request header that names the service to pass a request to,
// as <did>#<service id>.
const HeaderName = "Atproto-Proxy"

// Target is a service of another host.
type Target struct {
	DID     syntax.DID
	Service string // the fragment without '#', such as "bsky_appview"
	URL     string // origin, such as "https://api.bsky.app"
}

// Ref returns "did#service", the form that OAuth scopes name.
func (t Target) Ref() string { return t.DID.String() + "#" + t.Service }

// Target returns the service that a request of caller for method goes to: the one its
// atproto-proxy header names, or else the default. A service that the caller may not call is
// not looked for: nobody else has the server fetch DID documents. The error is an *Error, or
// that of caller.Allow.
func (p *Proxy) Target(ctx context.Context, header http.Header, method syntax.NSID, caller Caller) (Target, error) {
	if err := caller.standing(); err != nil {
		return Target{}, err
	}
	t, err := p.wanted(header, method)
	if err != nil {
		return Target{}, err
	}
	if err := caller.Check(method, t.Ref()); err != nil {
		return Target{}, err
	}
	if t.URL != "" {
		return t, nil
	}
	return p.Service(ctx, t.DID, t.Service)
}

// wanted is the service that the request asks for. One that its header names has no URL yet.
func (p *Proxy) wanted(header http.Header, method syntax.NSID) (Target, error) {
	named := strings.Join(header.Values(HeaderName), ", ")
	if named == "" {
		return p.Default(method)
	}
	text, service, err := parseHeader(named)
	if err != nil {
		return Target{}, err
	}
	did, err := syntax.ParseDID(text)
	if err != nil {
		return Target{}, unresolved("could not resolve proxy did", err)
	}
	return Target{DID: did, Service: service}, nil
}

// Default returns the service for requests that name none. The error is an
// *Error.
func (p *Proxy) Default(method syntax.NSID) (Target, error) {
	t := p.opts.AppView
	switch m := strings.ToLower(method.String()); {
	case strings.HasPrefix(m, ozonePrefix):
		t = p.opts.Moderation
	case m == createReport:
		t = p.opts.Report
	}
	if t == nil {
		return Target{}, badRequest("No service configured for " + method.String())
	}
	return *t, nil
}

// Service finds the service with the id (without '#') in the DID document of
// did, or among those that the server is set up with. The error is an *Error.
func (p *Proxy) Service(ctx context.Context, did syntax.DID, id string) (Target, error) {
	for _, t := range []*Target{p.opts.AppView, p.opts.Report, p.opts.Moderation} {
		if t != nil && t.DID == did && t.Service == id {
			return *t, nil
		}
	}
	doc, err := p.opts.Resolver.ResolveDID(ctx, did)
	if err != nil {
		return Target{}, unresolved("could not resolve proxy did", err)
	}
	s, ok := doc.Service(id)
	if !ok {
		return Target{}, badRequest("could not resolve proxy did service url")
	}
	origin, ok := originOf(s.Endpoint)
	if !ok {
		return Target{}, badRequest("could not resolve proxy did service url")
	}
	return Target{DID: did, Service: id, URL: origin}, nil
}

func unresolved(message string, err error) *Error {
	e := badRequest(message)
	e.Err = err
	return e
}

// parseHeader takes a header apart; the messages are those of the reference PDS.
func parseHeader(value string) (did, service string, err error) {
	did, service, found := strings.Cut(value, "#")
	switch {
	case found && did == "":
		return "", "", badRequest("no did specified in proxy header")
	case service == "":
		return "", "", badRequest("no service id specified in proxy header")
	case strings.Contains(service, "#"):
		return "", "", badRequest("invalid proxy header format")
	case strings.Contains(value, " "):
		return "", "", badRequest("proxy header cannot contain spaces")
	}
	return did, service, nil
}

// originOf returns scheme, host and port of a service's endpoint. A path there
// means nothing: XRPC is always at /xrpc.
func originOf(endpoint string) (string, bool) {
	u, err := url.Parse(endpoint)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || u.User != nil {
		return "", false
	}
	return u.Scheme + "://" + u.Host, true
}
