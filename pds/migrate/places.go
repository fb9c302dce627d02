package migrate

import (
	"context"
	"net"
	"net/url"
	"sync"

	"golang.org/x/net/publicsuffix"
)

const (
	// maxReceiving repositories are on their way to here at a time, and maxReceivingFrom of them from one site: a host that sends slowly holds its place for hours, and
	// must not keep people from coming who live elsewhere.
	maxReceiving     = 32
	maxReceivingFrom = 4
)

// site is who stands behind a host, as far as its name tells: whoever has a domain has any number of hosts under it.
func site(origin string) string {
	u, err := url.Parse(origin)
	if err != nil {
		return origin
	}
	name := u.Hostname()
	if net.ParseIP(name) != nil {
		return name
	}
	if domain, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil {
		return domain
	}
	return name
}

// places are given to so many at a time, and to so many of one site.
type places struct {
	all, each int

	mu    sync.Mutex
	taken map[string]int // by site; guarded by mu
	sum   int            // guarded by mu
	moved chan struct{}  // closed when somebody leaves; guarded by mu
}

func newPlaces(all, each int) *places {
	return &places{all: all, each: each, taken: make(map[string]int), moved: make(chan struct{})}
}

// enter waits for a place.
func (p *places) enter(ctx context.Context, site string) (leave func(), err error) {
	for {
		moved, ok := p.take(site)
		if ok {
			return func() { p.leave(site) }, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take takes a place if there is one. If not, moved is closed when that may have changed.
func (p *places) take(site string) (moved chan struct{}, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sum >= p.all || p.taken[site] >= p.each {
		return p.moved, false
	}
	p.sum++
	p.taken[site]++
	return nil, true
}

func (p *places) leave(site string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sum--
	if p.taken[site]--; p.taken[site] == 0 {
		delete(p.taken, site)
	}
	close(p.moved)
	p.moved = make(chan struct{})
}
