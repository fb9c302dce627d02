package firehose

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"perch/pds/event"
	"perch/pds/store"
)

// Store is what the firehose needs of the event table. *store.Store implements it.
type Store interface {
	// OnEvents registers fn, which is called with every committed event once, in seq order, after its commit.
	OnEvents(fn func([]store.StoredEvent))
	// LastSeq returns the newest seq ever given out, 0 when there was none.
	LastSeq() int64
	// OldestSeq returns the oldest seq that is kept, 0 when none is.
	OldestSeq(ctx context.Context) (int64, error)
	// Frames calls fn with at most limit events with seq > after in order, and stops after maxBytes of frames, but
	// calls it for one event at least if there is one. A frame is valid until fn returns.
	Frames(ctx context.Context, after int64, limit, maxBytes int, fn func(seq int64, f store.PackedFrame) error) error
	// PruneEvents deletes events older than before in small transactions, but never the newest one.
	PruneEvents(ctx context.Context, before time.Time) (int64, error)
}

// Defaults of Options.
const (
	DefaultWindow         = 72 * time.Hour
	DefaultRingBytes      = 8 << 20
	DefaultMaxSubscribers = 1000
	DefaultMaxPerIP       = 100
	DefaultPingInterval   = 30 * time.Second
	DefaultPongWait       = 60 * time.Second
	DefaultWriteWait      = 30 * time.Second
	DefaultPruneInterval  = 5 * time.Minute
)

// Limits of one look at the ring and one page of the table. A stalled consumer pins no more than that, for
// WriteWait at most.
const (
	maxBatch      = 64
	maxBatchBytes = 256 << 10
	maxPage       = 256
	// maxReaders bounds how many pages are read from the database at a time, so that consumers which catch up
	// leave readers to everybody else.
	maxReaders = 4
)

// Options configure a Firehose. Only Store is required; the zero value of each other field is its default.
type Options struct {
	Store  Store
	Logger *slog.Logger
	// Window is how long events are kept for consumers that come back (DefaultWindow).
	Window time.Duration
	// RingBytes bounds the memory for the newest events, which live consumers share (DefaultRingBytes).
	RingBytes int
	// MaxSubscribers bounds all connections (DefaultMaxSubscribers), MaxPerIP those of one address (DefaultMaxPerIP).
	MaxSubscribers, MaxPerIP int
	// PingInterval is how often a consumer is pinged (DefaultPingInterval); one that then sends nothing for
	// PongWait (DefaultPongWait) is gone.
	PingInterval, PongWait time.Duration
	// WriteWait is how long one batch, at most 256 KiB or one event, may take (DefaultWriteWait).
	WriteWait time.Duration
	// PruneInterval is how often events older than Window are deleted (DefaultPruneInterval).
	PruneInterval time.Duration
	// ClientIP returns the address a request counts for. By default the connection's, without the port.
	ClientIP func(*http.Request) string
	// Now is the clock for pruning (time.Now).
	Now func() time.Time
}

func (o *Options) setDefaults() {
	setDefault(&o.Window, DefaultWindow)
	setDefault(&o.RingBytes, DefaultRingBytes)
	setDefault(&o.MaxSubscribers, DefaultMaxSubscribers)
	setDefault(&o.MaxPerIP, DefaultMaxPerIP)
	setDefault(&o.PingInterval, DefaultPingInterval)
	setDefault(&o.PongWait, DefaultPongWait)
	setDefault(&o.WriteWait, DefaultWriteWait)
	setDefault(&o.PruneInterval, DefaultPruneInterval)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.ClientIP == nil {
		o.ClientIP = remoteIP
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

func remoteIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// Firehose serves one server's event stream. Make it with New before the first event is written, end it with
// Shutdown.
type Firehose struct {
	opt     Options
	ring    *ring
	added   chan struct{} // 1 deep: the ring has news that nobody was woken for
	readers chan struct{} // a place for each page being read
	floor   atomic.Int64  // events below it may have been pruned

	ctx    context.Context // ends with Shutdown
	cancel context.CancelFunc
	wg     sync.WaitGroup // the loops and all subscribers

	mu     sync.Mutex
	closed bool
	subs   map[*subscriber]struct{}
	perIP  map[string]int

	counts counters
}

// counters are totals since the start.
type counters struct {
	accepted, rejected, tooSlow, frames, bytes atomic.Int64
}

// New starts the event stream of opt.Store.
func New(opt Options) *Firehose {
	opt.setDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	f := &Firehose{
		opt:     opt,
		ring:    newRing(opt.RingBytes),
		added:   make(chan struct{}, 1),
		readers: make(chan struct{}, maxReaders),
		ctx:     ctx,
		cancel:  cancel,
		subs:    map[*subscriber]struct{}{},
		perIP:   map[string]int{},
	}
	// The order matters: an event committed in between is either tapped or not after LastSeq.
	opt.Store.OnEvents(f.add)
	f.ring.start(opt.Store.LastSeq())
	f.wg.Add(2)
	go f.dispatch()
	go f.pruneLoop()
	return f
}

// add is the store's tap. It runs on the committer's goroutine, so it only copies and rings a bell.
func (f *Firehose) add(events []store.StoredEvent) {
	msgs := make([]message, len(events))
	for i, e := range events {
		msgs[i] = message{seq: e.Seq, acct: e.Account, data: appendMessage(make([]byte, 0, len(e.Frame)+maxHeader), e.Frame)}
		if e.Kind == event.Account {
			msgs[i].acct = 0
		}
	}
	f.ring.add(msgs)
	select {
	case f.added <- struct{}{}:
	default:
	}
}

// Forget drops the events of an account from memory, but for those of the kind #account, once store.DeleteRepo has dropped them from the table.
func (f *Firehose) Forget(acct store.AccountID) { f.ring.forget(acct) }

// Pauses between two broadcasts: under load a consumer is woken for many events at once. The pause grows with the
// audience, because that is what a wake-up costs; after a quiet moment nobody waits.
const (
	wakeCost = 30 * time.Microsecond // a wake-up with its write, per consumer
	maxPause = 3 * time.Millisecond
)

// dispatch wakes the subscribers.
func (f *Firehose) dispatch() {
	defer f.wg.Done()
	var last time.Time
	for {
		select {
		case <-f.added:
		case <-f.ctx.Done():
			return
		}
		if wait := f.pause() - time.Since(last); wait > 0 {
			time.Sleep(wait)
		}
		f.ring.broadcast()
		last = time.Now()
	}
}

func (f *Firehose) pause() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return min(time.Duration(len(f.subs))*wakeCost, maxPause)
}

// pruneLoop deletes what is older than the window: once at the start, then at every PruneInterval.
func (f *Firehose) pruneLoop() {
	defer f.wg.Done()
	tick := time.NewTicker(f.opt.PruneInterval)
	defer tick.Stop()
	for {
		f.prune()
		select {
		case <-tick.C:
		case <-f.ctx.Done():
			return
		}
	}
}

// floorMargin is more than the time between the making of an event, by which it is pruned, and its seq.
const floorMargin = time.Hour

func (f *Firehose) prune() {
	before := f.opt.Now().Add(-f.opt.Window)
	// First, so that whoever reads a page after this looks whether something is missing.
	f.floor.Store(before.Add(floorMargin).UnixMicro())
	n, err := f.opt.Store.PruneEvents(f.ctx, before)
	switch {
	case err != nil && f.ctx.Err() == nil:
		f.opt.Logger.Error("prune events", "err", err)
	case n > 0:
		f.opt.Logger.Info("pruned events", "count", n, "before", before)
	}
}

// Shutdown turns away new consumers, closes the others with status 1001, and returns when all are gone or ctx
// ends. A consumer that does not read delays that by farewell a few times at most.
func (f *Firehose) Shutdown(ctx context.Context) error {
	f.mu.Lock()
	f.closed = true
	for s := range f.subs {
		s.wire.hurry(time.Now().Add(farewell))
	}
	f.mu.Unlock()
	f.cancel()
	done := make(chan struct{})
	go func() {
		f.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stats is a look at the stream, for metrics and the admin page.
type Stats struct {
	LastSeq    int64 // newest seq that consumers can be sent
	RingFrames int
	RingBytes  int
	Accepted   int64 // connections, since the start
	Rejected   int64 // refused before the upgrade
	TooSlow    int64 // closed with ConsumerTooSlow
	Frames     int64 // messages written, and their bytes
	Bytes      int64
	Consumers  []Consumer
}

// Consumer is one connection.
type Consumer struct {
	IP        string
	UserAgent string
	Since     time.Time
	Cursor    int64 // seq of the last event it was sent
	Frames    int64
	// Lag is how far behind the newest event the consumer is, in time: seq counts microseconds since 1970.
	Lag time.Duration
}

// Stats returns the present state.
func (f *Firehose) Stats() Stats {
	st := Stats{
		LastSeq:  f.ring.lastSeq(),
		Accepted: f.counts.accepted.Load(),
		Rejected: f.counts.rejected.Load(),
		TooSlow:  f.counts.tooSlow.Load(),
		Frames:   f.counts.frames.Load(),
		Bytes:    f.counts.bytes.Load(),
	}
	st.RingFrames, st.RingBytes = f.ring.size()
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.subs {
		c := Consumer{IP: s.ip, UserAgent: s.agent, Since: s.since, Cursor: s.cursor.Load(), Frames: s.sent.Load()}
		c.Lag = time.Duration(max(0, st.LastSeq-c.Cursor)) * time.Microsecond
		st.Consumers = append(st.Consumers, c)
	}
	return st
}
