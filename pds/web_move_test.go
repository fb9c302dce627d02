package pds

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// waits opens a page until it says something. The page that is open counts: that a move has ended is said once, and that may have been in answer to the form.
func (v *visitor) waits(path, text string) *visitor {
	v.t.Helper()
	defer func() {
		if v.t.Failed() {
			v.t.Logf("%s says:\n%s", path, v.page.body)
		}
	}()
	says := func() bool { return strings.Contains(string(v.page.body), text) }
	eventually(v.t, fmt.Sprintf("%q on %s", text, path), func() bool { return says() || v.open(path) != nil && says() })
	return v
}

// enterMove signs in at the old server by way of the pages.
func (m *moving) enterMove(v *visitor, more ...string) *visitor {
	m.t.Helper()
	v.open("/move/from?account="+url.QueryEscape(m.old.did)).shows(200, "/move/from", m.old.handle)
	return v.send("/move/sign-in?account="+url.QueryEscape(m.old.did), append([]string{"password", m.password}, more...)...)
}

// A newcomer moves an account here through the pages alone, with an invite code; the server ends in the middle, and the rest is done in another browser.
func TestPagesMoveHere(t *testing.T) {
	m := newMoving(t, nil)
	m.to.change = func(c *Config) { c.InviteRequired = true }
	m.job = m.to
	m.open()
	invite := m.to.anonymous(t).inviteCode()
	v := m.to.visitor(t)
	v.open("/move").shows(200, "/move", "Move your account here", "An invite code")
	v.open("/move/from?account=nobody.test").shows(422, "/move/from", "We cannot find this account")
	v.open("/move/from?account=what+is+this").shows(422, "/move/from", "We cannot find this account")
	for _, own := range []string{m.to.srv.cfg.PublicURL(), m.to.srv.cfg.PublicURL() + "/", strings.ToUpper(strings.TrimPrefix(m.to.srv.cfg.PublicURL(), "http://"))} {
		v.open("/move/from?account="+url.QueryEscape(own)).shows(422, "/move/from", "This is the address of this server, and no account", `id="account-error"`)
	}
	v.open("/move/from?account="+m.old.did).shows(200, "/move/from", "alice.test", "localhost:", "by invitation only")
	v.send("/move/from?account="+m.old.did, "invite", "wrong").shows(422, "/move/from", `id="invite-error"`)
	v.send("/move/from?account="+m.old.did, "invite", invite).shows(200, "/move/from", "Sign in at your old server", invite)
	v.send("/move/sign-in?account="+m.old.did, "invite", invite, "password", "wrong").shows(422, "/move/sign-in", `id="password-error"`)
	if _, err := m.to.srv.store.Migration(t.Context(), syntax.DID(m.old.did)); err == nil {
		t.Fatal("a move was begun without the old server's word")
	}
	v.send("/move/sign-in?account="+m.old.did, "invite", invite, "password", m.password).shows(200, "/move/account", "Keep alice.test")
	account := func(more ...string) []string {
		return append([]string{"keep", "no", "handle", "alice-new", "password", "new-password"}, more...)
	}
	v.send("/move/account", account("password", "short")...).shows(422, "/move/account", `id="password-error"`)
	v.send("/move/account", account("handle", "admin")...).shows(422, "/move/account", `id="handle-error"`)
	v.send("/move/account", account("email", "nobody")...).shows(422, "/move/account", `id="email-error"`)
	m.kill()
	v.open("/move").shows(200, "/move", "The move of", "is under way")
	v.open("/move/progress").shows(200, "/move/account")
	v.send("/move/account", account()...).shows(200, "/move/progress")
	v.waits("/move/progress", "Enter the code from the mail").shows(200, "/move/progress", "10 of 10")
	if uses := m.inviteUses(invite); uses != 1 {
		t.Errorf("the invite code has %d uses", uses)
	}
	m.kill()
	m.strangersAreRefused()

	// In another browser, by the new password.
	other := m.to.visitor(t)
	other.open("/account/sign-in?next=/move/progress").send("/account/sign-in", "identifier", m.old.did, "password", "new-password", "next", "/move/progress").
		shows(200, "/move/progress", "Enter the code from the mail")
	other.send("/move/progress", "do", "confirm", "code", "").shows(422, "/move/progress", `id="code-error"`)
	other.send("/move/progress", "do", "confirm", "code", "AAAAA-AAAAA").shows(422, "/move/progress", `id="code-error"`)
	other.send("/move/progress", "do", "conjure").shows(400, "/move/progress")
	other.open("/move/progress").send("/move/progress", "do", "resend").shows(200, "/move/progress", "A new code is on its way")
	other.send("/move/progress", "do", "confirm", "code", m.old.plcCode()).shows(200, "/move/progress")
	other.waits("/move/progress", "Your account has moved").shows(200, "/move/progress", "alice-new.test", "<dd>22</dd>")
	v.open("/move/progress").shows(200, "/move/progress", "Your account has moved")
	v.open("/move").shows(200, "/move")
	v.open("/move/abandon").shows(200, "/move/progress", "Your account has moved")
	m.old.handle = "alice-new.test"
	m.wantMoved()
	n := m.to.visitor(t)
	n.open("/move/from?account="+m.old.did).shows(422, "/move/from", "lives here already")
}

func (m *moving) inviteUses(code string) int {
	m.t.Helper()
	i, err := m.to.srv.store.Invite(m.t.Context(), code)
	if err != nil {
		m.t.Fatal(err)
	}
	return len(i.Uses)
}

// strangersAreRefused tries what somebody can do who knows whose move is under way, and nothing else.
func (m *moving) strangersAreRefused() {
	m.t.Helper()
	v := m.to.visitor(m.t)
	before, err := m.ask(MigrateRequest{Action: MigrateShow})
	if err != nil {
		m.t.Fatal(err)
	}
	v.open("/move/progress").shows(200, "/move")
	v.open("/move/progress.json").shows(404, "/move/progress.json")
	for _, cookie := range []string{"." + m.old.did, "x." + m.old.did, strings.Repeat("A", 43) + "." + m.old.did, m.old.did, "x.did:plc:nobody"} {
		v.header.Set("Cookie", "perch-move="+cookie)
		v.open("/move/progress").shows(200, "/move")
		v.header.Del("Cookie")
	}
	form := func() *visitor { return v.open("/account/sign-in") } // a page with a form of this browser
	for _, do := range []string{"confirm", "resend", "again", "stay"} {
		form().send("/move/progress", "do", do, "code", m.old.plcCode()).shows(200, "/move")
	}
	form().send("/move/abandon").shows(200, "/move")
	form().send("/move/account", "handle", "mine", "password", "my-password").shows(200, "/move")
	form().send("/move/sign-in?account="+m.old.did, "password", "guess").shows(422, "/move/sign-in")
	v.open("/move/signed-in?code=c&iss=i&state=x.pages").shows(422, "/move/signed-in", "expired or was used already")
	v.open("/perch/migrate/signed-in?code=c&iss=i&state=x." + m.old.did)
	if v.page.status != http.StatusNotFound {
		m.t.Errorf("a made up state: %d", v.page.status)
	}
	after, err := m.ask(MigrateRequest{Action: MigrateShow})
	if err != nil || after.State != before.State || after.Needs != before.Needs || after.Error != before.Error {
		m.t.Errorf("a stranger has changed the move from %+v to %+v, %v", before, after, err)
	}
}

// Somebody whose browser is gone and who has forgotten the new password signs in at the old server again; and gives the move up.
func TestPagesMoveHereIsGivenUp(t *testing.T) {
	m := startMoving(t, nil)
	v := m.to.visitor(t)
	m.enterMove(v).shows(200, "/move/account")
	v.send("/move/account", "keep", "yes", "password", "new-password").shows(200, "/move/progress")
	v.waits("/move/progress", "Enter the code from the mail")

	again := m.to.visitor(t)
	m.enterMove(again).shows(200, "/move/progress", "Enter the code from the mail")
	again.open("/move/abandon").shows(200, "/move/abandon", "Give the move up?").send("/move/abandon")
	again.waits("/move/progress", "That move has ended").shows(200, "/move")
	v.open("/move/progress").shows(200, "/move", "That move has ended")
	if _, err := m.to.srv.store.AccountByDID(t.Context(), syntax.DID(m.old.did)); err == nil {
		t.Error("the account is still here")
	}
	if m.sessions() != 0 {
		t.Error("a session at the old host goes on")
	}
	m.old.createPost("goes on as before")
	m.enterMove(v).shows(200, "/move/account") // and may begin anew
	v.open("/move/abandon").send("/move/abandon")
	v.waits("/move/progress", "That move has ended")
}

// Blobs that cannot be had, and a host that does not answer, are told of with what to do.
func TestPagesMoveTellsWhatIsWrong(t *testing.T) {
	var broken, silent atomic.Bool
	broken.Store(true)
	m := startMoving(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case broken.Load() && strings.HasSuffix(r.URL.Path, "sync.getBlob"):
				http.Error(w, `{"error":"BlobNotFound","message":"<b>gone</b>"}`, http.StatusBadRequest)
			case silent.Load() && strings.HasSuffix(r.URL.Path, "getPreferences"):
				http.Error(w, "no", http.StatusBadGateway)
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
	silent.Store(false)
	v.waits("/move/progress", "Look for them again").shows(200, "/move/progress", "Could not be copied: 10", "does not have it any more")
	if strings.Contains(string(v.page.body), "gone") {
		t.Error("the page shows the words of the old host")
	}
	broken.Store(false)
	v.waits("/move/progress", "Enter the code from the mail").send("/move/progress", "do", "again")
	v.waits("/move/progress", "10 of 10").waits("/move/progress", "Enter the code from the mail")
	if strings.Contains(string(v.page.body), "Could not be copied") {
		t.Error("what was lost is still lost")
	}
}

// The number of guesses at an account elsewhere is bounded.
func TestPagesMoveBoundsGuesses(t *testing.T) {
	m := newMoving(t, nil)
	m.to.change = func(c *Config) { c.RateLimitsEnabled = true }
	m.job = m.to
	m.open()
	v := m.to.visitor(t)
	v.open("/move/from?account=" + m.old.did)
	for range 10 {
		v.send("/move/sign-in?account="+m.old.did, "password", "guess").shows(422, "/move/sign-in")
	}
	page := v.page
	v.send("/move/sign-in?account="+m.old.did, "password", m.password).shows(429, "/move/sign-in")
	v.page = page
	v.send("/move/sign-in?account=@alice.example", "password", "guess").shows(422, "/move/sign-in")
}

// The owner of an account here moves to another server through the pages alone, and the server ends in the middle.
func TestPagesMoveAway(t *testing.T) {
	m := startLeaving(t, nil)
	v := m.old.visitor(t)
	v.signIn("alice.test", "alice-password").shows(200, "/account", "/account/move")
	v.open("/account/move").shows(200, "/account/move", "Move away from here", m.old.did)
	v.open("/account/move/to?to=").shows(422, "/account/move/to", `id="to-error"`)
	v.open("/account/move/to?to="+m.old.srv.cfg.PublicURL()).shows(422, "/account/move/to", `id="to-error"`, "on which your account lives already. Enter the address of the server to which it shall go")
	to := "/account/move/to?to=" + m.to.srv.cfg.PublicURL()
	v.open(to).shows(200, "/account/move/to", "Keep alice.test", "alice@example.com")
	fields := func(more ...string) []string {
		return append([]string{"keep", "yes", "email", "alice@example.com", "password", "new-password", "days", "0"}, more...)
	}
	v.send(to, fields("password", "")...).shows(422, "/account/move/to", `id="password-error"`)
	v.send(to, fields("keep", "no", "handle", "admin")...).shows(422, "/account/move/to", `id="handle-error"`)
	v.open(to).send(to, fields()...).shows(200, "/account/move/progress")
	v.waits("/account/move/progress", "Enter the code from the mail")
	m.kill()
	stranger := m.old.network.visitor(t)
	stranger.open("/account/move/progress").shows(200, "/account/sign-in")
	bob := m.old.network.signUp(t, "bob")
	stranger.signIn("bob.test", "bob-password").shows(200, "/account")
	stranger.open("/account/move/progress").shows(200, "/account/move")
	stranger.send("/account/move/progress", "do", "confirm", "code", m.old.plcCode()).shows(200, "/account/move")
	bob.createPost("is still here")

	v.open("/account/move").shows(200, "/account/move/progress")
	v.send("/account/move/progress", "do", "confirm", "code", "AAAAA-AAAAA").shows(422, "/account/move/progress", `id="code-error"`)
	v.open("/account/move/abandon").shows(200, "/account/move/abandon", "Give the move up?")
	v.open("/account/move/progress").send("/account/move/progress", "do", "confirm", "code", m.old.plcCode()).shows(200, "/account/move/progress")
	v.waits("/account/move/progress", "Your account has moved").shows(200, "/account/move/progress", "localhost:")
	m.wantMoved()
	v.open("/account/move").shows(200, "/account/move", "You have moved to")
}

func TestPagesMoveAwayIsGivenUp(t *testing.T) {
	m := startLeaving(t, nil)
	v := m.old.visitor(t)
	v.signIn("alice.test", "alice-password")
	to := "/account/move/to?to=" + m.to.srv.cfg.PublicURL()
	v.open(to).send(to, "keep", "yes", "email", "alice@example.com", "password", "new-password").shows(200, "/account/move/progress")
	v.waits("/account/move/progress", "Enter the code from the mail")
	v.open("/account/move/abandon").send("/account/move/abandon")
	m.old.createPost("goes on as before")
	v.waits("/account/move", "Address of the new server")
	if acct := m.old.account(); !acct.Active() {
		t.Errorf("the account is %q", acct.Status())
	}
}
