package web

import (
	"strings"
	"testing"

	"perch/pds/oauth"
	"perch/pds/oauth/scope"
)

// asked is a permission as the authorization server hands it over.
func asked(t *testing.T, text string) oauth.Permission {
	t.Helper()
	p, ok := scope.Parse(text)
	if !ok {
		t.Fatalf("%s is no scope", text)
	}
	return oauth.Permission{Scope: text, Parsed: p}
}

func TestScopesAreToldInPlainWords(t *testing.T) {
	for _, c := range []struct {
		scope, kind, title string
		strong             bool
	}{
		{"atproto", "identity", "See your handle and your DID", false},
		{"transition:generic", "all", "Use your account nearly as you do yourself", true},
		{"transition:chat.bsky", "all", "Read and write your direct messages", false},
		{"transition:email", "account", "See your e-mail address", false},
		{"repo:app.bsky.feed.post?action=create", "repo", "Publish: posts", false},
		{"repo:app.bsky.feed.post", "repo", "Publish, change and delete: posts", false},
		{"repo?collection=app.bsky.feed.like&collection=com.example.thing&action=delete", "repo", "Delete: likes, com.example.thing", false},
		{"repo:*?action=create&action=update", "repo", "Publish and change: everything of any kind", true},
		{"repo:*?action=update&action=delete", "repo", "Change and delete: everything of any kind", true},
		{"blob:image/*", "blob", "Upload pictures", false},
		{"blob?accept=video/mp4&accept=video/webm", "blob", "Upload videos", false},
		{"blob:*/*", "blob", "Upload files", false},
		{"rpc:app.bsky.feed.getTimeline?aud=did:web:api.example.com%23bsky_appview", "rpc", "Use api.example.com in your name", false},
		{"rpc:*?aud=did:plc:abcdefghijklmnopqrstuvwx%23svc", "rpc", "Use all of did:plc:abcdefghijklmnopqrstuvwx in your name", true},
		{"rpc:app.bsky.feed.getTimeline?aud=*", "rpc", "Use any service in your name", true},
		{"account:email", "account", "See your e-mail address", false},
		{"account:email?action=manage", "account", "See and change your e-mail address", true},
		{"account:repo?action=manage", "account", "Replace everything that you have published, as in a move", true},
		{"identity:handle", "identity", "Change your handle", true},
		{"identity:*", "identity", "Control your identity: handle, keys and server", true},
	} {
		r := &request{words: languages()["en"]}
		kind, item := r.describe(asked(t, c.scope))
		if kind != c.kind || item.Title != c.title || item.Strong != c.strong || item.Scope != c.scope {
			t.Errorf("%s: %s %+v", c.scope, kind, item)
		}
		for _, l := range languageNames {
			r := &request{words: languages()[l.Tag]}
			if _, item := r.describe(asked(t, c.scope)); strings.HasPrefix(item.Title, "scope.") || strings.HasPrefix(item.Detail, "scope.") {
				t.Errorf("%s has no words for %s", l.Tag, c.scope)
			}
		}
	}
}

func TestCallsAreToldByName(t *testing.T) {
	r := &request{words: languages()["en"]}
	for text, want := range map[string]string{
		"rpc:app.bsky.feed.getFeed?aud=*":                                  "Only for: app.bsky.feed.getFeed",
		"rpc?lxm=a.b.c1&lxm=a.b.c2&lxm=a.b.c3&lxm=a.b.c4&lxm=a.b.c5&aud=*": "Only for: a.b.c1, a.b.c2, a.b.c3, a.b.c4, …",
		"rpc:*?aud=did:web:api.example.com%23x":                            "",
		"repo:app.bsky.feed.post":                                          "",
	} {
		if _, item := r.describe(asked(t, text)); item.Detail != want {
			t.Errorf("%s: %q", text, item.Detail)
		}
	}
}

func TestPermissionSetIsToldInTheVisitorsLanguage(t *testing.T) {
	p := asked(t, "include:com.example.authBasic")
	p.Set = &scope.PermissionSet{
		Title: "Notes", TitleLang: map[string]string{"de-AT": "Notizen"}, Detail: "Write notes", DetailLang: map[string]string{"ja": "メモ"},
	}
	p.Includes = []scope.Permission{asked(t, "repo:com.example.note").Parsed}
	for tag, want := range map[string]string{"en": "Notes%s/Write notes", "de": "Notizen%s/Write notes", "ja": "Notes%s/メモ"} {
		r := &request{words: languages()[tag]}
		kind, item := r.describe(p)
		want = strings.Replace(want, "%s", " (com.example.authBasic)", 1) // whose title it is
		if kind != "set" || item.Title+"/"+item.Detail != want || len(item.Lines) == 0 || !strings.Contains(item.Lines[0], "com.example.note") {
			t.Errorf("%s: %s %+v", tag, kind, item)
		}
	}
	p.Set = &scope.PermissionSet{}
	if _, item := (&request{words: languages()["en"]}).describe(p); item.Title != "com.example.authBasic" {
		t.Errorf("a set without a title is called %q", item.Title)
	}
}

func TestOnlyTrustedAppsHaveNames(t *testing.T) {
	c := oauth.Client{ID: "https://app.example.com/client.json", Name: "Your Bank"}
	if got := appName(c); got != "app.example.com" {
		t.Errorf("an app of which nobody knows calls itself %q", got)
	}
	c.Trusted = true
	if got := appName(c); got != "Your Bank" {
		t.Errorf("a trusted app is called %q", got)
	}
}

// Two scopes that say the same are one question, whose answer is both's.
func TestConsentAsksOnceForTheAddress(t *testing.T) {
	r := &request{words: languages()["en"]}
	groups := r.groups([]oauth.Permission{asked(t, "transition:email"), asked(t, "account:email"), asked(t, "account:email?action=manage")})
	if len(groups) != 1 || len(groups[0].Items) != 2 || groups[0].Items[0].Scope != "transition:email account:email" {
		t.Errorf("%+v", groups)
	}
}
