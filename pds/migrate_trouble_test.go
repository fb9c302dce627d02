package pds

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/identity/plc"
	"perch/pds/migrate"
)

// trouble stands before a host and makes its answers come late, cut off, or not at all, each kind several times for every method.
type trouble struct {
	mu   sync.Mutex
	seen map[string]int // by method and parameters; guarded by mu
	on   atomic.Bool
}

func (tr *trouble) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !tr.on.Load() || !strings.HasPrefix(r.URL.Path, "/xrpc/") {
			next.ServeHTTP(w, r)
			return
		}
		tr.mu.Lock()
		tr.seen[r.URL.String()]++
		n := tr.seen[r.URL.String()]
		tr.mu.Unlock()
		switch n {
		case 1:
			w.Header().Set("Retry-After", "0")
			http.Error(w, `{"error":"RateLimitExceeded","message":"slow down"}`, http.StatusTooManyRequests)
		case 2:
			http.Error(w, "<html>bad gateway</html>", http.StatusBadGateway)
		case 3:
			panic(http.ErrAbortHandler)
		case 4: // cut in the middle
			rec := httptest.NewRecorder()
			if r.Method == http.MethodGet {
				next.ServeHTTP(rec, r)
			}
			w.Header().Set("Content-Length", fmt.Sprint(rec.Body.Len()+10))
			_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
			panic(http.ErrAbortHandler)
		default:
			time.Sleep(2 * time.Millisecond) // being slow is what is wanted
			next.ServeHTTP(w, r)
		}
	})
}

func TestMigrateThroughTrouble(t *testing.T) {
	tr := &trouble{seen: map[string]int{}}
	m := startMoving(t, tr.wrap)
	tr.on.Store(true)
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	var err error
	for range 5 { // signPlcOperation is not repeated when the answer is lost
		if err = m.confirm(); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	m.untilDone()
	tr.on.Store(false)
	m.wantMoved()
}

func TestMigrateOutThroughTrouble(t *testing.T) {
	tr := &trouble{seen: map[string]int{}}
	m := startLeaving(t, tr.wrap)
	tr.on.Store(true)
	for try := 0; ; try++ { // the answer to createAccount is lost, and that to createSession several times
		if _, err := m.begin(); err == nil {
			break
		} else if try == 5 {
			t.Fatal(err)
		}
	}
	m.untilNeeds(migrate.NeedsCode)
	m.mustConfirm()
	m.untilDone()
	tr.on.Store(false)
	m.wantMoved()
}

// The old host is stopped and started again while the account moves.
func TestMigrateOldHostRestarts(t *testing.T) {
	m := startMoving(t, nil)
	reached, release := m.holdAt(migrate.StateRepo)
	m.old.port = m.old.srv.cfg.Port
	m.old.stop()
	if _, err := m.begin(); err == nil {
		t.Fatal("began without the old host")
	}
	m.old.start(nil)
	m.mustBegin()
	reached()
	m.old.stop()
	release()
	m.until("a failure", func(st *Migration) bool { return st.Error != "" })
	m.old.start(nil)
	m.untilNeeds(migrate.NeedsCode)
	m.mustConfirm()
	m.wantMoved()
}

// A blob that the old host has lost holds nothing up, and is told of before the DID is changed.
func TestMigrateWithLostBlobs(t *testing.T) {
	bothWays(t, func(t *testing.T, m *moving) {
		ref := m.old.upload("image/png", png("to be lost"))
		m.old.create("app.bsky.feed.post", imagePost(ref))
		lost := object(ref).str("ref.$link")
		if err := m.old.srv.blobs.Delete(syntax.DID(m.old.did), cid.MustParse(lost)); err != nil {
			t.Fatal(err)
		}
		m.mustBegin()
		st := m.untilNeeds(migrate.NeedsCode)
		carried := st.BlobsHere
		if m.out {
			carried = st.BlobsThere
		}
		if len(st.Lost) != 1 || st.Lost[0].CID != lost || carried != 10 {
			t.Errorf("%+v", st)
		}
		m.mustConfirm()
		if st := m.untilDone(); len(st.Report.Lost) != 1 {
			t.Errorf("%+v", st.Report)
		}
	})
}

// The DID changes between signature and submission: nothing is lost, the account works at the old host, and its owner is asked once more.
func TestMigrateDIDChangesMeanwhile(t *testing.T) {
	bothWays(t, func(t *testing.T, m *moving) {
		once := sync.Once{}
		m.watching(func(_ context.Context, _ syntax.DID, s migrate.State, moment string) error {
			if s == migrate.StateSubmit && moment == "begin" {
				once.Do(func() {
					err := m.old.srv.updateDID(context.Background(), syntax.DID(m.old.did), func(op *plc.Operation) {
						op.AlsoKnownAs = append(op.AlsoKnownAs, "https://alice.example.com")
					})
					if err != nil {
						t.Error(err)
					}
				})
			}
			return nil
		})
		m.mustBegin()
		m.untilNeeds(migrate.NeedsCode)
		m.mustConfirm()
		st := m.until("the question", func(st *Migration) bool {
			return st.Needs == migrate.NeedsCode && (st.Error != "" || len(st.Notes) > 0)
		})
		if st.Changed || st.Held || !m.old.account().Active() {
			t.Errorf("%+v, the account is %q", st, m.old.account().Status())
		}
		m.old.createPost("in between")
		m.records++
		if m.out {
			m.notes = 1
		}
		m.mustConfirm()
		m.wantMoved()
		if op := m.old.lastOp(); len(op.AlsoKnownAs) != 2 {
			t.Errorf("the other alias is gone: %v", op.AlsoKnownAs)
		}
	})
}

// The owner ends all sessions at the old host meanwhile.
func TestMigrateSignsInAgain(t *testing.T) {
	m := startMoving(t, nil)
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	if err := m.old.srv.accounts.SetPassword(t.Context(), m.old.account().ID, "changed-password", true); err != nil {
		t.Fatal(err)
	}
	if err := m.confirm(); err == nil {
		t.Fatal("an ended session signed")
	}
	if _, err := m.ask(MigrateRequest{Action: MigrateSignIn, Password: "changed-password"}); err != nil {
		t.Fatal(err)
	}
	m.untilNeeds(migrate.NeedsCode)
	m.mustConfirm()
	m.untilDone()
	if m.old.account().Active() {
		t.Error("the old account is active")
	}
}

// The session at the new host ends meanwhile: it is begun anew, also when the DID names that host already.
func TestMigrateOutSignsInAgain(t *testing.T) {
	m := startLeaving(t, nil)
	end := func() {
		acct, err := m.to.srv.store.AccountByDID(context.Background(), syntax.DID(m.old.did))
		if err == nil {
			err = m.to.srv.accounts.SetPassword(context.Background(), acct.ID, "changed-password", true)
		}
		if err != nil {
			t.Error(err)
		}
	}
	once := sync.Once{}
	m.watching(func(_ context.Context, _ syntax.DID, s migrate.State, moment string) error {
		if s == migrate.StateMoved && moment == "begin" {
			once.Do(end)
		}
		return nil
	})
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	end()
	if err := m.confirm(); err == nil {
		t.Fatal("an ended session told what the DID should name")
	}
	again := func() {
		t.Helper()
		if _, err := m.ask(MigrateRequest{Action: MigrateSignIn, Password: "changed-password"}); err != nil {
			t.Fatal(err)
		}
	}
	again()
	m.mustConfirm()
	if st := m.untilNeeds(migrate.NeedsSignIn); !st.Changed {
		t.Errorf("%+v", st)
	}
	again()
	m.untilDone()
	if acct, err := m.to.srv.store.AccountByDID(t.Context(), syntax.DID(m.old.did)); err != nil || !acct.Active() {
		t.Errorf("the account at the new host: %v %v", acct, err)
	}
}
