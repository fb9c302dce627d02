package account

import (
	"context"
	"errors"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/store"
)

// Hook stores what belongs to a change of an account, mostly the events that tell the network, in the same transaction. It is given the
// account as it is after the change. nil does nothing.
type Hook func(tx *store.Tx, changed *store.Account) error

// change runs fn and then hook in one transaction.
func (s *Service) change(ctx context.Context, id store.AccountID, fn func(tx *store.Tx) error, hook Hook) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		if hook == nil {
			return nil
		}
		changed, err := tx.AccountByID(ctx, id)
		if err != nil {
			return err
		}
		return hook(tx, changed)
	})
}

// SetHandle gives the account a handle that CheckHandle has accepted. The error is store.ErrHandleTaken.
func (s *Service) SetHandle(ctx context.Context, id store.AccountID, h syntax.Handle, hook Hook) error {
	err := s.change(ctx, id, func(tx *store.Tx) error { return tx.SetHandle(ctx, id, h) }, hook)
	if errors.Is(err, store.ErrHandleTaken) {
		return refuse(store.ErrHandleTaken, "Handle already taken: %s", h)
	}
	return err
}

// SetEmail gives the account another e-mail address, which is not confirmed yet. Errors: ErrInvalidEmail, store.ErrEmailTaken.
func (s *Service) SetEmail(ctx context.Context, id store.AccountID, raw string) error {
	email, err := NormalizeEmail(raw)
	if err != nil {
		return err
	}
	err = s.change(ctx, id, func(tx *store.Tx) error { return tx.SetEmail(ctx, id, email, time.Time{}) }, nil)
	if errors.Is(err, store.ErrEmailTaken) {
		return refuse(store.ErrEmailTaken, "This email address is already in use, please use a different email.")
	}
	return err
}

// SetPassword gives the account another password and ends all its sessions, those of app passwords too; with revokeApps the app passwords go
// as well, as they should when somebody else may have made some. The error is ErrInvalidPassword.
func (s *Service) SetPassword(ctx context.Context, id store.AccountID, password string, revokeApps bool) error {
	if err := checkNewPassword(password); err != nil {
		return err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	return s.change(ctx, id, func(tx *store.Tx) error {
		if err := tx.SetPasswordHash(ctx, id, hash); err != nil {
			return err
		}
		if revokeApps {
			if err := tx.DeleteAppPasswords(ctx, id); err != nil {
				return err
			}
		}
		return tx.DeleteSessions(ctx, id)
	}, nil)
}

// Deactivate hides the account, to be deleted after the time given unless that is zero. Its sessions go on: its owner may come back, or move.
func (s *Service) Deactivate(ctx context.Context, id store.AccountID, deleteAfter time.Time, hook Hook) error {
	return s.change(ctx, id, func(tx *store.Tx) error { return tx.SetDeactivated(ctx, id, s.now(), deleteAfter) }, hook)
}

// Activate ends a deactivation. A takedown or suspension stays.
func (s *Service) Activate(ctx context.Context, id store.AccountID, hook Hook) error {
	return s.change(ctx, id, func(tx *store.Tx) error { return tx.SetDeactivated(ctx, id, time.Time{}, time.Time{}) }, hook)
}

// Takedown shuts the account out under the moderators' reference and ends its sessions; "" restores it.
func (s *Service) Takedown(ctx context.Context, id store.AccountID, ref string, hook Hook) error {
	return s.change(ctx, id, func(tx *store.Tx) error {
		if err := tx.SetTakedown(ctx, id, ref); err != nil || ref == "" {
			return err
		}
		return tx.DeleteSessions(ctx, id)
	}, hook)
}

// Suspend shuts the account out for a while and ends its sessions, or lets it in again.
func (s *Service) Suspend(ctx context.Context, id store.AccountID, suspended bool, hook Hook) error {
	return s.change(ctx, id, func(tx *store.Tx) error {
		if !suspended {
			return tx.SetSuspended(ctx, id, time.Time{})
		}
		if err := tx.SetSuspended(ctx, id, s.now()); err != nil {
			return err
		}
		return tx.DeleteSessions(ctx, id)
	}, hook)
}

// Restore ends a takedown and a suspension. A deactivation stays: that is the owner's.
func (s *Service) Restore(ctx context.Context, id store.AccountID, hook Hook) error {
	return s.change(ctx, id, func(tx *store.Tx) error {
		if err := tx.SetTakedown(ctx, id, ""); err != nil {
			return err
		}
		return tx.SetSuspended(ctx, id, time.Time{})
	}, hook)
}

// Delete ends the account: handle, e-mail, password, sessions, app passwords and preferences are gone when it returns. Repository and blobs are
// the hook's to delete or to schedule.
func (s *Service) Delete(ctx context.Context, id store.AccountID, hook Hook) error {
	return s.change(ctx, id, func(tx *store.Tx) error { return tx.MarkDeleted(ctx, id, s.now()) }, hook)
}
