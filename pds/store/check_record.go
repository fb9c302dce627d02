package store

import (
	"database/sql"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/repo"
)

// record checks one record by itself, and against the rows that are made from it.
func (a *accountCheck) record(r *Record, refs *refCheck) error {
	a.records++
	a.bytes += int64(len(r.Body))
	name, rkey, _ := strings.Cut(r.Path, "/")
	collection, err := syntax.ParseNSID(name)
	if err == nil {
		_, err = syntax.ParseRecordKey(rkey)
	}
	if err != nil {
		a.report("record %q has no valid path: %v", r.Path, err)
	}
	if got := repo.CIDOf(r.Body); got != r.CID {
		a.report("record %s is %s, but its bytes hash to %s", r.Path, r.CID, got)
	}
	if r.Rev > a.row.head.Commit.Rev {
		a.report("record %s has revision %s, which comes after the head's %s", r.Path, r.Rev, a.row.head.Commit.Rev)
	}
	var want []cid.Cid
	if data, err := repo.DecodeRecord(r.Body); err != nil {
		a.report("record %s is unreadable: %v", r.Path, err)
	} else {
		want = repo.BlobLinks(data)
	}
	if err := refs.compare(r.Path, want); err != nil {
		return err
	}
	if name == a.lastCollection {
		return nil
	}
	a.lastCollection = name
	return a.listed(collection)
}

// listed checks that the account can be found by the collection.
func (a *accountCheck) listed(collection syntax.NSID) error {
	const query = "SELECT EXISTS (SELECT 1 FROM collection WHERE collection = ? AND account = ?)"
	var ok bool
	if err := a.q.queryRow(a.ctx, query, collection.String(), int64(a.acct.ID)).Scan(&ok); err != nil {
		return err
	}
	if !ok {
		a.report("is not listed under collection %s, of which it has records", collection)
	}
	return nil
}

// refCheck goes through the stored blob references of an account beside the pass over its records.
type refCheck struct {
	a    *accountCheck
	rows *sql.Rows
	path string // of the reference that is up next; "" at the end
	cid  cid.Cid
}

func (a *accountCheck) openRefs() (*refCheck, error) {
	rows, err := a.q.query(a.ctx, "SELECT path, cid FROM blob_ref WHERE account = ? ORDER BY path, cid", int64(a.acct.ID))
	if err != nil {
		return nil, err
	}
	r := &refCheck{a: a, rows: rows}
	return r, r.next()
}

func (r *refCheck) close() { _ = r.rows.Close() }

func (r *refCheck) next() error {
	r.path = ""
	if !r.rows.Next() {
		return r.rows.Err()
	}
	var raw sql.RawBytes
	if err := r.rows.Scan(&r.path, &raw); err != nil {
		return err
	}
	var err error
	r.cid, err = parseCID(raw)
	return err
}

// compare checks the references of one record. Paths come in rising order.
func (r *refCheck) compare(path string, want []cid.Cid) error {
	for r.path != "" && r.path < path {
		r.a.report("blob %s is noted as used by %s, which is no record", r.cid, r.path)
		if err := r.next(); err != nil {
			return err
		}
	}
	var got []cid.Cid
	for r.path == path && path != "" {
		got = append(got, r.cid)
		if err := r.next(); err != nil {
			return err
		}
	}
	for _, c := range got {
		if !slices.Contains(want, c) {
			r.a.report("blob %s is noted as used by %s, which does not name it", c, path)
		}
	}
	for _, c := range want {
		if !slices.Contains(got, c) {
			r.a.report("blob %s is used by %s, but that is not noted", c, path)
		}
	}
	return nil
}

// drain reports what is left after the last record.
func (r *refCheck) drain() error { return r.compare("\U0010FFFF", nil) }

// blobs checks that exactly those blobs are public that records refer to. That a blob is missing is no fault: so it is after an import, or a loss.
func (a *accountCheck) blobs() error {
	const query = `SELECT cid, referenced FROM blob b WHERE account = ?1 AND takedown_ref IS NULL
		AND referenced <> EXISTS (SELECT 1 FROM blob_ref f WHERE f.account = ?1 AND f.cid = b.cid)`
	type row struct {
		cid        []byte
		referenced bool
	}
	rows, err := a.q.query(a.ctx, query, int64(a.acct.ID))
	all, err := collect(rows, err, func(rows *sql.Rows, r *row) error { return rows.Scan(&r.cid, &r.referenced) })
	if err != nil {
		return err
	}
	for _, r := range all {
		c, err := parseCID(r.cid)
		switch {
		case err != nil:
			a.report("blob with an unreadable CID: %v", err)
		case r.referenced:
			a.report("blob %s is public, but no record refers to it", c)
		default:
			a.report("blob %s is private, although records refer to it", c)
		}
	}
	return nil
}
