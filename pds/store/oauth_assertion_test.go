package store

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestAssertionsUsed: what a client has used stays so until it expires, and goes in bounded batches then.
func TestAssertionsUsed(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	s := openTest(t, func(o *Options) { o.Now = func() time.Time { return now } })
	use := func(id string, life time.Duration, want error) {
		t.Helper()
		err := s.Update(t.Context(), func(tx *Tx) error { return tx.UseOAuthAssertion(t.Context(), []byte(id), now.Add(life)) })
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", id, err)
		}
		if used, err := s.OAuthAssertionUsed(t.Context(), []byte(id), now); err != nil || !used {
			t.Errorf("%s is not used: %v", id, err)
		}
	}
	for _, id := range []string{"a", "b", "c"} {
		use(id, time.Minute, nil)
	}
	use("d", time.Hour, nil)
	use("a", time.Hour, ErrAssertionUsed) // and its time is not made longer
	now = now.Add(2 * time.Minute)
	if used, err := s.OAuthAssertionUsed(t.Context(), []byte("a"), now); err != nil || used {
		t.Errorf("an expired one counts as used: %v", err)
	}
	use("a", time.Hour, nil)
	use("d", time.Hour, ErrAssertionUsed)
	for _, want := range []int64{1, 1, 0} {
		updatePeople(t, s, func(ctx context.Context, tx *Tx) error {
			n, err := tx.SweepOAuth(ctx, now, 1)
			if n != want {
				t.Errorf("swept %d, want %d", n, want)
			}
			return err
		})
	}
	use("d", time.Hour, ErrAssertionUsed)
	use("b", time.Minute, nil)
}
