package pds

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"perch/repo"
	"perch/xrpc"
)

// Readers who take a repository slowly hold a snapshot each. One of them must not keep all others, nor people themselves, from reading.
func TestSlowReadersLeaveRoom(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	n.srv.exports.wait = time.Millisecond
	ctx := context.Background()
	var leave []func()
	for i := range maxExportsPerClient {
		l, err := n.srv.exports.enter(ctx, false)
		if err != nil {
			t.Fatalf("place %d: %v", i, err)
		}
		leave = append(leave, l)
	}
	var refused *xrpc.Error
	if _, err := n.srv.exports.enter(ctx, true); !errors.As(err, &refused) || refused.Status != http.StatusTooManyRequests || refused.Header.Get("Retry-After") == "" {
		t.Fatalf("one too many of one client: %v", err)
	}
	// The requests here come from another address than none.
	c.get("com.atproto.sync.getRepo", "did", c.did).ok()

	for range cap(n.srv.exports.all) - len(n.srv.exports.all) {
		n.srv.exports.all <- struct{}{}
	}
	c.anonymous(t).get("com.atproto.sync.getRepo", "did", c.did).fails(503, "NotEnoughResources")
	c.get("com.atproto.sync.getRepo", "did", c.did).ok() // the owner
	c.anonymous(t).get("com.atproto.sync.getRecord", "did", c.did, "collection", "app.bsky.feed.post", "rkey", "none").ok()
	for range maxExports - maxExportsPerClient {
		<-n.srv.exports.all
	}
	for _, l := range leave {
		l()
	}
	c.anonymous(t).get("com.atproto.sync.getRepo", "did", c.did).ok()
	if len(n.srv.exports.clients) != 0 || len(n.srv.exports.all) != 0 {
		t.Errorf("%d clients and %d places are left over", len(n.srv.exports.clients), len(n.srv.exports.all))
	}
}

func TestPacedWriter(t *testing.T) {
	for _, c := range []struct {
		ago  time.Duration
		sent int64
		ok   bool
	}{
		{0, 0, true},
		{exportGrace - time.Second, 0, true},
		{exportGrace + time.Second, 0, false},
		{exportGrace + 50*time.Second, 100 * exportRate, true},
		{exportGrace + 101*time.Second, 100 * exportRate, false},
	} {
		p := &pacedWriter{w: io.Discard, begun: time.Now().Add(-c.ago), sent: c.sent}
		if _, err := p.Write([]byte("x")); (err == nil) != c.ok {
			t.Errorf("%d bytes after %s: %v", c.sent, c.ago, err)
		}
	}
}

func TestBlocksAreBounded(t *testing.T) {
	want := map[cid.Cid]bool{}
	var blocks []repo.Block
	for i := range 3 {
		data := bytes.Repeat([]byte{byte(i)}, maxBlocksBytes/2)
		b := repo.Block{CID: repo.CIDOf(data), Data: data}
		blocks, want[b.CID] = append(blocks, b), true
	}
	var f blockFinder
	f.want = want
	var err error
	for _, b := range blocks {
		if err = f.take(b.CID, b.Data); err != nil {
			break
		}
	}
	var refused *xrpc.Error
	if !errors.As(err, &refused) || refused.Status != 400 || !strings.Contains(refused.Message, "fewer") {
		t.Fatalf("more than the limit: %v", err)
	}
}
