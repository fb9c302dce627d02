package pds

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // the two kinds of pictures that profiles can have
	_ "image/png"
	"slices"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/pds/blob"
	"perch/pds/store"
	"perch/pds/web"
	"perch/repo"
)

const (
	profileCollection = syntax.NSID("app.bsky.actor.profile")
	profileKey        = syntax.RecordKey("self")
	profilePath       = string(profileCollection) + "/" + string(profileKey)

	// maxPictureSide bounds a picture in pixels. A small file can claim to be so large that whoever shows it has not the memory.
	maxPictureSide = 8192
	// profileTries is how often a profile is read and written anew when an app writes it at the same time.
	profileTries = 20
)

// Types of pictures by their content: those that a profile can get, and those that pages show of what apps have put there.
var (
	profilePictureTypes = []string{"image/png", "image/jpeg"}
	shownPictureTypes   = []string{"image/png", "image/jpeg", "image/webp", "image/gif"}
)

// profileRecord returns the account's profile record and its CID, or an empty one and the CID that stands for none.
func (s *Server) profileRecord(ctx context.Context, acct *store.Account) (map[string]any, cid.Cid, error) {
	rec, err := s.store.Record(ctx, acct.ID, profilePath)
	if errors.Is(err, store.ErrNotFound) {
		return map[string]any{}, cid.Undef, nil
	}
	if err != nil {
		return nil, cid.Undef, err
	}
	text, err := repo.AppendJSON(nil, rec.Body)
	if err != nil {
		return nil, cid.Undef, err
	}
	record := map[string]any{}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber() // what else is in there goes back as it was
	return record, rec.CID, dec.Decode(&record)
}

// Profile implements web.ProfileHost.
func (h pageHost) Profile(ctx context.Context, acct *store.Account) (p web.Profile, err error) {
	record, _, err := h.s.profileRecord(ctx, acct)
	if err != nil {
		return p, err
	}
	p.DisplayName, _ = record["displayName"].(string)
	p.Description, _ = record["description"].(string)
	for kind, shown := range map[web.PictureKind]*string{web.Avatar: &p.Avatar, web.Banner: &p.Banner} {
		meta, err := h.s.pictureOf(ctx, acct, record, kind)
		if err == nil {
			*shown = meta.CID.String()
		} else if !errors.Is(err, store.ErrNotFound) {
			return p, err
		}
	}
	return p, nil
}

// pictureOf finds the blob of a picture that can be shown, or store.ErrNotFound.
func (s *Server) pictureOf(ctx context.Context, acct *store.Account, record map[string]any, kind web.PictureKind) (store.Blob, error) {
	ref, _ := record[string(kind)].(map[string]any)
	link, _ := ref["ref"].(map[string]any)
	text, _ := link["$link"].(string)
	c, err := cid.Decode(text)
	if err != nil {
		return store.Blob{}, store.ErrNotFound
	}
	meta, err := s.store.Blob(ctx, acct.ID, c)
	if err == nil && (meta.TakedownRef != "" || !slices.Contains(shownPictureTypes, meta.MimeType)) {
		err = store.ErrNotFound
	}
	return meta, err
}

// Picture implements web.ProfileHost.
func (h pageHost) Picture(ctx context.Context, acct *store.Account, kind web.PictureKind) (*web.Picture, error) {
	record, _, err := h.s.profileRecord(ctx, acct)
	if err != nil {
		return nil, err
	}
	meta, err := h.s.pictureOf(ctx, acct, record, kind)
	if err != nil {
		return nil, err
	}
	f, err := h.s.blobs.Open(acct.DID, meta.CID)
	if errors.Is(err, blob.ErrNotFound) {
		err = store.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return &web.Picture{Type: meta.MimeType, Content: f}, nil
}

// SetProfile implements web.ProfileHost. It is uploadBlob, and putRecord with what is there already.
func (h pageHost) SetProfile(ctx context.Context, acct *store.Account, p web.Profile, pictures []web.NewPicture) error {
	if err := inactiveForWriter(acct); err != nil {
		return forPage(err)
	}
	change := map[string]any{"displayName": p.DisplayName, "description": p.Description}
	for _, picture := range pictures {
		ref, err := h.s.takePicture(ctx, acct, picture)
		if err != nil {
			return forPage(err)
		}
		change[string(picture.Kind)] = ref
	}
	var err error
	for range profileTries {
		if err = h.s.changeProfile(ctx, acct, change); !errors.Is(err, repo.ErrSwap) {
			return forPage(err)
		}
	}
	return fmt.Errorf("%w: %w", web.ErrBusy, err)
}

// takePicture keeps a new picture as a blob, and returns what the record says of it; nil when there shall be none.
func (s *Server) takePicture(ctx context.Context, acct *store.Account, picture web.NewPicture) (any, error) {
	if picture.Bytes == nil {
		return nil, nil
	}
	up, err := s.blobs.Write(ctx, acct.DID, bytes.NewReader(picture.Bytes), "", s.cfg.BlobUploadLimit)
	if err != nil {
		return nil, err
	}
	defer up.Discard()
	size, _, err := image.DecodeConfig(bytes.NewReader(picture.Bytes))
	if err != nil || !slices.Contains(profilePictureTypes, up.MimeType) || max(size.Width, size.Height) > maxPictureSide {
		return nil, &web.PictureError{Kind: picture.Kind}
	}
	meta, err := s.keepBlob(ctx, acct, up)
	if err != nil {
		return nil, err
	}
	return blobRefJSON(meta), nil
}

// changeProfile writes the fields given into the profile record, and leaves out those that are empty. The error is repo.ErrSwap when somebody has changed it
// meanwhile.
func (s *Server) changeProfile(ctx context.Context, acct *store.Account, change map[string]any) error {
	record, had, err := s.profileRecord(ctx, acct)
	if err != nil {
		return err
	}
	for field, value := range change {
		if delete(record, field); value != nil && value != "" {
			record[field] = value
		}
	}
	text, err := json.Marshal(record)
	if err != nil {
		return err
	}
	w, _, err := s.newWrite(repo.Put, profileCollection, profileKey, text, nil)
	if err != nil {
		return err
	}
	w.Swap = &had
	_, err = s.commit(ctx, acct, nil, w)
	return err
}
