package identity

import (
	"context"
	"errors"
	"fmt"
	"net"

	"perch/identity/plc"
)

// Errors that callers branch on.
var (
	// ErrSyntax: the identifier is not a DID or handle, or not one of its method.
	ErrSyntax = errors.New("invalid identifier")
	// ErrUnsupportedMethod: neither did:plc nor did:web.
	ErrUnsupportedMethod = errors.New("unsupported DID method")
	// ErrNotFound: the DID does not exist, said by those who must know.
	ErrNotFound = errors.New("DID not found")
	// ErrTombstoned: the DID existed and was ended by its owner.
	ErrTombstoned = errors.New("DID is tombstoned")
	// ErrMismatch: the document found is of another DID.
	ErrMismatch = errors.New("DID document is of another DID")
	// ErrInvalidDocument: what was found is not a DID document.
	ErrInvalidDocument = errors.New("invalid DID document")
	// ErrNoKey: the document names no usable key of that name.
	ErrNoKey = errors.New("no such key in DID document")
	// ErrHandleNotFound: the handle names no DID.
	ErrHandleNotFound = errors.New("handle not found")
	// ErrHandleAmbiguous: DNS names several DIDs for the handle.
	ErrHandleAmbiguous = errors.New("handle names several DIDs")
	// ErrReserved: the name is under a top-level domain that is never resolved.
	ErrReserved = errors.New("reserved top-level domain")
	// ErrBlocked: the guard refused the address, scheme, port or redirect.
	ErrBlocked = errors.New("address is not allowed")
	// ErrTooLarge: the answer is over the limit of its kind.
	ErrTooLarge = errors.New("answer is too large")
	// ErrNetwork: no answer, or none to rely on; trying again later may help.
	ErrNetwork = errors.New("identity lookup did not succeed")
)

// isFinal says whether err is an answer, which takes the place of what was known
// before, and not a mishap on the way to one.
func isFinal(err error) bool {
	for _, final := range []error{ErrSyntax, ErrUnsupportedMethod, ErrNotFound, ErrTombstoned, ErrMismatch,
		ErrHandleNotFound, ErrHandleAmbiguous, ErrReserved} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}

// networkError adds ErrNetwork to err unless it is more telling already.
func networkError(what string, err error) error {
	switch {
	case errors.Is(err, ErrBlocked), errors.Is(err, ErrTooLarge), errors.Is(err, ErrNetwork):
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w: %w", what, ErrNetwork, err)
}

// plcError says an error of package plc in this package's terms.
func plcError(err error) error {
	switch {
	case errors.Is(err, plc.ErrNotFound):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case errors.Is(err, plc.ErrTombstoned):
		return fmt.Errorf("%w: %w", ErrTombstoned, err)
	}
	return networkError("PLC directory", err)
}

// isNoSuchHost says whether DNS answered that the name does not exist.
func isNoSuchHost(err error) bool {
	var d *net.DNSError
	return errors.As(err, &d) && d.IsNotFound && !errors.Is(err, context.DeadlineExceeded)
}
