package pds

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/migrate"
)

func TestMigrateAbandon(t *testing.T) {
	abandonAt(t, startMoving, migrate.StateRepo, migrate.StateBlobs, migrate.StateVerify, migrate.StateCode, migrate.StateSigned)
}

func TestMigrateOutAbandon(t *testing.T) {
	abandonAt(t, startLeaving,
		migrate.StateRepo, migrate.StateBlobs, migrate.StateVerify, migrate.StateCode, migrate.StateSigned, migrate.StateHeld)
}

// abandonAt gives a move up while the step of each state goes on.
func abandonAt(t *testing.T, start func(*testing.T, func(http.Handler) http.Handler) *moving, states ...migrate.State) {
	for _, at := range states {
		t.Run(string(at), func(t *testing.T) {
			m := start(t, nil)
			once := sync.Once{}
			m.watching(func(ctx context.Context, _ syntax.DID, s migrate.State, moment string) error {
				if s == at && moment == "begin" {
					once.Do(func() { <-ctx.Done() }) // the command has come
				}
				return nil
			})
			m.mustBegin()
			if slices.Contains(statesAfterCode, at) {
				m.untilNeeds(migrate.NeedsCode)
				m.mustConfirm()
			}
			m.until("the state", func(st *Migration) bool { return st.State == at })
			if _, err := m.ask(MigrateRequest{Action: MigrateAbandon}); err != nil {
				t.Fatal(err)
			}
			m.wantNothingLeft()
			if !m.out && m.sessions() != 0 {
				t.Errorf("%d sessions at the old host", m.sessions())
			}
			m.old.createPost("nothing has happened")
			m.old.check()
			m.mustBegin() // and it may go another time
			m.untilNeeds(migrate.NeedsCode)
		})
	}
}

// A new host that keeps what was begun there is told of.
func TestMigrateOutAbandonSaysWhatIsLeft(t *testing.T) {
	m := startLeaving(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "deactivateAccount") {
				http.Error(w, `{"error":"InvalidRequest","message":"not here"}`, http.StatusBadRequest)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	if _, err := m.ask(MigrateRequest{Action: MigrateAbandon}); err != nil {
		t.Fatal(err)
	}
	st := m.until("the end", func(st *Migration) bool { return st.State == migrate.StateAbandoned })
	if len(st.Notes) != 1 || !strings.Contains(st.Notes[0].Text, st.Host) {
		t.Errorf("%+v", st)
	}
	m.mustBegin() // the account that is left is found again by its password
	m.untilNeeds(migrate.NeedsCode)
	m.mustConfirm()
	m.wantMoved()
}
