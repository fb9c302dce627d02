package xrpc

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"perch/lexicons"
)

// call is one request on its way. It is the request's context, too, which saves an allocation
// for every value it carries.
type call struct {
	context.Context                 // of the connection
	ctx             context.Context // what the handler gets: the call itself, or what access made of it

	mux    *Mux
	r      *http.Request
	w      response
	id     string
	ip     netip.Addr
	start  time.Time
	nsid   string
	params lexicons.Params

	// Facts for the log.
	did     string
	errName string
	err     error
}

type callKey struct{}

// Value implements context.Context.
func (c *call) Value(key any) any {
	if _, ok := key.(callKey); ok {
		return c
	}
	return c.Context.Value(key)
}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// RequestID returns the id of the request that ctx belongs to, "" outside one. It stands in the
// X-Request-Id header of the answer and in the log.
func RequestID(ctx context.Context) string {
	if c := callOf(ctx); c != nil {
		return c.id
	}
	return ""
}

// ClientIP returns the address of the client, as told by trusted proxies. It is the zero Addr
// outside a request.
func ClientIP(ctx context.Context) netip.Addr {
	if c := callOf(ctx); c != nil {
		return c.ip
	}
	return netip.Addr{}
}

// ClientNetwork returns what of the client's address one customer holds, for limits: an IPv4
// address, or the /64 of an IPv6 address. It is the zero Addr outside a request.
func ClientNetwork(ctx context.Context) netip.Addr { return network(ClientIP(ctx)) }

// NSID returns the method of the request that ctx belongs to, "" outside /xrpc/.
func NSID(ctx context.Context) string {
	if c := callOf(ctx); c != nil {
		return c.nsid
	}
	return ""
}

// Request returns the HTTP request that ctx belongs to, nil outside one.
func Request(ctx context.Context) *http.Request {
	if c := callOf(ctx); c != nil {
		return c.r
	}
	return nil
}

// Header returns the header of the answer, which handlers may add to until they return. Outside
// a request it is one that nobody reads.
func Header(ctx context.Context) http.Header {
	if c := callOf(ctx); c != nil {
		return c.w.Header()
	}
	return http.Header{}
}

// SetDID puts the account that calls into the request's log line.
func SetDID(ctx context.Context, did string) {
	if c := callOf(ctx); c != nil {
		c.did = did
	}
}

// maxRequestID is the longest request id taken over from a proxy.
const maxRequestID = 64

// requestID takes over the id that a proxy in front has given, when it is harmless, or makes one.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	if id == "" || len(id) > maxRequestID {
		return newRequestID()
	}
	for i := range len(id) {
		c := id[i]
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_' || c == '.') {
			return newRequestID()
		}
	}
	return id
}

func newRequestID() string { return strconv.FormatUint(rand.Uint64()|1<<63, 36) }
