package passkey

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/fxamacker/cbor/v2"
)

// Flags of authenticator data.
const (
	flagPresent    = 0x01
	flagVerified   = 0x04
	flagEligible   = 0x08
	flagBackedUp   = 0x10
	flagAttested   = 0x40 // a credential follows
	flagExtensions = 0x80

	authDataHead = sha256.Size + 1 + 4
	modelBytes   = 16 // of the authenticator's AAGUID, which is not kept
)

// decoder reads CBOR as authenticators write it: no duplicate keys, no indefinite lengths, no tags.
var decoder = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		MaxNestedLevels: 8, MaxArrayElements: 64, MaxMapPairs: 64,
	}.DecMode()
	if err != nil {
		panic(err) // of constants
	}
	return mode
}()

// authData is what an authenticator signs.
type authData struct {
	party []byte // hash of the party's ID
	flags byte
	count uint32
	id    []byte // of a new credential
	key   []byte
}

func (d authData) has(flag byte) bool { return d.flags&flag != 0 }

func parseAuthData(b []byte) (authData, error) {
	if len(b) < authDataHead {
		return authData{}, refuse("authenticator data of %d bytes", len(b))
	}
	d := authData{party: b[:sha256.Size], flags: b[sha256.Size], count: binary.BigEndian.Uint32(b[sha256.Size+1:])}
	rest := b[authDataHead:]
	if d.has(flagAttested) {
		var err error
		if rest, err = d.parseCredential(rest); err != nil {
			return authData{}, err
		}
	}
	if d.has(flagExtensions) {
		var extensions map[string]cbor.RawMessage
		left, err := decoder.UnmarshalFirst(rest, &extensions)
		if err != nil {
			return authData{}, refuse("extensions: %v", err)
		}
		rest = left
	}
	if len(rest) > 0 {
		return authData{}, refuse("%d bytes too many", len(rest))
	}
	return d, nil
}

// parseCredential reads a new credential, and returns what follows it.
func (d *authData) parseCredential(b []byte) ([]byte, error) {
	if len(b) < modelBytes+2 {
		return nil, refuse("the credential is cut off")
	}
	n := int(binary.BigEndian.Uint16(b[modelBytes:]))
	b = b[modelBytes+2:]
	if n == 0 || n > maxID || n > len(b) {
		return nil, refuse("the credential's id has %d bytes", n)
	}
	d.id, b = b[:n], b[n:]
	var key cbor.RawMessage
	rest, err := decoder.UnmarshalFirst(b, &key)
	if err != nil {
		return nil, refuse("public key: %v", err)
	}
	if len(key) > maxKey {
		return nil, refuse("a public key of %d bytes", len(key))
	}
	d.key = key
	return rest, nil
}
