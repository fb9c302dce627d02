package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeRelay answers in the clock of a synctest bubble and notes when it was asked.
type fakeRelay struct {
	mu     sync.Mutex
	begun  time.Time
	asked  []time.Duration
	answer func(n int) (status int, body string, retryAfter string)
}

func (f *fakeRelay) RoundTrip(*http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, time.Since(f.begun))
	status, body, retryAfter := f.answer(len(f.asked))
	if status == 0 {
		return nil, errors.New("connection refused")
	}
	h := http.Header{}
	if retryAfter != "" {
		h.Set("Retry-After", retryAfter)
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}, nil
}

func (f *fakeRelay) times() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

// play runs a Notifier against a fake relay until steps returns.
func play(t *testing.T, f *fakeRelay, steps func(n *Notifier)) (log string) {
	t.Helper()
	var text bytes.Buffer
	f.begun = time.Now()
	n, err := New(Options{Hostname: "pds.example.com", Crawlers: []string{"https://relay.example.com"}, Client: &http.Client{Transport: f},
		Logger: slog.New(slog.NewTextHandler(&text, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { n.Run(ctx); close(done) }()
	steps(n)
	cancel()
	<-done
	return text.String()
}

func accept(int) (int, string, string) { return 200, "", "" }

func TestAsksAtStartAndAfterWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRelay{answer: accept}
		play(t, f, func(n *Notifier) {
			synctest.Wait() // asked at the start
			for range 60 {  // a write each minute for an hour
				time.Sleep(time.Minute)
				n.Notify()
			}
			synctest.Wait()
			time.Sleep(24 * time.Hour) // silence: the last wish is still fulfilled, once
			n.Notify()
			synctest.Wait()
		})
		want := []time.Duration{0, 20 * time.Minute, 40 * time.Minute, time.Hour, 25 * time.Hour}
		got := f.times()
		// The write of the 60th minute and the end of the pause coincide.
		if len(got) == len(want)+1 && got[4] == 80*time.Minute {
			got = slices.Delete(got, 4, 5)
		}
		if !slices.Equal(got, want) {
			t.Errorf("asked at %v, want %v", got, want)
		}
	})
}

func TestRetriesWithGrowingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRelay{answer: func(n int) (int, string, string) {
			switch {
			case n <= 5:
				return 0, "", ""
			case n <= 10:
				return 502, "bad gateway", ""
			}
			return 200, "", ""
		}}
		log := play(t, f, func(*Notifier) { time.Sleep(10 * time.Hour); synctest.Wait() })
		got := f.times()
		if len(got) != 11 {
			t.Fatalf("asked %d times", len(got))
		}
		pause := firstRetry
		for i := 1; i < len(got); i++ {
			if d := got[i] - got[i-1]; d < pause/2 || d > pause+1 {
				t.Errorf("pause %d is %s, want %s to %s", i, d, pause/2, pause)
			}
			pause = min(2*pause, DefaultInterval)
		}
		if !strings.Contains(log, "connection refused") || !strings.Contains(log, "502") || strings.Count(log, "accepted") != 1 {
			t.Errorf("log: %s", log)
		}
	})
}

func TestRefusalIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRelay{answer: func(int) (int, string, string) { return 400, `{"error":"HostBanned","message":"go away"}`, "" }}
		log := play(t, f, func(n *Notifier) {
			time.Sleep(10 * time.Hour)
			synctest.Wait()
			if got := f.times(); len(got) != 1 {
				t.Errorf("asked %d times without a write", len(got))
			}
			n.Notify()
			synctest.Wait()
		})
		if got := f.times(); len(got) != 2 {
			t.Errorf("asked %d times", len(got))
		}
		if !strings.Contains(log, "HostBanned go away") || strings.Contains(log, "accepted") {
			t.Errorf("log: %s", log)
		}
	})
}

func TestHeedsRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRelay{answer: func(n int) (int, string, string) {
			if n == 1 {
				return 429, "", "600"
			}
			return 200, "", ""
		}}
		play(t, f, func(*Notifier) { time.Sleep(time.Hour); synctest.Wait() })
		if got := f.times(); len(got) != 2 || got[1] != 10*time.Minute {
			t.Errorf("asked at %v", got)
		}
	})
}

func TestCancelEndsEveryPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		play(t, &fakeRelay{answer: accept}, func(*Notifier) { synctest.Wait() })
		play(t, &fakeRelay{answer: func(int) (int, string, string) { return 0, "", "" }}, func(*Notifier) { synctest.Wait() })
	})
}

// What a relay receives, over real HTTP.
func TestRequest(t *testing.T) {
	type request struct{ method, path, contentType, body string }
	got := make(chan request, 2)
	relay := func() *httptest.Server {
		return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			got <- request{r.Method, r.URL.Path, r.Header.Get("Content-Type"), string(b)}
		}))
	}
	one, two := relay(), relay()
	defer one.Close()
	defer two.Close()
	n, err := New(Options{Hostname: "pds.example.com", Crawlers: []string{one.URL, " " + two.URL + "/ "}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { n.Run(ctx); close(done) }()
	for range 2 {
		r := <-got
		var body map[string]string
		json.Unmarshal([]byte(r.body), &body)
		if r.method != "POST" || r.path != "/xrpc/com.atproto.sync.requestCrawl" || r.contentType != "application/json" || len(body) != 1 || body["hostname"] != "pds.example.com" {
			t.Errorf("%+v", r)
		}
	}
	cancel()
	<-done
}

func TestNewRefusesCrawlers(t *testing.T) {
	for _, c := range []string{"", "bsky.network", "ftp://bsky.network", "https://", "://"} {
		if _, err := New(Options{Hostname: "pds.example.com", Crawlers: []string{c}}); err == nil || !strings.Contains(err.Error(), "crawler") {
			t.Errorf("%q: %v", c, err)
		}
	}
}

func TestUnfitHostnames(t *testing.T) {
	for _, h := range []string{"localhost", "localhost:2583", "pds.example.com:8443", "10.0.0.1", "::1", "[::1]"} {
		if unfit(h) == "" {
			t.Errorf("%s passes", h)
		}
	}
	if r := unfit("pds.example.com"); r != "" {
		t.Error(r)
	}
}

func BenchmarkNotify(b *testing.B) {
	n, _ := New(Options{Hostname: "pds.example.com", Crawlers: []string{"https://a.example.com", "https://b.example.com"}})
	for b.Loop() {
		n.Notify()
	}
}

func TestOperatorCanHaveARelayAskedNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeRelay{answer: func(n int) (int, string, string) {
			if n == 2 {
				return 400, `{"error":"HostBanned","message":"no"}`, ""
			}
			return 200, "", ""
		}}
		play(t, f, func(n *Notifier) {
			synctest.Wait()
			if st := n.Status()[0]; st.Host != "relay.example.com" || !st.Accepted || st.AskedAt.IsZero() || time.Until(st.NextAt) != DefaultInterval {
				t.Errorf("%+v", st)
			}
			if n.Ask("other.example.com") {
				t.Error("a relay was asked that is none of ours")
			}
			time.Sleep(time.Minute)
			if !n.Ask("relay.example.com") {
				t.Error("the relay is not known")
			}
			synctest.Wait()
			if st := n.Status()[0]; st.Accepted || !strings.Contains(st.Error, "HostBanned") {
				t.Errorf("%+v", st)
			}
			time.Sleep(DefaultInterval + time.Second) // it rests, and waits for a write
			synctest.Wait()
			if st := n.Status()[0]; !st.NextAt.IsZero() {
				t.Errorf("%+v", st)
			}
			n.Ask("relay.example.com")
			synctest.Wait()
		})
		if got := f.times(); len(got) != 3 || got[1] != time.Minute || got[2] != time.Minute+DefaultInterval+time.Second {
			t.Errorf("asked at %v", got)
		}
	})
}
