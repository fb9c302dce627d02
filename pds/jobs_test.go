package pds

import (
	"bytes"
	"errors"
	"net"
	"runtime"
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

// TestServeEndsWithItsListener: what has nobody to serve does not go on working on a database that is about to be closed.
func TestServeEndsWithItsListener(t *testing.T) {
	n := startNetwork(t, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := n.srv.Serve(t.Context(), ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("served until %v", err)
	}
	stacks := make([]byte, 1<<20)
	if stacks = stacks[:runtime.Stack(stacks, true)]; bytes.Contains(stacks, []byte(".(*Server).work(")) {
		t.Error("it works on")
	}
}
