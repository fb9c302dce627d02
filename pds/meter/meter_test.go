package meter

import (
	"testing"
	"time"
)

func TestQuantiles(t *testing.T) {
	var m Meter
	begin := time.Now()
	m.Start(begin)
	for i := 1; i <= 1000; i++ {
		m.Answered(time.Duration(i) * time.Millisecond)
	}
	m.Answered(-time.Second)
	m.Answered(1 << 62)
	m.Wrote(120)
	now := m.Samples(time.Time{}, begin.Add(10*time.Second), Gauges{Consumers: 3})
	if len(now) != 1 || now[0].Writes != 12 || now[0].Consumers != 3 {
		t.Fatalf("%+v", now)
	}
	m.Take(begin.Add(time.Minute), Gauges{})
	s := m.Samples(time.Time{}, begin.Add(time.Minute), Gauges{})
	near := func(got, want time.Duration) bool { return got >= want && got <= want*9/8+time.Millisecond }
	if len(s) != 2 || !near(s[0].P50, 500*time.Millisecond) || !near(s[0].P99, 990*time.Millisecond) || s[0].Writes != 2 || s[1].Writes != 0 || s[1].P50 != 0 {
		t.Errorf("%+v", s)
	}
}

func TestADayIsKept(t *testing.T) {
	var m Meter
	at := time.Unix(0, 0)
	m.Start(at)
	for i := range Kept + 10 {
		at = at.Add(time.Minute)
		m.Take(at, Gauges{Consumers: i})
	}
	s := m.Samples(time.Time{}, at, Gauges{})
	if len(s) != Kept+1 || s[0].Consumers != 10 || s[Kept-1].Consumers != Kept+9 || !s[0].At.Before(s[1].At) {
		t.Errorf("%d samples, from %d to %d", len(s), s[0].Consumers, s[len(s)-2].Consumers)
	}
	if s := m.Samples(at.Add(-time.Hour), at, Gauges{}); len(s) != 61 {
		t.Errorf("an hour has %d samples", len(s))
	}
}

func BenchmarkAnswered(b *testing.B) {
	var m Meter
	for b.Loop() {
		m.Answered(3 * time.Millisecond)
	}
}
