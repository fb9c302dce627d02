package plc

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
)

// Errors that callers branch on.
var (
	// ErrInvalidOperation: the operation is malformed, too large, or breaks a limit.
	ErrInvalidOperation = errors.New("invalid PLC operation")
	// ErrInvalidSignature: no key that may sign this operation did sign it.
	ErrInvalidSignature = errors.New("invalid PLC signature")
	// ErrMisordered: prev is not an operation that this one may follow.
	ErrMisordered = errors.New("misordered PLC operation")
	// ErrLateRecovery: the operation would nullify another one older than RecoveryWindow.
	ErrLateRecovery = errors.New("PLC recovery window has passed")
	// ErrMismatch: the genesis operation does not hash to the DID, or a CID to its operation.
	ErrMismatch = errors.New("PLC operation does not match its identifier")
	// ErrNotFound: the directory has no such DID.
	ErrNotFound = errors.New("PLC DID not found")
	// ErrTombstoned: the DID was deactivated by a tombstone.
	ErrTombstoned = errors.New("PLC DID is tombstoned")
	// ErrRateLimited: too many operations for this DID.
	ErrRateLimited = errors.New("too many PLC operations")
	// ErrUnavailable: the directory could not be reached or failed.
	ErrUnavailable = errors.New("PLC directory unavailable")
)

// Kinds of operation, the values of the type field.
const (
	TypeOperation = "plc_operation"
	TypeTombstone = "plc_tombstone"
	// TypeCreate is the genesis form used before 2023: read and verified, never made.
	TypeCreate = "create"
)

// Names that atproto gives to entries of an operation.
const (
	SigningKeyName = "atproto"
	PDSServiceName = "atproto_pds"
	PDSServiceType = "AtprotoPersonalDataServer"
)

// Service is one entry of an operation's services.
type Service struct {
	Type     string `json:"type"`
	Endpoint string `json:"endpoint"`
}

// Operation is one entry of a DID's log. Values are not changed after Sign; a
// copy that shares nothing comes from Clone.
type Operation struct {
	Type                string             // TypeOperation, TypeTombstone or TypeCreate
	RotationKeys        []string           // did:key strings, highest authority first
	VerificationMethods map[string]string  // name (no '#') to did:key
	AlsoKnownAs         []string           // URIs, "at://handle" first
	Services            map[string]Service // name (no '#') to service
	Prev                string             // CID of the operation before; "" for the genesis operation
	Sig                 string             // base64url without padding; "" while unsigned

	// legacy holds the fields of a TypeCreate operation as they were signed.
	// The fields above then hold what they mean in today's terms.
	legacy *legacyCreate
}

type legacyCreate struct {
	signingKey, recoveryKey, handle, service string
}

// Genesis returns the unsigned first operation of an atproto account.
// rotationKeys stand highest authority first; endpoint is the PDS's origin.
func Genesis(rotationKeys []string, signingKey string, handle syntax.Handle, endpoint string) Operation {
	return Operation{
		Type:                TypeOperation,
		RotationKeys:        slices.Clone(rotationKeys),
		VerificationMethods: map[string]string{SigningKeyName: signingKey},
		AlsoKnownAs:         []string{"at://" + handle.Normalize().String()},
		Services:            map[string]Service{PDSServiceName: {Type: PDSServiceType, Endpoint: endpoint}},
	}
}

// Tombstone returns the unsigned operation that ends the DID whose last
// operation has the CID prev.
func Tombstone(prev cid.Cid) Operation {
	return Operation{Type: TypeTombstone, Prev: prev.String()}
}

// Update returns the unsigned operation that follows last and differs from it
// only by what change does to it: rotation keys, labeler entries and whatever
// else the account's owner put there are kept. It returns ErrTombstoned when
// last is a tombstone, or an error when last has no CID.
func Update(last Operation, change func(*Operation)) (Operation, error) {
	if last.Type == TypeTombstone {
		return Operation{}, ErrTombstoned
	}
	prev, err := last.CID()
	if err != nil {
		return Operation{}, err
	}
	next := last.Clone()
	next.Type, next.Prev, next.Sig, next.legacy = TypeOperation, prev.String(), "", nil
	change(&next)
	return next, nil
}

// SetHandle makes "at://handle" the handle of the operation: it takes the place
// of the first at:// alias, and every other alias stays where it is.
func (op *Operation) SetHandle(handle syntax.Handle) {
	alias := "at://" + handle.Normalize().String()
	others := slices.DeleteFunc(slices.Clone(op.AlsoKnownAs), func(s string) bool { return s == alias })
	if i := slices.IndexFunc(others, func(s string) bool { return strings.HasPrefix(s, "at://") }); i >= 0 {
		others[i] = alias
		op.AlsoKnownAs = others
		return
	}
	op.AlsoKnownAs = append([]string{alias}, others...)
}

// SetPDS makes endpoint, an origin such as "https://pds.example.com", the
// account's PDS.
func (op *Operation) SetPDS(endpoint string) {
	if op.Services == nil {
		op.Services = map[string]Service{}
	}
	op.Services[PDSServiceName] = Service{Type: PDSServiceType, Endpoint: endpoint}
}

// SetSigningKey makes the did:key the account's atproto signing key.
func (op *Operation) SetSigningKey(didKey string) {
	if op.VerificationMethods == nil {
		op.VerificationMethods = map[string]string{}
	}
	op.VerificationMethods[SigningKeyName] = didKey
}

// Clone returns a copy that shares nothing with op.
func (op Operation) Clone() Operation {
	op.RotationKeys = slices.Clone(op.RotationKeys)
	op.AlsoKnownAs = slices.Clone(op.AlsoKnownAs)
	op.VerificationMethods = maps.Clone(op.VerificationMethods)
	op.Services = maps.Clone(op.Services)
	return op
}

// CID returns the CIDv1 (dag-cbor, sha-256) of the signed operation, by which
// the next one names it.
func (op Operation) CID() (cid.Cid, error) {
	b, err := op.Bytes()
	if err != nil {
		return cid.Undef, err
	}
	return hashCID(b), nil
}

// DIDOf returns the DID that a signed genesis operation creates: did:plc: and
// the first 24 characters of the base32 of its SHA-256.
func DIDOf(genesis Operation) (syntax.DID, error) {
	if genesis.Prev != "" || genesis.Type == TypeTombstone {
		return "", fmt.Errorf("%w: not a genesis operation", ErrInvalidOperation)
	}
	b, err := genesis.Bytes()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	id := base32.StdEncoding.EncodeToString(sum[:])[:didIDLength]
	return syntax.DID(didPrefix + strings.ToLower(id)), nil
}

const (
	didPrefix   = "did:plc:"
	didIDLength = 24
)

// CheckDID returns an error unless did is did:plc: and 24 characters of a-z2-7.
func CheckDID(did syntax.DID) error {
	id, ok := strings.CutPrefix(did.String(), didPrefix)
	if !ok || len(id) != didIDLength {
		return fmt.Errorf("not a did:plc identifier: %q", did)
	}
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return fmt.Errorf("not a did:plc identifier: %q", did)
		}
	}
	return nil
}
