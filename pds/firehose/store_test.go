package firehose

import (
	"context"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/coder/websocket"

	"perch/pds/event"
	"perch/pds/store"
)

// The server restarts between any two events; a consumer that comes back with its last seq misses nothing.
func TestResumeAcrossRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "perch.db")
	var all, got []int64
	for life := range 3 {
		st, err := store.Open(t.Context(), store.Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		f := New(Options{Store: st, RingBytes: 1 << 10})
		srv := httptest.NewServer(f)
		url := "ws" + strings.TrimPrefix(srv.URL, "http") + "/"
		all = append(all, appendEvents(t, st, 50)...) // while the consumer is away
		cursor := int64(0)
		if len(got) > 0 {
			cursor = got[len(got)-1]
		}
		c := dial(t, fmt.Sprintf("%s?cursor=%d", url, cursor))
		for len(got) < len(all) {
			got = append(got, c.next().seq)
		}
		live := appendEvents(t, st, 50)
		all = append(all, live...)
		for range live[:10*(life+1)] { // and away again, in the middle of the stream
			got = append(got, c.next().seq)
		}
		if err := f.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		for { // what was on its way still counts
			g, err := c.read()
			if err != nil {
				if websocket.CloseStatus(err) != websocket.StatusGoingAway {
					t.Fatal("closed with", err)
				}
				break
			}
			got = append(got, g.seq)
		}
		srv.Close()
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(all[:len(got)]) || len(got) < len(all)-50 {
		t.Fatalf("got %d events of %d, or not in order", len(got), len(all))
	}
}

// appendEvents commits n events one by one and returns their seqs.
func appendEvents(t *testing.T, st *store.Store, n int) (seqs []int64) {
	t.Helper()
	for range n {
		err := st.Update(t.Context(), func(tx *store.Tx) error {
			e, err := event.NewAccount(syntax.DID("did:web:bob.test"), true, "", time.Now())
			if err != nil {
				return err
			}
			seq, err := tx.AppendEvent(1, e)
			seqs = append(seqs, seq)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return seqs
}

func TestPruneLoop(t *testing.T) {
	st, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "perch.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	seqs := appendEvents(t, st, 1200)
	f := New(Options{Store: st, Window: time.Hour, PruneInterval: time.Millisecond,
		Now: func() time.Time { return time.Now().Add(2 * time.Hour) }})
	wait(t, "pruning", func() bool {
		oldest, err := st.OldestSeq(context.Background())
		return err == nil && oldest == seqs[len(seqs)-1] // the newest stays
	})
	if err := f.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A consumer reads the whole window out of the table, as a relay does that was away.
func BenchmarkBackfill(b *testing.B) {
	const count, size = 20_000, 5000
	st, err := store.Open(b.Context(), store.Options{Path: filepath.Join(b.TempDir(), "perch.db")})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	for range count / 500 {
		err := st.Update(b.Context(), func(tx *store.Tx) error {
			for range 500 {
				e, err := event.NewAccount(syntax.DID("did:web:bob.test"), true, strings.Repeat("x", size), time.Now())
				if err != nil {
					return err
				}
				if _, err := tx.AppendEvent(1, e); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	_, url := serve(b, st, Options{Now: time.Now})
	one, err := st.Events(b.Context(), 0, 1, 1)
	if err != nil {
		b.Fatal(err)
	}
	total := count * len(appendMessage(nil, one[0].Frame))
	b.SetBytes(int64(total))
	buf := make([]byte, 256<<10)
	for b.Loop() {
		conn := rawDialFast(b, url+"?cursor=0")
		for left := total; left > 0; {
			n, err := conn.Read(buf)
			if err != nil {
				b.Fatal(err)
			}
			left -= n
		}
		_ = conn.Close()
	}
	b.ReportMetric(float64(count*b.N)/b.Elapsed().Seconds(), "events/s")
}
