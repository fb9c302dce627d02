package pds

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/pds/blob"
	"perch/pds/store"
	"perch/xrpc"
)

// blobCaching lets every cache keep a public blob. Its bytes never change, but it may be deleted or taken down, so not for longer than a day.
const blobCaching = "public, max-age=86400, immutable"

// getBlob serves a public blob. Its bytes never change under its CID, so caches may keep them; the security headers keep a
// browser from running what a stranger uploaded.
func (s *Server) getBlob(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	acct, err := s.syncRepo(r.Context(), syntax.DID(q.Get("did")))
	if err != nil {
		return err
	}
	c, err := cid.Decode(q.Get("cid"))
	if err != nil {
		return xrpc.InvalidRequest("cid is not a CID")
	}
	meta, err := s.store.Blob(r.Context(), acct.ID, c)
	if errors.Is(err, store.ErrNotFound) || err == nil && (!meta.Referenced || meta.TakedownRef != "") {
		return &xrpc.Error{Status: 400, Name: "BlobNotFound", Message: "Blob not found"}
	}
	if err != nil {
		return err
	}
	f, err := s.blobs.Open(acct.DID, c)
	if errors.Is(err, blob.ErrNotFound) {
		return &xrpc.Error{Status: 400, Name: "BlobNotFound", Message: "Blob not found", Err: err}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	h := w.Header()
	h.Set("Content-Type", meta.MimeType)
	h.Set("Content-Disposition", `attachment; filename="`+c.String()+`"`)
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("ETag", `"`+c.String()+`"`)
	if acct.Active() {
		h.Del("Vary") // a public blob is the same for all
		h.Set("Cache-Control", blobCaching)
	}
	http.ServeContent(w, r, "", time.Time{}, f)
	return nil
}

type listBlobsParams struct {
	DID    syntax.DID `query:"did"`
	Since  syntax.TID `query:"since"`
	Limit  int64      `query:"limit"`
	Cursor string     `query:"cursor"`
}

type listBlobsOutput struct {
	Cursor string   `json:"cursor,omitempty"`
	CIDs   []string `json:"cids"`
}

func (s *Server) listBlobs(ctx context.Context, p *listBlobsParams) (*listBlobsOutput, error) {
	acct, err := s.syncRepo(ctx, p.DID)
	if err != nil {
		return nil, err
	}
	after, err := blobCursor(p.Cursor)
	if err != nil {
		return nil, err
	}
	cids, err := s.store.ListBlobs(ctx, acct.ID, p.Since, after, int(p.Limit)+1)
	if err != nil {
		return nil, err
	}
	out := &listBlobsOutput{CIDs: make([]string, 0, len(cids))}
	for i, c := range cids {
		if i == int(p.Limit) {
			out.Cursor = out.CIDs[i-1]
			break
		}
		out.CIDs = append(out.CIDs, c.String())
	}
	return out, nil
}

// blobCursor reads the cursor of listBlobs and listMissingBlobs: the last CID of the page before.
func blobCursor(cursor string) (cid.Cid, error) {
	if cursor == "" {
		return cid.Undef, nil
	}
	c, err := cid.Decode(cursor)
	if err != nil {
		return cid.Undef, xrpc.InvalidRequest("cursor is not a CID: pass the cursor of the page before unchanged")
	}
	return c, nil
}
