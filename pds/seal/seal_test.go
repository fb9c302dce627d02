package seal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func testBox(t *testing.T, fill byte, older ...byte) *Box {
	t.Helper()
	var old [][]byte
	for _, f := range older {
		old = append(old, bytes.Repeat([]byte{f}, KeySize))
	}
	b, err := New(bytes.Repeat([]byte{fill}, KeySize), old...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOpenRefuses(t *testing.T) {
	b := testBox(t, 1)
	sealed := b.Seal("signing key 1", []byte("secret"))
	change := func(i int) []byte {
		c := bytes.Clone(sealed)
		c[i] ^= 1
		return c
	}
	cases := map[string]struct {
		box    *Box
		name   string
		sealed []byte
	}{
		"other name":      {b, "signing key 2", sealed},
		"no name":         {b, "", sealed},
		"other key":       {testBox(t, 2), "signing key 1", sealed},
		"format changed":  {b, "signing key 1", change(0)},
		"hint changed":    {b, "signing key 1", change(1)},
		"nonce changed":   {b, "signing key 1", change(2)},
		"body changed":    {b, "signing key 1", change(30)},
		"tag changed":     {b, "signing key 1", change(len(sealed) - 1)},
		"cut":             {b, "signing key 1", sealed[:len(sealed)-1]},
		"longer":          {b, "signing key 1", append(bytes.Clone(sealed), 0)},
		"only the header": {b, "signing key 1", sealed[:2]},
		"empty":           {b, "signing key 1", nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got, err := c.box.Open(c.name, c.sealed); !errors.Is(err, ErrOpen) || got != nil {
				t.Fatalf("got %q, %v; want ErrOpen", got, err)
			}
		})
	}
}

func TestSealOpen(t *testing.T) {
	b := testBox(t, 1)
	for _, secret := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("k"), 10_000)} {
		one, two := b.Seal("n", secret), b.Seal("n", secret)
		if bytes.Equal(one, two) {
			t.Fatal("two seals are equal: the nonce is not random")
		}
		got, err := b.Open("n", one)
		if err != nil || !bytes.Equal(got, secret) {
			t.Fatalf("got %q, %v", got, err)
		}
	}
}

func TestRotation(t *testing.T) {
	old := testBox(t, 1)
	sealed := old.Seal("n", []byte("secret"))
	both := testBox(t, 2, 1)
	if got, err := both.Open("n", sealed); err != nil || string(got) != "secret" {
		t.Fatalf("older key does not open: %q, %v", got, err)
	}
	again := both.Seal("n", []byte("secret"))
	if _, err := testBox(t, 2).Open("n", again); err != nil {
		t.Fatalf("sealed again, but not under the first key: %v", err)
	}
}

func TestDerive(t *testing.T) {
	a, b := testBox(t, 1), testBox(t, 2)
	if !bytes.Equal(a.Derive("x"), testBox(t, 1, 2).Derive("x")) {
		t.Fatal("derived secrets must depend on the first key and purpose alone")
	}
	if bytes.Equal(a.Derive("x"), a.Derive("y")) || bytes.Equal(a.Derive("x"), b.Derive("x")) {
		t.Fatal("derived secrets must differ by purpose and key")
	}
}

func TestParseRefuses(t *testing.T) {
	good := strings.Repeat("ab", KeySize)
	for _, text := range []string{"", "\n", "# note only", good[1:], good + "00", strings.Repeat("zz", KeySize), good + "\nabcd"} {
		if _, err := Parse(text); !errors.Is(err, ErrKey) {
			t.Errorf("%q: %v, want ErrKey", text, err)
		} else if len(text) > 10 && strings.Contains(err.Error(), text[:10]) {
			t.Errorf("the error quotes the key: %v", err)
		}
	}
	for _, text := range []string{good, " " + good + "\n", "# now\n" + good + "\n# before\n" + strings.Repeat("cd", KeySize)} {
		if _, err := Parse(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestLoadMakesFileOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	var wg sync.WaitGroup
	boxes := make([]*Box, 8)
	for i := range boxes {
		wg.Go(func() {
			b, err := Load(path)
			if err != nil {
				t.Error(err)
				return
			}
			boxes[i] = b
		})
	}
	wg.Wait()
	sealed := boxes[0].Seal("n", []byte("s"))
	for _, b := range boxes {
		if _, err := b.Open("n", sealed); err != nil {
			t.Fatalf("servers started together hold different keys: %v", err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v; want 0600", info.Mode(), err)
	}
	names, _ := os.ReadDir(filepath.Dir(path))
	if len(names) != 1 {
		t.Fatalf("temporary files left behind: %v", names)
	}
}

func TestLoadRefuses(t *testing.T) {
	good := hex.EncodeToString(bytes.Repeat([]byte{7}, KeySize))
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o666} {
		path := filepath.Join(t.TempDir(), "master.key")
		if err := os.WriteFile(path, []byte(good), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := Load(path)
		if !errors.Is(err, ErrPermissions) || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	path := filepath.Join(t.TempDir(), "master.key")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); !errors.Is(err, ErrKey) {
		t.Errorf("empty file: %v, want ErrKey (a key must never be made over an existing file)", err)
	}
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("a folder was taken for a key file")
	}
	if _, err := Load(filepath.Join(t.TempDir(), "no", "such", "folder")); err == nil {
		t.Error("a missing folder gave no error")
	}
}
