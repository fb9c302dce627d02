package pds

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/bluesky-social/indigo/atproto/atcrypto"

	"perch/repo"
)

// ErrExport says that a file is no whole export of an account.
var ErrExport = errors.New("not a whole export of an account")

const maxExportJSON = 16 << 20 // bytes of the manifest, and of the preferences

// VerifyExport reads an export as a server would that makes the account anew: every block's hash, the tree, the commit's signature, every record, every blob's
// hash, and that all is there that records refer to or else named as missing. The error is ErrExport.
func VerifyExport(file string) (*ExportManifest, error) {
	z, err := zip.OpenReader(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrExport, err)
	}
	defer z.Close()
	raw, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	v := exportVerifier{raw: raw, entries: make(map[string]*zip.File), wanted: make(map[string]bool), m: &ExportManifest{}}
	for _, f := range z.File {
		v.entries[f.Name] = f
	}
	if err := v.all(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrExport, err)
	}
	return v.m, nil
}

type exportVerifier struct {
	raw     *os.File
	entries map[string]*zip.File
	wanted  map[string]bool // blobs that records refer to
	m       *ExportManifest
}

func (v *exportVerifier) all() error {
	if err := v.json(exportManifest, v.m); err != nil {
		return err
	}
	if v.m.Format != exportFormat {
		return fmt.Errorf("the format is %d; this program knows %d", v.m.Format, exportFormat)
	}
	var prefs preferencesJSON
	if err := v.json(exportPreferences, &prefs); err != nil {
		return err
	}
	if err := v.repository(); err != nil {
		return fmt.Errorf("%s: %w", exportCAR, err)
	}
	return v.blobs()
}

func (v *exportVerifier) entry(name string) (*zip.File, error) {
	f := v.entries[name]
	if f == nil {
		return nil, fmt.Errorf("%s is missing", name)
	}
	return f, nil
}

func (v *exportVerifier) json(name string, out any) error {
	f, err := v.entry(name)
	if err != nil {
		return err
	}
	r, err := f.Open()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxExportJSON))
	if err == nil {
		err = json.NewDecoder(bytes.NewReader(text)).Decode(out)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (v *exportVerifier) repository() error {
	f, err := v.entry(exportCAR)
	if err != nil {
		return err
	}
	if f.Method != zip.Store {
		return errors.New("it is compressed, which it must not be")
	}
	at, err := f.DataOffset()
	if err != nil {
		return err
	}
	car := io.NewSectionReader(v.raw, at, int64(f.UncompressedSize64))
	var spools []*os.File
	defer func() {
		for _, s := range spools {
			s.Close()
			os.Remove(s.Name())
		}
	}()
	archive, err := repo.ReadArchive(car, car, func() (repo.Spool, error) {
		s, err := os.CreateTemp("", "perch-index-")
		if err == nil {
			spools = append(spools, s)
		}
		return s, err
	}, importLimits())
	if err != nil {
		return err
	}
	return v.records(archive)
}

func (v *exportVerifier) records(archive *repo.Archive) error {
	head, err := archive.Head()
	if err != nil {
		return err
	}
	key, err := atcrypto.ParsePublicDIDKey(v.m.SigningKey)
	if err != nil {
		return fmt.Errorf("the manifest's signing key: %w", err)
	}
	if err := head.Commit.Verify(key); err != nil {
		return fmt.Errorf("%w: the manifest's key did not make it", repo.ErrSignature)
	}
	if head.CID.String() != v.m.Commit || head.Commit.DID != v.m.DID {
		return fmt.Errorf("it is commit %s of %s, not %s of %s", head.CID, head.Commit.DID, v.m.Commit, v.m.DID)
	}
	count := int64(0)
	err = archive.Records(head.Commit.Data, func(r repo.ArchiveRecord) error {
		count++
		for _, c := range repo.BlobLinks(r.Data) {
			v.wanted[c.String()] = true
		}
		return nil
	})
	if err == nil && count != v.m.Records {
		err = fmt.Errorf("it has %d records, the manifest says %d", count, v.m.Records)
	}
	return err
}

func (v *exportVerifier) blobs() error {
	for _, c := range v.m.Missing {
		delete(v.wanted, c)
	}
	count, size := int64(0), int64(0)
	for name, f := range v.entries {
		want, ok := strings.CutPrefix(name, exportBlobs)
		if !ok {
			continue
		}
		if err := checkExportedBlob(f, want); err != nil {
			return fmt.Errorf("blob %s: %w", want, err)
		}
		delete(v.wanted, want)
		count, size = count+1, size+int64(f.UncompressedSize64)
	}
	if count != v.m.Blobs || size != v.m.BlobBytes {
		return fmt.Errorf("there are %d blobs of %d bytes, the manifest says %d of %d", count, size, v.m.Blobs, v.m.BlobBytes)
	}
	for c := range v.wanted {
		return fmt.Errorf("blob %s is neither there nor named as missing", c)
	}
	return nil
}

func checkExportedBlob(f *zip.File, want string) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return err
	}
	if got := repo.BlobCIDOf([sha256.Size]byte(h.Sum(nil))).String(); got != want {
		return fmt.Errorf("its bytes have the CID %s", got)
	}
	return nil
}
