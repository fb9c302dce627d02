package pds

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/store"
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
	op, err := s.signUpdate(last, change)
	if err != nil || op.Sig == last.Sig {
		return err
	}
	return s.submitPLC(ctx, did, op)
}

// signUpdate makes the operation that follows last, or returns last itself when change touches nothing.
func (s *Server) signUpdate(last plc.Operation, change func(*plc.Operation)) (plc.Operation, error) {
	rotation, err := s.rotationKeyDID()
	if err != nil {
		return plc.Operation{}, err
	}
	if !slices.Contains(last.RotationKeys, rotation) && last.Type != plc.TypeTombstone {
		return plc.Operation{}, errNoRotation
	}
	op, err := plc.Update(last, change)
	if err != nil {
		return plc.Operation{}, err
	}
	if sameState(last, op) {
		return last, nil
	}
	return plc.Sign(op, s.rotationKey)
}

// submitPLC sends an operation to the directory. It is noted as this server's first, with what else belongs to the note, so that the watcher knows it
// whatever happens next.
func (s *Server) submitPLC(ctx context.Context, did syntax.DID, op plc.Operation, with ...func(*store.Tx) error) error {
	c, err := op.CID()
	if err != nil {
		return err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		for _, fn := range with {
			if err := fn(tx); err != nil {
				return err
			}
		}
		return tx.NotePLCOperation(ctx, did, c.String(), true)
	})
	if err != nil {
		return err
	}
	err = s.plc.Submit(ctx, did, op)
	s.identity.Purge(did.AtIdentifier())
	return err
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
