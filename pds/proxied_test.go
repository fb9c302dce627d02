package pds

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/oauth/oauthtest"
)

func TestGetFeed(t *testing.T) {
	v, n := startAppView(t, nil)
	alice := n.signUp(t, "alice")
	alice.get("app.bsky.feed.getFeed", "feed", "at://did:web:maker.example.com/app.bsky.feed.generator/known", "limit", "3").ok()
	c := v.calls("app.bsky.feed.getFeed")
	if len(c) != 1 || c[0].aud != "did:web:feeds.example.com" || c[0].lxm != "app.bsky.feed.getFeedSkeleton" || c[0].iss != alice.did || c[0].query.Get("limit") != "3" {
		t.Errorf("%+v", c)
	}
	if c := v.calls("com.atproto.repo.getRecord"); len(c) != 1 || c[0].iss != "" {
		t.Errorf("look-up of the feed: %+v", c)
	}
	for _, feed := range []string{"at://did:web:maker.example.com/app.bsky.feed.generator/other", "at://did:web:maker.example.com/app.bsky.feed.post/known", "at://did:web:maker.example.com"} {
		alice.get("app.bsky.feed.getFeed", "feed", feed).fails(400, "UnknownFeed")
	}
}

func TestPushGoesToTheServiceInTheBody(t *testing.T) {
	v, n := startAppView(t, nil)
	notify := newAppView(t)
	notify.net = n
	alice := n.signUp(t, "alice")
	for _, method := range []string{"app.bsky.notification.registerPush", "app.bsky.notification.unregisterPush"} {
		for _, service := range []*appView{v, notify} {
			in := map[string]any{"serviceDid": service.did, "token": "device", "platform": "ios", "appId": "app", "later": true}
			alice.post(method, in).ok()
			c := service.calls(method)
			if len(c) != 1 || c[0].iss != alice.did || c[0].aud != service.did || c[0].lxm != method || !strings.Contains(c[0].body, `"later":true`) {
				t.Errorf("%s: %+v", method, c)
			}
		}
	}
	alice.post("app.bsky.notification.registerPush", map[string]any{"serviceDid": n.srv.serviceDID, "token": "d", "platform": "ios", "appId": "a"}).fails(400, "InvalidRequest")
	alice.post("app.bsky.notification.registerPush", map[string]any{"token": "d", "platform": "ios", "appId": "a"}).fails(400, "InvalidRequest")
}

func TestPreferencesElsewhere(t *testing.T) {
	v, n := startAppView(t, nil)
	other := newAppView(t)
	other.net = n
	alice := n.signUp(t, "alice")
	get, put := "app.bsky.actor.getPreferences", "app.bsky.actor.putPreferences"
	here := map[string]any{"preferences": []any{map[string]any{"$type": "app.bsky.actor.defs#adultContentPref", "enabled": false}}}
	alice.post(put, here).ok()
	for _, header := range []string{"", v.did + "#bsky_appview"} {
		if out := alice.getWith("Atproto-Proxy", header, get).ok(); out.at("preferences.0.enabled") != false {
			t.Errorf("%q: %v", header, out)
		}
	}
	if out := alice.getWith("Atproto-Proxy", other.did+"#bsky_appview", get).ok(); out.at("preferences.0.enabled") != true {
		t.Errorf("other AppView: %v", out)
	}
	req := alice.jsonRequest(put, map[string]any{"preferences": []any{map[string]any{"$type": "app.bsky.actor.defs#adultContentPref", "enabled": true}}})
	req.Header.Set("Authorization", "Bearer "+alice.token)
	req.Header.Set("Atproto-Proxy", other.did+"#bsky_appview")
	alice.send(req, put).ok()
	if c := other.calls(put); len(c) != 1 || c[0].aud != other.did || c[0].lxm != put || !strings.Contains(c[0].body, `"enabled":true`) {
		t.Errorf("put elsewhere: %+v", c)
	}
	if out := alice.get(get).ok(); out.at("preferences.0.enabled") != false {
		t.Errorf("what was put elsewhere came here: %v", out)
	}
	alice.getWith("Atproto-Proxy", "nonsense", get).fails(400, "InvalidRequest")
	if len(v.calls(get))+len(v.calls(put)) != 0 {
		t.Error("preferences reached our AppView")
	}
}

func TestReports(t *testing.T) {
	labeler, chosen := newAppView(t), newAppView(t)
	v, n := startAppView(t, func(c *Config) { c.ReportServiceURL, c.ReportServiceDID = labeler.url, labeler.did })
	labeler.net, chosen.net = n, n
	alice := n.signUp(t, "alice")
	report := map[string]any{"reasonType": "com.atproto.moderation.defs#reasonAppeal", "subject": map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": alice.did}}
	alice.post(createReportNSID, report).ok()
	req := alice.jsonRequest(createReportNSID, report)
	req.Header.Set("Authorization", "Bearer "+alice.token)
	req.Header.Set("Atproto-Proxy", chosen.did+"#atproto_labeler")
	alice.send(req, createReportNSID).ok()
	for _, service := range []*appView{labeler, chosen} {
		if c := service.calls(createReportNSID); len(c) != 1 || c[0].iss != alice.did || c[0].aud != service.did || c[0].lxm != createReportNSID {
			t.Errorf("%+v", c)
		}
	}
	// An account that is taken down may appeal, and reach nobody else.
	acct, err := n.srv.store.AccountByDID(t.Context(), syntax.DID(alice.did))
	if err != nil {
		t.Fatal(err)
	}
	if err := n.srv.accounts.Takedown(t.Context(), acct.ID, "case 1", nil); err != nil {
		t.Fatal(err)
	}
	alice.token = alice.anonymous(t).post("com.atproto.server.createSession", map[string]any{"identifier": alice.handle, "password": "alice-password", "allowTakendown": true}).ok().str("accessJwt")
	alice.post(createReportNSID, report).ok()
	alice.get("app.bsky.feed.getTimeline").fails(400, "InvalidToken")
	alice.get("app.bsky.feed.getLikes", "uri", "at://"+alice.did).fails(401, "AccountTakedown")
	if len(v.seen) != 0 {
		t.Errorf("the AppView got %+v", v.seen)
	}
}

// What may not be called in somebody's name reaches no service, however it is spelt.
func TestMethodsThatAreNotPassedOn(t *testing.T) {
	v, n := startAppView(t, nil)
	alice := n.signUp(t, "alice")
	plain := alice.post("com.atproto.server.createAppPassword", map[string]any{"name": "app"}).ok().str("password")
	for _, method := range []string{"com.atproto.repo.LISTRECORDS", "com.atproto.Server.ActivateAccount", "COM.ATPROTO.server.getSession", "com.atproto.server.createsession",
		"app.bsky.actor.getprofile", "com.atproto.sync.subscriberepos"} {
		for _, verb := range []string{http.MethodGet, http.MethodPost} {
			alice.do(verb, method, nil, "", nil).fails(400, "InvalidRequest")
			alice.anonymous(t).do(verb, method, nil, "", nil).fails(400, "InvalidRequest")
		}
	}
	alice.token = signIn(n.anonymous(t), alice.handle, plain).ok().str("accessJwt")
	alice.get("chat.bsky.convo.listConvos").fails(400, "InvalidToken")
	alice.get("chat.bsky.convo.notYetKnown").fails(400, "InvalidToken")
	if len(v.seen) != 0 {
		t.Errorf("reached the AppView: %+v", v.seen)
	}
	alice.get("app.bsky.unknown.notYetKnown").ok()
	if c := v.calls("app.bsky.unknown.notYetKnown"); len(c) != 1 || c[0].iss != alice.did {
		t.Errorf("%+v", c)
	}
}

// An app that may not call a method has the server look for nobody: a DID document would be fetched on its word.
func TestNoServiceIsLookedUpWithoutRights(t *testing.T) {
	_, n := startAppView(t, nil)
	alice := n.signUp(t, "alice")
	var asked atomic.Int64
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		http.NotFound(w, nil)
	}))
	t.Cleanup(stranger.Close)
	did := "did:web:localhost%3A" + stranger.URL[strings.LastIndexByte(stranger.URL, ':')+1:]
	header := oauthtest.Change{HTTP: http.Header{"Atproto-Proxy": {did + "#bsky_appview"}}}
	for _, scope := range []string{"atproto", "atproto rpc:app.bsky.feed.getTimeline?aud=did:web:other.example.com%23bsky_appview"} {
		app := alice.letIn(scope)
		for _, method := range []string{"app.bsky.feed.getTimeline", "app.bsky.feed.getFeed?feed=at://did:web:maker.example.com/app.bsky.feed.generator/known",
			"app.bsky.actor.getPreferences", "com.example.unknown"} {
			app.Call(http.MethodGet, "/xrpc/"+method, "", "", header).Fails(403, "ScopeMissingError")
		}
		report := `{"reasonType":"com.atproto.moderation.defs#reasonSpam","subject":{"$type":"com.atproto.admin.defs#repoRef","did":"` + alice.did + `"}}`
		app.Call(http.MethodPost, "/xrpc/com.atproto.moderation.createReport", "application/json", report, header).Fails(403, "ScopeMissingError")
	}
	if asked.Load() != 0 {
		t.Errorf("the stranger was asked %d times", asked.Load())
	}
	alice.letIn("atproto rpc:com.example.unknown?aud="+strings.ReplaceAll(did, "%", "%25")+"%23bsky_appview").
		Call(http.MethodGet, "/xrpc/com.example.unknown", "", "", header).Fails(400, "InvalidRequest")
	if asked.Load() == 0 {
		t.Error("who may call it was not asked for, either")
	}
}

// The log says whose each request was, also of those that are passed on.
func TestTheLogNamesWhoAsked(t *testing.T) {
	v, n := startAppView(t, nil)
	alice := n.signUp(t, "alice")
	n.stop()
	log := &bytes.Buffer{}
	n.log = log
	n.start(func(c *Config) { c.AppViewURL, c.AppViewDID = v.url, v.did })
	methods := []string{"com.atproto.server.getSession", "app.bsky.feed.getTimeline"}
	for _, method := range methods {
		alice.get(method).ok()
		alice.anonymous(t).get(method).fails(401, "AuthMissing")
	}
	n.stop()
	for _, method := range methods {
		named := 0
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, "method="+method) && strings.Contains(line, "did="+alice.did) {
				named++
			}
		}
		if named != 1 {
			t.Errorf("%d lines name who asked for %s:\n%s", named, method, log)
		}
	}
}
