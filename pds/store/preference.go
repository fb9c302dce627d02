package store

import (
	"context"
	"database/sql"
	"fmt"
)

// Preference is one item of an account's private preferences.
type Preference struct {
	Name string // NSID of the item's $type
	JSON []byte // the whole item
}

func preferences(ctx context.Context, q querier, acct AccountID) ([]Preference, error) {
	rows, err := q.query(ctx, `SELECT name, value FROM preference WHERE account = ? ORDER BY id`, acct)
	return collect(rows, err, func(r *sql.Rows, p *Preference) error { return r.Scan(&p.Name, &p.JSON) })
}

// Preferences lists an account's preferences in the order in which they were given.
func (s *Store) Preferences(ctx context.Context, acct AccountID) ([]Preference, error) {
	return preferences(ctx, s.read, acct)
}

// Preferences is Store.Preferences as the transaction sees it.
func (tx *Tx) Preferences(ctx context.Context, acct AccountID) ([]Preference, error) {
	return preferences(ctx, tx, acct)
}

// ReplacePreferences puts the list in the place of all preferences of the account.
func (tx *Tx) ReplacePreferences(ctx context.Context, acct AccountID, all []Preference) error {
	if err := tx.checkHeld(ctx, acct); err != nil {
		return err
	}
	if _, err := tx.exec(ctx, `DELETE FROM preference WHERE account = ?`, acct); err != nil {
		return fmt.Errorf("replace preferences: %w", err)
	}
	for i, p := range all {
		_, err := tx.exec(ctx, `INSERT INTO preference (account, id, name, value) VALUES (?, ?, ?, ?)`, acct, i, p.Name, string(p.JSON))
		if err != nil {
			return fmt.Errorf("replace preferences: %w", err)
		}
	}
	return nil
}
