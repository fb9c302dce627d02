package store

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/repo/mst"
)

// Record is one record of a repository.
type Record struct {
	Path        string // collection/rkey
	CID         cid.Cid
	Rev         syntax.TID // of the commit that last wrote it
	TakedownRef string     // "" when not taken down
	Body        []byte     // DAG-CBOR
}

// Collection is the part of the path before the slash.
func (r *Record) Collection() syntax.NSID {
	name, _, _ := strings.Cut(r.Path, "/")
	return syntax.NSID(name)
}

const recordColumns = "path, cid, rev, takedown_ref, body"

func scanRecord(scan func(...any) error, r *Record) error {
	var c []byte
	var takedown sql.NullString
	if err := scan(&r.Path, &c, &r.Rev, &takedown, &r.Body); err != nil {
		return err
	}
	r.TakedownRef = takedown.String
	var err error
	r.CID, err = parseCID(c)
	return err
}

// Record returns the record under path, taken down or not, or ErrNotFound.
func (s *Store) Record(ctx context.Context, acct AccountID, path string) (Record, error) {
	return recordAt(ctx, s.read, acct, path)
}

func recordAt(ctx context.Context, q querier, acct AccountID, path string) (r Record, err error) {
	const query = "SELECT " + recordColumns + " FROM record WHERE account = ? AND path = ?"
	if err := scanRecord(q.queryRow(ctx, query, int64(acct), path).Scan, &r); err != nil {
		return Record{}, fmt.Errorf("record %s: %w", path, err)
	}
	return r, nil
}

// collectionRange gives the bounds, both exclusive, between which all paths of a collection lie: "0" is the byte after "/".
func collectionRange(collection syntax.NSID) (lo, hi string) {
	return collection.String() + "/", collection.String() + "0"
}

// maxPageBytes ends a page of Records: an answer of a hundred records of the greatest size would take half a gigabyte to make.
const maxPageBytes = 4 << 20

// RecordView is a record in a list. Its slices are valid only until the next one.
type RecordView struct {
	Path []byte // collection/rkey
	CID  []byte // binary
	Body []byte // DAG-CBOR
}

// RKey is the part of the path after the slash.
func (r *RecordView) RKey() []byte { return r.Path[bytes.IndexByte(r.Path, '/')+1:] }

// Records calls yield for the records of one collection that are not taken down, at most limit of them, and no more once their bodies come to 4 MiB: the
// greatest record key first, the least first if reverse. after is where the page before ended, "" for the first page; more tells whether another page
// follows. An error of yield ends it and is returned. A connection is held meanwhile, so yield must not wait for anything.
func (s *Store) Records(
	ctx context.Context, acct AccountID, collection syntax.NSID, after syntax.RecordKey, limit int, reverse bool, yield func(*RecordView) error,
) (more bool, err error) {
	const (
		where      = "SELECT path, cid, body FROM record WHERE account = ? AND path > ? AND path < ? AND takedown_ref IS NULL ORDER BY path "
		ascending  = where + "ASC LIMIT ?"
		descending = where + "DESC LIMIT ?"
	)
	lo, hi := collectionRange(collection)
	query := descending
	switch {
	case reverse && after != "":
		query, lo = ascending, lo+after.String()
	case reverse:
		query = ascending
	case after != "":
		hi = lo + after.String()
	}
	rows, err := s.read.query(ctx, query, int64(acct), lo, hi, limit+1)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	// Of one page a hundred rows are read, so what a row costs counts: no copies, no columns that are not needed.
	var r RecordView
	dest := []any{(*sql.RawBytes)(&r.Path), (*sql.RawBytes)(&r.CID), (*sql.RawBytes)(&r.Body)}
	for n, size := 0, 0; rows.Next(); n++ {
		if n == limit || size >= maxPageBytes {
			return true, nil
		}
		if err := rows.Scan(dest...); err != nil {
			return false, err
		}
		size += len(r.Body)
		if err := yield(&r); err != nil {
			return false, err
		}
	}
	return false, rows.Err()
}

// Collections lists the collections that the repository has records in, in the order of the tree. It skips from one to the next, so its cost is that
// of the collections, not of the records.
func (s *Store) Collections(ctx context.Context, acct AccountID) ([]syntax.NSID, error) {
	return collections(ctx, s.read, acct)
}

func collections(ctx context.Context, q querier, acct AccountID) ([]syntax.NSID, error) {
	const next = "SELECT path FROM record WHERE account = ? AND path > ? ORDER BY path LIMIT 1"
	var all []syntax.NSID
	for after := ""; ; {
		var path string
		switch err := q.queryRow(ctx, next, int64(acct), after).Scan(&path); err {
		case nil:
		case ErrNotFound:
			return all, nil
		default:
			return nil, err
		}
		name, _, _ := strings.Cut(path, "/")
		collection := syntax.NSID(name)
		all = append(all, collection)
		_, after = collectionRange(collection)
	}
}

// RecordTakedowns returns the references of the records of an account that are taken down, by their paths.
func (s *Store) RecordTakedowns(ctx context.Context, acct AccountID) (map[string]string, error) {
	const query = "SELECT path, takedown_ref FROM record WHERE account = ? AND takedown_ref IS NOT NULL"
	type down struct{ path, ref string }
	rows, err := s.read.query(ctx, query, int64(acct))
	all, err := collect(rows, err, func(r *sql.Rows, d *down) error { return r.Scan(&d.path, &d.ref) })
	refs := make(map[string]string, len(all))
	for _, d := range all {
		refs[d.path] = d.ref
	}
	return refs, err
}

// SetRecordTakedown takes a record out of public reads, or puts it back if ref is "". It stays in the repository. ErrNotFound if there is none.
func (tx *Tx) SetRecordTakedown(ctx context.Context, acct AccountID, path, ref string) error {
	const update = "UPDATE record SET takedown_ref = ? WHERE account = ? AND path = ?"
	n, err := tx.execCount(ctx, update, nullString(ref), int64(acct), path)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("take down record %s: %w", path, err)
	}
	return nil
}

// source is the records of one account as a mst.Source.
type source struct {
	ctx  context.Context
	q    querier
	acct AccountID
}

var _ mst.Source = source{}

// Scan implements mst.Source.
func (src source) Scan(lo, hi string, yield func(key string, value cid.Cid) error) error {
	const (
		from    = "SELECT path, cid FROM record WHERE account = ? AND path > ? ORDER BY path"
		between = "SELECT path, cid FROM record WHERE account = ? AND path > ? AND path < ? ORDER BY path"
	)
	var rows *sql.Rows
	var err error
	if hi == "" {
		rows, err = src.q.query(src.ctx, from, int64(src.acct), lo)
	} else {
		rows, err = src.q.query(src.ctx, between, int64(src.acct), lo, hi)
	}
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := src.ctx.Err(); err != nil {
			return err
		}
		var path string
		var raw sql.RawBytes
		if err := rows.Scan(&path, &raw); err != nil {
			return err
		}
		c, err := parseCID(raw)
		if err != nil {
			return err
		}
		if err := yield(path, c); err != nil {
			return err
		}
	}
	return rows.Err()
}

// CountRecords counts the records of a collection.
func (s *Store) CountRecords(ctx context.Context, acct AccountID, collection syntax.NSID) (n int64, err error) {
	lo, hi := collectionRange(collection)
	err = s.read.queryRow(ctx, "SELECT count(*) FROM record WHERE account = ? AND path > ? AND path < ?", int64(acct), lo, hi).Scan(&n)
	return n, err
}
