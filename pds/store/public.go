package store

import (
	"context"
	"database/sql"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// PublicAccount is an active account with one of its records.
type PublicAccount struct {
	ID     AccountID
	DID    syntax.DID
	Handle syntax.Handle
	Body   []byte // nil when there is no such record, or it is taken down
}

// PublicAccounts lists active accounts that are older than before, the newest first, each with its record under path. It costs what it lists, and a step for
// each account between that is not active.
func (s *Store) PublicAccounts(ctx context.Context, before AccountID, limit int, path string) ([]PublicAccount, error) {
	rows, err := s.read.query(ctx, `SELECT a.id, a.did, a.handle, r.body FROM account a
		LEFT JOIN record r ON r.account = a.id AND r.path = ?3 AND r.takedown_ref IS NULL
		WHERE a.id < ?1 AND a.deactivated_at IS NULL AND a.suspended_at IS NULL AND a.deleted_at IS NULL AND a.takedown_ref IS NULL AND a.handle IS NOT NULL
		ORDER BY a.id DESC LIMIT ?2`, int64(before), limit, path)
	return collect(rows, err, func(r *sql.Rows, a *PublicAccount) error {
		return r.Scan(&a.ID, &a.DID, &a.Handle, &a.Body)
	})
}
