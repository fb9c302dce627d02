// Package meter counts what the server does and remembers it for a day, a sample a minute, for the charts of the administration pages. Counting costs a few
// nanoseconds: an atomic addition.
package meter

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Interval is the time between two samples.
	Interval = time.Minute
	// Kept is how many samples are remembered: a day of them.
	Kept = 24 * 60
)

// Gauges are what is looked at when a sample is taken.
type Gauges struct {
	Consumers int   // of the firehose
	DiskFree  int64 // bytes, as those below
	Database  int64
	Log       int64 // of the database
	Memory    int64
}

// Sample is a minute of the server.
type Sample struct {
	At               time.Time // its end
	Writes, Requests float64   // per second
	P50, P99         time.Duration
	Gauges
}

// Meter counts. The zero Meter is ready.
type Meter struct {
	writes atomic.Int64
	took   histogram

	mu    sync.Mutex
	ring  []Sample  // guarded by mu; oldest first from next on once it is full
	next  int       // guarded by mu
	since time.Time // guarded by mu; when the present minute began
}

// Wrote counts writes to repositories.
func (m *Meter) Wrote(n int) { m.writes.Add(int64(n)) }

// Answered counts a request and how long it took.
func (m *Meter) Answered(took time.Duration) { m.took.add(took) }

// Start notes when counting began.
func (m *Meter) Start(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.since = now
}

// Take ends a minute.
func (m *Meter) Take(now time.Time, g Gauges) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.sample(now, g, m.writes.Swap(0), m.took.take())
	if len(m.ring) < Kept {
		m.ring = append(m.ring, s)
	} else {
		m.ring[m.next] = s
		m.next = (m.next + 1) % Kept
	}
	m.since = now
}

// Samples returns those taken after the time given, the oldest first, and at their end the minute that is not over yet.
func (m *Meter) Samples(after, now time.Time, g Gauges) []Sample {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Sample, 0, len(m.ring)+1)
	for i := range m.ring {
		if s := m.ring[(m.next+i)%len(m.ring)]; s.At.After(after) {
			out = append(out, s)
		}
	}
	return append(out, m.sample(now, g, m.writes.Load(), m.took.look()))
}

// sample makes one of what was counted since the last. m.mu is held.
func (m *Meter) sample(now time.Time, g Gauges, writes int64, took counts) Sample {
	seconds := max(now.Sub(m.since).Seconds(), 1)
	return Sample{
		At: now, Writes: float64(writes) / seconds, Requests: float64(took.total()) / seconds, P50: took.quantile(0.5), P99: took.quantile(0.99), Gauges: g,
	}
}

// A histogram has eight buckets for each power of two of nanoseconds, so that what it tells is at most an eighth too much.
const (
	subBits = 3
	buckets = 64 << subBits
)

type histogram [buckets]atomic.Int64

type counts [buckets]int64

func (h *histogram) add(d time.Duration) { h[bucketOf(d)].Add(1) }

func bucketOf(d time.Duration) int {
	n := uint64(max(d, 1<<subBits))
	exp := bits.Len64(n) - 1
	return exp<<subBits | int(n>>(exp-subBits)&(1<<subBits-1))
}

// upper is the end of a bucket.
func upper(i int) time.Duration {
	exp, sub := i>>subBits, i&(1<<subBits-1)
	return time.Duration(uint64(1<<subBits+sub+1) << (exp - subBits))
}

func (h *histogram) take() (c counts) {
	for i := range h {
		c[i] = h[i].Swap(0)
	}
	return c
}

func (h *histogram) look() (c counts) {
	for i := range h {
		c[i] = h[i].Load()
	}
	return c
}

func (c *counts) total() (n int64) {
	for _, k := range c {
		n += k
	}
	return n
}

// quantile is the time within which that part of the requests was answered; 0 without any.
func (c *counts) quantile(q float64) time.Duration {
	rank := int64(q * float64(c.total()))
	for i, k := range c {
		if rank -= k; rank < 0 {
			return upper(i)
		}
	}
	return 0
}
