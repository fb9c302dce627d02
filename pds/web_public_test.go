package pds

import (
	"fmt"
	"strings"
	"testing"
)

func TestHomeListsPublicAccounts(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.PublicAccounts = true })
	profile := func(c *client, record map[string]any) {
		record["$type"] = "app.bsky.actor.profile"
		c.post("com.atproto.repo.putRecord", map[string]any{"repo": c.did, "collection": "app.bsky.actor.profile", "rkey": "self", "record": record}).ok()
	}
	alice, shy, gone := n.signUp(t, "alice"), n.signUp(t, "shy"), n.signUp(t, "gone")
	profile(alice, map[string]any{"displayName": "Alice <b>"})
	profile(shy, map[string]any{"labels": map[string]any{"$type": "com.atproto.label.defs#selfLabels", "values": []any{map[string]any{"val": "!no-unauthenticated"}}}})
	gone.post("com.atproto.server.deactivateAccount", map[string]any{}).ok()
	v := n.visitor(t).open("/").shows(200, "/", "Alice &lt;b&gt;", "@alice.test", "https://bsky.app/profile/"+alice.did)
	for _, hidden := range []string{"shy.test", "gone.test"} {
		if strings.Contains(string(v.page.body), hidden) {
			t.Errorf("the home page shows %s", hidden)
		}
	}
	for i := range publicPage {
		n.signUp(t, fmt.Sprint("more", i))
	}
	v.open("/").shows(200, "/", "@more23.test")
	if strings.Contains(string(v.page.body), "@alice.test") {
		t.Error("the first page has no end")
	}
	v.open(fmt.Sprint("/?before=", n.accountOf(t, gone.did).ID+1)).shows(200, "/", "@alice.test")
	v.open("/?before=nonsense").shows(200, "/", "@more23.test")
}

func TestHomeListsNobodyUnasked(t *testing.T) {
	n := startNetwork(t, nil)
	n.signUp(t, "alice")
	if v := n.visitor(t).open("/").shows(200, "/"); strings.Contains(string(v.page.body), "alice.test") {
		t.Error("the home page shows accounts")
	}
}
