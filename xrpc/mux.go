package xrpc

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/labstack/echo/v4"

	"perch/lexicons"
)

// DefaultBodyLimit is the largest JSON body in bytes, unless a method says otherwise.
const DefaultBodyLimit = 150 << 10

// Options configure a Mux. The zero value of each field is its default.
type Options struct {
	Catalog *lexicons.Catalog // schemas of the methods; default lexicons.Default()
	Logger  *slog.Logger      // one line per request; default slog.Default()

	// MapError turns an error of a handler that is no *Error into one; nil from it, or no
	// MapError, means a 500 that tells the client nothing but the request id.
	MapError func(error) *Error

	// Fallback serves methods that are not registered, after the global rate limit. NSID(ctx)
	// names the method. Without it they are answered 501 when the catalog has them, else 404.
	Fallback func(w http.ResponseWriter, r *http.Request) error

	// TrustedProxies are networks whose X-Forwarded-For is believed, beside loopback, link-local
	// and private addresses.
	TrustedProxies []netip.Prefix
	// DistrustPrivate takes loopback, link-local and private addresses off that list.
	DistrustPrivate bool

	// Again, unless nil, looks a second time whether who was let in still is. It is asked once the
	// JSON body of a method with Access has come, which may be long after Access ran: how long, the
	// client decides. Its context takes the place of Access's.
	Again func(ctx context.Context) (context.Context, error)

	// Answered, unless nil, is told of every request that was answered and how long it took, but not of
	// connections that were taken over.
	Answered func(took time.Duration)

	RateLimits RateLimits

	BodyLimit int64 // of JSON bodies, in bytes; default DefaultBodyLimit

	Now func() time.Time // the clock of rate limits; default time.Now
}

// Mux routes requests to methods and pages. Register everything before the first request.
type Mux struct {
	opts    Options
	log     *slog.Logger
	catalog *lexicons.Catalog
	methods map[string]*method
	limiter *limiter
	proxies proxies
	echo    *echo.Echo
	missing http.Handler // see Missing; nil for none
}

// New returns a Mux without methods.
func New(opts Options) *Mux {
	m := &Mux{opts: opts, log: opts.Logger, catalog: opts.Catalog, methods: make(map[string]*method)}
	if m.log == nil {
		m.log = slog.Default()
	}
	if m.catalog == nil {
		m.catalog = lexicons.Default()
	}
	if m.opts.BodyLimit == 0 {
		m.opts.BodyLimit = DefaultBodyLimit
	}
	m.limiter = newLimiter(opts.RateLimits, opts.Now)
	m.proxies = newProxies(opts.TrustedProxies, opts.DistrustPrivate)
	m.echo = m.router()
	return m
}

func (m *Mux) router() *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.IPExtractor = func(r *http.Request) string { return m.proxies.client(r).String() }
	e.HTTPErrorHandler = m.routeError
	e.Any("/xrpc/*", m.route)
	e.RouteNotFound("/xrpc/*", m.route)
	e.RouteNotFound("/xrpc", m.route)
	return e
}

// route hands an XRPC request over to dispatch.
func (m *Mux) route(ec echo.Context) error {
	return m.dispatch(callOf(ec.Request().Context()), ec.Param("*"))
}

// routeError answers what echo itself refuses (no such page, no such verb), and what pages return.
func (m *Mux) routeError(err error, ec echo.Context) {
	c := callOf(ec.Request().Context())
	var he *echo.HTTPError
	if errors.As(err, &he) {
		switch he.Code {
		case http.StatusNotFound:
			if err = m.nothing(c); err == nil {
				return
			}
		case http.StatusMethodNotAllowed:
			e := NewError(he.Code, NameInvalidRequest, "Incorrect HTTP method (%.20s)", ec.Request().Method)
			e.Header = http.Header{"Allow": ec.Response().Header().Values("Allow")}
			err = e
		default:
			err = &Error{Status: he.Code, Name: NameInvalidRequest, Message: http.StatusText(he.Code), Err: err}
		}
	}
	m.fail(c, err)
}

// Handler returns the whole as an http.Handler.
func (m *Mux) Handler() http.Handler { return http.HandlerFunc(m.serve) }

// dispatch serves one request under /xrpc/; name is the rest of the path.
func (m *Mux) dispatch(c *call, name string) error {
	setCORS(c.w.Header())
	if c.r.Method == http.MethodOptions {
		preflight(&c.w, c.r)
		return nil
	}
	md := m.methods[name]
	if md != nil {
		c.nsid = md.nsid
	}
	if md == nil || !md.noGlobalLimit {
		if err := m.limiter.global(c); err != nil {
			return err
		}
	}
	if md != nil {
		return md.serve(c)
	}
	return m.unknown(c, name)
}

// unknown serves a method that is not registered.
func (m *Mux) unknown(c *call, name string) error {
	if strings.Trim(name, "/") == "" {
		return NewError(http.StatusNotFound, NameNotSupported, "No method given: ask for /xrpc/ and its NSID")
	}
	if _, err := syntax.ParseNSID(name); err != nil {
		return InvalidRequest("Invalid XRPC method: what follows /xrpc/ is not an NSID")
	}
	c.nsid = name
	switch c.r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		return InvalidRequest("Incorrect HTTP method (%.20s) expected GET or POST", c.r.Method)
	}
	if m.opts.Fallback != nil {
		c.guardBody(noLimit)
		return m.opts.Fallback(&c.w, c.r)
	}
	if _, err := m.catalog.Method(name); err == nil {
		return NewError(http.StatusNotImplemented, NameNotImplemented, "Method Not Implemented")
	}
	return NewError(http.StatusNotFound, NameNotSupported, "XRPCNotSupported")
}

// PageOption changes how a page is served.
type PageOption func(*page)

type page struct {
	cors    bool
	limited bool
	limits  []RateLimit
}

// WithCORS lets scripts of any origin read the page, as well-known documents need.
func WithCORS() PageOption { return func(p *page) { p.cors = true } }

// WithGlobalLimit counts requests of the page in the global rate limit.
func WithGlobalLimit() PageOption { return func(p *page) { p.limited = true } }

// WithPageRateLimit adds limits that are counted before the page is served.
func WithPageRateLimit(rules ...RateLimit) PageOption {
	return func(p *page) { p.limits = append(p.limits, rules...) }
}

// Page registers a handler outside the methods, at an exact path, or at all paths below it when
// it ends in "/*". GET answers HEAD, too. A path below /xrpc/ takes precedence over methods.
func (m *Mux) Page(verb, path string, h http.Handler, opts ...PageOption) {
	var p page
	for _, o := range opts {
		o(&p)
	}
	m.limiter.name(path, p.limits)
	serve := func(ec echo.Context) error {
		c := callOf(ec.Request().Context())
		if p.cors {
			setCORS(c.w.Header())
		}
		if p.limited {
			if err := m.limiter.global(c); err != nil {
				return err
			}
		}
		if err := m.limiter.take(c, p.limits, nil); err != nil {
			return err
		}
		c.guardBody(noLimit)
		h.ServeHTTP(&c.w, c.r)
		return nil
	}
	m.echo.Add(verb, path, serve)
	if verb == http.MethodGet {
		m.echo.Add(http.MethodHead, path, serve)
	}
	if p.cors {
		m.echo.Add(http.MethodOptions, path, func(ec echo.Context) error {
			c := callOf(ec.Request().Context())
			setCORS(c.w.Header())
			preflight(&c.w, c.r)
			return nil
		})
	}
}

// PageFunc is Page for a function.
func (m *Mux) PageFunc(verb, path string, h http.HandlerFunc, opts ...PageOption) {
	m.Page(verb, path, h, opts...)
}

// Missing serves browsers that ask for an address where there is nothing, after the global rate limit. Programs are told with the error as JSON.
func (m *Mux) Missing(h http.Handler) { m.missing = h }

// nothing serves a request for an address where there is nothing: browsers get the page of Missing, all others the error.
func (m *Mux) nothing(c *call) error {
	reads := c.r.Method == http.MethodGet || c.r.Method == http.MethodHead
	if m.missing == nil || !reads || !strings.Contains(c.r.Header.Get("Accept"), "text/html") {
		return NewError(http.StatusNotFound, NameNotFound, "There is nothing at this address")
	}
	if err := m.limiter.global(c); err != nil {
		return err
	}
	m.missing.ServeHTTP(&c.w, c.r)
	return nil
}

// Take counts a request of a page against rules, under the names that they must have. The error, if one is used up, is a 429.
func (m *Mux) Take(r *http.Request, rules ...RateLimit) error {
	return m.limiter.take(callOf(r.Context()), rules, nil)
}

// Spend counts points of the request that ctx belongs to against a rule, and tells whether there were enough. Below 0 they are given back. The answer's headers do not show
// it: it is for what the client must not learn.
func (m *Mux) Spend(ctx context.Context, rule RateLimit, points int) bool {
	return m.limiter.spend(callOf(ctx), &rule, points)
}

// Methods lists the methods that are registered, in the order of their names.
func (m *Mux) Methods() []string { return slices.Sorted(maps.Keys(m.methods)) }
