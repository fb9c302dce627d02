package plc

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
)

// ErrKey: the rotation key that was given cannot sign for the DID.
var ErrKey = errors.New("the rotation key does not fit")

var errNoKey = fmt.Errorf("%w: write a private key of k256 or p256 as 64 hexadecimal digits or as multibase (z...)", ErrKey)

// RotationKey reads a private key that belongs to one of the public ones, which are did:key strings, and returns it with its public one. It is written as
// multibase or as hexadecimal, which does not say of which kind it is. No error repeats what was given.
func RotationKey(private string, public []string) (key atcrypto.PrivateKey, didKey string, err error) {
	keys := parseKey(strings.TrimSpace(private))
	if len(keys) == 0 {
		return nil, "", errNoKey
	}
	for _, key := range keys {
		if pub, err := key.PublicKey(); err == nil && slices.Contains(public, pub.DIDKey()) {
			return key, pub.DIDKey(), nil
		}
	}
	return nil, "", fmt.Errorf("%w: it is none of the DID's rotation keys", ErrKey)
}

// parseKey returns what the text may mean.
func parseKey(text string) (keys []atcrypto.PrivateKey) {
	raw, err := hex.DecodeString(text)
	if err != nil {
		if k, err := atcrypto.ParsePrivateMultibase(text); err == nil {
			keys = append(keys, k)
		}
		return keys
	}
	if k, err := atcrypto.ParsePrivateBytesK256(raw); err == nil {
		keys = append(keys, k)
	}
	if k, err := atcrypto.ParsePrivateBytesP256(raw); err == nil {
		keys = append(keys, k)
	}
	return keys
}

// RotationKeyDIDs returns the did:keys of which a private key may be, one or two. The error is ErrKey.
func RotationKeyDIDs(private string) ([]string, error) {
	var dids []string
	for _, key := range parseKey(strings.TrimSpace(private)) {
		if pub, err := key.PublicKey(); err == nil {
			dids = append(dids, pub.DIDKey())
		}
	}
	if len(dids) == 0 {
		return nil, errNoKey
	}
	return dids, nil
}
