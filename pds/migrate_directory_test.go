package pds

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/migrate"
)

// directory stands before the PLC directory and fails as it is told.
type directory struct {
	t    *testing.T
	next *httputil.ReverseProxy

	mu     sync.Mutex
	silent bool   // answers nothing
	posts  string // "": takes them; "lose": takes them and does not say so; "refuse": fails at them; "reject": says no; "keep": takes them later
	kept   *http.Request
}

func newDirectory(t *testing.T, plc string) (*directory, string) {
	t.Helper()
	to, err := url.Parse(plc)
	if err != nil {
		t.Fatal(err)
	}
	d := &directory{t: t, next: httputil.NewSingleHostReverseProxy(to)}
	srv := httptest.NewServer(d)
	t.Cleanup(srv.Close)
	return d, srv.URL
}

func (d *directory) set(silent bool, posts string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.silent, d.posts = silent, posts
}

// late has the directory take what it has kept.
func (d *directory) late() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next.ServeHTTP(httptest.NewRecorder(), d.kept)
}

func (d *directory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fault := func() { http.Error(w, "no", http.StatusBadGateway) }
	if r.Method == http.MethodPost && d.posts != "" {
		switch d.posts {
		case "lose":
			d.next.ServeHTTP(httptest.NewRecorder(), r)
		case "keep":
			body, _ := io.ReadAll(r.Body)
			d.kept = httptest.NewRequest(http.MethodPost, r.URL.String(), bytes.NewReader(body))
			d.kept.Header = r.Header.Clone()
		case "reject":
			http.Error(w, `{"message":"<b>Invalid</b> signature"}`, http.StatusBadRequest)
			return
		}
		fault()
		return
	}
	if d.silent {
		fault()
		return
	}
	d.next.ServeHTTP(w, r)
}

// leavingBy is an account that leaves by way of a directory that can be made to fail, once the owner has given the code.
func leavingBy(t *testing.T, at migrate.State, silent bool, posts string) (*moving, *directory) {
	t.Helper()
	m := startLeaving(t, nil)
	d, at2 := newDirectory(t, m.old.plc)
	var once sync.Once
	m.job.change = func(c *Config) { c.PLCURL = at2 }
	m.watching(func(_ context.Context, _ syntax.DID, s migrate.State, moment string) error {
		if s == at && moment == "begin" {
			once.Do(func() { d.set(silent, posts) })
		}
		if s == migrate.StateAbandoning && moment == "begin" && posts == "keep" {
			d.late()
		}
		return nil
	})
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	m.mustConfirm()
	return m, d
}

// A directory that is silent when the operation should be sent: nothing was sent, so the owner gets the account back at once.
func TestMigrateOutGivenUpWhileTheDirectoryIsSilent(t *testing.T) {
	m, d := leavingBy(t, migrate.StateHeld, true, "")
	st := m.until("the silence", func(st *Migration) bool { return st.Trouble == migrate.TroubleDirectory })
	if st.Changed || !st.Held {
		t.Errorf("%+v", st)
	}
	v := m.old.visitor(t)
	v.signIn("alice.test", "alice-password")
	v.open("/account/move/progress").shows(200, "/account/move/progress", "The directory of accounts does not answer", "Until then your account here is deactivated", "Give the move up")
	v.open("/account/move/abandon").send("/account/move/abandon")
	v.waits("/account/move", "Address of the new server")
	if acct := m.old.account(); !acct.Active() {
		t.Errorf("the account is %q", acct.Status())
	}
	d.set(false, "")
	m.old.createPost("goes on")
	m.records++
	m.wantNothingLeft()
}

// A directory that says no to the operation: the account is as it was, and its owner is asked again and told why.
func TestPagesMoveAwayIsAskedAgain(t *testing.T) {
	m, d := leavingBy(t, migrate.StateSubmit, false, "reject")
	v := m.old.visitor(t)
	v.signIn("alice.test", "alice-password")
	v.waits("/account/move/progress", "did not take the change, so nothing has changed").shows(200, "/account/move/progress", "Enter the code from the mail")
	if strings.Contains(string(v.page.body), "Invalid") {
		t.Error("the page shows the words of the directory")
	}
	if acct := m.old.account(); !acct.Active() {
		t.Errorf("the account is %q", acct.Status())
	}
	v.open("/account/move/progress?lang=de").shows(200, "/account/move/progress", "Das Verzeichnis der Konten hat die Änderung nicht angenommen")
	d.set(false, "")
	v.open("/account/move/progress?lang=en").send("/account/move/progress", "do", "confirm", "code", m.old.plcCode())
	v.waits("/account/move/progress", "Your account has moved").shows(200, "/account/move/progress", "and you were asked again")
	m.notes = 1
	m.wantMoved()
}

// A directory that does not take the operation: the move can be given up, when it says so.
func TestMigrateOutGivenUpAfterItWasSent(t *testing.T) {
	m, d := leavingBy(t, migrate.StateSubmit, false, "refuse")
	m.until("the failure", func(st *Migration) bool {
		return st.State == migrate.StateSubmit && st.Trouble == migrate.TroubleDirectory
	})
	d.set(true, "refuse")
	if _, err := m.ask(MigrateRequest{Action: MigrateAbandon}); err == nil || !strings.HasPrefix(err.Error(), "DirectorySilent:") {
		t.Errorf("while nobody can know: %v", err)
	}
	v := m.old.visitor(t)
	v.signIn("alice.test", "alice-password")
	v.open("/account/move/abandon").send("/account/move/abandon").shows(422, "/account/move/abandon", "nobody can know whether your account has moved")
	d.set(false, "refuse")
	v.send("/account/move/abandon")
	v.waits("/account/move", "Address of the new server")
	if acct := m.old.account(); !acct.Active() {
		t.Errorf("the account is %q", acct.Status())
	}
	d.set(false, "")
	m.wantNothingLeft()
}

// The directory has taken the operation and does not say so: the move goes on.
func TestMigrateOutIsNotGivenUpWhenTheDIDHasChanged(t *testing.T) {
	m, d := leavingBy(t, migrate.StateSubmit, true, "lose")
	m.until("the failure", func(st *Migration) bool { return st.State == migrate.StateSubmit && st.Error != "" })
	if _, err := m.ask(MigrateRequest{Action: MigrateAbandon}); err == nil || !strings.HasPrefix(err.Error(), "DirectorySilent:") {
		t.Errorf("while nobody can know: %v", err)
	}
	d.set(false, "refuse")
	if _, err := m.ask(MigrateRequest{Action: MigrateAbandon}); err == nil || !strings.HasPrefix(err.Error(), "DIDChanged:") {
		t.Errorf("after it has changed: %v", err)
	}
	d.set(false, "")
	m.wantMoved()
}

// The directory takes the operation only after the owner has given the move up: it goes on, and nothing is lost.
func TestMigrateOutGoesOnWhenTheOperationComesLate(t *testing.T) {
	m, _ := leavingBy(t, migrate.StateSubmit, false, "keep")
	m.until("the failure", func(st *Migration) bool { return st.State == migrate.StateSubmit && st.Error != "" })
	if _, err := m.ask(MigrateRequest{Action: MigrateAbandon}); err != nil {
		t.Fatal(err)
	}
	m.wantMoved()
}
