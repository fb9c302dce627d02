package oauth_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"perch/pds/oauth/oauthtest"
	"perch/pds/store"
)

const setLexicon = `{"lexicon":1,"id":"com.example.authBasic","defs":{"main":{"type":"permission-set","title":"Basics","permissions":[
	{"type":"permission","resource":"repo","collection":["com.example.post"],"action":["create"]},
	{"type":"permission","resource":"repo","collection":["app.bsky.feed.post"]},
	{"type":"permission","resource":"rpc","lxm":["com.example.get"],"inheritAud":true}]}}}`

func TestTooManyPermissionSets(t *testing.T) {
	w := newWorld(t)
	scopes := "atproto"
	for i := range 11 {
		scopes += fmt.Sprintf(" include:com.example.authBasic?aud=did:web:api.example.com%%23svc%d", i)
	}
	w.lexicons["com.example.authBasic"] = setLexicon
	a := oauthtest.New(t, w.url, scopes)
	a.Now = w.clock
	a.Push(change{}).Fails(400, "invalid_scope")
}

func TestPermissionSets(t *testing.T) {
	w := newWorld(t)
	const include = "include:com.example.authBasic?aud=did:web:api.example.com%23svc"
	a := oauthtest.New(t, w.url, "atproto "+include)
	a.Now = w.clock
	a.Push(change{}).Fails(400, "invalid_scope") // there is none of the name
	w.lexicons["com.example.authBasic"] = setLexicon
	r := w.open(a, a.Push(change{}))
	if p := r.Permissions[1]; p.Set == nil || p.Set.Title != "Basics" || len(p.Includes) != 2 {
		t.Fatalf("%+v", p)
	}
	w.signIn(a)
	scopes := func(r oauthtest.Answer) []string { s, _ := r.OK()["scope"].(string); return strings.Fields(s) }
	want := []string{"atproto", "repo:com.example.post?action=create", "rpc:com.example.get?aud=did:web:api.example.com%23svc"}
	if got := scopes(a.Renew(change{})); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	w.lexicons["com.example.authBasic"] = strings.Replace(setLexicon, `"action":["create"]`, `"action":["delete"]`, 1)
	w.pass(2 * time.Hour)
	want[1] = "repo:com.example.post?action=delete"
	if got := scopes(a.Renew(change{})); !slices.Equal(got, want) {
		t.Errorf("after the set has changed: %q", got)
	}
	w.lexicons["com.example.authBasic"] = "{}" // its author has made a mistake
	w.pass(2 * time.Hour)
	if got := scopes(a.Renew(change{})); !slices.Equal(got, want) {
		t.Errorf("while it is broken: %q", got)
	}
	w.lexErr = errors.New("its host is away")
	w.pass(2 * time.Hour)
	if got := scopes(a.Renew(change{})); !slices.Equal(got, want) {
		t.Errorf("while its host is away: %q", got)
	}
	a.Push(change{}).OK()
	w.pass(91 * 24 * time.Hour)
	a.Push(change{}).Fails(400, "invalid_scope") // nobody has seen the set for three months
}

// TestOversizeSets: what an author publishes is bounded before it is worked on, and so is what all sets of a request give.
func TestOversizeSets(t *testing.T) {
	w := newWorld(t)
	const name = "com.example.authBasic"
	many := func(n int, more string) string {
		var b strings.Builder
		b.WriteString(`{"lexicon":1,"id":"` + name + `","defs":{"main":{"type":"permission-set","title":"T","permissions":[`)
		for i := range n {
			fmt.Fprintf(&b, `{"type":"permission","resource":"rpc","lxm":["com.example.m%d"],"inheritAud":true},`, i)
		}
		return strings.TrimSuffix(b.String(), ",") + more + "]}}}"
	}
	app := func(scopes string) *oauthtest.App {
		a := oauthtest.New(t, w.url, scopes)
		a.Now = w.clock
		return a
	}
	w.lexicons[name] = many(20_000, "")
	app("atproto include:"+name+"?aud=did:web:a.example.com%23x").Push(change{}).Fails(400, "invalid_scope")
	w.lexicons[name] = many(700, "")
	long := "did:web:" + strings.Repeat("a", 150) + ".example.com%23x"
	a := app("atproto include:" + name + "?aud=" + long)
	a.Push(change{}).Fails(400, "invalid_scope")
	w.pass(2 * time.Hour)
	w.lexicons[name] = many(300, "")
	w.signIn(a)
	before := a.Renew(change{}).OK()["scope"]
	w.pass(2 * time.Hour)
	w.lexicons[name] = many(700, "")
	if after := a.Renew(change{}).OK()["scope"]; after != before { // it has grown beyond measure: who was let in stays
		t.Errorf("after the set has grown: %d bytes", len(after.(string)))
	}
}

// TestSetsOfStrangers: whoever pushes a request can have sets looked up, but none is stored before somebody has granted it.
func TestSetsOfStrangers(t *testing.T) {
	w := newWorld(t)
	const name = "com.example.authBasic"
	w.lexicons[name] = setLexicon
	a := oauthtest.New(t, w.url, "atproto include:"+name)
	a.Now = w.clock
	asked := w.askedSets.Load()
	a.Push(change{}).OK()
	r := w.open(a, a.Push(change{}))
	if n := w.askedSets.Load() - asked; n != 1 {
		t.Errorf("the author was asked %d times", n)
	}
	if _, err := w.st.OAuthLexicon(t.Context(), name); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("it is stored: %v", err)
	}
	if _, err := w.svc.Grant(t.Context(), r, w.acct, device, strings.Fields(a.Scope)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.st.OAuthLexicon(t.Context(), name); err != nil {
		t.Errorf("it is not stored once it was granted: %v", err)
	}
}
