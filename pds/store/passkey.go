package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"
)

// Passkey is a WebAuthn credential with which an account's owner signs in.
type Passkey struct {
	Credential []byte // its id
	Account    AccountID
	UserHandle []byte // what the authenticator knows the account by
	PublicKey  []byte // COSE_Key
	Count      uint32 // of signatures, as the authenticator says
	Eligible   bool   // may be on several devices
	BackedUp   bool   // is
	Transports []string
	Name       string
	CreatedAt  time.Time
	UsedAt     time.Time // zero: never
}

const passkeyColumns = `credential, account, user_handle, public_key, count, eligible, backed_up, transports, name, created_at, used_at`

func scanPasskey(scan func(...any) error, p *Passkey) error {
	var transports string
	var created int64
	var used sql.NullInt64
	err := scan(&p.Credential, &p.Account, &p.UserHandle, &p.PublicKey, &p.Count, &p.Eligible, &p.BackedUp, &transports, &p.Name, &created, &used)
	p.Transports, p.CreatedAt, p.UsedAt = strings.Fields(transports), fromMicros(created), fromMicros(used.Int64)
	return err
}

// Passkey returns the passkey with that credential id, or ErrNotFound.
func (s *Store) Passkey(ctx context.Context, credential []byte) (Passkey, error) {
	return passkeyByID(ctx, s.read, credential)
}

// Passkey is Store.Passkey as the transaction sees it.
func (tx *Tx) Passkey(ctx context.Context, credential []byte) (Passkey, error) {
	return passkeyByID(ctx, tx, credential)
}

func passkeyByID(ctx context.Context, q querier, credential []byte) (p Passkey, err error) {
	err = scanPasskey(q.queryRow(ctx, `SELECT `+passkeyColumns+` FROM passkey WHERE credential = ?`, credential).Scan, &p)
	if err != nil {
		return Passkey{}, fmt.Errorf("passkey: %w", err)
	}
	return p, nil
}

// Passkeys lists an account's passkeys, the oldest first.
func (s *Store) Passkeys(ctx context.Context, acct AccountID) ([]Passkey, error) {
	return passkeys(ctx, s.read, acct)
}

// Passkeys is Store.Passkeys as the transaction sees it.
func (tx *Tx) Passkeys(ctx context.Context, acct AccountID) ([]Passkey, error) {
	return passkeys(ctx, tx, acct)
}

func passkeys(ctx context.Context, q querier, acct AccountID) ([]Passkey, error) {
	rows, err := q.query(ctx, `SELECT `+passkeyColumns+` FROM passkey WHERE account = ? ORDER BY created_at, credential`, acct)
	return collect(rows, err, func(r *sql.Rows, p *Passkey) error { return scanPasskey(r.Scan, p) })
}

// PutPasskey stores a passkey in place of what was known of it.
func (tx *Tx) PutPasskey(ctx context.Context, p Passkey) error {
	_, err := tx.exec(ctx, `INSERT OR REPLACE INTO passkey (`+passkeyColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		p.Credential, p.Account, p.UserHandle, p.PublicKey, p.Count, p.Eligible, p.BackedUp, strings.Join(p.Transports, " "), p.Name,
		micros(p.CreatedAt), nullMicros(p.UsedAt))
	if err != nil {
		return fmt.Errorf("store passkey: %w", err)
	}
	return nil
}

// DeletePasskey removes a passkey.
func (tx *Tx) DeletePasskey(ctx context.Context, credential []byte) error {
	_, err := tx.exec(ctx, `DELETE FROM passkey WHERE credential = ?`, credential)
	return err
}

// DeletePasskeys removes all passkeys of an account, and says how many there were.
func (tx *Tx) DeletePasskeys(ctx context.Context, acct AccountID) (int64, error) {
	return tx.execCount(ctx, `DELETE FROM passkey WHERE account = ?`, acct)
}

// UsePasskeyChallenge notes that a challenge was answered, and tells whether that was for the first time.
func (tx *Tx) UsePasskeyChallenge(ctx context.Context, challenge []byte, expires time.Time) (bool, error) {
	n, err := tx.execCount(ctx, `INSERT OR IGNORE INTO passkey_challenge (challenge, expires_at) VALUES (?, ?)`, challenge, micros(expires))
	return n > 0, err
}

// SweepPasskeyChallenges forgets challenges that expired before then.
func (tx *Tx) SweepPasskeyChallenges(ctx context.Context, before time.Time) error {
	_, err := tx.exec(ctx, `DELETE FROM passkey_challenge WHERE expires_at < ?`, micros(before))
	return err
}
