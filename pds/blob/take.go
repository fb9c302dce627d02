package blob

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
)

// Take puts a file of another server's into the place of a blob: as a hard link if link is set and the file system can, else as a copy. The caller has verified
// its bytes; size is what they should be. A blob of that size that is there already stays. Nothing is synced until SyncAll. It returns whether it is a link.
//
// A link shares its bytes with the other server's file, which is safe, because neither changes a blob in place.
func (s *Store) Take(did syntax.DID, c cid.Cid, file string, size int64, link bool) (linked bool, err error) {
	name, err := filePath(did, c)
	if err != nil {
		return false, err
	}
	if have, err := s.root.Stat(name); err == nil && have.Size() == size {
		theirs, err := os.Stat(file)
		return err == nil && os.SameFile(have, theirs), nil
	}
	if err := s.makeAccountDir(path.Dir(name)); err != nil {
		return false, fmt.Errorf("take blob %s: %w", c, err)
	}
	if link && isRegular(file) && os.Link(file, filepath.Join(s.root.Name(), filepath.FromSlash(name))) == nil {
		return true, nil
	}
	return false, s.copyIn(file, name, size)
}

// isRegular tells whether a name is a file's own, and no symbolic link: a hard link to such would lead out of the folder.
func isRegular(file string) bool {
	info, err := os.Lstat(file)
	return err == nil && info.Mode().IsRegular()
}

// copyIn copies file to name, by way of a temporary file.
func (s *Store) copyIn(file, name string, size int64) error {
	from, err := os.Open(file)
	if err != nil {
		return err
	}
	defer from.Close()
	temp := path.Join(tempDir, rand.Text())
	to, err := s.root.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	n, err := io.Copy(to, from)
	if err == nil && n != size {
		err = fmt.Errorf("%w: %s has %d bytes, want %d", ErrCorrupt, file, n, size)
	}
	if err == nil {
		err = to.Sync()
	}
	if err = errors.Join(err, to.Close()); err == nil {
		err = s.root.Rename(temp, name)
	}
	if err != nil {
		_ = s.root.Remove(temp)
	}
	return err
}

// SyncAll returns when all that Take has done will survive a power cut.
func (s *Store) SyncAll() error {
	if err := syncSystem(); err != nil {
		return err
	}
	return fs.WalkDir(s.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return s.syncDir(name)
	})
}
