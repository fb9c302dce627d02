package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// ErrHeld says that the account is on its way to another server, which has all of it already: what were written now would be lost.
var ErrHeld = errors.New("the account is on its way to another server")

// Migration is the move of an account to this server or from it. What its state and data mean, package migrate knows.
type Migration struct {
	DID       syntax.DID
	State     string
	Data      []byte // JSON
	Sealed    []byte // tokens of the other host; nil when there are none
	Holds     bool   // the account here must stay as it is: see ErrHeld
	CreatedAt time.Time
	UpdatedAt time.Time
}

const migrationColumns = `did, state, data, sealed, holds, created_at, updated_at`

func scanMigration(scan func(...any) error) (m Migration, err error) {
	var data string
	var created, updated int64
	err = scan(&m.DID, &m.State, &data, &m.Sealed, &m.Holds, &created, &updated)
	m.Data, m.CreatedAt, m.UpdatedAt = []byte(data), fromMicros(created), fromMicros(updated)
	return m, err
}

// Migration returns the move of an account, finished or not, or ErrNotFound.
func (s *Store) Migration(ctx context.Context, did syntax.DID) (Migration, error) {
	m, err := scanMigration(s.read.queryRow(ctx, `SELECT `+migrationColumns+` FROM migration WHERE did = ?`, did.String()).Scan)
	if err != nil {
		return Migration{}, fmt.Errorf("migration of %s: %w", did, err)
	}
	return m, nil
}

// Migrations lists all moves, finished ones too, the oldest first.
func (s *Store) Migrations(ctx context.Context) ([]Migration, error) {
	rows, err := s.read.query(ctx, `SELECT `+migrationColumns+` FROM migration ORDER BY created_at, did`)
	return collect(rows, err, func(r *sql.Rows, m *Migration) (err error) {
		*m, err = scanMigration(r.Scan)
		return err
	})
}

// PutMigration stores the move of an account in place of what was there; CreatedAt stays that of the first time, UpdatedAt is the transaction's.
func (tx *Tx) PutMigration(ctx context.Context, m Migration) error {
	_, err := tx.exec(ctx, `INSERT INTO migration (`+migrationColumns+`) VALUES (?, ?, ?, ?, ?, ?6, ?6)
		ON CONFLICT DO UPDATE SET state = excluded.state, data = excluded.data, sealed = excluded.sealed, holds = excluded.holds,
			updated_at = excluded.updated_at`,
		m.DID.String(), m.State, string(m.Data), m.Sealed, m.Holds, micros(tx.now))
	if err != nil {
		return fmt.Errorf("store migration of %s: %w", m.DID, err)
	}
	return nil
}

// SetMigrationTokens stores the sealed tokens of a move and leaves the rest of it as it is. That there is no such move is no error.
func (tx *Tx) SetMigrationTokens(ctx context.Context, did syntax.DID, sealed []byte) error {
	_, err := tx.exec(ctx, `UPDATE migration SET sealed = ?, updated_at = ? WHERE did = ?`, sealed, micros(tx.now), did.String())
	if err != nil {
		return fmt.Errorf("store the tokens of the migration of %s: %w", did, err)
	}
	return nil
}

// checkHeld refuses changes of an account that is on its way to another server. The error is ErrHeld.
func (tx *Tx) checkHeld(ctx context.Context, id AccountID) error {
	var n int
	err := tx.queryRow(ctx, `SELECT count(*) FROM migration JOIN account USING (did) WHERE account.id = ? AND holds`, int64(id)).Scan(&n)
	if err == nil && n > 0 {
		err = ErrHeld
	}
	return err
}

// DeleteMigration forgets a move. One that is not there is no error.
func (tx *Tx) DeleteMigration(ctx context.Context, did syntax.DID) error {
	_, err := tx.exec(ctx, `DELETE FROM migration WHERE did = ?`, did.String())
	return err
}
