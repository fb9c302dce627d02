package adopt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/event"
	"perch/repo"
	"perch/repo/mst"
)

// The tables of the reference as its releases 0.4 and 0.5 make them, as far as they are read.
const (
	accountSchema = `
		CREATE TABLE actor (did varchar PRIMARY KEY, handle varchar, createdAt varchar NOT NULL, takedownRef varchar, deactivatedAt varchar, deleteAfter varchar);
		CREATE TABLE account (did varchar PRIMARY KEY, email varchar NOT NULL, passwordScrypt varchar NOT NULL, emailConfirmedAt varchar, invitesDisabled int2 NOT NULL DEFAULT 0);
		CREATE TABLE app_password (did varchar NOT NULL, name varchar NOT NULL, passwordScrypt varchar NOT NULL, createdAt varchar NOT NULL, privileged integer NOT NULL DEFAULT 0);
		CREATE TABLE refresh_token (id varchar PRIMARY KEY, did varchar NOT NULL, expiresAt varchar NOT NULL, nextId varchar, appPasswordName varchar);
		CREATE TABLE invite_code (code varchar PRIMARY KEY, availableUses integer NOT NULL, disabled int2 DEFAULT 0, forAccount varchar NOT NULL, createdBy varchar NOT NULL, createdAt varchar NOT NULL);
		CREATE TABLE invite_code_use (code varchar NOT NULL, usedBy varchar NOT NULL, usedAt varchar NOT NULL);`
	sequencerSchema = `CREATE TABLE repo_seq (seq integer PRIMARY KEY AUTOINCREMENT, did varchar NOT NULL, eventType varchar NOT NULL, event blob NOT NULL,
		invalidated int2 NOT NULL DEFAULT 0, sequencedAt varchar NOT NULL);`
	actorSchema = `
		CREATE TABLE repo_root (did varchar PRIMARY KEY, cid varchar NOT NULL, rev varchar NOT NULL, indexedAt varchar NOT NULL);
		CREATE TABLE repo_block (cid varchar PRIMARY KEY, repoRev varchar NOT NULL, size integer NOT NULL, content blob NOT NULL);
		CREATE TABLE record (uri varchar PRIMARY KEY, cid varchar NOT NULL, collection varchar NOT NULL, rkey varchar NOT NULL, repoRev varchar NOT NULL, indexedAt varchar NOT NULL, takedownRef varchar);
		CREATE TABLE blob (cid varchar PRIMARY KEY, mimeType varchar NOT NULL, size integer NOT NULL, tempKey varchar, width integer, height integer, createdAt varchar NOT NULL, takedownRef varchar);
		CREATE TABLE account_pref (id integer PRIMARY KEY AUTOINCREMENT, name varchar NOT NULL, valueJson text NOT NULL);`
)

var testNow = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// reference is a data directory made as the reference would have made it.
type reference struct {
	t                   testing.TB
	dir                 string
	accounts, sequencer *sql.DB
	diffs               map[syntax.DID]*repo.Diff
	keys                map[syntax.DID]atcrypto.PrivateKeyExportable
}

func newReference(t testing.TB) *reference {
	t.Helper()
	r := &reference{t: t, dir: t.TempDir(), diffs: map[syntax.DID]*repo.Diff{}, keys: map[syntax.DID]atcrypto.PrivateKeyExportable{}}
	r.accounts = r.database(filepath.Join(r.dir, "account.sqlite"), accountSchema)
	r.sequencer = r.database(filepath.Join(r.dir, "sequencer.sqlite"), sequencerSchema)
	return r
}

func (r *reference) database(file, schema string) *sql.DB {
	r.t.Helper()
	must(r.t, os.MkdirAll(filepath.Dir(file), 0o700))
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)")
	must(r.t, err)
	db.SetMaxOpenConns(1)
	r.t.Cleanup(func() { db.Close() })
	exec(r.t, db, schema)
	return db
}

// stop closes the databases, which folds in their logs.
func (r *reference) stop() {
	r.t.Helper()
	must(r.t, r.accounts.Close())
	must(r.t, r.sequencer.Close())
}

func (r *reference) layout() Layout {
	return Layout{
		AccountDB: filepath.Join(r.dir, "account.sqlite"), SequencerDB: filepath.Join(r.dir, "sequencer.sqlite"), Actors: filepath.Join(r.dir, "actors"),
		Blobs: filepath.Join(r.dir, "blocks"), Quarantine: filepath.Join(r.dir, "blocks", "quarantine"), Scratch: r.t.TempDir(),
	}
}

func (r *reference) actorDir(did syntax.DID) string {
	return (&Source{layout: r.layout()}).actorDir(did)
}

// account makes an account with posts, each of which shows a blob, and a like of the first. signer, unless nil, signs the head in place of the account's key.
func (r *reference) account(did syntax.DID, handle string, posts, blobSize int, signer atcrypto.PrivateKey) {
	r.t.Helper()
	exec(r.t, r.accounts, "INSERT INTO actor (did, handle, createdAt) VALUES (?, ?, ?)", did, handle, iso(testNow.Add(-24*time.Hour)))
	exec(r.t, r.accounts, "INSERT INTO account (did, email, passwordScrypt) VALUES (?, ?, ?)", did, handle+"@mail.example", "salt:hash")
	key, err := atcrypto.GeneratePrivateKeyK256()
	must(r.t, err)
	r.keys[did] = key
	if signer == nil {
		signer = key
	}
	dir := r.actorDir(did)
	db := r.database(filepath.Join(dir, "store.sqlite"), actorSchema)
	must(r.t, os.WriteFile(filepath.Join(dir, "key"), key.Bytes(), 0o600))
	exec(r.t, db, "BEGIN")
	var writes []repo.Write
	for i := range posts {
		blob := bytes.Repeat([]byte{byte(i), byte(i >> 8), did[len(did)-1]}, max(1, blobSize/3))
		sum := sha256.Sum256(blob)
		c := repo.BlobCIDOf(sum)
		r.blob(did, c.String(), blob)
		exec(r.t, db, "INSERT INTO blob (cid, mimeType, size, createdAt) VALUES (?, 'image/png', ?, ?)", c.String(), len(blob), iso(testNow))
		writes = append(writes, r.write("app.bsky.feed.post", fmt.Sprintf("3k%011d", i), fmt.Sprintf(
			`{"$type":"app.bsky.feed.post","text":"post %d","image":{"$type":"blob","ref":{"$link":"%s"},"mimeType":"image/png","size":%d}}`, i, c, len(blob))))
	}
	writes = append(writes, r.write("app.bsky.feed.like", "3kaaaaaaaaa2a", fmt.Sprintf(`{"$type":"app.bsky.feed.like","subject":{"uri":"at://%s/app.bsky.feed.post/x","cid":"x"}}`, did)))
	rev := repo.NextRev("", testNow.Add(-time.Hour), 1)
	d, err := repo.Apply(did, nil, mst.Empty(), nil, rev, signer, nil, writes...)
	must(r.t, err)
	r.diffs[did] = d
	put := func(cid string, b []byte) {
		exec(r.t, db, "INSERT INTO repo_block VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", cid, rev.String(), len(b), b)
	}
	put(d.Head.CID.String(), d.Head.Block)
	for _, b := range d.Tree.NewBlocks() {
		put(b.CID.String(), b.Data)
	}
	for _, w := range writes {
		put(w.CID.String(), w.Record)
		exec(r.t, db, "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, NULL)", "at://"+string(did)+"/"+w.Path(), w.CID.String(), w.Collection.String(), w.RKey.String(), rev.String(), iso(testNow))
	}
	exec(r.t, db, "INSERT INTO repo_root VALUES (?, ?, ?, ?)", did, d.Head.CID.String(), rev.String(), iso(testNow))
	exec(r.t, db, "COMMIT")
	must(r.t, db.Close())
	r.event(did, "append", func() (event.Event, error) { return event.NewCommit(did, d, testNow) }, testNow.Add(-time.Hour))
}

func (r *reference) write(collection, rkey, record string) repo.Write {
	r.t.Helper()
	data, err := repo.ParseRecordJSON([]byte(record))
	must(r.t, err)
	body, err := repo.EncodeRecord(data)
	must(r.t, err)
	return repo.Write{Action: repo.Create, Collection: syntax.NSID(collection), RKey: syntax.RecordKey(rkey), CID: repo.CIDOf(body), Record: body}
}

func (r *reference) blob(did syntax.DID, name string, b []byte) {
	r.t.Helper()
	dir := filepath.Join(r.dir, "blocks", string(did))
	must(r.t, os.MkdirAll(dir, 0o700))
	must(r.t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
}

// event stores an event. The reference leaves seq and time out; what is there of them is overwritten when it is sent.
func (r *reference) event(did syntax.DID, kind string, e func() (event.Event, error), at time.Time) {
	r.t.Helper()
	made, err := e()
	must(r.t, err)
	exec(r.t, r.sequencer, "INSERT INTO repo_seq (did, eventType, event, sequencedAt) VALUES (?, ?, ?, ?)", did, kind, made.Frame[len(event.Header(made.Kind)):], iso(at))
}

// actor changes something in an account's store.
func (r *reference) actor(did syntax.DID, query string, args ...any) {
	r.t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(r.actorDir(did), "store.sqlite"))
	must(r.t, err)
	exec(r.t, db, query, args...)
	must(r.t, db.Close())
}

func exec(t testing.TB, db *sql.DB, query string, args ...any) {
	t.Helper()
	for i, a := range args {
		if did, ok := a.(syntax.DID); ok {
			args[i] = string(did)
		}
	}
	_, err := db.ExecContext(context.Background(), query, args...)
	must(t, err)
}

func iso(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
