package pds

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/migrate"
)

// otherHost is the moment at which, at the beginning of a step, not the process ends that does the work, but that of the other host.
const otherHost = "other host"

// The process of the new host ends at the beginning and at the end of each step, before what the step did is noted.
func TestMigrateKilledAtEveryStep(t *testing.T) {
	for _, at := range []migrate.State{
		migrate.StateAccount, migrate.StateRepo, migrate.StateBlobs, migrate.StatePreferences, migrate.StateVerify,
		migrate.StateSigned, migrate.StateSubmit, migrate.StateMoved, migrate.StateActive, migrate.StateLeft,
	} {
		for _, moment := range []string{"begin", "end"} {
			if at == migrate.StateAccount && moment == "end" {
				continue // one transaction
			}
			t.Run(string(at)+" "+moment, func(t *testing.T) {
				m := startMoving(t, nil)
				m.killedAt(at, moment)
				if m.sessions() > 0 {
					t.Errorf("%d sessions are left at the old host", m.sessions())
				}
			})
		}
	}
}

// The process of the old host, which does the work, ends at the beginning and at the end of each step; or that of the new host does.
func TestMigrateOutKilledAtEveryStep(t *testing.T) {
	for _, at := range []migrate.State{
		migrate.StateAccount, migrate.StateRepo, migrate.StateBlobs, migrate.StatePreferences, migrate.StateVerify, migrate.StateSigned,
		migrate.StateHeld, migrate.StateSubmit, migrate.StateMoved, migrate.StateActive, migrate.StateLeft,
	} {
		for _, moment := range []string{"begin", "end", otherHost} {
			if at == migrate.StateAccount && moment != "end" {
				continue
			}
			t.Run(string(at)+" "+moment, func(t *testing.T) { startLeaving(t, nil).killedAt(at, moment) })
		}
	}
}

// killedAt moves the account while a process ends at a moment of the step of a state, and starts again.
func (m *moving) killedAt(at migrate.State, moment string) {
	m.t.Helper()
	killed, once := make(chan struct{}), sync.Once{}
	m.watching(func(_ context.Context, _ syntax.DID, s migrate.State, mo string) (err error) {
		if s != at || mo != moment && (moment != otherHost || mo != "begin") {
			return nil
		}
		once.Do(func() {
			defer close(killed)
			if moment == otherHost {
				m.to.stop()
				return
			}
			err = errors.New("killed")
		})
		return err
	})
	if _, err := m.begin(); (err != nil) != (at == migrate.StateAccount) {
		m.t.Fatalf("begun: %v", err)
	}
	afterCode := slices.Contains(statesAfterCode, at)
	if afterCode {
		m.untilNeeds(migrate.NeedsCode)
		m.mustConfirm()
	}
	m.await(killed, at)
	if moment == otherHost {
		m.to.start(nil)
	} else {
		m.kill()
	}
	if at == migrate.StateAccount {
		m.untilNeeds(migrate.NeedsBegin)
		m.mustBegin() // an account that was made is found
	}
	if !afterCode {
		m.untilNeeds(migrate.NeedsCode)
		m.mustConfirm()
	}
	m.wantMoved()
}

var statesAfterCode = []migrate.State{
	migrate.StateSigned, migrate.StateHeld, migrate.StateSubmit, migrate.StateMoved, migrate.StateActive, migrate.StateLeft,
}
