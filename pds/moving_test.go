package pds

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/migrate"
	"perch/pds/store"
)

// moving is an account that has its server fetch it from another, or bring it there.
type moving struct {
	t        *testing.T
	out      bool // the old host does it; else the new one
	old      *client
	to       *network
	job      *network // the server that does it
	password string
	records  int64  // that the account has
	notes    int    // in the report
	halt     func() // ends the work in the background

	watch watch
}

// watch is told of the steps of a move as migrate.Options says.
type watch = func(ctx context.Context, did syntax.DID, state migrate.State, moment string) error

// startMoving makes an account with something in it, and the server that it will move to. wrap, unless nil, stands before the old host.
func startMoving(t *testing.T, wrap func(http.Handler) http.Handler) *moving {
	t.Helper()
	m := newMoving(t, wrap)
	m.job = m.to
	m.open()
	return m
}

// startLeaving makes an account with something in it, which its server will bring to another. wrap, unless nil, stands before the new host.
func startLeaving(t *testing.T, wrap func(http.Handler) http.Handler) *moving {
	t.Helper()
	m := newMoving(t, nil)
	m.to.wrap = wrap
	m.to.start(nil)
	m.to.port = m.to.srv.cfg.Port
	m.out, m.job = true, m.old.network
	m.job.port = m.job.srv.cfg.Port
	m.job.stop()
	m.open()
	return m
}

// bothWays runs a test of a move to here and of one away from here.
func bothWays(t *testing.T, test func(t *testing.T, m *moving)) {
	t.Run("in", func(t *testing.T) { test(t, startMoving(t, nil)) })
	t.Run("out", func(t *testing.T) { test(t, startLeaving(t, nil)) })
}

func newMoving(t *testing.T, wrap func(http.Handler) http.Handler) *moving {
	t.Helper()
	old := startNetwork(t, nil)
	if wrap != nil { // once more, behind it
		old.stop()
		old.port, old.wrap = old.srv.cfg.Port, wrap
		old.start(nil)
	}
	m := &moving{t: t, old: old.signUp(t, "alice"), password: "alice-password", records: 22}
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
	o.Watch, o.Late = m.watch, 20*time.Millisecond
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

// watching has the server that does the work tell of every step.
func (m *moving) watching(watch watch) {
	m.t.Helper()
	m.watch = watch
	m.kill()
}

// holdAt has the move wait before the step of a state, the first time that it comes there. reached waits for that.
func (m *moving) holdAt(state migrate.State) (reached, release func()) {
	m.t.Helper()
	here, goOn := make(chan struct{}), make(chan struct{})
	once := sync.Once{}
	m.watching(func(_ context.Context, _ syntax.DID, s migrate.State, moment string) error {
		if s == state && moment == "begin" {
			once.Do(func() {
				close(here)
				<-goOn
			})
		}
		return nil
	})
	release = sync.OnceFunc(func() { close(goOn) })
	m.t.Cleanup(release)
	return func() {
		m.t.Helper()
		m.await(here, state)
	}, release
}

// await waits for what a step of a state tells.
func (m *moving) await(told <-chan struct{}, state migrate.State) {
	m.t.Helper()
	select {
	case <-told:
	case <-time.After(patience):
		m.t.Fatalf("never came to %s", state)
	}
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

// begin begins the move, with what else the command line says.
func (m *moving) begin(more ...func(*MigrateRequest)) (*Migration, error) {
	m.t.Helper()
	in := MigrateRequest{Action: MigrateBegin, Password: m.password, NewPassword: "new-password"}
	if m.out {
		in = MigrateRequest{Action: MigrateOut, To: m.to.srv.cfg.PublicURL(), NewPassword: "new-password"}
	}
	for _, f := range more {
		f(&in)
	}
	return m.ask(in)
}

func (m *moving) mustBegin() {
	m.t.Helper()
	if _, err := m.begin(); err != nil {
		m.t.Fatal(err)
	}
}

// until waits until the move stands as asked for.
func (m *moving) until(what string, ok func(*Migration) bool) (st *Migration) {
	m.t.Helper()
	var err error
	defer func() {
		if m.t.Failed() {
			m.t.Logf("waiting for %s: %+v %v", what, st, err)
		}
	}()
	eventually(m.t, what, func() bool {
		st, err = m.ask(MigrateRequest{Action: MigrateShow})
		return err == nil && ok(st)
	})
	return st
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

func (m *moving) mustConfirm() {
	m.t.Helper()
	if err := m.confirm(); err != nil {
		m.t.Fatal(err)
	}
}

// wantMoved checks that everything is at the new host, works there, and is deactivated at the old one.
func (m *moving) wantMoved() {
	m.t.Helper()
	st := m.untilDone()
	if r := st.Report; r == nil || r.Records != m.records || r.Blobs != 10 || len(r.Lost) != 0 || len(r.Notes) != m.notes {
		m.t.Errorf("report: %+v", r)
	}
	m.wantSame()
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
	if acct := there.account(); acct.Email != "alice@example.com" {
		m.t.Errorf("the address at the new host is %s", acct.Email)
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

// wantNothingLeft waits until a move was given up, and the account gone that it made.
func (m *moving) wantNothingLeft() {
	m.t.Helper()
	eventually(m.t, "the end of the move", func() bool {
		_, err := m.ask(MigrateRequest{Action: MigrateShow})
		return errors.Is(err, store.ErrNotFound)
	})
	if m.out { // else it runs already
		defer m.to.background(m.t)()
	}
	eventually(m.t, "the end of the account at the new host", func() bool {
		m.to.srv.wake(jobDeleteAccount)
		_, err := m.to.srv.store.AccountByDID(m.t.Context(), syntax.DID(m.old.did))
		return errors.Is(err, store.ErrNotFound)
	})
	if m.to.srv.store.LastSeq() != 0 {
		m.t.Error("the network was told of an account that never came")
	}
	if blobs, err := m.to.srv.store.BlobStats(m.t.Context(), 1); blobs.Bytes != 0 || err != nil {
		m.t.Errorf("blobs left: %+v %v", blobs, err)
	}
	if !m.old.account().Active() {
		m.t.Errorf("the account is %q", m.old.account().Status())
	}
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
