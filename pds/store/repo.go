package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/pds/event"
	"perch/repo"
)

// RepoStats are the sizes of a repository, kept up to date with every commit.
type RepoStats struct {
	Records int64
	Bytes   int64 // of all records
}

// Head returns the latest commit of a repository, or ErrNotFound, or ErrReplacing.
func (s *Store) Head(ctx context.Context, acct AccountID) (repo.Head, RepoStats, error) {
	r, err := readRepo(ctx, s.read, acct)
	return r.head, r.RepoStats, err
}

// Head is Store.Head as the transaction sees it.
func (tx *Tx) Head(ctx context.Context, acct AccountID) (repo.Head, RepoStats, error) {
	r, err := readRepo(ctx, tx, acct)
	return r.head, r.RepoStats, err
}

// repoRow is a row of the table repo.
type repoRow struct {
	head repo.Head
	RepoStats
	outline int // layer of the stored outline; 0: none
}

func readRepo(ctx context.Context, q querier, acct AccountID) (repoRow, error) {
	const query = "SELECT head, block, records, bytes, outline, replacing IS NOT NULL FROM repo WHERE account = ?"
	var r repoRow
	var head []byte
	var replacing bool
	err := q.queryRow(ctx, query, int64(acct)).Scan(&head, &r.head.Block, &r.Records, &r.Bytes, &r.outline, &replacing)
	if err == nil && replacing {
		err = ErrReplacing
	}
	if err != nil {
		return repoRow{}, fmt.Errorf("repository of account %d: %w", acct, err)
	}
	if r.head.CID, err = parseCID(head); err != nil {
		return repoRow{}, err
	}
	if r.head.Commit, err = repo.ParseCommit(r.head.Block); err != nil {
		return repoRow{}, fmt.Errorf("repository of account %d: %w", acct, err)
	}
	return r, nil
}

// InsertRepo stores the first commit of a repository, made by repo.Apply without a head, whose account CreateAccount has just made. If
// the account is active, the network is told in the order that relays want: #identity, #account, #commit, #sync.
func (tx *Tx) InsertRepo(ctx context.Context, acct *Account, d *repo.Diff) error {
	const insert = "INSERT INTO repo (account, head, block, rev, data, records, bytes) VALUES (?, ?, ?, ?, ?, 0, 0)"
	h := d.Head
	_, err := tx.exec(ctx, insert, int64(acct.ID), h.CID.Bytes(), h.Block, h.Commit.Rev.String(), h.Commit.Data.Bytes())
	if err != nil {
		return fmt.Errorf("create repository of %s: %w", acct.DID, err)
	}
	c := &change{tx: tx, ctx: ctx, acct: acct.ID, did: acct.DID, diff: d}
	if err := c.writeRecords(); err != nil {
		return err
	}
	if err := c.writeHead(); err != nil {
		return err
	}
	if !acct.Active() {
		return nil
	}
	return tx.announce(acct, d)
}

func (tx *Tx) announce(acct *Account, d *repo.Diff) error {
	now := tx.Now()
	for _, next := range []func() (event.Event, error){
		func() (event.Event, error) { return event.NewIdentity(acct.DID, acct.Handle, now) },
		func() (event.Event, error) { return event.NewAccount(acct.DID, true, "", now) },
		func() (event.Event, error) { return event.NewCommit(acct.DID, d, now) },
		func() (event.Event, error) { return event.NewSync(acct.DID, d.Head, now) },
	} {
		e, err := next()
		if err != nil {
			return err
		}
		if _, err := tx.AppendEvent(acct.ID, e); err != nil {
			return err
		}
	}
	return nil
}

// RepoInfo is a repository in a list.
type RepoInfo struct {
	Account AccountID
	DID     syntax.DID
	Head    cid.Cid
	Rev     syntax.TID
	Status  string // as Account.Status
}

// statusColumn is Account.Status in SQL; the account table goes by the name a.
const statusColumn = `CASE WHEN a.deleted_at IS NOT NULL THEN '` + StatusDeleted + `' WHEN a.takedown_ref IS NOT NULL THEN '` + StatusTakendown +
	`' WHEN a.suspended_at IS NOT NULL THEN '` + StatusSuspended + `' WHEN a.deactivated_at IS NOT NULL THEN '` + StatusDeactivated + `' ELSE '' END`

// ListRepos lists all repositories, of inactive accounts too, at most limit. cursor is "" or what the page before returned as next, which is "" on the last page.
func (s *Store) ListRepos(ctx context.Context, cursor string, limit int) (repos []RepoInfo, next string, err error) {
	const query = "SELECT a.id, a.did, r.head, r.rev, " + statusColumn +
		" FROM repo r JOIN account a ON a.id = r.account WHERE r.account > ? ORDER BY r.account LIMIT ?"
	after, err := parseCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	rows, err := s.read.query(ctx, query, after, limit+1)
	repos, err = collect(rows, err, func(rows *sql.Rows, r *RepoInfo) error {
		var head []byte
		if err := rows.Scan(&r.Account, &r.DID, &head, &r.Rev, &r.Status); err != nil {
			return err
		}
		var err error
		r.Head, err = parseCID(head)
		return err
	})
	if err == nil && len(repos) > limit {
		repos = repos[:limit]
		next = formatCursor(repos[limit-1].Account)
	}
	return repos, next, err
}

// ReposByCollection lists the active accounts that have records in a collection. The cursor is as for ListRepos.
func (s *Store) ReposByCollection(ctx context.Context, collection syntax.NSID, cursor string, limit int) (dids []syntax.DID, next string, err error) {
	const query = "SELECT a.id, a.did FROM collection c JOIN account a ON a.id = c.account" +
		" WHERE c.collection = ? AND c.account > ? AND " + statusColumn + " = '' ORDER BY c.account LIMIT ?"
	after, err := parseCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	rows, err := s.read.query(ctx, query, collection.String(), after, limit+1)
	found, err := collect(rows, err, func(rows *sql.Rows, r *RepoInfo) error { return rows.Scan(&r.Account, &r.DID) })
	if err != nil {
		return nil, "", err
	}
	if len(found) > limit {
		found = found[:limit]
		next = formatCursor(found[limit-1].Account)
	}
	for _, r := range found {
		dids = append(dids, r.DID)
	}
	return dids, next, nil
}

// ErrCursor says that a page cursor is not one that a list returned.
var ErrCursor = errors.New("cursor is not one of this list")

func formatCursor(id AccountID) string { return strconv.FormatInt(int64(id), 10) }

func parseCursor(cursor string) (int64, error) {
	if cursor == "" {
		return 0, nil
	}
	id, err := strconv.ParseInt(cursor, 10, 64)
	if err != nil || id < 0 {
		return 0, ErrCursor
	}
	return id, nil
}
