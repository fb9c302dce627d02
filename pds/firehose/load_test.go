package firehose

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"

	"perch/pds/store"
)

// Consumers join all the time at all cursors while events pour in and the ring is so small that each of them
// changes between table and ring many times: nobody may miss, repeat or reorder an event.
func TestSwitchOverUnderLoad(t *testing.T) {
	const total, consumers = 30_000, 24
	st := &table{}
	_, url := serve(t, st, Options{RingBytes: 4 << 10})
	seqs := make([]int64, total)
	events := make([]store.StoredEvent, total)
	for i := range seqs {
		seqs[i] = epoch + int64(i)*3
		events[i] = identityEvent(t, seqs[i])
	}
	st.commit(events[0])
	var g errgroup.Group
	g.Go(func() error {
		for i := 1; i < total; {
			n := min(1+rand.IntN(40), total-i)
			st.commit(events[i : i+n]...)
			if i += n; rand.IntN(8) == 0 {
				runtime.Gosched()
			}
			if rand.IntN(50) == 0 {
				time.Sleep(time.Millisecond) // lets consumers reach the live end
			}
		}
		return nil
	})
	for range consumers {
		g.Go(func() error {
			last := st.LastSeq()
			from := int64(epoch) + rand.Int64N(last-epoch+1)
			c := dial(t, fmt.Sprintf("%s?cursor=%d", url, from))
			next := (from-epoch)/3 + 1 // index of the first event after from
			for ; next < total; next++ {
				m, err := c.read()
				if err != nil {
					return fmt.Errorf("after %d events: %w", next, err)
				}
				if m.seq != seqs[next] {
					return fmt.Errorf("got %+v, want seq %d (event %d)", m, seqs[next], next)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// A consumer that stops reading costs no memory and delays nobody, however much is written meanwhile.
func TestStalledConsumer(t *testing.T) {
	const frame, count = 64 << 10, 1500 // 96 MB pass by
	st := &table{}
	f, url := serve(t, st, Options{RingBytes: 1 << 20, WriteWait: time.Hour})
	good := dialLive(t, f, url)
	for range 20 {
		rawDial(t, url)
	}
	wait(t, "all", func() bool { return len(f.Stats().Consumers) == 21 })
	before := heap()
	for i := range int64(count) {
		st.commit(largeEvent(epoch+i, frame))
		if g := good.next(); g.seq != epoch+i {
			t.Fatalf("got %+v, want %d", g, epoch+i)
		}
		st.mu.Lock()
		st.events = nil // the table is on disk in real life
		st.mu.Unlock()
	}
	// Ring, and what each of the 20 is in the middle of writing; all the same bytes, if they stall at one place.
	if grown, limit := heap()-before, int64(20*maxBatchBytes+8<<20); grown > limit {
		t.Errorf("memory grew by %d bytes, limit %d", grown, limit)
	}
	if st := f.Stats(); st.RingBytes > 1<<20 || len(st.Consumers) != 21 {
		t.Errorf("ring %d bytes, %d consumers", st.RingBytes, len(st.Consumers))
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestStalledConsumerIsClosed(t *testing.T) {
	st := &table{}
	f, url := serve(t, st, Options{WriteWait: 100 * time.Millisecond})
	rawDial(t, url)
	wait(t, "the consumer", func() bool { return len(f.Stats().Consumers) == 1 })
	for i := range int64(40) { // 20 MB do not fit into the buffers of the connection
		st.commit(largeEvent(epoch+i, 500<<10))
	}
	wait(t, "its end", func() bool { return len(f.Stats().Consumers) == 0 })
	if n := f.Stats().TooSlow; n != 1 {
		t.Errorf("%d too slow, want 1", n)
	}
}

// A consumer so slow that events are pruned before it gets them is told so: it must not see a gap.
func TestConsumerFallsOutOfWindow(t *testing.T) {
	const frame, count = 256 << 10, 400
	now := time.UnixMicro(epoch + 1e12)
	st := &table{pruned: make(chan struct{}, 1)}
	f, url := serve(t, st, Options{
		RingBytes: 1, WriteWait: time.Hour, Window: time.Hour, PruneInterval: time.Hour, Now: func() time.Time { return now },
	})
	<-st.pruned // at the start
	events := make([]store.StoredEvent, count)
	for i := range events {
		events[i] = largeEvent(epoch+int64(i), frame)
	}
	st.commit(events...)
	c := dial(t, url+fmt.Sprintf("?cursor=%d", int64(epoch)))
	// Not reading: 100 MB do not fit into the buffers of the connection.
	prev := int64(-1)
	wait(t, "the stall", func() bool {
		cs := f.Stats().Consumers
		stalled := len(cs) == 1 && cs[0].Cursor > epoch && cs[0].Cursor == prev
		if len(cs) == 1 {
			prev = cs[0].Cursor
		}
		time.Sleep(20 * time.Millisecond)
		return stalled
	})
	f.prune()
	want := int64(epoch + 1)
	for ; ; want++ {
		g, err := c.read()
		if err != nil {
			t.Fatal(err)
		}
		if g.kind == "error" {
			if g.name != "ConsumerTooSlow" {
				t.Fatalf("got %+v", g)
			}
			break
		}
		if g.seq != want {
			t.Fatalf("got %+v, want %d", g, want)
		}
	}
	c.expectClose(websocket.StatusPolicyViolation)
	if want > epoch+count-10 {
		t.Errorf("the error came after %d events", want-epoch)
	}
}

func TestShutdownLeaksNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	st := &table{}
	st.fill(t, epoch, 100, 1)
	t.Run("", func(t *testing.T) {
		f, url := serve(t, st, Options{WriteWait: time.Hour})
		good := dialLive(t, f, url)
		rawDial(t, url) // will stall in a write
		gone := dialLive(t, f, url)
		_ = gone.CloseNow()
		wait(t, "the one who left", func() bool { return len(f.Stats().Consumers) == 2 })
		read := make(chan error, 1)
		go func() {
			for {
				if _, err := good.read(); err != nil {
					read <- err
					return
				}
			}
		}()
		for i := range int64(30) {
			st.commit(largeEvent(epoch+1000+i, 200<<10))
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := f.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		if err := <-read; websocket.CloseStatus(err) != websocket.StatusGoingAway {
			t.Errorf("closed with %v, want 1001", err)
		}
	})
	wait(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
}

func TestRemainder(t *testing.T) {
	msgs := [][]byte{[]byte("abc"), []byte("de"), []byte("f")}
	for n, want := range []string{"", "bc", "c", "", "e", "", ""} {
		if got := string(remainder(msgs, int64(n))); got != want {
			t.Errorf("after %d bytes: %q, want %q", n, got, want)
		}
	}
}
