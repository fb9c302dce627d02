package pds

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/pds/account"
	"perch/repo"
)

// ErrExport says that a file is no whole export of an account.
var ErrExport = errors.New("not a whole export of an account")

// VerifyExport reads an export as a server would that makes the account anew: every block's hash, the tree, the commit's signature, every record, every blob's
// hash, and that all is there that records refer to or else named as missing. The error is ErrExport. progress, unless nil, is told of bytes read.
func VerifyExport(ctx context.Context, file string, progress func(done, total int, what string)) (*ExportManifest, error) {
	x, err := openExport(file, false)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrExport, err)
	}
	defer x.Close()
	v := exportVerifier{x: x, progress: progress, keys: func(context.Context, syntax.DID) ([]string, error) { return nil, nil }}
	m, err := v.verify(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrExport, err)
	}
	return m, nil
}

// exportVerifier reads all of an export once. Memory stays flat but for the directory and the list of what is missing.
type exportVerifier struct {
	x        *exportArchive
	bare     bool
	spools   string // folder for the index of the repository; "" is that of temporary files
	progress func(done, total int, what string)
	// keys lists the keys, as did:keys, of which one must have signed the commit, beside what the manifest says; nil is any.
	keys func(context.Context, syntax.DID) ([]string, error)

	m       *ExportManifest
	missing []string // sorted
	read    int64    // bytes
}

// verify returns the manifest, which for a bare export is made of what there is.
func (v *exportVerifier) verify(ctx context.Context) (*ExportManifest, error) {
	v.m = &ExportManifest{}
	if !v.bare {
		if err := v.described(); err != nil {
			return nil, err
		}
	}
	if err := v.repository(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", exportCAR, err)
	}
	for _, f := range v.x.blobs {
		want := strings.TrimPrefix(f.Name, exportBlobs)
		if err := v.blob(ctx, f, want); err != nil {
			return nil, fmt.Errorf("blob %s: %w", want, err)
		}
	}
	return v.m, nil
}

// described reads the manifest and the preferences.
func (v *exportVerifier) described() error {
	if err := v.x.json(exportManifest, v.m); err != nil {
		return err
	}
	if v.m.Format != exportFormat {
		return fmt.Errorf("the format is %d; this program knows %d", v.m.Format, exportFormat)
	}
	if count := int64(len(v.x.blobs)); count != v.m.Blobs || v.x.blobSize != v.m.BlobBytes {
		return fmt.Errorf("there are %d blobs of %d bytes, the manifest says %d of %d", count, v.x.blobSize, v.m.Blobs, v.m.BlobBytes)
	}
	v.missing = slices.Sorted(slices.Values(v.m.Missing))
	var prefs preferencesJSON
	if err := v.x.json(exportPreferences, &prefs); err != nil {
		return err
	}
	if err := account.CheckPreferences(prefs.Preferences); err != nil {
		return fmt.Errorf("%s: %w", exportPreferences, err)
	}
	return nil
}

func (v *exportVerifier) tell(n int) {
	v.read += int64(n)
	if v.progress != nil {
		v.progress(int(v.read), int(v.x.parts[exportCAR].UncompressedSize64)+int(v.x.blobSize), "verifying")
	}
}

// told is a reader whose progress is told.
type told struct {
	ctx context.Context
	io.Reader
	tell func(int)
}

func (r told) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.tell(n)
	if err == nil {
		err = r.ctx.Err()
	}
	return n, err
}

func (v *exportVerifier) repository(ctx context.Context) error {
	car, err := v.x.car()
	if err != nil {
		return err
	}
	var spools []*os.File
	defer func() {
		for _, s := range spools {
			s.Close()
			os.Remove(s.Name())
		}
	}()
	archive, err := repo.ReadArchive(told{ctx, car, v.tell}, car, func() (repo.Spool, error) {
		s, err := os.CreateTemp(v.spools, indexPrefix)
		if err == nil {
			spools = append(spools, s)
		}
		return s, err
	}, importLimits())
	if err != nil {
		return err
	}
	head, err := archive.Head()
	if err != nil {
		return err
	}
	if err := v.head(ctx, head); err != nil {
		return err
	}
	return v.records(ctx, archive, head.Commit.Data)
}

// head sees whose the repository is, and that it was theirs to sign.
func (v *exportVerifier) head(ctx context.Context, head repo.Head) error {
	if v.bare {
		v.m.DID, v.m.Commit, v.m.Rev = head.Commit.DID, head.CID.String(), head.Commit.Rev
		v.m.Blobs, v.m.BlobBytes = int64(len(v.x.blobs)), v.x.blobSize
	}
	if head.CID.String() != v.m.Commit || head.Commit.DID != v.m.DID || head.Commit.Rev != v.m.Rev {
		return fmt.Errorf("it is commit %s of %s, not %s of %s", head.CID, head.Commit.DID, v.m.Commit, v.m.DID)
	}
	if !v.bare {
		if err := signedByAny(head.Commit, []string{v.m.SigningKey}); err != nil {
			return fmt.Errorf("%w: the manifest's key did not make it", repo.ErrSignature)
		}
	}
	keys, err := v.keys(ctx, head.Commit.DID)
	if err != nil || keys == nil {
		return err
	}
	return signedByAny(head.Commit, keys)
}

func (v *exportVerifier) records(ctx context.Context, archive *repo.Archive, data cid.Cid) error {
	count := int64(0)
	err := archive.Records(data, func(r repo.ArchiveRecord) error {
		count++
		for _, c := range repo.BlobLinks(r.Data) {
			if v.bare || v.x.blob(c.String()) != nil {
				continue
			}
			if _, named := slices.BinarySearch(v.missing, c.String()); !named {
				return fmt.Errorf("blob %s is neither there nor named as missing", c)
			}
		}
		return ctx.Err()
	})
	if v.bare {
		v.m.Records = count
	}
	if err == nil && count != v.m.Records {
		err = fmt.Errorf("it has %d records, the manifest says %d", count, v.m.Records)
	}
	return err
}

func (v *exportVerifier) blob(ctx context.Context, f *zip.File, want string) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, told{ctx, r, v.tell}); err != nil {
		return err
	}
	if got := repo.BlobCIDOf([sha256.Size]byte(h.Sum(nil))).String(); got != want {
		return fmt.Errorf("its bytes have the CID %s", got)
	}
	return nil
}
