package adopt

import (
	"bytes"
	"maps"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/ipfs/go-cid"

	"perch/repo"
	"perch/testdata/peers/peertest"
)

// sessions: the tokens that the reference gave go on working.
func (w *world) sessions() {
	t := w.t
	if w.untyped {
		w.signInAnew()
	}
	s := w.mustGet("com.atproto.server.getSession", w.alice.access).json(t)
	if s["did"] != w.alice.did || s["handle"] != "alice.test" || s["email"] != "alice.test@mail.example" || s["emailConfirmed"] != true {
		t.Errorf("getSession: %v", s)
	}
	if w.untyped {
		return // the rest is about tokens that are older than the change
	}
	for name, ses := range w.alice.appSessions {
		w.mustGet("com.atproto.server.getSession", ses["accessJwt"].(string))
		w.fails(w.tryPost("com.atproto.server.createAppPassword", ses["accessJwt"].(string), object{"name": "more"}), "InvalidToken")
		a := w.refreshSession(ses["refreshJwt"].(string))
		if a.status != 200 {
			t.Errorf("refresh of %s: %s", name, a.body)
		}
	}
	one := w.refreshSession(w.alice.before)
	if one.status != 200 {
		t.Fatalf("a token in its grace period: %s", one.body)
	}
	next := w.refreshSession(w.alice.refresh).json(t)
	again := w.refreshSession(w.alice.refresh).json(t)
	if next["refreshJwt"] == nil || jti(t, next) != jti(t, again) {
		t.Errorf("refreshing twice: %v, %v", next, again)
	}
	w.alice.access = next["accessJwt"].(string)
	w.mustGet("com.atproto.server.getSession", w.alice.access)
	if a := w.refreshSession(w.carol.refresh); a.status != 200 || a.json(t)["status"] != "deactivated" {
		t.Errorf("refresh of a deactivated account: %s", a.body)
	}
	w.fails(w.refreshSession(w.dave.refresh), "ExpiredToken") // its sessions ended with the takedown
	w.fails(w.get("com.atproto.server.getSession", w.dave.access), "AccountTakedown")
	w.fails(w.get("com.atproto.server.getSession", w.erin.access), "AccountNotFound")
}

// signInAnew: tokens of early releases have no type in their header. Later releases of the reference refuse them, and so does Perch; the password brings new ones.
func (w *world) signInAnew() {
	w.t.Helper()
	w.fails(w.get("com.atproto.server.getSession", w.alice.access), "InvalidToken")
	w.fails(w.refreshSession(w.alice.refresh), "InvalidToken")
	s := w.signIn("alice.test", w.alice.password).json(w.t)
	w.alice.access, w.alice.refresh = s["accessJwt"].(string), s["refreshJwt"].(string)
}

// passwords: people and apps sign in as before, and only they.
func (w *world) passwords() {
	t := w.t
	for _, identifier := range []string{"alice.test", "ALICE.test@mail.example", w.alice.did} {
		for range 2 { // the hash is replaced at the first
			if a := w.signIn(identifier, w.alice.password); a.status != 200 {
				t.Errorf("%s: %s", identifier, a.body)
			}
		}
	}
	for name, password := range w.alice.appPasswords {
		for range 2 {
			if a := w.signIn("alice.test", password); a.status != 200 {
				t.Errorf("app password %s: %s", name, a.body)
			}
		}
	}
	w.fails(w.signIn("alice.test", w.bob.password), "AuthenticationRequired")
	w.fails(w.signIn("bob.test", w.alice.appPasswords["plain"]), "AuthenticationRequired")
	w.fails(w.signIn("dave.test", w.dave.password), "AccountTakedown")
	w.fails(w.signIn("erin.test", w.erin.password), "AuthenticationRequired")
	if a := w.signIn("carol.test", w.carol.password); a.status != 200 || a.json(t)["status"] != "deactivated" {
		t.Errorf("deactivated: %s", a.body)
	}
	list := w.mustGet("com.atproto.server.listAppPasswords", w.alice.access).json(t)["passwords"].([]any)
	if len(list) != 2 {
		t.Errorf("app passwords: %v", list)
	}
	got := string(w.mustGet("app.bsky.actor.getPreferences", w.alice.access).body)
	if !strings.Contains(w.preferences, derivedPreference) {
		got = derivedAge.ReplaceAllString(got, "") // early releases do not answer it
	}
	if !sameJSON(t, got, w.preferences) {
		t.Errorf("preferences: %s, want %s", got, w.preferences)
	}
	w.signUp("frank.test", w.invites[0])
	w.signUp("grace.test", w.invites[1])
	db := open(t, "file:"+filepath.Join(w.ours, "perch.db")+"?mode=ro")
	defer db.Close()
	var uses, ref int
	peertest.Must(t, db.QueryRow("SELECT count(*) FROM invite_use WHERE code = ?", w.invites[0]).Scan(&uses))
	peertest.Must(t, db.QueryRow("SELECT count(*) FROM account WHERE takedown_ref = 'mod-1' OR invited_by = ?", w.invites[0]).Scan(&ref))
	if uses < 5 || ref < 4 {
		t.Errorf("%d uses of the invite code, %d accounts", uses, ref)
	}
}

// derivedPreference is not stored, but made of the date of birth.
const derivedPreference = "declaredAgePref"

var derivedAge = regexp.MustCompile(`,{[^{}]*` + derivedPreference + `[^{}]*}`)

// content: repositories, blobs and what is taken down.
func (w *world) content() {
	t := w.t
	for _, u := range []*person{w.alice, w.bob} {
		unchanged(t, "blocks of "+u.handle, w.repos[u.did], w.blocks(u))
		if head := w.mustGet("com.atproto.sync.getLatestCommit", "", "did", u.did).json(t); !maps.Equal(head, w.heads[u.did]) {
			t.Errorf("head of %s: %v, want %v", u.handle, head, w.heads[u.did])
		}
	}
	if got := w.mustGet("com.atproto.sync.getBlob", "", "did", w.alice.did, "cid", cidOfBlob(w.blob)); !bytes.Equal(got.body, w.photo) {
		t.Error("the blob's bytes are others")
	}
	w.fails(w.get("com.atproto.sync.getBlob", "", "did", w.alice.did, "cid", cidOfBlob(w.hidden)), "BlobNotFound")
	if a := w.do("POST", "com.atproto.repo.uploadBlob", nil, w.alice.access, "image/png", picture(t, 2)); a.status == 200 {
		t.Error("a blob that is taken down can be uploaded again")
	}
	w.fails(w.get("com.atproto.sync.getBlob", "", "did", w.alice.did, "cid", cidOfBlob(w.temporary)), "BlobNotFound")
	if out := w.mustGet("com.atproto.repo.listMissingBlobs", w.alice.access).json(t); len(out["blobs"].([]any)) != 0 {
		t.Errorf("missing blobs: %v", out)
	}
	w.fails(w.get("com.atproto.repo.getRecord", "", "repo", w.bob.did, "collection", "app.bsky.feed.post", "rkey", rkey(w.takendown)), "RecordNotFound")
	w.mustGet("com.atproto.repo.getRecord", "", "repo", w.bob.did, "collection", "app.bsky.feed.post", "rkey", rkey(w.posts[8]))
	w.fails(w.get("com.atproto.sync.getRepo", "", "did", w.carol.did), "RepoDeactivated")
	w.fails(w.get("com.atproto.sync.getRepo", "", "did", w.dave.did), "RepoTakendown")
}

// follow: who has followed the reference's stream follows on. It writes, so it comes last.
func (w *world) follow() {
	t := w.t
	last := w.stream[len(w.stream)-1].seq
	// The duplicate rule needs what the like was about: the old one goes in the same commit.
	w.create(w.alice, "app.bsky.feed.like", object{"subject": w.posts[0]})
	w.fails(w.get("com.atproto.repo.getRecord", "", "repo", w.alice.did, "collection", "app.bsky.feed.like", "rkey", rkey(w.like)), "RecordNotFound")

	all := w.frames(0, len(w.stream)+1)
	kept := w.stream
	for i, f := range kept {
		if !bytes.Equal(f.raw, all[i].raw) {
			t.Fatalf("message %d (#%s, seq %d) is not as the reference has sent it", i, f.kind, f.seq)
		}
	}
	// frank and grace have signed up, with four events each, and alice likes: all after the old cursor, with rising seqs far above it.
	live := w.frames(last, 9)
	prev := last
	for _, f := range live {
		if f.seq <= prev || f.seq < time.Now().Add(-time.Hour).UnixMicro() {
			t.Errorf("seq %d after %d", f.seq, prev)
		}
		prev = f.seq
	}
	if half := w.frames(kept[len(kept)/2].seq, 1); half[0].seq != kept[len(kept)/2+1].seq {
		t.Errorf("from the middle: seq %d", half[0].seq)
	}
}

func (w *world) blocks(u *person) map[cid.Cid]string {
	w.t.Helper()
	blocks := map[cid.Cid]string{}
	a := w.mustGet("com.atproto.sync.getRepo", "", "did", u.did)
	_, err := repo.ReadCAR(bytes.NewReader(a.body), repo.CARLimits{Header: 1 << 10, Block: 1 << 20, Blocks: 1 << 20, Total: 1 << 30}, func(b repo.Block) error {
		blocks[b.CID] = string(b.Data)
		return nil
	})
	peertest.Must(w.t, err)
	return blocks
}
