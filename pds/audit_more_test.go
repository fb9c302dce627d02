package pds

import (
	"context"
	"html"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"perch/pds/mail/mailtest"
	"perch/pds/store"
)

// The mail server is away, an administrator has the mail tried again when it is back, and the log says whose mail it was.
func TestAdminRetriesMail(t *testing.T) {
	inbox := mailtest.Start(t, mailtest.Options{})
	n := startNetwork(t, nil)
	v, _ := n.administrator(t, "alice")
	bob := n.signUp(t, "bob")
	restart := func(addr string) {
		t.Helper()
		n.stop()
		n.port = n.srv.cfg.Port // browsers keep their cookies by host
		n.start(func(c *Config) { c.EmailSMTPURL, c.EmailFromAddress = "smtp://"+addr, "pds@example.com" })
	}
	restart("127.0.0.1:1")
	bob.post(requestConfirm, nil).ok()
	n.srv.runJobs(t.Context())
	restart(inbox.Addr)
	v.open("/admin/mail").shows(200, "/admin/mail", "Email Confirmation", "bob@example.com", "1 failed attempts", "refused")
	code := n.operatorJSON(t, CodePath, CodeRequest{Account: "bob.test", Purpose: "reset-password"}).ok().str("code")
	if body := string(v.page.body); mailCodePattern.MatchString(body) || strings.Contains(body, code) {
		t.Errorf("the page of mails shows a code:\n%s", body)
	}
	if due, err := n.srv.store.DueJobs(t.Context(), time.Now(), 10, store.JobMail); err != nil || len(due) != 0 {
		t.Fatalf("the mail is due by itself: %+v, %v", due, err)
	}
	v.send("/admin/mail", "id", v.hidden("id")).shows(200, "/admin/mail", "The mail is tried now")
	n.srv.runJobs(t.Context(), store.JobMail)
	if m := inbox.Next(); m.To != "bob@example.com" || m.Header.Get("Subject") != "Email Confirmation" {
		t.Errorf("%+v", m)
	}
	v.open("/admin/mail").shows(200, "/admin/mail", "No mail is waiting")
	lines := n.audits(t, store.AuditQuery{Actor: auditAccount})
	if len(lines) != 1 || lines[0].Action != "mail-retry" || lines[0].Subject != bob.did || !strings.HasSuffix(lines[0].Detail, "Email Confirmation") {
		t.Errorf("%+v", lines)
	}
}

// Lines about accounts that are not here yet name them as soon as it is known who they are.
func TestAuditNamesWhoComes(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.rescuable(t)
	archive := alice.archive()
	alice.lost()
	before := len(n.audits(t, store.AuditQuery{}))
	n.mustImport(t, archive, RescueRequest{Password: "alice-password"})
	lines := n.audits(t, store.AuditQuery{})[before:]
	if got := brief(lines); !slices.Equal(got, []string{"password import begun", "password import done"}) {
		t.Errorf("the log is %q", got)
	}
	for _, l := range lines {
		if l.Subject != alice.did {
			t.Errorf("%+v", l)
		}
	}
}

// The pages call every action by its name in six languages; the log keeps the one that it was stored under.
func TestAuditActionsHaveNames(t *testing.T) {
	n := startNetwork(t, nil)
	v, _ := n.administrator(t, "alice")
	on, off := &statusAttr{Applied: true}, &statusAttr{}
	yes := true
	deeds := []doer{
		&disableInviteCodesInput{}, &accountInvitesInput{}, &createInviteCodeInput{}, &createInviteCodesInput{}, &sendEmailInput{}, &updateAccountEmailInput{}, &updateAccountHandleInput{},
		&updateAccountPasswordInput{}, &updateAccountSigningKeyInput{}, &didInput{}, &CodeRequest{}, &RoleRequest{Role: &yes}, &RescueRequest{}, &RescueDIDRequest{}, &AlertsRequest{Dismiss: true},
		&UndoRequest{},
	}
	for _, down := range []*statusAttr{nil, on, off, {Applied: true, Ref: "SUSPEND"}} {
		for _, active := range []*statusAttr{nil, on, off} {
			deeds = append(deeds, &updateSubjectStatusInput{Subject: subjectJSON{Type: subjectRepo}, Takedown: down, Deactivated: active})
		}
	}
	for _, a := range []string{FactorBegin, FactorConfirm, FactorRecover, FactorRemove, FactorRemovePasskeys} {
		deeds = append(deeds, &FactorRequest{Action: a})
	}
	for _, a := range []string{
		MigrateBegin, MigrateOAuth, MigrateOut, MigrateSignIn, MigrateCode, MigrateSigned, MigrateResend, MigrateStay, MigrateAgain, MigrateAbandon,
	} {
		deeds = append(deeds, &MigrateRequest{Action: a})
	}
	for _, a := range []string{RotationKeyAdd, RotationKeyCreate, RotationKeyRemove} {
		deeds = append(deeds, &RotationKeyRequest{Action: a})
	}
	for _, a := range []string{DIDWebCreate, DIDWebPoint, DIDWebBack} {
		deeds = append(deeds, &DIDWebRequest{Action: a})
	}
	actions := []string{"reset-mail", "mail-retry", "job-retry", "crawl", "export", "adopt", (&accountInvitesInput{}).enable().action}
	for _, d := range deeds {
		actions = append(actions, d.deed().action)
	}
	err := n.srv.store.Update(t.Context(), func(tx *store.Tx) error {
		for _, a := range append(actions, "of-a-later-release") {
			if err := tx.AddAudit(context.Background(), store.Audit{Kind: auditPassword, Action: a, Result: store.AuditDone}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile(`<strong title="([^"]+)">([^<]+)</strong>`)
	more := regexp.MustCompile(`class="button quiet" href="(/admin/audit\?[^"]*before=[^"]*)"`)
	seen := map[string]bool{}
	for _, lang := range []string{"en", "de", "es", "fr", "ja", "pt"} {
		v.open("/admin/audit?lang="+lang).shows(200, "/admin/audit")
		for {
			for _, m := range shown.FindAllStringSubmatch(string(v.page.body), -1) {
				seen[lang+" "+m[1]], seen[m[2]] = true, true
				if (m[1] == m[2]) != (m[1] == "of-a-later-release") {
					t.Errorf("%s: %s is called %s", lang, m[1], m[2])
				}
			}
			next := more.FindStringSubmatch(string(v.page.body))
			if next == nil {
				break
			}
			v.open(html.UnescapeString(next[1])).shows(200, "/admin/audit")
		}
		for _, a := range actions {
			if !seen[lang+" "+a] {
				t.Errorf("%s: the pages do not show %s", lang, a)
			}
		}
	}
	if !seen["Taken down, Deactivated"] {
		t.Error("the pages do not say Taken down, Deactivated")
	}
}
