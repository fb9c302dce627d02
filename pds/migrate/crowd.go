package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

const (
	// maxByPage is how many moves that owners began by the pages may be at work, and maxByPageFrom how many of those from one site: the hosts that they come from may
	// be made for it. A move that waits for its owner, or has failed maxWorn times in a row, costs next to nothing and does not count.
	maxByPage     = 100
	maxByPageFrom = 25
	maxWorn       = 8
	// maxInside is how many people may be signed in at their old hosts and have no account here yet. When there are more, the oldest have to sign in again.
	maxInside = 1000

	// maxAsking is how many hosts are asked something at a time on a stranger's word, maxAskingFrom how many of one site, and askTime how long it may take.
	maxAsking     = 64
	maxAskingFrom = 16
	askTime       = 45 * time.Second
)

// standing is what is known of a move that its owner began by the pages and that is under way.
type standing struct {
	site   string
	inside bool // the account here is still to be made
	works  bool
	since  time.Time
}

// stands notes how a move stands that was just stored.
func (m *Manager) stands(mv *move) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(mv.Keys) == 0 || mv.State.Ended() {
		delete(m.byPage, mv.DID)
		return
	}
	inside := mv.State == StateAccount
	works := !inside && mv.waits() == "" && mv.State != StateAbandoning && mv.Failures < maxWorn
	m.byPage[mv.DID] = standing{site(mv.Host), inside, works, mv.BeganAt}
}

// forget is stands for a move of which nothing is left.
func (m *Manager) forget(did syntax.DID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.byPage, did)
}

// full tells whether as many moves that owners began are at work as may be.
func (m *Manager) full(origin string) bool {
	from := site(origin)
	m.mu.Lock()
	defer m.mu.Unlock()
	all, here := 0, 0
	for _, s := range m.byPage {
		if !s.works {
			continue
		}
		if all++; s.site == from {
			here++
		}
	}
	return all >= maxByPage || here >= maxByPageFrom
}

// makeRoom gives up the oldest of the moves whose owners have signed in and not come back, when there are too many of them.
func (m *Manager) makeRoom(ctx context.Context) {
	m.mu.Lock()
	var oldest syntax.DID
	n := 0
	for did, s := range m.byPage {
		if !s.inside {
			continue
		}
		if n++; oldest == "" || s.since.Before(m.byPage[oldest].since) {
			oldest = did
		}
	}
	running := m.ctx != nil
	m.mu.Unlock()
	if n <= maxInside || !running {
		return
	}
	ctx = context.WithoutCancel(ctx)
	m.wg.Go(func() { // whoever calls this holds the lock of another account
		_, err := m.command(ctx, oldest, func(_ context.Context, mv *move) error {
			if mv.State != StateAccount { // they have come back meanwhile
				return ErrState
			}
			mv.State, mv.Error = StateAbandoning, ""
			return nil
		})
		if err != nil && !errors.Is(err, ErrState) {
			m.opts.Logger.WarnContext(ctx, "give up a move that was left", "did", oldest, "err", err)
			m.forget(oldest)
		}
	})
}

// asking has a host be asked something on a stranger's word, which must end soon. The error is ErrFull when too many are asked already.
func (m *Manager) asking(ctx context.Context, origin string) (context.Context, func(), error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	leave, err := m.asks.enter(ctx, site(origin))
	if err != nil {
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w: %w", ErrFull, err)
		}
		return nil, nil, err
	}
	return ctx, func() { leave(); cancel() }, nil
}
