package pds

import (
	"context"
	"encoding/json"
	"errors"

	"perch/pds/account"
	"perch/pds/event"
	"perch/pds/store"
)

// tellStatus is the hook of every change of an account's status: it tells the network, in the same transaction. An account that is active gets a
// #sync too, so that who stopped following it is sure of its head.
func tellStatus(ctx context.Context) account.Hook {
	return func(tx *store.Tx, now *store.Account) error {
		if err := appendAccountEvent(tx, now); err != nil || !now.Active() {
			return err
		}
		return appendSyncEvent(ctx, tx, now)
	}
}

// tellActivation is tellStatus for an account whose owner comes back, or has just moved here: who it is comes second, as in the reference.
func tellActivation(ctx context.Context) account.Hook {
	return func(tx *store.Tx, now *store.Account) error {
		if err := appendAccountEvent(tx, now); err != nil || !now.Active() {
			return err
		}
		if err := appendIdentityEvent(tx, now); err != nil {
			return err
		}
		return appendSyncEvent(ctx, tx, now)
	}
}

func appendAccountEvent(tx *store.Tx, a *store.Account) error {
	e, err := event.NewAccount(a.DID, a.Active(), a.Status(), tx.Now())
	if err == nil {
		_, err = tx.AppendEvent(a.ID, e)
	}
	return err
}

func appendIdentityEvent(tx *store.Tx, a *store.Account) error {
	e, err := event.NewIdentity(a.DID, a.Handle, tx.Now())
	if err == nil {
		_, err = tx.AppendEvent(a.ID, e)
	}
	return err
}

func appendSyncEvent(ctx context.Context, tx *store.Tx, a *store.Account) error {
	head, _, err := tx.Head(ctx, a.ID)
	if err != nil {
		return err
	}
	e, err := event.NewSync(a.DID, head, tx.Now())
	if err == nil {
		_, err = tx.AppendEvent(a.ID, e)
	}
	return err
}

// jobDeleteAccount is the kind of jobs that delete what an ended account leaves behind.
const jobDeleteAccount = "delete-account"

type deleteAccountJob struct {
	Account store.AccountID `json:"account"`
}

// endAccount deletes an account: it is gone, and the network told, when this returns. Its repository and blobs go by a job, which a crash only delays.
func (s *Server) endAccount(ctx context.Context, acct *store.Account) error {
	err := s.accounts.Delete(ctx, acct.ID, bury(ctx))
	if errors.Is(err, store.ErrNotFound) { // somebody else was faster
		return accountNotFound(err)
	}
	if err == nil {
		s.wake(jobDeleteAccount)
		s.relay.Notify()
	}
	return err
}

// bury is the hook of every deletion: the event that tells of it, and the job that clears up. Of an account that has never been active here the network
// knows nothing, and it may be active elsewhere.
func bury(ctx context.Context) account.Hook {
	return func(tx *store.Tx, gone *store.Account) error {
		if gone.Announced() {
			if err := appendAccountEvent(tx, gone); err != nil {
				return err
			}
		}
		payload, err := json.Marshal(deleteAccountJob{Account: gone.ID})
		if err != nil {
			return err
		}
		return tx.AddJob(ctx, jobDeleteAccount, string(payload), tx.Now())
	}
}

// deleteAccountData removes repository, blobs, events and at last the row of a deleted account. It may run again after it was interrupted.
func (s *Server) deleteAccountData(ctx context.Context, payload string) error {
	var job deleteAccountJob
	if err := json.Unmarshal([]byte(payload), &job); err != nil {
		return err
	}
	acct, err := s.store.AccountByID(ctx, job.Account)
	if errors.Is(err, store.ErrNotFound) || err == nil && acct.DeletedAt.IsZero() {
		return nil
	}
	if err != nil {
		return err
	}
	unlock := s.store.LockBlobs(acct.ID)
	defer unlock()
	if err := s.store.DeleteRepo(ctx, acct.ID); err != nil {
		return err
	}
	s.firehose.Forget(acct.ID)
	if err := s.blobs.DeleteAll(acct.DID); err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx *store.Tx) error { return tx.RemoveAccount(ctx, acct.ID) })
}
