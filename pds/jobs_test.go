package pds

import (
	"slices"
	"testing"
	"time"

	"perch/pds/store"
)

// TestEveryJobHasALane: a job whose kind no lane takes would wait for ever, such as one that finishes an import after a crash.
func TestEveryJobHasALane(t *testing.T) {
	s := &Server{}
	for _, kind := range []string{store.JobDeleteBlob, store.JobMail, jobDeleteAccount, jobPasswordReset, jobFinishImport, jobFinishHandle, jobGiveUpDID} {
		n := 0
		for _, l := range s.newLanes() {
			if slices.Contains(l.kinds, kind) && l.do[kind] != nil {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s is in %d lanes, want 1", kind, n)
		}
	}
}

// TestWorkDoesJobsOfEveryKind: what stands in the database when the server starts is taken by its workers, of whatever kind it is.
func TestWorkDoesJobsOfEveryKind(t *testing.T) {
	n := startNetwork(t, nil)
	err := n.srv.store.Update(t.Context(), func(tx *store.Tx) error {
		for _, l := range n.srv.lanes {
			for _, kind := range l.kinds {
				if err := tx.AddJob(t.Context(), kind, "{", tx.Now()); err != nil { // no payload of any kind: each attempt fails and is noted
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range n.srv.lanes {
		n.srv.runJobs(t.Context(), l.kinds...)
	}
	if left, err := n.srv.store.DueJobs(t.Context(), time.Now(), 100); err != nil || len(left) != 0 {
		t.Errorf("%d jobs were not attempted: %v %v", len(left), left, err)
	}
}
