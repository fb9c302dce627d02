package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
)

var (
	// ErrBlobNotFound says that a record refers to a blob that was never uploaded, was swept, or is taken down.
	ErrBlobNotFound = errors.New("blob not found")
	// ErrBlobSize says that a record gives another size of a blob than the upload has.
	ErrBlobSize = errors.New("blob reference does not have the size of the upload")
	// ErrBlobType says that a record gives another MIME type of a blob than the upload has.
	ErrBlobType = errors.New("blob reference does not have the type of the upload")
)

// Blob is what the database knows of a blob; its bytes are elsewhere.
type Blob struct {
	CID         cid.Cid
	MimeType    string
	Size        int64 // bytes
	Referenced  bool  // by a record; until then it is private
	CreatedAt   time.Time
	TakedownRef string // "" when not taken down
}

// Blob returns a blob of the account, or ErrNotFound.
func (s *Store) Blob(ctx context.Context, acct AccountID, c cid.Cid) (Blob, error) {
	return blobAt(ctx, s.read, acct, c)
}

// Blob is Store.Blob as the transaction sees it.
func (tx *Tx) Blob(ctx context.Context, acct AccountID, c cid.Cid) (Blob, error) {
	return blobAt(ctx, tx, acct, c)
}

func blobAt(ctx context.Context, q querier, acct AccountID, c cid.Cid) (Blob, error) {
	const query = "SELECT mime, size, referenced, created_at, takedown_ref FROM blob WHERE account = ? AND cid = ?"
	b := Blob{CID: c}
	var created int64
	var takedown sql.NullString
	err := q.queryRow(ctx, query, int64(acct), c.Bytes()).Scan(&b.MimeType, &b.Size, &b.Referenced, &created, &takedown)
	if err != nil {
		return Blob{}, fmt.Errorf("blob %s: %w", c, err)
	}
	b.CreatedAt, b.TakedownRef = fromMicros(created), takedown.String
	return b, nil
}

// PutBlob notes an upload whose bytes are safe already, and returns the blob as it is now. Of a blob that is there only the age changes, and that only
// while no record refers to it. If records refer to it, as after an import, it is public at once. The error is ErrInactive when the account was deleted.
func (s *Store) PutBlob(ctx context.Context, acct AccountID, b Blob) (out Blob, err error) {
	const upsert = `INSERT INTO blob (account, cid, mime, size, referenced, created_at)
		VALUES (?1, ?2, ?3, ?4, EXISTS (SELECT 1 FROM blob_ref WHERE account = ?1 AND cid = ?2), ?5)
		ON CONFLICT DO UPDATE SET created_at = excluded.created_at WHERE referenced = 0`
	err = s.Update(ctx, func(tx *Tx) error {
		a, err := tx.AccountByID(ctx, acct)
		if errors.Is(err, ErrNotFound) || err == nil && !a.DeletedAt.IsZero() {
			return fmt.Errorf("put blob %s: %w", b.CID, ErrInactive) // nobody would ever delete it
		}
		if err != nil {
			return err
		}
		if _, err := tx.exec(ctx, upsert, int64(acct), b.CID.Bytes(), b.MimeType, b.Size, micros(tx.now)); err != nil {
			return fmt.Errorf("put blob %s: %w", b.CID, err)
		}
		out, err = tx.Blob(ctx, acct, b.CID)
		return err
	})
	return out, err
}

// SetBlobTakedown hides a blob, or shows it again if ref is "". ErrNotFound if there is none.
func (tx *Tx) SetBlobTakedown(ctx context.Context, acct AccountID, c cid.Cid, ref string) error {
	const update = "UPDATE blob SET takedown_ref = ? WHERE account = ? AND cid = ?"
	n, err := tx.execCount(ctx, update, nullString(ref), int64(acct), c.Bytes())
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("take down blob %s: %w", c, err)
	}
	return nil
}

// ListBlobs lists the account's public blobs in the order of their CIDs, at most limit, from the one after the given CID (cid.Undef: the first). With since,
// only those that a record written after that revision refers to.
func (s *Store) ListBlobs(ctx context.Context, acct AccountID, since syntax.TID, after cid.Cid, limit int) ([]cid.Cid, error) {
	const (
		public = "SELECT cid FROM blob WHERE account = ?1 AND cid > ?2 AND referenced = 1 AND takedown_ref IS NULL"
		recent = " AND EXISTS (SELECT 1 FROM blob_ref f JOIN record r ON r.account = f.account AND r.path = f.path" +
			" WHERE f.account = ?1 AND f.cid = blob.cid AND r.rev > ?4)"
		page = " ORDER BY cid LIMIT ?3"
	)
	var rows *sql.Rows
	var err error
	if since == "" {
		rows, err = s.read.query(ctx, public+page, int64(acct), cidAfter(after), limit)
	} else {
		rows, err = s.read.query(ctx, public+recent+page, int64(acct), cidAfter(after), limit, since.String())
	}
	return collect(rows, err, scanCID)
}

func scanCID(rows *sql.Rows, c *cid.Cid) error {
	var raw sql.RawBytes
	if err := rows.Scan(&raw); err != nil {
		return err
	}
	var err error
	*c, err = parseCID(raw)
	return err
}

// MissingBlob is a blob that is not here, and the first record that refers to it.
type MissingBlob struct {
	CID  cid.Cid
	Path string
}

// Blobs lists all blobs of the account that the server has, private and taken-down ones too; paged as ListBlobs.
func (s *Store) Blobs(ctx context.Context, acct AccountID, after cid.Cid, limit int) ([]Blob, error) {
	const query = "SELECT cid, mime, size, referenced, created_at, takedown_ref FROM blob WHERE account = ? AND cid > ? ORDER BY cid LIMIT ?"
	rows, err := s.read.query(ctx, query, int64(acct), cidAfter(after), limit)
	return collect(rows, err, func(rows *sql.Rows, b *Blob) error {
		var raw sql.RawBytes
		var created int64
		var takedown sql.NullString
		if err := rows.Scan(&raw, &b.MimeType, &b.Size, &b.Referenced, &created, &takedown); err != nil {
			return err
		}
		b.CreatedAt, b.TakedownRef = fromMicros(created), takedown.String
		var err error
		b.CID, err = parseCID(raw)
		return err
	})
}

// MissingBlobs lists blobs that records refer to and that are not here, as after an import; paged as ListBlobs.
func (s *Store) MissingBlobs(ctx context.Context, acct AccountID, after cid.Cid, limit int) ([]MissingBlob, error) {
	const query = `SELECT f.cid, min(f.path) FROM blob_ref f WHERE f.account = ?1 AND f.cid > ?2
		AND NOT EXISTS (SELECT 1 FROM blob b WHERE b.account = ?1 AND b.cid = f.cid) GROUP BY f.cid ORDER BY f.cid LIMIT ?3`
	rows, err := s.read.query(ctx, query, int64(acct), cidAfter(after), limit)
	return collect(rows, err, func(rows *sql.Rows, m *MissingBlob) error {
		var raw []byte
		if err := rows.Scan(&raw, &m.Path); err != nil {
			return err
		}
		var err error
		m.CID, err = parseCID(raw)
		return err
	})
}

// BlobStats are the numbers of blobs of an account, as checkAccountStatus tells them.
type BlobStats struct {
	Expected int64 // blobs that records refer to
	Imported int64 // of those, the ones that are here
	Bytes    int64 // of all blobs here, private ones too
}

// BlobStats counts the account's blobs.
func (s *Store) BlobStats(ctx context.Context, acct AccountID) (st BlobStats, err error) {
	const query = `SELECT (SELECT count(DISTINCT cid) FROM blob_ref WHERE account = ?1),
		(SELECT count(*) FROM blob WHERE account = ?1 AND referenced = 1), (SELECT coalesce(sum(size), 0) FROM blob WHERE account = ?1)`
	err = s.read.queryRow(ctx, query, int64(acct)).Scan(&st.Expected, &st.Imported, &st.Bytes)
	return st, err
}

// JobDeleteBlob is the kind of jobs that ask for the bytes of a blob to be deleted. Before doing so, take LockBlobs and
// see that the blob has no row: it may have been uploaded anew.
const JobDeleteBlob = "delete-blob"

// BlobJob is the payload of a JobDeleteBlob, as JSON.
type BlobJob struct {
	Account AccountID  `json:"account"`
	DID     syntax.DID `json:"did"`
	CID     string     `json:"cid"`
}

// dropBlob deletes a blob's row and has its bytes deleted. A blob that is taken down keeps its row, so that it cannot be uploaded again, and turns private.
func (tx *Tx) dropBlob(ctx context.Context, acct AccountID, did syntax.DID, c cid.Cid) error {
	const (
		hide = "UPDATE blob SET referenced = 0 WHERE account = ? AND cid = ? AND takedown_ref IS NOT NULL"
		del  = "DELETE FROM blob WHERE account = ? AND cid = ?"
	)
	if n, err := tx.execCount(ctx, hide, int64(acct), c.Bytes()); err != nil || n > 0 {
		return err
	}
	if n, err := tx.execCount(ctx, del, int64(acct), c.Bytes()); err != nil || n == 0 {
		return err
	}
	payload, err := json.Marshal(BlobJob{Account: acct, DID: did, CID: c.String()})
	if err != nil {
		return err
	}
	return tx.AddJob(ctx, JobDeleteBlob, string(payload), tx.now)
}

// SweepBlobs drops uploads from before the given time that no record refers to, at most limit of them, and returns how many it dropped. Their bytes
// go by jobs of the kind JobDeleteBlob.
func (s *Store) SweepBlobs(ctx context.Context, before time.Time, limit int) (n int, err error) {
	const query = `SELECT b.account, a.did, b.cid FROM blob b JOIN account a ON a.id = b.account
		WHERE b.referenced = 0 AND b.created_at < ? AND b.takedown_ref IS NULL ORDER BY b.created_at LIMIT ?`
	type upload struct {
		acct AccountID
		did  syntax.DID
		cid  []byte
	}
	err = s.Update(ctx, func(tx *Tx) error {
		rows, err := tx.query(ctx, query, micros(before), limit)
		old, err := collect(rows, err, func(rows *sql.Rows, u *upload) error { return rows.Scan(&u.acct, &u.did, &u.cid) })
		for i := 0; err == nil && i < len(old); i++ {
			var c cid.Cid
			if c, err = parseCID(old[i].cid); err == nil {
				err = tx.dropBlob(ctx, old[i].acct, old[i].did, c)
			}
		}
		n = len(old)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("sweep blobs: %w", err)
	}
	return n, nil
}

// LockBlobs keeps others from storing or deleting the bytes of the account's blobs until unlock is called.
func (s *Store) LockBlobs(acct AccountID) (unlock func()) {
	unlock, _ = s.blobLocks.lock(context.Background(), acct)
	return unlock
}
