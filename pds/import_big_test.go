package pds

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/repo"
	"perch/repo/mst"
)

// postSource is many posts in the order of their keys.
type postSource []postBody

type postBody struct {
	path string
	cid  cid.Cid
	body []byte
}

func newPosts(t *testing.T, n int) postSource {
	t.Helper()
	posts := make(postSource, 0, n)
	for i := range n {
		body, err := repo.EncodeRecord(postRecord(fmt.Sprint("a post that is as long as posts are on average, which is some hundred letters, number ", i)))
		if err != nil {
			t.Fatal(err)
		}
		path := "app.bsky.feed.post/" + repo.NextRev("", time.UnixMicro(1_700_000_000_000_000+int64(i)), 1).String()
		posts = append(posts, postBody{path, repo.CIDOf(body), body})
	}
	return posts
}

func (s postSource) Scan(_, _ string, yield func(string, cid.Cid) error) error {
	for _, p := range s {
		if err := yield(p.path, p.cid); err != nil {
			return err
		}
	}
	return nil
}

// bigCAR makes the repository of an account with n posts, signed by its key, in the order in which the reference writes it: nodes and records as they come.
func (c *client) bigCAR(n int) []byte {
	c.t.Helper()
	posts := newPosts(c.t, n)
	tree, err := mst.Derive(posts, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	head, err := repo.SignCommit(repo.Commit{DID: syntax.DID(c.did), Data: tree.Root(), Rev: repo.NextRev("", time.Now(), 1)}, mustKey(c.t, c))
	if err != nil {
		c.t.Fatal(err)
	}
	var out bytes.Buffer
	i := 0
	err = repo.Export(&out, head, tree, posts, func() (string, cid.Cid, []byte, error) {
		if i == len(posts) {
			return "", cid.Undef, nil, io.EOF
		}
		p := posts[i]
		i++
		return p.path, p.cid, p.body, nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return out.Bytes()
}

// A large repository comes in with flat memory, while others go on writing.
func TestImportLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("imports 100,000 records")
	}
	const n = 100_000
	old := startNetwork(t, nil)
	c := old.signUp(t, "alice")
	there := c.arrive(old.neighbour(t))
	bob := there.signUp(t, "bob")
	car := c.bigCAR(n)
	done := make(chan struct{})
	var slowest time.Duration
	var writes int
	var most uint64
	go func() {
		defer close(done)
		there.importCAR(car).ok()
	}()
	for running := true; running; {
		start := time.Now()
		bob.createPost("meanwhile")
		slowest = max(slowest, time.Since(start))
		writes++
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapInuse)
		select {
		case <-done:
			running = false
		case <-time.After(10 * time.Millisecond):
		}
	}
	if got := there.get("com.atproto.server.checkAccountStatus").ok().at("indexedRecords"); got != float64(n) {
		t.Errorf("%v records", got)
	}
	t.Logf("file of %d MB; others wrote %d times meanwhile, the slowest in %v; heap at most %d MB", len(car)>>20, writes, slowest, most>>20)
}
