package pds

import (
	"html"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"perch/pds/mail/mailtest"
	"perch/pds/store"
)

// Administrators cannot shut out each other, nor take each other's factors away: one who was robbed of his browser would take all others with him.
func TestAdministratorsLeaveEachOtherAlone(t *testing.T) {
	n := startNetwork(t, nil)
	v, _ := n.administrator(t, "alice")
	_, bob := n.administrator(t, "bob")
	path := "/admin/accounts/" + bob.did
	for _, deed := range []string{"takedown", "suspend", "delete", "factor-remove", "passkeys-remove"} {
		v.open(path).send(path, "do", deed, "reason", "x", "confirm", "bob.test").shows(422, path, "This account is an administrator")
	}
	if a := bob.account(); a.Status() != "" || a.Role != store.RoleAdmin {
		t.Errorf("%s, %q", a.Status(), a.Role)
	}
	if got := n.deeds(t); len(got) != 0 {
		t.Errorf("the log is %q", got)
	}
	n.giveRole(t, "bob.test", false)
	v.open(path).send(path, "do", "suspend", "reason", "x").shows(200, path, "The account is suspended")
}

// What ends an administrator ends at once, in browsers that are signed in.
func TestAdministratorEndsAtOnce(t *testing.T) {
	n := startNetwork(t, nil)
	for name, end := range map[string]struct {
		do   func(*client)
		path string // to which the pages lead then
	}{
		"role":    {func(c *client) { n.giveRole(t, c.did, false) }, "/admin"},
		"app":     {func(c *client) { n.operatorJSON(t, FactorPath, FactorRequest{Account: c.did, Action: FactorRemove}) }, "/admin"},
		"off":     {func(c *client) { c.post("com.atproto.server.deactivateAccount", map[string]any{}).ok() }, "/admin"},
		"down":    {func(c *client) { c.moderate(repoSubject(c.did), takedown(true, "x")).ok() }, "/account/sign-in"},
		"deleted": {func(c *client) { c.admin("com.atproto.admin.deleteAccount", map[string]any{"did": c.did}).ok() }, "/account/sign-in"},
		"password": {func(c *client) {
			c.admin("com.atproto.admin.updateAccountPassword", map[string]any{"did": c.did, "password": "another password"}).ok()
		}, "/account/sign-in"},
	} {
		v, c := n.administrator(t, "boss-"+name)
		bob := n.signUp(t, "bob-"+name)
		v.open("/admin/accounts/"+bob.did).shows(200, "/admin/accounts/"+bob.did)
		form := v.page
		end.do(c)
		for _, path := range []string{"/admin", "/admin/charts"} {
			if v.open(path); end.path != "/account/sign-in" && v.page.status != http.StatusNotFound || end.path == "/account/sign-in" && v.at.Path != end.path {
				t.Errorf("%s: %s leads to %d %s", name, path, v.page.status, v.at)
			}
		}
		v.page = form
		v.send("/admin/accounts/"+bob.did, "do", "takedown", "reason", "x")
		if bob.account().Status() != "" {
			t.Errorf("%s: the form that was open acted: %d %s", name, v.page.status, v.at)
		}
	}
}

const hostileText = `"><script>alert(1)</script><img src=x onerror=alert(2)>{{.}}\u202e'`

// TestAdminPagesShowHostileTexts puts markup into all that others write and administrators read.
func TestAdminPagesShowHostileTexts(t *testing.T) {
	inbox := mailtest.Start(t, mailtest.Options{Refuse: func(string) error { return mailtest.NoSuchMailbox }})
	n := startNetwork(t, func(c *Config) { c.EmailSMTPURL, c.EmailFromAddress = "smtp://"+inbox.Addr, "pds@example.com" })
	v, _ := n.administrator(t, "alice")
	bob := n.signUp(t, "bob")
	path := "/admin/accounts/" + bob.did
	v.open(path).send(path, "do", "suspend", "reason", hostileText).shows(200, path)
	v.send(path, "do", "restore", "reason", hostileText).shows(200, path)
	v.send(path, "do", "mail", "subject", hostileText, "text", hostileText).shows(200, path)
	bob.moderate(repoSubject(bob.did), takedown(true, hostileText)).ok()
	if err := n.srv.store.Update(t.Context(), func(tx *store.Tx) error { return tx.AddJob(t.Context(), hostileText, hostileText, tx.Now()) }); err != nil {
		t.Fatal(err)
	}
	n.srv.runJobs(t.Context())
	n.operatorJSON(t, FactorPath, FactorRequest{Account: hostileText, Action: hostileText})
	for _, page := range append(slices.Clone(adminGets), path, "/admin/accounts?q="+"%22%3E%3Cscript%3Ealert(1)&status=%22%3E%3Cscript%3E&order=%22%3E%3Cscript%3E&after=-1",
		"/admin/audit?subject=%22%3E%3Cscript%3Ealert(1)&actor=%22%3E%3Cscript%3E&before=-9223372036854775808", "/admin/invites?after=%22%3E%3Cscript%3E", "/admin/audit?before=99999999999999999999",
		"/admin/accounts?after=99999999999999999999&q=%25", "/admin/accounts?q=%00%ff", "/admin/audit?subject=%00%ff@", "/admin/accounts?q="+strings.Repeat("x", 100_000), "/admin/accounts/%22%3E%3Cscript%3E") {
		v.open(page)
		if v.page.status >= 500 {
			t.Errorf("%.100s: %d", page, v.page.status)
		}
		for _, raw := range []string{"<script>alert", "<img src=x", `"><`} {
			if strings.Contains(strings.ReplaceAll(string(v.page.body), `""><`, ""), `alert(1)</script>`) || raw != `"><` && strings.Contains(string(v.page.body), raw) {
				t.Errorf("%.100s shows %s", page, raw)
			}
		}
	}
	v.open("/admin/mail").shows(200, "/admin/mail", html.EscapeString("<script>alert(1)"))
	v.open("/admin/jobs").shows(200, "/admin/jobs", html.EscapeString("<script>alert(1)"))
	v.open("/admin/audit").shows(200, "/admin/audit", html.EscapeString("<script>alert(1)"))
}

// Nothing that an administrator enters is a failure of the server.
func TestAdminFormsRefuseWhatIsTooLong(t *testing.T) {
	n, _ := startMailNetwork(t, nil)
	v, _ := n.administrator(t, "alice")
	bob := n.signUp(t, "bob")
	path := "/admin/accounts/" + bob.did
	v.open(path)
	v.send(path, "do", "mail", "subject", strings.Repeat("x", 600), "text", "hello").shows(422, path, "That is too long")
	v.send(path, "do", "mail", "subject", strings.Repeat("字", 400), "text", "hello").shows(422, path, "subject is too long")
	v.send(path, "do", "mail", "subject", "x", "text", strings.Repeat("x", 30<<10)).shows(422, path, "20,000 letters")
	v.send(path, "do", "suspend", "reason", strings.Repeat("x", 501)).shows(422, path, "500 letters")
	v.send(path, "do", "mail", "subject", "x", "text", strings.Repeat("x", 70<<10)).shows(413, path)
	v.open(path).send(path, "do", "suspend", "reason", strings.Repeat("字", 500)).shows(200, path, strings.Repeat("字", 500))
	v.send(path, "do", strings.Repeat("x", 5000)).shows(422, path, "cannot be done")
	v.open("/admin/invites").send("/admin/invites", "do", "create", "count", "99999999999999999999", "uses", "-1").shows(422, "/admin/invites")
}

// Two administrators who look at the same page: who comes second is told, and undoes nothing that he has not seen.
func TestAdministratorsAtOnce(t *testing.T) {
	n := startNetwork(t, nil)
	v, _ := n.administrator(t, "alice")
	w, _ := n.administrator(t, "carol")
	bob := n.signUp(t, "bob")
	path := "/admin/accounts/" + bob.did
	v.open(path)
	w.open(path)
	v.send(path, "do", "takedown", "reason", "spam").shows(200, path)
	w.send(path, "do", "suspend", "reason", "a week").shows(422, path, "changed meanwhile", "spam")
	if bob.account().TakedownRef == "" || !bob.account().SuspendedAt.IsZero() {
		t.Error("a takedown has become a suspension")
	}
	w.send(path, "do", "restore").shows(200, path)
	v.send(path, "do", "restore").shows(422, path, "changed meanwhile")
	var wg sync.WaitGroup
	for _, x := range []*visitor{v, w} {
		wg.Go(func() { x.send(path, "do", "takedown", "reason", "at once") })
	}
	wg.Wait()
	if s := []int{v.page.status, w.page.status}; slices.Max(s) != 422 || slices.Min(s) != 200 {
		t.Errorf("both at once: %v", s)
	}
	n.anonymous(t).admin("com.atproto.admin.deleteAccount", map[string]any{"did": bob.did}).ok()
	v.send(path, "do", "restore").shows(404, path)
}

// A helper for owners who have lost what they sign in with.
func TestAdminRemovesPasskeys(t *testing.T) {
	n := startNetwork(t, nil)
	v, _ := n.administrator(t, "alice")
	bob, a := n.signUp(t, "bob"), n.authenticator()
	key := n.visitor(t).signIn("bob.test", "bob-password").addPasskey(a, "Stolen")
	path := "/admin/accounts/" + bob.did
	v.open(path).shows(200, path, "Passkeys: 1").send(path, "do", "passkeys-remove").shows(200, path, "no passkeys any more")
	n.visitor(t).open("/account/sign-in").answer(byPasskey, a, key).shows(422, byPasskey)
	if got := n.deeds(t); !slices.Equal(got, []string{"factor-remove-passkeys done"}) {
		t.Errorf("the log is %q", got)
	}
}
