package identity

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

func TestCacheLives(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	did := w.account("one.example.com")
	if h := w.handleOf(did); h != "one.example.com" {
		t.Fatal(h)
	}
	w.rename(did, "two.example.com")
	w.pass(DefaultCacheStale)
	if h := w.handleOf(did); h != "one.example.com" || w.plcHits.Load() != 1 {
		t.Errorf("a fresh answer was not used: %s, %d requests", h, w.plcHits.Load())
	}
	w.pass(time.Second)
	if h := w.handleOf(did); h != "one.example.com" {
		t.Errorf("a stale answer was not used: %s", h)
	}
	if _, err := wait[*Document](ctx, w.r.startDID(did)); err != nil { // joins or follows the renewal
		t.Fatal(err)
	}
	if h := w.handleOf(did); h != "two.example.com" {
		t.Errorf("not renewed in the background: %s", h)
	}
	// A directory that is down does no harm until the answer is too old.
	w.set(func() { w.plcDown = true })
	if _, err := w.r.Refresh(ctx, did); !errors.Is(err, ErrNetwork) {
		t.Errorf("refresh: %v", err)
	}
	if h := w.handleOf(did); h != "two.example.com" {
		t.Errorf("lost by a failed refresh: %s", h)
	}
	// Nor is it asked again and again meanwhile.
	w.pass(DefaultCacheStale + time.Second)
	if _, err := w.r.Refresh(ctx, did); !errors.Is(err, ErrNetwork) {
		t.Errorf("refresh: %v", err)
	}
	asked := w.plcHits.Load()
	for range 5 {
		if _, err := w.r.RefreshOlder(ctx, did, time.Second); err != nil {
			t.Error(err)
		}
	}
	if _, state, _ := w.r.docs.get(did); state != fresh || w.plcHits.Load() != asked {
		t.Errorf("asked %d times more, just after a failure", w.plcHits.Load()-asked)
	}
	w.pass(DefaultCacheMax + time.Second)
	if _, err := w.r.ResolveDID(ctx, did); !errors.Is(err, ErrNetwork) {
		t.Errorf("too old: %v", err)
	}
	// The failure is remembered for a moment only.
	w.set(func() { w.plcDown = false })
	if _, err := w.r.ResolveDID(ctx, did); !errors.Is(err, ErrNetwork) {
		t.Errorf("failure not remembered: %v", err)
	}
	w.pass(failureTTL + time.Second)
	if h := w.handleOf(did); h != "two.example.com" {
		t.Errorf("after the failure: %s", h)
	}
}

func TestCacheOfAbsence(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	for range 3 {
		if _, err := w.r.ResolveHandle(ctx, "new.example.com"); !errors.Is(err, ErrHandleNotFound) {
			t.Fatal(err)
		}
	}
	if n := w.dns.questions("_atproto.new.example.com"); n != 1 {
		t.Errorf("asked %d times", n)
	}
	w.dns.txt("_atproto.new.example.com", "did="+testDID.String())
	w.pass(notFoundTTL + time.Second)
	if did, err := w.r.ResolveHandle(ctx, "new.example.com"); err != nil || did != testDID {
		t.Errorf("after a minute: %s, %v", did, err)
	}
	w.dns.txt("_atproto.new.example.com", "did=did:plc:bbbbbbbbbbbbbbbbbbbbbbbb")
	if did, _ := w.r.ResolveHandle(ctx, "new.example.com"); did != testDID {
		t.Errorf("not cached: %s", did)
	}
	w.r.Purge("New.example.com")
	if did, _ := w.r.ResolveHandle(ctx, "new.example.com"); did != "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb" {
		t.Errorf("after Purge: %s", did)
	}
	w.dns.txt("_atproto.new.example.com")
	if did, err := w.r.RefreshHandle(ctx, "new.example.com"); !errors.Is(err, ErrHandleNotFound) {
		t.Errorf("RefreshHandle: %s, %v", did, err)
	}
	if _, err := w.r.ResolveHandle(ctx, "new.example.com"); !errors.Is(err, ErrHandleNotFound) {
		t.Errorf("a surely absent handle still in the cache: %v", err)
	}
}

// Many callers cause one request, and one that gives up leaves the others alone.
func TestLookupsAreShared(t *testing.T) {
	w := newWorld(t)
	did := w.account("alice.example.com")
	hold := make(chan struct{})
	w.set(func() { w.hold = hold })
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan error, 1)
	go func() {
		_, err := w.r.ResolveDID(ctx, did)
		gone <- err
	}()
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled caller: %v", err)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := w.r.ResolveDID(context.Background(), did); err != nil {
				t.Error(err)
			}
		})
	}
	close(hold)
	wg.Wait()
	if n := w.plcHits.Load(); n != 1 {
		t.Errorf("%d requests for one DID", n)
	}
}

func TestRefreshOlder(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	did := w.account("alice.example.com")
	for _, tt := range []struct {
		passed time.Duration
		hits   int32
	}{{0, 1}, {0, 1}, {30 * time.Second, 1}, {time.Second, 2}, {0, 2}} {
		w.pass(tt.passed)
		if _, err := w.r.RefreshOlder(ctx, did, 30*time.Second); err != nil {
			t.Fatal(err)
		}
		if n := w.plcHits.Load(); n != tt.hits {
			t.Errorf("after %s: %d requests, want %d", tt.passed, n, tt.hits)
		}
	}
}

// An answer to a question asked before a refresh or purge must not be kept.
func TestLateAnswersAreDropped(t *testing.T) {
	now := time.Unix(0, 0)
	c := newCache[string](10, func(int) int { return 0 }, lifetimes{time.Hour, time.Hour, time.Hour, time.Hour}, func() time.Time { return now })
	early, late := c.begin(), c.begin()
	c.put("k", late, 2, nil)
	c.put("k", early, 1, nil)
	if v, _, _ := c.get("k"); v != 2 {
		t.Errorf("late answer kept: %d", v)
	}
	before := c.begin()
	c.purge("k")
	c.put("k", before, 3, nil)
	if _, state, _ := c.get("k"); state != missing {
		t.Error("an answer from before the purge was kept")
	}
	c.put("k", c.begin(), 4, nil)
	if v, state, _ := c.get("k"); v != 4 || state != fresh {
		t.Errorf("after the purge: %d", v)
	}
}

func TestCacheIsBounded(t *testing.T) {
	now := time.Unix(0, 0)
	c := newCache[int](3, func(n int) int { return n }, lifetimes{time.Hour, time.Hour, time.Hour, time.Hour}, func() time.Time { return now })
	for i := range 10 {
		c.put(i, c.begin(), i, nil)
		c.get(0) // in use
	}
	if len(c.entries) != 3 || c.order.Len() != 3 {
		t.Errorf("%d entries", len(c.entries))
	}
	if _, state, _ := c.get(0); state != fresh {
		t.Error("the one in use was dropped")
	}
	c.most = 10_000
	for range 3 { // also what takes the place of another counts
		c.put(5000, c.begin(), 5000, nil)
		c.put(4500, c.begin(), 4500, nil)
	}
	if len(c.entries) != 1 || c.weight != 4500+entryOverhead {
		t.Errorf("%d entries of %d bytes", len(c.entries), c.weight)
	}
	c.put(20_000, c.begin(), 20_000, nil)
	if len(c.entries) != 0 || c.weight != 0 || c.order.Len() != 0 {
		t.Errorf("%d entries of %d bytes after one that does not fit", len(c.entries), c.weight)
	}
}

func BenchmarkResolveDIDCached(b *testing.B) {
	r := New(Options{})
	r.docs.put(testDID, r.docs.begin(), &Document{DID: testDID}, nil)
	for b.Loop() {
		if _, err := r.ResolveDID(context.Background(), testDID); err != nil {
			b.Fatal(err)
		}
	}
}
