package pds

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/migrate"
	"perch/pds/store"
)

// The owner goes on with the standard calls while the move waits for the code. What the DID names is never deleted, and the move finds the way.
func TestMigrateOwnerChangesTheDID(t *testing.T) {
	for action, ask := range map[string]func(*moving) error{
		"abandon": func(m *moving) error {
			_, err := m.ask(MigrateRequest{Action: MigrateAbandon})
			if err == nil || !strings.HasPrefix(err.Error(), "DIDChanged") {
				return errors.Join(errors.New("given up"), err)
			}
			return nil
		},
		"code": func(m *moving) error {
			_, err := m.ask(MigrateRequest{Action: MigrateCode, Code: "AAAAA-AAAAA"})
			return err
		},
		"resend": func(m *moving) error { _, err := m.ask(MigrateRequest{Action: MigrateResend}); return err },
		"again":  func(m *moving) error { _, err := m.ask(MigrateRequest{Action: MigrateAgain}); return err },
	} {
		t.Run(action, func(t *testing.T) {
			m := startMoving(t, nil)
			m.mustBegin()
			m.untilNeeds(migrate.NeedsCode)
			m.old.takeDID(m.there())
			if err := ask(m); err != nil {
				t.Fatal(err)
			}
			m.wantMoved()
		})
	}
}

// A move that is being given up finds the DID changed: the account stays.
func TestMigrateDoesNotDeleteWhatTheDIDNames(t *testing.T) {
	m := startMoving(t, nil)
	reached, release := m.holdAt(migrate.StateAbandoning)
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	if _, err := m.ask(MigrateRequest{Action: MigrateAbandon}); err != nil {
		t.Fatal(err)
	}
	reached()
	m.old.takeDID(m.there())
	if err := (migrationHere{m.to.srv}).Delete(t.Context(), m.there().account().ID); err == nil {
		t.Fatal("deleted")
	}
	release()
	m.wantMoved()
}

// Nobody is moved to a server that has shut them out.
func TestMigrateTakenDownHere(t *testing.T) {
	m := startMoving(t, nil)
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	there := m.there()
	there.moderate(repoSubject(m.old.did), takedown(true, "mod-1")).ok()
	m.mustConfirm()
	st := m.until("the reason", func(st *Migration) bool { return strings.Contains(st.Error, "taken down") })
	if st.Changed || m.old.lastOp().Services[plc.PDSServiceName].Endpoint != m.old.srv.cfg.PublicURL() {
		t.Errorf("the DID was changed: %+v", st)
	}
	there.moderate(repoSubject(m.old.did), takedown(false, "")).ok()
	m.wantMoved()
}

// An administrator deletes the account here: the move ends, and nothing is changed at the old host.
func TestMigrateDeletedHere(t *testing.T) {
	m := startMoving(t, nil)
	reached, release := m.holdAt(migrate.StateBlobs)
	m.mustBegin()
	reached()
	m.there().admin("com.atproto.admin.deleteAccount", map[string]any{"did": m.old.did}).ok()
	release()
	eventually(t, "the end of the move", func() bool {
		_, err := m.to.srv.store.Migration(t.Context(), syntax.DID(m.old.did))
		return errors.Is(err, store.ErrNotFound)
	})
	if !m.old.account().Active() || m.sessions() != 0 {
		t.Errorf("old account %q, %d sessions", m.old.account().Status(), m.sessions())
	}
	m.old.createPost("nothing has happened")
}

// The owner chooses another handle here after the operation was signed: it is signed anew, so that DID and server name the same.
func TestMigrateHandleChangesAfterTheSignature(t *testing.T) {
	m := startMoving(t, nil)
	reached, release := m.holdAt(migrate.StateSigned)
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	m.mustConfirm()
	reached()
	m.there().post("com.atproto.identity.updateHandle", map[string]any{"handle": "carol.test"}).ok()
	release()
	st := m.until("the question", func(st *Migration) bool { return st.Needs == migrate.NeedsCode && st.Error != "" })
	if st.Changed {
		t.Errorf("%+v", st)
	}
	m.mustConfirm()
	m.wantMoved()
	if got := m.old.lastOp().AlsoKnownAs[0]; got != "at://carol.test" {
		t.Error(got)
	}
}

// The owner brings another state of the repository while the server waits for the code: what the old host has is what moves.
func TestMigrateOwnerImportsMeanwhile(t *testing.T) {
	m := startMoving(t, nil)
	old := m.old.exportCAR()
	m.old.createPost("newer")
	m.old.post("com.atproto.repo.deleteRecord", map[string]any{
		"repo": m.old.did, "collection": "app.bsky.feed.post", "rkey": rkeyOf(m.old.createPost("to go").str("uri")),
	}).ok()
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	m.there().importCAR(old).ok()
	m.mustConfirm()
	st := m.untilDone()
	if st.Report.Records != 23 || len(st.Report.Notes) != 0 {
		t.Errorf("%+v", st.Report)
	}
}

func rkeyOf(uri string) string { return uri[strings.LastIndexByte(uri, '/')+1:] }

// Two people begin the same move at the same moment.
func TestMigrateBegunTwice(t *testing.T) {
	m := startMoving(t, nil)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if _, err := m.begin(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	m.untilNeeds(migrate.NeedsCode)
	m.mustConfirm()
	m.wantMoved()
	if m.sessions() != 0 {
		t.Errorf("%d sessions are left at the old host", m.sessions())
	}
}

// Invite codes are for those who sign up by themselves; a handle that is taken meanwhile is refused before anything has happened.
func TestMigrateToAnInviteOnlyServer(t *testing.T) {
	m := startMoving(t, nil)
	m.to.signUp(t, "alicia")
	m.halt()
	m.to.stop()
	m.to.change = func(c *Config) { c.InviteRequired = true }
	m.open()
	if _, err := m.ask(MigrateRequest{Action: MigrateBegin, Password: m.password, NewPassword: "new-password", Handle: "alicia.test"}); err == nil ||
		!strings.HasPrefix(err.Error(), "InvalidRequest: Handle already taken") {
		t.Errorf("a handle that is taken: %v", err)
	}
	if m.sessions() != 0 {
		t.Errorf("%d sessions are left at the old host", m.sessions())
	}
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
}

// The account has gone back to the old host before the move came to deactivate it there.
func TestMigrateLeavesAloneWhoHasGoneBack(t *testing.T) {
	m := startMoving(t, nil)
	reached, release := m.holdAt(migrate.StateActive)
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	m.mustConfirm()
	reached()
	err := m.to.srv.updateDID(t.Context(), syntax.DID(m.old.did), func(op *plc.Operation) { op.SetPDS(m.old.srv.cfg.PublicURL()) })
	if err != nil {
		t.Fatal(err)
	}
	release()
	if st := m.untilDone(); len(st.Report.Notes) != 1 {
		t.Errorf("%+v", st.Report)
	}
	if !m.old.account().Active() {
		t.Error("the account is deactivated where it lives")
	}
}

// The session at the old host is renewed in the middle of a step, and then the process ends: the step has not been done.
func TestMigrateRenewsInsideAStep(t *testing.T) {
	var expire atomic.Bool
	m := startMoving(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "sync.getBlob") && expire.CompareAndSwap(true, false) {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = w.Write([]byte(`{"error":"ExpiredToken","message":"Token has expired"}`))
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	killed, once := make(chan struct{}), sync.Once{}
	m.watching(func(_ context.Context, _ syntax.DID, s migrate.State, moment string) (err error) {
		switch {
		case s == migrate.StateMoved && moment == "begin" && !expire.Load():
			once.Do(func() { // something new, so that there is something to fetch
				m.old.create("app.bsky.feed.post", imagePost(m.old.upload("image/png", png("last"))))
				expire.Store(true)
			})
		case s == migrate.StateMoved && moment == "end":
			select {
			case <-killed:
			default:
				close(killed)
				err = errors.New("killed")
			}
		}
		return err
	})
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	m.mustConfirm()
	<-killed
	row, err := m.to.srv.store.Migration(t.Context(), syntax.DID(m.old.did))
	if err != nil || row.State != string(migrate.StateMoved) || expire.Load() {
		t.Fatalf("%s %v", row.State, err)
	}
	m.kill()
	if st := m.untilDone(); st.Report.Records != 23 || st.Report.Blobs != 11 {
		t.Errorf("%+v", st.Report)
	}
	if m.sessions() != 0 {
		t.Errorf("%d sessions are left at the old host", m.sessions())
	}
}

// What answers in the old host's place, such as a proxy with a page of its own, is not taken at its word.
func TestMigrateNotDeceivedByAProxy(t *testing.T) {
	seen, on := sync.Map{}, atomic.Bool{}
	m := startMoving(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, _ := seen.LoadOrStore(r.URL.String(), &atomic.Int32{})
			method := strings.TrimPrefix(r.URL.Path, "/xrpc/")
			if !on.Load() || !deceived[method] {
				next.ServeHTTP(w, r)
				return
			}
			switch n.(*atomic.Int32).Add(1) {
			case 1:
				http.Error(w, "<html>not found</html>", http.StatusNotFound)
			case 2:
				http.Error(w, "<html>forbidden</html>", http.StatusForbidden)
			case 3:
				_, _ = w.Write([]byte("{}"))
			case 4:
				_, _ = w.Write([]byte("<html>welcome</html>"))
			case 5:
				http.Redirect(w, r, "/", http.StatusFound)
			default:
				next.ServeHTTP(w, r)
			}
		})
	})
	on.Store(true)
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	m.mustConfirm()
	m.untilDone()
	on.Store(false)
	m.wantMoved()
}

// deceived are the methods of the steps. A fault in the answers to commands is told to who waits for them.
var deceived = map[string]bool{
	"com.atproto.sync.getRepo": true, "com.atproto.sync.getBlob": true, "com.atproto.sync.getLatestCommit": true,
	"app.bsky.actor.getPreferences": true, "com.atproto.server.checkAccountStatus": true,
}

// Somebody moves here, leaves again with the standard calls, and comes back: the account that is here is taken up. Giving up leaves it as it was.
func TestMigrateComesBack(t *testing.T) {
	m := startMoving(t, nil)
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	m.mustConfirm()
	m.wantMoved()
	there := m.there()
	m.old.importCAR(there.exportCAR()).ok()
	there.takeDID(m.old)
	m.old.activate()
	again := MigrateRequest{Action: MigrateBegin, Password: m.password, NewPassword: "third-password"}
	if _, err := m.ask(again); err == nil || !strings.Contains(err.Error(), "deactivate") {
		t.Errorf("while it is active here: %v", err)
	}
	there.deactivate()
	m.old.createPost("back at the old host")
	if _, err := m.ask(again); err != nil {
		t.Fatal(err)
	}
	m.untilNeeds(migrate.NeedsCode)
	if _, err := m.ask(MigrateRequest{Action: MigrateAbandon}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the move", func() bool {
		_, err := m.to.srv.store.Migration(t.Context(), syntax.DID(m.old.did))
		return errors.Is(err, store.ErrNotFound)
	})
	if there.account().Status() != store.StatusDeactivated || !m.old.account().Active() {
		t.Errorf("given up: %q here, %q there", there.account().Status(), m.old.account().Status())
	}
	if _, err := m.ask(again); err != nil {
		t.Fatal(err)
	}
	m.untilNeeds(migrate.NeedsCode)
	there.wantEvents(t, func() {
		m.mustConfirm()
		m.untilDone()
	}, "account active", "identity", "sync")
	if st := m.untilDone(); st.Report.Records != 24 || st.Report.Blobs != 10 || len(st.Report.Notes) != 0 {
		t.Errorf("%+v", st.Report)
	}
	signIn(&client{network: m.to, t: t, did: m.old.did}, m.old.did, "third-password").ok()
	there.check()
}
