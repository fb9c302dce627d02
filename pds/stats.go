package pds

import (
	"context"
	"os"
	"runtime/metrics"
	"time"

	"perch/pds/event"
	"perch/pds/meter"
	"perch/pds/store"
)

// countWrites has every commit counted. It runs on the committer's goroutine, and so only counts.
func (s *Server) countWrites(events []store.StoredEvent) {
	n := 0
	for i := range events {
		if events[i].Kind == event.Commit {
			n++
		}
	}
	s.meter.Wrote(n)
}

// measure takes a sample every minute.
func (s *Server) measure(ctx context.Context) {
	tick := time.NewTicker(meter.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			s.meter.Take(now, s.gauges())
		}
	}
}

func (s *Server) gauges() meter.Gauges {
	g := meter.Gauges{
		Consumers: len(s.firehose.Stats().Consumers), Database: fileSize(s.cfg.DatabasePath()), Log: fileSize(s.cfg.DatabasePath() + "-wal"), Memory: memoryUsed(),
	}
	if free, _, err := s.blobs.Space(); err == nil {
		g.DiskFree = int64(free)
	}
	return g
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// memoryUsed is what the process has of the system and not given back.
func memoryUsed() int64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64() - samples[1].Value.Uint64())
}
