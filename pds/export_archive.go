package pds

import (
	"archive/zip"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"
)

const (
	maxExportJSON      = 16 << 20 // bytes of the manifest, and of the preferences
	maxExportDirectory = 32 << 20 // bytes of the ZIP file's directory, which is held in memory: some 250,000 blobs
)

// exportArchive is the ZIP file of an export, from whoever. Its directory has been checked: it names nothing but what an export has, each once, in its plain
// form, uncompressed, and in sum no larger than the file.
type exportArchive struct {
	file     *os.File
	parts    map[string]*zip.File // all but the blobs
	blobs    []*zip.File          // by their names
	blobSize int64
}

// openExport opens a file as an export. A bare one, which has a repository and maybe blobs, has neither manifest nor preferences.
func openExport(name string, bare bool) (*exportArchive, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	x := &exportArchive{file: f, parts: make(map[string]*zip.File)}
	if err := x.readDirectory(bare); err != nil {
		f.Close()
		return nil, err
	}
	return x, nil
}

// Close closes the file.
func (x *exportArchive) Close() error { return x.file.Close() }

// boundedReaderAt fails when more than left bytes have been read.
type boundedReaderAt struct {
	io.ReaderAt
	left int64
}

func (b *boundedReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, fmt.Errorf("its directory has more than %d MB", maxExportDirectory>>20)
	}
	return b.ReaderAt.ReadAt(p, off)
}

func (x *exportArchive) readDirectory(bare bool) error {
	info, err := x.file.Stat()
	if err != nil {
		return err
	}
	bounded := &boundedReaderAt{x.file, maxExportDirectory}
	z, err := zip.NewReader(bounded, info.Size())
	if err != nil {
		return err
	}
	bounded.left = math.MaxInt64
	total := uint64(0)
	for _, f := range z.File {
		if f.Method != zip.Store || f.CompressedSize64 != f.UncompressedSize64 {
			return fmt.Errorf("%.100q is compressed, which it must not be", f.Name)
		}
		if total += f.UncompressedSize64; total > uint64(info.Size()) || f.UncompressedSize64 > uint64(info.Size()) {
			return errors.New("its parts are larger than the file")
		}
		if err := x.add(f, bare); err != nil {
			return err
		}
	}
	slices.SortFunc(x.blobs, func(a, b *zip.File) int { return cmp.Compare(a.Name, b.Name) })
	for i, f := range x.blobs {
		if i > 0 && f.Name == x.blobs[i-1].Name {
			return fmt.Errorf("%s is there twice", f.Name)
		}
	}
	return nil
}

// add takes one entry of the directory.
func (x *exportArchive) add(f *zip.File, bare bool) error {
	if name, ok := strings.CutPrefix(f.Name, exportBlobs); ok {
		if c, err := cid.Decode(name); err != nil || c.String() != name {
			return fmt.Errorf("%.100q is no name of a blob", f.Name)
		}
		x.blobs, x.blobSize = append(x.blobs, f), x.blobSize+int64(f.UncompressedSize64)
		return nil
	}
	if f.Name != exportCAR && (bare || f.Name != exportPreferences && f.Name != exportManifest) {
		return fmt.Errorf("%.100q is nothing that belongs there", f.Name)
	}
	if x.parts[f.Name] != nil {
		return fmt.Errorf("%s is there twice", f.Name)
	}
	x.parts[f.Name] = f
	return nil
}

// blob finds a blob; nil if it is not there.
func (x *exportArchive) blob(c string) *zip.File {
	i, ok := slices.BinarySearchFunc(x.blobs, exportBlobs+c, func(f *zip.File, name string) int { return cmp.Compare(f.Name, name) })
	if !ok {
		return nil
	}
	return x.blobs[i]
}

func (x *exportArchive) part(name string) (*zip.File, error) {
	f := x.parts[name]
	if f == nil {
		return nil, fmt.Errorf("%s is missing", name)
	}
	return f, nil
}

// json reads one of the two small parts.
func (x *exportArchive) json(name string, out any) error {
	f, err := x.part(name)
	if err != nil {
		return err
	}
	if f.UncompressedSize64 > maxExportJSON {
		return fmt.Errorf("%s has more than %d MB", name, maxExportJSON>>20)
	}
	r, err := f.Open()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err == nil {
		err = json.Unmarshal(text, out)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// car returns the repository, which can be read in place.
func (x *exportArchive) car() (*io.SectionReader, error) {
	f, err := x.part(exportCAR)
	if err != nil {
		return nil, err
	}
	at, err := f.DataOffset()
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(x.file, at, int64(f.UncompressedSize64)), nil
}
