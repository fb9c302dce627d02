package seal

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	keyFileMode = 0o600
	maxKeyFile  = 16 << 10 // bytes: some 250 keys; more is not a key file
)

// ErrPermissions: the key file can be read or written by others than its owner.
var ErrPermissions = errors.New("master key file is open to other users")

// Load reads the key file at path, and makes one with a new random key when there is none. It refuses a file that group or
// others may read or write (ErrPermissions) and one that holds no key (ErrKey).
func Load(path string) (*Box, error) {
	text, err := readKeyFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = createKeyFile(path); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("make master key file: %w", err)
		}
		text, err = readKeyFile(path)
	}
	if err != nil {
		return nil, err
	}
	box, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("master key file %s: %w", path, err)
	}
	return box, nil
}

func readKeyFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read master key file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("read master key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("master key file %s: not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return "", fmt.Errorf("%w: %s has mode %04o; run: chmod 600 %s", ErrPermissions, path, mode, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return "", fmt.Errorf("read master key file: %w", err)
	}
	return string(text), nil
}

// createKeyFile writes a new key beside path, syncs it, and links it into place without ever replacing a file that exists:
// two servers starting at once end up with one key, and a power cut leaves a whole key or none.
func createKeyFile(path string) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".master-key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	key := make([]byte, KeySize)
	rand.Read(key)
	_, err = tmp.WriteString(hex.EncodeToString(key) + "\n")
	err = errors.Join(err, tmp.Chmod(keyFileMode), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
