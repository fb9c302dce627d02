package store

import (
	"errors"
	"testing"
	"time"

	"perch/pds/event"
	"perch/repo"
)

// A head that its records do not make leaves nothing behind.
func TestAdoptAccountIsAllOrNothing(t *testing.T) {
	s := openTest(t)
	head, _, err := s.Head(t.Context(), newRepo(t, s, "other").id)
	if err != nil {
		t.Fatal(err)
	}
	in := &Adopted{
		Account: Account{DID: "did:plc:second", Handle: "second.test", SigningKey: []byte("x"), SigningKeyDID: "did:key:x"}, Head: head,
		Sessions: []Session{{ID: "one", ExpiresAt: time.Now()}},
		Records: func(yield func(*AdoptedRecord) error) error {
			body := []byte{0xa0}
			return yield(&AdoptedRecord{Record: Record{Path: "a.b.c/d", CID: repo.CIDOf(body), Body: body}})
		},
	}
	if _, err := s.AdoptAccount(t.Context(), in); !errors.Is(err, repo.ErrCorrupt) {
		t.Fatalf("got %v, want ErrCorrupt", err)
	}
	if _, err := s.AccountByDID(t.Context(), "did:plc:second"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the account stayed: %v", err)
	}
	if _, err := s.Session(t.Context(), "one"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the session stayed: %v", err)
	}
}

func TestAdoptEvents(t *testing.T) {
	s := openTest(t)
	give := func(seqs ...int64) func(func(StoredEvent) error) error {
		return func(yield func(StoredEvent) error) error {
			for _, seq := range seqs {
				if err := yield(StoredEvent{Seq: seq, Kind: event.Account, Time: time.Now(), Frame: []byte("x")}); err != nil {
					return err
				}
			}
			return nil
		}
	}
	if err := s.AdoptEvents(t.Context(), give(5, 5), nil); err == nil {
		t.Error("seqs that do not rise were taken")
	}
	if err := s.AdoptEvents(t.Context(), give(5, 9), nil); err != nil || s.LastSeq() != 9 {
		t.Fatalf("%v, last seq %d", err, s.LastSeq())
	}
	if err := s.AdoptEvents(t.Context(), give(10), nil); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("got %v, want ErrNotEmpty", err)
	}
	newRepo(t, s, "later")
	all, err := s.Events(t.Context(), 9, 10, 1<<20)
	if err != nil || len(all) == 0 || all[0].Seq < event.MinSeq {
		t.Errorf("our own events: %v, %v", all, err)
	}
}
