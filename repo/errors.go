package repo

import (
	"errors"
	"fmt"
)

// ErrInvalidRecord is what every fault in record data wraps.
var ErrInvalidRecord = errors.New("invalid record")

// Faults in record data, in JSON or CBOR. All wrap [ErrInvalidRecord].
var (
	ErrSyntax       = invalid("malformed data")
	ErrNotObject    = invalid("not an object")
	ErrDuplicateKey = invalid("duplicate key")
	ErrKeyOrder     = invalid("keys out of order")
	ErrEmptyKey     = invalid("empty key")
	ErrUTF8         = invalid("text is not valid UTF-8")
	ErrFloat        = invalid("number is not an integer")
	ErrIntRange     = invalid("integer out of range")
	ErrDepth        = invalid("nested too deeply")
	ErrSize         = invalid("too large")
	ErrType         = invalid("$type must be a non-empty string")
	ErrLink         = invalid("malformed $link")
	ErrBytes        = invalid("malformed $bytes")
	ErrBlob         = invalid("malformed blob")
	ErrCID          = invalid("unsupported CID")
	ErrNotCanonical = invalid("not canonical CBOR")
	ErrValue        = invalid("value is not part of the data model")
)

func invalid(reason string) error { return fmt.Errorf("%w: %s", ErrInvalidRecord, reason) }

// What can stop a change of a repository.
var (
	// ErrSwap says that the head or a record is not the one the caller expects.
	ErrSwap = errors.New("swap does not match the current state")
	// ErrRecordExists says that a record to create is there already.
	ErrRecordExists = errors.New("record exists")
	// ErrRecordNotFound says that a record to update or delete is not there.
	ErrRecordNotFound = errors.New("record not found")
	// ErrTooManyOps says that a commit would have more than [MaxOps] operations.
	ErrTooManyOps = errors.New("too many writes in one commit")
	// ErrTooLarge says that a record or the event of a commit exceeds its limit.
	ErrTooLarge = errors.New("too large")
	// ErrRev says that the new rev does not come after the old one.
	ErrRev = errors.New("rev does not rise")
	// ErrCorrupt says that head, tree and records do not belong together.
	ErrCorrupt = errors.New("repository is inconsistent")
)

// What can be wrong with repository data from outside.
var (
	// ErrCommit says that bytes are not a signed commit of version 3.
	ErrCommit = errors.New("invalid commit")
	// ErrSignature says that a commit was not signed by the key.
	ErrSignature = errors.New("invalid commit signature")
	// ErrCAR says that bytes are not a CAR file, or one beyond the limits.
	ErrCAR = errors.New("invalid CAR file")
	// ErrProof says that a proof does not prove what it should.
	ErrProof = errors.New("invalid proof")
)
