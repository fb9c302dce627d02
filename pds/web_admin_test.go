package pds

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/mail/mailtest"
	"perch/pds/store"
)

// administrator is a browser in which an account with the role and an authenticator app is signed in.
func (n *network) administrator(t *testing.T, name string) (*visitor, *client) {
	t.Helper()
	c := n.signUp(t, name)
	_, codes := n.totp(t, c.handle)
	recovery := codes[0].(string)
	if a := n.giveRole(t, c.handle, true); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	v := n.visitor(t)
	v.signIn(c.handle, name+"-password").shows(200, "/account/sign-in")
	v.send("/account/sign-in/code", "half", v.hidden("half"), "code", recovery).shows(200, "/account", c.handle)
	return v, c
}

// deeds are the newest lines of the audit log that somebody has written on the pages.
func (n *network) deeds(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, l := range n.audits(t, store.AuditQuery{Actor: auditAccount}) {
		result, _, _ := strings.Cut(l.Result, ":")
		out = append(out, l.Action+" "+result)
	}
	return out
}

var adminGets = []string{"/admin", "/admin?range=day", "/admin/charts", "/admin/accounts", "/admin/invites", "/admin/mail", "/admin/jobs", "/admin/relays", "/admin/audit"}

func TestAdminPagesAreShut(t *testing.T) {
	n := startNetwork(t, nil)
	bob := n.signUp(t, "bob")
	adminPages := append(slices.Clone(adminGets), "/admin/accounts/"+bob.did)
	stranger, member := n.visitor(t), n.visitor(t)
	member.signIn("bob.test", "bob-password").shows(200, "/account")
	if strings.Contains(string(member.page.body), "/admin") {
		t.Error("the menu of everybody leads to the administration")
	}
	for _, path := range adminPages {
		stranger.open(path).shows(200, "/account/sign-in")
		member.open(path)
		if member.page.status != http.StatusNotFound || strings.Contains(string(member.page.body), "Administration") {
			t.Errorf("%s for everybody: %d", path, member.page.status)
		}
	}
	deed := func(v *visitor, want int) {
		t.Helper()
		for path, fields := range map[string][]string{
			"/admin/accounts/" + bob.did: {"do", "takedown", "reason", "x"}, "/admin/invites": {"count", "1", "uses", "1"}, "/admin/mail": {"id", "1"}, "/admin/jobs": {"id", "1"},
			"/admin/relays": {"host", "x"},
		} {
			v.open("/account/switch")
			if v.send(path, fields...); v.page.status != want && v.at.Path != "/account/confirm" {
				t.Errorf("%s: %d", path, v.page.status)
			}
		}
	}
	deed(member, http.StatusNotFound)

	n.totp(t, bob.handle)
	n.giveRole(t, bob.handle, true)
	for _, path := range adminPages {
		member.open(path).shows(200, factorPage)
	}
	deed(member, http.StatusOK) // it is asked for the factor
	if got := n.deeds(t); len(got) != 0 || bob.account().Status() != "" {
		t.Errorf("somebody who may not has done %q", got)
	}
}

func TestAdminNeedsThePasswordAgain(t *testing.T) {
	n := startNetwork(t, nil)
	v, _ := n.administrator(t, "alice")
	bob := n.signUp(t, "bob")
	v.open("/admin").shows(200, "/admin")
	n.forgetPasswords(t)
	v.open("/admin/charts").shows(200, "/admin/charts")
	v.open("/admin/accounts").shows(200, "/account/confirm", "Enter your password")
	v.send("/admin/accounts/"+bob.did, "do", "takedown", "reason", "spam").shows(200, "/admin/accounts/"+bob.did, "Enter your password")
	if bob.account().Status() != "" {
		t.Error("it was done without the password")
	}
	v.send("/account/confirm", "password", "alice-password", "held", v.hidden("held")).shows(200, "/admin/accounts/"+bob.did, "bob.test")
	if bob.account().Status() == "" {
		t.Error("it was not done with the password")
	}
}

// forgetPasswords makes it long ago that people in browsers have given their passwords.
func (n *network) forgetPasswords(t *testing.T) {
	t.Helper()
	accounts, err := n.srv.store.Accounts(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, acct := range accounts {
		_, rows, err := n.srv.store.AccountDevices(t.Context(), acct.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			row.ConfirmedAt = row.ConfirmedAt.Add(-time.Hour)
			if err := n.srv.store.Update(t.Context(), func(tx *store.Tx) error { return tx.PutDeviceAccount(t.Context(), row) }); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestAdminRefusesForgedForms(t *testing.T) {
	n := startNetwork(t, nil)
	v, _ := n.administrator(t, "alice")
	bob := n.signUp(t, "bob")
	path := "/admin/accounts/" + bob.did
	v.open(path)
	page := v.page
	v.send(path, "token", "", "do", "takedown", "reason", "x").shows(403, path)
	v.page = page
	v.header.Set("Origin", "https://evil.example")
	v.send(path, "do", "takedown", "reason", "x").shows(403, path)
	v.header.Del("Origin")
	if bob.account().Status() != "" || len(n.deeds(t)) != 0 {
		t.Error("a forged form was acted upon")
	}
}

func TestAdminModeratesAccounts(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	v, root := n.administrator(t, "alice")
	bob := n.signUp(t, "bob")
	bob.createPost("x")
	path := "/admin/accounts/" + bob.did
	v.open("/admin/accounts?q=bob@EX").shows(200, "/admin/accounts", "bob.test", path)
	if strings.Contains(string(v.page.body), "alice@example.com") {
		t.Error("the search finds everybody")
	}
	v.open(path).shows(200, path, bob.did, "bob@example.com")
	v.send(path, "do", "takedown").shows(422, path, "Write a reason")
	n.wantEvents(t, func() {
		v.send(path, "do", "takedown", "reason", "spam & worse").shows(200, path, "The account is taken down", "spam &amp; worse")
	}, "account takendown")
	bob.get("com.atproto.server.getSession").fails(401, "AccountTakedown")
	n.wantEvents(t, func() { v.send(path, "do", "restore").shows(200, path, "The account is restored") }, "account active", "sync")
	n.wantEvents(t, func() {
		v.send(path, "do", "suspend", "reason", "a week").shows(200, path, "The account is suspended", "a week")
	}, "account suspended")
	v.send(path, "do", "restore", "reason", "over").shows(200, path)
	v.send(path, "do", "invites-forbid").shows(200, path, "gets no more invite codes")
	v.send(path, "do", "invites-allow").shows(200, path, "may invite again")
	adminMail(t, v, path, inbox)
	n.operatorJSON(t, FactorPath, FactorRequest{Account: bob.did, Action: FactorBegin}).ok()
	v.open(path).send(path, "do", "factor-remove").shows(200, path, "no second factor")
	v.send(path, "do", "nonsense").shows(422, path)
	v.send(path, "do", "delete", "confirm", "carol.test").shows(422, path, "not the name of this account")
	n.wantEvents(t, func() {
		v.send(path, "do", "delete", "confirm", "BOB.test").shows(200, "/admin/accounts", "The account is deleted")
	}, "account deleted")
	v.open(path).shows(404, path)

	own := "/admin/accounts/" + root.did
	for _, deed := range []string{"takedown", "suspend", "factor-remove", "delete"} {
		v.open(own).send(own, "do", deed, "reason", "x", "confirm", "alice.test").shows(422, own, "your own account")
	}
	want := []string{
		"takedown done", "restore done", "suspend done", "restore done", "invites-forbid done", "invites-allow done", "mail done", "reset-mail done",
		"factor-remove done", "delete done",
	}
	if got := n.deeds(t); !slices.Equal(got, want) {
		t.Errorf("the log is %q\nwant %q", got, want)
	}
	for _, l := range n.audits(t, store.AuditQuery{Actor: root.did}) {
		if l.Subject != bob.did || l.Address != "127.0.0.1" {
			t.Errorf("%+v", l)
		}
	}
	v.open("/admin/audit?subject="+bob.did+"&actor=alice.test").shows(200, "/admin/audit", "spam &amp; worse", "alice.test", "on these pages")
	v.open("/admin/audit?actor=command-line").shows(200, "/admin/audit", "Nothing found")
}

// adminMail sends both kinds of mail.
func adminMail(t *testing.T, v *visitor, path string, inbox *mailtest.Server) {
	t.Helper()
	v.send(path, "do", "mail", "subject", "", "text", "").shows(422, path, `id="subject-error"`, `id="text-error"`)
	v.send(path, "do", "mail", "subject", "About your account", "text", "Dear <Bob>,\r\nhello").shows(200, path, "The mail is on its way")
	if m := inbox.Next(); m.To != "bob@example.com" || m.Header.Get("Subject") != "About your account" || !strings.Contains(m.Text, "Dear <Bob>,\nhello") {
		t.Errorf("mail %+v", m)
	}
	v.send(path, "do", "reset").shows(200, path, "The code is on its way")
	if m := inbox.Next(); m.To != "bob@example.com" || m.Header.Get("Subject") != "Password Reset Requested" {
		t.Errorf("mail %+v", m)
	}
}

func TestAdminInvitesTellWhoUsedThem(t *testing.T) {
	n := startNetwork(t, nil)
	v, _ := n.administrator(t, "alice")
	v.open("/admin/invites").send("/admin/invites", "do", "create", "count", "1", "uses", "9")
	code := regexp.MustCompile(`name="code" value="([^"]+)"`).FindStringSubmatch(string(v.page.body))[1]
	var first string
	for i := range 8 {
		did := n.signUp(t, fmt.Sprint("guest", i)).did
		first = given(first, func() string { return did })
		at := time.Now().Add(time.Duration(i) * time.Second)
		if err := n.srv.store.Update(t.Context(), func(tx *store.Tx) error { return tx.UseInvite(t.Context(), code, syntax.DID(did), at) }); err != nil {
			t.Fatal(err)
		}
	}
	v.open("/admin/invites").shows(200, "/admin/invites", "8 of 9 used", "guest0.test", "guest5.test", "…")
	if _, err := n.srv.adminDeleteAccount(t.Context(), &didInput{DID: syntax.DID(first)}); err != nil {
		t.Fatal(err)
	}
	v.open("/admin/invites").shows(200, "/admin/invites", ">"+first+"<")
}

func TestAdminListsAndRetries(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.Crawlers = []string{"http://127.0.0.1:1"} })
	v, root := n.administrator(t, "alice")
	for i := range 60 {
		n.srv.store.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.CreateAccount(t.Context(), store.Account{
				DID: syntax.DID(fmt.Sprintf("did:web:p%d.example.com", i)), Handle: syntax.Handle(fmt.Sprintf("p%d.example.com", i)),
				SigningKey: []byte("x"), SigningKeyDID: "did:key:x",
			})
			return err
		})
	}
	seen := map[string]bool{}
	more := regexp.MustCompile(`quiet" href="(/admin/accounts\?[^"]*after=[^"]*)"`)
	for path := "/admin/accounts?order=handle"; path != ""; {
		v.open(path)
		for _, m := range regexp.MustCompile(`<a href="/admin/accounts/[^"]+">([^<]+)</a>`).FindAllStringSubmatch(string(v.page.body), -1) {
			seen[m[1]] = true
		}
		path = ""
		if m := more.FindStringSubmatch(string(v.page.body)); m != nil {
			path = strings.ReplaceAll(m[1], "&amp;", "&")
		}
	}
	if len(seen) != 61 {
		t.Errorf("the pages list %d accounts", len(seen))
	}

	v.open("/admin/invites").send("/admin/invites", "do", "create", "count", "0", "uses", "x").shows(422, "/admin/invites", `id="count-error"`, `id="uses-error"`)
	v.send("/admin/invites", "do", "create", "count", "2", "uses", "3").shows(200, "/admin/invites", "New codes", "0 of 3 used")
	code := regexp.MustCompile(`name="code" value="([^"]+)"`).FindStringSubmatch(string(v.page.body))[1]
	v.send("/admin/invites", "do", "invite-disable", "code", code).shows(200, "/admin/invites", "The code is disabled")
	v.send("/admin/invites", "do", "invite-disable", "code", "nonsense").shows(404, "/admin/invites")
	if inv, err := n.srv.store.Invite(t.Context(), code); err != nil || !inv.Disabled {
		t.Errorf("%+v, %v", inv, err)
	}

	v.open("/admin/mail").send("/admin/mail", "id", "7").shows(200, "/admin/mail", "not there any more")
	v.send("/admin/mail", "id", "x").shows(400, "/admin/mail")
	v.open("/admin/relays").shows(200, "/admin/relays", "127.0.0.1:1").send("/admin/relays", "host", "127.0.0.1:1").shows(200, "/admin/relays", "The relay is asked now")
	v.send("/admin/relays", "host", "elsewhere.example").shows(404, "/admin/relays")

	n.srv.store.Update(t.Context(), func(tx *store.Tx) error { return tx.AddJob(t.Context(), jobGiveUpDID, "{}", tx.Now().AddDate(1, 0, 0)) })
	v.open("/admin/jobs").shows(200, "/admin/jobs", jobGiveUpDID)
	v.send("/admin/jobs", "id", v.hidden("id")).shows(200, "/admin/jobs", "The job is tried now")
	if due, err := n.srv.store.Jobs(t.Context(), 10); err != nil || len(due) != 1 || due[0].RunAt.Year() > root.account().CreatedAt.Year() {
		t.Errorf("%+v, %v", due, err)
	}
	want := []string{
		"invites-create done", "invites-disable done", "mail-retry NotFound", "crawl begun", "crawl done", "crawl begun", "crawl NotFound", "job-retry done",
	}
	if got := n.deeds(t); !slices.Equal(got, want) {
		t.Errorf("the log is %q\nwant %q", got, want)
	}
	root.createPost("x")
	v.open("/admin").shows(200, "/admin", "<svg", "<table", "commits")
	for _, path := range adminGets {
		if v.open(path); v.page.status != 200 || len(v.page.body) > 40<<10 {
			t.Errorf("%s: %d, %d bytes", path, v.page.status, len(v.page.body))
		}
	}
}
