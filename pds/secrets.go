package pds

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/bluesky-social/indigo/atproto/atcrypto"

	"perch/pds/seal"
	"perch/pds/store"
)

// The variables of the secrets that the server makes when they are not given.
const (
	jwtVariable    = "PDS_JWT_SECRET"
	adminVariable  = "PDS_ADMIN_PASSWORD"
	plcKeyVariable = "PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX"
	dpopVariable   = "PDS_DPOP_SECRET"
)

// Names in the store's table of secrets. They are the associated data of the seal too, so they never change.
const (
	plcKeySecret = "plc-rotation-key"     // 32 bytes
	plcKeySeen   = "plc-rotation-key-did" // did:key of the key in use, to notice that another one has been put in its place
)

// ErrNoSecret says that there is no secret of that name.
var ErrNoSecret = errors.New("no such secret")

// Secrets are what the server signs and checks with.
type Secrets struct {
	JWTSecret      []byte // as given: the reference takes the text itself
	AdminPassword  string
	PLCRotationKey atcrypto.PrivateKey
	DPoPSecret     []byte   // 32 bytes
	Warnings       []string // lines for the operator
}

// secretStore is what this file needs of the store.
type secretStore interface {
	Secret(ctx context.Context, name string) ([]byte, error)
	SetSecret(ctx context.Context, name string, sealed []byte) error
}

// OpenSeal returns the box that seals what the database keeps, under the master key of the settings. It makes the key file, and
// the data folder, when they are missing and the database is too; a database without its key is an error, not a reason for a new key.
func OpenSeal(cfg *Config) (*seal.Box, error) {
	if cfg.MasterKeyHex != "" {
		return seal.Parse(cfg.MasterKeyHex)
	}
	path := cfg.MasterKeyPath()
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat(cfg.DatabasePath()); err == nil {
			return nil, fmt.Errorf("the master key file %s is missing, but the database %s needs it: put the copy back, or name it with PDS_MASTER_KEY_FILE",
				path, cfg.DatabasePath())
		}
	}
	if err := makeDataFolder(cfg); err != nil {
		return nil, err
	}
	return seal.Load(path)
}

// openSealMade is OpenSeal for a server that has run before. It makes nothing.
func openSealMade(cfg *Config) (*seal.Box, error) {
	_, noKey := os.Stat(cfg.MasterKeyPath())
	_, noDatabase := os.Stat(cfg.DatabasePath())
	if cfg.MasterKeyHex == "" && errors.Is(noKey, fs.ErrNotExist) && errors.Is(noDatabase, fs.ErrNotExist) {
		return nil, fmt.Errorf("the server makes its secrets at its first start, or it runs on another data folder: %w", noKey)
	}
	box, err := OpenSeal(cfg)
	return box, writableHint(cfg, err)
}

func makeDataFolder(cfg *Config) error {
	if err := os.MkdirAll(cfg.DataDirectory, 0o700); err != nil {
		return fmt.Errorf("make the data folder (PDS_DATA_DIRECTORY): %w", err)
	}
	return nil
}

// LoadSecrets returns the secrets of the settings. Those that are not given are made from the master key, and so need no storage
// and can be shown while the server runs; only the PLC rotation key, which must outlive a change of the master key, is random
// and kept sealed in the store.
func LoadSecrets(ctx context.Context, cfg *Config, box *seal.Box, st secretStore) (*Secrets, error) {
	s := &Secrets{JWTSecret: []byte(jwtSecret(cfg, box)), AdminPassword: adminPassword(cfg, box)}
	var err error
	if s.DPoPSecret, err = hex.DecodeString(dpopSecret(cfg, box)); err != nil {
		return nil, fmt.Errorf("%s: %w", dpopVariable, err)
	}
	if s.PLCRotationKey, err = rotationKey(ctx, cfg, box, st); err != nil {
		return nil, err
	}
	return s, s.noteRotationKey(ctx, cfg, box, st)
}

func jwtSecret(cfg *Config, box *seal.Box) string {
	return given(cfg.JWTSecret, func() string { return hex.EncodeToString(box.Derive("jwt secret")) })
}

func adminPassword(cfg *Config, box *seal.Box) string {
	return given(cfg.AdminPassword, func() string { return hex.EncodeToString(box.Derive("admin password")[:16]) })
}

func dpopSecret(cfg *Config, box *seal.Box) string {
	return given(cfg.DPoPSecretHex, func() string { return hex.EncodeToString(box.Derive("dpop secret")) })
}

func given(value string, make func() string) string {
	if value != "" {
		return value
	}
	return make()
}

// rotationKey returns the key of the settings, or the one in the store, or makes that.
func rotationKey(ctx context.Context, cfg *Config, box *seal.Box, st secretStore) (atcrypto.PrivateKey, error) {
	if cfg.PLCRotationKeyHex != "" {
		key, err := parseK256(cfg.PLCRotationKeyHex)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", plcKeyVariable, err)
		}
		return key, nil
	}
	raw, err := openSecret(ctx, box, st, plcKeySecret)
	if err == nil {
		return atcrypto.ParsePrivateBytesK256(raw)
	}
	if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if seen, err := openSecret(ctx, box, st, plcKeySeen); err == nil {
		return nil, fmt.Errorf("%s is missing: this server has used the key %s, and its accounts' DIDs can be changed with no other; set it again",
			plcKeyVariable, seen)
	} else if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	key, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		return nil, err
	}
	if err := st.SetSecret(ctx, plcKeySecret, box.Seal(plcKeySecret, key.Bytes())); err != nil {
		return nil, fmt.Errorf("keep PLC rotation key: %w", err)
	}
	return key, nil
}

func openSecret(ctx context.Context, box *seal.Box, st secretStore, name string) ([]byte, error) {
	sealed, err := st.Secret(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("read secret %s: %w", name, err)
	}
	raw, err := box.Open(name, sealed)
	if err != nil {
		return nil, fmt.Errorf("the database was sealed with another master key: give it that one (PDS_MASTER_KEY_FILE or PDS_MASTER_KEY_HEX): %w", err)
	}
	return raw, nil
}

// noteRotationKey keeps the public half of the rotation key in use, and warns when it is another one than before.
func (s *Secrets) noteRotationKey(ctx context.Context, cfg *Config, box *seal.Box, st secretStore) error {
	pub, err := s.PLCRotationKey.PublicKey()
	if err != nil {
		return err
	}
	seen, err := openSecret(ctx, box, st, plcKeySeen)
	switch {
	case err == nil && string(seen) == pub.DIDKey():
		return nil
	case err == nil:
		s.Warnings = append(s.Warnings, fmt.Sprintf("%s is another key (%s) than before (%s): keep the old one, the DIDs of older accounts can be changed with no other",
			plcKeyVariable, pub.DIDKey(), seen))
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	if err := st.SetSecret(ctx, plcKeySeen, box.Seal(plcKeySeen, []byte(pub.DIDKey()))); err != nil {
		return fmt.Errorf("note PLC rotation key: %w", err)
	}
	return nil
}

// SecretNames are the secrets that ShowSecret knows.
func SecretNames() []string {
	return []string{jwtVariable, adminVariable, plcKeyVariable, dpopVariable}
}

// ShowSecret returns a secret as it would be written in the settings file. The PLC rotation key, unless it is given there, is read
// from the database, which must not be in use (store.ErrLocked). It makes nothing. The error for an unknown name is ErrNoSecret.
func ShowSecret(ctx context.Context, cfg *Config, name string) (string, error) {
	given, known := map[string]string{
		jwtVariable: cfg.JWTSecret, adminVariable: cfg.AdminPassword, plcKeyVariable: cfg.PLCRotationKeyHex, dpopVariable: cfg.DPoPSecretHex,
	}[name]
	if !known {
		return "", ErrNoSecret
	}
	if given != "" {
		return given, nil
	}
	box, err := openSealMade(cfg)
	if err != nil {
		return "", err
	}
	switch name {
	case jwtVariable:
		return jwtSecret(cfg, box), nil
	case adminVariable:
		return adminPassword(cfg, box), nil
	case dpopVariable:
		return dpopSecret(cfg, box), nil
	default:
		return showRotationKey(ctx, cfg, box)
	}
}

func showRotationKey(ctx context.Context, cfg *Config, box *seal.Box) (string, error) {
	if _, err := os.Stat(cfg.DatabasePath()); err != nil {
		return "", fmt.Errorf("the key is made at the first start: %w", err)
	}
	st, err := store.Open(ctx, store.Options{Path: cfg.DatabasePath()})
	if err != nil {
		return "", writableHint(cfg, err)
	}
	defer st.Close()
	raw, err := openSecret(ctx, box, st, plcKeySecret)
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(raw), nil
}
