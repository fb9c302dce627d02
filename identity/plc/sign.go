package plc

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
)

// signatureLength is r and s, 32 bytes each.
const signatureLength = 64

// Signer makes low-S signatures of 64 bytes over the SHA-256 of content. Every
// atcrypto.PrivateKey is one.
type Signer interface {
	HashAndSign(content []byte) ([]byte, error)
}

// Sign returns op with its signature.
func Sign(op Operation, key Signer) (Operation, error) {
	op.Sig = ""
	b, err := op.UnsignedBytes()
	if err != nil {
		return Operation{}, err
	}
	sig, err := key.HashAndSign(b)
	if err != nil {
		return Operation{}, fmt.Errorf("sign PLC operation: %w", err)
	}
	signed := op.Clone()
	signed.Sig = base64.RawURLEncoding.EncodeToString(sig)
	return signed, nil
}

// Verify checks the signature of op against the did:key strings in didKeys, and
// returns the first one that made it. Only the canonical form passes: base64url
// without padding, line breaks or stray bits, 64 bytes, low S. Otherwise the
// error is ErrInvalidSignature.
func Verify(op Operation, didKeys []string) (signer string, err error) {
	sig, err := decodeSignature(op.Sig)
	if err != nil {
		return "", err
	}
	b, err := op.UnsignedBytes()
	if err != nil {
		return "", err
	}
	for _, didKey := range didKeys {
		key, err := atcrypto.ParsePublicDIDKey(didKey)
		if err != nil { // old logs hold keys of kinds that cannot sign
			continue
		}
		if key.HashAndVerify(b, sig) == nil {
			return didKey, nil
		}
	}
	return "", fmt.Errorf("%w: none of %d rotation keys made it", ErrInvalidSignature, len(didKeys))
}

func decodeSignature(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") { // the decoder would skip them
		return nil, fmt.Errorf("%w: line break", ErrInvalidSignature)
	}
	sig, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidSignature, err)
	}
	if len(sig) != signatureLength {
		return nil, fmt.Errorf("%w: %d bytes, not %d", ErrInvalidSignature, len(sig), signatureLength)
	}
	return sig, nil
}
