package plc

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
)

// Limits of an operation: what the directory enforces today, which is stricter
// than its specification in size and looser in rotation keys.
const (
	MaxOperationBytes = 4000 // canonical DAG-CBOR, signed
	MaxRotationKeys   = 5    // what Perch makes; the specification's limit
	maxServerKeys     = 10   // rotation keys that the directory takes
	maxAliases        = 10
	maxAliasLength    = 258
	maxServices       = 10
	maxServiceType    = 256
	maxEndpoint       = 512
	maxMethods        = 10
	maxNameLength     = 32
	maxDIDKeyLength   = 256
)

// Check returns ErrInvalidOperation with the reason when a signed operation
// breaks a limit of the specification or of the public directory. Operations
// that Perch makes or passes on must pass it; those in old logs need not.
func Check(op Operation) error {
	return check(op, MaxRotationKeys)
}

func check(op Operation, maxKeys int) error {
	b, err := op.Bytes()
	if err != nil {
		return err
	}
	if len(b) > MaxOperationBytes {
		return invalid("operation too large (%d bytes maximum in cbor encoding)", MaxOperationBytes)
	}
	switch op.Type {
	case TypeTombstone:
		if op.Prev == "" {
			return invalid("a tombstone needs prev")
		}
		return nil
	case TypeCreate:
		return invalid("legacy create operations are not accepted")
	}
	return firstError(
		checkRotationKeys(op.RotationKeys, maxKeys),
		checkMethods(op.VerificationMethods),
		checkAliases(op.AlsoKnownAs),
		checkServices(op.Services),
	)
}

func checkRotationKeys(keys []string, most int) error {
	if len(keys) == 0 {
		return invalid("no rotation keys")
	}
	if len(keys) > most {
		return invalid("too many rotation keys (max %d)", most)
	}
	seen := map[string]bool{}
	for _, k := range keys {
		if _, err := atcrypto.ParsePublicDIDKey(k); err != nil {
			return invalid("bad rotation key %.80q", k)
		}
		if seen[k] {
			return invalid("duplicate rotation key %s", k)
		}
		seen[k] = true
	}
	return nil
}

// checkMethods asks of verification methods only that they look like a did:key:
// other uses than atproto may need other curves.
func checkMethods(methods map[string]string) error {
	if len(methods) > maxMethods {
		return invalid("too many verification methods (max %d)", maxMethods)
	}
	for name, k := range methods {
		if err := checkName(name); err != nil {
			return err
		}
		if len(k) > maxDIDKeyLength || !isDIDKey(k) {
			return invalid("bad key of verification method %s", name)
		}
	}
	return nil
}

func isDIDKey(s string) bool {
	id, ok := strings.CutPrefix(s, "did:key:z")
	const base58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	return ok && id != "" && strings.Trim(id, base58) == ""
}

func checkAliases(aliases []string) error {
	if len(aliases) > maxAliases {
		return invalid("too many alsoKnownAs entries (max %d)", maxAliases)
	}
	seen := map[string]bool{}
	for _, a := range aliases {
		if length(a) > maxAliasLength {
			return invalid("alsoKnownAs entry too long (max %d)", maxAliasLength)
		}
		if seen[a] {
			return invalid("duplicate alsoKnownAs entry %s", a)
		}
		seen[a] = true
	}
	return nil
}

func checkServices(services map[string]Service) error {
	if len(services) > maxServices {
		return invalid("too many services (max %d)", maxServices)
	}
	for name, s := range services {
		if err := checkName(name); err != nil {
			return err
		}
		if length(s.Type) > maxServiceType {
			return invalid("type of service %s too long (max %d)", name, maxServiceType)
		}
		if length(s.Endpoint) > maxEndpoint {
			return invalid("endpoint of service %s too long (max %d)", name, maxEndpoint)
		}
	}
	return nil
}

func checkName(name string) error {
	if name == "" || length(name) > maxNameLength || strings.Contains(name, "#") {
		return invalid("bad identifier %.40q (1 to %d characters, no #)", name, maxNameLength)
	}
	return nil
}

func length(s string) int { return utf8.RuneCountInString(s) }

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalidOperation, fmt.Sprintf(format, args...))
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
