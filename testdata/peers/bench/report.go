package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// goal is one of the targets that the project has set itself. Ratios are Perch's value by the reference's.
type goal struct {
	testCase string // "" for the whole run
	what     string
	value    func(*Figure) float64
	atMost   float64 // ratio
	atLeast  float64 // ratio
	within   float64 // Perch's own value, for goals that are no ratio
}

func cpu(f *Figure) float64     { return f.CPU }
func p50(f *Figure) float64     { return f.P50 }
func written(f *Figure) float64 { return f.Written }
func mbCPU(f *Figure) float64   { return f.MBPerCPU }
func rate(f *Figure) float64    { return f.PerSecond }
func deliver(f *Figure) float64 { return f.DeliverP50 }

var goals = []goal{
	{testCase: "createRecord 32, 1 account", what: "CPU per operation", value: cpu, atMost: 1. / 15},
	{testCase: "createRecord 32, 64 accounts", what: "CPU per operation", value: cpu, atMost: 1. / 15},
	{testCase: "createRecord 1 in flight, 1 account", what: "p50", value: p50, atMost: 1. / 8},
	{testCase: "createRecord 1 in flight, 64 accounts", what: "p50", value: p50, atMost: 1. / 8},
	{testCase: "createRecord 1 in flight, 1 account", what: "bytes written", value: written, atMost: 1. / 6},
	{testCase: "createRecord 32, 64 accounts", what: "bytes written", value: written, atMost: 1. / 6},
	{testCase: "getRecord", what: "CPU per operation", value: cpu, atMost: 1. / 10},
	{testCase: "getSession", what: "CPU per operation", value: cpu, atMost: 1. / 10},
	{testCase: "sign-in page, 1 in flight", what: "p50, ms", value: p50, within: 20},
	{testCase: "listRecords of 100", what: "CPU per operation", value: cpu, atMost: 1. / 10},
	{testCase: "sync.getRecord, large repository", what: "CPU per operation", value: cpu, atMost: 1. / 10},
	{testCase: "getRepo, large repository", what: "MB per CPU second", value: mbCPU, atLeast: 8},
	{testCase: "firehose, 1 consumer", what: "p50 from answer to event, ms", value: deliver, within: 5},
	{testCase: "firehose, 100 consumers", what: "p50 from answer to event, ms", value: deliver, within: 5},
	{testCase: "backfill from cursor 0", what: "events per second", value: rate, atLeast: 8},
}

const memoryGoal = 1. / 6

// report prints the table and the goals. Either side may be nil.
func report(w io.Writer, perch, reference *bench) {
	empty := &bench{figures: map[string]Figure{}}
	if perch == nil {
		perch = empty
	}
	if reference == nil {
		reference = empty
	}
	fmt.Fprintln(w, "\nEach cell: perch / reference, and the ratio. Latencies and CPU in ms per operation, disk in KB per operation, memory in MB.")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "\ncase\tper second\tp50\tp99\tCPU\tdisk\tmemory\tother")
	for _, c := range cases {
		p, okP := perch.figures[c.name]
		r, okR := reference.figures[c.name]
		if okP || okR {
			row(tw, c.name, &p, &r)
		}
	}
	fmt.Fprintf(tw, "memory after start\t\t\t\t\t\t%s\t\n", cell(perch.idleRSS, reference.idleRSS))
	fmt.Fprintf(tw, "highest memory\t\t\t\t\t\t%s\t\n", cell(perch.peakRSS, reference.peakRSS))
	tw.Flush()
	reportGoals(w, perch, reference)
	for _, b := range []*bench{perch, reference} {
		for _, c := range cases {
			if f, ok := b.figures[c.name]; ok && f.Failed > 0 {
				fmt.Fprintf(w, "failed: %s: %s: %d operations, such as %s\n", b.server.Name, c.name, f.Failed, f.Failure)
			}
		}
	}
}

func row(w io.Writer, name string, p, r *Figure) {
	other := ""
	switch {
	case p.DeliverP50 != 0 || r.DeliverP50 != 0:
		other = "delivered p50 " + cell(p.DeliverP50, r.DeliverP50) + ", p99 " + cell(p.DeliverP99, r.DeliverP99)
	case p.MBPerSec > 1 || r.MBPerSec > 1:
		other = "MB/s " + cell(p.MBPerSec, r.MBPerSec) + ", MB per CPU s " + cell(p.MBPerCPU, r.MBPerCPU)
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, cell(p.PerSecond, r.PerSecond), cell(p.P50, r.P50), cell(p.P99, r.P99),
		cell(p.CPU, r.CPU), cell(p.Written, r.Written), cell(p.RSS, r.RSS), other)
}

func cell(p, r float64) string {
	if p == 0 && r == 0 {
		return "-"
	}
	s := number(p) + " / " + number(r)
	if p > 0 && r > 0 { // an event may even be there before the answer
		s += "  " + ratio(p/r)
	}
	return s
}

// ratio writes small ones as a fraction, which is how the goals are put.
func ratio(x float64) string {
	if x < 1 {
		return "1/" + number(1/x)
	}
	return number(x) + "x"
}

func number(x float64) string {
	switch {
	case x == 0:
		return "-"
	case x >= 100 || x <= -100:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case x >= 10 || x <= -10:
		return strconv.FormatFloat(x, 'f', 1, 64)
	case x >= 1 || x <= -1:
		return strconv.FormatFloat(x, 'f', 2, 64)
	}
	return strconv.FormatFloat(x, 'f', 3, 64)
}

func reportGoals(w io.Writer, perch, reference *bench) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "\ngoal\tof\twanted\tmeasured\t")
	for _, g := range goals {
		p, okP := perch.figures[g.testCase]
		r, okR := reference.figures[g.testCase]
		if !okP || !okR && g.within == 0 {
			continue
		}
		wanted, got, ok := g.judge(g.value(&p), g.value(&r))
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", g.testCase, g.what, wanted, got, mark(ok && p.Failed == 0))
	}
	if perch.peakRSS > 0 && reference.peakRSS > 0 {
		x := perch.peakRSS / reference.peakRSS
		fmt.Fprintf(tw, "whole run\thighest memory\tat most %s\t%s\t%s\n", ratio(memoryGoal), ratio(x), mark(x <= memoryGoal))
	}
	tw.Flush()
}

func (g *goal) judge(p, r float64) (wanted, got string, ok bool) {
	if g.within > 0 {
		return "at most " + number(g.within), number(p), p != 0 && p <= g.within
	}
	if r == 0 || p == 0 {
		return "", "not measured", false
	}
	x := p / r
	if g.atMost > 0 {
		return "at most " + ratio(g.atMost), ratio(x), x <= g.atMost
	}
	return "at least " + ratio(g.atLeast), ratio(x), x >= g.atLeast
}

func mark(ok bool) string {
	if ok {
		return "ok"
	}
	return strings.ToUpper("short")
}
