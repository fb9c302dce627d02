package account

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/store"
)

const (
	maxCachedKeys   = 4096
	maxReservedKeys = 1000
)

// keyCache holds parsed signing keys. It is bounded; a key that is dropped is opened again. The zero value is ready for use.
type keyCache struct {
	mu   sync.RWMutex
	keys map[string]atcrypto.PrivateKeyExportable // guarded by mu; by the did:key of the public half
}

// SigningKey returns the key that signs the account's commits and service tokens. It is opened and parsed once and then kept.
// The error is ErrKey when it does not open or does not fit the account.
func (s *Service) SigningKey(a *store.Account) (atcrypto.PrivateKeyExportable, error) {
	// Not by account alone: a cached key must never outlive its replacement.
	id := string(a.DID) + " " + a.SigningKeyDID
	s.keys.mu.RLock()
	key := s.keys.keys[id]
	s.keys.mu.RUnlock()
	if key != nil {
		return key, nil
	}
	key, err := s.openKey(a)
	if err != nil {
		return nil, fmt.Errorf("signing key of %s: %w: %w", a.DID, ErrKey, err)
	}
	s.keys.put(id, key)
	return key, nil
}

func (s *Service) openKey(a *store.Account) (atcrypto.PrivateKeyExportable, error) {
	text, err := s.opts.Seal.Open(keyName(a.DID), a.SigningKey)
	if err != nil {
		return nil, err
	}
	key, err := atcrypto.ParsePrivateMultibase(string(text))
	if err != nil {
		return nil, err
	}
	pub, err := key.PublicKey()
	if err != nil {
		return nil, err
	}
	if pub.DIDKey() != a.SigningKeyDID {
		return nil, fmt.Errorf("public half is %s, the account has %s", pub.DIDKey(), a.SigningKeyDID)
	}
	return key, nil
}

// SealSigningKey returns the sealed form of an account's signing key and the did:key of its public half, as the account row holds them.
func (s *Service) SealSigningKey(did syntax.DID, key atcrypto.PrivateKeyExportable) (sealed []byte, public string, err error) {
	pub, err := key.PublicKey()
	if err != nil {
		return nil, "", err
	}
	return s.opts.Seal.Seal(keyName(did), []byte(key.Multibase())), pub.DIDKey(), nil
}

// FindKey returns the private key of a did:key that this server has made for the account: reserved, in use, or kept with KeepKey. The error
// is ErrUnknownKey when there is none.
func (s *Service) FindKey(ctx context.Context, a *store.Account, public string) (atcrypto.PrivateKeyExportable, error) {
	if public == a.SigningKeyDID {
		return s.SigningKey(a)
	}
	if key := s.takeReserved(a.DID, public); key != nil {
		return key, nil
	}
	sealed, err := s.store.Secret(ctx, nextKeyName(a.DID))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if err == nil {
		kept := &store.Account{DID: a.DID, SigningKey: sealed, SigningKeyDID: public}
		if key, err := s.openKey(kept); err == nil {
			return key, nil
		}
	}
	return nil, refuse(ErrUnknownKey, "This server has no private key for %s: reserve one with com.atproto.server.reserveSigningKey", public)
}

// KeepKey stores the key that is to be the account's next one, so that it survives a crash between its entry in the DID document and SetSigningKey.
func (s *Service) KeepKey(ctx context.Context, did syntax.DID, key atcrypto.PrivateKeyExportable) error {
	sealed, _, err := s.SealSigningKey(did, key)
	if err != nil {
		return err
	}
	return s.store.SetSecret(ctx, nextKeyName(did), sealed)
}

// SetSigningKey makes a key the account's, inside the transaction in which the head is signed with it, and forgets what KeepKey stored.
func (s *Service) SetSigningKey(ctx context.Context, tx *store.Tx, a *store.Account, key atcrypto.PrivateKeyExportable) error {
	sealed, public, err := s.SealSigningKey(a.DID, key)
	if err != nil {
		return err
	}
	if err := tx.SetSigningKey(ctx, a.ID, sealed, public); err != nil {
		return err
	}
	return tx.DeleteSecret(ctx, nextKeyName(a.DID))
}

func nextKeyName(did syntax.DID) string { return "next signing key of " + string(did) }

func keyName(did syntax.DID) string { return "signing key " + string(did) }

func (c *keyCache) put(id string, key atcrypto.PrivateKeyExportable) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys == nil {
		c.keys = make(map[string]atcrypto.PrivateKeyExportable)
	}
	for other := range c.keys {
		if len(c.keys) < maxCachedKeys {
			break
		}
		delete(c.keys, other)
	}
	c.keys[id] = key
}

// reservedKeys are signing keys made for accounts that are yet to come and have no DID. They are kept in memory only and are bounded,
// because anybody may ask for them.
type reservedKeys struct {
	mu    sync.Mutex
	order []string                                 // guarded by mu; oldest first
	keys  map[string]atcrypto.PrivateKeyExportable // guarded by mu; by did:key
}

// ReserveSigningKey returns the public half, as did:key, of the key that an account will have when it comes to this server. For a DID it is
// always the same one, derived from the master key, so that strangers who ask cost no storage; without a DID it is a new one, kept in
// memory while it is among the last thousand.
func (s *Service) ReserveSigningKey(did syntax.DID) (string, error) {
	key, err := s.newOrDerivedKey(did)
	if err != nil {
		return "", err
	}
	pub, err := key.PublicKey()
	if err != nil {
		return "", err
	}
	if did == "" {
		s.reserved.put(pub.DIDKey(), key)
	}
	return pub.DIDKey(), nil
}

func (s *Service) newOrDerivedKey(did syntax.DID) (atcrypto.PrivateKeyExportable, error) {
	if did == "" {
		return atcrypto.GeneratePrivateKeyK256()
	}
	secret := s.opts.Seal.Derive("reserved signing keys")
	for i := 0; ; i++ { // one in 2^128 seeds is no scalar of the curve
		seed, err := hkdf.Key(sha256.New, secret, nil, fmt.Sprintf("%s %d", did, i), 32)
		if err != nil {
			return nil, err
		}
		if key, err := atcrypto.ParsePrivateBytesK256(seed); err == nil || i == 8 {
			return key, err
		}
	}
}

// takeReserved returns the reserved key with the public half given, or nil.
func (s *Service) takeReserved(did syntax.DID, public string) atcrypto.PrivateKeyExportable {
	if key := s.reserved.take(public); key != nil || did == "" {
		return key
	}
	key, err := s.newOrDerivedKey(did)
	if err != nil {
		return nil
	}
	if pub, err := key.PublicKey(); err != nil || pub.DIDKey() != public {
		return nil
	}
	return key
}

func (r *reservedKeys) put(public string, key atcrypto.PrivateKeyExportable) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys == nil {
		r.keys = make(map[string]atcrypto.PrivateKeyExportable)
	}
	if len(r.order) >= maxReservedKeys {
		delete(r.keys, r.order[0])
		r.order = r.order[1:]
	}
	r.keys[public] = key
	r.order = append(r.order, public)
}

func (r *reservedKeys) take(public string) atcrypto.PrivateKeyExportable {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keys[public] // stays until it is pushed out, in case the sign-up fails and is tried again
}
