package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"perch/testdata/peers/bench/server"
	"perch/testdata/peers/bench/wire"
)

const (
	smallRecords  = 1_000
	fewAccounts   = 100
	manyInFlight  = 32
	rounds        = 5 // of each measurement; the median counts, for the memory the highest
	coldGoal      = 50.0
	warmGoal      = 2.0
	exportGoal    = 4.0
	memoryGoalMB  = 150.0
	startGoal     = 0.5
	slowdownGoal  = 1.25 // "as fast as with 100 accounts", with room for what two runs of the same load differ by
	growthGoal    = 1.5  // memory after an export, by memory before it
	fillStep      = 50_000
	accountsStep  = 1_000
	createWorkers = 4
)

// runBig measures one server with a very large repository, then one with very many accounts.
func runBig(ctx context.Context, o *options, plc string) error {
	var errs []error
	if o.records > 0 {
		errs = append(errs, bigRepository(ctx, o, plc))
	}
	if o.accounts > 0 && ctx.Err() == nil {
		errs = append(errs, bigServer(ctx, o, plc))
	}
	return errors.Join(errs...)
}

func perchSpec(o *options, name, plc string) (server.Spec, error) {
	port, err := server.FreePort()
	return server.Perch(o.perch, filepath.Join(o.dir, name), port, plc), err
}

// line prints one result beside its goal.
func line(what string, format string, value, goal float64, ok bool) {
	verdict := ""
	if goal > 0 {
		verdict = fmt.Sprintf("  (goal "+format+") %s", goal, mark(ok))
	}
	fmt.Printf("  %-58s "+format+"%s\n", what, value, verdict)
}

func bigRepository(ctx context.Context, o *options, plc string) error {
	spec, err := perchSpec(o, "million", plc)
	if err != nil {
		return err
	}
	b, err := startBench(ctx, o, spec)
	if err != nil {
		return err
	}
	defer func() { b.server.Stop() }()
	fmt.Printf("\nA repository of %d records\n", o.records)
	if _, err := b.fill("small", smallRecords); err != nil {
		return err
	}
	if err := b.fillSlowly(ctx, "million", o.records); err != nil {
		return err
	}
	for _, step := range []func() error{b.warmWrites, b.exports, func() error { return b.coldWrites(ctx, spec) }} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// fillSlowly fills a repository in steps and tells the speed of each.
func (b *bench) fillSlowly(ctx context.Context, name string, n int) error {
	for done := 0; done < n; done += fillStep {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		delete(b.filled, name)
		f, err := b.fill(name, min(fillStep, n-done))
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%d records, %.0f a second, %.3f ms CPU each, %.0f MB\n", min(done+fillStep, n), f.PerSecond*batchMax, f.CPU/batchMax, f.RSS)
	}
	return nil
}

// warmWrites compares single writes to the small and the large repository, taking turns.
func (b *bench) warmWrites() error {
	var p50s, cpus [2][]float64
	for range rounds {
		for i, name := range []string{"small", "million"} {
			all, err := b.accounts(name, 1)
			if err != nil {
				return err
			}
			f, err := b.run(load{workers: 1, limit: b.limit / 3, warm: 200 * time.Millisecond, start: func(w int) op {
				return b.creator(name+fmt.Sprint(len(p50s[i])), all, 0, 1)
			}})
			if err != nil || f.Failed > 0 {
				return fmt.Errorf("createRecord in %s: %w %s", name, err, f.Failure)
			}
			p50s[i], cpus[i] = append(p50s[i], f.P50), append(cpus[i], f.CPU)
		}
	}
	small, large := median(p50s[0]), median(p50s[1])
	line(fmt.Sprintf("createRecord in %d records, p50", smallRecords), "%.3f ms", small, 0, true)
	line("createRecord in the large one, warm, p50", "%.3f ms", large, 0, true)
	line("  by the small one's", "%.2f", large/small, warmGoal, large/small <= warmGoal)
	line("  CPU by the small one's", "%.2f", median(cpus[1])/median(cpus[0]), warmGoal, median(cpus[1])/median(cpus[0]) <= warmGoal)
	return nil
}

// exports reads the large repository several times and watches the server's memory.
func (b *bench) exports() error {
	all, err := b.accounts("million", 1)
	if err != nil {
		return err
	}
	before, err := b.server.Usage()
	if err != nil {
		return err
	}
	var took []float64
	var size int64
	c := wire.NewConn(b.server.Addr)
	c.Timeout = 5 * time.Minute
	defer c.Close()
	for i := range rounds {
		b.server.ResetPeak()
		began := time.Now()
		if size, err = get(c, wire.XRPC("com.atproto.sync.getRepo", "did="+all[0].DID), "", true); err != nil {
			return err
		}
		took = append(took, time.Since(began).Seconds())
		after, err := b.server.Usage()
		if err != nil {
			return err
		}
		grown := mb(after.Peak) / mb(before.RSS)
		if i == 0 || i == rounds-1 {
			line(fmt.Sprintf("getRepo %d, memory before", i+1), "%.0f MB", mb(before.RSS), 0, true)
			line("  highest during", "%.0f MB", mb(after.Peak), 0, true)
			line("  by that before", "%.2f", grown, growthGoal, grown <= growthGoal)
		}
	}
	line(fmt.Sprintf("getRepo, %.0f MB", mb(size)), "%.2f s", median(took), exportGoal, median(took) <= exportGoal)
	return nil
}

// coldWrites measures the first write after a start: the tree is not in memory, the files are in the system's cache.
func (b *bench) coldWrites(ctx context.Context, spec server.Spec) error {
	var firsts, seconds, starts []float64
	for i := range rounds {
		began := time.Now()
		took, err := b.restart(ctx, spec)
		if err != nil {
			return fmt.Errorf("start after %s: %w", time.Since(began), err)
		}
		starts = append(starts, took.Seconds())
		c := wire.NewConn(b.server.Addr)
		posts := wire.NewPosts(fmt.Sprintf("cold%d", i))
		var body []byte
		if _, err := create(c, posts, &body, b.made["small"][0]); err != nil { // connection, statements and key out of the way
			return err
		}
		for _, to := range []*[]float64{&firsts, &seconds} {
			began := time.Now()
			if _, err := create(c, posts, &body, b.made["million"][0]); err != nil {
				return err
			}
			*to = append(*to, ms(time.Since(began)))
		}
		c.Close()
	}
	line("createRecord in the large one, first after a start", "%.1f ms", median(firsts), coldGoal, median(firsts) <= coldGoal)
	line("  the second", "%.1f ms", median(seconds), 0, true)
	line("start to first answer", "%.2f s", median(starts), startGoal, median(starts) <= startGoal)
	return nil
}

// restart stops the server and times its start.
func (b *bench) restart(ctx context.Context, spec server.Spec) (time.Duration, error) {
	if err := b.server.Stop(); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	began := time.Now()
	p, err := server.Start(ctx, spec)
	if err != nil {
		return 0, err
	}
	b.server = p
	return time.Since(began), nil
}

func bigServer(ctx context.Context, o *options, plc string) error {
	spec, err := perchSpec(o, "crowd", plc)
	if err != nil {
		return err
	}
	b, err := startBench(ctx, o, spec)
	if err != nil {
		return err
	}
	defer func() { b.server.Stop() }()
	fmt.Printf("\n%d accounts in one server\n", o.accounts)
	few, err := b.crowd(ctx, fewAccounts)
	if err != nil {
		return err
	}
	base, err := b.writesOver("few", few)
	if err != nil {
		return err
	}
	line("createRecord, 32 in flight over 100 accounts, of 100", "%.0f /s", base.PerSecond, 0, true)
	all, err := b.crowd(ctx, o.accounts)
	if err != nil {
		return err
	}
	return b.crowdFigures(ctx, spec, base, all)
}

// crowd makes accounts until there are n.
func (b *bench) crowd(ctx context.Context, n int) ([]*wire.Account, error) {
	for have := len(b.made["crowd"]); have < n; {
		step := min(accountsStep, n-have)
		began := time.Now()
		made := make([][]*wire.Account, createWorkers)
		_, err := b.run(load{workers: createWorkers, limit: time.Hour, maxOps: step, start: func(w int) op {
			i := 0
			return func(c *wire.Conn) (int64, error) {
				i++
				a, err := wire.CreateAccount(c, fmt.Sprintf("c%dw%dn%d", have, w, i))
				if err == nil {
					made[w] = append(made[w], a)
				}
				return 0, err
			}
		}})
		if err != nil {
			return nil, err
		}
		before := have
		for _, m := range made {
			b.made["crowd"] = append(b.made["crowd"], m...)
		}
		have = len(b.made["crowd"])
		if have == before {
			return nil, errors.New("no account could be made")
		}
		fmt.Fprintf(os.Stderr, "%d accounts, %.0f a second\n", have, float64(have-before)/time.Since(began).Seconds())
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return b.made["crowd"][:n], nil
}

// writesOver makes posts over the accounts, once through all of them unmeasured, then for the usual time.
func (b *bench) writesOver(tag string, all []*wire.Account) (Figure, error) {
	for _, l := range []load{{maxOps: len(all), limit: time.Hour}, {limit: b.limit}} {
		l.workers = manyInFlight
		l.start = func(w int) op { return b.creator(fmt.Sprintf("%s%d-%d", tag, w, l.maxOps), all, w, manyInFlight) }
		f, err := b.run(l)
		if err == nil && f.Failed > 0 {
			err = errors.New(f.Failure)
		}
		if err != nil || l.maxOps == 0 {
			return f, err
		}
	}
	return Figure{}, nil
}

func (b *bench) crowdFigures(ctx context.Context, spec server.Spec, base Figure, all []*wire.Account) error {
	var starts []float64
	for range rounds {
		took, err := b.restart(ctx, spec)
		if err != nil {
			return err
		}
		starts = append(starts, took.Seconds())
	}
	line("start to first answer", "%.2f s", median(starts), startGoal, median(starts) <= startGoal)
	for _, over := range []int{fewAccounts, len(all)} {
		f, err := b.writesOver(fmt.Sprint("over", over), all[:over])
		if err != nil {
			return err
		}
		slower := base.PerSecond / f.PerSecond
		line(fmt.Sprintf("createRecord, 32 in flight over %d of them", over), "%.0f /s", f.PerSecond, 0, true)
		line("  times slower than in a server with 100", "%.2f", slower, slowdownGoal, slower <= slowdownGoal)
		line("  CPU by that in a server with 100", "%.2f", f.CPU/base.CPU, slowdownGoal, f.CPU/base.CPU <= slowdownGoal)
	}
	u, err := b.server.Usage()
	if err != nil {
		return err
	}
	line("highest memory since the start, all accounts written to", "%.0f MB", mb(u.Peak), memoryGoalMB, mb(u.Peak) <= memoryGoalMB)
	return nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
