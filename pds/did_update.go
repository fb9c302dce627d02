package pds

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/xrpc"
)

// errNoRotation says that the server may not change a DID.
var errNoRotation = errors.New("the server's rotation key is not one of the DID's")

// updateDID changes a did:plc DID by an operation signed with the server's rotation key. What change does not touch stays as it is; when it
// touches nothing, no operation is made.
func (s *Server) updateDID(ctx context.Context, did syntax.DID, change func(*plc.Operation)) error {
	last, err := s.plc.Last(ctx, did)
	if err != nil {
		return err
	}
	rotation, err := s.rotationKey.PublicKey()
	if err != nil {
		return err
	}
	if !slices.Contains(last.RotationKeys, rotation.DIDKey()) {
		return errNoRotation
	}
	op, err := plc.Update(last, change)
	if err != nil {
		return err
	}
	if sameState(last, op) {
		return nil
	}
	if op, err = plc.Sign(op, s.rotationKey); err != nil {
		return err
	}
	if err := s.plc.Submit(ctx, did, op); err != nil {
		return err
	}
	s.identity.Purge(did.AtIdentifier())
	return nil
}

// sameState tells whether an operation would change nothing.
func sameState(last, next plc.Operation) bool {
	next.Prev, next.Sig = last.Prev, ""
	last.Sig = ""
	a, errA := last.UnsignedBytes()
	b, errB := next.UnsignedBytes()
	return errA == nil && errB == nil && string(a) == string(b)
}

// isPLC tells DIDs that the server can change from those whose documents their owners keep.
func isPLC(did syntax.DID) bool { return strings.HasPrefix(did.String(), "did:plc:") }

// notOurs is the refusal to change a DID document that only its owner can.
func notOurs(did syntax.DID, what string, cause error) error {
	return &xrpc.Error{
		Status: 400, Name: xrpc.NameInvalidRequest, Err: cause,
		Message: "This server cannot change the document of " + did.String() + ": " + what + " there first",
	}
}
