package firehose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/api/atproto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/coder/websocket"
	cbg "github.com/whyrusleeping/cbor-gen"

	"perch/pds/event"
	"perch/pds/store"
)

// table is an event table in memory with the same promises as the store's.
type table struct {
	mu     sync.Mutex
	events []store.StoredEvent
	last   int64
	taps   []func([]store.StoredEvent)
	pruned chan struct{} // receives after each prune, when not nil
}

func (t *table) OnEvents(fn func([]store.StoredEvent)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.taps = append(t.taps, fn)
}

func (t *table) LastSeq() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

func (t *table) OldestSeq(context.Context) (int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.events) == 0 {
		return 0, nil
	}
	return t.events[0].Seq, nil
}

func (t *table) Frames(_ context.Context, after int64, limit, maxBytes int, fn func(int64, store.PackedFrame) error) error {
	t.mu.Lock()
	page := t.events[t.search(after):]
	t.mu.Unlock()
	size := 0
	for i, e := range page {
		if i >= limit || size >= maxBytes {
			break
		}
		if err := fn(e.Seq, e.Frame); err != nil {
			return err
		}
		size += len(e.Frame)
	}
	return nil
}

func (t *table) search(after int64) int {
	lo, hi := 0, len(t.events)
	for lo < hi {
		if mid := (lo + hi) / 2; t.events[mid].Seq > after {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

func (t *table) PruneEvents(_ context.Context, before time.Time) (int64, error) {
	t.mu.Lock()
	n := 0
	for n < len(t.events)-1 && t.events[n].Time.Before(before) {
		n++
	}
	t.events = append([]store.StoredEvent(nil), t.events[n:]...)
	t.mu.Unlock()
	if t.pruned != nil {
		t.pruned <- struct{}{}
	}
	return int64(n), nil
}

// commit stores events, then tells the taps: one group commit. It must not be called by two goroutines at once.
func (t *table) commit(events ...store.StoredEvent) {
	t.mu.Lock()
	t.events = append(t.events, events...)
	t.last = events[len(events)-1].Seq
	taps := t.taps
	t.mu.Unlock()
	for _, fn := range taps {
		fn(events)
	}
}

// epoch is the first seq of tests; it stands for a moment long ago.
const epoch = 1 << 40

// identityEvent makes a small event; an #info frame with a long message serves as a large one.
func identityEvent(tb testing.TB, seq int64) store.StoredEvent {
	tb.Helper()
	e, err := event.NewIdentity(syntax.DID("did:web:alice.test"), "alice.test", time.UnixMicro(seq))
	if err != nil {
		tb.Fatal(err)
	}
	if err := e.SetSeq(seq); err != nil {
		tb.Fatal(err)
	}
	return store.StoredEvent{Seq: seq, Kind: e.Kind, Time: e.Time, Frame: e.Frame}
}

// largeEvent has a frame of about n bytes whose message begins with its seq.
func largeEvent(seq int64, n int) store.StoredEvent {
	frame := event.InfoFrame("Large", fmt.Sprintf("%d %s", seq, strings.Repeat("x", n)))
	return store.StoredEvent{Seq: seq, Time: time.UnixMicro(seq), Frame: frame}
}

// fill commits count events with gaps of step between their seqs, from first on, in one batch.
func (t *table) fill(tb testing.TB, first int64, count int, step int64) {
	events := make([]store.StoredEvent, count)
	for i := range events {
		events[i] = identityEvent(tb, first+int64(i)*step)
	}
	t.commit(events...)
}

// serve starts a firehose over t behind an HTTP server and returns it with its websocket address.
func serve(tb testing.TB, st Store, opt Options) (*Firehose, string) {
	tb.Helper()
	opt.Store = st
	if opt.Now == nil {
		opt.Now = func() time.Time { return time.UnixMicro(epoch) } // nothing is old
	}
	f := New(opt)
	srv := httptest.NewServer(f)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := f.Shutdown(ctx); err != nil {
			tb.Error("shutdown:", err)
		}
		srv.Close()
	})
	return f, "ws" + strings.TrimPrefix(srv.URL, "http") + "/xrpc/com.atproto.sync.subscribeRepos"
}

// consumer is a client of the stream.
type consumer struct {
	tb testing.TB
	*websocket.Conn
}

func dial(tb testing.TB, url string) *consumer {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		tb.Fatal("dial:", err)
	}
	conn.SetReadLimit(-1)
	tb.Cleanup(func() { _ = conn.CloseNow() })
	return &consumer{tb, conn}
}

// dialLive returns when the consumer is at the live end.
func dialLive(tb testing.TB, f *Firehose, url string) *consumer {
	tb.Helper()
	n := len(f.Stats().Consumers)
	c := dial(tb, url)
	wait(tb, "the subscriber", func() bool {
		st := f.Stats()
		if len(st.Consumers) <= n {
			return false
		}
		for _, s := range st.Consumers {
			if s.Cursor < st.LastSeq {
				return false
			}
		}
		return true
	})
	return c
}

// got is one frame as a consumer understands it.
type got struct {
	kind    string // "#identity", "#info", "error"
	seq     int64
	name    string // of #info and errors
	message string
}

var errDeadline = errors.New("nothing came")

func (c *consumer) read() (got, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), time.Minute, errDeadline)
	defer cancel()
	typ, b, err := c.Read(ctx)
	if err != nil {
		return got{}, err
	}
	if typ != websocket.MessageBinary {
		return got{}, errors.New("frame is not binary")
	}
	return decode(b)
}

func (c *consumer) next() got {
	c.tb.Helper()
	g, err := c.read()
	if err != nil {
		c.tb.Fatal("read:", err)
	}
	return g
}

// expect reads identity events with exactly these seqs.
func (c *consumer) expect(seqs ...int64) {
	c.tb.Helper()
	for _, want := range seqs {
		if g := c.next(); g.kind != "#identity" || g.seq != want {
			c.tb.Fatalf("got %+v, want #identity %d", g, want)
		}
	}
}

// expectClose reads the close frame and checks its status.
func (c *consumer) expectClose(want websocket.StatusCode) {
	c.tb.Helper()
	g, err := c.read()
	if err == nil {
		c.tb.Fatalf("got %+v, want close %d", g, want)
	}
	if code := websocket.CloseStatus(err); code != want {
		c.tb.Fatalf("closed with %v (%v), want %v", code, err, want)
	}
}

func decode(b []byte) (got, error) {
	r := bytes.NewReader(b)
	var head cbg.Deferred
	if err := head.UnmarshalCBOR(r); err != nil {
		return got{}, fmt.Errorf("header: %w", err)
	}
	body := bytes.NewReader(b[len(head.Raw):])
	switch {
	case bytes.Contains(head.Raw, []byte("#identity")):
		var m atproto.SyncSubscribeRepos_Identity
		err := m.UnmarshalCBOR(body)
		return got{kind: "#identity", seq: m.Seq}, err
	case bytes.Contains(head.Raw, []byte("#account")):
		var m atproto.SyncSubscribeRepos_Account
		err := m.UnmarshalCBOR(body)
		return got{kind: "#account", seq: m.Seq}, err
	case bytes.Contains(head.Raw, []byte("#info")):
		var m atproto.SyncSubscribeRepos_Info
		if err := m.UnmarshalCBOR(body); err != nil {
			return got{}, err
		}
		g := got{kind: "#info", name: m.Name, message: *m.Message}
		_, _ = fmt.Sscan(g.message, &g.seq) // of a large event
		return g, nil
	case bytes.Equal(head.Raw, []byte{0xa1, 0x62, 'o', 'p', 0x20}):
		for _, name := range []string{"FutureCursor", "ConsumerTooSlow"} {
			if bytes.Contains(b, []byte(name)) {
				return got{kind: "error", name: name}, nil
			}
		}
	}
	return got{}, fmt.Errorf("unknown frame %x", b)
}

// wait polls until ok; it is for conditions that nothing signals.
func wait(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			tb.Fatal("waited in vain for", what)
		}
		time.Sleep(time.Millisecond)
	}
}
