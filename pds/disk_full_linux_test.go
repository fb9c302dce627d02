package pds

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// With the disk full, people are told so in words, and reading goes on. With room again writing goes on too.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=48m"); err != nil {
		t.Skipf("a disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	n := startNetwork(t, func(cfg *Config) { cfg.DataDirectory = dir })
	c := n.signUp(t, "alice")
	c.createPost("before")
	ballast := filepath.Join(dir, "ballast")
	fill := func() (err error) {
		f, err := os.Create(ballast)
		for chunk := make([]byte, 64<<10); err == nil && len(chunk) > 0; {
			if _, err := f.Write(chunk); err != nil {
				chunk = chunk[:len(chunk)/2]
			}
		}
		f.Close()
		return err
	}
	for range 2 {
		if err := fill(); err != nil {
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
