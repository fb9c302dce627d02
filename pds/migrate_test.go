package pds

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
	"perch/pds/store"
)

// moving is an account that has its server fetch it from another, or bring it there.
type moving struct {
	t        *testing.T
	old      *client
	to       *network
	job      *network // the server that does it: the new host, or for a move out the old one
	password string
	notes    int    // in the report
	halt     func() // ends the work in the background

	watch func(syntax.DID, migrate.State, string) error
}

// startMoving makes an account with something in it, and the server that it will move to. wrap, unless nil, stands before the old host.
func startMoving(t *testing.T, wrap func(http.Handler) http.Handler) *moving {
	t.Helper()
	m := newMoving(t, wrap)
	m.job = m.to
	m.open()
	return m
}

func newMoving(t *testing.T, wrap func(http.Handler) http.Handler) *moving {
	t.Helper()
	old := startNetwork(t, nil)
	if wrap != nil { // once more, behind it
		old.stop()
		old.port, old.wrap = old.srv.cfg.Port, wrap
		old.start(nil)
	}
	m := &moving{t: t, old: old.signUp(t, "alice"), password: "alice-password"}
	m.old.fill(12)
	for i := range 9 {
		ref := m.old.upload("image/png", png(fmt.Sprint("picture ", i)))
		m.old.create("app.bsky.feed.post", imagePost(ref))
	}
	m.old.post("app.bsky.actor.putPreferences", map[string]any{"preferences": []any{
		map[string]any{"$type": "app.bsky.actor.defs#adultContentPref", "enabled": true},
		map[string]any{"$type": "app.bsky.actor.defs#personalDetailsPref", "birthDate": "1980-01-02T00:00:00.000Z"},
	}}).ok()
	m.to = &network{t: t, dir: t.TempDir(), plc: old.plc}
	return m
}

// open starts the server that does the work, on the address that it had before.
func (m *moving) open() {
	m.t.Helper()
	m.job.start(nil)
	m.job.port = m.job.srv.cfg.Port
	o := m.job.srv.migrationOptions()
	o.Retry, o.StepRetry = migrate.Backoff{Min: time.Millisecond, Max: 5 * time.Millisecond}, migrate.Backoff{Min: time.Millisecond, Max: 20 * time.Millisecond}
	o.Watch = m.watch
	m.job.srv.migrations = migrate.New(o)
	m.halt = sync.OnceFunc(m.job.background(m.t))
}

// kill ends the server that does the work as if its process had ended, but for what was on its way to the disk, and starts it again.
func (m *moving) kill() {
	m.t.Helper()
	m.halt()
	m.job.stop()
	m.open()
}

// ask is the command line.
func (m *moving) ask(in MigrateRequest) (*Migration, error) {
	m.t.Helper()
	in.Account = m.old.did
	a := m.operator(in)
	if a.status != http.StatusOK {
		var e struct{ Error, Message string }
		_ = json.Unmarshal(a.body, &e)
		return nil, errors.New(e.Error + ": " + e.Message)
	}
	var out MigrateAnswer
	if err := json.Unmarshal(a.body, &out); err != nil {
		m.t.Fatal(err)
	}
	if out.Migration == nil {
		return nil, store.ErrNotFound
	}
	return out.Migration, nil
}

func (m *moving) operator(in MigrateRequest) *answer {
	m.t.Helper()
	body, _ := json.Marshal(in)
	req, err := http.NewRequestWithContext(m.t.Context(), http.MethodPost, m.job.url+MigratePath, bytes.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth("admin", "admin-pass")
	return m.job.anonymous(m.t).send(req, MigratePath)
}

func (m *moving) begin() (*Migration, error) {
	m.t.Helper()
	return m.ask(MigrateRequest{Action: MigrateBegin, Password: m.password, NewPassword: "new-password"})
}

func (m *moving) mustBegin() {
	m.t.Helper()
	if _, err := m.begin(); err != nil {
		m.t.Fatal(err)
	}
}

// until waits until the move stands as asked for.
func (m *moving) until(what string, ok func(*Migration) bool) *Migration {
	m.t.Helper()
	var last *Migration
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		st, err := m.ask(MigrateRequest{Action: MigrateShow})
		if err == nil && ok(st) {
			return st
		}
		last = st
	}
	m.t.Fatalf("waited in vain for %s: %+v", what, last)
	return nil
}

func (m *moving) untilNeeds(what string) *Migration {
	m.t.Helper()
	return m.until(what, func(st *Migration) bool { return st.Needs == what })
}

func (m *moving) untilDone() *Migration {
	m.t.Helper()
	return m.until("the end", func(st *Migration) bool { return st.State == migrate.StateDone })
}

func (m *moving) confirm() error {
	m.t.Helper()
	_, err := m.ask(MigrateRequest{Action: MigrateCode, Code: m.old.plcCode()})
	return err
}

// wantMoved checks that everything is at the new host, works there, and is deactivated at the old one.
func (m *moving) wantMoved() {
	m.t.Helper()
	st := m.untilDone()
	if r := st.Report; r == nil || r.Records != 22 || r.Blobs != 10 || len(r.Lost) != 0 || len(r.Notes) != m.notes {
		m.t.Errorf("report: %+v", r)
	}
	m.wantSame()
	if there := m.there(); there.account().Email != "alice@example.com" {
		m.t.Errorf("the address here is %s", there.account().Email)
	}
}

// wantSame checks that both hosts hold the same, that the account works at the new one, and that the job has forgotten what it must not keep.
func (m *moving) wantSame() {
	m.t.Helper()
	row, err := m.job.srv.store.Migration(m.t.Context(), syntax.DID(m.old.did))
	if err != nil || row.Sealed != nil || strings.Contains(string(row.Data), "password") {
		m.t.Errorf("what is kept of the move: %s, %d sealed bytes, %v", row.Data, len(row.Sealed), err)
	}
	there := m.there()
	if acct := there.account(); !acct.Active() || !acct.DeleteAfter.IsZero() {
		m.t.Errorf("the account at the new host is %q, to be deleted after %v", acct.Status(), acct.DeleteAfter)
	}
	if acct := m.old.account(); acct.Status() != store.StatusDeactivated {
		m.t.Errorf("the account at the old host is %q", acct.Status())
	}
	want, got := recordCIDs(m.t, m.old.exportCAR()), recordCIDs(m.t, there.exportCAR())
	if len(want) != len(got) {
		m.t.Errorf("%d records, want %d", len(got), len(want))
	}
	for path, c := range want {
		if got[path] != c {
			m.t.Errorf("%s: %s, want %s", path, got[path], c)
		}
	}
	if missing := there.get("com.atproto.repo.listMissingBlobs").ok(); len(missing.at("blobs").([]any)) != 0 {
		m.t.Errorf("missing blobs: %v", missing)
	}
	a, b := m.old.get("app.bsky.actor.getPreferences").ok(), there.get("app.bsky.actor.getPreferences").ok()
	if fmt.Sprint(a) != fmt.Sprint(b) {
		m.t.Errorf("preferences: %v, want %v", b, a)
	}
	there.wantEvents(m.t, func() { there.createPost("first at the new host") }, "commit")
	there.check()
	m.old.check()
}

// there signs in at the new host with the new password.
func (m *moving) there() *client {
	m.t.Helper()
	c := &client{network: m.to, t: m.t, did: m.old.did, handle: m.old.handle}
	out := signIn(c, m.old.did, "new-password").ok()
	c.token, c.fresh = out.str("accessJwt"), out.str("refreshJwt")
	return c
}

// sessions at the old host, beside the one of the test.
func (m *moving) sessions() int {
	m.t.Helper()
	all, err := m.old.srv.store.Sessions(m.t.Context(), m.old.account().ID)
	if err != nil {
		m.t.Fatal(err)
	}
	return len(all) - 1
}

func TestMigrate(t *testing.T) {
	m := startMoving(t, nil)
	m.mustBegin()
	st := m.untilNeeds(migrate.NeedsCode)
	if st.Records != 22 || st.Blobs != 10 || st.BlobsHere != 10 || st.Changed || st.Host != m.old.srv.cfg.PublicURL() {
		t.Errorf("before the code: %+v", st)
	}
	if m.to.srv.store.LastSeq() != 0 {
		t.Error("the network was told of an account that is not here yet")
	}
	if _, err := m.ask(MigrateRequest{Action: MigrateCode, Code: "AAAAA-AAAAA"}); err == nil || !strings.Contains(err.Error(), "InvalidToken") {
		t.Errorf("a wrong code: %v", err)
	}
	if again, err := m.begin(); err != nil || again.Needs != migrate.NeedsCode {
		t.Errorf("begun again: %+v %v", again, err)
	}
	there := &client{network: m.to, t: t, did: m.old.did}
	there.wantEvents(t, func() {
		if err := m.confirm(); err != nil {
			t.Fatal(err)
		}
		m.untilDone()
	}, "account active", "identity", "sync")
	m.wantMoved()
	if m.sessions() != 0 {
		t.Error("the session at the old host goes on")
	}
	if _, err := m.ask(MigrateRequest{Action: MigrateAbandon}); err == nil || !strings.HasPrefix(err.Error(), "DIDChanged") {
		t.Errorf("abandoned after the end: %v", err)
	}
}

func TestMigrateRefusals(t *testing.T) {
	m := startMoving(t, nil)
	for _, tt := range []struct {
		in   MigrateRequest
		want string
	}{
		{MigrateRequest{Action: MigrateBegin, Password: "wrong", NewPassword: "new-password"}, "OldHostAuthenticationRequired"},
		{MigrateRequest{Action: MigrateBegin, Password: m.password, NewPassword: "short"}, "InvalidPassword"},
		{MigrateRequest{Action: MigrateBegin, Password: m.password, NewPassword: "new-password", Handle: "a.test"}, "InvalidHandle"},
		{MigrateRequest{Action: MigrateBegin, Password: m.password, NewPassword: "new-password", Handle: "alice.example.com"}, "InvalidHandle"},
		{MigrateRequest{Action: MigrateBegin, Password: m.password, NewPassword: "new-password", Email: "nonsense"}, "InvalidRequest"},
		{MigrateRequest{Action: MigrateCode, Code: "AAAAA-AAAAA"}, "MigrationNotFound"},
		{MigrateRequest{Action: MigrateAbandon}, "MigrationNotFound"},
		{MigrateRequest{Action: "dance"}, "InvalidRequest"},
	} {
		if _, err := m.ask(tt.in); err == nil || !strings.HasPrefix(err.Error(), tt.want+":") {
			t.Errorf("%+v: %v, want %s", tt.in, err, tt.want)
		}
	}
	app := m.old.post("com.atproto.server.createAppPassword", map[string]any{"name": "phone"}).ok().str("password")
	if _, err := m.ask(MigrateRequest{Action: MigrateBegin, Password: app, NewPassword: "new-password"}); err == nil {
		t.Error("an app password moved the account")
	}
	if m.sessions() != 0 {
		t.Error("sessions are left at the old host")
	}
	if _, err := m.to.srv.store.AccountByDID(t.Context(), syntax.DID(m.old.did)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an account is left here: %v", err)
	}
	req := m.old.jsonRequest("x", MigrateRequest{Action: MigrateList})
	req.URL.Path, req.URL.Host = MigratePath, strings.TrimPrefix(m.to.url, "http://")
	if a := m.to.anonymous(t).send(req, MigratePath); a.status != http.StatusUnauthorized {
		t.Errorf("without the admin password: %d", a.status)
	}
	m.mustBegin() // none of that stands in the way
}

func TestMigrateAsksForTheSecondFactor(t *testing.T) {
	m := startMoving(t, nil)
	setup, err := m.old.srv.accounts.BeginTOTP(t.Context(), m.old.account())
	if err != nil {
		t.Fatal(err)
	}
	codes, err := m.old.srv.accounts.ConfirmTOTP(t.Context(), m.old.account(), totpNow(t, setup.Secret))
	if err != nil {
		t.Fatal(err)
	}
	if st, err := m.begin(); err != nil || st.Needs != migrate.NeedsFactor {
		t.Fatalf("without a code: %+v, %v", st, err)
	}
	if _, err := m.ask(MigrateRequest{Action: MigrateBegin, Password: m.password, Code: "wrong", NewPassword: "new-password"}); err == nil {
		t.Fatal("a wrong second factor was taken")
	}
	if _, err := m.ask(MigrateRequest{Action: MigrateBegin, Password: m.password, Code: codes[0], NewPassword: "new-password"}); err != nil {
		t.Fatal(err)
	}
	m.untilNeeds(migrate.NeedsCode)
}

func TestMigrateAbandon(t *testing.T) {
	for _, at := range []migrate.State{migrate.StateRepo, migrate.StateBlobs, migrate.StateVerify, migrate.StateCode, migrate.StateSigned} {
		t.Run(string(at), func(t *testing.T) {
			var at, held = at, make(chan struct{})
			m := startMoving(t, nil)
			m.halt()
			m.to.stop()
			m.watch = func(_ syntax.DID, s migrate.State, moment string) error {
				if s == at && moment == "begin" {
					<-held // the command comes while the step goes on
				}
				return nil
			}
			m.open()
			events := m.to.srv.store.LastSeq()
			m.mustBegin()
			if at == migrate.StateCode || at == migrate.StateSigned {
				m.untilNeeds(migrate.NeedsCode)
			}
			if at == migrate.StateSigned {
				if err := m.confirm(); err != nil {
					t.Fatal(err)
				}
			}
			m.until("the state", func(st *Migration) bool { return st.State == at })
			time.AfterFunc(20*time.Millisecond, func() { close(held) })
			if _, err := m.ask(MigrateRequest{Action: MigrateAbandon}); err != nil && at != migrate.StateSigned {
				t.Fatal(err)
			} else if err != nil {
				t.Skip("the DID was changed first")
			}
			for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
				_, err := m.to.srv.store.AccountByDID(t.Context(), syntax.DID(m.old.did))
				_, gone := m.to.srv.store.Migration(t.Context(), syntax.DID(m.old.did))
				if errors.Is(err, store.ErrNotFound) && errors.Is(gone, store.ErrNotFound) {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("left here: account %v, move %v", err, gone)
				}
				m.to.srv.wake(jobDeleteAccount)
			}
			if m.to.srv.store.LastSeq() != events {
				t.Error("the network was told of an account that never came")
			}
			if m.sessions() != 0 || !m.old.account().Active() {
				t.Errorf("at the old host: %d sessions, account %q", m.sessions(), m.old.account().Status())
			}
			if blobs, _ := m.to.srv.store.BlobStats(t.Context(), 1); blobs.Bytes != 0 {
				t.Errorf("blobs left: %+v", blobs)
			}
			m.old.createPost("nothing has happened")
			m.mustBegin() // and it may come another time
			m.untilNeeds(migrate.NeedsCode)
		})
	}
}

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
				m.halt()
				m.to.stop()
				killed, stopped := make(chan struct{}), atomic.Bool{}
				m.watch = func(_ syntax.DID, s migrate.State, mo string) error {
					if s == at && mo == moment && stopped.CompareAndSwap(false, true) {
						close(killed)
						return errors.New("killed")
					}
					return nil
				}
				m.open()
				_, err := m.begin()
				if at == migrate.StateAccount {
					if err == nil {
						t.Fatal("not killed")
					}
				} else if err != nil {
					t.Fatal(err)
				}
				if afterCode[at] {
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
				m.kill()
				if at == migrate.StateAccount {
					m.untilNeeds(migrate.NeedsBegin)
					m.mustBegin()
				}
				if !afterCode[at] {
					m.untilNeeds(migrate.NeedsCode)
					if err := m.confirm(); err != nil {
						t.Fatal(err)
					}
				}
				m.wantMoved()
				if m.sessions() > 0 {
					t.Errorf("%d sessions are left at the old host", m.sessions())
				}
			})
		}
	}
}

var afterCode = map[migrate.State]bool{migrate.StateSigned: true, migrate.StateSubmit: true, migrate.StateMoved: true, migrate.StateActive: true, migrate.StateLeft: true}

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
			time.Sleep(2 * time.Millisecond)
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

// The old host is stopped and started again while the account moves.
func TestMigrateOldHostRestarts(t *testing.T) {
	m := startMoving(t, nil)
	m.old.port = m.old.srv.cfg.Port
	m.old.stop()
	if _, err := m.begin(); err == nil {
		t.Fatal("began without the old host")
	}
	m.old.start(nil)
	m.mustBegin()
	m.old.stop()
	time.Sleep(50 * time.Millisecond)
	m.old.start(nil)
	m.untilNeeds(migrate.NeedsCode)
	if err := m.confirm(); err != nil {
		t.Fatal(err)
	}
	m.wantMoved()
}

// What is written at the old host while its owner looks for the code comes along.
func TestMigrateBringsWhatIsWrittenMeanwhile(t *testing.T) {
	m := startMoving(t, nil)
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	m.old.create("app.bsky.feed.post", imagePost(m.old.upload("image/png", png("late"))))
	m.old.post("app.bsky.actor.putPreferences", map[string]any{"preferences": []any{
		map[string]any{"$type": "app.bsky.actor.defs#adultContentPref", "enabled": false},
	}}).ok()
	if err := m.confirm(); err != nil {
		t.Fatal(err)
	}
	st := m.untilDone()
	if st.Report.Records != 23 || st.Report.Blobs != 11 || len(st.Report.Notes) != 0 {
		t.Errorf("report: %+v", st.Report)
	}
	if got := m.there().get("app.bsky.actor.getPreferences").ok(); got.at("preferences.0.enabled") != false {
		t.Errorf("preferences: %v", got)
	}
}

// A blob that the old host has lost holds nothing up, and is told of before the DID is changed.
func TestMigrateWithLostBlobs(t *testing.T) {
	m := startMoving(t, nil)
	ref := m.old.upload("image/png", png("to be lost"))
	m.old.create("app.bsky.feed.post", imagePost(ref))
	c, err := cid.Decode(object(ref).str("ref.$link"))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.old.srv.blobs.Delete(syntax.DID(m.old.did), c); err != nil {
		t.Fatal(err)
	}
	m.mustBegin()
	st := m.untilNeeds(migrate.NeedsCode)
	if len(st.Lost) != 1 || st.Lost[0].CID != c.String() || st.BlobsHere != 10 {
		t.Errorf("%+v", st)
	}
	if err := m.confirm(); err != nil {
		t.Fatal(err)
	}
	if st := m.untilDone(); len(st.Report.Lost) != 1 {
		t.Errorf("%+v", st.Report)
	}
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
	if err := m.confirm(); err != nil {
		t.Fatal(err)
	}
	m.untilDone()
	if m.old.account().Active() {
		t.Error("the old account is active")
	}
}

// A rotation key that the owner has put into the DID stays there.
func TestMigrateKeepsTheOwnersRotationKey(t *testing.T) {
	m := startMoving(t, nil)
	owner := "did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv"
	err := m.old.srv.updateDID(t.Context(), syntax.DID(m.old.did), func(op *plc.Operation) { op.RotationKeys = append([]string{owner}, op.RotationKeys...) })
	if err != nil {
		t.Fatal(err)
	}
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	if err := m.confirm(); err != nil {
		t.Fatal(err)
	}
	m.notes = 1 // the old host recommends the key, too
	m.wantMoved()
	last, err := m.to.srv.plc.Last(t.Context(), syntax.DID(m.old.did))
	if err != nil || len(last.RotationKeys) != 2 || last.RotationKeys[0] != owner {
		t.Errorf("rotation keys %v, %v", last.RotationKeys, err)
	}
}

// The DID changes between signature and submission: nothing is lost, the owner is asked again.
func TestMigrateDIDChangesMeanwhile(t *testing.T) {
	m := startMoving(t, nil)
	m.halt()
	m.to.stop()
	once := sync.Once{}
	m.watch = func(_ syntax.DID, s migrate.State, moment string) error {
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
	}
	m.open()
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	if err := m.confirm(); err != nil {
		t.Fatal(err)
	}
	st := m.until("the question", func(st *Migration) bool { return st.Needs == migrate.NeedsCode && st.Error != "" })
	if st.Changed {
		t.Errorf("%+v", st)
	}
	if err := m.confirm(); err != nil {
		t.Fatal(err)
	}
	m.wantMoved()
	if last, _ := m.to.srv.plc.Last(t.Context(), syntax.DID(m.old.did)); len(last.AlsoKnownAs) != 2 {
		t.Errorf("the other alias is gone: %v", last.AlsoKnownAs)
	}
}
