package pds

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"

	"perch/pds/store"
	"perch/repo"
	"perch/repo/mst"
)

// resigned is the account's repository with another commit on top, signed by key, with its blocks as change leaves them.
func resigned(t *testing.T, car []byte, key repo.Signer, change func(c *repo.Commit, blocks map[string][]byte)) []byte {
	t.Helper()
	blocks := map[string][]byte{}
	roots, err := repo.ReadCAR(bytes.NewReader(car), repo.CARLimits{Header: 4096, Block: 1 << 20, Blocks: 1 << 20, Total: 1 << 30}, func(b repo.Block) error {
		blocks[b.CID.String()] = b.Data
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	commit, err := repo.ParseCommit(blocks[roots[0].String()])
	if err != nil {
		t.Fatal(err)
	}
	change(&commit, blocks)
	head, err := repo.SignCommit(commit, key)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := repo.NewCARWriter(&out, head.CID)
	if err == nil {
		err = w.Put(head.CID, head.Block)
	}
	for _, data := range blocks {
		if err == nil {
			err = w.Put(repo.CIDOf(data), data)
		}
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// manyPaths puts one record at n paths in the place of what a repository has.
func manyPaths(t *testing.T, n int, body []byte) func(*repo.Commit, map[string][]byte) {
	return func(commit *repo.Commit, blocks map[string][]byte) {
		t.Helper()
		clear(blocks)
		tree, err := mst.Empty(), error(nil)
		for i := range n {
			if tree, _, err = tree.Put(nil, fmt.Sprintf("app.bsky.feed.post/%04d", i), repo.CIDOf(body)); err != nil {
				t.Fatal(err)
			}
		}
		commit.Data = tree.Root()
		blocks["record"] = body
		for _, b := range tree.NewBlocks() {
			blocks[b.CID.String()] = b.Data
		}
	}
}

func TestImportRefusals(t *testing.T) {
	old := startNetwork(t, nil)
	c := old.signUp(t, "alice")
	c.fill(20)
	bob := old.signUp(t, "bob")
	bob.fill(2)
	there := c.arrive(old.neighbour(t))
	car := c.exportCAR()
	there.importCAR(car).ok()
	before := there.exportCAR()
	key, err := c.srv.accounts.SigningKey(c.account())
	if err != nil {
		t.Fatal(err)
	}
	stranger, _ := atcrypto.GeneratePrivateKeyK256()
	same := func(*repo.Commit, map[string][]byte) {}
	oneRecord := func(path string, body []byte) func(*repo.Commit, map[string][]byte) {
		return func(commit *repo.Commit, blocks map[string][]byte) {
			tree, _, err := mst.Empty().Put(nil, path, repo.CIDOf(body))
			if err != nil {
				t.Fatal(err)
			}
			commit.Data = tree.Root()
			blocks["record"] = body
			for _, b := range tree.NewBlocks() {
				blocks[b.CID.String()] = b.Data
			}
		}
	}
	for _, tt := range []struct {
		what string
		car  []byte
		name string
	}{
		{"another account's", bob.exportCAR(), "InvalidCommit"},
		{"a stranger's signature", resigned(t, car, stranger, same), "InvalidSignature"},
		{"cut short", car[:len(car)-5], "InvalidCar"},
		{"HTML", []byte("<html>"), "InvalidCar"},
		{"no tree", resigned(t, car, key, func(commit *repo.Commit, blocks map[string][]byte) {
			oneRecord("app.bsky.feed.post/a", []byte{0xa0})(commit, blocks)
			delete(blocks, commit.Data.String())
		}), "MissingBlock"},
		{"a commit as tree", resigned(t, car, key, func(commit *repo.Commit, blocks map[string][]byte) {
			commit.Data = repo.CIDOf([]byte{0xa0})
			blocks["x"] = []byte{0xa0}
		}), "InvalidTree"},
		{"a float", resigned(t, car, key, oneRecord("app.bsky.feed.post/a", []byte{0xa1, 0x61, 'a', 0xfb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0})), "InvalidRecord"},
		{"one large record at many paths", resigned(t, car, key, manyPaths(t, 40, append([]byte{0xa1, 0x61, 'a', 0x5a, 0, 0x0e, 0, 0}, make([]byte, 0x0e0000)...))), "InvalidTree"},
		{"a bad path", resigned(t, car, key, oneRecord("nothing/a", []byte{0xa0})), "InvalidRecord"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			there := *there
			there.t = t
			there.importCAR(tt.car).fails(400, tt.name)
			if after := there.exportCAR(); !bytes.Equal(before, after) {
				t.Error("the account is not as it was")
			}
		})
	}
	there.importCAR(resigned(t, car, key, oneRecord("app.bsky.feed.post/a", []byte{0xa0}))).ok() // the helper makes good files too
	if got := recordCIDs(t, there.exportCAR()); len(got) != 1 {
		t.Errorf("records after another import: %v", got)
	}
	there.importCAR(resigned(t, car, key, manyPaths(t, 100, []byte{0xa0}))).ok()
	app := there.post("com.atproto.server.createAppPassword", map[string]any{"name": "x"}).ok().str("password")
	appToken := there.anonymous(t).post("com.atproto.server.createSession", map[string]any{"identifier": c.did, "password": app}).ok().str("accessJwt")
	(&client{network: there.network, t: t, did: c.did, token: appToken}).importCAR(car).fails(400, "InvalidToken")
	there.anonymous(t).importCAR(car).fails(401, "AuthMissing")
	there.do(http.MethodPost, "com.atproto.repo.importRepo", nil, "application/json", car).fails(400, "InvalidRequest")
	there.check()
	if left, _ := os.ReadDir(there.srv.imports.dir); len(left) != 0 {
		t.Errorf("files left: %v", left)
	}
	c.importCAR(car).fails(400, "AccountActive")
}

func TestImportSettings(t *testing.T) {
	old := startNetwork(t, nil)
	c := old.signUp(t, "alice")
	c.fill(3)
	car := c.exportCAR()
	small := &network{t: t, dir: t.TempDir(), plc: old.plc}
	small.start(func(cfg *Config) { cfg.MaxRepoImportSize = int64(len(car)) - 1 })
	c.arrive(small).importCAR(car).fails(413, "PayloadTooLarge")
	closed := &network{t: t, dir: t.TempDir(), plc: old.plc}
	closed.start(func(cfg *Config) { cfg.AcceptingRepoImports = false })
	c.arrive(closed).importCAR(car).fails(400, "InvalidRequest")
}

// A repository that was signed long ago, by a key that the DID has no more, may still come; revs go on rising.
func TestImportOldKey(t *testing.T) {
	old := startNetwork(t, nil)
	c := old.signUp(t, "alice")
	c.fill(3)
	car := c.exportCAR()
	there := c.arrive(old.neighbour(t))
	c.takeDID(there) // the DID has the new host's key now, the file the old host's
	ahead := resigned(t, car, mustKey(t, c), func(commit *repo.Commit, _ map[string][]byte) {
		commit.Rev = repo.NextRev("", time.Now().Add(time.Hour), 5)
	})
	there.importCAR(ahead).ok()
	rev := there.get("com.atproto.sync.getLatestCommit", "did", c.did).ok().str("rev")
	if want := repo.NextRev("", time.Now().Add(59*time.Minute), 5).String(); rev <= want {
		t.Errorf("rev %s is not after that of the import", rev)
	}
	there.activate()
	there.createPost("later")
	there.check()
}

func mustKey(t *testing.T, c *client) atcrypto.PrivateKeyExportable {
	t.Helper()
	key, err := c.srv.accounts.SigningKey(c.account())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// An import that the end of the process cut off goes on by its job.
func TestImportIsFinishedLater(t *testing.T) {
	old := startNetwork(t, nil)
	c := old.signUp(t, "alice")
	c.fill(20)
	car := c.exportCAR()
	there := c.arrive(old.neighbour(t))
	acct := there.account()

	f, err := there.srv.imports.create(acct.ID)
	if err != nil {
		t.Fatal(err)
	}
	archive, err := repo.ReadArchive(io.TeeReader(bytes.NewReader(car), f), f, f.spool, importLimits())
	if err != nil {
		t.Fatal(err)
	}
	imported, err := there.srv.verifyImport(t.Context(), acct, f, archive)
	if err != nil {
		t.Fatal(err)
	}
	head, err := there.srv.headAfterImport(t.Context(), acct, imported.Commit)
	if err != nil {
		t.Fatal(err)
	}
	payload, _ := json.Marshal(importJob{Account: acct.ID, DID: acct.DID, File: f.name, Head: head.Block})
	_, err = there.srv.store.Replace(t.Context(), store.Replacement{
		Name: f.name, Account: acct.ID, DID: acct.DID, Head: *head, JobKind: jobFinishImport, JobPayload: string(payload),
		Records: func(func(store.NewRecord) error) error { return io.ErrClosedPipe },
	})
	if err == nil {
		t.Fatal("half an import succeeded")
	}
	f.close()
	there.get("com.atproto.sync.getRepo", "did", c.did).fails(400, "ImportInProgress")
	if err := there.srv.sweepImportsBefore(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := there.srv.finishImport(t.Context(), string(payload)); err != nil {
		t.Fatal(err)
	}
	if got, want := recordCIDs(t, there.exportCAR()), recordCIDs(t, car); len(got) != len(want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
	there.check()
	if left, _ := os.ReadDir(there.srv.imports.dir); len(left) != 0 {
		t.Errorf("files left: %v", left)
	}
	if err := there.srv.finishImport(t.Context(), string(payload)); err != nil { // once more does nothing
		t.Error(err)
	}
}
