package migrate

import (
	"context"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
)

// ConfirmWithKey signs the change of the DID with one of its rotation keys, which somebody has who needs no code for it.
func (m *Manager) ConfirmWithKey(ctx context.Context, did syntax.DID, rotationKey string) (*Status, error) {
	return m.atCode(ctx, did, func(ctx context.Context, mv *move) error {
		if mv.Out {
			return m.confirmOutWithKey(ctx, mv, rotationKey)
		}
		return m.signed(ctx, mv, true, func(_ *host, want Recommended) (op plc.Operation, err error) {
			key, err := m.rotationKey(ctx, did, rotationKey)
			if err != nil {
				return op, err
			}
			next, err := plc.Update(key.last, func(op *plc.Operation) {
				op.RotationKeys, op.AlsoKnownAs = want.RotationKeys, want.AlsoKnownAs
				op.VerificationMethods, op.Services = want.VerificationMethods, want.Services
			})
			if err != nil {
				return op, err
			}
			return plc.Sign(next, key.private)
		})
	})
}

// rotationKey is a key that may change a DID, and the operation after which it may.
type rotationKey struct {
	private atcrypto.PrivateKey
	public  string // did:key
	last    plc.Operation
}

func (m *Manager) rotationKey(ctx context.Context, did syntax.DID, private string) (key rotationKey, err error) {
	if key.last, err = m.opts.Here.LastOperation(ctx, did); err == nil {
		key.private, key.public, err = plc.RotationKey(private, key.last.RotationKeys)
	}
	return key, err
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
	key, err := m.rotationKey(ctx, did, rotationKey)
	return key.public, err
}
