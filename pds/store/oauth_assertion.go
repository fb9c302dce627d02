package store

import (
	"context"
	"errors"
	"time"
)

// ErrAssertionUsed says that a client has used the assertion before.
var ErrAssertionUsed = errors.New("the client assertion was used before")

// UseOAuthAssertion notes that a client's assertion was used, so that nobody can until it expires. The error is ErrAssertionUsed.
func (tx *Tx) UseOAuthAssertion(ctx context.Context, id []byte, expires time.Time) error {
	n, err := tx.execCount(ctx, `INSERT INTO oauth_assertion (id, expires_at) VALUES (?, ?)
		ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at WHERE oauth_assertion.expires_at <= ?`, id, micros(expires), micros(tx.now))
	if err == nil && n == 0 {
		err = ErrAssertionUsed
	}
	return err
}

// OAuthAssertionUsed tells whether an assertion was used that has not expired at the time given.
func (s *Store) OAuthAssertionUsed(ctx context.Context, id []byte, now time.Time) (used bool, err error) {
	err = s.read.queryRow(ctx, `SELECT EXISTS (SELECT 1 FROM oauth_assertion WHERE id = ? AND expires_at > ?)`, id, micros(now)).Scan(&used)
	return used, err
}
