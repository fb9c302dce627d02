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
