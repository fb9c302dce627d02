package plc

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
)

// RecoveryWindow is how long a key of higher authority may still nullify an
// operation; exactly 72 hours after it is in time.
const RecoveryWindow = 72 * time.Hour

// LogEntry is an operation as the directory's audit log has it.
type LogEntry struct {
	DID       syntax.DID `json:"did"`
	Operation Operation  `json:"operation"`
	CID       cid.Cid    `json:"cid"`
	Nullified bool       `json:"nullified"`
	CreatedAt time.Time  `json:"createdAt"`
}

// timeLayout is the directory's, in UTC with milliseconds.
const timeLayout = "2006-01-02T15:04:05.000Z"

type jsonEntry struct {
	DID       syntax.DID `json:"did"`
	Operation Operation  `json:"operation"`
	CID       string     `json:"cid"`
	Nullified bool       `json:"nullified"`
	CreatedAt string     `json:"createdAt"`
}

// MarshalJSON writes the entry in the directory's format, the CID as a string.
func (e LogEntry) MarshalJSON() ([]byte, error) {
	return json.Marshal(jsonEntry{e.DID, e.Operation, e.CID.String(), e.Nullified, e.CreatedAt.UTC().Format(timeLayout)})
}

// UnmarshalJSON reads an entry in the directory's format.
func (e *LogEntry) UnmarshalJSON(b []byte) error {
	var j jsonEntry
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	c, err := cid.Decode(j.CID)
	if err != nil {
		return fmt.Errorf("log entry: %w", err)
	}
	t, err := time.Parse(time.RFC3339Nano, j.CreatedAt)
	if err != nil {
		return fmt.Errorf("log entry: %w", err)
	}
	*e = LogEntry{j.DID, j.Operation, c, j.Nullified, t}
	return nil
}

// VerifyLog checks a whole audit log, oldest first: that the DID follows from
// the genesis operation, every CID from its operation, that every operation was
// in order, rightly signed and in time when it was made, and that exactly the
// entries marked as nullified are so. It returns the operation that holds now.
func VerifyLog(did syntax.DID, log []LogEntry) (Operation, error) {
	var replayed []LogEntry
	for i, e := range log {
		var err error
		if e.DID != did {
			return Operation{}, fmt.Errorf("entry %d of %s: %w: it is of %s", i, did, ErrMismatch, e.DID)
		}
		if replayed, err = Append(replayed, e); err != nil {
			return Operation{}, fmt.Errorf("entry %d of %s: %w", i, did, err)
		}
	}
	for i := range replayed {
		if replayed[i].Nullified != log[i].Nullified {
			return Operation{}, fmt.Errorf("entry %d of %s: %w: nullified is %t", i, did, ErrMismatch, log[i].Nullified)
		}
	}
	last, ok := Last(replayed)
	if !ok {
		return Operation{}, fmt.Errorf("%s: %w", did, ErrNotFound)
	}
	return last.Operation, nil
}

// Last returns the newest entry that is not nullified.
func Last(log []LogEntry) (LogEntry, bool) {
	for _, e := range slices.Backward(log) {
		if !e.Nullified {
			return e, true
		}
	}
	return LogEntry{}, false
}

// Append returns log with e at its end and the entries that e nullifies marked;
// log itself stays as it was. It checks the signature, the order, the authority
// and the recovery window, taking e.CreatedAt as the time of the operation, but
// no limits (see Check). Errors: ErrInvalidSignature, ErrMisordered,
// ErrLateRecovery, ErrMismatch, ErrInvalidOperation.
func Append(log []LogEntry, e LogEntry) ([]LogEntry, error) {
	c, err := e.Operation.CID()
	if err != nil {
		return nil, err
	}
	if !c.Equals(e.CID) {
		return nil, fmt.Errorf("%w: CID %s is not %s", ErrMismatch, e.CID, c)
	}
	e.Nullified = false
	if len(log) == 0 {
		if err := checkGenesis(e); err != nil {
			return nil, err
		}
		return []LogEntry{e}, nil
	}
	next := slices.Clone(log)
	if err := nullify(next, e); err != nil {
		return nil, err
	}
	return append(next, e), nil
}

func checkGenesis(e LogEntry) error {
	did, err := DIDOf(e.Operation)
	if err != nil {
		return err
	}
	if did != e.DID {
		return fmt.Errorf("%w: the operation creates %s, not %s", ErrMismatch, did, e.DID)
	}
	_, err = Verify(e.Operation, e.Operation.RotationKeys)
	return err
}

// nullify checks that e may follow the log and marks what it replaces.
func nullify(log []LogEntry, e LogEntry) error {
	if e.Operation.Type == TypeCreate {
		return fmt.Errorf("%w: create is only ever the first operation", ErrMisordered)
	}
	at := slices.IndexFunc(log, func(o LogEntry) bool { return !o.Nullified && o.CID.String() == e.Operation.Prev })
	if at < 0 {
		return fmt.Errorf("%w: prev %q is not a valid operation of the log", ErrMisordered, e.Operation.Prev)
	}
	prev := log[at].Operation
	if prev.Type == TypeTombstone {
		return fmt.Errorf("%w: nothing follows a tombstone", ErrMisordered)
	}
	keys := prev.RotationKeys
	first := at + 1 + slices.IndexFunc(log[at+1:], func(o LogEntry) bool { return !o.Nullified })
	if first > at { // e forks the log: what comes after prev loses, if e has the authority
		disputed, err := Verify(log[first].Operation, keys)
		if err != nil {
			return err
		}
		keys = keys[:slices.Index(keys, disputed)]
	}
	if _, err := Verify(e.Operation, keys); err != nil {
		return err
	}
	if first > at && e.CreatedAt.Sub(log[first].CreatedAt) > RecoveryWindow {
		return fmt.Errorf("%w: the operation to replace is %s old", ErrLateRecovery, e.CreatedAt.Sub(log[first].CreatedAt).Round(time.Second))
	}
	for i := at + 1; i < len(log); i++ {
		log[i].Nullified = true
	}
	return nil
}
