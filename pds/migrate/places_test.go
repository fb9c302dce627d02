package migrate

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"
)

// A site that holds its places keeps nobody of another out.
func TestPlacesAreShared(t *testing.T) {
	p := newPlaces(5, 2)
	for range 2 {
		if _, ok := p.take(site("https://a.evil.example")); !ok {
			t.Fatal("no place")
		}
	}
	if _, ok := p.take(site("https://b.evil.example:8443")); ok {
		t.Error("a third place for one site")
	}
	for _, host := range []string{"https://one.bsky.network", "https://pds.example.org", "https://alice.github.io"} {
		if _, ok := p.take(site(host)); !ok {
			t.Errorf("no place for %s", host)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.enter(ctx, "x.example"); !errors.Is(err, context.Canceled) {
		t.Errorf("all are taken: %v", err)
	}
	got := make(chan error)
	go func() {
		_, err := p.enter(t.Context(), site("https://b.evil.example"))
		got <- err
	}()
	p.leave(site("https://a.evil.example"))
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestSite(t *testing.T) {
	for origin, want := range map[string]string{
		"https://a.b.example.com": "example.com", "https://example.com:8443": "example.com", "https://x.co.uk": "x.co.uk", "http://localhost:1": "localhost",
		"https://192.0.2.1": "192.0.2.1", "https://[2001:db8::1]:1": "2001:db8::1", "https://alice.github.io": "alice.github.io", "https://com": "com",
	} {
		if got := site(origin); got != want {
			t.Errorf("%s: %s, want %s", origin, got, want)
		}
	}
}

// drip gives a byte at a time.
type drip struct{ late chan struct{} }

func (d drip) Read(b []byte) (int, error) {
	select {
	case <-d.late:
		return 0, context.DeadlineExceeded
	default:
		return copy(b, "x"), nil
	}
}

// A host that sends a byte now and then is cut off as one is that sends none.
func TestWatchedEndsADrip(t *testing.T) {
	late := make(chan struct{})
	w := &watched{ReadCloser: io.NopCloser(drip{late}), watch: time.AfterFunc(time.Millisecond, func() { close(late) }), last: time.Hour}
	if _, err := io.Copy(io.Discard, io.LimitReader(w, stallBytes-1)); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	<-late // nothing has put it off
}

// All pacers are forgotten that nobody needs, when strangers have named many hosts.
func TestPacersAreForgotten(t *testing.T) {
	m := New(Options{})
	busy := m.pacer(&move{Host: "https://busy.example"})
	leave, err := busy.enter(t.Context(), "x", 0)
	if err != nil {
		t.Fatal(err)
	}
	held := m.pacer(&move{Host: "https://held.example"})
	held.until["x"] = time.Now().Add(time.Hour)
	for i := range 3 * maxPacers {
		m.pacer(&move{Host: "https://" + string(rune('a'+i%26)) + time.Duration(i).String() + ".example"})
	}
	if len(m.pacers) > maxPacers {
		t.Errorf("%d pacers", len(m.pacers))
	}
	if m.pacer(&move{Host: "https://busy.example"}) != busy || m.pacer(&move{Host: "https://held.example"}) != held {
		t.Error("a pacer that was needed is forgotten")
	}
	leave()
}
