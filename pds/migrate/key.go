package migrate

import (
	"context"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
)

// ConfirmWithKey signs the change of the DID with one of its rotation keys, which somebody has who needs no code for it.
func (m *Manager) ConfirmWithKey(ctx context.Context, did syntax.DID, rotationKey string) (*Status, error) {
	if m.goesOut(ctx, did) {
		return m.confirmOutWithKey(ctx, did, rotationKey)
	}
	return m.signed(ctx, did, true, func(ctx context.Context, mv *move, _ *host, want Recommended) (op plc.Operation, err error) {
		last, err := m.opts.Here.LastOperation(ctx, mv.DID)
		if err != nil {
			return op, err
		}
		key, _, err := plc.RotationKey(rotationKey, last.RotationKeys)
		if err != nil {
			return op, err
		}
		next, err := plc.Update(last, func(op *plc.Operation) {
			op.RotationKeys, op.AlsoKnownAs = want.RotationKeys, want.AlsoKnownAs
			op.VerificationMethods, op.Services = want.VerificationMethods, want.Services
		})
		if err != nil {
			return op, err
		}
		return plc.Sign(next, key)
	})
}

// announceKey notes of a move under way that a rotation key will sign, so that no code needs to be mailed.
func (m *Manager) announceKey(ctx context.Context, mv *move, rotationKey string) (*Status, error) {
	if rotationKey == "" || mv.State.Changed() || mv.State == StateAbandoning {
		return m.status(ctx, mv)
	}
	own, err := m.ownKey(ctx, mv.DID, rotationKey)
	if err != nil {
		return nil, err
	}
	return m.commandAlone(ctx, mv.DID, func(_ context.Context, mv *move) error {
		mv.OwnKey = own
		return nil
	})
}

// ownKey returns the did:key of a rotation key of the DID; "" of none, and of a DID that has none.
func (m *Manager) ownKey(ctx context.Context, did syntax.DID, rotationKey string) (string, error) {
	if rotationKey == "" || did.Method() != "plc" {
		return "", nil
	}
	last, err := m.opts.Here.LastOperation(ctx, did)
	if err != nil {
		return "", err
	}
	_, public, err := plc.RotationKey(rotationKey, last.RotationKeys)
	return public, err
}
