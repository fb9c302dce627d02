package pds

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/store"
)

const likeCollection = "app.bsky.feed.like"

func TestOwnPostsAreSeenAtOnce(t *testing.T) {
	v, n := startAppView(t, nil)
	bob, alice := n.signUp(t, "bob"), n.signUp(t, "alice")
	theirs := bob.create(postCollection, fresh("bob's", nil))
	v.read(bob)
	old := alice.create(postCollection, fresh("old", nil))
	v.read(alice)
	if a := alice.get("app.bsky.feed.getTimeline"); a.header.Get(headerLag) != "" || !slices.Equal(texts(a.ok()), []string{"old", "bob's"}) {
		t.Errorf("nothing is new: %v %s", a.header, a.body)
	}
	alice.create(postCollection, fresh("new", nil))
	reply := alice.create(postCollection, fresh("reply", map[string]any{"reply": map[string]any{"root": ref(theirs), "parent": ref(theirs)}}))
	alice.create(postCollection, fresh("thread", map[string]any{"reply": map[string]any{"root": ref(old), "parent": ref(old)}}))
	for i := range 15 { // records of other kinds hide nothing
		alice.create(likeCollection, map[string]any{"subject": map[string]any{"uri": fmt.Sprintf("%s%d", theirs.str("uri"), i), "cid": theirs["cid"]}, "createdAt": string(syntax.DatetimeNow())})
	}
	for _, tt := range []struct {
		method string
		params []string
		want   []string
	}{
		{"app.bsky.feed.getTimeline", nil, []string{"thread", "reply", "new", "old", "bob's"}},
		{"app.bsky.feed.getAuthorFeed", []string{"actor", alice.did}, []string{"thread", "reply", "new", "old", "bob's"}},
		{"app.bsky.feed.getAuthorFeed", []string{"actor", alice.handle, "filter", "posts_no_replies"}, []string{"new", "old", "bob's"}},
		{"app.bsky.feed.getAuthorFeed", []string{"actor", alice.did, "filter", "posts_and_author_threads"}, []string{"thread", "new", "old", "bob's"}},
		{"app.bsky.feed.getAuthorFeed", []string{"actor", alice.did, "filter", "posts_with_media"}, []string{"old", "bob's"}},
		{"app.bsky.feed.getAuthorFeed", []string{"actor", bob.did}, []string{"old", "bob's"}},
		{"app.bsky.feed.getActorLikes", []string{"actor", alice.did}, []string{"old", "bob's"}},
	} {
		a := alice.get(tt.method, tt.params...)
		if got := texts(a.ok()); !slices.Equal(got, tt.want) {
			t.Errorf("%s %v: %q, want %q", tt.method, tt.params, got, tt.want)
		}
		if a.header.Get(headerLag) == "" || a.header.Get(headerRev) != v.rev || a.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: headers %v", tt.method, a.header)
		}
		calls := v.calls(tt.method)
		if c := calls[len(calls)-1]; c.iss != alice.did || c.aud != v.did || c.lxm != tt.method {
			t.Errorf("%s: token %+v", tt.method, c)
		}
	}
	if got := texts(bob.get("app.bsky.feed.getTimeline").ok()); !slices.Equal(got, []string{"old", "bob's"}) {
		t.Errorf("others see %q", got)
	}
	v.read(alice)
	if a := alice.get("app.bsky.feed.getTimeline"); len(texts(a.ok())) != 5 || a.header.Get(headerLag) != "" {
		t.Errorf("the AppView has caught up: %q", texts(a.ok()))
	}
	thread := alice.get("app.bsky.feed.getPostThread", "uri", reply.str("uri")).ok()
	if thread.str("thread.post.uri") != reply.str("uri") {
		t.Errorf("thread: %v", thread)
	}
}

func TestPostsStandAtTheirPlaceOnEachPage(t *testing.T) {
	v, n := startAppView(t, nil)
	alice := n.signUp(t, "alice")
	at := func(text, hour string) map[string]any {
		p := postRecord(text)
		p["createdAt"] = "2026-11-23T" + hour + ":00:00.000Z"
		return p
	}
	alice.create(postCollection, at("10", "10"))
	alice.create(postCollection, at("14", "14"))
	v.read(alice)
	v.more = "next"
	alice.create(postCollection, at("15", "15"))
	alice.create(postCollection, at("12", "12"))
	alice.create(postCollection, at("09", "09"))
	if got := texts(alice.get("app.bsky.feed.getTimeline").ok()); !slices.Equal(got, []string{"15", "14"}) {
		t.Errorf("first page: %q", got)
	}
	if got := texts(alice.get("app.bsky.feed.getTimeline", "cursor", "next").ok()); !slices.Equal(got, []string{"10", "09"}) {
		t.Errorf("second page: %q", got)
	}
}

func TestOwnThreads(t *testing.T) {
	v, n := startAppView(t, nil)
	bob, alice := n.signUp(t, "bob"), n.signUp(t, "alice")
	theirs := bob.create(postCollection, fresh("bob's", nil))
	v.read(bob)
	alice.createPost("old")
	v.read(alice)
	in := func(parent object) map[string]any {
		return map[string]any{"reply": map[string]any{"root": ref(theirs), "parent": ref(parent)}}
	}
	one := alice.create(postCollection, fresh("one", in(theirs)))
	two := alice.create(postCollection, fresh("two", in(one)))
	a := alice.get("app.bsky.feed.getPostThread", "uri", theirs.str("uri"))
	if out := a.ok(); out.str("thread.replies.0.post.record.text") != "one" || out.str("thread.replies.0.replies.0.post.record.text") != "two" || a.header.Get(headerLag) == "" {
		t.Errorf("replies: %s", a.body)
	}
	if out := alice.get("app.bsky.feed.getPostThread", "uri", theirs.str("uri"), "depth", "1").ok(); out.at("thread.replies.0.replies.0") != nil || out.at("thread.replies.0") == nil {
		t.Errorf("depth 1: %v", out)
	}
	// The AppView knows nothing of the post that is asked for.
	byHandle := strings.Replace(two.str("uri"), alice.did, alice.handle, 1)
	for _, uri := range []string{two.str("uri"), byHandle} {
		a = alice.get("app.bsky.feed.getPostThread", "uri", uri)
		out := a.ok()
		if out.str("thread.post.record.text") != "two" || out.str("thread.parent.post.record.text") != "one" || out.str("thread.parent.parent.post.record.text") != "bob's" {
			t.Errorf("own thread: %s", a.body)
		}
		if a.header.Get(headerLag) == "" || a.header.Get(headerRev) != v.rev {
			t.Errorf("headers: %v", a.header)
		}
	}
	if out := alice.get("app.bsky.feed.getPostThread", "uri", one.str("uri"), "parentHeight", "0").ok(); out.at("thread.parent") != nil || out.str("thread.replies.0.post.record.text") != "two" {
		t.Errorf("parentHeight 0: %v", out)
	}
	alice.get("app.bsky.feed.getPostThread", "uri", "at://"+alice.did+"/app.bsky.feed.post/3jui7kd54zh2y").fails(400, "NotFound")
	bob.get("app.bsky.feed.getPostThread", "uri", two.str("uri")).fails(400, "NotFound")
}

func TestOwnProfileIsSeenAtOnce(t *testing.T) {
	v, n := startAppView(t, func(c *Config) { c.AppViewCDNPattern = "https://cdn.example.com/%s/plain/%s/%s@jpeg" })
	bob, alice := n.signUp(t, "bob"), n.signUp(t, "alice")
	put := func(record map[string]any) {
		record["$type"] = "app.bsky.actor.profile"
		alice.post("com.atproto.repo.putRecord", map[string]any{"repo": alice.did, "collection": "app.bsky.actor.profile", "rkey": "self", "record": record}).ok()
	}
	put(map[string]any{"displayName": "Old"})
	alice.createPost("old")
	v.read(bob)
	v.read(alice)
	avatar := alice.upload("image/png", png("avatar"))
	put(map[string]any{"displayName": "New", "description": "about", "avatar": avatar})
	// A profile is one record under one key, so it is new when the revision of the repository was known before.
	want := "https://cdn.example.com/avatar/plain/" + alice.did + "/" + object(avatar).str("ref.$link") + "@jpeg"
	out := alice.get("app.bsky.actor.getProfile", "actor", alice.did).ok()
	if out.str("displayName") != "New" || out.str("description") != "about" || out.str("avatar") != want {
		t.Errorf("own profile: %v", out)
	}
	out = alice.get("app.bsky.actor.getProfiles", "actors[]", bob.did, "actors[]", alice.did).ok()
	if out.at("profiles.0.displayName") != nil || out.str("profiles.1.displayName") != "New" {
		t.Errorf("profiles: %v", out)
	}
	for _, method := range []string{"app.bsky.feed.getTimeline", "app.bsky.feed.getActorLikes"} {
		if out := alice.get(method, "actor", alice.did).ok(); out.str("feed.0.post.author.displayName") != "New" {
			t.Errorf("%s: %v", method, out)
		}
	}
	if out := bob.get("app.bsky.actor.getProfile", "actor", alice.did).ok(); out.str("displayName") != "Old" {
		t.Errorf("others see %v", out)
	}
	put(map[string]any{})
	if out := alice.get("app.bsky.actor.getProfile", "actor", alice.did).ok(); out.at("displayName") != nil || out.at("avatar") != nil {
		t.Errorf("emptied profile: %v", out)
	}
}

func TestEmbedsOfOwnPosts(t *testing.T) {
	v, n := startAppView(t, nil)
	bob, alice := n.signUp(t, "bob"), n.signUp(t, "alice")
	quoted := bob.create(postCollection, fresh("bob's", nil))
	v.read(bob)
	alice.createPost("old")
	v.read(alice)
	picture := alice.upload("image/png", png("picture"))
	images := map[string]any{"$type": "app.bsky.embed.images", "images": []any{map[string]any{"alt": "alt", "image": picture, "aspectRatio": map[string]any{"width": 2, "height": 3}}}}
	record := func(o object) map[string]any {
		return map[string]any{"$type": "app.bsky.embed.record", "record": ref(o)}
	}
	gone := object{"uri": "at://" + bob.did + "/app.bsky.feed.post/3jui7kd54zh2y", "cid": quoted["cid"]}
	own := alice.create(postCollection, fresh("own", map[string]any{"embed": images}))
	for _, post := range []map[string]any{
		fresh("gallery", map[string]any{"embed": map[string]any{"$type": "app.bsky.embed.gallery", "items": []any{
			map[string]any{"$type": "app.bsky.embed.gallery#image", "alt": "", "image": picture, "aspectRatio": map[string]any{"width": 1, "height": 1}}}}}),
		fresh("link", map[string]any{"embed": map[string]any{"$type": "app.bsky.embed.external", "external": map[string]any{"uri": "https://example.com", "title": "t", "description": "d", "thumb": picture}}}),
		fresh("quote", map[string]any{"embed": record(quoted)}),
		fresh("quote own", map[string]any{"embed": record(own)}),
		fresh("quote gone", map[string]any{"embed": record(gone)}),
		fresh("both", map[string]any{"embed": map[string]any{"$type": "app.bsky.embed.recordWithMedia", "record": record(quoted), "media": images}}),
		fresh("warned", map[string]any{"labels": map[string]any{"$type": "com.atproto.label.defs#selfLabels", "values": []any{map[string]any{"val": "graphic-media"}}}}),
	} {
		alice.create(postCollection, post)
	}
	out := alice.get("app.bsky.feed.getTimeline").ok()
	blob := n.srv.cfg.imageURL("feed_thumbnail", alice.did, object(picture).str("ref.$link"))
	for i, want := range []struct{ text, path, value string }{
		{"warned", "labels.0.val", "graphic-media"},
		{"both", "embed.record.record.value.text", "bob's"},
		{"quote gone", "embed.record.$type", "app.bsky.embed.record#viewNotFound"},
		{"quote own", "embed.record.embeds.0.images.0.alt", "alt"},
		{"quote", "embed.record.author.handle", bob.handle},
		{"link", "embed.external.thumb", blob},
		{"gallery", "embed.items.0.thumbnail", blob},
		{"own", "embed.images.0.thumb", blob},
	} {
		post := object(out.at(fmt.Sprintf("feed.%d.post", i)).(map[string]any))
		if post.str("record.text") != want.text || post.str(want.path) != want.value {
			t.Errorf("%s: %s = %q, want %q", post.str("record.text"), want.path, post.str(want.path), want.value)
		}
	}
	calls := v.calls("app.bsky.feed.getPosts")
	if len(calls) != 1 || calls[0].iss != alice.did || calls[0].aud != v.did || calls[0].lxm != "app.bsky.feed.getPosts" {
		t.Errorf("look-ups: %+v", calls)
	}
	if got := texts(alice.get("app.bsky.feed.getAuthorFeed", "actor", alice.did, "filter", "posts_with_media").ok()); !slices.Equal(got[:3], []string{"both", "gallery", "own"}) {
		t.Errorf("with media: %q", got)
	}
	v.fail["app.bsky.feed.getPosts"] = true // the posts are shown all the same
	if out := alice.get("app.bsky.feed.getTimeline").ok(); len(texts(out)) != 10 || out.at("feed.4.post.embed") != nil {
		t.Errorf("without look-ups: %q %v", texts(out), out.at("feed.4.post.embed"))
	}
}

func TestNotEverythingIsLaidOver(t *testing.T) {
	v, n := startAppView(t, nil)
	other := newAppView(t)
	other.net = n
	alice := n.signUp(t, "alice")
	alice.createPost("old")
	v.read(alice)
	other.read(alice)
	hidden := alice.createPost("taken down")
	acct, err := n.srv.store.AccountByDID(t.Context(), syntax.DID(alice.did))
	if err != nil {
		t.Fatal(err)
	}
	path := strings.TrimPrefix(hidden.str("uri"), "at://"+alice.did+"/")
	if err := n.srv.store.Update(t.Context(), func(tx *store.Tx) error { return tx.SetRecordTakedown(t.Context(), acct.ID, path, "case 1") }); err != nil {
		t.Fatal(err)
	}
	invalid := map[string]any{"$type": postCollection, "text": 5}
	alice.post("com.atproto.repo.createRecord", map[string]any{"repo": alice.did, "collection": postCollection, "record": invalid, "validate": false}).ok()
	alice.createPost("new")
	if got := texts(alice.get("app.bsky.feed.getTimeline").ok()); !slices.Equal(got, []string{"new", "old"}) {
		t.Errorf("%q", got)
	}

	// An explicit other AppView answers by itself.
	a := alice.getWith("Atproto-Proxy", other.did+"#bsky_appview", "app.bsky.feed.getTimeline")
	if got := texts(a.ok()); !slices.Equal(got, []string{"old"}) || a.header.Get(headerLag) != "" {
		t.Errorf("other AppView: %q", got)
	}
	if c := other.calls("app.bsky.feed.getTimeline"); len(c) != 1 || c[0].aud != other.did || c[0].iss != alice.did {
		t.Errorf("other AppView got %+v", c)
	}
	if got := texts(alice.getWith("Atproto-Proxy", v.did+"#bsky_appview", "app.bsky.feed.getTimeline").ok()); len(got) != 2 {
		t.Errorf("our AppView by name: %q", got)
	}

	v.gzip = true
	for _, accept := range []string{"identity", "gzip", "br"} {
		a := alice.getWith("Accept-Encoding", accept, "app.bsky.feed.getActorLikes", "actor", alice.did)
		if a.status != 200 {
			t.Errorf("%s: %d", accept, a.status)
		}
	}
	if got := texts(alice.get("app.bsky.feed.getTimeline").ok()); len(got) != 2 {
		t.Errorf("from a compressed answer: %q", got)
	}

	v.rev = syntax.NewTIDNow(0).String() // later than all that there is
	if got := texts(alice.get("app.bsky.feed.getTimeline").ok()); len(got) != 1 {
		t.Errorf("the AppView is ahead: %q", got)
	}
	for _, rev := range []string{"", "nonsense", "2222222222222"} { // nothing said, or older than the repository
		v.rev = rev
		if got := texts(alice.get("app.bsky.feed.getTimeline").ok()); len(got) != 1 {
			t.Errorf("rev %q: %q", rev, got)
		}
	}
	v.fail["app.bsky.feed.getTimeline"] = true
	alice.get("app.bsky.feed.getTimeline").fails(502, "UpstreamFailure")
	n.anonymous(t).get("app.bsky.feed.getTimeline").fails(401, "AuthMissing")
}
