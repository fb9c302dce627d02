package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"perch/repo"
)

// smallDisk mounts a disk of its own for the test, which takes root.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("a disk cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// ballast fills the disk to the last byte.
func ballast(t *testing.T, dir string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for chunk := make([]byte, 64<<10); len(chunk) > 0; {
		if _, err := f.Write(chunk); err != nil {
			chunk = chunk[:len(chunk)/2]
		}
	}
	return path
}

// TestFullDisk: with the disk full nothing is stored and everybody is told why; what was stored can be read; with room again all goes on.
func TestFullDisk(t *testing.T) {
	ctx := context.Background()
	dir := smallDisk(t, "24m")
	var log bytes.Buffer
	s := openTest(t, func(o *Options) {
		o.Path = filepath.Join(dir, "perch.db")
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	r := newRepo(t, s, "alice")
	r.mustCommit(t, create("before", "x"))
	text := strings.Repeat("x", 20_000)
	for round := range 2 {
		full := ballast(t, dir)
		head, _, err := s.Head(ctx, r.id)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 10 { // the first may still find room in the log's file
			var d *repo.Diff
			var err error
			if i%2 == 0 {
				d, err = r.commit(create(fmt.Sprintf("full%d-%d", round, i), text))
			} else {
				err = s.Update(ctx, func(tx *Tx) error { return tx.AddJob(ctx, "kind", text, tx.Now()) })
			}
			switch {
			case d != nil && err == nil:
				head = d.Head
			case err != nil && (!errors.Is(err, ErrDiskFull) || errors.Is(err, ErrUncertain)):
				t.Fatalf("write %d: %v", i, err)
			case err == nil && i > 5:
				t.Fatalf("write %d to a full disk succeeded", i)
			}
		}
		if now, _, err := s.Head(ctx, r.id); err != nil || now.CID != head.CID {
			t.Errorf("head %v, want %v: %v", now.CID, head.CID, err)
		}
		if _, err := s.Record(ctx, r.id, postNSID.String()+"/before"); err != nil {
			t.Errorf("a read: %v", err)
		}
		if err := os.Remove(full); err != nil {
			t.Fatal(err)
		}
		r.mustCommit(t, create(fmt.Sprintf("after%d", round), text))
		mustCheck(t, s)
	}
	for what, want := range map[string]int{"the disk is full": 2, "room again": 2} {
		if n := strings.Count(log.String(), what); n != want {
			t.Errorf("%q stands %d times in the log, want %d:\n%s", what, n, want, log.String())
		}
	}
}
