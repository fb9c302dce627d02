package blob

import (
	"bytes"
	"context"
	"crypto/rand"
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
	"testing/iotest"
	"time"

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

// Uploads stop before the disk is full, so that there is room for what people write.
func TestUploadsLeaveRoom(t *testing.T) {
	s, dir := open(t)
	var free, total uint64
	s.space = func(string) (uint64, uint64, error) { return free, total, nil }
	write := func(size int64) error {
		u, err := s.Write(context.Background(), alice, io.LimitReader(rand.Reader, size), "", 1<<30)
		if err == nil {
			u.Discard()
		}
		return err
	}
	for _, c := range []struct {
		free, total uint64
		full        bool
	}{{minFree, 1 << 40, false}, {minFree - 1, 1 << 40, true}, {100, 2000, false}, {99, 2000, true}} {
		free, total = c.free, c.total
		if err := write(10); errors.Is(err, ErrDiskFull) != c.full || !c.full && err != nil {
			t.Errorf("%d bytes free of %d: %v", c.free, c.total, err)
		}
	}
	looks := 0
	s.space = func(string) (uint64, uint64, error) { // full while the upload is under way
		looks++
		return minFree - min(uint64(looks-1), 1), 1 << 40, nil
	}
	if err := write(spaceStep + 1); !errors.Is(err, ErrDiskFull) {
		t.Errorf("the disk filled up amid an upload: %v", err)
	}
	s.space = func(string) (uint64, uint64, error) { return 0, 0, errors.ErrUnsupported }
	if err := write(10); err != nil {
		t.Errorf("free room unknown: %v", err)
	}
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
	if free, total, err := diskSpace(dir); err == nil && (total == 0 || free > total) {
		t.Errorf("%d bytes free of %d", free, total)
	}
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

func TestWriteRefuses(t *testing.T) {
	s, dir := open(t)
	ctx := context.Background()
	boom := errors.New("boom")
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		body io.Reader
		want error
	}{
		"one byte too many":   {ctx, strings.NewReader(strings.Repeat("x", 101)), ErrTooLarge},
		"far too many":        {ctx, io.LimitReader(rand.Reader, 10<<20), ErrTooLarge},
		"endless":             {ctx, rand.Reader, ErrTooLarge},
		"connection lost":     {ctx, io.MultiReader(strings.NewReader("half"), iotest.ErrReader(boom)), boom},
		"lost at once":        {ctx, iotest.ErrReader(boom), boom},
		"unexpected end":      {ctx, iotest.ErrReader(io.ErrUnexpectedEOF), io.ErrUnexpectedEOF},
		"the client has left": {cancelled, iotest.OneByteReader(strings.NewReader("xx")), context.Canceled},
	} {
		u, err := s.Write(c.ctx, alice, c.body, "", 100)
		if !errors.Is(err, c.want) || u != nil {
			t.Errorf("%s: %+v, %v", name, u, err)
		}
	}
	if got := files(t, dir); len(got) != 0 {
		t.Fatalf("refused uploads left %v", got)
	}
}

func TestWriteKeepRead(t *testing.T) {
	s, dir := open(t)
	for _, body := range []string{"", "x", strings.Repeat("0123456789", 30_000)} {
		u, err := s.Write(context.Background(), alice, iotest.HalfReader(strings.NewReader(body)), "", int64(len(body)))
		if err != nil {
			t.Fatal(err)
		}
		if u.Size != int64(len(body)) || u.CID != hashOf(t, body) {
			t.Fatalf("%d bytes as %s, want %s", u.Size, u.CID, hashOf(t, body))
		}
		if _, err := s.Open(alice, u.CID); !errors.Is(err, ErrNotFound) {
			t.Fatalf("readable before it was kept: %v", err)
		}
		if err := u.Keep(); err != nil {
			t.Fatal(err)
		}
		u.Discard()
		if u.Keep() == nil {
			t.Fatal("kept twice")
		}
		f, err := s.Open(alice, u.CID)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(f)
		if err != nil || string(got) != body || f.Size != u.Size || f.ModTime.IsZero() {
			t.Fatalf("%d bytes, size %d, %v", len(got), f.Size, err)
		}
		f.Close()
		if _, err := s.Open(bob, u.CID); !errors.Is(err, ErrNotFound) {
			t.Fatalf("one account's blob is another's: %v", err)
		}
		if n, err := s.Size(alice, u.CID); err != nil || n != u.Size {
			t.Fatal(n, err)
		}
	}
	sum := sha256.Sum256([]byte(alice))
	for _, name := range files(t, dir) {
		if !strings.HasPrefix(name, fmt.Sprintf("%02x/%s/bafkrei", sum[0], alice)) {
			t.Errorf("stored as %s", name)
		}
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
}

func TestDiscard(t *testing.T) {
	s, dir := open(t)
	u, err := s.Write(context.Background(), alice, strings.NewReader("x"), "", 10)
	if err != nil {
		t.Fatal(err)
	}
	if got := files(t, dir); len(got) != 1 || !strings.HasPrefix(got[0], "tmp/") {
		t.Fatalf("%v", got)
	}
	u.Discard()
	u.Discard()
	if got := files(t, dir); len(got) != 0 {
		t.Fatalf("left %v", got)
	}
}

func TestLeftoversGoAtStart(t *testing.T) {
	s, dir := open(t)
	kept := put(t, s, alice, "kept")
	old, err := s.Write(context.Background(), alice, strings.NewReader("old"), "", 10)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(context.Background(), alice, strings.NewReader("under way"), "", 10); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * tempAge)
	if err := os.Chtimes(filepath.Join(dir, old.temp), long, long); err != nil {
		t.Fatal(err)
	}
	again, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got := files(t, dir); len(got) != 2 {
		t.Fatalf("want the kept one and the one under way: %v", got)
	}
	if err := again.RemoveTemp(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := files(t, dir); len(got) != 1 {
		t.Fatalf("%v", got)
	}
	if err := again.Verify(context.Background(), alice, kept); err != nil {
		t.Fatal(err)
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

func TestTypes(t *testing.T) {
	png := "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00"
	mp4 := "\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2"
	for _, c := range []struct{ name, body, claimed, want string }{
		{"png", png, "image/png", "image/png"},
		{"png said to be html", png, "text/html", "image/png"},
		{"png, nothing said", png, "", "image/png"},
		{"jpeg", "\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01", "application/octet-stream", "image/jpeg"},
		{"webp", "RIFF\x24\x00\x00\x00WEBPVP8 ", "*/*", "image/webp"},
		{"gif", "GIF89a\x01\x00\x01\x00", "", "image/gif"},
		{"mp4", mp4, "", "video/mp4"},
		{"text, nothing said", "hello", "", "text/plain"},
		{"text of a client", "WEBVTT\n\n00:00", "text/vtt", "text/vtt"},
		{"html of a client", "<html><script>", "text/html; charset=utf-8", "text/html"},
		{"json", `{"a":1}`, "application/json", "application/json"},
		{"unknown bytes", "\x00\x01\x02\x03", "application/x-mine", "application/x-mine"},
		{"unknown bytes, nothing said", "\x00\x01\x02\x03", "", "application/octet-stream"},
		{"unknown bytes, anything", "\x00\x01\x02\x03", "*/*", "application/octet-stream"},
		{"capitals", "\x00\x01\x02\x03", "Application/X-Mine", "application/x-mine"},
		{"header tricks", "\x00\x01\x02\x03", "text/html\r\nX: y", "application/octet-stream"},
		{"no type at all", "\x00\x01\x02\x03", "nonsense", "application/octet-stream"},
		{"very long", "\x00\x01\x02\x03", "a/" + strings.Repeat("b", 300), "application/octet-stream"},
		{"bad parameter", "\x00\x01\x02\x03", "image/x-mine; =", "image/x-mine"},
		{"empty", "", "image/png", "image/png"},
	} {
		if got := typeOf([]byte(c.body), c.claimed); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
