package pds

import (
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"perch/pds/migrate"
)

// From one Perch to another by the pages, without giving the password here. The answer that the browser brings is good for that browser, and once.
func TestPagesMoveHereByBrowser(t *testing.T) {
	m := startMoving(t, nil)
	v := m.to.visitor(t)
	v.open("/move/from?account="+m.old.did).shows(200, "/move/from", "This server does not see your password there")
	v.send("/move/browser?account=" + m.old.did)
	to, err := url.Parse(v.page.header.Get("Location"))
	if err != nil || v.page.status != 303 || to.Path != "/oauth/authorize" {
		t.Fatalf("%d, sent to %s: %v", v.page.status, to, err)
	}
	back, err := url.Parse(m.agreeAt(to))
	if err != nil || back.Path != "/perch/migrate/signed-in" {
		t.Fatalf("back at %s: %v", back, err)
	}
	v.open(back.RequestURI())
	if location := v.page.header.Get("Location"); v.page.status != 303 || location != m.to.srv.cfg.PublicURL()+"/move/signed-in?"+back.RawQuery {
		t.Fatalf("%d, sent on to %s", v.page.status, location)
	}
	if policy := v.page.header.Get("Referrer-Policy"); policy != "no-referrer" {
		t.Errorf("the code is told to where the page leads: %q", policy)
	}
	arrive := "/move/signed-in?" + back.RawQuery
	thief := m.to.visitor(t)
	thief.open(arrive).shows(422, "/move/signed-in", "expired or was used already")
	v.open(arrive).shows(200, "/move/account", "You are signed in at")
	v.open(arrive).shows(422, "/move/signed-in", "expired or was used already")
	m.kill()
	v.open("/move/progress").shows(200, "/move/account")
	v.send("/move/account", "keep", "yes", "password", "new-password").shows(200, "/move/progress")
	v.waits("/move/progress", "Enter the code from the mail").send("/move/progress", "do", "confirm", "code", m.old.plcCode())
	v.waits("/move/progress", "Your account has moved").shows(200, "/move/progress", "date of birth")
	m.there().post("app.bsky.actor.putPreferences", map[string]any{"preferences": m.old.get("app.bsky.actor.getPreferences").ok()["preferences"]}).ok()
	m.notes = 1
	m.wantMoved()
}

// What an old host's authorization server says when it refuses is shown in the visitor's language, and not in its words.
func TestPagesMoveCameBack(t *testing.T) {
	n := startNetwork(t, nil)
	v := n.visitor(t)
	v.open("/perch/migrate/signed-in?state=x.did:plc:nobody&error=access_denied&error_description=%3Cb%3Eclick+here").shows(404, "/move/came-back", "Nothing waits for this")
	for how, status := range map[string]int{"done": 200, "late": 404, "denied": 400, "silent": 502} {
		v.open("/move/came-back?lang=de&how="+how).shows(status, "/move/came-back", `lang="de"`)
		v.open("/move/came-back?lang=en&how="+how).shows(status, "/move/came-back", `lang="en"`)
	}
	v.open("/move/came-back?how=%3Cb%3E").shows(404, "/move/came-back")
	v.open("/perch/migrate/signed-in?state=x.pages&code=c&iss=i")
	if v.page.status != 303 || !strings.HasSuffix(v.page.header.Get("Location"), "/move/signed-in?state=x.pages&code=c&iss=i") {
		t.Errorf("%d %v", v.page.status, v.page.header)
	}
}

// The old host asks for a second factor.
func TestPagesMoveAsksForTheSecondFactor(t *testing.T) {
	m := startMoving(t, nil)
	codes := m.old.withTOTP()
	v := m.to.visitor(t)
	m.enterMove(v).shows(200, "/move/sign-in", "Code of the second factor", "wants a code too")
	if strings.Contains(string(v.page.body), m.password) {
		t.Error("the password stands in the page")
	}
	v.send("/move/sign-in?account="+m.old.did, "password", m.password, "code", "wrong").shows(422, "/move/sign-in", `id="code-error"`)
	v.send("/move/sign-in?account="+m.old.did, "password", m.password, "code", codes[0]).shows(200, "/move/account")
	v.open("/move/abandon").send("/move/abandon")
	v.waits("/move/progress", "That move has ended")
	if m.sessions() != 0 {
		t.Error("a session at the old host goes on")
	}
}

// movingWeb is an account with a did:web, and the server that it will move to.
func movingWeb(t *testing.T) (*moving, *webHost) {
	t.Helper()
	old := startNetwork(t, nil)
	h := newWebHost(t)
	c := h.bring(t, old)
	h.names(c, old)
	c.activate()
	c.fill(12)
	m := &moving{t: t, old: c, password: "alice-password", records: 13, to: &network{t: t, dir: t.TempDir(), plc: old.plc}}
	return m, h
}

// names has the document name a server, with the key that the account has there.
func (h *webHost) names(c *client, at *network) {
	acct, err := at.srv.store.AccountByDID(c.t.Context(), h.did)
	if err != nil {
		c.t.Fatal(err)
	}
	h.set("alice.test", strings.TrimPrefix(acct.SigningKeyDID, "did:key:"), at.srv.cfg.PublicURL())
}

// A did:web moves here by the pages: its owner changes the document.
func TestPagesMoveHereWithDIDWeb(t *testing.T) {
	m, h := movingWeb(t)
	m.job = m.to
	m.open()
	v := m.to.visitor(t)
	m.enterMove(v).shows(200, "/move/account")
	v.send("/move/account", "keep", "yes", "password", "new-password").shows(200, "/move/progress")
	v.waits("/move/progress", "Change your DID document").shows(200, "/move/progress", m.to.srv.cfg.PublicURL(), "<span>Your DID document</span>",
		`data-progress="/move/progress.json"`) // or nobody would see that it goes on by itself
	if strings.Contains(string(v.page.body), "Your code from the old server") {
		t.Error("a step is shown that this move does not have")
	}
	v.send("/move/progress", "do", "again").shows(200, "/move/progress", "Change your DID document")
	_, shown, _ := strings.Cut(string(v.page.body), "<code>")
	shown, _, _ = strings.Cut(shown, "</code>")
	h.publish(json.RawMessage(html.UnescapeString(shown)))
	v.send("/move/progress", "do", "again")
	v.waits("/move/progress", "Your account has moved")
	if st := m.untilDone(); st.Report.Records != 13 || len(st.Report.Notes) != 0 {
		t.Errorf("%+v", st.Report)
	}
	m.wantSame()
}

// A did:web leaves by the pages; and stays, when the document is not changed.
func TestPagesMoveAwayWithDIDWeb(t *testing.T) {
	m, h := movingWeb(t)
	m.to.start(nil)
	m.to.port = m.to.srv.cfg.Port
	m.job, m.out = m.old.network, true
	m.job.port = m.job.srv.cfg.Port
	m.job.stop()
	m.open()
	v := m.old.visitor(t)
	v.signIn(m.old.did, "alice-password")
	to := "/account/move/to?to=" + m.to.srv.cfg.PublicURL()
	untilDocument := func() {
		t.Helper()
		v.open(to).send(to, "keep", "yes", "email", "alice@example.com", "password", "new-password").shows(200, "/account/move/progress")
		v.waits("/account/move/progress", "Enter the code from the mail").send("/account/move/progress", "do", "confirm", "code", m.old.plcCode())
		v.waits("/account/move/progress", "Change your DID document").shows(200, "/account/move/progress", m.to.srv.cfg.PublicURL())
		if st := m.untilNeeds(migrate.NeedsDocument); !st.Held || st.Changed {
			t.Errorf("%+v", st)
		}
	}
	untilDocument()
	v.open("/account/move/abandon").send("/account/move/abandon")
	v.waits("/account/move", "Address of the new server")
	if acct := m.old.account(); !acct.Active() {
		t.Errorf("the account is %q", acct.Status())
	}
	m.wantNothingLeft()
	untilDocument()
	h.names(m.old, m.to)
	v.send("/account/move/progress", "do", "again")
	v.waits("/account/move/progress", "Your account has moved")
	if st := m.untilDone(); st.Report.Records != 13 {
		t.Errorf("%+v", st.Report)
	}
	m.wantSame()
}

// The old host fails, and then has ended the session: what is shown is what is the matter now, and signing in again is all that it takes.
func TestPagesMoveAsksToSignInAgain(t *testing.T) {
	var silent, ended atomic.Bool
	m := startMoving(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch method := r.URL.Path; {
			case silent.Load() && strings.HasSuffix(method, "getPreferences"):
				http.Error(w, "no", http.StatusBadGateway)
			case ended.Load() && (strings.HasSuffix(method, "getPreferences") || strings.HasSuffix(method, "refreshSession")):
				http.Error(w, `{"error":"ExpiredToken","message":"over"}`, http.StatusBadRequest)
			default:
				next.ServeHTTP(w, r)
			}
		})
	})
	silent.Store(true)
	v := m.to.visitor(t)
	m.enterMove(v)
	v.send("/move/account", "keep", "yes", "password", "new-password")
	v.waits("/move/progress", "does not answer as it should")
	ended.Store(true)
	silent.Store(false)
	v.waits("/move/progress", "Sign in at your old server again")
	for _, past := range []string{"does not answer as it should", "Next attempt", "Try now"} {
		if strings.Contains(string(v.page.body), past) {
			t.Errorf("the page still says %q", past)
		}
	}
	ended.Store(false)
	m.enterMove(v).shows(200, "/move/progress")
	v.waits("/move/progress", "Enter the code from the mail")
}

// The new host has ended the session of an account that moves there: its owner signs in at it again, here.
func TestPagesMoveAwayAsksToSignInAgain(t *testing.T) {
	var ended atomic.Bool
	m := startLeaving(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if ended.Load() && (strings.HasSuffix(r.URL.Path, "getPreferences") || strings.HasSuffix(r.URL.Path, "refreshSession")) {
				http.Error(w, `{"error":"ExpiredToken","message":"over"}`, http.StatusBadRequest)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	ended.Store(true)
	v := m.old.visitor(t)
	v.signIn("alice.test", "alice-password")
	to := "/account/move/to?to=" + m.to.srv.cfg.PublicURL()
	v.open(to).send(to, "keep", "yes", "email", "alice@example.com", "password", "new-password")
	v.waits("/account/move/progress", "Sign in at the new server again")
	v.send("/account/move/progress", "do", "sign-in", "password", "guess").shows(422, "/account/move/progress", `id="password-error"`)
	ended.Store(false)
	v.send("/account/move/progress", "do", "sign-in", "password", "new-password").shows(200, "/account/move/progress")
	v.waits("/account/move/progress", "Enter the code from the mail").send("/account/move/progress", "do", "confirm", "code", m.old.plcCode())
	v.waits("/account/move/progress", "Your account has moved")
	m.wantMoved()
}
