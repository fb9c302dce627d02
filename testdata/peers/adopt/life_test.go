package adopt

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"perch/testdata/peers/peertest"
)

// live does what people do in a few days.
func (w *world) live() {
	w.t.Helper()
	for range 2 {
		w.invites = append(w.invites, w.post("com.atproto.server.createInviteCode", "admin", object{"useCount": 10})["code"].(string))
	}
	w.alice, w.bob = w.signUp("alice.test", w.invites[0]), w.signUp("bob.test", w.invites[0])
	w.carol, w.dave, w.erin = w.signUp("carol.test", w.invites[0]), w.signUp("dave.test", w.invites[0]), w.signUp("erin.test", w.invites[0])
	for i := range 40 {
		w.posts = append(w.posts, w.create(w.bob, "app.bsky.feed.post", object{"text": fmt.Sprintf("post %d — ü", i)}))
	}
	w.takendown = w.posts[7]
	w.like = w.create(w.alice, "app.bsky.feed.like", object{"subject": w.posts[0]})
	w.create(w.alice, "app.bsky.feed.repost", object{"subject": w.posts[1]})
	w.create(w.alice, "app.bsky.graph.follow", object{"subject": w.bob.did})
	w.create(w.alice, "org.example.some.thing", object{"n": 42, "deep": object{"list": []any{1, "two", nil, true}}})
	w.create(w.dave, "app.bsky.feed.post", object{"text": "something bad"})
	w.create(w.carol, "app.bsky.feed.post", object{"text": "before I go"})
	w.post("com.atproto.repo.deleteRecord", w.bob.access, object{"repo": w.bob.did, "collection": "app.bsky.feed.post", "rkey": rkey(w.posts[3])})

	w.post("com.atproto.admin.deleteAccount", "admin", object{"did": w.erin.did}) // before there are blobs: 0.4.11 deletes those of everybody

	w.photo = picture(w.t, 1)
	w.blob = w.upload(w.alice, "image/png", w.photo)
	w.create(w.alice, "app.bsky.feed.post", withImage(w.blob))
	w.hidden = w.upload(w.alice, "image/png", picture(w.t, 2))
	w.create(w.alice, "app.bsky.feed.post", withImage(w.hidden))
	w.temporary = w.upload(w.alice, "image/png", picture(w.t, 3))

	w.post("app.bsky.actor.putPreferences", w.alice.access, object{"preferences": []object{
		{"$type": "app.bsky.actor.defs#adultContentPref", "enabled": true},
		{"$type": "app.bsky.actor.defs#personalDetailsPref", "birthDate": "1990-01-02T00:00:00.000Z"},
		{"$type": "app.bsky.actor.defs#savedFeedsPref", "pinned": []string{}, "saved": []string{}},
	}})
	w.preferences = string(w.mustGet("app.bsky.actor.getPreferences", w.alice.access).body)
	w.appPassword(w.alice, "plain", false)
	w.appPassword(w.alice, "privileged", true)
	w.alice.before = w.alice.refresh
	fresh := w.refreshSession(w.alice.refresh).json(w.t)
	w.alice.access, w.alice.refresh = fresh["accessJwt"].(string), fresh["refreshJwt"].(string)

	w.post("com.atproto.server.deactivateAccount", w.carol.access, object{})
	repoRef := func(u *person) object { return object{"$type": "com.atproto.admin.defs#repoRef", "did": u.did} }
	w.takeDown(repoRef(w.dave), "mod-1")
	w.takeDown(object{"$type": "com.atproto.repo.strongRef", "uri": w.takendown["uri"], "cid": w.takendown["cid"]}, "mod-2")
	w.takeDown(object{"$type": "com.atproto.admin.defs#repoBlobRef", "did": w.alice.did, "cid": cidOfBlob(w.hidden)}, "mod-3")

	w.repos, w.heads = map[string]map[cid.Cid]string{}, map[string]object{}
	for _, u := range []*person{w.alice, w.bob} {
		w.repos[u.did] = w.blocks(u)
		w.heads[u.did] = w.mustGet("com.atproto.sync.getLatestCommit", "", "did", u.did).json(w.t)
	}
	w.stream = slices.DeleteFunc(w.frames(0, w.events()), func(f frame) bool { return f.kind == gone })
}

func (w *world) takeDown(subject object, ref string) {
	w.t.Helper()
	w.post("com.atproto.admin.updateSubjectStatus", "admin", object{"subject": subject, "takedown": object{"applied": true, "ref": ref}})
}

// events counts what the reference has in its stream.
func (w *world) events() (n int) {
	w.t.Helper()
	db := open(w.t, filepath.Join(w.theirs, "sequencer.sqlite"))
	defer db.Close()
	peertest.Must(w.t, db.QueryRow("SELECT count(*) FROM repo_seq WHERE invalidated = 0").Scan(&n))
	return n
}

// confirmEmail does what a click on the link in a mail would have done.
func (w *world) confirmEmail() {
	w.t.Helper()
	db := open(w.t, filepath.Join(w.theirs, "account.sqlite"))
	defer db.Close()
	_, err := db.Exec("UPDATE account SET emailConfirmedAt = '2025-01-02T03:04:05.678Z' WHERE did = ?", w.alice.did)
	peertest.Must(w.t, err)
}

func picture(t *testing.T, n uint8) []byte {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, 64, 64))
	for i := range 64 {
		img.Set(i, i, color.RGBA{n, uint8(i), 0, 255})
	}
	var b bytes.Buffer
	peertest.Must(t, png.Encode(&b, img))
	return b.Bytes()
}

func withImage(blob object) object {
	return object{"text": "look", "embed": object{"$type": "app.bsky.embed.images", "images": []object{{"alt": "a line", "image": blob}}}}
}

func rkey(ref object) string {
	uri := ref["uri"].(string)
	return uri[strings.LastIndexByte(uri, '/')+1:]
}
