package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity"
	"perch/identity/plc"
	"perch/pds/oauthclient"
	"perch/pds/seal"
	"perch/pds/store"
)

// Refusals of what an operator asks for.
var (
	// ErrHere: the account lives on this server already.
	ErrHere = errors.New("the account lives here already")
	// ErrThisServer: what was given as the new host is this server. It is an ErrHere, too.
	ErrThisServer = fmt.Errorf("%w: that is the address of this server", ErrHere)
	// ErrHost: the new host is none that an account could move to.
	ErrHost = errors.New("the account cannot move there")
	// ErrHandle: the handle belongs to the old host's domain and would be lost.
	ErrHandle = errors.New("the handle ends with the move")
	// ErrNowhere: the DID names no server that an account could come from.
	ErrNowhere = errors.New("the account lives nowhere")
	// ErrFull: as many people move here at once as may.
	ErrFull = errors.New("too many accounts are moving here now")
	// ErrChanged: the DID has been changed, so that the move can only go forward.
	ErrChanged = errors.New("the DID has been changed, so the move can only go forward")
	// ErrSignIn: the session at the other host has ended.
	ErrSignIn = errSignIn
	// ErrEmail: an address for here has to be given.
	ErrEmail = errors.New("give an e-mail address for here")
	// ErrState: the move is not at the point at which this can be done.
	ErrState = errors.New("the move is not at that point")
	// ErrKey: the rotation key that was given cannot sign for the DID.
	ErrKey = plc.ErrKey
	// ErrOperation: what the old host has signed would not move the DID here as it should.
	ErrOperation = errors.New("the operation that the old host signed is wrong")
)

// errDown says that nobody should come to a server that has shut him out already.
var errDown = errors.New("the account has been taken down on this server; its operator has to restore it before it can move on")

// Backoff is how long to wait between attempts: Min, doubled each time up to Max, with some chance in it.
type Backoff struct{ Min, Max time.Duration }

func (b Backoff) after(failures int) time.Duration {
	d := min(b.Min<<min(max(failures-1, 0), 20), b.Max)
	return d/2 + rand.N(d/2+1)
}

// Options configure New. All but the last ones are needed.
type Options struct {
	Store   *store.Store
	Seal    *seal.Box
	Here    Here
	Client  *http.Client // without timeouts and limits of its own
	OAuth   *oauthclient.Client
	Lookup  func(context.Context, syntax.AtIdentifier) (*identity.Identity, error)
	Refresh func(context.Context, syntax.DID) (*identity.Document, error)
	Logger  *slog.Logger

	// Retry is the wait between the attempts of one request, StepRetry between those of a step; zero: from a second to half a minute, and from five seconds to
	// five minutes.
	Retry, StepRetry Backoff
	// Late is how long after a request was given up the PLC directory may still act on it; zero: a minute.
	Late time.Duration
	// Parallel is how many moves from one host go on at a time; zero: 4.
	Parallel int
	// Watch, unless nil, is told of every step when it begins and when it ends ("begin", "end"), before its outcome is stored. ctx ends when the step is interrupted.
	// An error leaves the move there, as if the process had ended. It is for tests.
	Watch func(ctx context.Context, did syntax.DID, state State, moment string) error
}

// Manager does the moves. It is safe for use by several goroutines.
type Manager struct {
	opts Options

	mu      sync.Mutex
	locks   map[syntax.DID]*lock    // one command at a time; guarded by mu
	ctx     context.Context         // of Run; nil when it does not run. Guarded by mu
	runners map[syntax.DID]*runner  // guarded by mu
	pacers  map[string]*pacer       // by origin, for all moves from there; guarded by mu
	receive *places                 // of repositories
	byPage  map[syntax.DID]standing // moves that owners began by the pages and that are under way; guarded by mu
	asks    *places                 // of strangers
	wg      sync.WaitGroup
}

// runner is a move under way.
type runner struct {
	cancel context.CancelFunc
	done   chan struct{}
	loaded *counter // bytes of the repository
	from   mark     // guarded by the Manager's mu
	// Blobs that are at the new host, and bytes of those that were sent since the process began.
	blobs, blobBytes counter
}

// New returns a Manager. Call Run to have it work.
func New(o Options) *Manager {
	if o.Retry == (Backoff{}) {
		o.Retry = Backoff{time.Second, 30 * time.Second}
	}
	if o.StepRetry == (Backoff{}) {
		o.StepRetry = Backoff{5 * time.Second, 5 * time.Minute}
	}
	if o.Late == 0 {
		o.Late = lateTime
	}
	if o.Parallel == 0 {
		o.Parallel = 4
	}
	return &Manager{
		opts: o, locks: make(map[syntax.DID]*lock), runners: make(map[syntax.DID]*runner), pacers: make(map[string]*pacer), byPage: make(map[syntax.DID]standing),
		asks:    newPlaces(maxAsking, maxAskingFrom),
		receive: newPlaces(maxReceiving, maxReceivingFrom),
	}
}

// Run takes up what was under way and goes on until ctx ends.
func (m *Manager) Run(ctx context.Context) {
	m.mu.Lock()
	m.ctx = ctx
	m.mu.Unlock()
	rows, err := m.opts.Store.Migrations(ctx)
	if err != nil && ctx.Err() == nil {
		m.opts.Logger.ErrorContext(ctx, "list migrations", "err", err)
	}
	m.wg.Go(func() { m.sweepOften(ctx) })
	for _, row := range rows {
		if !State(row.State).Ended() {
			m.start(row.DID)
		}
	}
	<-ctx.Done()
	m.mu.Lock()
	m.ctx = nil
	m.mu.Unlock()
	m.wg.Wait()
}

// start has a move go on, if it is not under way.
func (m *Manager) start(did syntax.DID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx == nil || m.runners[did] != nil {
		return
	}
	ctx, cancel := context.WithCancel(m.ctx)
	r := &runner{cancel: cancel, done: make(chan struct{}), loaded: &counter{}}
	m.runners[did] = r
	m.wg.Go(func() {
		m.run(ctx, did, r)
		cancel()
		m.mu.Lock()
		delete(m.runners, did)
		m.mu.Unlock()
		close(r.done)
	})
}

// stop interrupts a move between or within its steps and waits until it stands still.
func (m *Manager) stop(did syntax.DID) {
	m.mu.Lock()
	r := m.runners[did]
	m.mu.Unlock()
	if r != nil {
		r.cancel()
		<-r.done
	}
}

// only keeps commands about one account apart.
func (m *Manager) only(did syntax.DID) (unlock func()) {
	m.mu.Lock()
	l := m.locks[did]
	if l == nil {
		l = &lock{}
		m.locks[did] = l
	}
	l.users++
	m.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		m.mu.Lock()
		defer m.mu.Unlock()
		if l.users--; l.users == 0 { // strangers may name any DID
			delete(m.locks, did)
		}
	}
}

// lock is held by the command about an account that runs, and waited for by others.
type lock struct {
	sync.Mutex
	users int // guarded by the Manager's mu
}

func (m *Manager) host(mv *move) *host {
	return &host{side: mv.side(), origin: mv.Host, client: m.opts.Client, pace: m.pacer(mv), retry: m.opts.Retry, tries: requestTries, session: m.session(mv),
		oauth: m.opts.OAuth, did: mv.DID.String()}
}

func (m *Manager) pacer(mv *move) *pacer {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pacers[mv.Host]
	if p == nil {
		if len(m.pacers) >= maxPacers { // strangers may name any host
			maps.DeleteFunc(m.pacers, func(_ string, p *pacer) bool { return p.idle() })
		}
		p = newPacer(time.Now)
		p.moves = make(chan struct{}, m.opts.Parallel)
		m.pacers[mv.Host] = p
	}
	return p
}

const (
	requestTries = 6
	maxPacers    = 1000 // kept although nobody uses them
	repoRetryMax = time.Hour
	maxError     = 1000 // bytes of an error that is kept: it may be made of what the other host says
)

// run does step after step until the move is done, waits for its owner, or ctx ends.
func (m *Manager) run(ctx context.Context, did syntax.DID, r *runner) {
	for ctx.Err() == nil {
		mv, err := m.load(ctx, did)
		if errors.Is(err, store.ErrNotFound) || err == nil && (mv.State.Ended() || mv.waits() != "" && mv.waits() != NeedsDocument) {
			return
		}
		if err == nil {
			state := mv.State
			// The clock may have been wrong when the time was set.
			if err = sleep(ctx, min(time.Until(mv.RetryAt), m.waits(mv).Max)); err == nil {
				err = m.oneStep(ctx, mv, r)
			}
			if err == nil && state == StateDocument && mv.State == state { // without a place at the gate
				err = sleep(ctx, documentEvery)
			}
		}
		if errors.Is(err, errKilled) {
			return
		}
		if err != nil && ctx.Err() == nil {
			m.opts.Logger.ErrorContext(ctx, "note how a migration stands", "did", did, "err", err)
			_ = sleep(ctx, m.opts.StepRetry.Max)
		}
	}
}

var errKilled = errors.New("killed")

// oneStep does the step of the state that the move is in, and stores what came of it.
func (m *Manager) oneStep(ctx context.Context, mv *move, r *runner) error {
	moves := m.pacer(mv).moves
	select {
	case moves <- struct{}{}:
		defer func() { <-moves }()
	case <-ctx.Done():
		return nil
	}
	state := mv.State
	if err := m.watch(ctx, mv.DID, state, "begin"); err != nil {
		return err
	}
	err := m.safely(ctx, mv, r)
	if ctx.Err() != nil {
		return nil
	}
	if killed := m.watch(ctx, mv.DID, state, "end"); killed != nil {
		return killed
	}
	switch {
	case errors.Is(err, errGone):
		return m.drop(ctx, mv.DID)
	case errors.Is(err, errSignIn):
		mv.Needs, mv.Error, mv.Trouble, mv.RetryAt = NeedsSignIn, clip(err.Error(), maxError), "", time.Time{}
	case err != nil:
		mv.State, mv.Error, mv.Trouble, mv.Failures = state, clip(err.Error(), maxError), trouble(state, err), mv.Failures+1
		mv.RetryAt = time.Now().Add(m.waits(mv).after(mv.Failures))
		m.opts.Logger.WarnContext(ctx, "migration", "did", mv.DID, "state", state, "failures", mv.Failures, "err", mv.Error)
	default:
		mv.Failures, mv.RetryAt, mv.Trouble = 0, time.Time{}, ""
		if !mv.State.returned(state) {
			mv.Error = ""
		}
		m.opts.Logger.InfoContext(ctx, "migration", "did", mv.DID, "done", state, "next", mv.State)
	}
	return m.save(context.WithoutCancel(ctx), mv)
}

// safely is step, in which a fault is an error: what other hosts say goes through many hands, and must not end the process for everybody.
func (m *Manager) safely(ctx context.Context, mv *move, r *runner) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			m.opts.Logger.ErrorContext(ctx, "migration", "did", mv.DID, "state", mv.State, "panic", fault, "stack", string(debug.Stack()))
			err = errors.New("a fault of this server")
		}
	}()
	return m.step(ctx, mv, r)
}

// waits is how long a step waits for its next attempt. That of an owner who came by the pages and whose repository cannot be fetched waits longer: each attempt may
// cost as much as the largest repository, and the other host may be theirs.
func (m *Manager) waits(mv *move) Backoff {
	b := m.opts.StepRetry
	if mv.State == StateRepo && len(mv.Keys) > 0 {
		b.Max = max(b.Max, repoRetryMax)
	}
	return b
}

// returned tells that a step went back to ask the owner again, for which there is a reason to be shown.
func (s State) returned(from State) bool { return s == StateCode && from != StateVerify }

func (m *Manager) watch(ctx context.Context, did syntax.DID, state State, moment string) error {
	if m.opts.Watch == nil {
		return nil
	}
	if err := m.opts.Watch(ctx, did, state, moment); err != nil {
		return errKilled
	}
	return nil
}
