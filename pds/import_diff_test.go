package pds

import (
	"bytes"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"

	"perch/repo"
)

// since is what the reference gives for getRepo with `since`: the blocks of after that before has not.
func since(t *testing.T, before, after []byte) []byte {
	t.Helper()
	lim := repo.CARLimits{Header: 4096, Block: 1 << 20, Blocks: 1 << 20, Total: 1 << 30}
	had := map[string]bool{}
	if _, err := repo.ReadCAR(bytes.NewReader(before), lim, func(b repo.Block) error { had[b.CID.String()] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	var fresh []repo.Block
	roots, err := repo.ReadCAR(bytes.NewReader(after), lim, func(b repo.Block) error {
		if !had[b.CID.String()] {
			fresh = append(fresh, b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := repo.NewCARWriter(&out, roots...)
	for _, b := range fresh {
		if err == nil {
			err = w.Put(b.CID, b.Data)
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

// What was written at the old host since the first import comes as its blocks alone.
func TestImportDiff(t *testing.T) {
	old := startNetwork(t, nil)
	c := old.signUp(t, "alice")
	c.fill(60)
	first := c.exportCAR()
	c.post("com.atproto.repo.deleteRecord", map[string]any{"repo": c.did, "collection": "app.bsky.feed.post", "rkey": rkeyOf(c.createPost("goes again").str("uri"))}).ok()
	c.createPost("stays for ever")
	gone := c.createPost("stays a while")
	second := c.exportCAR()
	c.post("com.atproto.repo.deleteRecord", map[string]any{"repo": c.did, "collection": "app.bsky.feed.post", "rkey": rkeyOf(gone.str("uri"))}).ok()
	c.fill(5)
	third := c.exportCAR()
	diff := since(t, second, third)
	if len(diff) > len(third)/2 {
		t.Fatalf("a diff of %d bytes to a repository of %d", len(diff), len(third))
	}
	there := c.arrive(old.neighbour(t))
	there.importCAR(diff).fails(400, "MissingBlock") // there is nothing here yet
	there.importCAR(first).ok()
	there.importCAR(diff).fails(400, "MissingBlock") // nor what came in between
	stranger, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		t.Fatal(err)
	}
	there.importCAR(since(t, first, second)).ok()
	there.wantRecords(second)
	there.importCAR(resigned(t, diff, stranger, func(*repo.Commit, map[string][]byte) {})).fails(400, "InvalidSignature")
	there.wantRecords(second)
	there.importCAR(diff).ok()
	there.wantRecords(third)
	there.importCAR(diff).ok()
	there.wantRecords(third)
	c.takeDID(there)
	there.activate()
	there.createPost("first at the new host")
	there.check()
}

// wantRecords checks that the account has the records of a CAR.
func (c *client) wantRecords(car []byte) {
	c.t.Helper()
	want, got := recordCIDs(c.t, car), recordCIDs(c.t, c.exportCAR())
	if len(want) != len(got) {
		c.t.Errorf("%d records, want %d", len(got), len(want))
	}
	for path, id := range want {
		if got[path] != id {
			c.t.Errorf("%s: %s, want %s", path, got[path], id)
		}
	}
}
