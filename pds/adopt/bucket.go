package adopt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"perch/pds/blob"
)

// FetchingBlobs is the step of Progress that counts bytes.
const FetchingBlobs = "fetching blobs"

// fetchers is the number of blobs that are fetched at once.
const fetchers = 16

// Folders of a bucket, in which there is one for each account. Uploads that no record refers to are in a third.
const (
	bucketBlobs      = "blocks"
	bucketQuarantine = "quarantine"
)

// objects are the sizes of an account's blobs in the bucket, by folder and CID.
type objects map[string]map[string]int64

// listObjects reads what the bucket holds of an account.
func (src *Source) listObjects(ctx context.Context, a *actor) (objects, error) {
	o := objects{}
	for _, folder := range []string{bucketBlobs, bucketQuarantine} {
		var err error
		if o[folder], err = src.listFolder(ctx, path.Join(folder, string(a.did))); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (src *Source) listFolder(ctx context.Context, folder string) (map[string]int64, error) {
	sizes := map[string]int64{}
	err := src.layout.Bucket.List(ctx, folder+"/", func(key string, size int64) error {
		sizes[strings.TrimPrefix(key, folder+"/")] = size
		return nil
	})
	return sizes, err
}

// foldersOf are the folders to look for a blob in; one that is taken down is in the second one as a rule.
func foldersOf(b *storedBlob) [2]string {
	if b.TakedownRef != "" {
		return [2]string{bucketQuarantine, bucketBlobs}
	}
	return [2]string{bucketBlobs, bucketQuarantine}
}

// check tells what is wrong with a blob in the bucket. Its bytes are looked at when they are fetched.
func (o objects) check(b *storedBlob) error {
	if !blob.IsCID(b.CID) {
		return errNoCID
	}
	for _, folder := range foldersOf(b) {
		size, there := o[folder][b.text]
		if there && size != b.Size {
			return fmt.Errorf("its object has %d bytes, the database says %d", size, b.Size)
		}
		if there {
			return nil
		}
	}
	return errors.New("its object is missing in the bucket")
}

// checkObjects is checkBlobs for blobs in a bucket. The error is for a bucket that cannot be read.
func (pl *planned) checkObjects(ctx context.Context, src *Source, a *actor) error {
	has, err := a.hasBlobs(ctx)
	if err != nil || !has {
		return err
	}
	found, err := src.listObjects(ctx, a)
	if err != nil {
		return &sourceError{err}
	}
	return pl.eachBlob(ctx, a, found.check)
}

// sourceError is an error that concerns no single account: nothing can be said of any.
type sourceError struct{ error }

// Unwrap gives the cause.
func (e *sourceError) Unwrap() error { return e.error }

// fetch copies the blobs that are not here from the bucket, several at once. Those that cannot be had as they should be are noted as lost.
func (im *importer) fetch(ctx context.Context) error {
	f := &fetching{importer: im, total: im.missing}
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(fetchers)
	for _, pl := range im.todo {
		_, err := im.eachMissing(within, pl, func(b *storedBlob) error {
			group.Go(func() error { return f.blob(within, pl, b) })
			return nil
		})
		if err != nil {
			return errors.Join(group.Wait(), err)
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, l := range f.lost {
		l.of.lost[l.cid] = true
		im.result.Lost = append(im.result.Lost, Finding{l.of.account.DID, fmt.Sprintf("blob %s: %v", l.cid, l.err), false})
	}
	return nil
}

// fetching is one fetch under way.
type fetching struct {
	*importer
	done  atomic.Int64 // bytes
	total int64
	lost  []lostBlob // guarded by mu
}

// lostBlob is a blob that the bucket does not have as it should be.
type lostBlob struct {
	of  *planned
	cid string
	err error
}

// blob fetches one blob. A folder that it is not in may be that of before a takedown.
func (f *fetching) blob(ctx context.Context, pl *planned, b *storedBlob) error {
	err := blob.ErrNotFound
	for _, folder := range foldersOf(b) {
		if errors.Is(err, blob.ErrNotFound) {
			err = f.object(ctx, path.Join(folder, string(pl.account.DID), b.text), pl, b)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err == nil:
		f.result.Fetched++
	case errors.Is(err, blob.ErrNotFound), errors.Is(err, blob.ErrCorrupt), errors.Is(err, blob.ErrTooLarge):
		f.lost = append(f.lost, lostBlob{pl, b.text, err})
	default:
		return fmt.Errorf("blob %s of %s: %w", b.text, pl.account.DID, err)
	}
	return nil
}

// object fetches one object and keeps it if its bytes have the CID.
func (f *fetching) object(ctx context.Context, key string, pl *planned, b *storedBlob) error {
	return f.src.layout.Bucket.Fetch(ctx, key, func(r io.Reader) error {
		counted := &countingReader{r: r, fetching: f}
		u, err := f.target.Blobs.Write(ctx, pl.account.DID, counted, "", b.Size)
		if err != nil {
			f.done.Add(-counted.n)
			return err
		}
		if u.CID != b.CID {
			u.Discard()
			return fmt.Errorf("%w: its object holds other bytes", blob.ErrCorrupt)
		}
		return u.Keep()
	})
}

// countingReader shows how far the fetching is.
type countingReader struct {
	r        io.Reader
	fetching *fetching
	n        int64
}

// Read implements io.Reader.
func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	done := c.fetching.done.Add(int64(n))
	c.fetching.progress(int(done), int(c.fetching.total), FetchingBlobs)
	return n, err
}
