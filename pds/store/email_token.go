package store

import (
	"context"
	"fmt"
	"time"
)

// EmailToken is a code that was sent by mail. An account has one at most for each purpose.
type EmailToken struct {
	Account   AccountID
	Purpose   string
	Hash      []byte // the code itself is not stored
	CreatedAt time.Time
	ExpiresAt time.Time
}

const emailTokenColumns = `account, purpose, hash, created_at, expires_at`

func emailTokenWhere(ctx context.Context, q querier, where string, args ...any) (EmailToken, error) {
	var t EmailToken
	var created, expires int64
	err := q.queryRow(ctx, `SELECT `+emailTokenColumns+` FROM email_token WHERE `+where, args...).
		Scan(&t.Account, &t.Purpose, &t.Hash, &created, &expires)
	if err != nil {
		return EmailToken{}, fmt.Errorf("e-mail token: %w", err)
	}
	t.CreatedAt, t.ExpiresAt = fromMicros(created), fromMicros(expires)
	return t, nil
}

// EmailTokenByHash finds a token, expired or not, whosever it is, or ErrNotFound.
func (s *Store) EmailTokenByHash(ctx context.Context, purpose string, hash []byte) (EmailToken, error) {
	return emailTokenWhere(ctx, s.read, `purpose = ? AND hash = ?`, purpose, hash)
}

// EmailToken returns the account's token for a purpose, expired or not, or ErrNotFound.
func (tx *Tx) EmailToken(ctx context.Context, acct AccountID, purpose string) (EmailToken, error) {
	return emailTokenWhere(ctx, tx, `account = ? AND purpose = ?`, acct, purpose)
}

// PutEmailToken stores a token in place of the one that the account had for the purpose.
func (tx *Tx) PutEmailToken(ctx context.Context, t EmailToken) error {
	_, err := tx.exec(ctx, `INSERT INTO email_token (`+emailTokenColumns+`) VALUES (?, ?, ?, ?, ?) ON CONFLICT (account, purpose)
		DO UPDATE SET hash = excluded.hash, created_at = excluded.created_at, expires_at = excluded.expires_at`,
		t.Account, t.Purpose, t.Hash, micros(t.CreatedAt), micros(t.ExpiresAt))
	if err != nil {
		return fmt.Errorf("store e-mail token: %w", err)
	}
	return nil
}

// DeleteEmailToken removes the account's token for a purpose. One that is not there is no error.
func (tx *Tx) DeleteEmailToken(ctx context.Context, acct AccountID, purpose string) error {
	_, err := tx.exec(ctx, `DELETE FROM email_token WHERE account = ? AND purpose = ?`, acct, purpose)
	return err
}

// DeleteEmailTokens removes all tokens of the account.
func (tx *Tx) DeleteEmailTokens(ctx context.Context, acct AccountID) error {
	_, err := tx.exec(ctx, `DELETE FROM email_token WHERE account = ?`, acct)
	return err
}

// SweepEmailTokens removes the tokens of all accounts that expired before the time given.
func (tx *Tx) SweepEmailTokens(ctx context.Context, before time.Time) error {
	_, err := tx.exec(ctx, `DELETE FROM email_token WHERE expires_at < ?`, micros(before))
	return err
}
