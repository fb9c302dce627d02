package blob

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
)

// Verify reads a blob and compares its hash with its CID. Errors: ErrNotFound, ErrCorrupt, ErrName, ctx's.
func (s *Store) Verify(ctx context.Context, did syntax.DID, c cid.Cid) error {
	f, err := s.Open(did, c)
	if err != nil {
		return err
	}
	defer f.Close()
	hash := sha256.New()
	buf := make([]byte, copyBuffer)
	for {
		n, err := f.Read(buf)
		hash.Write(buf[:n])
		if err == io.EOF {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("read blob %s: %w", c, err)
		}
	}
	if got := cidOf([sha256.Size]byte(hash.Sum(nil))); got != c {
		return fmt.Errorf("%w: %s of %s holds bytes of %s", ErrCorrupt, c, did, got)
	}
	return nil
}

// Entry is one file in the folder. Strange is set, and DID and CID are not, when the file is none of ours.
type Entry struct {
	Path    string // below the folder
	DID     syntax.DID
	CID     cid.Cid
	Size    int64 // bytes
	Strange bool
}

// Walk calls fn for every file but the temporary ones, in the order of their paths. An error of fn ends the walk and is
// returned. Memory stays small whatever the number of blobs: one account's names at a time.
func (s *Store) Walk(ctx context.Context, fn func(Entry) error) error {
	fsys := s.root.FS()
	return fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == tempDir {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // deleted meanwhile
		}
		if err != nil {
			return err
		}
		return fn(entryOf(name, info))
	})
}

// Orphans calls fn for every file of which known says false, and for every file that is no blob at all. known is asked with the
// account and CID; a blob that was uploaded during the walk has its bytes before its row, so the caller must ask again before deleting.
func (s *Store) Orphans(ctx context.Context, known func(syntax.DID, cid.Cid) (bool, error), fn func(Entry) error) error {
	return s.Walk(ctx, func(e Entry) error {
		if !e.Strange {
			if ok, err := known(e.DID, e.CID); ok || err != nil {
				return err
			}
		}
		return fn(e)
	})
}

func entryOf(name string, info fs.FileInfo) Entry {
	e := Entry{Path: name, Size: info.Size()}
	did, errDID := didOfDir(path.Base(path.Dir(name)))
	c, errCID := cid.Decode(path.Base(name))
	if errDID == nil && errCID == nil && info.Mode().IsRegular() {
		if own, err := filePath(did, c); err == nil && own == name {
			e.DID, e.CID = did, c
			return e
		}
	}
	e.Strange = true
	return e
}
