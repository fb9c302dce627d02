package passkey

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"math/big"
	"slices"

	"github.com/fxamacker/cbor/v2"
)

// Algorithms of COSE, in the order in which they are asked for. RS256 is what some Windows machines have.
const (
	ES256 = -7
	EdDSA = -8
	RS256 = -257
)

// Algorithms are those that are taken.
func Algorithms() []int { return []int{ES256, EdDSA, RS256} }

const (
	minRSABits, maxRSABits = 2048, 4096
	rsaExponent            = 65537
	coordinateBytes        = 32
)

// publicKey verifies signatures.
type publicKey interface {
	verify(message, signature []byte) bool
}

// coseKey is a COSE_Key. What its last three numbers hold depends on the type of the key.
type coseKey struct {
	Type      int             `cbor:"1,keyasint"`
	Algorithm int             `cbor:"3,keyasint"`
	Minus1    cbor.RawMessage `cbor:"-1,keyasint"`
	Minus2    cbor.RawMessage `cbor:"-2,keyasint"`
	Minus3    cbor.RawMessage `cbor:"-3,keyasint"`
}

func parseKey(b []byte) (publicKey, error) {
	var k coseKey
	if err := decoder.Unmarshal(b, &k); err != nil {
		return nil, refuse("public key: %v", err)
	}
	var key publicKey
	switch {
	case k.Type == 2 && k.Algorithm == ES256:
		key = k.ecdsa()
	case k.Type == 1 && k.Algorithm == EdDSA:
		key = k.ed25519()
	case k.Type == 3 && k.Algorithm == RS256:
		key = k.rsa()
	default:
		return nil, refuse("public key of type %d for algorithm %d", k.Type, k.Algorithm)
	}
	if key == nil {
		return nil, refuse("the public key is none of its type")
	}
	return key, nil
}

func number(raw cbor.RawMessage) (n int) {
	if decoder.Unmarshal(raw, &n) != nil {
		return 0
	}
	return n
}

func octets(raw cbor.RawMessage) (b []byte) {
	if decoder.Unmarshal(raw, &b) != nil {
		return nil
	}
	return b
}

type ecdsaKey struct{ *ecdsa.PublicKey }

func (k coseKey) ecdsa() publicKey {
	const p256 = 1
	x, y := octets(k.Minus2), octets(k.Minus3)
	if number(k.Minus1) != p256 || len(x) != coordinateBytes || len(y) != coordinateBytes {
		return nil
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil
	}
	return ecdsaKey{key}
}

func (k ecdsaKey) verify(message, signature []byte) bool {
	hash := sha256.Sum256(message)
	return ecdsa.VerifyASN1(k.PublicKey, hash[:], signature)
}

type ed25519Key ed25519.PublicKey

func (k coseKey) ed25519() publicKey {
	const curve25519 = 6
	x := octets(k.Minus2)
	if number(k.Minus1) != curve25519 || len(x) != ed25519.PublicKeySize {
		return nil
	}
	return ed25519Key(x)
}

func (k ed25519Key) verify(message, signature []byte) bool {
	return ed25519.Verify(ed25519.PublicKey(k), message, signature)
}

type rsaKey struct{ *rsa.PublicKey }

func (k coseKey) rsa() publicKey {
	n, e := new(big.Int).SetBytes(octets(k.Minus1)), new(big.Int).SetBytes(octets(k.Minus2))
	if n.BitLen() < minRSABits || n.BitLen() > maxRSABits || n.Bit(0) == 0 || !e.IsInt64() || e.Int64() != rsaExponent {
		return nil
	}
	return rsaKey{&rsa.PublicKey{N: n, E: rsaExponent}}
}

func (k rsaKey) verify(message, signature []byte) bool {
	hash := sha256.Sum256(message)
	return rsa.VerifyPKCS1v15(k.PublicKey, crypto.SHA256, hash[:], signature) == nil
}
