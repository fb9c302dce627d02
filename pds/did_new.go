package pds

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/account"
	"perch/pds/store"
)

// plcCleanupTimeout bounds the tombstone of a DID whose account could not be stored, while the client waits. The job goes on with it.
const plcCleanupTimeout = 10 * time.Second

// jobGiveUpDID is the kind of jobs that give up a DID for which no account came to be. The job is stored before the DID is made, and goes in the transaction
// that stores the account.
const jobGiveUpDID = "give-up-did"

// newDID is the payload of a jobGiveUpDID, as JSON.
type newDID struct {
	DID     syntax.DID    `json:"did"`
	Genesis plc.Operation `json:"genesis"`
}

// makeAccount registers the DID and stores the account. When the directory's answer was lost, nobody knows whether there is a DID now; and the process may end
// between the two steps. Then the job finds out.
func (s *Server) makeAccount(ctx context.Context, res *account.Reservation, genesis plc.Operation) (account.Session, error) {
	did, err := plc.DIDOf(genesis)
	if err != nil {
		return account.Session{}, err
	}
	payload, err := json.Marshal(newDID{did, genesis})
	if err != nil {
		return account.Session{}, err
	}
	s.makingDIDs.Store(did, true)
	defer s.makingDIDs.Delete(did)
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		return tx.AddJob(ctx, jobGiveUpDID, string(payload), tx.Now().Add(store.JobDelay))
	})
	if err != nil {
		return account.Session{}, err
	}
	cancel := func(tx *store.Tx) error {
		return tx.CancelJob(context.WithoutCancel(ctx), jobGiveUpDID, string(payload))
	}
	// A client that goes now must not leave open whether the DID was made.
	if err := s.plc.Submit(context.WithoutCancel(ctx), did, genesis); err != nil {
		var refused *plc.Error
		if errors.As(err, &refused) && !errors.Is(err, plc.ErrUnavailable) {
			err = errors.Join(err, s.store.Update(context.WithoutCancel(ctx), cancel))
		}
		return account.Session{}, err
	}
	session, err := s.storeAccountWith(ctx, res, did, func(tx *store.Tx, id store.AccountID) error {
		if err := cancel(tx); err != nil {
			return err
		}
		return s.watchFrom(ctx, tx, id, genesis)
	})
	if err != nil {
		s.giveUpNow(newDID{did, genesis}, cancel)
	}
	return session, err
}

// giveUpNow spares a DID the wait for the job. The client may have gone by now.
func (s *Server) giveUpNow(d newDID, cancel func(*store.Tx) error) {
	ctx, end := context.WithTimeout(context.Background(), plcCleanupTimeout)
	defer end()
	err := s.buryDID(ctx, d)
	if err == nil {
		err = s.store.Update(ctx, cancel)
	}
	if err != nil {
		s.log.WarnContext(ctx, "a DID without an account is left for later", "did", d.DID, "err", err)
	}
}

// giveUpDID gives up a DID if no account came to be for it.
func (s *Server) giveUpDID(ctx context.Context, payload string) error {
	var d newDID
	if err := json.Unmarshal([]byte(payload), &d); err != nil {
		return err
	}
	if _, making := s.makingDIDs.Load(d.DID); making {
		return errors.New("the account is being made")
	}
	if _, err := s.store.AccountByDID(ctx, d.DID); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return s.buryDID(ctx, d)
}

// buryDID tombstones a DID that this server has made, if the directory has it, and nobody has changed it since: who has the recovery key may want to keep it.
func (s *Server) buryDID(ctx context.Context, d newDID) error {
	last, err := s.plc.Last(ctx, d.DID)
	if errors.Is(err, plc.ErrNotFound) || errors.Is(err, plc.ErrTombstoned) {
		return nil
	}
	if err != nil {
		return err
	}
	prev, err := d.Genesis.CID()
	if err != nil {
		return err
	}
	if now, err := last.CID(); err != nil || now != prev {
		return err
	}
	op, err := plc.Sign(plc.Tombstone(prev), s.rotationKey)
	if err != nil {
		return err
	}
	s.log.InfoContext(ctx, "give up a DID for which no account came to be", "did", d.DID)
	return s.plc.Submit(ctx, d.DID, op)
}
