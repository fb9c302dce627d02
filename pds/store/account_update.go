package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// ErrDeleted says that an account was deleted meanwhile. It is an ErrNotFound.
var ErrDeleted = fmt.Errorf("account is deleted: %w", ErrNotFound)

// updateAccount runs an UPDATE whose last parameter is the account's id, and forgets what is cached of the account. The error is ErrDeleted
// when it is deleted: a request that was under way then changes it no more, and tells the network nothing of it.
func (tx *Tx) updateAccount(ctx context.Context, id AccountID, query string, args ...any) error {
	old, err := tx.LiveAccount(ctx, id)
	if err != nil {
		return err
	}
	return tx.writeAccount(ctx, old, query, args...)
}

// LiveAccount is AccountByID for the id of an account that was there a moment ago. The error is ErrDeleted when it was deleted since, whether or not its row is left.
func (tx *Tx) LiveAccount(ctx context.Context, id AccountID) (*Account, error) {
	a, err := tx.AccountByID(ctx, id)
	if errors.Is(err, ErrNotFound) || err == nil && !a.DeletedAt.IsZero() {
		return nil, fmt.Errorf("account %d: %w", id, ErrDeleted)
	}
	return a, err
}

func (tx *Tx) writeAccount(ctx context.Context, old *Account, query string, args ...any) error {
	id := old.ID
	if _, err := tx.exec(ctx, query, append(args, id)...); err != nil {
		return fmt.Errorf("update account %d: %w", id, taken(err))
	}
	tx.accountChanged(old)
	return nil
}

// SetHandle gives the account another handle. Errors: ErrHandleTaken, ErrNotFound.
func (tx *Tx) SetHandle(ctx context.Context, id AccountID, h syntax.Handle) error {
	acct, err := tx.AccountByID(ctx, id)
	if err == nil {
		err = tx.checkWebName(ctx, h, acct.DID)
	}
	if err != nil {
		return err
	}
	return tx.updateAccount(ctx, id, `UPDATE account SET handle = ? WHERE id = ?`, nullString(string(h.Normalize())))
}

// SetEmail gives the account another e-mail address; the zero time marks it as not confirmed. Errors: ErrEmailTaken, ErrNotFound.
func (tx *Tx) SetEmail(ctx context.Context, id AccountID, email string, confirmedAt time.Time) error {
	return tx.updateAccount(ctx, id, `UPDATE account SET email = ?, email_confirmed_at = ? WHERE id = ?`,
		nullString(strings.ToLower(email)), nullMicros(confirmedAt))
}

// SetPasswordHash stores the hash of a new password. It ends no session: pds/account decides that.
func (tx *Tx) SetPasswordHash(ctx context.Context, id AccountID, hash string) error {
	return tx.updateAccount(ctx, id, `UPDATE account SET password_hash = ? WHERE id = ?`, nullString(hash))
}

// SetSigningKey replaces the sealed signing key and its public half.
func (tx *Tx) SetSigningKey(ctx context.Context, id AccountID, sealed []byte, publicDIDKey string) error {
	return tx.updateAccount(ctx, id, `UPDATE account SET signing_key = ?, signing_key_did = ? WHERE id = ?`, sealed, publicDIDKey)
}

// SetDeactivated deactivates the account at the time given, to be deleted after deleteAfter unless that is zero. The zero time for at
// activates it. The error is ErrHeld when that cannot be.
func (tx *Tx) SetDeactivated(ctx context.Context, id AccountID, at, deleteAfter time.Time) error {
	if at.IsZero() {
		if err := tx.checkHeld(ctx, id); err != nil {
			return err
		}
	}
	return tx.updateAccount(ctx, id, `UPDATE account SET deactivated_at = ?, delete_after = ? WHERE id = ?`,
		nullMicros(at), nullMicros(deleteAfter))
}

// SetTakedown takes the account down under a reference of the moderators; "" restores it.
func (tx *Tx) SetTakedown(ctx context.Context, id AccountID, ref string) error {
	return tx.updateAccount(ctx, id, `UPDATE account SET takedown_ref = ? WHERE id = ?`, nullString(ref))
}

// SetSuspended suspends the account at the time given; the zero time ends the suspension.
func (tx *Tx) SetSuspended(ctx context.Context, id AccountID, at time.Time) error {
	return tx.updateAccount(ctx, id, `UPDATE account SET suspended_at = ? WHERE id = ?`, nullMicros(at))
}

// SetInvitesDisabled keeps the account from earning and seeing invite codes, or lets it again.
func (tx *Tx) SetInvitesDisabled(ctx context.Context, id AccountID, disabled bool) error {
	return tx.updateAccount(ctx, id, `UPDATE account SET invites_disabled = ? WHERE id = ?`, disabled)
}

// MarkDeleted ends an account: handle, e-mail, password, sessions, app passwords, preferences, mails, codes and open invite codes go at once.
// The row stays, with its DID, so that event and repository rows have an owner until their own deletion; RemoveAccount is the end of it. at must
// not be zero.
func (tx *Tx) MarkDeleted(ctx context.Context, id AccountID, at time.Time) error {
	old, err := tx.AccountByID(ctx, id)
	if err != nil {
		return err
	}
	err = tx.updateAccount(ctx, id, `UPDATE account SET deleted_at = ?, handle = NULL, email = NULL, email_confirmed_at = NULL,
		password_hash = NULL, signing_key = x'', delete_after = NULL, role = NULL WHERE id = ?`, micros(at))
	if err != nil {
		return err
	}
	if err := tx.deleteBelongings(ctx, id); err != nil {
		return err
	}
	_, err = tx.exec(ctx, `UPDATE invite_code SET disabled = 1 WHERE for_account = ?`, string(old.DID))
	return err
}

// deleteBelongings removes what an account has beside its repository.
func (tx *Tx) deleteBelongings(ctx context.Context, id AccountID) error {
	if err := tx.DeleteSessions(ctx, id); err != nil {
		return err
	}
	if err := tx.DeleteOAuth(ctx, id); err != nil {
		return err
	}
	for _, query := range []string{
		`DELETE FROM app_password WHERE account = ?`,
		`DELETE FROM preference WHERE account = ?`,
		`DELETE FROM email_token WHERE account = ?`,
		`DELETE FROM mail WHERE account = ?`,
		`DELETE FROM second_factor WHERE account = ?`,
		`DELETE FROM recovery_code WHERE account = ?`,
		`DELETE FROM passkey WHERE account = ?`,
		`DELETE FROM account_import WHERE account = ?`,
		`DELETE FROM plc_watch WHERE account = ?`,
		`DELETE FROM plc_alert WHERE account = ?`,
	} {
		if _, err := tx.exec(ctx, query, id); err != nil {
			return fmt.Errorf("delete what account %d owns: %w", id, err)
		}
	}
	return nil
}

// ErrNotDeleted says that an account that was to be removed has not been marked as deleted.
var ErrNotDeleted = errors.New("account is not deleted")

// RemoveAccount removes the row of an account that MarkDeleted has ended and DeleteRepo has emptied. From then on the DID may come back, as
// another account: ids are never used again. That the row is gone already is no error; ErrNotDeleted if the account lives.
func (tx *Tx) RemoveAccount(ctx context.Context, id AccountID) error {
	old, err := tx.AccountByID(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if old.DeletedAt.IsZero() {
		return fmt.Errorf("remove account %d: %w", id, ErrNotDeleted)
	}
	if err := tx.deleteBelongings(ctx, id); err != nil { // what a request under way has added since
		return err
	}
	if _, err := tx.exec(ctx, `DELETE FROM plc_operation WHERE did = ?`, string(old.DID)); err != nil {
		return err
	}
	return tx.writeAccount(ctx, old, `DELETE FROM account WHERE id = ?`)
}

// ExpiredDeactivations lists accounts that asked to be deleted at the time given or before.
func (s *Store) ExpiredDeactivations(ctx context.Context, before time.Time, limit int) ([]AccountID, error) {
	rows, err := s.read.query(ctx, `SELECT id FROM account WHERE delete_after <= ? AND deleted_at IS NULL ORDER BY delete_after LIMIT ?`,
		micros(before), limit)
	return collect(rows, err, scanOne[AccountID])
}
