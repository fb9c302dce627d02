package account

import (
	"context"
	"errors"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/store"
)

// Delete ends the account: handle, e-mail, password, sessions, app passwords, codes and preferences are gone when it returns. Repository and blobs
// are the hook's to delete or to schedule. The error is store.ErrDeleted for an account that is deleted already.
func (s *Service) Delete(ctx context.Context, id store.AccountID, hook Hook) error {
	return s.delete(ctx, id, func(*store.Tx, *store.Account) error { return nil }, hook)
}

// DeleteWithCode is Delete for an owner who has entered the code from the mail. Errors: ErrInvalidCode, ErrExpiredCode.
func (s *Service) DeleteWithCode(ctx context.Context, id store.AccountID, code string, hook Hook) error {
	return s.delete(ctx, id, func(tx *store.Tx, _ *store.Account) error { return s.UseCode(ctx, tx, id, ForDeleteAccount, code) }, hook)
}

// errStays says that an account has no reason to be deleted.
var errStays = errors.New("account is not to be deleted")

// postponement is how long an account whose time is over is let be when there is a reason not to delete it yet.
const postponement = 24 * time.Hour

// DeleteExpired deletes the accounts that are deactivated and asked to be deleted by now, and returns how many they were. Those of which stays says
// true are asked about again after a day.
func (s *Service) DeleteExpired(ctx context.Context, stays func(*store.Account) bool, hook Hook) (deleted int, err error) {
	const batch = 100
	for {
		now := s.now()
		ids, err := s.store.ExpiredDeactivations(ctx, now, batch)
		if err != nil {
			return deleted, err
		}
		done := 0
		for _, id := range ids {
			gone, err := s.deleteOrPostpone(ctx, id, now, stays, hook)
			if errors.Is(err, errStays) || errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return deleted, err
			}
			if done++; gone {
				deleted++
			}
		}
		if len(ids) < batch || done == 0 {
			return deleted, nil
		}
	}
}

func (s *Service) deleteOrPostpone(ctx context.Context, id store.AccountID, now time.Time, stays func(*store.Account) bool, hook Hook) (gone bool, err error) {
	a, err := s.store.AccountByID(ctx, id)
	if err != nil {
		return false, err
	}
	if !stays(a) {
		return true, s.delete(ctx, id, func(_ *store.Tx, a *store.Account) error { return stillExpired(a, now) }, hook)
	}
	return false, s.store.Update(ctx, func(tx *store.Tx) error {
		a, err := tx.AccountByID(ctx, id)
		if err == nil {
			err = stillExpired(a, now)
		}
		if err != nil {
			return err
		}
		return tx.SetDeactivated(ctx, id, a.DeactivatedAt, now.Add(postponement))
	})
}

// stillExpired looks again in the transaction: the owner may have come back meanwhile.
func stillExpired(a *store.Account, now time.Time) error {
	if a.DeactivatedAt.IsZero() || a.DeleteAfter.IsZero() || a.DeleteAfter.After(now) {
		return errStays
	}
	return nil
}

func (s *Service) delete(ctx context.Context, id store.AccountID, allow func(*store.Tx, *store.Account) error, hook Hook) error {
	return s.change(ctx, id, func(tx *store.Tx) error {
		a, err := tx.LiveAccount(ctx, id)
		if err == nil {
			err = allow(tx, a)
		}
		if err != nil {
			return err
		}
		if err := tx.DeleteSecret(ctx, nextKeyName(a.DID)); err != nil {
			return err
		}
		return tx.MarkDeleted(ctx, id, s.now())
	}, hook)
}

// CheckPassword returns the account of a DID if the main password is right; an app password is not. Wrong password and unknown account are the same
// ErrBadCredentials, after FailureDelay at least. The account may be deactivated, suspended or taken down.
func (s *Service) CheckPassword(ctx context.Context, did syntax.DID, password string) (*store.Account, error) {
	return slowly(ctx, s.opts.FailureDelay, func() (*store.Account, error) {
		if len(password) > MaxOldPassword || password == "" {
			return nil, ErrBadCredentials
		}
		acct, err := s.store.AccountByDID(ctx, did)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		if err != nil || !acct.DeletedAt.IsZero() {
			acct = nil
		}
		login, err := s.guess(ctx, acct, password, func() (Login, error) { return s.mainPasswordLogin(ctx, acct, password) })
		return login.Account, err
	})
}
