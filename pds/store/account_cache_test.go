package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestChangesAreSeenAtOnce: whoever was answered that a change is done reads it, by every name the account had.
func TestChangesAreSeenAtOnce(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	a := mustCreate(t, s, 1)
	read := func() {
		_, _ = s.AccountByID(ctx, a.ID)
		_, _ = s.AccountByDID(ctx, a.DID)
		_, _ = s.AccountByHandle(ctx, a.Handle)
		_, _ = s.AccountByHandle(ctx, "new.example.com")
	}
	read()
	updatePeople(t, s, func(ctx context.Context, tx *Tx) error { return tx.SetTakedown(ctx, a.ID, "case") })
	for _, get := range []func() (*Account, error){
		func() (*Account, error) { return s.AccountByID(ctx, a.ID) },
		func() (*Account, error) { return s.AccountByDID(ctx, a.DID) },
		func() (*Account, error) { return s.AccountByHandle(ctx, a.Handle) },
	} {
		if got, err := get(); err != nil || got.TakedownRef != "case" {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	read()
	updatePeople(t, s, func(ctx context.Context, tx *Tx) error { return tx.SetHandle(ctx, a.ID, "new.example.com") })
	if _, err := s.AccountByHandle(ctx, a.Handle); !errors.Is(err, ErrNotFound) {
		t.Fatalf("the old handle still leads somewhere: %v", err)
	}
	if got, err := s.AccountByHandle(ctx, "new.example.com"); err != nil || got.ID != a.ID {
		t.Fatalf("%+v, %v", got, err)
	}
	boom := errors.New("boom")
	err := s.Update(ctx, func(tx *Tx) error {
		if err := tx.SetTakedown(ctx, a.ID, ""); err != nil {
			return err
		}
		if got, err := tx.AccountByID(ctx, a.ID); err != nil || got.TakedownRef != "" {
			t.Errorf("the transaction does not see its own change: %+v, %v", got, err)
		}
		return boom
	})
	if got, _ := s.AccountByID(ctx, a.ID); !errors.Is(err, boom) || got.TakedownRef != "case" {
		t.Fatalf("a change that was undone is seen: %+v, %v", got, err)
	}
}

// TestMailedCodeIsSeenAtOnce: what an account asks for beside its password is known from the moment it was set, and gone with the account.
func TestMailedCodeIsSeenAtOnce(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	a := mustCreate(t, s, 1)
	expect := func(want bool) {
		t.Helper()
		if got, err := s.AsksMailedCode(ctx, a.ID); err != nil || got != want {
			t.Errorf("asks for a mailed code: %v, %v; want %v", got, err, want)
		}
	}
	expect(false)
	for _, on := range []bool{true, false, true} {
		updatePeople(t, s, func(ctx context.Context, tx *Tx) error {
			return tx.PutSecondFactor(ctx, SecondFactor{Account: a.ID, Email: on})
		})
		expect(on)
	}
	updatePeople(t, s, func(ctx context.Context, tx *Tx) error { return tx.MarkDeleted(ctx, a.ID, time.Now()) })
	expect(false)
}

// TestCacheUnderChange: readers that race with a writer never see less than what the writer was told is done.
func TestCacheUnderChange(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	a := mustCreate(t, s, 1)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = s.AccountByID(ctx, a.ID)
					_, _ = s.AccountByDID(ctx, a.DID)
				}
			}
		})
	}
	for i := range 100 {
		ref := fmt.Sprint("case ", i)
		updatePeople(t, s, func(ctx context.Context, tx *Tx) error { return tx.SetTakedown(ctx, a.ID, ref) })
		for range 3 {
			if got, err := s.AccountByDID(ctx, a.DID); err != nil || got.TakedownRef != ref {
				t.Errorf("%q, %v; want %q", got.TakedownRef, err, ref)
			}
		}
	}
	close(stop)
	wg.Wait()
}

func TestGuardedKeepsNothingStale(t *testing.T) {
	var g guarded[string, int]
	v, err := g.get("k", func() (int, error) {
		g.forget("k") // the row changes while it is being read
		return 1, nil
	})
	if v != 1 || err != nil {
		t.Fatal(v, err)
	}
	if v, _ = g.get("k", func() (int, error) { return 2, nil }); v != 2 {
		t.Fatalf("kept %d, which was read before the change", v)
	}
	if v, _ = g.get("k", func() (int, error) { return 3, nil }); v != 2 {
		t.Fatalf("%d: nothing is cached", v)
	}
	if _, err := g.get("e", func() (int, error) { return 0, ErrNotFound }); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if v, err := g.get("e", func() (int, error) { return 4, nil }); v != 4 || err != nil {
		t.Fatalf("absence was cached: %v", err)
	}
	for i := range maxCachedRows + 100 {
		_, _ = g.get(fmt.Sprint(i), func() (int, error) { return i, nil })
	}
	if len(g.rows) > maxCachedRows {
		t.Fatalf("%d rows cached", len(g.rows))
	}
}

// Sessions of apps with many scopes fill the cache by their length, not by their number.
func TestCachedSessionsAreBoundedInBytes(t *testing.T) {
	var g guarded[string, *OAuthSession]
	long := strings.Repeat("x", 128<<10)
	for i := range 2 * maxCachedBytes / len(long) {
		for range 2 {
			_, _ = g.get(fmt.Sprint(i), func() (*OAuthSession, error) { return &OAuthSession{Scope: long}, nil })
		}
	}
	total := 0
	for _, s := range g.rows {
		total += s.size()
	}
	if total > maxCachedBytes || total < maxCachedBytes/2 || total != g.bytes {
		t.Errorf("%d bytes cached, %d counted", total, g.bytes)
	}
	for key := range g.rows {
		g.forget(key)
	}
	if g.bytes != 0 {
		t.Errorf("%d bytes left of nothing", g.bytes)
	}
}
