package migrate

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
)

// ConfirmWithKey signs the change of the DID with one of its rotation keys, which somebody has who needs no code for it.
func (m *Manager) ConfirmWithKey(ctx context.Context, did syntax.DID, rotationKey string) (*Status, error) {
	return m.signed(ctx, did, true, func(ctx context.Context, mv *move, _ *host, in map[string]any) (op plc.Operation, err error) {
		last, err := m.opts.Here.LastOperation(ctx, mv.DID)
		if err != nil {
			return op, err
		}
		key, _, err := fittingKey(last.RotationKeys, rotationKey)
		if err != nil {
			return op, err
		}
		next, err := plc.Update(last, func(op *plc.Operation) {
			op.RotationKeys, _ = in["rotationKeys"].([]string)
			op.AlsoKnownAs, _ = in["alsoKnownAs"].([]string)
			op.VerificationMethods, _ = in["verificationMethods"].(map[string]string)
			op.Services, _ = in["services"].(map[string]plc.Service)
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

// ownKey returns the did:key of a rotation key of the DID; "" of none.
func (m *Manager) ownKey(ctx context.Context, did syntax.DID, rotationKey string) (string, error) {
	if rotationKey == "" {
		return "", nil
	}
	if did.Method() != "plc" {
		return "", fmt.Errorf("%w: only a did:plc has rotation keys", ErrKey)
	}
	last, err := m.opts.Here.LastOperation(ctx, did)
	if err != nil {
		return "", err
	}
	_, public, err := fittingKey(last.RotationKeys, rotationKey)
	return public, err
}

// fittingKey reads a private key that belongs to one of the public ones: multibase, or hexadecimal, which does not say of which kind it is. No error repeats
// what was given.
func fittingKey(public []string, private string) (atcrypto.PrivateKey, string, error) {
	keys, err := parseKey(strings.TrimSpace(private))
	if err != nil {
		return nil, "", err
	}
	for _, key := range keys {
		if pub, err := key.PublicKey(); err == nil && slices.Contains(public, pub.DIDKey()) {
			return key, pub.DIDKey(), nil
		}
	}
	return nil, "", fmt.Errorf("%w: it is none of the DID's rotation keys", ErrKey)
}

const privateKeyLength = 32 // bytes, of both kinds

func parseKey(text string) (keys []atcrypto.PrivateKey, err error) {
	if raw, err := hex.DecodeString(text); err == nil && len(raw) == privateKeyLength {
		if k, err := atcrypto.ParsePrivateBytesK256(raw); err == nil {
			keys = append(keys, k)
		}
		if k, err := atcrypto.ParsePrivateBytesP256(raw); err == nil {
			keys = append(keys, k)
		}
	} else if k, err := atcrypto.ParsePrivateMultibase(text); err == nil {
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: write a private key of k256 or p256 as 64 hexadecimal digits or as multibase (z...)", ErrKey)
	}
	return keys, nil
}
