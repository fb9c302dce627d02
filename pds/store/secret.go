package store

import (
	"context"
	"fmt"
)

// Secret returns the sealed bytes kept under name, or ErrNotFound.
func (s *Store) Secret(ctx context.Context, name string) (sealed []byte, err error) {
	if err := s.read.queryRow(ctx, "SELECT sealed FROM secret WHERE name = ?", name).Scan(&sealed); err != nil {
		return nil, fmt.Errorf("secret %s: %w", name, err)
	}
	return sealed, nil
}

// SetSecret keeps sealed bytes under name, in place of what was there.
func (s *Store) SetSecret(ctx context.Context, name string, sealed []byte) error {
	const upsert = "INSERT INTO secret (name, sealed) VALUES (?, ?) ON CONFLICT DO UPDATE SET sealed = excluded.sealed"
	return s.Update(ctx, func(tx *Tx) error {
		_, err := tx.exec(ctx, upsert, name, sealed)
		return err
	})
}

// DeleteSecret forgets what is kept under name. That there is nothing is no error.
func (tx *Tx) DeleteSecret(ctx context.Context, name string) error {
	_, err := tx.exec(ctx, "DELETE FROM secret WHERE name = ?", name)
	return err
}

// Ping reads from the database, to show that it answers.
func (s *Store) Ping(ctx context.Context) error {
	var n int
	return s.read.queryRow(ctx, "SELECT 1").Scan(&n)
}
