package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"os"
	"path"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/gabriel-vasile/mimetype"
	"github.com/ipfs/go-cid"
)

const (
	sniffBytes  = 3072 // what mimetype looks at
	copyBuffer  = 64 << 10
	maxMIMEType = 255 // bytes kept of a client's content type
	unknownType = "application/octet-stream"
	anyType     = "*/*"
)

// Upload is a blob that has been received and is not yet in its place. One of Keep and Discard must be called; Discard after
// Keep does nothing.
type Upload struct {
	CID      cid.Cid
	MimeType string // found in the bytes, or else as the client said
	Size     int64  // bytes

	store *Store
	did   syntax.DID
	temp  string // path below the root; "" once kept or discarded
}

// Write streams r to a temporary file while hashing it. contentType is what the client says the type is; it counts only when
// the bytes do not tell. Errors: ErrTooLarge when there are more than limit bytes, ErrDiskFull, ErrName, ctx's, and those of r.
func (s *Store) Write(ctx context.Context, did syntax.DID, r io.Reader, contentType string, limit int64) (*Upload, error) {
	if _, err := accountDir(did); err != nil {
		return nil, err
	}
	if err := s.checkSpace(); err != nil {
		return nil, err
	}
	temp := path.Join(tempDir, rand.Text())
	f, err := s.root.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
	if err != nil {
		return nil, fmt.Errorf("begin upload: %w", err)
	}
	u := &Upload{store: s, did: did, temp: temp}
	err = u.receive(ctx, f, r, contentType, limit)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		u.Discard()
		return nil, err
	}
	return u, nil
}

func (u *Upload) receive(ctx context.Context, w io.Writer, r io.Reader, contentType string, limit int64) error {
	hash := sha256.New()
	head := &bytes.Buffer{}
	buf := make([]byte, copyBuffer)
	look := int64(spaceStep)
	for {
		n, err := r.Read(buf)
		if u.Size += int64(n); u.Size > limit {
			return fmt.Errorf("%w: over %d bytes", ErrTooLarge, limit)
		}
		hash.Write(buf[:n])
		head.Write(buf[:min(n, sniffBytes-head.Len())])
		if _, werr := w.Write(buf[:n]); werr != nil {
			return fmt.Errorf("write upload: %w", werr)
		}
		if u.Size >= look {
			if err := u.store.checkSpace(); err != nil {
				return err
			}
			look += spaceStep
		}
		if err == io.EOF {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("receive upload: %w", err)
		}
	}
	u.CID = cidOf([sha256.Size]byte(hash.Sum(nil)))
	u.MimeType = typeOf(head.Bytes(), contentType)
	return nil
}

// Keep moves the blob to its place and returns when that will survive a power cut. A blob that is there already is replaced by
// the same bytes, which repairs a damaged one.
func (u *Upload) Keep() error {
	if u.temp == "" {
		return errors.New("upload was kept or discarded before")
	}
	name, err := filePath(u.did, u.CID)
	if err != nil {
		return err
	}
	if err := u.store.makeAccountDir(path.Dir(name)); err != nil {
		return fmt.Errorf("keep blob %s: %w", u.CID, err)
	}
	if err := u.store.root.Rename(u.temp, name); err != nil {
		return fmt.Errorf("keep blob %s: %w", u.CID, err)
	}
	u.temp = ""
	if err := u.store.syncDir(path.Dir(name)); err != nil {
		return fmt.Errorf("keep blob %s: %w", u.CID, err)
	}
	return nil
}

// Discard removes the temporary file of an upload that was not kept.
func (u *Upload) Discard() {
	if u.temp == "" {
		return
	}
	_ = u.store.root.Remove(u.temp) // what stays is removed at the next start
	u.temp = ""
}

// makeAccountDir makes shard/did and syncs the entries of each new folder in its parent.
func (s *Store) makeAccountDir(dir string) error {
	if _, err := s.root.Stat(dir); err == nil {
		return nil
	}
	if err := s.root.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	return errors.Join(s.syncDir(path.Dir(dir)), s.syncDir("."))
}

func (s *Store) syncDir(dir string) error {
	d, err := s.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// typeOf names the media type of a blob. As in the reference, a signature in the bytes wins; text has no signature, so there, and for
// unknown bytes, the client's word counts.
func typeOf(head []byte, contentType string) string {
	found := mimetype.Detect(head)
	claimed := clientType(contentType)
	if isText(found) || found.Is(unknownType) {
		if claimed != "" {
			return claimed
		}
	}
	name, _, _ := strings.Cut(found.String(), ";") // without "; charset=utf-8"
	return name
}

func isText(m *mimetype.MIME) bool {
	for ; m != nil; m = m.Parent() {
		if m.Is("text/plain") {
			return true
		}
	}
	return false
}

// clientType is the type and subtype of a Content-Type header, in lower case; "" when it says nothing.
func clientType(header string) string {
	name, _, err := mime.ParseMediaType(header)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return ""
	}
	if name == anyType || len(name) > maxMIMEType || !strings.Contains(name, "/") {
		return ""
	}
	return name
}
