package pds

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/pds/blob"
	"perch/pds/store"
	"perch/repo"
)

// ExportPath is where the command line fetches all of an account from the running server: GET with account=, a handle, DID or e-mail address.
const ExportPath = "/perch/export"

// ExportSizeHeader says about how many bytes there will be.
const ExportSizeHeader = "Perch-Export-Size"

// What an export holds. It is a ZIP file without compression, so that every part of it can be read in place.
const (
	exportCAR         = "repo.car"         // the repository, as com.atproto.sync.getRepo gives it
	exportBlobs       = "blobs/"           // then the CID
	exportPreferences = "preferences.json" // as app.bsky.actor.getPreferences gives them
	exportManifest    = "manifest.json"    // the last one
	exportFormat      = 1
	exportPage        = 500
	exportPerRecord   = 140 // bytes of a record's CID, and of its part in the tree
)

const aboutExport = "All of an AT Protocol account: repo.car is its repository (records, signed), blobs/ its pictures and videos by CID, preferences.json the " +
	"settings of its apps. A server can make the account anew of it."

// ExportManifest says what an export holds.
type ExportManifest struct {
	About      string        `json:"about"`
	Format     int           `json:"format"`
	DID        syntax.DID    `json:"did"`
	Handle     syntax.Handle `json:"handle"`
	Email      string        `json:"email,omitempty"`
	Server     string        `json:"server"`
	CreatedAt  time.Time     `json:"createdAt"` // the account
	ExportedAt time.Time     `json:"exportedAt"`
	Status     string        `json:"status,omitempty"` // why the account is not active
	SigningKey string        `json:"signingKey"`       // did:key of the one that signed the commit
	Commit     string        `json:"commit"`
	Rev        syntax.TID    `json:"rev"`
	Records    int64         `json:"records"`
	Blobs      int64         `json:"blobs"`
	BlobBytes  int64         `json:"blobBytes"`
	Missing    []string      `json:"missing,omitempty"` // blobs that records refer to and the server does not have

	// What moderators have taken down of it, with their references: records by path, blobs by CID.
	RecordTakedowns map[string]string `json:"recordTakedowns,omitempty"`
	BlobTakedowns   map[string]string `json:"blobTakedowns,omitempty"`
}

func (s *Server) operatorExport(w http.ResponseWriter, r *http.Request) {
	ctx, err := s.auth.Admin()(r.Context(), r)
	if err != nil {
		s.mux.WriteError(r, err)
		return
	}
	acct, err := s.found(ctx, r.URL.Query().Get("account"))
	var snap *store.Snapshot
	if err == nil {
		snap, err = s.store.Snapshot(ctx, acct.ID)
	}
	if err != nil {
		s.mux.WriteError(r, err)
		return
	}
	size, err := s.sizeOfExport(ctx, acct)
	if err != nil {
		snap.Close()
		s.mux.WriteError(r, err)
		return
	}
	w.Header().Set("Content-Type", "application/zip")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set(ExportSizeHeader, strconv.FormatInt(size, 10))
	export := deed{action: "export", subject: acct.DID.String(), steps: true}
	err = s.audit(ctx, export, func(ctx context.Context) error { return s.writeExport(ctx, w, acct, snap) })
	if err != nil && ctx.Err() == nil {
		s.log.ErrorContext(ctx, "export an account", "did", acct.DID, "err", err)
		panic(http.ErrAbortHandler) // what was sent must not look whole
	}
}

// sizeOfExport is about how many bytes an export will have.
func (s *Server) sizeOfExport(ctx context.Context, acct *store.Account) (int64, error) {
	_, stats, err := s.store.Head(ctx, acct.ID)
	if err != nil {
		return 0, err
	}
	blobs, err := s.store.BlobStats(ctx, acct.ID)
	return exportSize(stats, blobs), err
}

func exportSize(repo store.RepoStats, blobs store.BlobStats) int64 {
	return repo.Bytes + repo.Records*exportPerRecord + blobs.Bytes
}

// writeExport writes the file. It closes snap.
func (s *Server) writeExport(ctx context.Context, w io.Writer, acct *store.Account, snap *store.Snapshot) error {
	z := zip.NewWriter(w)
	m := &ExportManifest{
		About: aboutExport, Format: exportFormat, DID: acct.DID, Handle: acct.Handle, Email: acct.Email, Server: s.cfg.PublicURL(),
		BlobTakedowns: map[string]string{}, CreatedAt: acct.CreatedAt, ExportedAt: time.Now().UTC().Truncate(time.Second), Status: acct.Status(), SigningKey: acct.SigningKeyDID,
		Commit: snap.Head.CID.String(), Rev: snap.Head.Commit.Rev,
	}
	if err := exportRepo(z, snap, m); err != nil {
		return err
	}
	if err := s.exportBlobs(ctx, z, acct, m); err != nil {
		return err
	}
	var err error
	if m.RecordTakedowns, err = s.store.RecordTakedowns(ctx, acct.ID); err != nil {
		return err
	}
	prefs, err := s.accounts.Preferences(ctx, acct.ID, true)
	if err != nil {
		return err
	}
	if prefs == nil {
		prefs = []json.RawMessage{}
	}
	if err := exportJSON(z, exportPreferences, preferencesJSON{prefs}); err != nil {
		return err
	}
	if err := exportJSON(z, exportManifest, m); err != nil {
		return err
	}
	return z.Close()
}

// exportEntry begins a part of the file. comment is the type of a blob, which its bytes alone may not tell.
func exportEntry(z *zip.Writer, name, comment string, at time.Time) (io.Writer, error) {
	return z.CreateHeader(&zip.FileHeader{Name: name, Comment: comment, Method: zip.Store, Modified: at})
}

func exportJSON(z *zip.Writer, name string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	w, err := exportEntry(z, name, "", time.Now())
	if err == nil {
		_, err = w.Write(append(text, '\n'))
	}
	return err
}

func exportRepo(z *zip.Writer, snap *store.Snapshot, m *ExportManifest) error {
	defer snap.Close()
	w, err := exportEntry(z, exportCAR, "", m.ExportedAt)
	if err != nil {
		return err
	}
	bodies := snap.Bodies("")
	next := func() (string, cid.Cid, []byte, error) {
		path, c, body, err := bodies.Next()
		if err == nil {
			m.Records++
		}
		return path, c, body, err
	}
	return snap.Cause(repo.Export(w, snap.Head, snap.Tree, snap, next))
}

// exportBlobs writes the blobs that records refer to, those that are taken down too, and notes those that are not here.
func (s *Server) exportBlobs(ctx context.Context, z *zip.Writer, acct *store.Account, m *ExportManifest) error {
	for after := cid.Undef; ; {
		page, err := s.store.Blobs(ctx, acct.ID, after, exportPage)
		if err != nil {
			return err
		}
		for _, b := range page {
			if after = b.CID; !b.Referenced {
				continue
			}
			if b.TakedownRef != "" {
				m.BlobTakedowns[b.CID.String()] = b.TakedownRef
			}
			if err := s.exportBlob(z, acct.DID, b, m); err != nil {
				return err
			}
		}
		if len(page) < exportPage {
			break
		}
	}
	for after := cid.Undef; ; {
		page, err := s.store.MissingBlobs(ctx, acct.ID, after, exportPage)
		if err != nil {
			return err
		}
		for _, b := range page {
			m.Missing, after = append(m.Missing, b.CID.String()), b.CID
		}
		if len(page) < exportPage {
			return nil
		}
	}
}

func (s *Server) exportBlob(z *zip.Writer, did syntax.DID, b store.Blob, m *ExportManifest) error {
	f, err := s.blobs.Open(did, b.CID)
	if errors.Is(err, blob.ErrNotFound) {
		m.Missing = append(m.Missing, b.CID.String())
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	w, err := exportEntry(z, exportBlobs+b.CID.String(), b.MimeType, f.ModTime)
	if err != nil {
		return err
	}
	n, err := io.Copy(w, f)
	if err != nil {
		return fmt.Errorf("blob %s: %w", b.CID, err)
	}
	m.Blobs, m.BlobBytes = m.Blobs+1, m.BlobBytes+n
	return nil
}
