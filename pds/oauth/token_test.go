package oauth_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"perch/pds/oauth"
	"perch/pds/oauth/oauthtest"
)

// TestBadRedemptions: what is wrong with the use of a code uses it up.
func TestBadRedemptions(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		change change
		key    bool // another DPoP key
		code   string
	}{
		"no code":                  {change{Form: fields{"code": nil}}, false, "invalid_request"},
		"another code":             {change{Form: fields{"code": "cod-x"}}, false, "invalid_grant"},
		"no grant_type":            {change{Form: fields{"grant_type": nil}}, false, "invalid_request"},
		"grant_type password":      {change{Form: fields{"grant_type": "password"}}, false, "unsupported_grant_type"},
		"grant_type credentials":   {change{Form: fields{"grant_type": "client_credentials"}}, false, "unsupported_grant_type"},
		"no verifier":              {change{Form: fields{"code_verifier": nil}}, false, "invalid_grant"},
		"another verifier":         {change{Form: fields{"code_verifier": oauthtest.Random()}}, false, "invalid_grant"},
		"short verifier":           {change{Form: fields{"code_verifier": "abc"}}, false, "invalid_grant"},
		"the challenge":            {change{Form: fields{"code_verifier": strings.Repeat("a", 43)}}, false, "invalid_grant"},
		"another redirect_uri":     {change{Form: fields{"redirect_uri": "https://evil.example.com/"}}, false, "invalid_grant"},
		"another client":           {change{Form: fields{"client_id": "http://localhost"}}, false, "invalid_grant"},
		"another DPoP key":         {change{}, true, "invalid_grant"},
		"no proof":                 {change{NoProof: true}, false, "invalid_dpop_proof"},
		"the code twice":           {change{Form: fields{"code": []string{"a", "b"}}}, false, "invalid_request"},
		"a refresh token for code": {change{Form: fields{"code": "ref-x"}}, false, "invalid_grant"},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.app()
			code, key := w.code(a, change{}), a.Key
			if c.key {
				a.Key = oauthtest.NewKey("")
			}
			r := a.Redeem(code, c.change)
			r.T = t
			r.Fails(400, c.code)
			a.Key = key
			again := a.Redeem(code, change{})
			burnt := c.code == "invalid_grant" && c.change.Form["code"] == nil
			if ok := again.Status == 200; ok == burnt {
				t.Errorf("the code afterwards: %d %s", again.Status, again.Body)
			}
		})
	}
}

func TestCodes(t *testing.T) {
	w := newWorld(t)
	a := w.app()
	code := w.code(a, change{})
	a.Redeem(code, change{}).OK()
	use(a, change{}).OK()
	a.Redeem(code, change{}).Fails(400, "invalid_grant")
	use(a, change{}).Fails(401, "invalid_token") // used twice: somebody else has it
	a.Renew(change{}).Fails(400, "invalid_grant")

	code = w.code(a, change{})
	w.pass(2 * time.Minute)
	a.Redeem(code, change{}).Fails(400, "invalid_grant")

	code = w.code(a, change{})
	var wg sync.WaitGroup
	got := make(chan int, 8)
	for range cap(got) {
		twin := *a
		wg.Go(func() { got <- twin.Redeem(code, change{}).Status })
	}
	wg.Wait()
	close(got)
	good := 0
	for status := range got {
		if status == 200 {
			good++
		}
	}
	if good > 1 {
		t.Errorf("one code, %d sessions", good)
	}
}

func TestRefresh(t *testing.T) {
	w := newWorld(t)
	a := w.signIn(w.app())
	stolen := *a
	stolen.Key = oauthtest.NewKey("")
	stolen.Renew(change{}).Fails(400, "invalid_grant")
	use(&stolen, change{}).Fails(401, "invalid_token")
	use(a, change{}).OK() // a thief without the key has not ended it

	lost := *a
	a.Renew(change{}).OK()
	lost.Renew(change{}).OK() // the answer had got lost
	if lost.Access != a.Access || lost.Refresh != a.Refresh {
		t.Error("a repeated refresh gives other tokens")
	}
	use(a, change{}).OK()
	w.pass(oauth.AccessLifetime)
	use(a, change{}).Fails(401, "invalid_token")
	old := *a
	a.Renew(change{}).OK()
	w.pass(2 * oauth.RefreshGrace)
	old.Renew(change{}).Fails(400, "invalid_grant")
	a.Renew(change{}).Fails(400, "invalid_grant") // it was used before: the session has ended
	use(a, change{}).Fails(401, "invalid_token")

	a = w.signIn(w.app())
	old = *a
	a.Renew(change{}).OK()
	a.Renew(change{}).OK()
	old.Renew(change{}).Fails(400, "invalid_grant") // within the grace, but others have gone on
	use(a, change{}).Fails(401, "invalid_token")

	a = w.signIn(w.app())
	old, stolen = *a, *a
	a.Renew(change{}).OK()
	stolen.Key = oauthtest.NewKey("")
	stolen.Renew(change{}).Fails(400, "invalid_grant") // within the grace, but with another key
	use(a, change{}).Fails(401, "invalid_token")
}

func TestBadRefreshes(t *testing.T) {
	w := newWorld(t)
	a := w.signIn(w.app())
	b := w.signIn(w.app())
	forged := []byte(a.Refresh)
	forged[len(forged)-3] ^= 1
	for name, token := range map[string]string{
		"none": "", "nonsense": "x", "the access token": a.Access, "a forged one": string(forged), "cut": a.Refresh[:len(a.Refresh)-4],
		"longer": a.Refresh + "AAAA", "of line ends": "ref-" + strings.Repeat("\n", 74), "half line ends": a.Refresh[:40] + strings.Repeat("\r\n", 19), "access as refresh": "ref-" + strings.TrimPrefix(a.Access, "acc-"), "another session's": b.Refresh,
	} {
		r := a.Post("/oauth/token", fields{"grant_type": "refresh_token", "client_id": a.ClientID, "refresh_token": token}, change{})
		if r.Status != 400 || r.JSON["error"] != "invalid_grant" {
			t.Errorf("%s: %d %s", name, r.Status, r.Body)
		}
	}
	other := *a
	other.ClientID = "http://localhost"
	other.Renew(change{}).Fails(400, "invalid_grant")
	a.Renew(change{Form: fields{"scope": "atproto repo:app.bsky.feed.post"}}).Fails(400, "invalid_scope") // more than was granted
	a.Renew(change{Form: fields{"scope": "atproto  x"}}).Fails(400, "invalid_scope")
	a.Renew(change{Form: fields{"scope": "atproto"}}).OK()
	a.Renew(change{}).OK()
	b.Renew(change{}).OK()
}

func TestBadAccessTokens(t *testing.T) {
	w := newWorld(t)
	a := w.signIn(w.app())
	b := w.signIn(w.app())
	for name, token := range map[string]string{
		"nonsense": "x", "refresh token": a.Refresh, "forged": a.Access[:len(a.Access)-4] + "AAAA", "refresh as access": "acc-" + strings.TrimPrefix(a.Refresh, "ref-"),
		"another session's, bound to another key": b.Access, "a JWT": "eyJhbGciOiJub25lIn0.e30.", "empty": "",
	} {
		twin := *a
		twin.Access = token
		if r := use(&twin, change{}); r.Status != 401 || r.JSON["error"] != "invalid_token" {
			t.Errorf("%s: %d %s", name, r.Status, r.Body)
		}
	}
	use(a, change{Claims: fields{"ath": nil}}).Fails(401, "invalid_dpop_proof")
	for name, h := range map[string]string{"Bearer": "Bearer " + a.Access, "bearer": "bearer " + a.Access} {
		if r := use(a, change{HTTP: map[string][]string{"Authorization": {h}}}); r.Status != 401 || r.JSON["error"] != "invalid_token" {
			t.Errorf("%s: %d %s", name, r.Status, r.Body)
		}
	}
}

func TestSessionsEnd(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	for name, end := range map[string]func(a *oauthtest.App) error{
		"password": func(*oauthtest.App) error { return w.accounts.SetPassword(ctx, w.acct.ID, "another password", false) },
		"takedown": func(*oauthtest.App) error {
			return errors.Join(w.accounts.Takedown(ctx, w.acct.ID, "x", nil), w.accounts.Takedown(ctx, w.acct.ID, "", nil))
		},
		"suspension": func(*oauthtest.App) error {
			return errors.Join(w.accounts.Suspend(ctx, w.acct.ID, true, nil), w.accounts.Suspend(ctx, w.acct.ID, false, nil))
		},
		"revoke access": func(a *oauthtest.App) error {
			a.Post("/oauth/revoke", fields{"client_id": a.ClientID, "token": a.Access}, change{}).OK()
			return nil
		},
		"revoke": func(a *oauthtest.App) error {
			a.Post("/oauth/revoke", fields{"client_id": a.ClientID, "token": a.Refresh}, change{}).OK()
			return nil
		},
		"apps page": func(*oauthtest.App) error {
			all, err := w.svc.Sessions(ctx, w.acct.ID)
			if err != nil || len(all) != 1 || all[0].Client.Name != "An app" || len(all[0].Permissions) != 2 {
				t.Errorf("%+v, %v", all, err)
			}
			return w.svc.EndSession(ctx, w.acct.ID, all[0].ID)
		},
	} {
		a := w.signIn(w.app())
		use(a, change{}).OK()
		if err := end(a); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r := use(a, change{}); r.JSON["error"] != "invalid_token" {
			t.Errorf("%s: %d %s", name, r.Status, r.Body)
		}
		if r := a.Renew(change{}); r.JSON["error"] != "invalid_grant" {
			t.Errorf("%s: %d %s", name, r.Status, r.Body)
		}
		if all, err := w.svc.Sessions(ctx, w.acct.ID); err != nil || len(all) != 0 {
			t.Errorf("%s: %+v, %v", name, all, err)
		}
	}
	a := w.signIn(w.app())
	stranger := *a
	stranger.ClientID = "http://localhost"
	stranger.Post("/oauth/revoke", fields{"client_id": stranger.ClientID, "token": a.Access}, change{}).OK()
	use(a, change{}).OK() // another client has no say
	code := w.code(a, change{})
	if err := w.accounts.SetPassword(ctx, w.acct.ID, "yet another password", false); err != nil {
		t.Fatal(err)
	}
	a.Redeem(code, change{}).Fails(400, "invalid_grant")
	a = w.signIn(w.app())
	w.pass(15 * 24 * time.Hour)
	a.Renew(change{}).Fails(400, "invalid_grant") // a public client's session lasts two weeks
}

func TestOpenAndDecide(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	a := w.app()
	uri, _ := a.Push(change{}).OK()["request_uri"].(string)
	for name, c := range map[string][2]string{
		"another client": {"http://localhost", uri}, "no such request": {clientID, uri + "x"}, "no request": {clientID, ""},
		"a URL": {clientID, "https://app.example.com/request"},
	} {
		if _, err := w.svc.Open(ctx, c[0], c[1], device); !errors.Is(err, &oauth.Error{Code: oauth.InvalidRequest}) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r, err := w.svc.Open(ctx, clientID, uri, device)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.svc.Open(ctx, clientID, uri, device); err != nil {
		t.Errorf("the page shown again: %v", err)
	}
	if _, err := w.svc.Open(ctx, clientID, uri, "another device"); !errors.Is(err, &oauth.Error{Code: oauth.AccessDenied}) {
		t.Errorf("another device: %v", err)
	}
	if _, err := w.svc.Grant(ctx, r, w.acct, "another device", nil); err == nil {
		t.Error("another device may grant")
	}
	if _, err := w.svc.Grant(ctx, r, w.acct, device, []string{"transition:email"}); !errors.Is(err, &oauth.Error{Code: oauth.InvalidScope}) {
		t.Errorf("a scope that was not asked for: %v", err)
	}
	if _, ok, err := w.svc.MaySkipConsent(ctx, r, w.acct.ID); ok || err != nil {
		t.Errorf("a public client is let in without a question: %v", err)
	}
	resp, err := w.svc.Deny(ctx, r, oauth.AccessDenied, "no")
	if err != nil || !strings.Contains(resp.URL(), "error=access_denied") || !strings.Contains(resp.URL(), "iss=") || !strings.Contains(resp.URL(), "state=") {
		t.Errorf("%+v, %v", resp, err)
	}
	if _, err := w.svc.Grant(ctx, r, w.acct, device, nil); err == nil {
		t.Error("granted after it was denied")
	}
	r = w.open(a, a.Push(change{Form: fields{"login_hint": "bob.example.com"}}))
	if _, err := w.svc.Grant(ctx, r, w.acct, device, nil); !errors.Is(err, &oauth.Error{Code: oauth.AccessDenied}) {
		t.Errorf("another account than the app asked for: %v", err)
	}
	uri, _ = a.Push(change{}).OK()["request_uri"].(string)
	w.pass(6 * time.Minute)
	if _, err := w.svc.Open(ctx, clientID, uri, device); err == nil {
		t.Error("an old request is opened")
	}
	r = w.open(a, a.Push(change{}))
	w.pass(31 * time.Minute)
	var e *oauth.Error
	if _, err := w.svc.Open(ctx, clientID, r.URI, device); !errors.As(err, &e) || e.Redirect == nil {
		t.Errorf("a request that has expired before the person's eyes: %v", err)
	}
}

// TestGrantByWhoWasSignedOut: the page was shown before the password changed.
func TestGrantByWhoWasSignedOut(t *testing.T) {
	w := newWorld(t)
	a := w.app()
	r := w.open(a, a.Push(change{}))
	if err := w.accounts.SetPassword(t.Context(), w.acct.ID, "another password", false); err != nil {
		t.Fatal(err)
	}
	if _, err := w.svc.Grant(t.Context(), r, w.acct, device, []string{"atproto"}); !errors.Is(err, &oauth.Error{Code: oauth.AccessDenied}) {
		t.Errorf("with the session of before: %v", err)
	}
}

// TestTrustedProgramsAreAskedAbout: any program on the same machine can take the answer for one that is installed there.
func TestTrustedProgramsAreAskedAbout(t *testing.T) {
	w := newWorld(t)
	for redirect, silent := range map[string]bool{
		clientHost + "/callback": true, "http://127.0.0.1/callback": false, "http://[::1]:8080/callback": false, "com.example.app:/callback": false,
	} {
		a := w.app()
		a.ClientID, a.Redirect = clientHost+"/trusted.json", redirect
		w.serve("/trusted.json", with(publicDoc(), fields{"client_id": a.ClientID, "application_type": "native", "redirect_uris": []string{
			clientHost + "/callback", "http://127.0.0.1/callback", "http://[::1]/callback", "com.example.app:/callback"}}))
		w.signIn(a)
		r := w.open(a, a.Push(change{}))
		if _, ok, err := w.svc.MaySkipConsent(t.Context(), r, w.acct.ID); err != nil || ok != silent || !r.Client.Trusted {
			t.Errorf("%s: %v, %v", redirect, ok, err)
		}
	}
}

// TestPagesDoNotQuoteApps: what an app's host says goes to the app's makers, not to people.
func TestPagesDoNotQuoteApps(t *testing.T) {
	w := newWorld(t)
	a := w.app()
	r := w.open(a, a.Push(change{}))
	w.serve("/oauth-client-metadata.json", with(publicDoc(), fields{"redirect_uris": []string{"Your account is locked, call 555"}}))
	w.pass(11 * time.Minute)
	var e *oauth.Error
	if _, err := w.svc.Open(t.Context(), clientID, r.URI, device); !errors.As(err, &e) || e.Code != oauth.InvalidClientMeta || strings.Contains(e.Description, "locked") {
		t.Errorf("%v", err)
	}
	a.Push(change{}).Fails(400, "invalid_client_metadata")
}

func TestConsentIsRemembered(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	a := w.confidential()
	r := w.open(a, a.Push(change{}))
	if _, ok, err := w.svc.MaySkipConsent(ctx, r, w.acct.ID); ok || err != nil {
		t.Fatalf("before the first time: %v %v", ok, err)
	}
	resp, err := w.svc.Grant(ctx, r, w.acct, device, []string{"atproto"}) // one unticked
	if err != nil {
		t.Fatal(err)
	}
	out := a.Redeem(resp.Params[len(resp.Params)-1].Value, change{}).OK()
	if out["scope"] != "atproto" {
		t.Errorf("scope %v: what was unticked is granted", out["scope"])
	}
	if _, ok, _ := w.svc.MaySkipConsent(ctx, w.open(a, a.Push(change{})), w.acct.ID); ok {
		t.Error("what was unticked needs no question the next time")
	}
	w.signIn(a)
	if _, ok, _ := w.svc.MaySkipConsent(ctx, w.open(a, a.Push(change{})), w.acct.ID); !ok {
		t.Error("asked again for what was granted")
	}
	if known, err := w.svc.MayKnow(ctx, r, w.acct.ID); !known || err != nil {
		t.Errorf("the app may not know of an account that has let it in: %v", err)
	}
	if known, err := w.svc.MayKnow(ctx, r, w.person("bob", "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb").ID); known || err != nil {
		t.Errorf("the app may know of an account that has not let it in: %v", err)
	}
	if _, ok, _ := w.svc.MaySkipConsent(ctx, w.open(a, a.Push(change{Form: fields{"prompt": "consent"}})), w.acct.ID); ok {
		t.Error("prompt=consent is not honoured")
	}
	all, err := w.svc.Sessions(ctx, w.acct.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.svc.EndSession(ctx, w.acct.ID, all[0].ID); err != nil {
		t.Fatal(err)
	}
	if before, err := w.svc.Consented(ctx, w.acct.ID, clientID); err != nil || len(before) != 0 {
		t.Errorf("after the app was sent away: %v, %v", before, err)
	}
}

// TestForgottenAppsAskAgain: an app that signs itself out may come back without a question, and is among those that its person can forget.
func TestForgottenAppsAskAgain(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	a := w.signIn(w.confidential())
	for _, forget := range []bool{false, true} {
		if all, err := w.svc.Remembered(ctx, w.acct.ID); err != nil || len(all) != 0 {
			t.Errorf("an app that is here could come back: %+v %v", all, err)
		}
		a.Post("/oauth/revoke", fields{"client_id": a.ClientID, "token": a.Refresh}, change{}).OK()
		if all, err := w.svc.Remembered(ctx, w.acct.ID); err != nil || len(all) != 1 || all[0].Client.ID != clientID || !all[0].GrantedAt.Equal(w.clock()) {
			t.Errorf("%+v %v", all, err)
		}
		if forget {
			if err := w.svc.Forget(ctx, w.acct.ID, clientID); err != nil {
				t.Fatal(err)
			}
		}
		if _, ok, err := w.svc.MaySkipConsent(ctx, w.open(a, a.Push(change{})), w.acct.ID); ok == forget || err != nil {
			t.Errorf("forgotten %v, without a question %v: %v", forget, ok, err)
		}
		w.signIn(a)
	}
	local := oauthtest.New(t, w.url, "atproto")
	local.Now = w.clock
	w.signIn(local)
	local.Post("/oauth/revoke", fields{"client_id": local.ClientID, "token": local.Refresh}, change{}).OK()
	if all, err := w.svc.Remembered(ctx, w.acct.ID); err != nil || len(all) != 0 {
		t.Errorf("one under development, which is asked about each time: %+v %v", all, err)
	}
}
