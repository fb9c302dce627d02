package pds

import (
	"crypto/sha256"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"perch/pds/oauth/oauthtest"
	"perch/pds/store"
)

// appVisit is a visitor whom an app has sent here.
type appVisit struct {
	*visitor
	app *oauthtest.App
	uri string
}

// sentBy has an app push a request, and the visitor follow it.
func (v *visitor) sentBy(app *oauthtest.App, form oauthtest.JSON) *appVisit {
	v.t.Helper()
	uri, _ := app.Push(oauthtest.Change{Form: form}).OK()["request_uri"].(string)
	a := &appVisit{v, app, uri}
	v.open(a.address())
	return a
}

func (a *appVisit) address() string {
	return "/oauth/authorize?" + url.Values{"client_id": {a.app.ClientID}, "request_uri": {a.uri}}.Encode()
}

// decide answers the question. Nothing given means all scopes.
func (a *appVisit) decide(decision string, scopes ...string) *appVisit {
	a.t.Helper()
	form := url.Values{
		"token": {a.hidden("token")}, "client_id": {a.app.ClientID}, "request_uri": {a.uri}, "decision": {decision}, "account": {a.hidden("account")}, "scope": scopes,
	}
	a.do(http.MethodPost, "/oauth/authorize", form)
	return a
}

// sentBack expects the browser to be sent to the app, and returns what it is told.
func (a *appVisit) sentBack() url.Values {
	a.t.Helper()
	location := a.page.header.Get("Location")
	if a.page.status != 303 || !strings.HasPrefix(location, a.app.Redirect) {
		a.t.Fatalf("%s: %d, to %q\n%s", a.page.what, a.page.status, location, a.page.body)
	}
	u, err := url.Parse(location)
	if err != nil {
		a.t.Fatal(err)
	}
	values := u.Query()
	if u.Fragment != "" {
		values, _ = url.ParseQuery(u.Fragment)
	}
	if values.Get("iss") != a.srv.cfg.PublicURL() || values.Get("state") == "" {
		a.t.Errorf("the app cannot tell whose answer that is: %v", values)
	}
	return values
}

const fineScopes = "atproto repo:app.bsky.feed.post?action=create blob:image/* account:email"

func TestAppIsLetIn(t *testing.T) {
	n := startNetwork(t, nil)
	n.signUp(t, "alice")
	app := oauthtest.New(t, n.srv.cfg.PublicURL(), fineScopes)
	v := n.visitor(t).sentBy(app, nil)
	v.shows(200, "/account/sign-in", "Continue to", "Cancel and go back")
	v.send("/account/sign-in", "identifier", "alice.test", "password", "alice-password", "next", v.address()).shows(200, "/oauth/authorize",
		"alice.test", "Publish: posts", "Upload pictures", "See your e-mail address", "repo:app.bsky.feed.post?action=create")
	if policy := v.page.header.Get("Content-Security-Policy"); !strings.Contains(policy, "form-action 'self' http:;") {
		t.Errorf("the way back is shut: %s", policy)
	}
	code := v.decide("allow", "repo:app.bsky.feed.post?action=create", "blob:image/*").sentBack().Get("code")
	out := app.Redeem(code, oauthtest.Change{}).OK()
	if out["scope"] != "atproto repo:app.bsky.feed.post?action=create blob:image/*" {
		t.Errorf("the e-mail address was unticked: %v", out["scope"])
	}

	v = v.sentBy(app, nil) // it cannot prove who it is, so it asks again
	v.shows(200, "/oauth/authorize", "alice.test")
	if got := v.decide("deny").sentBack(); got.Get("error") != "access_denied" {
		t.Errorf("%v", got)
	}
	v.open(v.address()).shows(400, "/oauth/authorize", "This request has ended", "begin again")
}

// A form that was left open for too long leads back to the app, and one that was opened too late to a page that says so.
func TestAppRequestExpires(t *testing.T) {
	n := startNetwork(t, nil)
	n.signUp(t, "alice")
	app := oauthtest.New(t, n.srv.cfg.PublicURL(), "atproto")
	v := n.visitor(t).signIn("alice.test", "alice-password").sentBy(app, nil)
	v.shows(200, "/oauth/authorize", "Allow access")
	n.expire(t, v.uri)
	if got := v.decide("allow").sentBack(); got.Get("error") != "access_denied" || got.Get("code") != "" {
		t.Errorf("%v", got)
	}
	late := &appVisit{visitor: n.visitor(t), app: app}
	late.uri, _ = app.Push(oauthtest.Change{}).OK()["request_uri"].(string)
	n.expire(t, late.uri)
	late.open(late.address()).shows(400, "/oauth/authorize", "This request has ended", "Go to the start page")
}

// expire makes the time of a request of an app run out.
func (n *network) expire(t *testing.T, uri string) {
	t.Helper()
	id := sha256.Sum256([]byte(strings.TrimPrefix(uri, "urn:ietf:params:oauth:request_uri:req-")))
	err := n.srv.store.Update(t.Context(), func(tx *store.Tx) error {
		row, err := tx.OAuthRequest(t.Context(), id[:])
		if err != nil {
			return err
		}
		row.ExpiresAt = time.Now().Add(-time.Second)
		return tx.UpdateOAuthRequest(t.Context(), row)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAppIsAnsweredByFragmentAndForm(t *testing.T) {
	n := startNetwork(t, nil)
	n.signUp(t, "alice")
	app := oauthtest.New(t, n.srv.cfg.PublicURL(), "atproto")
	v := n.visitor(t).signIn("alice.test", "alice-password")
	if got := v.sentBy(app, oauthtest.JSON{"response_mode": "fragment"}).decide("allow").sentBack(); got.Get("code") == "" {
		t.Errorf("%v", got)
	}
	a := v.sentBy(app, oauthtest.JSON{"response_mode": "form_post"}).decide("allow")
	a.shows(200, "/oauth/authorize", `action="`+app.Redirect, "data-send", `name="code"`, `name="iss"`)
	if strings.Contains(string(a.page.body), "<script>") {
		t.Error("the page has a script in it")
	}
}

func TestAppPrompts(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	n.signUp(t, "bob")
	app := oauthtest.New(t, n.srv.cfg.PublicURL(), "atproto")

	v := n.visitor(t)
	v.sentBy(app, oauthtest.JSON{"prompt": "create"}).shows(200, "/account/sign-up", "Continue to")

	v.signIn("alice.test", "alice-password")
	v.sentBy(app, oauthtest.JSON{"prompt": "login"}).shows(200, "/account/sign-in", `value="alice.test"`)
	v.sentBy(app, oauthtest.JSON{"prompt": "select_account"}).shows(200, "/oauth/authorize", "Choose an account", "alice.test")
	v.sentBy(app, oauthtest.JSON{"login_hint": "bob.test"}).shows(200, "/account/sign-in", `value="bob.test"`)
	v.sentBy(app, oauthtest.JSON{"login_hint": alice.did}).shows(200, "/oauth/authorize", "Allow access")
	v.sentBy(app, nil).shows(200, "/oauth/authorize", "Allow access")
	v.signIn("bob.test", "bob-password")
	a := v.sentBy(app, nil)
	a.shows(200, "/oauth/authorize", "Choose an account", "alice.test", "bob.test")
	a.open(a.address()+"&account="+url.QueryEscape(alice.did)).shows(200, "/oauth/authorize", "Allow access", "alice.test")

	// prompt=none is for apps that the operator trusts or that prove who they are. Any site can make a browser follow the request of another: it must not learn who is signed in.
	w, told := n.visitor(t), ""
	for _, name := range []string{"", "alice", "bob"} {
		if name != "" {
			w.signIn(name+".test", name+"-password")
		}
		for _, hint := range []string{"", alice.did} {
			if got := w.sentBy(app, oauthtest.JSON{"prompt": "none", "login_hint": hint}).sentBack(); got.Get("error") != "consent_required" || got.Get("error_description") != told && told != "" {
				t.Errorf("signed in %q, hint %q: %v", name, hint, got)
			} else {
				told = got.Get("error_description")
			}
		}
	}
}

func TestAppSignInIsNotFooledByFreshLogin(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	app := oauthtest.New(t, n.srv.cfg.PublicURL(), "atproto")
	v := n.visitor(t).signIn("alice.test", "alice-password")
	a := v.sentBy(app, oauthtest.JSON{"prompt": "login"})
	form := url.Values{"token": {a.hidden("token")}, "client_id": {app.ClientID}, "request_uri": {a.uri}, "decision": {"allow"}, "account": {alice.did}}
	a.do(http.MethodPost, "/oauth/authorize", form).shows(200, "/account/sign-in")
	a.send("/account/sign-in", "identifier", "alice.test", "password", "alice-password", "next", a.address()).shows(200, "/oauth/authorize", "Allow access")
	if got := a.decide("allow").sentBack(); got.Get("code") == "" {
		t.Errorf("%v", got)
	}
}

func TestAppRequestBelongsToOneBrowser(t *testing.T) {
	n := startNetwork(t, nil)
	n.signUp(t, "alice")
	app := oauthtest.New(t, n.srv.cfg.PublicURL(), "atproto")
	first := n.visitor(t).signIn("alice.test", "alice-password").sentBy(app, nil)
	first.shows(200, "/oauth/authorize", "Allow access")
	second := n.visitor(t)
	second.open(first.address())
	if second.page.status != 403 {
		t.Errorf("another browser got %d", second.page.status)
	}
	second.open("/oauth/authorize").shows(400, "/oauth/authorize", "begin again")
	second.open("/oauth/authorize?client_id=x&request_uri=urn:x").shows(400, "/oauth/authorize")
	first.send("/oauth/authorize", "token", "", "client_id", app.ClientID, "request_uri", first.uri, "decision", "allow").shows(403, "/oauth/authorize")
	first.open(first.address()).shows(200, "/oauth/authorize")
	first.decide("allow", "atproto", "transition:generic").shows(400, "/oauth/authorize") // more than the app has asked for
}

func TestAppWithDeactivatedAccount(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	alice.post("com.atproto.server.deactivateAccount", map[string]any{}).ok()
	app := oauthtest.New(t, n.srv.cfg.PublicURL(), "atproto")
	v := n.visitor(t).signIn("alice.test", "alice-password").sentBy(app, nil)
	v.shows(200, "/oauth/authorize", "is deactivated")
	v.send("/oauth/authorize/reactivate", "client_id", app.ClientID, "request_uri", v.uri, "account", "did:plc:somebodyelseaaaaaaaaaaaa").shows(200, "/oauth/authorize", "is deactivated")
	if acct := n.accountOf(t, alice.did); acct.Active() {
		t.Error("it came back instead of another")
	}
	v.send("/oauth/authorize/reactivate", "client_id", app.ClientID, "request_uri", v.uri, "account", alice.did).shows(200, "/oauth/authorize", "Allow access")
	if acct := n.accountOf(t, alice.did); !acct.Active() {
		t.Error("it is deactivated still")
	}
}

// TestAppWithAnAccountThatMovesHere: until its DID names this server the account cannot become active on the way of an app. An app that is let in all the same may do nothing.
func TestAppWithAnAccountThatMovesHere(t *testing.T) {
	n := startNetwork(t, nil)
	dan := n.moveIn(t, "dan", n.registered(t, "dan", "https://other.example.com"), time.Time{})
	app := oauthtest.New(t, n.srv.cfg.PublicURL(), "atproto transition:generic")
	v := n.visitor(t).signIn("dan.test", "dan-password").sentBy(app, nil)
	v.shows(200, "/oauth/authorize", "is deactivated")
	v.send("/oauth/authorize/reactivate", "client_id", app.ClientID, "request_uri", v.uri, "account", dan.DID.String()).shows(422, "/oauth/authorize/reactivate", "finish the move first")
	if german := regexp.MustCompile(`href="([^"]+)" lang="de"`).FindSubmatch(v.page.body); german == nil {
		t.Error("no link to another language")
	} else {
		v.open(html.UnescapeString(string(german[1]))).shows(200, "/oauth/authorize", "Ihr Konto ist stillgelegt")
	}
	v.open(v.address()+"&lang=en&inactive=yes").shows(200, "/oauth/authorize", "Allow access")
	app.Redeem(v.decide("allow", "transition:generic").sentBack().Get("code"), oauthtest.Change{}).OK()
	post := map[string]any{"repo": dan.DID.String(), "collection": "app.bsky.feed.post", "record": postRecord("x")}
	postJSON(app, "com.atproto.repo.createRecord", post).Fails(401, "AccountDeactivated")
	if n.accountOf(t, dan.DID.String()).Active() {
		t.Error("it is active, and its DID is elsewhere")
	}
}
