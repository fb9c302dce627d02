package pds

import (
	"context"
	"errors"
	"slices"

	"github.com/bluesky-social/indigo/atproto/syntax"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/ipfs/go-cid"

	"perch/pds/blob"
	"perch/pds/store"
	"perch/pds/thumbnail"
)

const (
	faceSide = 88   // pixels: twice of what the list shows, for fine screens
	maxFaces = 2000 // small pictures kept in memory, of some 2 KB each
)

// faces are small pictures of accounts.
type faces struct {
	kept *lru.Cache[string, []byte] // by DID and CID; nil for a blob that is no picture
	turn chan struct{}              // who makes one now
}

func newFaces() *faces {
	kept, err := lru.New[string, []byte](maxFaces)
	if err != nil {
		panic(err) // about the size
	}
	return &faces{kept, make(chan struct{}, 1)}
}

// PublicFace implements web.Host. Only pictures of those who are in the list are made small, one at a time; of what cannot be, that is kept.
func (h pageHost) PublicFace(ctx context.Context, did syntax.DID) ([]byte, error) {
	acct, err := h.s.store.AccountByDID(ctx, did)
	if err != nil {
		return nil, err
	}
	if !acct.Active() || !h.s.cfg.PublicAccounts {
		return nil, store.ErrNotFound
	}
	rec, err := h.s.store.Record(ctx, acct.ID, profilePath)
	if err != nil {
		return nil, err
	}
	p := readPublicProfile(rec.Body)
	if p.hidden() || rec.TakedownRef != "" {
		return nil, store.ErrNotFound
	}
	meta, err := h.s.publicFace(ctx, acct.ID, p)
	if err != nil {
		return nil, err
	}
	return h.s.face(ctx, did, meta.CID)
}

// publicFace finds the avatar of a profile, if a small picture can be made of it. The error is store.ErrNotFound if not.
func (s *Server) publicFace(ctx context.Context, acct store.AccountID, p publicProfile) (store.Blob, error) {
	c, err := cid.Decode(p.Avatar.Ref.Link)
	if err != nil {
		return store.Blob{}, store.ErrNotFound
	}
	meta, err := s.store.Blob(ctx, acct, c)
	if err == nil && (meta.TakedownRef != "" || !meta.Referenced || !slices.Contains(profilePictureTypes, meta.MimeType)) {
		err = store.ErrNotFound
	}
	return meta, err
}

// face is the small picture of a blob, from memory or made now.
func (s *Server) face(ctx context.Context, did syntax.DID, c cid.Cid) ([]byte, error) {
	key := did.String() + " " + c.String()
	small, known := s.faces.kept.Get(key)
	if !known {
		select {
		case s.faces.turn <- struct{}{}:
			defer func() { <-s.faces.turn }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if small, known = s.faces.kept.Get(key); !known {
			var err error
			if small, err = s.paintFace(did, c); err != nil {
				return nil, err
			}
			s.faces.kept.Add(key, small)
		}
	}
	if small == nil {
		return nil, store.ErrNotFound
	}
	return small, nil
}

// paintFace returns nil when the blob is no picture.
func (s *Server) paintFace(did syntax.DID, c cid.Cid) ([]byte, error) {
	f, err := s.blobs.Open(did, c)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, store.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	small, err := thumbnail.Square(f, faceSide)
	if errors.Is(err, thumbnail.ErrUnusable) {
		return nil, nil
	}
	return small, err
}
