// Package blob keeps the bytes of blobs on disk, addressed by the account's DID and the CID of the content.
//
//	<dir>/<first 2 hex digits of sha256(did)>/<did>/<cid>     a blob
//	<dir>/tmp/<random>                                        an upload under way
//
// An upload is streamed to a temporary file while it is hashed, counted and its type is found out; Keep syncs it and renames it
// into place. So a file under its CID is always whole, and an upload that fails leaves nothing but a temporary file, which the
// next start removes. Which blobs exist, and whether they are public, the database says; this package only holds bytes.
package blob

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
)

const (
	dirMode    = 0o700
	fileMode   = 0o600
	tempDir    = "tmp"
	maxDIDName = 255 // bytes: what every file system takes as a file's name
	// tempAge is how long a temporary file must have been untouched before Open takes it for a leftover.
	tempAge = time.Hour

	sha256Code   = 0x12 // multihash code and length of a CID that blobs may have
	sha256Length = 0x20
)

var (
	// ErrNotFound: there is no such blob for this account.
	ErrNotFound = errors.New("blob not found")
	// ErrTooLarge: the upload is larger than the limit given.
	ErrTooLarge = errors.New("blob is too large")
	// ErrName: the DID or CID cannot name a blob.
	ErrName = errors.New("not a name of a blob")
	// ErrCorrupt: the bytes on disk do not have the CID they are stored under.
	ErrCorrupt = errors.New("blob is damaged")
)

// Store is a folder of blobs. It is safe for use by several goroutines.
type Store struct {
	root  *os.Root // nothing outside the folder can be reached, whatever a name or a symbolic link says
	space func(dir string) (free, total uint64, err error)
}

// Open opens the folder, making it if needed, and removes uploads that were left unfinished for an hour or more.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("make blob folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open blob folder: %w", err)
	}
	s := &Store{root: root, space: diskSpace}
	if err := root.MkdirAll(tempDir, dirMode); err != nil {
		root.Close()
		return nil, fmt.Errorf("make blob folder: %w", err)
	}
	if err := s.RemoveTemp(time.Now().Add(-tempAge)); err != nil {
		root.Close()
		return nil, err
	}
	return s, nil
}

// Close releases the folder. Files that are open stay readable.
func (s *Store) Close() error { return s.root.Close() }

// RemoveTemp deletes uploads that were last written to before the time given. A server that has the folder to itself may pass
// the time of its start.
func (s *Store) RemoveTemp(before time.Time) error {
	names, err := fs.ReadDir(s.root.FS(), tempDir)
	if err != nil {
		return fmt.Errorf("read blob folder: %w", err)
	}
	for _, e := range names {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // its upload has just ended
		}
		if err == nil && info.ModTime().Before(before) {
			err = s.root.Remove(path.Join(tempDir, e.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove leftover upload: %w", err)
		}
	}
	return nil
}

// File is a stored blob open for reading. It serves http.ServeContent.
type File struct {
	*os.File
	Size    int64 // bytes
	ModTime time.Time
}

// Open opens a blob for reading. The error is ErrNotFound also for a name that no blob can have (then it is ErrName too).
func (s *Store) Open(did syntax.DID, c cid.Cid) (*File, error) {
	name, err := filePath(did, c)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	f, err := s.root.Open(name)
	if err != nil {
		return nil, notFound(c, err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("read blob %s: %w", c, err)
	}
	return &File{File: f, Size: info.Size(), ModTime: info.ModTime()}, nil
}

// Size returns the length of a blob in bytes. Errors as Open's.
func (s *Store) Size(did syntax.DID, c cid.Cid) (int64, error) {
	name, err := filePath(did, c)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	info, err := s.root.Stat(name)
	if err != nil {
		return 0, notFound(c, err)
	}
	return info.Size(), nil
}

// Delete removes a blob. A blob that is not there is no error, so that a repeated job ends well.
func (s *Store) Delete(did syntax.DID, c cid.Cid) error {
	name, err := filePath(did, c)
	if err != nil {
		return err
	}
	if err := s.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete blob %s: %w", c, err)
	}
	return nil
}

// DeleteAll removes every blob of an account.
func (s *Store) DeleteAll(did syntax.DID) error {
	dir, err := accountDir(did)
	if err != nil {
		return err
	}
	if err := s.root.RemoveAll(dir); err != nil {
		return fmt.Errorf("delete blobs of %s: %w", did, err)
	}
	return nil
}

func notFound(c cid.Cid, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrNotFound, c)
	}
	return fmt.Errorf("read blob %s: %w", c, err)
}

// filePath is the place of a blob below the root.
func filePath(did syntax.DID, c cid.Cid) (string, error) {
	dir, err := accountDir(did)
	if err != nil {
		return "", err
	}
	if !IsCID(c) {
		return "", fmt.Errorf("%w: CID %s", ErrName, c)
	}
	return path.Join(dir, c.String()), nil
}

// accountDir is the folder of an account. A DID holds no slash and is longer than "..", but it is parsed again here, because
// this is where a mistake elsewhere would become a file in the wrong place.
func accountDir(did syntax.DID) (string, error) {
	if len(did) > maxDIDName {
		return "", fmt.Errorf("%w: DID of %d bytes", ErrName, len(did))
	}
	if _, err := syntax.ParseDID(string(did)); err != nil {
		return "", fmt.Errorf("%w: %w", ErrName, err)
	}
	return path.Join(shard(did), dirName(did)), nil
}

func shard(did syntax.DID) string {
	sum := sha256.Sum256([]byte(did))
	return hex.EncodeToString(sum[:1])
}

// Windows takes no colon in a name; '+' is in no DID.
const otherColon = "+"

func dirName(did syntax.DID) string {
	if runtime.GOOS == "windows" {
		return strings.ReplaceAll(string(did), ":", otherColon)
	}
	return string(did)
}

func didOfDir(name string) (syntax.DID, error) {
	if runtime.GOOS == "windows" {
		name = strings.ReplaceAll(name, otherColon, ":")
	}
	return syntax.ParseDID(name)
}

// IsCID tells whether c is CIDv1, raw, sha-256: the form of a blob's CID in the data model. Imported records may refer to
// blobs by CIDs of DAG-CBOR or dag-pb; those are never uploaded here, for Write makes raw ones.
func IsCID(c cid.Cid) bool {
	if !c.Defined() || c.Version() != 1 || c.Type() != cid.Raw {
		return false
	}
	h := c.Hash()
	return len(h) == sha256Length+2 && h[0] == sha256Code && h[1] == sha256Length
}

func cidOf(sum [sha256.Size]byte) cid.Cid {
	c, err := cid.Cast(append([]byte{1, cid.Raw, sha256Code, sha256Length}, sum[:]...))
	if err != nil {
		panic("CID of a sha-256: " + err.Error()) // the prefix is a constant
	}
	return c
}
