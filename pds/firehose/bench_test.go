package firehose

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"perch/pds/store"
)

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
