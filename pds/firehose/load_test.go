package firehose

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

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
	for i := int64(0); len(f.Stats().Consumers) > 0; i++ {
		st.commit(largeEvent(epoch+i, 500<<10))
		if i > 1000 {
			t.Fatalf("half a gigabyte was written to a consumer that does not read: %+v", f.Stats())
		}
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
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
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
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

// The ring against a plain list.
func TestRingModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 200).Draw(t, "limit")
		r := newRing(limit)
		seq := rapid.Int64Range(0, 5).Draw(t, "start")
		r.start(seq)
		start := seq
		var all []message
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			seq += rapid.Int64Range(1, 3).Draw(t, "gap")
			m := message{seq: seq, data: []byte(strings.Repeat("x", rapid.IntRange(1, 60).Draw(t, "size")))}
			all = append(all, m)
			r.add([]message{m, m}) // the second is known already
			cursor := rapid.Int64Range(start, seq+1).Draw(t, "cursor")
			checkTake(t, r, all, cursor)
		}
		if n, bytes := r.size(); bytes > limit && n > 1 {
			t.Fatalf("%d bytes in %d messages, limit %d", bytes, n, limit)
		}
	})
}

func checkTake(t *rapid.T, r *ring, all []message, cursor int64) {
	v := r.take(cursor, nil, 5, 100)
	var want []message
	for _, m := range all {
		if m.seq > cursor {
			want = append(want, m)
		}
	}
	switch {
	case len(want) == 0:
		if v.place != atEnd {
			t.Fatalf("cursor %d: place %d, want the end", cursor, v.place)
		}
	case v.place == behind:
		if want[0].seq > r.after {
			t.Fatalf("cursor %d is behind, but the ring has all after %d", cursor, r.after)
		}
	case v.place == inside:
		for i, m := range v.msgs {
			if &m[0] != &want[i].data[0] {
				t.Fatalf("cursor %d: message %d is not %d", cursor, i, want[i].seq)
			}
		}
		if n := len(v.msgs); v.last != want[n-1].seq || n > 5 {
			t.Fatalf("cursor %d: last %d after %d messages", cursor, v.last, n)
		}
	default:
		t.Fatalf("cursor %d: at the end, but %d events follow", cursor, len(want))
	}
}

func TestRemainder(t *testing.T) {
	msgs := [][]byte{[]byte("abc"), []byte("de"), []byte("f")}
	for n, want := range []string{"", "bc", "c", "", "e", "", ""} {
		if got := string(remainder(msgs, int64(n))); got != want {
			t.Errorf("after %d bytes: %q, want %q", n, got, want)
		}
	}
}

// Delivery from commit to the last of n consumers, with the consumers' own work included.
func BenchmarkDelivery(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			st := &table{}
			f, url := serve(b, st, Options{})
			arrived := make(chan time.Time, n)
			for range n {
				conn := rawDialFast(b, url)
				go func() {
					buf := make([]byte, 64<<10)
					for {
						if _, err := conn.Read(buf); err != nil {
							return
						}
						arrived <- time.Now()
					}
				}()
			}
			wait(b, "consumers", func() bool { return len(f.Stats().Consumers) == n })
			first, lastOf := make([]float64, 0, b.N), make([]float64, 0, b.N)
			e := largeEvent(epoch, 5000)
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				e.Seq = epoch + int64(i)
				begin := time.Now()
				st.mu.Lock()
				st.events = st.events[:0]
				st.mu.Unlock()
				st.commit(e)
				for k := range n {
					at := (<-arrived).Sub(begin)
					if k == n/2 {
						first = append(first, float64(at.Microseconds()))
					}
					if k == n-1 {
						lastOf = append(lastOf, float64(at.Microseconds()))
					}
				}
			}
			b.ReportMetric(median(first), "µs-median-consumer")
			b.ReportMetric(median(lastOf), "µs-last-consumer")
		})
	}
}

// Throughput to n consumers that are live while events pour in.
func BenchmarkThroughput(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			st := &table{}
			f, url := serve(b, st, Options{RingBytes: 64 << 20})
			const size = 5000
			frame := len(appendMessage(nil, largeEvent(epoch, size).Frame))
			counts := make(chan int, 1024)
			for range n {
				conn := rawDialFast(b, url)
				go func() {
					buf := make([]byte, 256<<10)
					for {
						k, err := conn.Read(buf)
						if err != nil {
							return
						}
						counts <- k
					}
				}()
			}
			wait(b, "consumers", func() bool { return len(f.Stats().Consumers) == n })
			e := largeEvent(epoch, size)
			b.SetBytes(int64(n * frame))
			b.ResetTimer()
			go func() {
				for i := range b.N {
					e.Seq = epoch + int64(i)
					for len(f.added) > 0 && i-int(f.counts.frames.Load())/n > 5000 {
						time.Sleep(time.Millisecond) // no farther ahead than the ring
					}
					for _, fn := range st.taps {
						fn([]store.StoredEvent{e})
					}
				}
			}()
			for left := b.N * n * frame; left > 0; {
				left -= <-counts
			}
		})
	}
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return v[len(v)/2]
}

// rawDialFast is rawDial with an ordinary receive buffer, after the whole handshake was read.
func rawDialFast(tb testing.TB, url string) net.Conn {
	tb.Helper()
	conn := handshake(tb, url)
	buf := make([]byte, 1)
	for tail := ""; !strings.HasSuffix(tail, "\r\n\r\n"); tail += string(buf) {
		if _, err := conn.Read(buf); err != nil {
			tb.Fatal(err)
		}
	}
	return conn
}

func TestRingForgetsAnAccount(t *testing.T) {
	r := newRing(1 << 20)
	r.start(100)
	fill := func(from, to int64) {
		for seq := from; seq <= to; seq++ {
			r.add([]message{{seq: seq, acct: store.AccountID(seq % 3), data: []byte{byte(seq)}}})
		}
	}
	want := func(cursor int64, seqs ...byte) {
		t.Helper()
		v := r.take(cursor, nil, 1000, 1<<20)
		var got []byte
		for _, m := range v.msgs {
			got = append(got, m[0])
		}
		if !bytes.Equal(got, seqs) || v.place == behind {
			t.Errorf("after %d: %v, want %v", cursor, got, seqs)
		}
	}
	fill(101, 109)
	r.forget(1) // 103, 106 and 109
	r.forget(2)
	want(100, 102, 105, 108, 109)
	want(103, 105, 108, 109)
	want(109)
	fill(110, 112)
	want(108, 109, 110, 111, 112)
	r.forget(0) // those that stay
	r.forget(9)
	want(108, 109, 110, 111, 112)
	if n, size := r.size(); n != size {
		t.Errorf("%d messages of %d bytes, each has one", n, size)
	}
}
