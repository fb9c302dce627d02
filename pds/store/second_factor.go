package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// SecondFactor is what an account asks for beside its password. The zero value, but for Account, asks for nothing.
type SecondFactor struct {
	Account      AccountID
	Email        bool   // codes by e-mail
	TOTP         []byte // sealed secret of the authenticator app in use
	TOTPPending  []byte // sealed secret of one that is being set up
	TOTPStep     int64  // time step of the last code used
	Failures     int64  // wrong codes of the app since the last right one
	RetryAt      time.Time
	MailFailures int64 // wrong codes since the last mail
}

const secondFactorColumns = `account, email, totp, totp_pending, totp_step, failures, retry_at, mail_failures`

func secondFactor(ctx context.Context, q querier, acct AccountID) (SecondFactor, error) {
	f := SecondFactor{Account: acct}
	var retry sql.NullInt64
	err := q.queryRow(ctx, `SELECT `+secondFactorColumns+` FROM second_factor WHERE account = ?`, acct).
		Scan(&f.Account, &f.Email, &f.TOTP, &f.TOTPPending, &f.TOTPStep, &f.Failures, &retry, &f.MailFailures)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return SecondFactor{}, fmt.Errorf("second factor of account %d: %w", acct, err)
	}
	f.RetryAt = fromMicros(retry.Int64)
	return f, nil
}

// SecondFactor returns what the account asks for beside its password; the zero value when that is nothing.
func (s *Store) SecondFactor(ctx context.Context, acct AccountID) (SecondFactor, error) {
	return secondFactor(ctx, s.read, acct)
}

// AsksMailedCode tells SecondFactor.Email alone, from memory: apps that sign in by password are told it each time they ask for their session.
func (s *Store) AsksMailedCode(ctx context.Context, acct AccountID) (bool, error) {
	return s.accounts.mailed.get(acct, func() (bool, error) {
		f, err := s.SecondFactor(ctx, acct)
		return f.Email, err
	})
}

// SecondFactor is Store.SecondFactor as the transaction sees it.
func (tx *Tx) SecondFactor(ctx context.Context, acct AccountID) (SecondFactor, error) {
	return secondFactor(ctx, tx, acct)
}

// PutSecondFactor stores all of it in place of what the account had.
func (tx *Tx) PutSecondFactor(ctx context.Context, f SecondFactor) error {
	_, err := tx.exec(ctx, `INSERT OR REPLACE INTO second_factor (`+secondFactorColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		f.Account, f.Email, f.TOTP, f.TOTPPending, f.TOTPStep, f.Failures, nullMicros(f.RetryAt), f.MailFailures)
	if err != nil {
		return fmt.Errorf("store second factor of account %d: %w", f.Account, err)
	}
	tx.AfterCommit(func() { tx.s.accounts.mailed.forget(f.Account) })
	return nil
}

// ReplaceRecoveryCodes puts the hashes of new recovery codes in the place of all that the account had.
func (tx *Tx) ReplaceRecoveryCodes(ctx context.Context, acct AccountID, hashes [][]byte) error {
	if _, err := tx.exec(ctx, `DELETE FROM recovery_code WHERE account = ?`, acct); err != nil {
		return fmt.Errorf("delete recovery codes: %w", err)
	}
	for _, h := range hashes {
		if _, err := tx.exec(ctx, `INSERT INTO recovery_code (account, hash) VALUES (?, ?)`, acct, h); err != nil {
			return fmt.Errorf("store recovery code: %w", err)
		}
	}
	return nil
}

// UseRecoveryCode removes a recovery code and tells whether there was one.
func (tx *Tx) UseRecoveryCode(ctx context.Context, acct AccountID, hash []byte) (bool, error) {
	n, err := tx.execCount(ctx, `DELETE FROM recovery_code WHERE account = ? AND hash = ?`, acct, hash)
	return n > 0, err
}

// RecoveryCodes counts the recovery codes that the account has left.
func (s *Store) RecoveryCodes(ctx context.Context, acct AccountID) (n int, err error) {
	err = s.read.queryRow(ctx, `SELECT count(*) FROM recovery_code WHERE account = ?`, acct).Scan(&n)
	return n, err
}
