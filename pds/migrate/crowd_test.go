package migrate

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

func (m *Manager) crowdOf(n int, host string, change func(*move)) {
	for i := range n {
		mv := &move{DID: syntax.DID(fmt.Sprintf("did:web:%d.%s", i, host)), Host: fmt.Sprintf("https://%d.%s", i, host), Keys: []string{"k"}, State: StateRepo, BeganAt: time.Unix(int64(i), 0)}
		change(mv)
		m.stands(mv)
	}
}

// One who has many accounts of his own does not keep people from coming who live elsewhere; nor do those whose owners have left, or which fail all the time.
func TestPlacesOfMovesByPage(t *testing.T) {
	m := New(Options{})
	works := func(*move) {}
	m.crowdOf(maxByPageFrom, "evil.example", works)
	if !m.full("https://another.evil.example") {
		t.Error("one site has more than its share")
	}
	if m.full("https://pds.example.org") {
		t.Error("another site is kept out")
	}
	m.crowdOf(200, "waits.example", func(mv *move) { mv.State = StateCode })
	m.crowdOf(200, "fails.example", func(mv *move) { mv.Failures = maxWorn })
	m.crowdOf(200, "inside.example", func(mv *move) { mv.State = StateAccount })
	if m.full("https://pds.example.org") || m.full("https://x.fails.example") {
		t.Error("moves that do nothing hold places")
	}
	for i := range maxByPage/maxByPageFrom - 1 {
		m.crowdOf(maxByPageFrom, fmt.Sprintf("%d.example", i), works)
	}
	if !m.full("https://pds.example.org") {
		t.Error("there is no end")
	}
	m.crowdOf(maxByPageFrom, "evil.example", func(mv *move) { mv.State = StateDone })
	if m.full("https://pds.example.org") {
		t.Error("moves that have ended hold places")
	}
}

// Hosts that strangers name are asked so many at a time.
func TestStrangersWaitForEachOther(t *testing.T) {
	m := New(Options{})
	for range maxAskingFrom {
		if _, _, err := m.asking(t.Context(), "https://slow.evil.example"); err != nil {
			t.Fatal(err)
		}
	}
	late, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	if _, _, err := m.asking(late, "https://slow2.evil.example"); !errors.Is(err, ErrFull) {
		t.Errorf("one more: %v", err)
	}
	ctx, leave, err := m.asking(t.Context(), "https://pds.example.org")
	if err != nil {
		t.Fatal(err)
	}
	if _, ends := ctx.Deadline(); !ends {
		t.Error("there is all the time")
	}
	leave()
}
