package store

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/repo"
)

// cpuTime is the processor time this process has used.
func cpuTime() time.Duration {
	var ru syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// post is like what clients write: some 250 bytes in a collection, keyed by time.
func post(n int64) repo.Write {
	rkey := repo.NextRev("", time.UnixMicro(1_700_000_000_000_000+n*997), uint(n)).String()
	return writeOf(repo.Create, postNSID, rkey, map[string]any{
		"$type": postNSID.String(), "createdAt": "2026-01-01T00:00:00.000Z", "langs": []any{"en"},
		"text": "The quick brown fox jumps over the lazy dog, and does it again and again until there are 150 letters or so in this post " + strconv.FormatInt(n, 10),
	})
}

// fill commits n posts in batches.
func (r *testRepo) fill(t testing.TB, n int) {
	t.Helper()
	for i := 0; i < n; i += repo.MaxOps {
		writes := make([]repo.Write, 0, repo.MaxOps)
		for k := i; k < min(n, i+repo.MaxOps); k++ {
			writes = append(writes, post(int64(k)))
		}
		r.mustCommit(t, writes...)
	}
}

func BenchmarkCommit(b *testing.B) {
	for _, accounts := range []int{1, 64} {
		for _, callers := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("accounts=%d/callers=%d", accounts, callers), func(b *testing.B) {
				s := openTest(b)
				repos := make([]*testRepo, accounts)
				for i := range repos {
					repos[i] = newRepo(b, s, fmt.Sprintf("user%d", i))
					repos[i].fill(b, 1000)
				}
				benchCommits(b, repos, callers)
			})
		}
	}
}

func benchCommits(b *testing.B, repos []*testRepo, callers int) {
	var next atomic.Int64
	next.Store(1_000_000)
	runtime.GC()
	b.ResetTimer()
	cpu, left := cpuTime(), atomic.Int64{}
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				n := next.Add(1)
				if _, err := repos[n%int64(len(repos))].commit(post(n)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(cpuTime()-cpu)/float64(time.Microsecond)/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

// BenchmarkLargeRepo writes to one large repository; PERCH_BENCH_RECORDS sets its size.
func BenchmarkLargeRepo(b *testing.B) {
	size := 20_000
	if n, err := strconv.Atoi(os.Getenv("PERCH_BENCH_RECORDS")); err == nil {
		size = n
	}
	ctx := context.Background()
	s := openTest(b)
	r := newRepo(b, s, "large")
	start := time.Now()
	r.fill(b, size)
	b.Logf("%d records in %v", size, time.Since(start).Round(time.Millisecond))
	random := func() repo.Write {
		n := time.Now().UnixNano()
		return writeOf(repo.Create, postNSID, syntax.TID(repo.NextRev("", time.UnixMicro(1_700_000_000_000_000+n%(int64(size)*997)), uint(n))).String(),
			map[string]any{"text": "x"})
	}
	next := int64(size)
	for name, fn := range map[string]func(){
		"next":   func() { next++; r.mustCommit(b, post(next)) }, // as clients write: the greatest key of its collection
		"random": func() { r.mustCommit(b, random()) },
		"cold": func() {
			s.trees.drop(r.id)
			r.mustCommit(b, random())
		},
		"cold without outline": func() {
			s.trees.drop(r.id)
			_ = s.Update(ctx, func(tx *Tx) error { _, err := tx.exec(ctx, "UPDATE repo SET outline = 0"); return err })
			r.mustCommit(b, random())
		},
	} {
		b.Run(name, func(b *testing.B) {
			cpu := cpuTime()
			for b.Loop() {
				fn()
			}
			b.ReportMetric(float64(cpuTime()-cpu)/float64(time.Microsecond)/float64(b.N), "cpu-µs/op")
		})
	}
}

// TestManyAccounts reports the memory that accounts in use take; PERCH_BENCH_ACCOUNTS says how many.
func TestManyAccounts(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("PERCH_BENCH_ACCOUNTS"))
	if err != nil {
		t.Skip("set PERCH_BENCH_ACCOUNTS")
	}
	s := openTest(t)
	var wg sync.WaitGroup
	var next atomic.Int64
	for range 64 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n) && !t.Failed(); i = next.Add(1) {
				r := newRepo(t, s, fmt.Sprintf("user%d", i))
				r.fill(t, 20)
				r.mustCommit(t, post(1_000_000+i))
			}
		})
	}
	wg.Wait()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "Rss") || strings.HasPrefix(line, "VmHWM") {
			t.Log(strings.TrimSpace(line))
		}
	}
	t.Logf("heap %d MB; %d trees of %d KB cached", m.HeapAlloc>>20, s.trees.recent.Len(), s.trees.weight>>10)
}
