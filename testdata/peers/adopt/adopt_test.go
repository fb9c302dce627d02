package adopt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	_ "modernc.org/sqlite"

	"perch/repo"
	"perch/testdata/peers/bench/server"
)

// world is one server's life, first as the reference, then as Perch.
type world struct {
	*pds
	bin, theirs, ours string // program, data folders
	peers             string
	plc, server       *server.Process
	port              int

	alice, bob, carol, dave, erin *person
	photo                         []byte
	blob, hidden, temporary       object
	posts                         []object
	like, takendown               object
	invites                       []string
	preferences                   string
	repos                         map[string]map[cid.Cid]string // blocks, by DID
	heads                         map[string]object
	stream                        []frame
}

func TestAdopt(t *testing.T) {
	if testing.Short() {
		t.Skip("starts several servers")
	}
	w := newWorld(t)
	w.startReference()
	w.live()
	w.refusesWhileRunning()
	must(t, w.server.Stop())
	w.confirmEmail()

	before := files(t, w.theirs)
	dry := w.perch(0, "adopt", w.theirs, "--into", w.ours, "--dry-run")
	if _, err := os.Stat(w.ours); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a dry run made the data folder")
	}
	t.Logf("%s", dry)
	t.Logf("%s", w.perch(0, "adopt", w.theirs, "--into", w.ours))
	unchanged(t, "the reference's directory", before, files(t, w.theirs))
	if out := w.perch(0, "check", "--blobs"); strings.TrimSpace(out) != "no problems" {
		t.Errorf("check: %s", out)
	}
	rows := w.dump()
	again := w.perch(0, "adopt", w.theirs, "--into", w.ours)
	if !strings.Contains(again, "4 were here already") {
		t.Errorf("second run: %s", again)
	}
	unchanged(t, "the database by a second run", rows, w.dump())

	w.startPerch()
	t.Run("sessions", w.inner((*world).sessions))
	t.Run("passwords", w.inner((*world).passwords))
	t.Run("content", w.inner((*world).content))
	t.Run("stream", w.inner((*world).follow))
	must(t, w.server.Stop())
	if out := w.perch(0, "check", "--blobs"); strings.TrimSpace(out) != "no problems" {
		t.Errorf("check at the end: %s", out)
	}
	rows = w.dump()
	w.perch(0, "adopt", w.theirs, "--into", w.ours)
	unchanged(t, "the database by a run after the server has served", rows, w.dump())
	unchanged(t, "the reference's directory at the end", before, files(t, w.theirs))
}

// inner runs a part as a test of its own.
func (w *world) inner(part func(*world)) func(*testing.T) {
	return func(t *testing.T) {
		outer := w.pds.t
		w.pds.t = t
		defer func() { w.pds.t = outer }()
		part(w)
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	peers, err := server.PeersDir()
	must(t, err)
	dir := t.TempDir()
	bin, err := server.BuildPerch(dir)
	must(t, err)
	w := &world{pds: &pds{t: t}, bin: bin, peers: peers, theirs: filepath.Join(dir, "reference"), ours: filepath.Join(dir, "ours")}
	w.port, err = server.FreePort()
	must(t, err)
	plcPort, err := server.FreePort()
	must(t, err)
	w.plc = w.start(server.PLC(peers, filepath.Join(dir, "plc"), plcPort))
	w.pds.url = "http://127.0.0.1:" + strconv.Itoa(w.port)
	return w
}

func (w *world) start(spec server.Spec) *server.Process {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	p, err := server.Start(ctx, spec)
	must(w.t, err)
	w.t.Cleanup(p.Kill)
	return p
}

// startReference starts it with its settings in pds.env, as its installer would leave them.
func (w *world) startReference() {
	spec := server.Reference(w.peers, w.theirs, w.port, w.plc.URL())
	spec.Env = append(spec.Env, "PDS_INVITE_REQUIRED=true", "PDS_BLOBSTORE_DISK_LOCATION="+filepath.Join(w.theirs, "blocks"),
		"PDS_BLOBSTORE_DISK_TMP_LOCATION="+filepath.Join(w.theirs, "blocks", "tempt"), "PDS_DPOP_SECRET="+strings.Repeat("11", 32))
	must(w.t, os.MkdirAll(w.theirs, 0o700))
	must(w.t, os.WriteFile(filepath.Join(w.theirs, "pds.env"), []byte(strings.Join(spec.Env, "\n")+"\n"), 0o600))
	w.server = w.start(spec)
}

// startPerch starts it with nothing but the folder that adopt has made.
func (w *world) startPerch() {
	w.server = w.start(server.Spec{
		Name: "perch", Command: []string{w.bin, "serve"}, Env: []string{"PDS_DATA_DIRECTORY=" + w.ours},
		Dir: filepath.Dir(w.bin), Log: w.ours + ".log", Port: w.port,
	})
}

// perch runs a command and wants an exit code.
func (w *world) perch(code int, args ...string) string {
	w.t.Helper()
	cmd := exec.Command(w.bin, args...)
	cmd.Env = append(os.Environ(), "PDS_DATA_DIRECTORY="+w.ours)
	out, err := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != code {
		w.t.Fatalf("perch %v: exit code %d, want %d (%v)\n%s", args, got, code, err, out)
	}
	return string(out)
}

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
	w.post("com.atproto.admin.deleteAccount", "admin", object{"did": w.erin.did})

	w.repos, w.heads = map[string]map[cid.Cid]string{}, map[string]object{}
	for _, u := range []*person{w.alice, w.bob} {
		w.repos[u.did] = w.blocks(u)
		w.heads[u.did] = w.mustGet("com.atproto.sync.getLatestCommit", "", "did", u.did).json(w.t)
	}
	w.stream = w.frames(0, w.events())
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
	must(w.t, db.QueryRow("SELECT count(*) FROM repo_seq WHERE invalidated = 0").Scan(&n))
	return n
}

// confirmEmail does what a click on the link in a mail would have done.
func (w *world) confirmEmail() {
	w.t.Helper()
	db := open(w.t, filepath.Join(w.theirs, "account.sqlite"))
	defer db.Close()
	_, err := db.Exec("UPDATE account SET emailConfirmedAt = '2025-01-02T03:04:05.678Z' WHERE did = ?", w.alice.did)
	must(w.t, err)
}

func (w *world) refusesWhileRunning() {
	w.t.Helper()
	if out := w.perch(1, "adopt", w.theirs, "--into", w.ours); !strings.Contains(out, "still running") {
		w.t.Errorf("while the reference runs: %s", out)
	}
	if out := w.perch(0, "adopt", w.theirs, "--into", w.ours, "--dry-run"); !strings.Contains(out, "figures of a moment") {
		w.t.Errorf("dry run while the reference runs: %s", out)
	}
}

// sessions: the tokens that the reference gave go on working.
func (w *world) sessions() {
	t := w.t
	s := w.mustGet("com.atproto.server.getSession", w.alice.access).json(t)
	if s["did"] != w.alice.did || s["handle"] != "alice.test" || s["email"] != "alice.test@mail.example" || s["emailConfirmed"] != true {
		t.Errorf("getSession: %v", s)
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
	if got := string(w.mustGet("app.bsky.actor.getPreferences", w.alice.access).body); !sameJSON(t, got, w.preferences) {
		t.Errorf("preferences: %s, want %s", got, w.preferences)
	}
	w.signUp("frank.test", w.invites[0])
	w.signUp("grace.test", w.invites[1])
	db := open(t, "file:"+filepath.Join(w.ours, "perch.db")+"?mode=ro")
	defer db.Close()
	var uses, ref int
	must(t, db.QueryRow("SELECT count(*) FROM invite_use WHERE code = ?", w.invites[0]).Scan(&uses))
	must(t, db.QueryRow("SELECT count(*) FROM account WHERE takedown_ref = 'mod-1' OR invited_by = ?", w.invites[0]).Scan(&ref))
	if uses < 5 || ref < 4 {
		t.Errorf("%d uses of the invite code, %d accounts", uses, ref)
	}
}

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
	must(w.t, err)
	return blocks
}

// dump gives all rows of Perch's database, by table.
func (w *world) dump() map[string]string {
	w.t.Helper()
	db := open(w.t, filepath.Join(w.ours, "perch.db"))
	defer db.Close()
	tables, err := db.Query("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
	must(w.t, err)
	var names []string
	for tables.Next() {
		var name string
		must(w.t, tables.Scan(&name))
		names = append(names, name)
	}
	must(w.t, tables.Close())
	all := map[string]string{}
	for _, name := range names {
		all[name] = dumpTable(w.t, db, name)
	}
	return all
}

func dumpTable(t *testing.T, db *sql.DB, name string) string {
	t.Helper()
	rows, err := db.Query("SELECT * FROM " + name)
	must(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	must(t, err)
	hash, n := sha256.New(), 0
	for rows.Next() {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(any)
		}
		must(t, rows.Scan(values...))
		for _, v := range values {
			fmt.Fprintf(hash, "%v|", *v.(*any))
		}
		n++
	}
	must(t, rows.Err())
	return fmt.Sprintf("%d rows, %x", n, hash.Sum(nil))
}

func open(t *testing.T, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", file)
	must(t, err)
	return db
}

// files gives the hash and the time of each file below a folder.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			all[path] = "folder"
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		sum := sha256.Sum256(b)
		all[path] = info.ModTime().String() + info.Mode().String() + hex.EncodeToString(sum[:])
		return err
	}))
	return all
}

func unchanged[K comparable](t *testing.T, what string, before, after map[K]string) {
	t.Helper()
	for k, v := range before {
		if after[k] != v {
			t.Errorf("%s: %v has changed or gone", what, k)
		}
	}
	for k := range after {
		if _, ok := before[k]; !ok {
			t.Errorf("%s: %v is new", what, k)
		}
	}
}

func picture(t *testing.T, n uint8) []byte {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, 64, 64))
	for i := range 64 {
		img.Set(i, i, color.RGBA{n, uint8(i), 0, 255})
	}
	var b bytes.Buffer
	must(t, png.Encode(&b, img))
	return b.Bytes()
}

func withImage(blob object) object {
	return object{"text": "look", "embed": object{"$type": "app.bsky.embed.images", "images": []object{{"alt": "a line", "image": blob}}}}
}

func rkey(ref object) string {
	uri := ref["uri"].(string)
	return uri[strings.LastIndexByte(uri, '/')+1:]
}
