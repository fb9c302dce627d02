// Package passkeytest is an authenticator for tests, which can also be one that lies.
package passkeytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"slices"

	"github.com/fxamacker/cbor/v2"
)

// Flags of an authenticator's answers.
const (
	Present    = 0x01
	Verified   = 0x04
	Eligible   = 0x08
	BackedUp   = 0x10
	attested   = 0x40
	Extensions = 0x80
)

// Authenticator holds passkeys, and the browser that asks for them.
type Authenticator struct {
	Party, Origin string
	Flags         byte
	Type          string // in place of the right one
	CrossOrigin   bool
	Trailing      []byte // put behind the authenticator data
	Keys          []*Key // the newest last
}

// New returns one that tells the truth.
func New(party, origin string) *Authenticator {
	return &Authenticator{Party: party, Origin: origin, Flags: Present | Verified}
}

// Key is a passkey.
type Key struct {
	ID, User  []byte
	Count     uint32
	Algorithm int
	signer    crypto.Signer
}

// NewKey makes a key that signs with an algorithm of COSE.
func NewKey(algorithm int) *Key {
	k := &Key{ID: make([]byte, 32), Algorithm: algorithm}
	rand.Read(k.ID)
	var err error
	switch algorithm {
	case -8:
		_, k.signer, err = ed25519.GenerateKey(rand.Reader)
	case -257:
		k.signer, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		k.signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		panic(err)
	}
	return k
}

// COSE is the public key as authenticators write it.
func (k *Key) COSE() []byte {
	m := map[int]any{3: k.Algorithm}
	switch pub := k.signer.Public().(type) {
	case ed25519.PublicKey:
		m[1], m[-1], m[-2] = 1, 6, []byte(pub)
	case *rsa.PublicKey:
		m[1], m[-1], m[-2] = 3, pub.N.Bytes(), []byte{1, 0, 1}
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		if err != nil {
			panic(err)
		}
		m[1], m[-1], m[-2], m[-3] = 2, 1, point[1:33], point[33:]
	}
	return encode(m)
}

func (k *Key) sign(message []byte) []byte {
	hash, opts := message, crypto.SignerOpts(crypto.Hash(0))
	if k.Algorithm != -8 {
		sum := sha256.Sum256(message)
		hash, opts = sum[:], crypto.SHA256
	}
	sig, err := k.signer.Sign(rand.Reader, hash, opts)
	if err != nil {
		panic(err)
	}
	return sig
}

// Create makes a passkey for a challenge and a user handle, both in base64url as pages have them, and returns the answer as JSON.
func (a *Authenticator) Create(challenge, user string, key *Key) string {
	key.User, _ = base64.RawURLEncoding.DecodeString(user)
	a.Keys = append(a.Keys, key)
	credential := slices.Concat(make([]byte, 16), binary.BigEndian.AppendUint16(nil, uint16(len(key.ID))), key.ID, key.COSE())
	object := encode(map[string]any{"fmt": "none", "attStmt": map[string]any{}, "authData": a.data(key, attested, credential)})
	return a.answer(key, map[string]any{
		"clientDataJSON": text(a.client("webauthn.create", challenge)), "attestationObject": text(object), "transports": []string{"internal", "invented"},
	})
}

// Get answers a challenge with a passkey, as JSON. Each answer counts one more.
func (a *Authenticator) Get(challenge string, key *Key) string {
	key.Count++
	data, client := a.data(key, 0, nil), a.client("webauthn.get", challenge)
	hash := sha256.Sum256(client)
	return a.answer(key, map[string]any{
		"clientDataJSON": text(client), "authenticatorData": text(data), "signature": text(key.sign(slices.Concat(data, hash[:]))), "userHandle": text(key.User),
	})
}

func (a *Authenticator) data(key *Key, flags byte, credential []byte) []byte {
	party := sha256.Sum256([]byte(a.Party))
	return slices.Concat(party[:], []byte{a.Flags | flags}, binary.BigEndian.AppendUint32(nil, key.Count), credential, a.Trailing)
}

func (a *Authenticator) client(kind, challenge string) []byte {
	if a.Type != "" {
		kind = a.Type
	}
	b, err := json.Marshal(map[string]any{"type": kind, "challenge": challenge, "origin": a.Origin, "crossOrigin": a.CrossOrigin})
	if err != nil {
		panic(err)
	}
	return b
}

func (a *Authenticator) answer(key *Key, response map[string]any) string {
	b, err := json.Marshal(map[string]any{"id": text(key.ID), "rawId": text(key.ID), "type": "public-key", "response": response})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func text(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func encode(v any) []byte {
	b, err := cbor.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
