package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
)

const (
	alice = syntax.DID("did:plc:ewvi7nxzyoun6zhxrhs64oiz")
	bob   = syntax.DID("did:web:bob.example.com")
)

func open(t *testing.T) (*Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "blobs")
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, dir
}

func put(t *testing.T, s *Store, did syntax.DID, body string) cid.Cid {
	t.Helper()
	u, err := s.Write(context.Background(), did, strings.NewReader(body), "", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Keep(); err != nil {
		t.Fatal(err)
	}
	return u.CID
}

// files lists everything below dir that is a file.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, p)
			all = append(all, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func hashOf(t *testing.T, body string) cid.Cid {
	t.Helper()
	c, err := cid.Prefix{Version: 1, Codec: cid.Raw, MhType: 0x12, MhLength: 32}.Sum([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestHostileNames(t *testing.T) {
	s, dir := open(t)
	good := put(t, s, alice, "x")
	outside := filepath.Join(filepath.Dir(dir), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, did := range []syntax.DID{
		"", ".", "..", "../secret", "did:plc:../../secret", "did:plc:a/b", "did:plc:a\\b", "did:plc:\x00", "/etc/passwd", "did:web:..%2f..%2fsecret/x", "did:plc:",
		"DID:plc:abc", "did:plc:a b", "did:plc:a\n", "did:plc:é", syntax.DID("did:web:" + strings.Repeat("a", 300)), "tmp", "did:", "did::x",
	} {
		if f, err := s.Open(did, good); !errors.Is(err, ErrNotFound) {
			t.Errorf("open %q: %v, %v", did, f, err)
		}
		if u, err := s.Write(context.Background(), did, strings.NewReader("x"), "", 10); !errors.Is(err, ErrName) {
			t.Errorf("write %q: %+v, %v", did, u, err)
		}
		if err := s.Delete(did, good); !errors.Is(err, ErrName) {
			t.Errorf("delete %q: %v", did, err)
		}
		if err := s.DeleteAll(did); !errors.Is(err, ErrName) {
			t.Errorf("delete all %q: %v", did, err)
		}
	}
	h := sha256.Sum256([]byte("x"))
	v0, _ := cid.Cast(append([]byte{0x12, 0x20}, h[:]...))
	dagCBOR := cid.NewCidV1(cid.DagCBOR, good.Hash())
	identity, err := cid.Prefix{Version: 1, Codec: cid.Raw, MhType: 0, MhLength: -1}.Sum([]byte("../../../../secret"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]cid.Cid{"undefined": cid.Undef, "version 0": v0, "dag-cbor": dagCBOR, "identity hash": identity} {
		if _, err := s.Open(alice, c); !errors.Is(err, ErrNotFound) || !errors.Is(err, ErrName) {
			t.Errorf("open %s: %v", name, err)
		}
		if err := s.Delete(alice, c); !errors.Is(err, ErrName) {
			t.Errorf("delete %s: %v", name, err)
		}
	}
	if b, err := os.ReadFile(outside); err != nil || string(b) != "secret" {
		t.Fatal("a file outside the folder was touched")
	}
	if got := files(t, dir); len(got) != 1 {
		t.Fatalf("files: %v", got)
	}
}

func TestSymbolicLinksLeadNowhere(t *testing.T) {
	s, dir := open(t)
	c := put(t, s, alice, "x")
	name, _ := filePath(alice, c)
	outside := filepath.Join(filepath.Dir(dir), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	full := filepath.Join(dir, filepath.FromSlash(name))
	if err := errors.Join(os.Remove(full), os.Symlink(outside, full)); err != nil {
		t.Fatal(err)
	}
	if f, err := s.Open(alice, c); err == nil {
		b, _ := io.ReadAll(f)
		t.Fatalf("followed out of the folder: %q", b)
	}
}

func TestDelete(t *testing.T) {
	s, dir := open(t)
	one, two := put(t, s, alice, "one"), put(t, s, alice, "two")
	other := put(t, s, bob, "one")
	if err := errors.Join(s.Delete(alice, one), s.Delete(alice, one)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(alice, one); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if err := errors.Join(s.Verify(context.Background(), alice, two), s.Verify(context.Background(), bob, other)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.DeleteAll(alice), s.DeleteAll(alice)); err != nil {
		t.Fatal(err)
	}
	if got := files(t, dir); len(got) != 1 {
		t.Fatalf("%v", got)
	}
}

func TestVerifyAndRepair(t *testing.T) {
	s, dir := open(t)
	c := put(t, s, alice, "precious")
	name, _ := filePath(alice, c)
	for _, damage := range []string{"Precious", "precious!", "preciou", ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.Verify(context.Background(), alice, c); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%q: %v", damage, err)
		}
	}
	put(t, s, alice, "precious")
	if err := s.Verify(context.Background(), alice, c); err != nil {
		t.Fatalf("uploaded again, and still damaged: %v", err)
	}
	if err := s.Verify(context.Background(), bob, c); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
}

func TestOrphans(t *testing.T) {
	s, dir := open(t)
	known, lost := put(t, s, alice, "known"), put(t, s, alice, "lost")
	strange := filepath.Join(dir, "00", "README")
	misplaced := filepath.Join(dir, "00", string(alice), known.String())
	for _, p := range []string{strange, misplaced} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o700), os.WriteFile(p, []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Write(context.Background(), bob, strings.NewReader("under way"), "", 10); err != nil {
		t.Fatal(err)
	}
	var found []string
	err := s.Orphans(context.Background(), func(did syntax.DID, c cid.Cid) (bool, error) { return did == alice && c == known, nil }, func(e Entry) error {
		found = append(found, fmt.Sprintf("%v %v", e.Strange, e.CID == lost && e.DID == alice && e.Size == 4))
		return nil
	})
	want := []string{"true false", "true false", "false true"}
	if err != nil || fmt.Sprint(slices.Sorted(slices.Values(found))) != fmt.Sprint(slices.Sorted(slices.Values(want))) {
		t.Fatalf("%v, %v", found, err)
	}
	boom := errors.New("boom")
	if err := s.Walk(context.Background(), func(Entry) error { return boom }); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Walk(cancelled, func(Entry) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestManyAtOnce(t *testing.T) {
	s, dir := open(t)
	body := bytes.Repeat([]byte("same bytes "), 10_000)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			u, err := s.Write(context.Background(), alice, bytes.NewReader(body), "", 1<<20)
			if err == nil {
				err = u.Keep()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := files(t, dir); len(got) != 1 {
		t.Fatalf("%v", got)
	}
	if err := s.Verify(context.Background(), alice, hashOf(t, string(body))); err != nil {
		t.Fatal(err)
	}
}
