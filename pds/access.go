package pds

import (
	"context"
	"errors"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/auth"
	"perch/pds/store"
	"perch/xrpc"
)

// localAccount finds the account of this server that a handle or DID names, in whatever state it is, or store.ErrNotFound.
func (s *Server) localAccount(ctx context.Context, id syntax.AtIdentifier) (*store.Account, error) {
	if did, err := id.AsDID(); err == nil {
		return s.store.AccountByDID(ctx, did)
	}
	handle, err := id.AsHandle()
	if err != nil {
		return nil, xrpc.InvalidRequest("repo must be a handle or a DID")
	}
	return s.store.AccountByHandle(ctx, handle.Normalize())
}

// readableRepo finds the account whose public records a request wants. Nothing of an inactive account is served.
func (s *Server) readableRepo(ctx context.Context, id syntax.AtIdentifier) (*store.Account, error) {
	acct, err := s.localAccount(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, &xrpc.Error{Status: 400, Name: "RepoNotFound", Message: "Could not find repo: " + id.String(), Err: err}
	}
	if err != nil {
		return nil, err
	}
	return acct, repoStatusError(acct)
}

// syncRepo finds the account of a sync method. Its owner and the administrator may read it in any state, so that it can move away.
func (s *Server) syncRepo(ctx context.Context, did syntax.DID) (*store.Account, error) {
	acct, err := s.store.AccountByDID(ctx, did)
	if errors.Is(err, store.ErrNotFound) {
		return nil, repoNotFound(did, err)
	}
	if err != nil {
		return nil, err
	}
	if auth.From(ctx).MaySee(acct.DID) && acct.DeletedAt.IsZero() {
		return acct, nil
	}
	return acct, repoStatusError(acct)
}

func repoNotFound(did syntax.DID, err error) error {
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return &xrpc.Error{Status: 400, Name: "RepoNotFound", Message: "Could not find repo for DID: " + did.String(), Err: err}
}

// repoStatusError is why the repository of an account is not served, nil when it is.
func repoStatusError(acct *store.Account) error {
	switch acct.Status() {
	case "":
		return nil
	case store.StatusTakendown:
		return xrpc.NewError(400, "RepoTakendown", "Repo has been takendown: %s", acct.DID)
	case store.StatusSuspended:
		return xrpc.NewError(400, "RepoSuspended", "Repo has been suspended: %s", acct.DID)
	case store.StatusDeactivated:
		return xrpc.NewError(400, "RepoDeactivated", "Repo has been deactivated: %s", acct.DID)
	}
	return xrpc.NewError(400, "RepoNotFound", "Could not find repo for DID: %s", acct.DID)
}

// inactiveForWriter is why an account may not write just now, nil when it may.
func inactiveForWriter(acct *store.Account) error {
	switch acct.Status() {
	case "":
		return nil
	case store.StatusDeactivated:
		return auth.ErrAccountDeactivated
	}
	return auth.ErrAccountTakedown
}
