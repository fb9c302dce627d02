package pds

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/auth"
	"perch/pds/store"
	"perch/xrpc"
)

type updateHandleInput struct {
	Handle string `json:"handle"`
}

func (s *Server) updateHandle(ctx context.Context, in *updateHandleInput) (*struct{}, error) {
	return &struct{}{}, s.changeHandle(ctx, auth.From(ctx).Account, in.Handle, false)
}

// jobFinishHandle is the kind of jobs that see to it that the database follows when a DID names another handle already.
const jobFinishHandle = "finish-handle"

// handleJob is the payload of a jobFinishHandle, as JSON.
type handleJob struct {
	Account store.AccountID `json:"account"`
	DID     syntax.DID      `json:"did"`
	Handle  syntax.Handle   `json:"handle"`
}

// changeHandle gives an account another handle: first everything is checked and the name held against others, then the DID is changed, then the
// database with the event. Should the process end in between, a job compares the two later. byOperator permits reserved names.
//
// A did:web must name the handle already. An account that is still on its way here, or has left, has a DID that names another server: it may choose the
// name that it will have here, and nobody is told.
func (s *Server) changeHandle(ctx context.Context, acct *store.Account, raw string, byOperator bool) error {
	handle, release, err := s.accounts.HoldHandle(ctx, acct, raw, byOperator)
	if err != nil {
		return err
	}
	defer release()
	here, named, err := s.livesHere(ctx, acct, handle)
	switch {
	case err != nil:
		return err
	case !here && acct.Active():
		return xrpc.InvalidRequest("The DID document of %s does not name this server, so the handle cannot be changed here", acct.DID)
	case !here:
		return s.accounts.SetHandle(ctx, acct.ID, handle, nil)
	case !isPLC(acct.DID) && !named:
		kept, err := s.keepsDocument(ctx, acct.DID)
		if err == nil && !kept {
			err = notOurs(acct.DID, "put at://"+handle.String(), nil)
		}
		if err != nil {
			return err
		}
		return s.storeHandle(ctx, acct, handle, "") // the document says what the database says
	case named:
		return s.storeHandle(ctx, acct, handle, "")
	}
	return s.changeHandleOfPLC(ctx, acct, handle)
}

// livesHere tells whether the account's DID, as it is now, names this server, and whether it names the handle.
func (s *Server) livesHere(ctx context.Context, acct *store.Account, handle syntax.Handle) (here, named bool, err error) {
	if isPLC(acct.DID) {
		op, err := s.plc.Last(ctx, acct.DID)
		if err != nil {
			return false, false, err
		}
		alias := slices.Index(op.AlsoKnownAs, "at://"+handle.String())
		return op.Services[plc.PDSServiceName].Endpoint == s.cfg.PublicURL(), alias == 0, nil
	}
	doc, err := s.identity.Refresh(ctx, acct.DID)
	if err != nil {
		return false, false, identityError(err, acct.DID.AtIdentifier())
	}
	endpoint, _ := doc.PDSEndpoint()
	claimed, _ := doc.Handle()
	return endpoint == s.cfg.PublicURL(), claimed == handle, nil
}

// changeHandleOfPLC changes the DID and then the database.
func (s *Server) changeHandleOfPLC(ctx context.Context, acct *store.Account, handle syntax.Handle) error {
	payload, err := json.Marshal(handleJob{Account: acct.ID, DID: acct.DID, Handle: handle})
	if err != nil {
		return err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		return tx.AddJob(ctx, jobFinishHandle, string(payload), tx.Now().Add(store.JobDelay))
	})
	if err != nil {
		return err
	}
	// From here on the DID and the database belong together, whether or not the client waits.
	ctx = context.WithoutCancel(ctx)
	err = s.updateDID(ctx, acct.DID, func(op *plc.Operation) { op.SetHandle(handle) })
	if err != nil && !errors.Is(err, plc.ErrUnavailable) { // else nobody knows yet, and the job finds out
		err = errors.Join(err, s.store.Update(ctx, func(tx *store.Tx) error { return tx.CancelJob(ctx, jobFinishHandle, string(payload)) }))
	}
	if errors.Is(err, errNoRotation) {
		return notOurs(acct.DID, "put at://"+handle.String(), err)
	}
	if err != nil {
		return err
	}
	return s.storeHandle(ctx, acct, handle, string(payload))
}

// storeHandle stores the handle that the DID names, with the event. A job that waited for that is removed.
func (s *Server) storeHandle(ctx context.Context, acct *store.Account, handle syntax.Handle, job string) error {
	err := s.accounts.SetHandle(ctx, acct.ID, handle, func(tx *store.Tx, a *store.Account) error {
		if job != "" {
			if err := tx.CancelJob(ctx, jobFinishHandle, job); err != nil {
				return err
			}
		}
		return appendIdentityEvent(tx, a)
	})
	if err != nil {
		return err
	}
	s.identity.Purge(acct.DID.AtIdentifier())
	s.identity.Purge(handle.AtIdentifier())
	s.relay.Notify()
	return nil
}

// finishHandle makes the database follow a DID whose handle was changed, if it was and the name is still free; else the DID follows the database.
func (s *Server) finishHandle(ctx context.Context, payload string) error {
	var job handleJob
	if err := json.Unmarshal([]byte(payload), &job); err != nil {
		return err
	}
	acct, err := s.store.AccountByID(ctx, job.Account)
	if errors.Is(err, store.ErrNotFound) || err == nil && (!acct.DeletedAt.IsZero() || acct.Handle == job.Handle) {
		return nil
	}
	if err != nil {
		return err
	}
	release, err := s.accounts.HoldChange(acct)
	if err != nil {
		return err
	}
	defer release()
	here, named, err := s.livesHere(ctx, acct, job.Handle)
	if err != nil || !here || !named {
		return err
	}
	err = s.storeHandle(ctx, acct, job.Handle, "")
	if !errors.Is(err, store.ErrHandleTaken) {
		return err
	}
	// Somebody came by the name before the job did. The DID must not claim it.
	s.log.WarnContext(ctx, "a handle that a DID names is another account's by now; the DID gets the one before back", "did", acct.DID, "handle", job.Handle)
	return s.updateDID(ctx, acct.DID, func(op *plc.Operation) { op.SetHandle(acct.Handle) })
}
