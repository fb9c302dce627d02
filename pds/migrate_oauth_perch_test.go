package pds

import (
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"perch/pds/migrate"
	"perch/pds/oauth/oauthtest"
)

var scopeBox = regexp.MustCompile(`name="scope" value="([^"]*)"`)

// signInByBrowser has the account's owner sign in on the pages of the old host, agree to everything, and come back.
func (m *moving) signInByBrowser() {
	m.t.Helper()
	a := m.operator(MigrateRequest{Action: MigrateOAuth, Account: m.old.did})
	var out MigrateAnswer
	if err := json.Unmarshal(a.body, &out); err != nil || out.URL == "" {
		m.t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	to, err := url.Parse(out.URL)
	if err != nil || !strings.HasPrefix(out.URL, m.old.srv.cfg.PublicURL()+"/oauth/authorize?") {
		m.t.Fatalf("sent to %s: %v", out.URL, err)
	}
	resp, err := http.Get(m.agreeAt(to))
	if err != nil {
		m.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		m.t.Fatalf("back from the old host: %s", resp.Status)
	}
}

// agreeAt signs the account's owner in at the old host, to which a browser was sent, and agrees to everything. It returns where the browser is sent back to.
func (m *moving) agreeAt(to *url.URL) string {
	m.t.Helper()
	v := &appVisit{m.old.visitor(m.t), &oauthtest.App{ClientID: to.Query().Get("client_id"), Redirect: "http://127.0.0.1"}, to.Query().Get("request_uri")}
	v.open(to.RequestURI()).shows(200, "/account/sign-in")
	v.send("/account/sign-in", "identifier", "alice.test", "password", m.password, "next", v.address()).shows(200, "/oauth/authorize")
	var scopes []string
	for _, box := range scopeBox.FindAllStringSubmatch(string(v.page.body), -1) {
		scopes = append(scopes, html.UnescapeString(box[1]))
	}
	v.decide("allow", scopes...).sentBack()
	return v.page.header.Get("Location")
}

// From one Perch to another without giving the password: the process ends while the owner signs in, and the owner signs in once more in the middle.
func TestMigrateByOAuthFromPerch(t *testing.T) {
	m := startMoving(t, nil)
	m.operator(MigrateRequest{Action: MigrateOAuth, Account: m.old.did})
	m.kill()
	m.untilNeeds(migrate.NeedsConsent)
	m.signInByBrowser()
	m.kill()
	m.untilNeeds(migrate.NeedsAccount)
	if _, err := m.ask(MigrateRequest{Action: MigrateBegin, NewPassword: "new-password"}); err != nil {
		t.Fatal(err)
	}
	m.untilNeeds(migrate.NeedsCode)
	m.signInByBrowser()
	m.untilNeeds(migrate.NeedsCode)
	m.mustConfirm()
	st := m.untilDone()
	if len(st.Report.Notes) != 1 || st.Report.Notes[0].Code != migrate.NoteBirth {
		t.Errorf("the date of birth did not come along, and the report says %v", st.Report.Notes)
	}
	m.there().post("app.bsky.actor.putPreferences", map[string]any{"preferences": m.old.get("app.bsky.actor.getPreferences").ok()["preferences"]}).ok()
	m.notes = 1
	m.wantMoved()
}

// An old host that deactivates accounts for nobody who came by OAuth: the owner gives the password then, or has the account stay as it is.
func TestMigrateFarewell(t *testing.T) {
	for action, do := range map[string]MigrateRequest{
		"password": {Action: MigrateSignIn, Password: "alice-password"},
		"stay":     {Action: MigrateStay},
	} {
		t.Run(action, func(t *testing.T) {
			m := startMoving(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if strings.HasSuffix(r.URL.Path, ".deactivateAccount") && strings.HasPrefix(r.Header.Get("Authorization"), "DPoP ") {
						w.WriteHeader(http.StatusForbidden)
						_, _ = w.Write([]byte(`{"error":"ScopeMissingError","message":"Missing scope"}`))
						return
					}
					next.ServeHTTP(w, r)
				})
			})
			m.signInByBrowser()
			if _, err := m.ask(MigrateRequest{Action: MigrateBegin, NewPassword: "new-password"}); err != nil {
				t.Fatal(err)
			}
			m.untilNeeds(migrate.NeedsCode)
			m.mustConfirm()
			if st := m.untilNeeds(migrate.NeedsFarewell); !st.Changed || !m.there().account().Active() {
				t.Errorf("%+v", st)
			}
			m.kill()
			if _, err := m.ask(do); err != nil {
				t.Fatal(err)
			}
			st := m.untilDone()
			if active := m.old.account().Active(); active != (action == "stay") || active != (len(st.Report.Notes) == 2) {
				t.Errorf("active at the old host: %v, notes: %v", active, st.Report.Notes)
			}
		})
	}
}
