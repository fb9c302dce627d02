package blob

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

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
