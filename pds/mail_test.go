package pds

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"perch/pds/mail"
	"perch/pds/mail/mailtest"
	"perch/pds/store"
)

func TestWithoutSMTPTheOperatorHelps(t *testing.T) {
	var log bytes.Buffer
	n := startNetwork(t, nil)
	n.srv.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	alice, anyone := n.signUp(t, "alice"), n.anonymous(t)
	anyone.post(requestReset, map[string]any{"email": "alice@example.com"}).ok()
	alice.post(requestConfirm, nil).ok()
	n.srv.runJobs(t.Context())
	n.srv.runJobs(t.Context()) // what the first has made
	list, err := unsentMails(t.Context(), n.srv.store)
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v %v", list, err)
	}
	for _, m := range list {
		if m.To != "alice@example.com" || m.Handle != "alice.test" || !m.GivenUp || !strings.Contains(m.Error, "PDS_EMAIL_SMTP_URL") {
			t.Errorf("%+v", m)
		}
	}
	if text := log.String(); !strings.Contains(text, "perch account code") || !strings.Contains(text, alice.did) || mailCodePattern.MatchString(text) ||
		strings.Contains(text, "alice@example.com") {
		t.Errorf("log:\n%s", text)
	}
	code, err := n.srv.operatorCode(t.Context(), &CodeRequest{Account: "alice.test", Purpose: "reset-password"})
	if err != nil {
		t.Fatal(err)
	}
	anyone.post(resetNSID, map[string]any{"token": code.Code, "password": "new-password"}).ok()
}

func TestMailSurvivesRestartsAndFailures(t *testing.T) {
	inbox := mailtest.Start(t, mailtest.Options{})
	down := true
	n := startNetwork(t, nil)
	configure := func(c *Config) {
		c.EmailSMTPURL, c.EmailFromAddress = "smtp://"+inbox.Addr, "pds@example.com"
		if down {
			c.EmailSMTPURL = "smtp://127.0.0.1:1"
		}
	}
	restart := func() {
		t.Helper()
		if err := n.srv.Close(); err != nil {
			t.Fatal(err)
		}
		n.start(configure)
	}
	restart()
	alice := n.signUp(t, "alice")
	alice.post(requestConfirm, nil).ok()
	n.srv.runJobs(t.Context())
	if list, err := unsentMails(t.Context(), n.srv.store); err != nil || len(list) != 1 || list[0].GivenUp || list[0].Attempts != 1 {
		t.Fatalf("%+v %v", list, err)
	}
	down = false
	restart()
	jobs, err := n.srv.store.DueJobs(t.Context(), time.Now().Add(time.Hour), 10)
	if err != nil || len(jobs) != 1 || time.Until(jobs[0].RunAt) > time.Minute {
		t.Fatalf("%+v %v", jobs, err)
	}
	n.srv.runJob(t.Context(), jobs[0])
	code := inbox.Next()
	alice.post(confirmNSID, map[string]any{"email": "alice@example.com", "token": code.Code()}).ok()
	if list, err := unsentMails(t.Context(), n.srv.store); err != nil || len(list) != 0 {
		t.Errorf("%+v %v", list, err)
	}
}

func TestMailOfNoUseIsGivenUp(t *testing.T) {
	inbox := mailtest.Start(t, mailtest.Options{Refuse: func(string) error { return mailtest.NoSuchMailbox }})
	n := startNetwork(t, func(c *Config) { c.EmailSMTPURL, c.EmailFromAddress = "smtp://"+inbox.Addr, "pds@example.com" })
	alice := n.signUp(t, "alice")
	acct := alice.account()
	err := n.srv.store.Update(t.Context(), func(tx *store.Tx) error {
		m := n.srv.letters.Plain(acct.Email, "too late", "text")
		return n.srv.postMail(t.Context(), tx, acct, fromServer, m, time.Now().Add(-time.Second))
	})
	if err != nil {
		t.Fatal(err)
	}
	n.srv.runJobs(t.Context())
	alice.post(requestConfirm, nil).ok()
	n.srv.runJobs(t.Context())
	list, err := unsentMails(t.Context(), n.srv.store)
	if err != nil || len(list) != 2 || !list[0].GivenUp || !list[1].GivenUp {
		t.Fatalf("%+v %v", list, err)
	}
	if !strings.Contains(list[0].Error, "no such mailbox") || !strings.Contains(list[1].Error, "of use") {
		t.Errorf("%+v", list)
	}
	if jobs, err := n.srv.store.DueJobs(t.Context(), time.Now().Add(time.Hour), 10); err != nil || len(jobs) != 0 {
		t.Errorf("%+v %v", jobs, err)
	}
}

func TestModeratorsHaveTheirOwnSender(t *testing.T) {
	main, moderators := mailtest.Start(t, mailtest.Options{}), mailtest.Start(t, mailtest.Options{})
	n := startNetwork(t, func(c *Config) {
		c.EmailSMTPURL, c.EmailFromAddress = "smtp://"+main.Addr, "Example <pds@example.com>"
		c.ModerationEmailSMTPURL, c.ModerationEmailAddress = "smtp://"+moderators.Addr, "mod@example.com"
	})
	acct := n.signUp(t, "alice").account()
	for _, from := range []sender{fromServer, fromModerators} {
		err := n.srv.store.Update(t.Context(), func(tx *store.Tx) error {
			return n.srv.postMail(t.Context(), tx, acct, from, n.srv.letters.Plain(acct.Email, "hello", "text"), time.Now().Add(time.Hour))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	n.srv.runJobs(t.Context())
	if m := main.Next(); m.From != "pds@example.com" || !strings.Contains(m.Header.Get("From"), "Example") {
		t.Errorf("%+v", m)
	}
	if m := moderators.Next(); m.From != "mod@example.com" {
		t.Errorf("%+v", m)
	}
}

func TestDevelopmentShowsMail(t *testing.T) {
	var out bytes.Buffer
	m, _ := (mail.Letters{Service: "x", URL: "http://localhost"}).Code("reset_password", "alice@example.com", "alice.test", "ABCDE-FGH23", time.Minute)
	if err := (&terminal{out: &out}).Send(t.Context(), m); err != nil || !strings.Contains(out.String(), "ABCDE-FGH23") {
		t.Errorf("%v: %s", err, out.String())
	}
}
