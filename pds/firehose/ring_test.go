package firehose

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"perch/pds/store"
)

// The ring against a plain list.
func TestRingModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 200).Draw(t, "limit")
		r := newRing(limit)
		seq := rapid.Int64Range(0, 5).Draw(t, "start")
		r.start(seq)
		start := seq
		var all []message
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			seq += rapid.Int64Range(1, 3).Draw(t, "gap")
			m := message{seq: seq, data: []byte(strings.Repeat("x", rapid.IntRange(1, 60).Draw(t, "size")))}
			all = append(all, m)
			r.add([]message{m, m}) // the second is known already
			cursor := rapid.Int64Range(start, seq+1).Draw(t, "cursor")
			checkTake(t, r, all, cursor)
		}
		if n, bytes := r.size(); bytes > limit && n > 1 {
			t.Fatalf("%d bytes in %d messages, limit %d", bytes, n, limit)
		}
	})
}

func checkTake(t *rapid.T, r *ring, all []message, cursor int64) {
	v := r.take(cursor, nil, 5, 100)
	var want []message
	for _, m := range all {
		if m.seq > cursor {
			want = append(want, m)
		}
	}
	switch {
	case len(want) == 0:
		if v.place != atEnd {
			t.Fatalf("cursor %d: place %d, want the end", cursor, v.place)
		}
	case v.place == behind:
		if want[0].seq > r.after {
			t.Fatalf("cursor %d is behind, but the ring has all after %d", cursor, r.after)
		}
	case v.place == inside:
		for i, m := range v.msgs {
			if &m[0] != &want[i].data[0] {
				t.Fatalf("cursor %d: message %d is not %d", cursor, i, want[i].seq)
			}
		}
		if n := len(v.msgs); v.last != want[n-1].seq || n > 5 {
			t.Fatalf("cursor %d: last %d after %d messages", cursor, v.last, n)
		}
	default:
		t.Fatalf("cursor %d: at the end, but %d events follow", cursor, len(want))
	}
}

func TestRingForgetsAnAccount(t *testing.T) {
	r := newRing(1 << 20)
	r.start(100)
	fill := func(from, to int64) {
		for seq := from; seq <= to; seq++ {
			r.add([]message{{seq: seq, acct: store.AccountID(seq % 3), data: []byte{byte(seq)}}})
		}
	}
	want := func(cursor int64, seqs ...byte) {
		t.Helper()
		v := r.take(cursor, nil, 1000, 1<<20)
		var got []byte
		for _, m := range v.msgs {
			got = append(got, m[0])
		}
		if !bytes.Equal(got, seqs) || v.place == behind {
			t.Errorf("after %d: %v, want %v", cursor, got, seqs)
		}
	}
	fill(101, 109)
	r.forget(1) // 103, 106 and 109
	r.forget(2)
	want(100, 102, 105, 108, 109)
	want(103, 105, 108, 109)
	want(109)
	fill(110, 112)
	want(108, 109, 110, 111, 112)
	r.forget(0) // those that stay
	r.forget(9)
	want(108, 109, 110, 111, 112)
	if n, size := r.size(); n != size {
		t.Errorf("%d messages of %d bytes, each has one", n, size)
	}
}
