package pds

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/identity/plc"
	"perch/pds/migrate"
	"perch/pds/store"
)

// startLeaving makes an account with something in it, which its server will bring to another. wrap, unless nil, stands before the new host.
func startLeaving(t *testing.T, wrap func(http.Handler) http.Handler) *moving {
	t.Helper()
	m := newMoving(t, nil)
	m.to.wrap = wrap
	m.to.start(nil)
	m.to.port = m.to.srv.cfg.Port
	m.job = m.old.network
	m.job.port = m.job.srv.cfg.Port
	m.job.stop()
	m.open()
	return m
}

// watching has the server that does the work tell of every step.
func (m *moving) watching(watch func(syntax.DID, migrate.State, string) error) {
	m.t.Helper()
	m.watch = watch
	m.kill()
}

func (m *moving) beginOut(more ...func(*MigrateRequest)) (*Migration, error) {
	m.t.Helper()
	in := MigrateRequest{Action: MigrateOut, To: m.to.srv.cfg.PublicURL(), NewPassword: "new-password"}
	for _, f := range more {
		f(&in)
	}
	return m.ask(in)
}

func (m *moving) mustBeginOut() {
	m.t.Helper()
	if _, err := m.beginOut(); err != nil {
		m.t.Fatal(err)
	}
}

func TestMigrateOut(t *testing.T) {
	m := startLeaving(t, nil)
	m.mustBeginOut()
	st := m.untilNeeds(migrate.NeedsCode)
	if st.Records != 22 || st.BlobsThere != 10 || st.Changed || st.Host != m.to.srv.cfg.PublicURL() || !st.Out || st.Held {
		t.Errorf("before the code: %+v", st)
	}
	if m.to.srv.store.LastSeq() != 0 {
		t.Error("the network was told of an account that is not there yet")
	}
	m.old.createPost("the account still works")
	if _, err := m.ask(MigrateRequest{Action: MigrateCode, Code: "AAAAA-AAAAA"}); err == nil || !strings.HasPrefix(err.Error(), "InvalidToken") {
		t.Errorf("a wrong code: %v", err)
	}
	if again, err := m.beginOut(); err != nil || again.Needs != migrate.NeedsCode {
		t.Errorf("begun again: %+v %v", again, err)
	}
	if _, err := m.ask(MigrateRequest{Action: MigrateBegin, Password: m.password, NewPassword: "new-password"}); err == nil {
		t.Error("the account moves in while it moves out")
	}
	there := &client{network: m.to, t: t, did: m.old.did}
	there.wantEvents(t, func() {
		if err := m.confirm(); err != nil {
			t.Fatal(err)
		}
		m.untilDone()
	}, "account active", "identity", "sync")
	m.wantGone(23)
	if sessions, err := m.to.srv.store.Sessions(t.Context(), m.there().account().ID); err != nil || len(sessions) != 2 { // those of wantGone and of here
		t.Errorf("the session of the move goes on: %d, %v", len(sessions), err)
	}
	if _, err := m.ask(MigrateRequest{Action: MigrateAbandon}); err == nil || !strings.HasPrefix(err.Error(), "DIDChanged") {
		t.Errorf("abandoned after the end: %v", err)
	}
	m.old.post("com.atproto.server.activateAccount", nil).fails(400, "InvalidRequest") // the DID is elsewhere
}

// wantGone is wantMoved for a move out of so many records.
func (m *moving) wantGone(records int64) {
	m.t.Helper()
	st := m.untilDone()
	if r := st.Report; r == nil || r.Records != records || r.Blobs != 10 || len(r.Lost) != 0 || len(r.Notes) != m.notes {
		m.t.Errorf("report: %+v", r)
	}
	m.wantSame()
}

// The process of the old host, which does the work, ends at the beginning and at the end of each step; or that of the new host does.
func TestMigrateOutKilledAtEveryStep(t *testing.T) {
	for _, at := range []migrate.State{
		migrate.StateAccount, migrate.StateRepo, migrate.StateBlobs, migrate.StatePreferences, migrate.StateVerify, migrate.StateSigned,
		migrate.StateHeld, migrate.StateSubmit, migrate.StateMoved, migrate.StateActive, migrate.StateLeft,
	} {
		for _, moment := range []string{"begin", "end", "new host"} {
			if at == migrate.StateAccount && moment != "end" {
				continue
			}
			t.Run(string(at)+" "+moment, func(t *testing.T) {
				m := startLeaving(t, nil)
				killed, stopped := make(chan struct{}), atomic.Bool{}
				m.watching(func(_ syntax.DID, s migrate.State, mo string) error {
					if s != at || mo != moment && (moment != "new host" || mo != "begin") || !stopped.CompareAndSwap(false, true) {
						return nil
					}
					defer close(killed)
					if moment == "new host" {
						m.to.stop()
						return nil
					}
					return errors.New("killed")
				})
				if _, err := m.beginOut(); (err != nil) != (at == migrate.StateAccount) {
					t.Fatal(err)
				}
				if afterCode[at] || at == migrate.StateHeld {
					m.untilNeeds(migrate.NeedsCode)
					if err := m.confirm(); err != nil {
						t.Fatal(err)
					}
				}
				select {
				case <-killed:
				case <-time.After(30 * time.Second):
					t.Fatal("the step never came")
				}
				if moment == "new host" {
					m.to.start(nil)
				} else {
					m.kill()
				}
				if at == migrate.StateAccount {
					m.untilNeeds(migrate.NeedsBegin)
					m.mustBeginOut() // the account that was made is found
				}
				if !afterCode[at] && at != migrate.StateHeld {
					m.untilNeeds(migrate.NeedsCode)
					if err := m.confirm(); err != nil {
						t.Fatal(err)
					}
				}
				m.wantGone(22)
			})
		}
	}
}

func TestMigrateOutThroughTrouble(t *testing.T) {
	tr := &trouble{seen: map[string]int{}}
	m := startLeaving(t, tr.wrap)
	tr.on.Store(true)
	for try := 0; ; try++ { // the answer to createAccount is lost, and that to createSession several times
		if _, err := m.beginOut(); err == nil {
			break
		} else if try == 5 {
			t.Fatal(err)
		}
	}
	m.untilNeeds(migrate.NeedsCode)
	if err := m.confirm(); err != nil {
		t.Fatal(err)
	}
	m.untilDone()
	tr.on.Store(false)
	m.wantGone(22)
}

// Whatever this server has acknowledged is at the new host, however late it was written.
func TestMigrateOutLosesNoWrite(t *testing.T) {
	m := startLeaving(t, nil)
	stop, written, mu := make(chan struct{}), []string{}, sync.Mutex{}
	var wg sync.WaitGroup
	for range 4 { // as fast as they can
		wg.Go(func() {
			for i := 0; ; i++ {
				a := m.old.post("com.atproto.repo.createRecord", map[string]any{
					"repo": m.old.did, "collection": "app.bsky.feed.post", "record": postRecord(fmt.Sprint("post ", i)),
				})
				if a.status != http.StatusOK {
					a.fails(401, "AccountDeactivated")
					return
				}
				mu.Lock()
				written = append(written, a.ok().str("uri"))
				mu.Unlock()
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	defer func() { close(stop); wg.Wait() }()
	m.mustBeginOut()
	m.untilNeeds(migrate.NeedsCode)
	if err := m.confirm(); err != nil {
		t.Fatal(err)
	}
	m.untilDone()
	wg.Wait()
	got := recordCIDs(t, m.there().exportCAR())
	for _, uri := range written {
		if path := strings.TrimPrefix(uri, "at://"+m.old.did+"/"); got[path] == "" {
			t.Errorf("%s was acknowledged and is not at the new host", path)
		}
	}
	if len(written) < 10 {
		t.Errorf("only %d records were written meanwhile", len(written))
	}
	m.wantSame()
}

// While the DID is being changed nothing is taken that would not get to the new host.
func TestMigrateOutHolds(t *testing.T) {
	m := startLeaving(t, nil)
	once, held, goOn := sync.Once{}, make(chan struct{}), make(chan struct{})
	m.watching(func(_ syntax.DID, s migrate.State, moment string) error {
		if s == migrate.StateHeld && moment == "begin" {
			once.Do(func() {
				close(held)
				<-goOn
			})
		}
		return nil
	})
	m.mustBeginOut()
	m.untilNeeds(migrate.NeedsCode)
	car := m.old.exportCAR()
	m.old.create("app.bsky.feed.post", imagePost(m.old.upload("image/png", png("late")))) // comes along
	if err := m.confirm(); err != nil {
		t.Fatal(err)
	}
	<-held
	m.old.post("com.atproto.repo.createRecord", map[string]any{
		"repo": m.old.did, "collection": "app.bsky.feed.post", "record": postRecord("too late"),
	}).fails(401, "AccountDeactivated")
	m.old.post("app.bsky.actor.putPreferences", map[string]any{"preferences": []any{}}).fails(400, "AccountMoving")
	m.old.post("com.atproto.server.activateAccount", nil).fails(400, "AccountMoving")
	m.old.importCAR(car).fails(400, "AccountMoving")
	close(goOn)
	if st := m.untilDone(); st.Report.Records != 23 || st.Report.Blobs != 11 {
		t.Errorf("report: %+v", st.Report)
	}
	m.wantSame()
}

func TestMigrateOutAbandon(t *testing.T) {
	for _, at := range []migrate.State{
		migrate.StateRepo, migrate.StateBlobs, migrate.StateVerify, migrate.StateCode, migrate.StateSigned, migrate.StateHeld,
	} {
		t.Run(string(at), func(t *testing.T) {
			m := startLeaving(t, nil)
			once, held := sync.Once{}, make(chan struct{})
			m.watching(func(_ syntax.DID, s migrate.State, moment string) error {
				if s == at && moment == "begin" {
					once.Do(func() { <-held }) // the command comes while the step goes on
				}
				return nil
			})
			m.mustBeginOut()
			if at == migrate.StateSigned || at == migrate.StateHeld {
				m.untilNeeds(migrate.NeedsCode)
				if err := m.confirm(); err != nil {
					t.Fatal(err)
				}
			}
			m.until("the state", func(st *Migration) bool { return st.State == at })
			time.AfterFunc(20*time.Millisecond, func() { close(held) })
			if _, err := m.ask(MigrateRequest{Action: MigrateAbandon}); err != nil {
				t.Fatal(err)
			}
			m.wantNothingLeft()
			m.old.createPost("nothing has happened")
			m.old.check()
			m.mustBeginOut() // and it may go another time
			m.untilNeeds(migrate.NeedsCode)
		})
	}
}

// wantNothingLeft waits until a move was given up.
func (m *moving) wantNothingLeft() {
	m.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := m.ask(MigrateRequest{Action: MigrateShow}); errors.Is(err, store.ErrNotFound) {
			break
		}
		if time.Now().After(end) {
			st, err := m.ask(MigrateRequest{Action: MigrateShow})
			m.t.Fatalf("the move is still there: %+v %v", st, err)
		}
	}
	defer m.to.background(m.t)()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		_, err := m.to.srv.store.AccountByDID(m.t.Context(), syntax.DID(m.old.did))
		if errors.Is(err, store.ErrNotFound) {
			break
		}
		if m.to.srv.wake(jobDeleteAccount); time.Now().After(end) {
			m.t.Fatal("the account is left at the new host")
		}
	}
	if m.to.srv.store.LastSeq() != 0 {
		m.t.Error("the network was told of an account that never came")
	}
	if !m.old.account().Active() {
		m.t.Errorf("the account is %q", m.old.account().Status())
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
	m.mustBeginOut()
	m.untilNeeds(migrate.NeedsCode)
	if _, err := m.ask(MigrateRequest{Action: MigrateAbandon}); err != nil {
		t.Fatal(err)
	}
	st := m.until("the end", func(st *Migration) bool { return st.State == migrate.StateAbandoned })
	if len(st.Notes) != 1 || !strings.Contains(st.Notes[0], st.Host) {
		t.Errorf("%+v", st)
	}
	m.mustBeginOut() // the account that is left is found again by its password
	m.untilNeeds(migrate.NeedsCode)
	if err := m.confirm(); err != nil {
		t.Fatal(err)
	}
	m.wantGone(22)
}

func TestMigrateOutRefusals(t *testing.T) {
	m := startLeaving(t, nil)
	for _, tt := range []struct {
		in   MigrateRequest
		want string
	}{
		{MigrateRequest{To: "nonsense", NewPassword: "new-password"}, "InvalidHost"},
		{MigrateRequest{To: m.to.url + "/path", NewPassword: "new-password"}, "InvalidHost"},
		{MigrateRequest{To: m.old.srv.cfg.PublicURL(), NewPassword: "new-password"}, "LivesHere"},
		{MigrateRequest{To: m.to.url, NewPassword: "new-password"}, "InvalidHost"}, // its DID is that of localhost
		{MigrateRequest{To: m.to.srv.cfg.PublicURL(), NewPassword: "short"}, "NewHostInvalidPassword"},
		{MigrateRequest{To: m.to.srv.cfg.PublicURL(), NewPassword: "new-password", Handle: "a.test"}, "NewHostInvalidHandle"},
		{MigrateRequest{To: m.to.srv.cfg.PublicURL(), NewPassword: "new-password", Handle: "no handle"}, "HandleNeeded"},
		{MigrateRequest{To: m.to.srv.cfg.PublicURL(), NewPassword: "new-password", Email: "nonsense"}, "NewHostInvalidRequest"},
		{MigrateRequest{To: m.to.srv.cfg.PublicURL(), NewPassword: "new-password", DeleteDays: -1}, "InvalidRequest"},
		{MigrateRequest{Action: MigrateSigned}, "InvalidRequest"},
		{MigrateRequest{Action: MigrateAbandon}, "MigrationNotFound"},
	} {
		if tt.in.Action == "" {
			tt.in.Action = MigrateOut
		}
		if _, err := m.ask(tt.in); err == nil || !strings.HasPrefix(err.Error(), tt.want+":") {
			t.Errorf("%+v: %v, want %s", tt.in, err, tt.want)
		}
	}
	if _, err := m.to.srv.store.AccountByDID(t.Context(), syntax.DID(m.old.did)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an account is left there: %v", err)
	}
	if st, err := m.beginOut(func(in *MigrateRequest) { in.NewPassword = "" }); err != nil || st.Needs != migrate.NeedsPassword {
		t.Errorf("without a password: %+v %v", st, err)
	}
	m.mustBeginOut() // none of that stands in the way
}

// The new host has other domains and wants an invite code: what it needs is asked for, and the DID names the new handle.
func TestMigrateOutToOtherDomain(t *testing.T) {
	m := startLeaving(t, nil)
	m.to.stop()
	change := func(c *Config) {
		c.ServiceHandleDomains = []string{".example.com"}
		c.InviteRequired = true
	}
	m.to.start(change)
	st, err := m.beginOut()
	if err != nil || st.Needs != migrate.NeedsHandle || !slices.Contains(st.Domains, ".example.com") {
		t.Fatalf("%+v %v", st, err)
	}
	handle := func(in *MigrateRequest) { in.Handle = "alice.example.com" }
	if st, err = m.beginOut(handle); err != nil || st.Needs != migrate.NeedsInvite {
		t.Fatalf("%+v %v", st, err)
	}
	invite := m.to.anonymous(t).admin("com.atproto.server.createInviteCode", map[string]any{"useCount": 1}).ok().str("code")
	_, err = m.beginOut(handle, func(in *MigrateRequest) { in.Invite, in.DeleteDays = invite, 30 })
	if err != nil {
		t.Fatal(err)
	}
	m.untilNeeds(migrate.NeedsCode)
	if err := m.confirm(); err != nil {
		t.Fatal(err)
	}
	m.untilDone()
	if op := m.old.lastOp(); op.AlsoKnownAs[0] != "at://alice.example.com" {
		t.Errorf("the DID names %v", op.AlsoKnownAs)
	}
	if left := time.Until(m.old.account().DeleteAfter); left < 29*24*time.Hour || left > 31*24*time.Hour {
		t.Errorf("the account here goes in %v", left)
	}
	m.wantSame()
}

// Who holds the rotation keys of his DID for himself signs the operation himself.
func TestMigrateOutSignedByTheOwner(t *testing.T) {
	for _, how := range []string{"operation", "key"} {
		t.Run(how, func(t *testing.T) {
			m := startLeaving(t, nil)
			key, _ := atcrypto.GeneratePrivateKeyK256()
			pub, _ := key.PublicKey()
			err := m.old.srv.updateDID(t.Context(), syntax.DID(m.old.did), func(op *plc.Operation) { op.RotationKeys = []string{pub.DIDKey()} })
			if err != nil {
				t.Fatal(err)
			}
			m.mustBeginOut()
			st := m.untilNeeds(migrate.NeedsSignature)
			if err := m.confirm(); err == nil {
				t.Error("a code signed for a key that this server does not have")
			}
			sign := func(change func(*plc.Operation)) error {
				op := st.Operation.Clone()
				change(&op)
				signed, err := plc.Sign(op, key)
				if err != nil {
					t.Fatal(err)
				}
				_, err = m.ask(MigrateRequest{Action: MigrateSigned, Operation: &signed})
				return err
			}
			for name, change := range map[string]func(*plc.Operation){
				"prev": func(op *plc.Operation) { op.Prev = "" }, "host": func(op *plc.Operation) { op.SetPDS("https://elsewhere.example") },
				"handle": func(op *plc.Operation) { op.SetHandle("eve.test") }, "key": func(op *plc.Operation) { op.SetSigningKey(pub.DIDKey()) },
			} {
				if err := sign(change); err == nil || !strings.HasPrefix(err.Error(), "InvalidOperation") {
					t.Errorf("with another %s: %v", name, err)
				}
			}
			if _, err := m.ask(MigrateRequest{Action: MigrateSigned, Operation: st.Operation}); err == nil {
				t.Error("an operation without a signature was taken")
			}
			if how == "operation" {
				err = sign(func(*plc.Operation) {})
			} else {
				_, err = m.ask(MigrateRequest{Action: MigrateCode, RotationKey: key.Multibase()})
			}
			if err != nil {
				t.Fatal(err)
			}
			m.wantGone(22)
			if op := m.old.lastOp(); op.RotationKeys[0] != pub.DIDKey() {
				t.Errorf("rotation keys %v", op.RotationKeys)
			}
		})
	}
}

// What the owner has put into the DID stays in it, and this server's key goes.
func TestMigrateOutKeepsWhatIsTheOwners(t *testing.T) {
	m := startLeaving(t, nil)
	own := m.old.ownKey()
	m.mustBeginOut()
	m.untilNeeds(migrate.NeedsCode)
	if err := m.confirm(); err != nil {
		t.Fatal(err)
	}
	m.wantGone(22)
	server, _ := m.to.srv.rotationKeyDID()
	op := m.old.lastOp()
	if !slices.Equal(op.RotationKeys, []string{own, server}) || len(op.AlsoKnownAs) != 2 || op.Services["atproto_labeler"].Endpoint == "" {
		t.Errorf("the DID after the move: %+v", op)
	}
}

// The DID changes between signature and submission: the account is active here again, and its owner asked once more.
func TestMigrateOutDIDChangesMeanwhile(t *testing.T) {
	m := startLeaving(t, nil)
	once := sync.Once{}
	m.watching(func(_ syntax.DID, s migrate.State, moment string) error {
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
	m.mustBeginOut()
	m.untilNeeds(migrate.NeedsCode)
	if err := m.confirm(); err != nil {
		t.Fatal(err)
	}
	st := m.until("the question", func(st *Migration) bool { return st.Needs == migrate.NeedsCode && len(st.Notes) > 0 })
	if st.Changed || st.Held || !m.old.account().Active() {
		t.Errorf("%+v, the account is %q", st, m.old.account().Status())
	}
	m.old.createPost("in between")
	if err := m.confirm(); err != nil {
		t.Fatal(err)
	}
	m.notes = 1
	m.wantGone(23)
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
	m.watching(func(_ syntax.DID, s migrate.State, moment string) error {
		if s == migrate.StateMoved && moment == "begin" {
			once.Do(end)
		}
		return nil
	})
	m.mustBeginOut()
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
	if err := m.confirm(); err != nil {
		t.Fatal(err)
	}
	if st := m.untilNeeds(migrate.NeedsSignIn); !st.Changed {
		t.Errorf("%+v", st)
	}
	again()
	m.untilDone()
	if acct, err := m.to.srv.store.AccountByDID(t.Context(), syntax.DID(m.old.did)); err != nil || !acct.Active() {
		t.Errorf("the account at the new host: %v %v", acct, err)
	}
}

// A blob whose bytes are not here holds nothing up, and is told of before the DID is changed.
func TestMigrateOutWithLostBlobs(t *testing.T) {
	m := startLeaving(t, nil)
	ref := m.old.upload("image/png", png("to be lost"))
	m.old.create("app.bsky.feed.post", imagePost(ref))
	lost := object(ref).str("ref.$link")
	if err := m.old.srv.blobs.Delete(syntax.DID(m.old.did), cid.MustParse(lost)); err != nil {
		t.Fatal(err)
	}
	m.mustBeginOut()
	st := m.untilNeeds(migrate.NeedsCode)
	if len(st.Lost) != 1 || st.Lost[0].CID != lost || st.BlobsThere != 10 {
		t.Errorf("%+v", st)
	}
	if err := m.confirm(); err != nil {
		t.Fatal(err)
	}
	if st := m.untilDone(); len(st.Report.Lost) != 1 {
		t.Errorf("%+v", st.Report)
	}
}
