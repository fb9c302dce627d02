package proxy

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity"
)

// Defaults of Options.
const (
	DefaultHeaderTimeout = 10 * time.Second
	DefaultBodyTimeout   = 30 * time.Second
	DefaultMaxBytes      = 10 << 20
)

// totalTimeout ends an exchange that never stalls long enough for the body
// timeout, and never ends either.
const totalTimeout = 5 * time.Minute

// DIDResolver finds the services that atproto-proxy headers name;
// *identity.Resolver is one.
type DIDResolver interface {
	ResolveDID(ctx context.Context, did syntax.DID) (*identity.Document, error)
}

// Options are the settings of a Proxy. Resolver and Sign are needed.
type Options struct {
	Resolver DIDResolver
	// Sign makes the service token of user for audience and method.
	Sign func(ctx context.Context, user syntax.DID, aud, lxm string) (string, error)
	// AppView, Moderation and Report are where requests go that name no
	// service: tools.ozone.* to Moderation, createReport to Report, all else to
	// AppView. Any may be nil.
	AppView, Moderation, Report *Target
	// FragmentAudience makes the audience of tokens "did#service" instead of
	// the bare DID, which is what services understand today.
	FragmentAudience bool
	// AllowPrivate switches the guard against private addresses and http off.
	AllowPrivate bool
	// HTTP2 lets the proxy speak HTTP/2 to services.
	HTTP2 bool
	// HeaderTimeout is how long a service may take to begin its answer,
	// BodyTimeout how long the exchange may stand still; 0 means the default.
	HeaderTimeout, BodyTimeout time.Duration
	// MaxResponse and MaxRequest bound the bodies in bytes; 0 means
	// DefaultMaxBytes.
	MaxResponse, MaxRequest int64
	// Transport to use in place of the guarded one; nil in production.
	Transport http.RoundTripper
}

// Proxy passes requests on. It is safe for concurrent use.
type Proxy struct {
	opts      Options
	transport http.RoundTripper
}

// New returns a Proxy with its own pool of connections.
func New(o Options) *Proxy {
	if o.HeaderTimeout == 0 {
		o.HeaderTimeout = DefaultHeaderTimeout
	}
	if o.BodyTimeout == 0 {
		o.BodyTimeout = DefaultBodyTimeout
	}
	if o.MaxResponse == 0 {
		o.MaxResponse = DefaultMaxBytes
	}
	if o.MaxRequest == 0 {
		o.MaxRequest = DefaultMaxBytes
	}
	p := &Proxy{opts: o, transport: o.Transport}
	if p.transport == nil {
		p.transport = identity.NewTransport(identity.ClientOptions{
			AllowPrivate:  o.AllowPrivate,
			AnyPort:       true,
			HeaderTimeout: o.HeaderTimeout,
			MaxBody:       o.MaxResponse,
			HTTP2:         o.HTTP2,
		})
	}
	return p
}

// Caller is who asks, as the server's authentication found it.
type Caller struct {
	DID    syntax.DID // "" when nobody is signed in
	Status string     // of the account: "" when active, or "deactivated", "takendown", ...
	// Allow decides whether the caller may have method called in its name at
	// the audience "did#service"; its error goes to the client as it is. It
	// is asked about every request that is passed on. Nil allows none.
	Allow func(method syntax.NSID, audience string) error
	// Again is that of all calls for the caller; see Call.
	Again func(context.Context) error
}

// Check returns the reason why method may not be called in the caller's name at
// the audience "did#service", nil when it may. The error is an *Error or that of
// Allow.
func (c Caller) Check(method syntax.NSID, audience string) error {
	if err := c.standing(); err != nil {
		return err
	}
	if c.Allow == nil {
		return &Error{Status: http.StatusForbidden, Name: "Forbidden", Message: "This session may call no other services"}
	}
	return c.Allow(method, audience)
}

// standing returns the reason why nothing at all may be called for the caller,
// nil when there is none.
func (c Caller) standing() error {
	if c.DID == "" {
		return &Error{Status: http.StatusUnauthorized, Name: "AuthMissing", Message: "Authentication Required"}
	}
	switch c.Status {
	case "":
		return nil
	case "takendown", "suspended":
		return &Error{Status: http.StatusUnauthorized, Name: "AccountTakedown", Message: "Account has been taken down"}
	case "deactivated":
		return &Error{Status: http.StatusUnauthorized, Name: "AccountDeactivated", Message: "Account is deactivated"}
	}
	return &Error{Status: http.StatusForbidden, Name: "AccountNotFound", Message: "Account is " + strings.ToLower(c.Status)}
}

// Serve answers a request to /xrpc/<NSID> by passing it on in the caller's name.
// Before anything is written it returns an *Error, the error of caller.Allow, or
// the context's when the client went away; after that only ErrAborted.
func (p *Proxy) Serve(w http.ResponseWriter, r *http.Request, caller Caller) error {
	method, err := methodOf(r.URL.Path)
	if err != nil {
		return err
	}
	if err := checkVerb(r); err != nil {
		return err
	}
	target, err := p.Target(r.Context(), r.Header, method, caller)
	if err != nil {
		return err
	}
	return p.Forward(w, r, Call{User: caller.DID, Method: method, Target: target, Again: caller.Again})
}

func checkVerb(r *http.Request) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		return badRequest("XRPC requests only supports GET and POST")
	}
	if r.Header.Get("Upgrade") != "" {
		return badRequest("subscriptions are not proxied")
	}
	return nil
}
