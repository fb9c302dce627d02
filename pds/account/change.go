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
	return s.store.Update(ctx, func(tx *store.Tx) error { return changeIn(ctx, tx, id, fn, hook) })
}

func changeIn(ctx context.Context, tx *store.Tx, id store.AccountID, fn func(tx *store.Tx) error, hook Hook) error {
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
}

// SetHandle gives the account a handle that CheckHandle has accepted. The error is store.ErrHandleTaken.
func (s *Service) SetHandle(ctx context.Context, id store.AccountID, h syntax.Handle, hook Hook) error {
	return s.change(ctx, id, func(tx *store.Tx) error { return setHandle(ctx, tx, id, h) }, hook)
}

func setHandle(ctx context.Context, tx *store.Tx, id store.AccountID, h syntax.Handle) error {
	err := tx.SetHandle(ctx, id, h)
	if errors.Is(err, store.ErrHandleTaken) {
		return refuse(store.ErrHandleTaken, "Handle already taken: %s", h)
	}
	return err
}

// TakeUp gives a deactivated account the password, address and handle with which somebody comes back to it, and no time of deletion any more: all in one transaction
// with hook, or nothing. The handle is one that HoldHandle holds. Errors: ErrInvalidPassword, ErrInvalidEmail, store.ErrEmailTaken, store.ErrHandleTaken, store.ErrActive,
// store.ErrNotFound.
func (s *Service) TakeUp(ctx context.Context, id store.AccountID, handle syntax.Handle, rawEmail, password string, hook func(*store.Tx) error) error {
	email, err := NormalizeEmail(rawEmail)
	if err != nil {
		return err
	}
	hash, err := s.hashNew(ctx, password)
	if err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		a, err := tx.LiveAccount(ctx, id)
		if err != nil {
			return err
		}
		if a.DeactivatedAt.IsZero() {
			return store.ErrActive
		}
		if err := s.setPassword(ctx, tx, id, hash, true); err != nil {
			return err
		}
		if err := s.setEmailIn(ctx, tx, a, email); err != nil {
			return err
		}
		if err := setHandle(ctx, tx, id, handle); err != nil {
			return err
		}
		if err := tx.SetDeactivated(ctx, id, a.DeactivatedAt, time.Time{}); err != nil {
			return err
		}
		return hook(tx)
	})
}

// hashNew returns the stored form of a password that is being set. The error is ErrInvalidPassword.
func (s *Service) hashNew(ctx context.Context, password string) (string, error) {
	if err := checkNewPassword(password); err != nil {
		return "", err
	}
	return s.hasher.hash(ctx, password)
}

// SetPassword gives the account another password and ends all its sessions, those of app passwords too; with revokeApps the app passwords and
// passkeys go as well, as they should when somebody else may have made some. The error is ErrInvalidPassword.
func (s *Service) SetPassword(ctx context.Context, id store.AccountID, password string, revokeApps bool) error {
	_, err := s.replacePassword(ctx, id, password, revokeApps, func(*store.Tx) error { return nil })
	return err
}

// ChangePassword is SetPassword for somebody who has shown the present password and goes on with the account, which it returns as it is with the new one. The error is
// ErrSessionRevoked when the password was changed or reset meanwhile.
func (s *Service) ChangePassword(ctx context.Context, login Login, password string, revokeApps bool) (*store.Account, error) {
	return s.replacePassword(ctx, login.Account.ID, password, revokeApps, func(tx *store.Tx) error { return stillSignedIn(ctx, tx, login.Account) })
}

// replacePassword stores a password if allow agrees, in the same transaction.
func (s *Service) replacePassword(ctx context.Context, id store.AccountID, password string, revokeApps bool, allow func(*store.Tx) error) (acct *store.Account, err error) {
	hash, err := s.hashNew(ctx, password)
	if err != nil {
		return nil, err
	}
	err = s.change(ctx, id, func(tx *store.Tx) error {
		if err := allow(tx); err != nil {
			return err
		}
		return s.setPassword(ctx, tx, id, hash, revokeApps)
	}, func(_ *store.Tx, changed *store.Account) error {
		acct = changed
		return nil
	})
	return acct, err
}

// stillSignedIn looks, in the transaction that makes something by which one gets in again, whether the account has yet the password that it had when the request was let in:
// what was asked for before a reset must not outlive it. The error is ErrSessionRevoked.
func stillSignedIn(ctx context.Context, tx *store.Tx, acct *store.Account) error {
	now, err := tx.LiveAccount(ctx, acct.ID)
	if err == nil && !sameHash(now.PasswordHash, acct.PasswordHash) {
		err = signedOut()
	}
	return err
}

func signedOut() error { return refuse(ErrSessionRevoked, "Signed out meanwhile") }

// setPassword is the transaction's part of SetPassword. Codes that are on their way go too: whoever waits for one may not be the owner.
func (s *Service) setPassword(ctx context.Context, tx *store.Tx, id store.AccountID, hash string, revokeApps bool) error {
	if err := tx.SetPasswordHash(ctx, id, hash); err != nil {
		return err
	}
	if revokeApps {
		if err := tx.DeleteAppPasswords(ctx, id); err != nil {
			return err
		}
		if _, err := tx.DeletePasskeys(ctx, id); err != nil {
			return err
		}
		if err := s.checkRole(ctx, tx, id); err != nil {
			return err
		}
	}
	if err := tx.DeleteEmailTokens(ctx, id); err != nil {
		return err
	}
	if err := endPendingTOTP(ctx, tx, id); err != nil {
		return err
	}
	if err := endSessions(ctx, tx, id); err != nil {
		return err
	}
	a, err := tx.AccountByID(ctx, id)
	if err != nil {
		return err
	}
	return s.changed(ctx, tx, a, PasswordChanged)
}

// endSessions signs the account out everywhere: its own sessions, and the apps that act for it.
func endSessions(ctx context.Context, tx *store.Tx, id store.AccountID) error {
	if err := tx.DeleteSessions(ctx, id); err != nil {
		return err
	}
	return tx.DeleteOAuth(ctx, id)
}

// ResetPassword gives a new password to the account whose code for that it is, and ends all its sessions, app passwords and passkeys. It
// returns the account. Errors: ErrInvalidPassword, ErrInvalidCode, ErrExpiredCode.
func (s *Service) ResetPassword(ctx context.Context, code, password string) (*store.Account, error) {
	if err := checkNewPassword(password); err != nil {
		return nil, err
	}
	id, err := s.codeOwner(ctx, ForResetPassword, code) // before the slow hash
	if err != nil {
		return nil, err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return nil, err
	}
	var acct *store.Account
	err = s.change(ctx, id, func(tx *store.Tx) error {
		if err := s.UseCode(ctx, tx, id, ForResetPassword, code); err != nil {
			return err
		}
		return s.setPassword(ctx, tx, id, hash, true)
	}, func(_ *store.Tx, changed *store.Account) error {
		acct = changed
		return nil
	})
	return acct, err
}

// Deactivate hides the account, to be deleted after the time given unless that is zero. Its sessions go on: its owner may come back, or move.
// For an account that is deactivated already only the time of its deletion changes, and hook is not run.
func (s *Service) Deactivate(ctx context.Context, id store.AccountID, deleteAfter time.Time, hook Hook) error {
	return s.store.Update(ctx, func(tx *store.Tx) error { return s.DeactivateIn(ctx, tx, id, deleteAfter, hook) })
}

// DeactivateIn is Deactivate as part of a transaction of the caller's.
func (s *Service) DeactivateIn(ctx context.Context, tx *store.Tx, id store.AccountID, deleteAfter time.Time, hook Hook) error {
	before, err := tx.LiveAccount(ctx, id)
	if err != nil {
		return err
	}
	if !before.DeactivatedAt.IsZero() {
		return tx.SetDeactivated(ctx, id, before.DeactivatedAt, deleteAfter)
	}
	return changeIn(ctx, tx, id, func(tx *store.Tx) error { return tx.SetDeactivated(ctx, id, s.now(), deleteAfter) }, hook)
}

// Activate ends a deactivation. A takedown or suspension stays.
func (s *Service) Activate(ctx context.Context, id store.AccountID, hook Hook) error {
	return s.store.Update(ctx, func(tx *store.Tx) error { return s.ActivateIn(ctx, tx, id, hook) })
}

// ActivateIn is Activate as part of a transaction of the caller's.
func (s *Service) ActivateIn(ctx context.Context, tx *store.Tx, id store.AccountID, hook Hook) error {
	return changeIn(ctx, tx, id, func(tx *store.Tx) error { return tx.SetDeactivated(ctx, id, time.Time{}, time.Time{}) }, hook)
}

// Takedown shuts the account out under the moderators' reference and ends its sessions; "" restores it.
func (s *Service) Takedown(ctx context.Context, id store.AccountID, ref string, hook Hook) error {
	return s.change(ctx, id, func(tx *store.Tx) error {
		if err := tx.SetTakedown(ctx, id, ref); err != nil || ref == "" {
			return err
		}
		return endSessions(ctx, tx, id)
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
		return endSessions(ctx, tx, id)
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
