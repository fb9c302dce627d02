// Package oauthtest is an OAuth client for tests: one that does what it is told, also wrongly.
package oauthtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// JSON is a JSON object.
type JSON map[string]any

// Key is a key on P-256.
type Key struct {
	Private *ecdsa.PrivateKey
	ID      string // kid
}

// NewKey makes a key.
func NewKey(id string) *Key {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return &Key{key, id}
}

var b64 = base64.RawURLEncoding

// JWK is the public key.
func (k *Key) JWK() JSON {
	pub, err := k.Private.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	out := JSON{"kty": "EC", "crv": "P-256", "x": b64.EncodeToString(pub[1:33]), "y": b64.EncodeToString(pub[33:])}
	if k.ID != "" {
		out["kid"], out["use"], out["alg"] = k.ID, "sig", "ES256"
	}
	return out
}

// Thumbprint is the key's, as RFC 7638 has it.
func (k *Key) Thumbprint() string {
	j := k.JWK()
	return Hash(fmt.Sprintf(`{"crv":"P-256","kty":"EC","x":%q,"y":%q}`, j["x"], j["y"]))
}

// Sign makes a JWT.
func (k *Key) Sign(header, claims JSON) string { return k.SignText(text(header), text(claims)) }

// SignText is Sign for JSON that no encoder would write.
func (k *Key) SignText(header, claims string) string {
	input := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(claims))
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, k.Private, sum[:])
	if err != nil {
		panic(err)
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return input + "." + b64.EncodeToString(sig)
}

func text(v JSON) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// Hash is SHA-256 in base64url: of a code verifier, of an access token.
func Hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return b64.EncodeToString(sum[:])
}

// Random is a text that nobody has had before.
func Random() string {
	b := make([]byte, 33)
	rand.Read(b)
	return b64.EncodeToString(b)
}
