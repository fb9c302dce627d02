package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// ErrNameTaken: the account has an app password of this name already.
var ErrNameTaken = errors.New("name is taken")

// AppPassword lets an app sign in with fewer rights than the main password.
type AppPassword struct {
	Account    AccountID
	Name       string
	Hash       string
	Privileged bool // may use direct messages
	CreatedAt  time.Time
}

const appPasswordColumns = `account, name, password_hash, privileged, created_at`

func scanAppPassword(scan func(...any) error) (AppPassword, error) {
	var p AppPassword
	var created int64
	err := scan(&p.Account, &p.Name, &p.Hash, &p.Privileged, &created)
	p.CreatedAt = fromMicros(created)
	return p, err
}

func appPassword(ctx context.Context, q querier, acct AccountID, name string) (AppPassword, error) {
	p, err := scanAppPassword(q.queryRow(ctx, `SELECT `+appPasswordColumns+` FROM app_password WHERE account = ? AND name = ?`, acct, name).Scan)
	if err != nil {
		return AppPassword{}, fmt.Errorf("app password: %w", err)
	}
	return p, nil
}

// AppPassword returns one app password by its name, or ErrNotFound.
func (s *Store) AppPassword(ctx context.Context, acct AccountID, name string) (AppPassword, error) {
	return appPassword(ctx, s.read, acct, name)
}

// AppPassword is Store.AppPassword as the transaction sees it.
func (tx *Tx) AppPassword(ctx context.Context, acct AccountID, name string) (AppPassword, error) {
	return appPassword(ctx, tx, acct, name)
}

// AppPasswords lists an account's app passwords in the order of their making.
func (s *Store) AppPasswords(ctx context.Context, acct AccountID) ([]AppPassword, error) {
	return appPasswords(ctx, s.read, acct)
}

// AppPasswords is Store.AppPasswords as the transaction sees it.
func (tx *Tx) AppPasswords(ctx context.Context, acct AccountID) ([]AppPassword, error) {
	return appPasswords(ctx, tx, acct)
}

func appPasswords(ctx context.Context, q querier, acct AccountID) ([]AppPassword, error) {
	rows, err := q.query(ctx, `SELECT `+appPasswordColumns+` FROM app_password WHERE account = ? ORDER BY created_at, name`, acct)
	return collect(rows, err, func(r *sql.Rows, p *AppPassword) (err error) {
		*p, err = scanAppPassword(r.Scan)
		return err
	})
}

// CreateAppPassword inserts an app password. The error is ErrNameTaken when the account has one of that name.
func (tx *Tx) CreateAppPassword(ctx context.Context, p AppPassword) error {
	_, err := tx.exec(ctx, `INSERT INTO app_password (`+appPasswordColumns+`) VALUES (?, ?, ?, ?, ?)`,
		p.Account, p.Name, p.Hash, p.Privileged, micros(p.CreatedAt))
	var e *sqlite.Error
	if errors.As(err, &e) && e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY {
		err = ErrNameTaken
	}
	if err != nil {
		return fmt.Errorf("create app password: %w", err)
	}
	return nil
}

// SetAppPasswordHash replaces the hash of an app password.
func (tx *Tx) SetAppPasswordHash(ctx context.Context, acct AccountID, name, hash string) error {
	_, err := tx.exec(ctx, `UPDATE app_password SET password_hash = ? WHERE account = ? AND name = ?`, hash, acct, name)
	return err
}

// DeleteAppPassword removes an app password and ends its sessions. A name that is not there is no error. "" never is one: it stands for the
// main password, whose sessions stay.
func (tx *Tx) DeleteAppPassword(ctx context.Context, acct AccountID, name string) error {
	if name == "" {
		return nil
	}
	if _, err := tx.exec(ctx, `DELETE FROM app_password WHERE account = ? AND name = ?`, acct, name); err != nil {
		return fmt.Errorf("delete app password: %w", err)
	}
	return tx.DeleteAppPasswordSessions(ctx, acct, name)
}

// DeleteAppPasswords removes all app passwords of an account. Their sessions go on until they are refreshed; see DeleteSessions.
func (tx *Tx) DeleteAppPasswords(ctx context.Context, acct AccountID) error {
	_, err := tx.exec(ctx, `DELETE FROM app_password WHERE account = ?`, acct)
	return err
}
