package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/ipfs/go-cid"

	"perch/repo"
	"perch/repo/mst"
)

// Problem is something that Check found wrong.
type Problem struct {
	Account AccountID // 0: of the database as a whole
	DID     string    // of the account
	Text    string    // one line: what is wrong, where, and what it means
}

// String is the problem on one line.
func (p Problem) String() string {
	if p.DID == "" {
		return p.Text
	}
	return p.DID + ": " + p.Text
}

// maxProblems bounds the problems that Check reports of one account.
const maxProblems = 100

// Check verifies an account, or all of them and the database file if acct is 0: that the records make the tree which the commit names and signs; that
// counts, collections, blob references and the stored outline agree with them; and that the events form an unbroken chain up to the head. It only
// reads, may run beside writes, and keeps its memory flat whatever the size. progress, unless nil, is told of each account that is done.
//
// The error is for a check that could not be finished; what is wrong with the data is in the problems.
func (s *Store) Check(ctx context.Context, acct AccountID, progress func(done, total int)) ([]Problem, error) {
	c := &checker{s: s, ctx: ctx, found: map[AccountID]int{}}
	if acct != 0 {
		if err := c.account(acct); err != nil {
			return c.problems, err
		}
		return c.problems, c.inSnapshot(func() error { return c.events(acct) })
	}
	if err := c.file(); err != nil {
		return c.problems, err
	}
	if err := c.accounts(progress); err != nil {
		return c.problems, err
	}
	return c.problems, c.inSnapshot(func() error {
		if err := c.strays(); err != nil {
			return err
		}
		return c.events(0)
	})
}

// checker is one Check under way.
type checker struct {
	s        *Store
	ctx      context.Context
	q        querier // of the snapshot that is open
	problems []Problem
	found    map[AccountID]int
}

func (c *checker) report(acct AccountID, did, format string, args ...any) {
	switch c.found[acct]++; {
	case c.found[acct] == maxProblems:
		format, args = "and more that are not listed", nil
	case c.found[acct] > maxProblems:
		return
	}
	c.problems = append(c.problems, Problem{Account: acct, DID: did, Text: fmt.Sprintf(format, args...)})
}

// inSnapshot runs fn with c.q showing one state.
func (c *checker) inSnapshot(fn func() error) error {
	conn, err := c.s.snaps.Conn(c.ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(c.ctx, "BEGIN"); err != nil {
		return err
	}
	defer func() { _, _ = conn.ExecContext(context.Background(), "ROLLBACK") }()
	c.q = connQuerier{conn}
	return fn()
}

// file has SQLite look over its own structures.
func (c *checker) file() error {
	rows, err := c.s.read.db.QueryContext(c.ctx, "PRAGMA quick_check(20)") // long, so it can be broken off
	lines, err := collect(rows, err, scanOne[string])
	for _, line := range lines {
		if line != "ok" {
			c.report(0, "", "database file: %s", line)
		}
	}
	return err
}

func (c *checker) accounts(progress func(done, total int)) error {
	var total int
	if err := c.s.read.queryRow(c.ctx, "SELECT count(*) FROM account").Scan(&total); err != nil {
		return err
	}
	const page = 500
	for after, done := AccountID(0), 0; ; {
		rows, err := c.s.read.query(c.ctx, "SELECT id FROM account WHERE id > ? ORDER BY id LIMIT ?", int64(after), page)
		ids, err := collect(rows, err, scanOne[AccountID])
		if err != nil || len(ids) == 0 {
			return err
		}
		for _, id := range ids {
			if err := c.account(id); err != nil {
				return err
			}
			if done++; progress != nil {
				progress(done, max(total, done))
			}
		}
		after = ids[len(ids)-1]
	}
}

func (c *checker) account(id AccountID) error {
	return c.inSnapshot(func() error {
		a, err := accountWhere(c.ctx, c.q, accountByID, int64(id))
		if err != nil {
			return err
		}
		return (&accountCheck{checker: c, acct: a}).run()
	})
}

// strays looks for rows that belong to no repository.
func (c *checker) strays() error {
	const next = "SELECT account FROM record WHERE account > ? ORDER BY account LIMIT 1"
	const known = "SELECT EXISTS (SELECT 1 FROM repo WHERE account = ?)"
	for id := int64(0); ; {
		switch err := c.q.queryRow(c.ctx, next, id).Scan(&id); err {
		case nil:
		case ErrNotFound:
			return c.strayCollections()
		default:
			return err
		}
		var ok bool
		if err := c.q.queryRow(c.ctx, known, id).Scan(&ok); err != nil {
			return err
		}
		if !ok {
			c.report(AccountID(id), "", "account %d has records but no repository: its deletion was not finished", id)
		}
	}
}

func (c *checker) strayCollections() error {
	const query = `SELECT account, collection FROM collection c WHERE NOT EXISTS
		(SELECT 1 FROM record r WHERE r.account = c.account AND r.path > c.collection || '/' AND r.path < c.collection || '0')`
	type row struct {
		acct AccountID
		name string
	}
	rows, err := c.q.query(c.ctx, query)
	all, err := collect(rows, err, func(rows *sql.Rows, r *row) error { return rows.Scan(&r.acct, &r.name) })
	for _, r := range all {
		c.report(r.acct, "", "account %d is listed under collection %s, of which it has no records", r.acct, r.name)
	}
	return err
}

// accountCheck checks one account and its repository.
type accountCheck struct {
	*checker
	acct *Account
	row  repoRow

	records, bytes int64 // seen
	lastCollection string
}

func (a *accountCheck) report(format string, args ...any) {
	a.checker.report(a.acct.ID, a.acct.DID.String(), format, args...)
}

func (a *accountCheck) run() error {
	var err error
	a.row, err = readRepo(a.ctx, a.q, a.acct.ID)
	switch {
	case errors.Is(err, ErrNotFound):
		if a.acct.DeletedAt.IsZero() {
			a.report("has no repository")
		}
		return nil
	case a.ctx.Err() != nil:
		return a.ctx.Err()
	case errors.Is(err, ErrReplacing):
		a.report("an import is not finished: the server goes on with it by itself while it runs")
		return nil
	case err != nil:
		a.report("head is unreadable: %v", err)
		return nil
	}
	if err := a.head(); err != nil {
		return err
	}
	if err := a.tree(); err != nil {
		return err
	}
	if err := a.outline(); err != nil {
		return err
	}
	return a.blobs()
}

// head checks the commit against its own bytes, the account and the columns beside it.
func (a *accountCheck) head() error {
	var rev string
	var data []byte
	err := a.q.queryRow(a.ctx, "SELECT rev, data FROM repo WHERE account = ?", int64(a.acct.ID)).Scan(&rev, &data)
	if err != nil {
		return err
	}
	h := &a.row.head
	if got := repo.CIDOf(h.Block); got != h.CID {
		a.report("head is %s, but the commit's bytes hash to %s", h.CID, got)
	}
	if h.Commit.DID != a.acct.DID {
		a.report("commit %s is of another account, %s", h.CID, h.Commit.DID)
	}
	if rev != h.Commit.Rev.String() || string(data) != h.Commit.Data.KeyString() {
		a.report("columns rev and data of the repository do not agree with its commit %s", h.CID)
	}
	if !a.acct.DeletedAt.IsZero() {
		return nil // its key is gone
	}
	key, err := atcrypto.ParsePublicDIDKey(a.acct.SigningKeyDID)
	if err != nil {
		a.report("signing key %q is unreadable: %v", a.acct.SigningKeyDID, err)
	} else if err := h.Commit.Verify(key); err != nil {
		a.report("commit %s is not signed by the account's key: %v", h.CID, err)
	}
	return nil
}

// tree makes the tree out of all records, each of which it checks in passing, and compares what it sums up to.
func (a *accountCheck) tree() error {
	refs, err := a.openRefs()
	if err != nil {
		return err
	}
	defer refs.close()
	tree, err := mst.Derive(scanFunc(func(yield func(string, cid.Cid) error) error { return a.scan(refs, yield) }), outlineLayer)
	if err == nil {
		err = refs.drain()
	}
	switch {
	case a.ctx.Err() != nil:
		return a.ctx.Err()
	case err != nil:
		a.report("records cannot be read as a tree: %v", err)
		return nil
	}
	if want := a.row.head.Commit.Data; tree.Root() != want {
		a.report("records make the tree %s, the commit names %s", tree.Root(), want)
	}
	if a.records != a.row.Records || a.bytes != a.row.Bytes {
		a.report("has %d records of %d bytes, but is counted as %d of %d", a.records, a.bytes, a.row.Records, a.row.Bytes)
	}
	return nil
}

// scanFunc is a source that can only be scanned as a whole.
type scanFunc func(yield func(string, cid.Cid) error) error

// Scan implements mst.Source.
func (fn scanFunc) Scan(_, _ string, yield func(string, cid.Cid) error) error { return fn(yield) }

func (a *accountCheck) scan(refs *refCheck, yield func(string, cid.Cid) error) error {
	const query = "SELECT " + recordColumns + " FROM record WHERE account = ? ORDER BY path"
	rows, err := a.q.query(a.ctx, query, int64(a.acct.ID))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var r Record
		if err := scanRecord(rows.Scan, &r); err != nil {
			return err
		}
		if err := a.record(&r, refs); err != nil {
			return err
		}
		if err := yield(r.Path, r.CID); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (a *accountCheck) outline() error {
	if a.row.outline == 0 {
		return nil
	}
	tree, err := readOutline(a.ctx, a.q, a.acct.ID, a.row.outline)
	if a.ctx.Err() != nil {
		return a.ctx.Err()
	}
	if err != nil || tree.Root() != a.row.head.Commit.Data {
		a.report("stored outline does not fit the tree; the next write makes it anew (%v)", err)
	}
	return nil
}
