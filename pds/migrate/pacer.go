package migrate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	hostParallel = 4               // requests under way to one host
	maxHold      = time.Hour       // whatever a host asks for
	maxPauses    = 500             // kept although they are over
	defaultHold  = 5 * time.Second // after a 429 that does not say how long
)

// pacer keeps to what one host allows, for all accounts that leave it, or go to it, together.
type pacer struct {
	now   func() time.Time
	slots chan struct{}
	moves chan struct{} // steps of moves under way, so that a slow host holds up no move from another

	mu    sync.Mutex
	until map[string]time.Time // by method, because each has limits of its own. Guarded by mu
}

func newPacer(now func() time.Time) *pacer {
	return &pacer{now: now, slots: make(chan struct{}, hostParallel), until: make(map[string]time.Time)}
}

// ErrBusy says that the other host wants more time than somebody who waits for the answer has.
var ErrBusy = errors.New("the other host takes no more requests of this kind for now")

// enter waits for the end of a pause and for a slot. leave must be called when the answer has been read. With a patience above 0 it waits no longer than that
// for a pause to end, and returns ErrBusy.
func (p *pacer) enter(ctx context.Context, method string, patience time.Duration) (leave func(), err error) {
	for {
		p.mu.Lock()
		wait := p.until[method].Sub(p.now())
		p.mu.Unlock()
		if wait <= 0 {
			break
		}
		if patience > 0 && wait > patience {
			return nil, fmt.Errorf("%w: %s again in %s", ErrBusy, method, wait.Round(time.Second))
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return func() { <-p.slots }, nil
}

// idle tells whether nothing would be lost if the pacer were forgotten.
func (p *pacer) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, until := range p.until {
		if until.After(p.now()) {
			return false
		}
	}
	return len(p.slots) == 0 && len(p.moves) == 0
}

// observe reads what an answer says of the host's limits. At 429, and when no request is left, nobody asks for the method again before the time that the host
// gives.
func (p *pacer) observe(method string, resp *http.Response) {
	h, hold := resp.Header, time.Duration(0)
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		hold = p.retryAfter(h)
		if hold == 0 {
			hold = p.reset(h)
		}
		if hold == 0 && resp.StatusCode == http.StatusTooManyRequests {
			hold = defaultHold
		}
	} else if left, err := strconv.Atoi(h.Get("RateLimit-Remaining")); err == nil && left == 0 {
		hold = p.reset(h)
	}
	if hold <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.until) > maxPauses {
		maps.DeleteFunc(p.until, func(_ string, until time.Time) bool { return until.Before(p.now()) })
	}
	if until := p.now().Add(min(hold, maxHold)); until.After(p.until[method]) {
		p.until[method] = until
	}
}

// retryAfter reads Retry-After: seconds, or a date.
func (p *pacer) retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.Atoi(v); err == nil && n >= 0 {
		return max(time.Duration(min(n, int(maxHold/time.Second)))*time.Second, time.Millisecond)
	}
	if at, err := http.ParseTime(v); err == nil {
		return at.Sub(p.now())
	}
	return 0
}

// reset reads RateLimit-Reset: seconds since 1970, as PDSs write it, or seconds from now.
func (p *pacer) reset(h http.Header) time.Duration {
	n, err := strconv.ParseInt(h.Get("RateLimit-Reset"), 10, 64)
	switch {
	case err != nil || n <= 0:
		return 0
	case n < 1e9:
		return time.Duration(min(n, int64(maxHold/time.Second))) * time.Second
	}
	return time.Unix(n, 0).Sub(p.now())
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
