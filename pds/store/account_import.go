package store

import (
	"context"
	"fmt"
)

// AccountImport says of an account that the operator has made it of an archive.
type AccountImport struct {
	Account AccountID
	Stored  bool   // all of the archive
	Status  string // of the account when the archive was made: why it was not active
}

// AccountImport returns what is known of the making of an account, or ErrNotFound for one that was made otherwise.
func (s *Store) AccountImport(ctx context.Context, acct AccountID) (AccountImport, error) {
	a := AccountImport{Account: acct}
	if err := s.read.queryRow(ctx, "SELECT stored, status FROM account_import WHERE account = ?", int64(acct)).Scan(&a.Stored, &a.Status); err != nil {
		return AccountImport{}, fmt.Errorf("import of account %d: %w", acct, err)
	}
	return a, nil
}

// PutAccountImport notes that an account is made of an archive. It goes with the account.
func (tx *Tx) PutAccountImport(ctx context.Context, a AccountImport) error {
	const upsert = `INSERT INTO account_import (account, stored, status) VALUES (?, ?, ?)
		ON CONFLICT DO UPDATE SET stored = excluded.stored, status = excluded.status`
	if _, err := tx.exec(ctx, upsert, int64(a.Account), a.Stored, a.Status); err != nil {
		return fmt.Errorf("note the import of account %d: %w", a.Account, err)
	}
	return nil
}
