package pds

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/oauth"
	"perch/pds/oauth/oauthtest"
)

// consent does what the pages do: the person opens the request and grants the scopes; none means all.
func (c *client) consent(app *oauthtest.App, pushed oauthtest.Answer, scopes ...string) oauth.Response {
	c.t.Helper()
	ctx := c.t.Context()
	uri, _ := pushed.OK()["request_uri"].(string)
	r, err := c.srv.oauth.Open(ctx, app.ClientID, uri, "dev-1")
	if err != nil {
		c.t.Fatal(err)
	}
	if len(scopes) == 0 {
		for _, p := range r.Permissions {
			scopes = append(scopes, p.Scope)
		}
	}
	acct, err := c.srv.store.AccountByDID(ctx, syntax.DID(c.did))
	if err != nil {
		c.t.Fatal(err)
	}
	resp, err := c.srv.oauth.Grant(ctx, r, acct, "dev-1", scopes)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp
}

func param(r oauth.Response, name string) string {
	for _, p := range r.Params {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// letIn signs an app in with the scopes.
func (c *client) letIn(scope string) *oauthtest.App {
	c.t.Helper()
	app := oauthtest.New(c.t, c.srv.cfg.PublicURL(), scope)
	resp := c.consent(app, app.Push(oauthtest.Change{}))
	app.Redeem(param(resp, "code"), oauthtest.Change{}).OK()
	return app
}

func postJSON(app *oauthtest.App, method string, input any) oauthtest.Answer {
	app.T.Helper()
	body, err := json.Marshal(input)
	if err != nil {
		app.T.Fatal(err)
	}
	return app.Call(http.MethodPost, "/xrpc/"+method, "application/json", string(body), oauthtest.Change{})
}

// TestOAuthFromRequestToRevocation is the whole life of a session.
func TestOAuthFromRequestToRevocation(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	app := oauthtest.New(t, n.srv.cfg.PublicURL(), "atproto repo:app.bsky.feed.post")
	pushed := app.Push(oauthtest.Change{})
	if pushed.Status != http.StatusCreated || pushed.JSON["expires_in"] != float64(300) {
		t.Fatalf("%d %s", pushed.Status, pushed.Body)
	}
	resp := alice.consent(app, pushed)
	if param(resp, "iss") != app.Server || param(resp, "state") == "" || !strings.HasPrefix(resp.URL(), "http://127.0.0.1/callback?") {
		t.Fatalf("%+v", resp)
	}
	tokens := app.Redeem(param(resp, "code"), oauthtest.Change{}).OK()
	if tokens["sub"] != alice.did || tokens["token_type"] != "DPoP" || tokens["scope"] != app.Scope {
		t.Fatalf("%v", tokens)
	}
	post := map[string]any{"repo": alice.did, "collection": "app.bsky.feed.post", "record": postRecord("by an app")}
	r := postJSON(app, "com.atproto.repo.createRecord", post)
	r.OK()
	if r.Header.Get("DPoP-Nonce") == "" || !strings.Contains(r.Header.Get("Access-Control-Expose-Headers"), "DPoP-Nonce") {
		t.Errorf("no nonce for the next request: %v", r.Header)
	}
	post["collection"], post["record"] = "app.bsky.feed.like", map[string]any{}
	postJSON(app, "com.atproto.repo.createRecord", post).Fails(403, "ScopeMissingError")
	post["collection"], post["record"] = "app.bsky.feed.post", postRecord("again")

	old := *app
	app.Renew(oauthtest.Change{}).OK()
	if app.Access == old.Access || app.Refresh == old.Refresh {
		t.Fatal("a refresh gave the same tokens")
	}
	postJSON(&old, "com.atproto.repo.createRecord", post).Fails(401, "invalid_token")
	postJSON(app, "com.atproto.repo.createRecord", post).OK()

	app.Post("/oauth/revoke", oauthtest.JSON{"client_id": app.ClientID, "token": app.Access}, oauthtest.Change{}).OK()
	r = postJSON(app, "com.atproto.repo.createRecord", post)
	r.Fails(401, "invalid_token")
	if !strings.Contains(r.Header.Get("WWW-Authenticate"), `DPoP algs="ES256", error="invalid_token"`) {
		t.Errorf("WWW-Authenticate %q", r.Header.Get("WWW-Authenticate"))
	}
	app.Renew(oauthtest.Change{}).Fails(400, "invalid_grant")
}

// TestPermissionSetOfAnAuthor: an app asks for a set that somebody has published as a lexicon; it is fetched with its proof.
func TestPermissionSetOfAnAuthor(t *testing.T) {
	n := startNetwork(t, nil)
	author, alice := n.signUp(t, "author"), n.signUp(t, "alice")
	n.srv.cfg.LexiconAuthorityDID = author.did
	const name = "com.example.app.authPosts"
	app := oauthtest.New(t, n.srv.cfg.PublicURL(), "atproto include:"+name)
	app.Push(oauthtest.Change{}).Fails(400, "invalid_scope") // it is not published yet
	author.post("com.atproto.repo.createRecord", map[string]any{
		"repo": author.did, "collection": lexiconCollection, "rkey": name, "validate": false, "record": map[string]any{
			"$type": lexiconCollection, "lexicon": 1, "id": name, "defs": map[string]any{"main": map[string]any{
				"type": "permission-set", "title": "Posts", "permissions": []any{
					map[string]any{"type": "permission", "resource": "repo", "collection": []string{"com.example.app.post"}},
					map[string]any{"type": "permission", "resource": "repo", "collection": []string{"app.bsky.feed.post"}},
				},
			}},
		},
	}).ok()
	resp := alice.consent(app, app.Push(oauthtest.Change{}))
	if scope := app.Redeem(param(resp, "code"), oauthtest.Change{}).OK()["scope"]; scope != "atproto repo:com.example.app.post" {
		t.Errorf("scope %v", scope)
	}
	write := func(collection string) oauthtest.Answer {
		return postJSON(app, "com.atproto.repo.createRecord", map[string]any{
			"repo": alice.did, "collection": collection, "validate": false, "record": map[string]any{"$type": collection, "text": "x"},
		})
	}
	write("com.example.app.post").OK()
	write("app.bsky.feed.post").Fails(403, "ScopeMissingError") // not in the author's name
}

// TestAppsOfADeactivatedAccount: they stay, so that the owner can come back with one, and may do nothing else meanwhile.
func TestAppsOfADeactivatedAccount(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	app := alice.letIn("atproto transition:generic account:status?action=manage")
	postJSON(app, "com.atproto.server.deactivateAccount", map[string]any{}).OK()
	post := map[string]any{"repo": alice.did, "collection": "app.bsky.feed.post", "record": postRecord("x")}
	postJSON(app, "com.atproto.repo.createRecord", post).Fails(401, "AccountDeactivated")
	app.Renew(oauthtest.Change{}).OK()
	app.Call(http.MethodPost, "/xrpc/com.atproto.server.activateAccount", "", "", oauthtest.Change{}).OK()
	postJSON(app, "com.atproto.repo.createRecord", post).OK()
}

// TestSessionsOfAppsSurviveRestarts: proofs do not, used ones or others. An app that does as it is told notices nothing of it.
func TestSessionsOfAppsSurviveRestarts(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	app := alice.letIn("atproto transition:generic")
	const path = "/xrpc/com.atproto.server.getSession"
	get := func(c oauthtest.Change) oauthtest.Answer {
		t.Helper()
		return app.Call(http.MethodGet, path, "", "", c)
	}
	get(oauthtest.Change{}).OK()
	n.port = n.srv.cfg.Port
	for range 3 {
		used := oauthtest.Change{Proof: app.Proof(http.MethodGet, app.Server+path, app.Access, oauthtest.Change{}), KeepNonce: true}
		get(used).OK()
		get(used).Fails(401, "invalid_dpop_proof")
		renewal := oauthtest.Change{Proof: app.Proof(http.MethodPost, app.Server+oauth.TokenPath, "", oauthtest.Change{}), KeepNonce: true}
		nonce := app.Nonce
		n.stop()
		n.start(nil)
		get(used).Fails(401, "use_dpop_nonce")
		app.Renew(renewal).Fails(400, "use_dpop_nonce")
		app.Nonce = nonce // what an app has that was not asked since
		get(oauthtest.Change{}).OK()
		app.Renew(oauthtest.Change{KeepNonce: true}).OK()
		get(oauthtest.Change{KeepNonce: true}).OK()
	}
}

// TestAllAnswersToProofsTellTheNonce: also those for which the proof is not looked at.
func TestAllAnswersToProofsTellTheNonce(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.RateLimitsEnabled = true })
	app := oauthtest.New(t, n.srv.cfg.PublicURL(), "atproto")
	send := func(verb, path string, header http.Header) (status int, nonce string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), verb, n.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = header
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode, res.Header.Get("DPoP-Nonce")
	}
	proof := http.Header{"Dpop": {app.Proof(http.MethodGet, n.url, "", oauthtest.Change{})}}
	for _, c := range []struct {
		verb, path string
		header     http.Header
		status     int
	}{
		{http.MethodGet, oauth.PARPath, proof, 405},
		{http.MethodPut, oauth.TokenPath, proof, 405},
		{http.MethodGet, "/oauth/nothing", proof, 404},
		{http.MethodPut, "/xrpc/com.atproto.server.getSession", proof, 400},
		{http.MethodGet, "/xrpc/com.atproto.server.getSession", http.Header{"Authorization": {"DPoP acc-x"}}, 401},
		{http.MethodGet, "/xrpc/com.atproto.server.getSession", http.Header{"Authorization": {"dpop acc-x"}}, 401},
		{http.MethodGet, "/xrpc/com.example.nothing", proof, 401},
		{http.MethodGet, "/xrpc/com.atproto.sync.listRepos", proof, 200},
	} {
		if status, nonce := send(c.verb, c.path, c.header); status != c.status || nonce == "" {
			t.Errorf("%s %s: %d, nonce %q", c.verb, c.path, status, nonce)
		}
	}
	if _, nonce := send(http.MethodGet, "/xrpc/com.atproto.sync.listRepos", nil); nonce != "" {
		t.Error("who has no proof is told a nonce")
	}
	last, nonce := 0, ""
	for range 101 {
		last, nonce = send(http.MethodPost, oauth.RevokePath, proof)
	}
	if last != http.StatusTooManyRequests || nonce == "" {
		t.Errorf("the 101st: %d, nonce %q", last, nonce)
	}
}

// TestOAuthLimitsAndCORS: limits count before anything is looked at, and scripts of any origin may ask.
func TestOAuthLimitsAndCORS(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.RateLimitsEnabled = true })
	for _, path := range []string{oauth.PARPath, oauth.TokenPath, oauth.RevokePath, oauth.ServerPath, oauth.ResourcePath, oauth.JWKSPath} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, n.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Access-Control-Request-Headers", "content-type,dpop")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 204 || res.Header.Get("Access-Control-Allow-Origin") != "*" || res.Header.Get("Access-Control-Allow-Headers") != "content-type,dpop" {
			t.Errorf("%s: %d %v", path, res.StatusCode, res.Header)
		}
	}
	app := oauthtest.New(t, n.srv.cfg.PublicURL(), "atproto")
	last := 0
	for range 101 {
		last = app.Push(oauthtest.Change{NoProof: true, Form: oauthtest.JSON{"client_id": "x"}}).Status
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("the 101st push: %d", last)
	}
}

// TestMetadataNameWhatThereIs: each endpoint that clients are told of is there, and none is named that is not: no introspection, no user info, no registration.
func TestMetadataNameWhatThereIs(t *testing.T) {
	n := startNetwork(t, nil)
	res, err := http.Get(n.url + oauth.ServerPath)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var all map[string]any
	if err := json.NewDecoder(res.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"authorization_endpoint": http.MethodGet, "pushed_authorization_request_endpoint": http.MethodPost, "token_endpoint": http.MethodPost,
		"revocation_endpoint": http.MethodPost, "jwks_uri": http.MethodGet,
	}
	for name, v := range all {
		if verb := want[name]; verb == "" && (strings.HasSuffix(name, "_endpoint") || strings.HasSuffix(name, "_uri")) {
			t.Errorf("%s: %v", name, v)
		}
	}
	for name, verb := range want {
		address, _ := all[name].(string)
		path, ok := strings.CutPrefix(address, n.srv.cfg.PublicURL())
		req, err := http.NewRequestWithContext(t.Context(), verb, n.url+path, nil)
		if err != nil || !ok {
			t.Fatalf("%s: %q %v", name, address, err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode == 404 || res.StatusCode == 405 || res.StatusCode >= 500 {
			t.Errorf("%s: %s", name, res.Status)
		}
	}
}
