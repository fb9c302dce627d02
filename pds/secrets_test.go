package pds

import (
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"

	"perch/pds/seal"
	"perch/pds/store"
)

// boot does what a start does with the secrets, and closes the store again.
func boot(t *testing.T, cfg *Config) (*Secrets, error) {
	t.Helper()
	box, err := OpenSeal(cfg)
	if err != nil {
		return nil, err
	}
	st, err := store.Open(t.Context(), store.Options{Path: cfg.DatabasePath()})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	return LoadSecrets(t.Context(), cfg, box, st)
}

func didKey(t *testing.T, key atcrypto.PrivateKey) string {
	t.Helper()
	pub, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return pub.DIDKey()
}

func TestSecretsAreMadeOnce(t *testing.T) {
	cfg := DefaultConfig()
	cfg.DataDirectory = filepath.Join(t.TempDir(), "new", "data")
	first, err := boot(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(cfg.MasterKeyPath())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("master key file: %v %v", info, err)
	}
	again, err := boot(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if string(first.JWTSecret) != string(again.JWTSecret) || len(first.JWTSecret) < 32 || first.AdminPassword != again.AdminPassword ||
		len(first.AdminPassword) < 32 || string(first.DPoPSecret) != string(again.DPoPSecret) || len(first.DPoPSecret) != 32 ||
		didKey(t, first.PLCRotationKey) != didKey(t, again.PLCRotationKey) || len(again.Warnings) > 0 {
		t.Error("secrets differ after a restart")
	}
	for name, want := range map[string]string{jwtVariable: string(first.JWTSecret), adminVariable: first.AdminPassword, dpopVariable: hex.EncodeToString(first.DPoPSecret)} {
		if got, err := ShowSecret(t.Context(), cfg, name); err != nil || got != want {
			t.Errorf("show %s: %q %v", name, got, err)
		}
	}
	shown, err := ShowSecret(t.Context(), cfg, plcKeyVariable)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ShowSecret(t.Context(), cfg, "PDS_PORT"); !errors.Is(err, ErrNoSecret) {
		t.Errorf("unknown name: %v", err)
	}
	// The key that was shown can be put into the settings: it is the same one.
	cfg.PLCRotationKeyHex = shown
	if s, err := boot(t, cfg); err != nil || len(s.Warnings) > 0 || didKey(t, s.PLCRotationKey) != didKey(t, first.PLCRotationKey) {
		t.Errorf("shown key: %v %+v", err, s)
	}
	db, err := os.ReadFile(cfg.DatabasePath())
	raw, _ := hex.DecodeString(shown)
	if err != nil || strings.Contains(string(db), shown) || strings.Contains(string(db), string(raw)) {
		t.Errorf("the key is not sealed (%v)", err)
	}
}

func TestLostKeysAreNoticed(t *testing.T) {
	newKey := func() string {
		key, err := atcrypto.GeneratePrivateKeyK256()
		if err != nil {
			t.Fatal(err)
		}
		return hex.EncodeToString(key.Bytes())
	}
	cfg := DefaultConfig()
	cfg.DataDirectory = t.TempDir()
	cfg.PLCRotationKeyHex = newKey()
	if _, err := boot(t, cfg); err != nil {
		t.Fatal(err)
	}
	kept := cfg.PLCRotationKeyHex
	cfg.PLCRotationKeyHex = ""
	if _, err := boot(t, cfg); err == nil || !strings.Contains(err.Error(), "set it again") {
		t.Errorf("the rotation key left the settings: %v", err)
	}
	cfg.PLCRotationKeyHex = newKey()
	if s, err := boot(t, cfg); err != nil || len(s.Warnings) != 1 {
		t.Errorf("another rotation key: %v %+v", err, s)
	}
	cfg.PLCRotationKeyHex = kept
	if err := os.Rename(cfg.MasterKeyPath(), cfg.MasterKeyPath()+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := boot(t, cfg); err == nil || !strings.Contains(err.Error(), "put the copy back") {
		t.Errorf("the master key file is gone: %v", err)
	}
	cfg.MasterKeyHex = strings.Repeat("ab", seal.KeySize)
	if _, err := boot(t, cfg); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("another master key: %v", err)
	}
}

// brokenStore fails as a disk would.
type brokenStore struct{}

var errDisk = errors.New("disk is broken")

func (brokenStore) Secret(context.Context, string) ([]byte, error)  { return nil, errDisk }
func (brokenStore) SetSecret(context.Context, string, []byte) error { return errDisk }

// A key that cannot be read must never be taken for one that was never made.
func TestUnreadableSecretIsNotReplaced(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MasterKeyHex = strings.Repeat("ab", seal.KeySize)
	box, err := OpenSeal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LoadSecrets(t.Context(), cfg, box, brokenStore{}); !errors.Is(err, errDisk) {
		t.Errorf("got %v", err)
	}
}
