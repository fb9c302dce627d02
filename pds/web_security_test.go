package pds

import (
	"archive/zip"
	"bytes"
	"errors"
	"html"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"perch/pds/oauth/oauthtest"
	"perch/pds/store"
)

func TestSecurityPagePassword(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	app := alice.post("com.atproto.server.createAppPassword", map[string]any{"name": "app"}).ok().str("password")
	elsewhere := n.visitor(t).signIn("alice.test", "alice-password").shows(200, "/account")
	v := n.visitor(t).signIn("alice.test", "alice-password").open("/account/security")
	v.send("/account/security", "do", "password", "old-password", "wrong", "new-password", "new-password").shows(422, "/account/security", `id="old-password-error"`)
	v.send("/account/security", "do", "password", "old-password", app, "new-password", "new-password").shows(422, "/account/security", `id="old-password-error"`)
	v.send("/account/security", "do", "password", "old-password", "alice-password", "new-password", "short").shows(422, "/account/security", `id="new-password-error"`)
	elsewhere.open("/account").shows(200, "/account")
	v.send("/account/security", "do", "password", "old-password", "alice-password", "new-password", "new-password").shows(200, "/account/security", "is changed")
	elsewhere.open("/account").shows(200, "/account/sign-in")
	alice.get("com.atproto.server.getSession").fails(400, "ExpiredToken")
	signIn(n.anonymous(t), alice.handle, app).ok() // app passwords stay, unless it is asked for
	v.send("/account/security", "do", "password", "old-password", "new-password", "new-password", "newer-password", "revoke", "on").shows(200, "/account/security")
	signIn(n.anonymous(t), alice.handle, app).fails(401, "AuthenticationRequired")
	v.open("/account").shows(200, "/account")
}

var codeInPage = regexp.MustCompile(`<li><code>([A-Z2-7]{8}-[A-Z2-7]{8})</code>`)

func (v *visitor) recoveryCodes() (codes []string) {
	v.t.Helper()
	for _, m := range codeInPage.FindAllSubmatch(v.page.body, -1) {
		codes = append(codes, string(m[1]))
	}
	if len(codes) != 10 {
		v.t.Fatalf("%s shows %d recovery codes", v.page.what, len(codes))
	}
	return codes
}

// textOf is what stands in the element with an id.
func (v *visitor) textOf(id string) string {
	v.t.Helper()
	m := regexp.MustCompile(`id="` + id + `"[^>]*>([^<]*)<`).FindSubmatch(v.page.body)
	if m == nil {
		v.t.Fatalf("%s has no %s:\n%s", v.page.what, id, v.page.body)
	}
	return html.UnescapeString(string(m[1]))
}

func TestSecurityPageApp(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	v := n.visitor(t).signIn("alice.test", "alice-password")
	v.open("/account/security/app").shows(200, "/account/security")
	v.send("/account/security", "do", "app").shows(200, "/account/security/app", `class="qr"`, "<path d=")
	secret := v.textOf("secret")
	v.send("/account/security/app", "do", "confirm", "code", "000000").shows(422, "/account/security/app", `id="code-error"`, secret)
	v.send("/account/security/app", "do", "confirm", "code", totpNow(t, secret)).shows(200, "/account/security/app")
	codes := v.recoveryCodes()

	// What it is switched off or replaced with needs more than the password.
	v.open("/account/security").shows(200, "/account/security", "Recovery codes left: 10").send("/account/security", "do", "app").shows(200, "/account/security", "Recovery codes left")
	for _, do := range []string{"renew", "remove"} {
		alice.factorShown(longAgo())
		v.send("/account/security", "do", do).shows(200, "/account/security", "Confirm with your second factor")
		v.send(factorPage, "held", v.hidden("held"), "code", "").shows(422, factorPage, `id="code-error"`)
		v.send(factorPage, "held", v.hidden("held"), "code", "AAAAAAAA-AAAAAAAA").shows(422, factorPage, `id="code-error"`)
	}
	v.open("/account/security").send("/account/security", "do", "renew").shows(200, "/account/security", "Confirm with your second factor")
	v.send(factorPage, "held", v.hidden("held"), "code", codes[0]).shows(200, factorPage)
	fresh := v.recoveryCodes()
	if slices.Contains(fresh, codes[1]) {
		t.Error("the codes are the old ones")
	}
	alice.factorShown(longAgo())
	v.open("/account/security").shows(200, factorPage).send("/account/security", "do", "remove")
	v.send(factorPage, "held", v.hidden("held"), "code", codes[1]).shows(422, factorPage)
	v.send(factorPage, "held", v.hidden("held"), "code", fresh[0]).shows(200, "/account/security", "is switched off", "Set up an app")
	v.send("/account/security", "do", "renew").shows(200, "/account/security", "Set up an app") // there are no codes without an app
	n.visitor(t).signIn("alice.test", "alice-password").shows(200, "/account")
}

func TestSecurityPageMailCodes(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	alice := n.signUp(t, "alice")
	v := n.visitor(t).signIn("alice.test", "alice-password").open("/account/security").shows(200, "/account/security", "Confirm your e-mail address first")
	v.send("/account/security", "do", "mail-on").shows(422, "/account/security")
	v.open("/account/email").send("/account/email", "do", "send").send("/account/email", "do", "confirm", "code", alice.mailed(inbox, "Email Confirmation"))
	v.open("/account/security").send("/account/security", "do", "mail-on").shows(200, "/account/security", "From now on")
	v.send("/account/security", "do", "mail-off").shows(422, "/account/security")
	v.send("/account/security", "do", "mail-ask").shows(200, "/account/security", `id="mail-code"`)
	v.send("/account/security?step=mail-off", "do", "mail-off", "mail-code", "AAAAA-AAAAA").shows(422, "/account/security", `id="mail-code-error"`)
	v.send("/account/security?step=mail-off", "do", "mail-off", "mail-code", nextCode(inbox)).shows(200, "/account/security", "are switched off")
}

func TestAppPasswordsPage(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	v := n.visitor(t).signIn("alice.test", "alice-password").open("/account/app-passwords")
	v.send("/account/app-passwords", "do", "create", "name", " ").shows(422, "/account/app-passwords", `id="name-error"`)
	v.send("/account/app-passwords", "do", "create", "name", "Deck <1>", "privileged", "on").shows(200, "/account/app-passwords", "Deck &lt;1&gt;")
	secret := v.textOf("secret")
	deck := n.anonymous(t)
	deck.token = signIn(deck, alice.handle, secret).ok().str("accessJwt")
	v.open("/account/app-passwords").shows(200, "/account/app-passwords", "Deck &lt;1&gt;", "direct messages").saysNot(secret)
	v.send("/account/app-passwords", "do", "create", "name", "Deck <1>").shows(422, "/account/app-passwords", `id="name-error"`)
	v.open("/account/devices").shows(200, "/account/devices", "Deck &lt;1&gt;")
	v.open("/account/app-passwords").send("/account/app-passwords", "do", "revoke", "name", "Deck <1>").shows(200, "/account/app-passwords", "is revoked")
	deck.get("com.atproto.server.getSession").fails(400, "ExpiredToken")
}

func TestAppsPage(t *testing.T) {
	n := startNetwork(t, nil)
	alice, bob := n.signUp(t, "alice"), n.signUp(t, "bob")
	app, other := alice.letIn(fineScopes), bob.letIn(fineScopes)
	v := n.visitor(t).signIn("alice.test", "alice-password").open("/account/apps").shows(200, "/account/apps", "Publish: posts", "Upload pictures", "See your e-mail address")
	id := v.hidden("id")
	theirs := n.visitor(t).signIn("bob.test", "bob-password").open("/account/apps").hidden("id")
	v.send("/account/apps", "id", theirs)
	if r := other.Renew(oauthtest.Change{}); r.Status != 200 {
		t.Errorf("another's app was ended: %d", r.Status)
	}
	v.send("/account/apps", "id", id).shows(200, "/account/apps", "no access any more", "No app is connected")
	if r := app.Renew(oauthtest.Change{}); r.Status != 400 {
		t.Errorf("the app goes on: %d", r.Status)
	}
}

// TestAppsThatCouldComeBack: an app that signs itself out is not forgotten. Its person sees that, and can have it ask again.
func TestAppsThatCouldComeBack(t *testing.T) {
	n := startNetwork(t, nil)
	alice, bob := n.accountOf(t, n.signUp(t, "alice").did), n.accountOf(t, n.signUp(t, "bob").did)
	const left, stays, later = "https://left.example.com/client.json", "https://stays.example.com/client.json", "2020-01-02"
	err := n.srv.store.Update(t.Context(), func(tx *store.Tx) error {
		at, hour := time.Date(2020, 1, 2, 12, 0, 0, 0, time.UTC), time.Now().Add(time.Hour)
		return errors.Join(
			tx.PutOAuthConsent(t.Context(), alice.ID, left, "atproto", at), tx.PutOAuthConsent(t.Context(), bob.ID, left, "atproto", at),
			tx.PutOAuthConsent(t.Context(), alice.ID, stays, "atproto", at),
			tx.CreateOAuthSession(t.Context(), store.OAuthSession{ID: "s", Account: alice.ID, ClientID: stays, Salt: []byte("x"), Data: `{"client":{"ID":"` + stays + `"}}`, ExpiresAt: hour}),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	v := n.visitor(t).signIn("alice.test", "alice-password").open("/account/apps").shows(200, "/account/apps", "Let in before", left, later, `name="client" value="`+left+`"`)
	v.saysNot(`name="client" value="` + stays + `"`)
	v.send("/account/apps", "client", left).shows(200, "/account/apps", "has to ask again").saysNot(left)
	v.open("/account/apps").shows(200, "/account/apps", stays).saysNot("Let in before")
	n.visitor(t).signIn("bob.test", "bob-password").open("/account/apps").shows(200, "/account/apps", left) // another's is another's
}

func TestDevicesPage(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	app := alice.letIn(fineScopes)
	phone := n.visitor(t)
	phone.header.Set("User-Agent", "Mozilla/5.0 (Android 14; Mobile; rv:130.0) Gecko/130.0 Firefox/130.0")
	phone.signIn("alice.test", "alice-password")
	v := n.visitor(t).signIn("alice.test", "alice-password").open("/account/devices").shows(200, "/account/devices", "Firefox on Android", "this one", "Your main password")
	stranger := n.signUp(t, "bob")
	sessions, err := n.srv.accounts.Sessions(t.Context(), n.accountOf(t, stranger.did).ID)
	if err != nil || len(sessions) != 1 {
		t.Fatal(err, len(sessions))
	}
	v.send("/account/devices", "do", "session", "id", sessions[0].ID).shows(200, "/account/devices")
	stranger.get("com.atproto.server.getSession").ok()
	alice.get("com.atproto.server.getSession").ok()

	v.send("/account/devices", "do", "others").shows(200, "/account/devices", "everywhere else").saysNot("Firefox on Android", "Your main password")
	phone.open("/account").shows(200, "/account/sign-in")
	alice.get("com.atproto.server.getSession").fails(400, "ExpiredToken")
	if r := app.Renew(oauthtest.Change{}); r.Status != 400 {
		t.Errorf("the app goes on: %d", r.Status)
	}
	v.send("/account/devices", "do", "device", "id", v.hidden("id")).shows(200, "/account/sign-in")
}

func TestInvitesPage(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	n.visitor(t).signIn("alice.test", "alice-password").open("/account/invites").shows(404, "/account/invites")
	n.stop()
	n.start(func(c *Config) { c.InviteRequired = true })
	code := alice.admin("com.atproto.server.createInviteCode", map[string]any{"useCount": 2, "forAccount": alice.did}).ok().str("code")
	n.anonymous(t).post("com.atproto.server.createAccount", map[string]any{"handle": "carol.test", "email": "carol@example.com", "password": "carol-password", "inviteCode": code}).ok()
	n.visitor(t).signIn("alice.test", "alice-password").open("/account/invites").shows(200, "/account/invites", code, "good for 1", "@carol.test")
}

func TestDataPage(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	picture, _ := alice.fill(3)
	v := n.visitor(t).signIn("alice.test", "alice-password").open("/account/data").shows(200, "/account/data", "Pictures and videos")
	v.open("/account/data/zip")
	if v.page.status != 200 || v.page.header.Get("Content-Type") != "application/zip" || !strings.HasPrefix(v.page.header.Get("Content-Disposition"), `attachment; filename="alice.test-`) {
		t.Fatalf("%d %v", v.page.status, v.page.header)
	}
	z, err := zip.NewReader(bytes.NewReader(v.page.body), int64(len(v.page.body)))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, f := range z.File {
		names[strings.Split(f.Name, "/")[0]] = true
	}
	if !names["repo.car"] || !names["blobs"] || !names["preferences.json"] || !names["manifest.json"] || !bytes.Contains(v.page.body, picture) {
		t.Errorf("the file holds %v", names)
	}
	v.open("/account/data/car")
	if v.page.header.Get("Content-Type") != carType || !bytes.Equal(v.page.body, alice.exportCAR()) {
		t.Errorf("%s, %d bytes", v.page.header.Get("Content-Type"), len(v.page.body))
	}
}

func TestClosePage(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	alice := n.signUp(t, "alice")
	v := n.visitor(t).signIn("alice.test", "alice-password").open("/account/close")
	v.send("/account/close", "do", "deactivate", "days", "soon").shows(400, "/account/close")
	v.open("/account/close")
	n.wantEvents(t, func() {
		v.send("/account/close", "do", "deactivate", "days", "30").shows(200, "/account", "is deactivated")
	}, "account deactivated")
	a := n.accountOf(t, alice.did)
	if a.Status() != store.StatusDeactivated || a.DeleteAfter.Sub(a.DeactivatedAt).Hours() < 29*24 {
		t.Errorf("%s, deleted after %s", a.Status(), a.DeleteAfter)
	}
	v.open("/account/close").shows(200, "/account/close", "to be deleted on")
	n.wantEvents(t, func() { v.send("/account/close", "do", "activate").shows(200, "/account", "active again") }, "account active", "identity", "sync")

	v.open("/account/close").send("/account/close", "do", "ask").shows(200, "/account/close", "cannot be undone")
	code := alice.mailed(inbox, "Account Deletion Requested")
	v.send("/account/close", "do", "delete", "password", "wrong", "code", code).shows(422, "/account/close", `id="password-error"`)
	v.send("/account/close", "do", "delete", "password", "alice-password", "code", "AAAAA-AAAAA").shows(422, "/account/close", `id="code-error"`)
	v.send("/account/close", "do", "delete", "password", "alice-password", "code", code).shows(200, "/", "is deleted")
	v.open("/account").shows(200, "/account/sign-in")
	v.signIn("alice.test", "alice-password").shows(422, "/account/sign-in")
}
