package pds

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/migrate"
)

// With the disk full, people are told so in words, and reading goes on. With room again writing goes on too.
func TestFullDisk(t *testing.T) {
	dir := smallDisk(t)
	n := startNetwork(t, func(cfg *Config) { cfg.DataDirectory = dir })
	c := n.signUp(t, "alice")
	c.createPost("before")
	ballast := filepath.Join(dir, "ballast")
	for range 2 {
		if err := fillDisk(ballast); err != nil {
			t.Fatal(err)
		}
		refused := func(method string, input any) {
			a := c.post(method, input)
			for i := 0; a.status == 200 && i < 50; i++ { // the first may find room in the log's file
				a = c.post(method, input)
			}
			a.fails(503, "NotEnoughResources")
			if !strings.Contains(string(a.body), "disk is full") {
				t.Errorf("the client is told %s", a.body)
			}
		}
		refused("com.atproto.repo.createRecord", map[string]any{"repo": c.did, "collection": "app.bsky.feed.post", "record": postRecord("full")})
		refused("com.atproto.server.createSession", map[string]any{"identifier": c.handle, "password": "alice-password"})
		c.do("POST", "com.atproto.repo.uploadBlob", nil, "image/png", make([]byte, 5000)).fails(503, "NotEnoughResources")
		c.get("com.atproto.sync.getRepo", "did", c.did).ok()
		c.get("com.atproto.repo.listRecords", "repo", c.did, "collection", "app.bsky.feed.post").ok()
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		c.createPost("after")
		c.post("com.atproto.server.createSession", map[string]any{"identifier": c.handle, "password": "alice-password"}).ok()
	}
}

// smallDisk is a folder on a disk of its own.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=48m"); err != nil {
		t.Skipf("a disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fillDisk takes all the room that there is with one file.
func fillDisk(ballast string) error {
	f, err := os.Create(ballast)
	for chunk := make([]byte, 64<<10); err == nil && len(chunk) > 0; {
		if _, err := f.Write(chunk); err != nil {
			chunk = chunk[:len(chunk)/2]
		}
	}
	f.Close()
	return err
}

// A move waits for room on the disk, also when it has just changed the DID and cannot note that.
func TestMigrateOntoAFullDisk(t *testing.T) {
	m := startMoving(t, nil)
	m.halt()
	m.to.stop()
	m.to.dir = smallDisk(t)
	ballast := filepath.Join(m.to.dir, "ballast")
	begun := map[migrate.State]int{}
	m.watch = func(_ context.Context, _ syntax.DID, s migrate.State, moment string) (err error) {
		if moment == "begin" {
			begun[s]++
		}
		switch full := begun[s]; {
		case s == migrate.StateRepo && moment == "begin" && full == 1, s == migrate.StateSubmit && moment == "end" && full == 1:
			err = fillDisk(ballast)
		case full == 3 && moment == "begin" && s == migrate.StateRepo,
			full == 3 && moment == "begin" && s == migrate.StateSubmit,
			full == 1 && moment == "begin" && s == migrate.StateMoved: // there was room for that much in the log's file
			if err = os.Remove(ballast); errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
		}
		if err != nil {
			t.Error(err)
		}
		return nil
	}
	m.open()
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	m.mustConfirm()
	m.wantMoved()
	if begun[migrate.StateRepo] < 3 {
		t.Errorf("the disk was never full: %v", begun)
	}
}
