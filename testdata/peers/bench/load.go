package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"perch/testdata/peers/bench/server"
	"perch/testdata/peers/bench/wire"
)

// op does one operation on a worker's own connection and returns the payload's size in bytes (0: not of interest).
type op func(c *wire.Conn) (int64, error)

// load is work for a server: each of workers runs the op that start makes for it, one after the other, until the time is
// over or maxOps are done.
type load struct {
	workers int
	limit   time.Duration
	maxOps  int           // 0: no bound
	warm    time.Duration // unmeasured run before, for caches and compilers
	start   func(worker int) op
}

// tally is what one worker saw.
type tally struct {
	latencies []time.Duration
	bytes     int64
	failed    int
	failure   string
}

// run does the load and measures it.
func (b *bench) run(l load) (Figure, error) {
	ops := make([]op, l.workers)
	conns := make([]*wire.Conn, l.workers)
	for i := range ops {
		ops[i], conns[i] = l.start(i), wire.NewConn(b.server.Addr)
		defer conns[i].Close()
	}
	if l.warm > 0 {
		b.drive(ops, conns, l.warm, l.maxOps/4)
	}
	before, err := b.server.Usage()
	if err != nil {
		return Figure{}, err
	}
	began := time.Now()
	tallies := b.drive(ops, conns, l.limit, l.maxOps)
	took := time.Since(began)
	after, err := b.server.Usage()
	if err != nil {
		return Figure{}, fmt.Errorf("the server is gone: %w\n%s", err, b.server.LogTail())
	}
	return b.figure(tallies, took, after.Sub(before)), nil
}

func (b *bench) drive(ops []op, conns []*wire.Conn, limit time.Duration, maxOps int) []tally {
	tallies := make([]tally, len(ops))
	var left atomic.Int64
	left.Store(int64(maxOps))
	deadline := time.Now().Add(limit)
	var wg sync.WaitGroup
	for i := range ops {
		wg.Go(func() {
			t := &tallies[i]
			for now := time.Now(); now.Before(deadline); {
				if maxOps > 0 && left.Add(-1) < 0 {
					return
				}
				n, err := ops[i](conns[i])
				end := time.Now()
				if err != nil {
					t.failed++
					t.failure = err.Error()
				} else {
					t.latencies = append(t.latencies, end.Sub(now))
					t.bytes += n
				}
				now = end
			}
		})
	}
	wg.Wait()
	return tallies
}

func (b *bench) figure(tallies []tally, took time.Duration, used server.Usage) Figure {
	var all []time.Duration
	var bytes int64
	f := Figure{Seconds: took.Seconds(), RSS: mb(used.RSS)}
	for _, t := range tallies {
		all = append(all, t.latencies...)
		bytes += t.bytes
		f.Failed += t.failed
		if f.Failure == "" {
			f.Failure = t.failure
		}
	}
	f.Ops = len(all)
	if f.Ops == 0 {
		return f
	}
	f.PerSecond = float64(f.Ops) / f.Seconds
	f.P50, f.P99 = ms(percentile(all, 0.5)), ms(percentile(all, 0.99))
	f.CPU = ms(used.CPU) / float64(f.Ops)
	f.Written = float64(used.Written) / 1024 / float64(f.Ops)
	if bytes > 0 {
		f.MBPerSec = mb(bytes) / f.Seconds
		if used.CPU > 0 {
			f.MBPerCPU = mb(bytes) / used.CPU.Seconds()
		}
	}
	return f
}

func mb(bytes int64) float64 { return float64(bytes) / (1 << 20) }
