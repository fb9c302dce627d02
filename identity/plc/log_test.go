package plc

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// The situations of the did:plc interop logs, rebuilt with keys of our own.

func TestLogRefuses(t *testing.T) {
	const soon = time.Hour
	tests := []struct {
		name string
		run  func(h *history) error
		want error
	}{
		{"recovery a millisecond too late", func(h *history) error {
			h.must(h.update(0, "thief.example.com", h.low), start.Add(soon))
			return h.add(h.update(0, "back.example.com", h.high), start.Add(soon+RecoveryWindow+time.Millisecond))
		}, ErrLateRecovery},
		{"fork by the same key", func(h *history) error {
			h.must(h.update(0, "one.example.com", h.low), start.Add(soon))
			return h.add(h.update(0, "two.example.com", h.low), start.Add(2*soon))
		}, ErrInvalidSignature},
		{"fork by a lower key", func(h *history) error {
			h.must(h.update(0, "one.example.com", h.middle), start.Add(soon))
			return h.add(h.update(0, "two.example.com", h.low), start.Add(2*soon))
		}, ErrInvalidSignature},
		{"fork of what the highest key signed", func(h *history) error {
			h.must(h.update(0, "one.example.com", h.high), start.Add(soon))
			return h.add(h.update(0, "two.example.com", h.high), start.Add(2*soon))
		}, ErrInvalidSignature},
		{"update after a nullified operation", func(h *history) error {
			h.must(h.update(0, "thief.example.com", h.low), start.Add(soon))
			h.must(h.update(0, "back.example.com", h.high), start.Add(2*soon))
			return h.add(h.update(1, "more.example.com", h.low), start.Add(3*soon))
		}, ErrMisordered},
		{"update after a tombstone", func(h *history) error {
			h.must(h.tombstone(0, h.low), start.Add(soon))
			op := h.update(0, "zombie.example.com", h.high)
			op.Prev = h.log[1].CID.String()
			return h.add(sign(h.t, op, h.high), start.Add(2*soon))
		}, ErrMisordered},
		{"tombstone after a tombstone", func(h *history) error {
			h.must(h.tombstone(0, h.low), start.Add(soon))
			return h.add(h.tombstone(1, h.high), start.Add(2*soon))
		}, ErrMisordered},
		{"tombstone undone too late", func(h *history) error {
			h.must(h.tombstone(0, h.low), start.Add(soon))
			return h.add(h.update(0, "back.example.com", h.high), start.Add(soon+RecoveryWindow+time.Second))
		}, ErrLateRecovery},
		{"key of a stranger", func(h *history) error {
			return h.add(h.update(0, "one.example.com", newKey(h.t)), start.Add(soon))
		}, ErrInvalidSignature},
		{"key that was rotated out", func(h *history) error {
			op, _ := Update(h.log[0].Operation, func(op *Operation) { op.RotationKeys = []string{h.high.did} })
			h.must(sign(h.t, op, h.low), start.Add(soon))
			return h.add(h.update(1, "one.example.com", h.low), start.Add(2*soon))
		}, ErrInvalidSignature},
		{"second genesis", func(h *history) error {
			return h.add(h.log[0].Operation, start.Add(soon))
		}, ErrMisordered},
		{"unknown prev", func(h *history) error {
			op := h.log[0].Operation
			op.Prev = hashCID([]byte("nothing")).String()
			return h.add(sign(h.t, op, h.high), start.Add(soon))
		}, ErrMisordered},
		{"wrong CID", func(h *history) error {
			e := h.entry(h.update(0, "one.example.com", h.low), start.Add(soon))
			e.CID = h.log[0].CID
			_, err := Append(h.log, e)
			return err
		}, ErrMismatch},
		{"genesis of another DID", func(h *history) error {
			e := h.log[0]
			e.DID = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
			_, err := Append(nil, e)
			return err
		}, ErrMismatch},
		{"genesis signed by no rotation key", func(h *history) error {
			op := sign(h.t, Genesis([]string{h.high.did}, h.low.did, "alice.example.com", "https://pds.example.com"), h.low)
			h.did, _ = DIDOf(op)
			_, err := Append(nil, h.entry(op, start))
			return err
		}, ErrInvalidSignature},
		{"log that begins with a tombstone", func(h *history) error {
			_, err := Append(nil, h.entry(h.tombstone(0, h.low), start))
			return err
		}, ErrInvalidOperation},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHistory(t)
			err := tt.run(h)
			if !errors.Is(err, tt.want) {
				t.Fatalf("err = %v, want %v", err, tt.want)
			}
			if _, err := VerifyLog(h.log[0].DID, h.log); err != nil {
				t.Errorf("the log before it no longer verifies: %v", err)
			}
		})
	}
}

func TestLogAccepts(t *testing.T) {
	h := newHistory(t)
	tests := []struct {
		name      string
		run       func(h *history)
		nullified string
		handle    string
	}{
		{"updates in a row", func(h *history) {
			h.must(h.update(0, "one.example.com", h.low), start.Add(1))
			h.must(h.update(1, "two.example.com", h.middle), start.Add(2))
		}, "000", "two.example.com"},
		{"recovery after exactly 72 hours", func(h *history) {
			h.must(h.update(0, "thief.example.com", h.low), start)
			h.must(h.update(1, "thief2.example.com", h.low), start.Add(time.Hour))
			h.must(h.update(0, "back.example.com", h.middle), start.Add(RecoveryWindow))
		}, "0110", "back.example.com"},
		{"recovery of a recovery by a still higher key", func(h *history) {
			h.must(h.update(0, "one.example.com", h.low), start)
			h.must(h.update(0, "two.example.com", h.middle), start.Add(time.Hour))
			h.must(h.update(0, "three.example.com", h.high), start.Add(2*time.Hour))
		}, "0110", "three.example.com"},
		{"tombstone undone in time", func(h *history) {
			h.must(h.tombstone(0, h.low), start)
			h.must(h.update(0, "back.example.com", h.high), start.Add(time.Hour))
		}, "010", "back.example.com"},
		{"work goes on after a recovery", func(h *history) {
			h.must(h.update(0, "thief.example.com", h.low), start)
			h.must(h.update(0, "back.example.com", h.high), start.Add(time.Hour))
			h.must(h.update(2, "on.example.com", h.low), start.Add(2*time.Hour))
		}, "0100", "on.example.com"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h = newHistory(t)
			tt.run(h)
			if got := h.nullified(); got != tt.nullified {
				t.Errorf("nullified = %s, want %s", got, tt.nullified)
			}
			op, err := VerifyLog(h.did, throughJSON(t, h.log))
			if err != nil {
				t.Fatal(err)
			}
			if got := op.AlsoKnownAs[0]; got != "at://"+tt.handle {
				t.Errorf("alias = %s, want at://%s", got, tt.handle)
			}
		})
	}
}

func throughJSON(t *testing.T, log []LogEntry) []LogEntry {
	t.Helper()
	b, err := json.Marshal(log)
	if err != nil {
		t.Fatal(err)
	}
	var back []LogEntry
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	return back
}

func TestVerifyLogRefusesALyingDirectory(t *testing.T) {
	h := newHistory(t)
	h.must(h.update(0, "thief.example.com", h.low), start.Add(time.Hour))
	h.must(h.update(0, "back.example.com", h.high), start.Add(2*time.Hour))
	tests := map[string]func(log []LogEntry) []LogEntry{
		"nullification hidden":    func(log []LogEntry) []LogEntry { log[1].Nullified = false; return log },
		"nullification made up":   func(log []LogEntry) []LogEntry { log[2].Nullified = true; return log },
		"genesis left out":        func(log []LogEntry) []LogEntry { return log[1:] },
		"nothing":                 func([]LogEntry) []LogEntry { return nil },
		"recovery left out":       func(log []LogEntry) []LogEntry { return log[:2] },
		"operation changed":       func(log []LogEntry) []LogEntry { log[2].Operation.AlsoKnownAs[0] = "at://x.example.com"; return log },
		"entry of another person": func(log []LogEntry) []LogEntry { log[2].DID = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"; return log },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := VerifyLog(h.did, change(throughJSON(t, h.log))); err == nil {
				t.Error("accepted")
			}
		})
	}
}

// Old logs hold duplicate and even no rotation keys; they must still be read.
func TestLogReadsOldRotationKeys(t *testing.T) {
	h := newHistory(t)
	op, _ := Update(h.log[0].Operation, func(op *Operation) {
		op.RotationKeys = []string{h.high.did, h.high.did, h.low.did}
	})
	h.must(sign(t, op, h.low), start.Add(1))
	op, _ = Update(h.log[1].Operation, func(op *Operation) { op.RotationKeys = []string{} })
	h.must(sign(t, op, h.low), start.Add(2))
	if _, err := VerifyLog(h.did, throughJSON(t, h.log)); err != nil {
		t.Fatal(err)
	}
	if err := h.add(h.update(2, "one.example.com", h.high), start.Add(3)); !errors.Is(err, ErrInvalidSignature) {
		t.Errorf("update without rotation keys: %v", err)
	}
}

// A DID made before 2023 begins with a create operation, which hashes and
// verifies in its own form and is followed by operations of today's.
func TestLogWithLegacyCreate(t *testing.T) {
	signing, recovery := newKey(t), newP256(t)
	op := Operation{Type: TypeCreate}
	op.setLegacy(legacyCreate{signingKey: signing.did, recoveryKey: recovery.did, handle: "alice.example.com", service: "pds.example.com"})
	genesis := sign(t, op, signing)
	did, err := DIDOf(genesis)
	if err != nil {
		t.Fatal(err)
	}
	h := &history{t: t, did: did, high: recovery, low: signing}
	h.must(genesis, start)
	if s := genesis.Services[PDSServiceName]; s.Endpoint != "https://pds.example.com" || genesis.AlsoKnownAs[0] != "at://alice.example.com" {
		t.Errorf("read as %+v", genesis)
	}
	h.must(h.update(0, "new.example.com", signing), start.Add(1))
	h.must(h.update(0, "back.example.com", recovery), start.Add(2))
	op, err = VerifyLog(did, throughJSON(t, h.log))
	if err != nil {
		t.Fatal(err)
	}
	if op.Type != TypeOperation || op.RotationKeys[0] != recovery.did || op.VerificationMethods["atproto"] != signing.did {
		t.Errorf("last operation = %+v", op)
	}
	if err := Check(genesis); !errors.Is(err, ErrInvalidOperation) {
		t.Errorf("Check takes a new create operation: %v", err)
	}
}

func TestCheckDID(t *testing.T) {
	for _, did := range []syntax.DID{"did:plc:", "did:plc:abc", "did:plc:AAAAAAAAAAAAAAAAAAAAAAAA", "did:plc:aaaaaaaaaaaaaaaaaaaaaaa1",
		"did:plc:aaaaaaaaaaaaaaaaaaaaaaaaa", "did:web:example.com", ""} {
		if CheckDID(did) == nil {
			t.Errorf("%q accepted", did)
		}
	}
	if err := CheckDID("did:plc:ewvi7nxzyoun6zhxrhs64oiz"); err != nil {
		t.Error(err)
	}
}
