package pds

import (
	"context"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/account"
	"perch/pds/auth"
	"perch/xrpc"
)

// movingTime is how long an account that moves here may take before it counts as given up and is deleted. The reference notes three days and never acts
// on them.
const movingTime = 30 * 24 * time.Hour

// createMovingAccount makes the account of somebody who brings a DID, and has shown with a service token, signed by the DID's key, that it is theirs. It is
// deactivated: repository, blobs and preferences are brought next, then the DID is changed, and then the account is activated. Until then the network is told
// nothing.
func (s *Server) createMovingAccount(ctx context.Context, in *createAccountInput) (*createAccountOutput, error) {
	if p := auth.From(ctx); p.Kind != auth.Service || p.DID != in.DID {
		return nil, xrpc.AuthRequired(xrpc.NameAuthRequired, "Missing auth to create account with did: "+in.DID.String())
	}
	if in.RecoveryKey != "" {
		return nil, xrpc.InvalidRequest("recoveryKey is for new accounts; put it into the PLC operation that moves the account")
	}
	if err := s.checkMovingDID(ctx, in.DID); err != nil {
		return nil, err
	}
	// The key that reserveSigningKey names for the DID, so that a document or an operation that was made with it beforehand is right.
	key, err := s.accounts.ReserveSigningKey(in.DID)
	if err != nil {
		return nil, err
	}
	res, err := s.accounts.Reserve(ctx, account.NewAccount{
		Handle: in.Handle, Email: in.Email, Password: in.Password, InviteCode: in.InviteCode,
		DID: in.DID, SigningKey: key, Deactivated: true, DeleteAfter: time.Now().Add(movingTime),
	})
	if err != nil {
		return nil, err
	}
	defer res.Release()
	session, err := s.storeAccount(ctx, res, in.DID)
	if err != nil {
		return nil, err
	}
	return s.createdAccount(ctx, session)
}

// checkMovingDID sees that the DID is one that an account can have here: of a kind that is known, and with a document in which there is somebody.
func (s *Server) checkMovingDID(ctx context.Context, did syntax.DID) error {
	if method := did.Method(); method != "plc" && method != "web" {
		return xrpc.NewError(400, "IncompatibleDidDoc", "Accounts here have a did:plc or did:web, not a did:%s", method)
	}
	doc, err := s.identity.Refresh(ctx, did)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return &xrpc.Error{Status: 400, Name: "UnresolvableDid", Message: "Could not resolve " + did.String(), Err: err}
	}
	if _, err := doc.SigningKey(); err != nil {
		return &xrpc.Error{Status: 400, Name: "IncompatibleDidDoc", Message: "The DID document has no key for repositories (#atproto)", Err: err}
	}
	return nil
}
