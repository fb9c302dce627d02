package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// DIDWeb is a DID of the kind did:web whose document this server serves. It outlives its account.
type DIDWeb struct {
	Host      string
	CreatedAt time.Time

	// PDS is the server that the document names when it is not this one, with SigningKey and Handle; "" while the account lives here.
	PDS        string
	SigningKey string // did:key
	Handle     syntax.Handle
}

// DID is the DID.
func (w *DIDWeb) DID() syntax.DID { return syntax.DID(didWebPrefix + w.Host) }

const didWebPrefix = "did:web:"

const didWebByHost = `SELECT host, created_at, pds, signing_key, handle FROM did_web WHERE host = ?`

func didWeb(ctx context.Context, q querier, host string) (*DIDWeb, error) {
	w := &DIDWeb{}
	var created int64
	var pds, key, handle sql.NullString
	if err := q.queryRow(ctx, didWebByHost, host).Scan(&w.Host, &created, &pds, &key, &handle); err != nil {
		return nil, fmt.Errorf("did:web of %s: %w", host, err)
	}
	w.CreatedAt, w.PDS, w.SigningKey, w.Handle = fromMicros(created), pds.String, key.String, syntax.Handle(handle.String)
	return w, nil
}

// DIDWeb returns the DID whose document is at the host, or ErrNotFound.
func (s *Store) DIDWeb(ctx context.Context, host string) (*DIDWeb, error) {
	return didWeb(ctx, s.read, host)
}

// CreateDIDWeb makes the host a DID's for ever. The error is ErrDIDTaken when it is one already.
func (tx *Tx) CreateDIDWeb(ctx context.Context, host string) error {
	n, err := tx.execCount(ctx, `INSERT INTO did_web (host, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING`, host, micros(tx.now))
	if err == nil && n == 0 {
		err = fmt.Errorf("%w: %s%s", ErrDIDTaken, didWebPrefix, host)
	}
	return err
}

// PointDIDWeb makes the document name what w says; with PDS "" it is this server again. A host that was no DID's becomes one.
func (tx *Tx) PointDIDWeb(ctx context.Context, w DIDWeb) error {
	_, err := tx.exec(ctx, `INSERT INTO did_web (host, created_at, pds, signing_key, handle) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET pds = excluded.pds, signing_key = excluded.signing_key, handle = excluded.handle`,
		w.Host, micros(tx.now), nullString(w.PDS), nullString(w.SigningKey), nullString(string(w.Handle)))
	return err
}

// checkWebName refuses as a handle the host of somebody else's did:web: with the host goes the DID. The error is ErrHandleTaken.
func (tx *Tx) checkWebName(ctx context.Context, h syntax.Handle, did syntax.DID) error {
	host := string(h.Normalize())
	if strings.TrimPrefix(string(did), didWebPrefix) == host {
		return nil
	}
	_, err := didWeb(ctx, tx, host)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err == nil:
		return ErrHandleTaken
	}
	return err
}
