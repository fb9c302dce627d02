package pds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity"
	"perch/identity/plc"
	"perch/lexicons"
	"perch/pds/account"
	"perch/pds/store"
	"perch/pds/web"
	"perch/xrpc"
)

// forPage gives an error the form in which the pages know it.
func forPage(err error) error {
	var invalid *lexicons.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errNoEmail):
		return fmt.Errorf("%w: %w", web.ErrNoEmail, err)
	case errors.Is(err, plc.ErrUnavailable), errors.Is(err, plc.ErrRateLimited):
		return fmt.Errorf("%w: %w", web.ErrDirectory, err)
	case errors.As(err, &invalid):
		return fmt.Errorf("%w: %w", web.ErrProfile, err)
	}
	var wire *xrpc.Error
	if !errors.As(err, &wire) {
		wire = wireError(err)
	}
	switch {
	case wire == nil:
		return err
	case wire.Status == http.StatusTooManyRequests || wire.Status == http.StatusServiceUnavailable:
		return fmt.Errorf("%w: %w", web.ErrBusy, err)
	case wire.Status >= http.StatusInternalServerError:
		return err
	}
	return &web.Refused{Message: wire.Message, Err: err}
}

// SendCode implements web.AccountHost.
func (h pageHost) SendCode(ctx context.Context, acct *store.Account, purpose account.Purpose) error {
	return forPage(h.s.mailCode(ctx, acct, purpose))
}

// ChangeEmail implements web.AccountHost.
func (h pageHost) ChangeEmail(ctx context.Context, acct *store.Account, email, code string) error {
	return tooManyForPage(h.s.tellingTaken(ctx, func() error { return h.s.accounts.UpdateEmail(ctx, acct.ID, email, code, nil) }))
}

// ChangeHandle implements web.AccountHost.
func (h pageHost) ChangeHandle(ctx context.Context, acct *store.Account, handle string) error {
	return forPage(h.s.changeHandle(ctx, acct, handle, false))
}

// InspectHandle implements web.AccountHost.
func (h pageHost) InspectHandle(ctx context.Context, handle syntax.Handle) (identity.HandleReport, error) {
	return h.s.identity.InspectHandle(ctx, handle)
}

// Storage implements web.AccountHost.
func (h pageHost) Storage(ctx context.Context, acct *store.Account) (web.Storage, error) {
	_, stats, err := h.s.store.Head(ctx, acct.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return web.Storage{}, forPage(err)
	}
	blobs, err := h.s.store.BlobStats(ctx, acct.ID)
	return web.Storage{
		Records: stats.Records, RecordBytes: stats.Bytes, Blobs: blobs.Imported, BlobBytes: blobs.Bytes, ExportBytes: exportSize(stats, blobs),
	}, err
}

// Download implements web.AccountHost. It takes a place among those who read whole repositories, and no more time than they get.
func (h pageHost) Download(ctx context.Context, acct *store.Account, kind web.DownloadKind) (*web.Download, error) {
	leave, err := h.s.exports.enter(ctx, true)
	if err != nil {
		return nil, forPage(err)
	}
	snap, err := h.s.store.Snapshot(ctx, acct.ID)
	if err != nil {
		leave()
		return nil, forPage(err)
	}
	d := &web.Download{Type: "application/zip", Close: func() { snap.Close(); leave() }}
	d.Write = func(w io.Writer) error {
		return h.s.writeExport(ctx, &pacedWriter{w: w, begun: time.Now()}, acct, snap)
	}
	if kind == web.DownloadRepo {
		d.Type = carType
		d.Write = func(w io.Writer) error { return writeRepo(w, snap, "") }
	}
	return d, nil
}

// Deactivate implements web.AccountHost.
func (h pageHost) Deactivate(ctx context.Context, acct *store.Account, deleteAfter time.Time) error {
	return forPage(h.s.deactivate(ctx, acct, deleteAfter))
}

// Delete implements web.AccountHost.
func (h pageHost) Delete(ctx context.Context, acct *store.Account, password, code string) error {
	return forPage(h.s.deleteByOwner(ctx, acct.DID, password, code))
}
