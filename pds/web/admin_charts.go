package web

import (
	"bytes"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"perch/pds/meter"
)

// A chart is drawn on a board of this size; it is stretched to the width of the page.
const (
	chartWidth  = 600
	chartHeight = 120
	chartPoints = 96 // of a line at most: more minutes become one point
	chartRows   = 12 // of the table beside the charts
	leastShown  = 5 * time.Minute
)

// adminDashboard is the first page of administrators.
type adminDashboard struct {
	Load   AdminLoad
	Charts adminChartSet
}

// adminChartSet is the part of it that changes by itself.
type adminChartSet struct {
	Day    bool   // or an hour
	Source string // its own address
	Charts []chart
	Heads  []string
	Rows   []chartRow
	From   time.Time
	To     time.Time
}

// chart is one drawing with its numbers.
type chart struct {
	Title, Top string
	Lines      []chartLine
	Summary    string // for those who do not see it
}

type chartLine struct {
	Class      int // which colour
	Label, Now string
	Path, Area string
}

type chartRow struct {
	At     time.Time
	Values []string
}

// gauge is something that is drawn.
type gauge struct {
	key   string
	lines []gaugeLine
	text  func(*words, float64) string
	least float64 // the height that the board has at least
}

type gaugeLine struct {
	key   string
	value func(*meter.Sample) float64
	peak  bool // of several minutes the greatest counts, and not their mean
}

var gauges = []gauge{
	{"writes", []gaugeLine{{"writes", func(s *meter.Sample) float64 { return s.Writes }, false}}, rateText, 1},
	{"latency", []gaugeLine{
		{"p50", func(s *meter.Sample) float64 { return float64(s.P50) }, false}, {"p99", func(s *meter.Sample) float64 { return float64(s.P99) }, true},
	}, durationText, float64(time.Millisecond)},
	{"requests", []gaugeLine{{"requests", func(s *meter.Sample) float64 { return s.Requests }, false}}, rateText, 1},
	{"consumers", []gaugeLine{{"consumers", func(s *meter.Sample) float64 { return float64(s.Consumers) }, true}}, countText, 1},
	{"database", []gaugeLine{
		{"database", func(s *meter.Sample) float64 { return float64(s.Database) }, false}, {"log", func(s *meter.Sample) float64 { return float64(s.Log) }, true},
	}, bytesText, 1 << 20},
	{"disk", []gaugeLine{{"disk", func(s *meter.Sample) float64 { return float64(s.DiskFree) }, false}}, bytesText, 1 << 20},
	{"memory", []gaugeLine{{"memory", func(s *meter.Sample) float64 { return float64(s.Memory) }, true}}, bytesText, 1 << 20},
}

func (s *Site) adminOverview(r *request) error {
	load, err := s.opts.Host.Load(r.Context())
	if err != nil {
		return err
	}
	return r.render("admin-overview", adminDashboard{load, r.chartSet()})
}

// adminCharts answers with the charts alone.
func (s *Site) adminCharts(r *request) error {
	t, err := templates(r.words.Tag)
	if err != nil {
		return err
	}
	var part bytes.Buffer
	if err := t.ExecuteTemplate(&part, "charts", r.chartSet()); err != nil {
		return fmt.Errorf("render charts: %w", err)
	}
	r.w.WriteHeader(http.StatusOK)
	_, _ = part.WriteTo(r.w)
	return nil
}

// chartSet draws the last hour, or the last day.
func (r *request) chartSet() adminChartSet {
	set := adminChartSet{Day: r.URL.Query().Get("range") == "day", Source: "/admin/charts"}
	within := time.Hour
	if set.Day {
		within, set.Source = 24*time.Hour, set.Source+"?range=day"
	}
	samples := r.site.opts.Host.Samples(within)
	set.To = samples[len(samples)-1].At
	within = max(min(within, set.To.Sub(samples[0].At)), leastShown) // a server that has just begun has no hour to show
	set.From = set.To.Add(-within)
	for _, g := range gauges {
		set.Charts = append(set.Charts, r.draw(g, samples, set.From, within))
		for _, l := range g.lines {
			set.Heads = append(set.Heads, r.t("admin.gauge-"+l.key))
		}
	}
	for _, row := range grouped(samples, set.From, within, chartRows) {
		values := chartRow{At: row[len(row)-1].At}
		for _, g := range gauges {
			for _, l := range g.lines {
				values.Values = append(values.Values, g.text(r.words, l.of(row)))
			}
		}
		set.Rows = append([]chartRow{values}, set.Rows...)
	}
	return set
}

// grouped puts samples of the same part of the time together.
func grouped(samples []meter.Sample, from time.Time, within time.Duration, parts int) (groups [][]meter.Sample) {
	last := -1
	for i := range samples {
		part := min(int(samples[i].At.Sub(from)*time.Duration(parts)/within), parts-1)
		if part != last || len(groups) == 0 {
			groups, last = append(groups, nil), part
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], samples[i])
	}
	return groups
}

// of is the value of a group.
func (l *gaugeLine) of(group []meter.Sample) (v float64) {
	for i := range group {
		if l.peak {
			v = max(v, l.value(&group[i]))
		} else {
			v += l.value(&group[i]) / float64(len(group))
		}
	}
	return v
}

func (r *request) draw(g gauge, samples []meter.Sample, from time.Time, within time.Duration) chart {
	c := chart{Title: r.t("admin.chart-" + g.key)}
	groups := grouped(samples, from, within, chartPoints)
	top := g.least
	for _, group := range groups {
		for i := range g.lines {
			top = max(top, g.lines[i].of(group))
		}
	}
	top = roundUp(top)
	c.Top = g.text(r.words, top)
	var said []string
	for i := range g.lines {
		l := &g.lines[i]
		line := chartLine{Class: i + 1, Label: r.t("admin.gauge-" + l.key), Now: g.text(r.words, l.value(&samples[len(samples)-1]))}
		line.Path, line.Area = l.trace(groups, from, within, top)
		lowest, highest := math.Inf(1), 0.0
		for _, group := range groups {
			lowest, highest = min(lowest, l.of(group)), max(highest, l.of(group))
		}
		said = append(said, r.t("admin.chart-summary", "what", line.Label, "now", line.Now, "low", g.text(r.words, lowest), "high", g.text(r.words, highest)))
		c.Lines = append(c.Lines, line)
	}
	c.Summary = strings.Join(said, " ")
	return c
}

// trace is the line as an SVG path, and what is below it.
func (l *gaugeLine) trace(groups [][]meter.Sample, from time.Time, within time.Duration, top float64) (path, area string) {
	var b strings.Builder
	first, last := 0.0, 0.0
	for i, group := range groups {
		x := math.Min(float64(group[len(group)-1].At.Sub(from))/float64(within), 1) * chartWidth
		y := (1 - l.of(group)/top) * (chartHeight - 2)
		if i == 0 {
			first = x
			if len(groups) == 1 { // a server that has just begun: a short stroke is seen, a point is not
				first = max(0, x-3)
				fmt.Fprintf(&b, "M%.1f %.1fL%.1f %.1f", first, y+1, x, y+1)
			} else {
				fmt.Fprintf(&b, "M%.1f %.1f", x, y+1)
			}
		} else {
			fmt.Fprintf(&b, "L%.1f %.1f", x, y+1)
		}
		last = x
	}
	path = b.String()
	return path, fmt.Sprintf("%sL%.1f %dL%.1f %dZ", path, last, chartHeight, first, chartHeight)
}

// roundUp is the next number of the row 1, 2, 5, 10, 20, …
func roundUp(v float64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, step := range []float64{1, 2, 5, 10} {
		if v <= step*unit {
			return step * unit
		}
	}
	return v
}

func rateText(_ *words, v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f/s", v)
	}
	return fmt.Sprintf("%.1f/s", v)
}

func countText(_ *words, v float64) string { return fmt.Sprintf("%.0f", v) }

func durationText(_ *words, v float64) string {
	ms := v / float64(time.Millisecond)
	switch {
	case ms >= 10_000:
		return fmt.Sprintf("%.0f s", ms/1000)
	case ms >= 10:
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.1f ms", ms)
}

func bytesText(w *words, v float64) string { return w.bytes(int64(v)) }
