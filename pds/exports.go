package pds

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"perch/xrpc"
)

// Whoever reads a whole repository holds one of the store's few snapshots until the last byte is sent. Strangers may do that, so it is bounded: how many at a
// time, and how slowly.
const (
	maxExports          = 12 // the store has 16 snapshots, so that proofs, and people who fetch their own repository, find one
	maxExportsPerClient = 4
	exportWait          = 10 * time.Second // for a place
	exportGrace         = time.Minute
	exportRate          = 32 << 10 // bytes a second that a reader must take on average once the grace is over
)

var errSlowReader = errors.New("client reads too slowly")

// exports counts who reads whole repositories.
type exports struct {
	all  chan struct{}
	wait time.Duration

	mu      sync.Mutex
	clients map[netip.Addr]*exportClient // guarded by mu; those who read or wait
}

type exportClient struct {
	users  int // guarded by exports.mu
	places chan struct{}
}

func newExports() *exports {
	return &exports{all: make(chan struct{}, maxExports), wait: exportWait, clients: make(map[netip.Addr]*exportClient)}
}

// enter takes a place, for a while waiting for one. own says that the caller reads what is the caller's, for which the last places are kept. leave must be called.
func (e *exports) enter(ctx context.Context, own bool) (leave func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, e.wait)
	defer cancel()
	at := xrpc.ClientNetwork(ctx)
	c := e.join(at)
	if !acquire(ctx, c.places) {
		e.part(at, c)
		return nil, tooMany(ctx, http.StatusTooManyRequests, xrpc.NameRateLimit, "You are fetching too many repositories at once")
	}
	if own {
		return func() { <-c.places; e.part(at, c) }, nil
	}
	if !acquire(ctx, e.all) {
		<-c.places
		e.part(at, c)
		return nil, tooMany(ctx, http.StatusServiceUnavailable, xrpc.NameNotEnough, "Too many repositories are being fetched. Try again in a moment.")
	}
	return func() { <-e.all; <-c.places; e.part(at, c) }, nil
}

func acquire(ctx context.Context, places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func tooMany(ctx context.Context, status int, name, message string) error {
	if errors.Is(ctx.Err(), context.Canceled) { // the client has left
		return ctx.Err()
	}
	return &xrpc.Error{Status: status, Name: name, Message: message, Header: http.Header{"Retry-After": {strconv.Itoa(int(exportWait / time.Second))}}}
}

func (e *exports) join(at netip.Addr) *exportClient {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.clients[at]
	if c == nil {
		c = &exportClient{places: make(chan struct{}, maxExportsPerClient)}
		e.clients[at] = c
	}
	c.users++
	return c
}

func (e *exports) part(at netip.Addr, c *exportClient) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c.users--; c.users == 0 {
		delete(e.clients, at)
	}
}

// pacedWriter gives up on a client that takes the bytes too slowly.
type pacedWriter struct {
	w     io.Writer
	begun time.Time
	sent  int64
}

func (p *pacedWriter) Write(b []byte) (int, error) {
	if time.Since(p.begun) > exportGrace+time.Duration(p.sent/exportRate)*time.Second {
		return 0, errSlowReader
	}
	n, err := p.w.Write(b)
	p.sent += int64(n)
	return n, err
}
