package pds

import (
	"archive/zip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"perch/repo"
)

// PackArchive writes an archive that a server can make an account of: a repository, from whoever had a copy, and the files of a folder, if blobs names one, each of
// which is a blob. It is checked by the server.
func PackArchive(w io.Writer, car io.Reader, blobs string) error {
	z := newExportWriter(w)
	if err := z.copy(exportCAR, car); err != nil {
		return fmt.Errorf("pack the repository: %w", err)
	}
	if blobs != "" {
		if err := z.folder(blobs); err != nil {
			return fmt.Errorf("pack the blobs: %w", err)
		}
	}
	return z.Close()
}

// exportWriter packs an archive out of what somebody has kept of an account.
type exportWriter struct {
	*zip.Writer
	blobs map[string]bool // that are in it
}

func newExportWriter(w io.Writer) *exportWriter {
	return &exportWriter{zip.NewWriter(w), make(map[string]bool)}
}

func (z *exportWriter) copy(name string, r io.Reader) error {
	w, err := exportEntry(z.Writer, name, "", time.Now())
	if err == nil {
		_, err = io.Copy(w, r)
	}
	return err
}

// folder packs every file below a folder as the blob that it is, whatever it is called.
func (z *exportWriter) folder(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return z.file(f)
	})
}

func (z *exportWriter) file(f *os.File) error {
	h := sha256.New()
	size, err := io.Copy(h, f)
	if err != nil {
		return err
	}
	name := exportBlobs + repo.BlobCIDOf([sha256.Size]byte(h.Sum(nil))).String()
	if z.blobs[name] {
		return nil
	}
	z.blobs[name] = true
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	n := &countingReader{r: f}
	if err := z.copy(name, n); err != nil {
		return err
	}
	if n.n != size {
		return errors.New(f.Name() + " changed while it was read")
	}
	return nil
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
