package store

import (
	"context"
	"database/sql"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// freshSample is how many records RecordsSince looks at to see whether a revision is one that the repository knows.
const freshSample = 100

// RecordsSince returns records of the collections that were written after the revision rev, the greatest record key of each collection first.
// It looks at no more than the newest scan records of each collection. Records that are taken down are among them.
//
// There is no index on rev, and there shall be none: every write would pay for it. What somebody has just written is at the end of its
// collection, because record keys are TIDs in all collections that matter here, or there is only one record in it. A record with another
// kind of key, or with one from long ago, is not found, and appears when the AppView has it.
//
// Nothing is returned when all of the repository's first records are later than rev. That is the case after an import, for which everything is
// new at once, and says nothing about what the AppView knows.
func (s *Store) RecordsSince(ctx context.Context, acct AccountID, rev syntax.TID, collections []syntax.NSID, scan int) ([]Record, error) {
	head, err := repoRev(ctx, s.read, acct)
	if err != nil || head <= rev {
		return nil, err
	}
	known, err := revKnown(ctx, s.read, acct, rev)
	if err != nil || !known {
		return nil, err
	}
	const query = "SELECT " + recordColumns + " FROM (SELECT " + recordColumns +
		" FROM record WHERE account = ? AND path > ? AND path < ? ORDER BY path DESC LIMIT ?) WHERE rev > ? ORDER BY path DESC"
	var all []Record
	for _, collection := range collections {
		lo, hi := collectionRange(collection)
		rows, err := s.read.query(ctx, query, int64(acct), lo, hi, scan, rev.String())
		found, err := collect(rows, err, func(rows *sql.Rows, r *Record) error { return scanRecord(rows.Scan, r) })
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// repoRev reads the revision of a repository, or ErrNotFound.
func repoRev(ctx context.Context, q querier, acct AccountID) (rev syntax.TID, err error) {
	err = q.queryRow(ctx, "SELECT rev FROM repo WHERE account = ?", int64(acct)).Scan(&rev)
	return rev, err
}

// revKnown tells whether one of the first records of the repository, in the order of its tree, is as old as rev.
func revKnown(ctx context.Context, q querier, acct AccountID, rev syntax.TID) (known bool, err error) {
	const query = "SELECT EXISTS (SELECT 1 FROM (SELECT rev FROM record WHERE account = ? ORDER BY path LIMIT ?) WHERE rev <= ?)"
	err = q.queryRow(ctx, query, int64(acct), freshSample, rev.String()).Scan(&known)
	return known, err
}

// Rev is the revision of a repository, or the one before a replacement that is under way; ErrNotFound if there is none.
func (s *Store) Rev(ctx context.Context, acct AccountID) (syntax.TID, error) {
	return repoRev(ctx, s.read, acct)
}
