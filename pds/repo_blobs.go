package pds

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"perch/pds/auth"
	"perch/pds/blob"
	"perch/pds/store"
	"perch/xrpc"
)

// uploadBlob streams the body to disk. The blob stays private until a record refers to it, and goes after a day if none does.
func (s *Server) uploadBlob(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	if err := mayUpload(ctx, r.Header.Get("Content-Type")); err != nil {
		return err
	}
	acct, err := s.store.AccountByDID(ctx, auth.From(ctx).DID)
	if err != nil {
		return err
	}
	up, err := s.blobs.Write(ctx, acct.DID, &stillAllowed{ctx, r.Body}, r.Header.Get("Content-Type"), s.cfg.BlobUploadLimit)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return &xrpc.Error{Status: 400, Name: xrpc.NameInvalidRequest, Message: "The body ended before all of it had come", Err: err}
	}
	if err != nil {
		return err
	}
	defer up.Discard()
	if err := mayUpload(ctx, up.MimeType); err != nil { // what it is, whatever the header said
		return err
	}
	if r.ContentLength >= 0 && up.Size != r.ContentLength {
		return xrpc.InvalidRequest("The body held %d bytes, but Content-Length said %d", up.Size, r.ContentLength)
	}
	meta, err := s.keepBlob(ctx, acct, up)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(map[string]any{"blob": blobRefJSON(meta)})
}

// mayUpload asks whether the caller may upload blobs of the MIME type. A service token is made for this method, and so may.
func mayUpload(ctx context.Context, mime string) error {
	if p := auth.From(ctx); p.Kind != auth.Service {
		return p.May(auth.Upload(mime))
	}
	return nil
}

// keepBlob makes an upload permanent: bytes first, row second, so that a row never lacks its bytes. A blob that is there already stays as it is.
func (s *Server) keepBlob(ctx context.Context, acct *store.Account, up *blob.Upload) (store.Blob, error) {
	unlock := s.store.LockBlobs(acct.ID)
	defer unlock()
	// Under the lock, because the account may have been deleted while the body came in, and then nobody would come for the blob.
	now, err := s.store.AccountByID(ctx, acct.ID)
	if errors.Is(err, store.ErrNotFound) || err == nil && !now.DeletedAt.IsZero() {
		return store.Blob{}, auth.ErrAccountNotFound
	}
	if err != nil {
		return store.Blob{}, err
	}
	old, err := s.store.Blob(ctx, acct.ID, up.CID)
	switch {
	case err == nil && old.TakedownRef != "":
		return store.Blob{}, &xrpc.Error{Status: 400, Name: "InvalidRequest", Message: "Blob has been takendown, cannot re-upload"}
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return store.Blob{}, err
	}
	if err := up.Keep(); err != nil {
		return store.Blob{}, err
	}
	// The bytes are in place: a client that goes now must not leave them without their row.
	return s.store.PutBlob(context.WithoutCancel(ctx), acct.ID, store.Blob{CID: up.CID, MimeType: up.MimeType, Size: up.Size})
}

func blobRefJSON(b store.Blob) map[string]any {
	return map[string]any{
		"$type":    "blob",
		"ref":      map[string]string{"$link": b.CID.String()},
		"mimeType": b.MimeType,
		"size":     b.Size,
	}
}

type listMissingBlobsOutput struct {
	Cursor string            `json:"cursor,omitempty"`
	Blobs  []missingBlobJSON `json:"blobs"`
}

type missingBlobJSON struct {
	CID       string `json:"cid"`
	RecordURI string `json:"recordUri"`
}

func (s *Server) listMissingBlobs(ctx context.Context, p *pageParams) (*listMissingBlobsOutput, error) {
	acct, err := s.store.AccountByDID(ctx, auth.From(ctx).DID)
	if err != nil {
		return nil, err
	}
	after, err := blobCursor(p.Cursor)
	if err != nil {
		return nil, err
	}
	missing, err := s.store.MissingBlobs(ctx, acct.ID, after, int(p.Limit)+1)
	if err != nil {
		return nil, err
	}
	out := &listMissingBlobsOutput{Blobs: make([]missingBlobJSON, 0, len(missing))}
	for i, m := range missing {
		if i == int(p.Limit) {
			out.Cursor = out.Blobs[i-1].CID
			break
		}
		out.Blobs = append(out.Blobs, missingBlobJSON{CID: m.CID.String(), RecordURI: recordURI(acct.DID, m.Path)})
	}
	return out, nil
}
