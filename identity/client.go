package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"syscall"
	"time"
)

// Defaults of ClientOptions.
const (
	DefaultTimeout      = 10 * time.Second
	DefaultMaxBody      = 512 << 10
	DefaultMaxRedirects = 3
)

const (
	dialTimeout      = 5 * time.Second
	handshakeTimeout = 5 * time.Second
	maxHeaderBytes   = 64 << 10
	maxIdlePerHost   = 8
	maxIdle          = 128
	idleTimeout      = 60 * time.Second
)

// ClientOptions are the settings of the guarded client; the zero value is the
// strict one.
type ClientOptions struct {
	// AllowPrivate switches the guard off: any address, any port, http as well
	// as https. For development, and for hosts that the operator named.
	AllowPrivate bool
	// AnyPort lets requests name a port other than 443.
	AnyPort bool
	// Timeout of a whole exchange with redirects and body; 0 means
	// DefaultTimeout. NewTransport does not use it.
	Timeout time.Duration
	// HeaderTimeout is how long to wait for headers once the request is sent;
	// 0 means no limit of its own.
	HeaderTimeout time.Duration
	// MaxBody in bytes after decompression: reading past it fails with
	// ErrTooLarge. 0 means DefaultMaxBody, below 0 no limit.
	MaxBody int64
	// MaxRedirects followed; 0 means DefaultMaxRedirects, below 0 none.
	MaxRedirects int
	// HTTP2 lets the client speak HTTP/2.
	HTTP2 bool
	// UserAgent sent when a request has none; "" means "Perch".
	UserAgent string
	// RootCAs to trust; nil means the system's.
	RootCAs *x509.CertPool
	// Resolver of host names; nil means the system's.
	Resolver *net.Resolver

	// checkAddress and ports take the place of the rules in tests, which have
	// no public addresses at hand.
	checkAddress func(netip.Addr) error
	ports        []string
}

// NewClient returns the guarded HTTP client, for URLs that strangers chose. It
// looks at the address it is about to connect to, after DNS, and refuses what is
// not public; speaks https to port 443 only; knows no proxy from the
// environment; follows few redirects, each under the same rules; and bounds the
// time and the body. Refusals are ErrBlocked, long bodies ErrTooLarge.
func NewClient(o ClientOptions) *http.Client {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	return &http.Client{Transport: NewTransport(o), Timeout: o.Timeout, CheckRedirect: o.checkRedirect}
}

// NewTransport returns the guard without timeout and redirects, for those who
// stream.
func NewTransport(o ClientOptions) http.RoundTripper {
	if o.MaxBody == 0 {
		o.MaxBody = DefaultMaxBody
	}
	if o.UserAgent == "" {
		o.UserAgent = "Perch"
	}
	dialer := &net.Dialer{Timeout: dialTimeout, Resolver: o.Resolver, ControlContext: o.control}
	return &guard{opts: o, next: &http.Transport{
		Proxy:                  nil, // never from the environment: the guard would see the proxy's address only
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    handshakeTimeout,
		ResponseHeaderTimeout:  o.HeaderTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
		ForceAttemptHTTP2:      o.HTTP2,
	}}
}

// control is called with the resolved address just before the connection.
func (o ClientOptions) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	if o.AllowPrivate {
		return nil
	}
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("%w: network %s", ErrBlocked, network)
	}
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %q", ErrBlocked, address)
	}
	if o.checkAddress != nil {
		return o.checkAddress(addr.Addr())
	}
	return CheckAddress(addr.Addr())
}

// checkURL applies the rules that need no address.
func (o ClientOptions) checkURL(u *url.URL) error {
	if u.User != nil {
		return fmt.Errorf("%w: URL with user name", ErrBlocked)
	}
	if u.Hostname() == "" {
		return fmt.Errorf("%w: URL without host", ErrBlocked)
	}
	if o.AllowPrivate {
		if u.Scheme != "https" && u.Scheme != "http" {
			return fmt.Errorf("%w: scheme %q", ErrBlocked, u.Scheme)
		}
		return nil
	}
	if u.Scheme != "https" {
		return fmt.Errorf("%w: scheme %q, not https", ErrBlocked, u.Scheme)
	}
	if p := u.Port(); !o.AnyPort && p != "" && p != "443" && !slices.Contains(o.ports, p) {
		return fmt.Errorf("%w: port %s", ErrBlocked, p)
	}
	// An address in the URL is refused before anything is sent anywhere.
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil && o.checkAddress == nil {
		return CheckAddress(addr)
	}
	return nil
}

func (o ClientOptions) checkRedirect(req *http.Request, via []*http.Request) error {
	most := o.MaxRedirects
	if most == 0 {
		most = DefaultMaxRedirects
	}
	if len(via) > max(most, 0) {
		return fmt.Errorf("%w: more than %d redirects", ErrBlocked, max(most, 0))
	}
	if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("%w: redirect from https to %s", ErrBlocked, req.URL.Scheme)
	}
	return nil // the guard looks at the URL itself
}

// guard applies the rules to each single exchange.
type guard struct {
	opts ClientOptions
	next *http.Transport
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := g.opts.checkURL(req.URL); err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	if _, set := req.Header["User-Agent"]; !set {
		req = req.Clone(req.Context())
		req.Header.Set("User-Agent", g.opts.UserAgent)
	}
	res, err := g.next.RoundTrip(req)
	if err != nil || g.opts.MaxBody < 0 {
		return res, err
	}
	if req.Method != http.MethodHead && res.ContentLength > g.opts.MaxBody {
		res.Body.Close()
		return nil, fmt.Errorf("%w: %d bytes announced, %d allowed", ErrTooLarge, res.ContentLength, g.opts.MaxBody)
	}
	res.Body = &limitedBody{ReadCloser: res.Body, left: g.opts.MaxBody}
	return res, nil
}

// CloseIdleConnections lets http.Client.CloseIdleConnections work.
func (g *guard) CloseIdleConnections() { g.next.CloseIdleConnections() }

// limitedBody fails, where io.LimitReader would feign an end.
type limitedBody struct {
	io.ReadCloser
	left int64
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return b.ReadCloser.Read(p)
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1] // one more than allowed tells an end from an excess
	}
	n, err := b.ReadCloser.Read(p)
	if int64(n) > b.left {
		n, err = int(b.left), fmt.Errorf("%w: body goes on", ErrTooLarge)
	}
	b.left -= int64(n)
	return n, err
}

// readAll fetches a URL and returns the body of a 2xx answer; other statuses
// are a *statusError.
func readAll(ctx context.Context, c *http.Client, url, accept string, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	res, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return nil, &statusError{res.StatusCode}
	}
	return io.ReadAll(&limitedBody{ReadCloser: res.Body, left: limit})
}

type statusError struct{ status int }

func (e *statusError) Error() string { return fmt.Sprintf("status %d", e.status) }

// isStatus says whether err is an answer with one of the statuses.
func isStatus(err error, statuses ...int) bool {
	var e *statusError
	return errors.As(err, &e) && slices.Contains(statuses, e.status)
}
