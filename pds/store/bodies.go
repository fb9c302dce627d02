package store

import (
	"context"
	"database/sql"
	"io"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
)

const (
	// chunkRows and chunkBytes bound what a pass over the records reads in one go: the database is not in use while the bytes go to a slow client.
	chunkRows  = 1024
	chunkBytes = 256 << 10
)

// Bodies is a pass over all records in the order of the tree.
type Bodies struct {
	sn    *Snapshot
	query string
	arg   string
	want  func(cid.Cid) bool // whose body is read by itself; nil: none

	after string // path of the last record that was read
	rows  []bodyRow
	text  []byte // the bodies of rows, one after the other
	at    int    // of the next one in rows
	end   bool   // there are no more after rows
}

// bodyRow is a record that was read. Its body is text[from:to]; from is -1 when it is left out.
type bodyRow struct {
	path     string
	cid      cid.Cid
	from, to int
}

// Bodies starts a pass over all records, for repo.Export. The bodies of records written at the revision since or before are left out; "" leaves out none.
func (sn *Snapshot) Bodies(since syntax.TID) *Bodies {
	const query = `SELECT path, cid, CASE WHEN rev > ?4 THEN body END FROM record WHERE account = ?1 AND path > ?2 ORDER BY path LIMIT ?3`
	return &Bodies{sn: sn, query: query, arg: since.String()}
}

// Picked starts a pass over all records that reads only the bodies of those that want accepts.
func (sn *Snapshot) Picked(want func(cid.Cid) bool) *Bodies {
	const query = "SELECT path, cid, NULL FROM record WHERE account = ?1 AND path > ?2 AND ?4 = '' ORDER BY path LIMIT ?3"
	return &Bodies{sn: sn, query: query, want: want}
}

// Next returns the next record, io.EOF after the last. The body, nil when it is left out, is valid until the call after.
func (b *Bodies) Next() (path string, c cid.Cid, body []byte, err error) {
	if b.at == len(b.rows) {
		if b.end {
			return "", cid.Undef, nil, io.EOF
		}
		if err := b.sn.read(b.fill); err != nil {
			return "", cid.Undef, nil, err
		}
		if len(b.rows) == 0 {
			return "", cid.Undef, nil, io.EOF
		}
	}
	r := &b.rows[b.at]
	b.at++
	if r.from >= 0 {
		body = b.text[r.from:r.to:r.to]
	}
	if b.want != nil && b.want(r.cid) {
		body, err = b.sn.Body(b.sn.ctx, r.path)
	}
	return r.path, r.cid, body, err
}

// fill reads the next chunk.
func (b *Bodies) fill(q connQuerier) error {
	clear(b.rows)
	b.rows, b.text, b.at = b.rows[:0], b.text[:0], 0
	// A chunk takes a few milliseconds: to watch the context for each of its rows would cost more than to finish it.
	rows, err := q.query(context.WithoutCancel(b.sn.ctx), b.query, int64(b.sn.acct), b.after, chunkRows, b.arg)
	if err != nil {
		return err
	}
	defer rows.Close()
	var raw, body sql.RawBytes
	var r bodyRow
	dest := []any{&r.path, &raw, &body}
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		if r.cid, err = parseCID(raw); err != nil {
			return err
		}
		r.from, r.to = -1, -1
		if body != nil {
			r.from = len(b.text)
			b.text = append(b.text, body...)
			r.to = len(b.text)
		}
		b.rows, b.after = append(b.rows, r), r.path
		if len(b.text) >= chunkBytes {
			return nil
		}
	}
	b.end = len(b.rows) < chunkRows
	return rows.Err()
}
