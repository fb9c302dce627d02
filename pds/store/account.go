package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

var (
	// ErrHandleTaken: another account has the handle.
	ErrHandleTaken = errors.New("handle is taken")
	// ErrEmailTaken: another account has the e-mail address.
	ErrEmailTaken = errors.New("e-mail address is taken")
	// ErrDIDTaken: the DID has, or had, an account here.
	ErrDIDTaken = errors.New("DID has an account here already")
)

// The hosting status of an account that is not active.
const (
	StatusTakendown   = "takendown"
	StatusSuspended   = "suspended"
	StatusDeactivated = "deactivated"
	StatusDeleted     = "deleted"
)

// Account is a person's account. A zero time means "not". Accounts that Store returns are shared: never change one.
type Account struct {
	ID     AccountID
	DID    syntax.DID
	Handle syntax.Handle // lower case; "" once deleted
	Email  string        // lower case; "" for none

	EmailConfirmedAt time.Time
	CreatedAt        time.Time
	DeactivatedAt    time.Time
	DeleteAfter      time.Time // a deactivated account asked to be deleted then
	SuspendedAt      time.Time
	DeletedAt        time.Time
	TakedownRef      string // "" when not taken down

	InvitesDisabled bool
	InvitedBy       string // invite code used at sign-up

	SigningKey    []byte // sealed private key
	SigningKeyDID string // its public half as did:key
	PasswordHash  string // "" when nobody can sign in with a password

	Role string // RoleAdmin, or ""
}

// Status is why the account is not active, the gravest reason first: "deleted", "takendown", "suspended" or "deactivated"; "" when it is active.
func (a *Account) Status() string {
	switch {
	case !a.DeletedAt.IsZero():
		return StatusDeleted
	case a.TakedownRef != "":
		return StatusTakendown
	case !a.SuspendedAt.IsZero():
		return StatusSuspended
	case !a.DeactivatedAt.IsZero():
		return StatusDeactivated
	}
	return ""
}

// Active tells whether the account's repository is public and may be written to.
func (a *Account) Active() bool { return a.Status() == "" }

// Announced tells whether the account has ever been active here, so that the network has heard of it. One that was made deactivated, to be moved
// here, has been so since the moment of its making.
func (a *Account) Announced() bool {
	return a.DeactivatedAt.IsZero() || !a.DeactivatedAt.Equal(a.CreatedAt)
}

const accountColumns = `id, did, handle, email, email_confirmed_at, created_at, deactivated_at, delete_after, suspended_at, deleted_at,
	takedown_ref, invites_disabled, invited_by, signing_key, signing_key_did, password_hash, role`

// scanAccount reads accountColumns in their order.
func scanAccount(scan func(...any) error) (*Account, error) {
	a := &Account{}
	var handle, email, takedown, invitedBy, password, role sql.NullString
	var confirmed, deactivated, deleteAfter, suspended, deleted sql.NullInt64
	var created int64
	err := scan(&a.ID, &a.DID, &handle, &email, &confirmed, &created, &deactivated, &deleteAfter, &suspended, &deleted,
		&takedown, &a.InvitesDisabled, &invitedBy, &a.SigningKey, &a.SigningKeyDID, &password, &role)
	if err != nil {
		return nil, err
	}
	a.Handle, a.Email = syntax.Handle(handle.String), email.String
	a.EmailConfirmedAt, a.CreatedAt = fromMicros(confirmed.Int64), fromMicros(created)
	a.DeactivatedAt, a.DeleteAfter = fromMicros(deactivated.Int64), fromMicros(deleteAfter.Int64)
	a.SuspendedAt, a.DeletedAt = fromMicros(suspended.Int64), fromMicros(deleted.Int64)
	a.TakedownRef, a.InvitedBy, a.PasswordHash, a.Role = takedown.String, invitedBy.String, password.String, role.String
	return a, nil
}

func accountWhere(ctx context.Context, q querier, query string, arg any) (*Account, error) {
	a, err := scanAccount(q.queryRow(ctx, query, arg).Scan)
	if err != nil {
		return nil, fmt.Errorf("account %v: %w", arg, err)
	}
	return a, nil
}

const (
	accountByID     = `SELECT ` + accountColumns + ` FROM account WHERE id = ?`
	accountByDID    = `SELECT ` + accountColumns + ` FROM account WHERE did = ?`
	accountByHandle = `SELECT ` + accountColumns + ` FROM account WHERE handle = ?`
	accountByEmail  = `SELECT ` + accountColumns + ` FROM account WHERE email = ?`
)

// AccountByID returns the account, in whatever state it is, or ErrNotFound.
func (s *Store) AccountByID(ctx context.Context, id AccountID) (*Account, error) {
	return s.accounts.byID.get(id, func() (*Account, error) { return accountWhere(ctx, s.read, accountByID, id) })
}

// AccountByDID returns the account, in whatever state it is, or ErrNotFound.
func (s *Store) AccountByDID(ctx context.Context, did syntax.DID) (*Account, error) {
	return s.accounts.byDID.get(did, func() (*Account, error) { return accountWhere(ctx, s.read, accountByDID, string(did)) })
}

// AccountByHandle returns the account that has the handle, in any case of letters, or ErrNotFound.
func (s *Store) AccountByHandle(ctx context.Context, h syntax.Handle) (*Account, error) {
	h = h.Normalize()
	return s.accounts.byHandle.get(h, func() (*Account, error) { return accountWhere(ctx, s.read, accountByHandle, string(h)) })
}

// AccountByEmail returns the account that has the address, in any case of letters, or ErrNotFound.
func (s *Store) AccountByEmail(ctx context.Context, email string) (*Account, error) {
	return accountWhere(ctx, s.read, accountByEmail, strings.ToLower(email))
}

// Accounts lists accounts in the order of their ids, from the one after the given id, for administration and checks.
func (s *Store) Accounts(ctx context.Context, after AccountID, limit int) ([]*Account, error) {
	rows, err := s.read.query(ctx, `SELECT `+accountColumns+` FROM account WHERE id > ? ORDER BY id LIMIT ?`, after, limit)
	return collect(rows, err, func(r *sql.Rows, a **Account) (err error) {
		*a, err = scanAccount(r.Scan)
		return err
	})
}

// SearchAccounts lists accounts that are not deleted in the order of their ids, from the one after the given id: those whose e-mail address holds the
// text given, in any case of letters, or all if it is "".
func (s *Store) SearchAccounts(ctx context.Context, email string, after AccountID, limit int) ([]*Account, error) {
	const query = `SELECT ` + accountColumns + ` FROM account
		WHERE id > ?1 AND deleted_at IS NULL AND (?2 = '' OR instr(email, ?2) > 0) ORDER BY id LIMIT ?3`
	rows, err := s.read.query(ctx, query, after, strings.ToLower(email), limit)
	return collect(rows, err, func(r *sql.Rows, a **Account) (err error) {
		*a, err = scanAccount(r.Scan)
		return err
	})
}

// AccountByID is Store.AccountByID as the transaction sees it.
func (tx *Tx) AccountByID(ctx context.Context, id AccountID) (*Account, error) {
	return accountWhere(ctx, tx, accountByID, id)
}

// AccountByDID is Store.AccountByDID as the transaction sees it.
func (tx *Tx) AccountByDID(ctx context.Context, did syntax.DID) (*Account, error) {
	return accountWhere(ctx, tx, accountByDID, string(did))
}

// CreateAccount inserts an account and returns its id; a.ID is ignored. A zero CreatedAt becomes the time of the transaction.
// Errors: ErrHandleTaken, ErrEmailTaken, ErrDIDTaken.
func (tx *Tx) CreateAccount(ctx context.Context, a Account) (AccountID, error) {
	if a.CreatedAt.IsZero() {
		a.CreatedAt = tx.Now()
	}
	if err := tx.checkWebName(ctx, a.Handle, a.DID); err != nil {
		return 0, fmt.Errorf("create account %s: %w", a.DID, err)
	}
	res, err := tx.exec(ctx, `INSERT INTO account (did, handle, email, email_confirmed_at, created_at, deactivated_at, delete_after,
		suspended_at, takedown_ref, invites_disabled, invited_by, signing_key, signing_key_did, password_hash)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		string(a.DID), nullString(string(a.Handle.Normalize())), nullString(strings.ToLower(a.Email)), nullMicros(a.EmailConfirmedAt),
		micros(a.CreatedAt), nullMicros(a.DeactivatedAt), nullMicros(a.DeleteAfter), nullMicros(a.SuspendedAt),
		nullString(a.TakedownRef), a.InvitesDisabled, nullString(a.InvitedBy), a.SigningKey, a.SigningKeyDID, nullString(a.PasswordHash))
	if err != nil {
		return 0, fmt.Errorf("create account %s: %w", a.DID, taken(err))
	}
	id, err := res.LastInsertId()
	if err == nil && a.DID.Method() == "plc" {
		_, err = tx.exec(ctx, `INSERT INTO plc_watch (account, due_at) VALUES (?, 0)`, id)
	}
	return AccountID(id), err
}

// taken names the column whose uniqueness an insert or update would have broken.
func taken(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) || e.Code() != sqlite3.SQLITE_CONSTRAINT_UNIQUE {
		return err
	}
	switch msg := e.Error(); {
	case strings.Contains(msg, "account.handle"):
		return ErrHandleTaken
	case strings.Contains(msg, "account.email"):
		return ErrEmailTaken
	case strings.Contains(msg, "account.did"):
		return ErrDIDTaken
	}
	return err
}
