// Package seal keeps small secrets (signing keys, generated server secrets) unreadable in a copy of the database.
//
// Every secret is encrypted with XChaCha20-Poly1305 under a 32-byte master key that lives outside the database: in a file with
// mode 0600, or in the configuration. The name of the secret is authenticated with it, so that the sealed key of one account
// cannot be put in the place of another's.
//
// A sealed value is
//
//	1 byte   format, 1
//	1 byte   hint: which master key sealed it (first byte of a hash of the key)
//	24 bytes nonce
//	n bytes  ciphertext and 16-byte tag
//
// A key file may hold several keys, one per line. The first seals; all of them open. To rotate, put a new line first, seal the
// secrets again, then remove the old line.
package seal

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"
)

// KeySize is the length of a master key in bytes.
const KeySize = chacha20poly1305.KeySize

const (
	format     = 1 // version of the layout of a sealed value
	headerSize = 2
	overhead   = headerSize + chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead
)

var (
	// ErrOpen: the value was sealed under another key or another name, or was changed since.
	ErrOpen = errors.New("sealed value does not open: wrong master key, wrong name, or damaged")
	// ErrKey: the text given is no master key.
	ErrKey = errors.New("not a master key: want 64 hexadecimal digits")
)

// Box seals and opens secrets. It is safe for use by several goroutines.
type Box struct {
	keys []masterKey // the first one seals
}

type masterKey struct {
	hint byte
	aead cipher.AEAD
	raw  []byte
}

// New returns a Box that seals with primary and opens with primary and the older keys. Each key is KeySize random bytes.
func New(primary []byte, older ...[]byte) (*Box, error) {
	b := &Box{}
	for _, key := range append([][]byte{primary}, older...) {
		aead, err := chacha20poly1305.NewX(key)
		if err != nil {
			return nil, fmt.Errorf("%w: %d bytes given", ErrKey, len(key))
		}
		sum := sha256.Sum256(append([]byte("perch master key\x00"), key...))
		b.keys = append(b.keys, masterKey{hint: sum[0], aead: aead, raw: append([]byte(nil), key...)})
	}
	return b, nil
}

// Parse reads master keys written in hexadecimal, separated by white space or line ends; lines that begin with '#' are notes.
func Parse(text string) (*Box, error) {
	var keys [][]byte
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		for _, word := range strings.Fields(line) {
			key, err := hex.DecodeString(word)
			if err != nil || len(key) != KeySize {
				return nil, ErrKey // never quote what was given: it may be most of a key
			}
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, ErrKey
	}
	return New(keys[0], keys[1:]...)
}

// Seal encrypts a secret under the name by which it will be opened.
func (b *Box) Seal(name string, secret []byte) []byte {
	k := b.keys[0]
	out := make([]byte, headerSize+chacha20poly1305.NonceSizeX, overhead+len(secret))
	out[0], out[1] = format, k.hint
	nonce := out[headerSize:]
	rand.Read(nonce) // never fails: the runtime ends the program when the system has no randomness
	return k.aead.Seal(out, nonce, secret, additional(out[0], name))
}

// Open decrypts what Seal made under the same name. The error is ErrOpen.
func (b *Box) Open(name string, sealed []byte) ([]byte, error) {
	if len(sealed) < overhead || sealed[0] != format {
		return nil, fmt.Errorf("open %s: %w", name, ErrOpen)
	}
	nonce, body := sealed[headerSize:headerSize+chacha20poly1305.NonceSizeX], sealed[headerSize+chacha20poly1305.NonceSizeX:]
	for _, k := range b.keys {
		if k.hint != sealed[1] {
			continue
		}
		if secret, err := k.aead.Open(nil, nonce, body, additional(sealed[0], name)); err == nil {
			return secret, nil
		}
	}
	return nil, fmt.Errorf("open %s: %w", name, ErrOpen)
}

// Derive returns 32 bytes that depend on the first master key and the purpose alone: secrets that need no storage.
func (b *Box) Derive(purpose string) []byte {
	out, err := hkdf.Key(sha256.New, b.keys[0].raw, nil, "perch derive\x00"+purpose, 32)
	if err != nil {
		panic("hkdf of 32 bytes: " + err.Error()) // only for lengths beyond 8,160
	}
	return out
}

func additional(format byte, name string) []byte {
	return append([]byte{format}, name...)
}
