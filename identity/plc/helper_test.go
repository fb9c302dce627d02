package plc

import (
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
)

// start is when the histories of these tests begin.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type testKey struct {
	atcrypto.PrivateKey
	did string // did:key
}

func newKey(t testing.TB) testKey {
	t.Helper()
	k, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		t.Fatal(err)
	}
	return wrapKey(t, k)
}

func newP256(t testing.TB) testKey {
	t.Helper()
	k, err := atcrypto.GeneratePrivateKeyP256()
	if err != nil {
		t.Fatal(err)
	}
	return wrapKey(t, k)
}

func wrapKey(t testing.TB, k atcrypto.PrivateKey) testKey {
	t.Helper()
	pub, err := k.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return testKey{k, pub.DIDKey()}
}

func sign(t testing.TB, op Operation, key testKey) Operation {
	t.Helper()
	signed, err := Sign(op, key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// history builds the log of one DID step by step.
type history struct {
	t                 testing.TB
	did               syntax.DID
	high, middle, low testKey // rotation keys by authority
	log               []LogEntry
}

func newHistory(t testing.TB) *history {
	t.Helper()
	h := &history{t: t, high: newKey(t), middle: newP256(t), low: newKey(t)}
	op := sign(t, Genesis([]string{h.high.did, h.middle.did, h.low.did}, newKey(t).did, "alice.example.com", "https://pds.example.com"), h.low)
	did, err := DIDOf(op)
	if err != nil {
		t.Fatal(err)
	}
	h.did = did
	h.must(op, start)
	return h
}

// update returns a signed operation that sets a handle on top of entry i.
func (h *history) update(i int, handle string, key testKey) Operation {
	h.t.Helper()
	op, err := Update(h.log[i].Operation, func(op *Operation) { op.SetHandle(syntax.Handle(handle)) })
	if err != nil {
		h.t.Fatal(err)
	}
	return sign(h.t, op, key)
}

func (h *history) tombstone(i int, key testKey) Operation {
	h.t.Helper()
	return sign(h.t, Tombstone(h.log[i].CID), key)
}

func (h *history) entry(op Operation, at time.Time) LogEntry {
	h.t.Helper()
	c, err := op.CID()
	if err != nil {
		h.t.Fatal(err)
	}
	return LogEntry{DID: h.did, Operation: op, CID: c, CreatedAt: at}
}

func (h *history) add(op Operation, at time.Time) error {
	h.t.Helper()
	next, err := Append(h.log, h.entry(op, at))
	if err == nil {
		h.log = next
	}
	return err
}

func (h *history) must(op Operation, at time.Time) {
	h.t.Helper()
	if err := h.add(op, at); err != nil {
		h.t.Fatalf("operation at %s: %v", at, err)
	}
}

// nullified lists which entries are, as a string of 0 and 1.
func (h *history) nullified() string {
	s := ""
	for _, e := range h.log {
		if e.Nullified {
			s += "1"
		} else {
			s += "0"
		}
	}
	return s
}
