package store

import (
	"context"
	"fmt"

	"perch/pds/event"
)

// deleteChunk is the number of rows deleted in one transaction, so that a large repository's end never holds up others for long.
const deleteChunk = 500

// DeleteRepo deletes all that an account has in its repository, its blobs' rows, and its events but those of the kind #account, which tell the network of the
// deletion. The bytes of the blobs are the caller's. The account must not be active. It works in small steps and may be called again when it was interrupted.
func (s *Store) DeleteRepo(ctx context.Context, acct AccountID) error {
	unlock, err := s.repoLocks.lock(ctx, acct)
	if err != nil {
		return err
	}
	defer unlock()
	defer s.trees.drop(acct)
	for _, query := range []string{
		"DELETE FROM repo WHERE account = ?1 AND ?2 > 0", // first: without its head nothing else counts
		"DELETE FROM record WHERE account = ?1 AND path IN (SELECT path FROM record WHERE account = ?1 LIMIT ?2)",
		"DELETE FROM outline WHERE account = ?1 AND path IN (SELECT path FROM outline WHERE account = ?1 LIMIT ?2)",
		"DELETE FROM blob_ref WHERE account = ?1 AND path IN (SELECT path FROM blob_ref WHERE account = ?1 LIMIT ?2)",
		"DELETE FROM blob WHERE account = ?1 AND cid IN (SELECT cid FROM blob WHERE account = ?1 LIMIT ?2)",
		"DELETE FROM collection WHERE account = ?1 AND ?2 > 0",
	} {
		if err := s.deleteAll(ctx, query, acct); err != nil {
			return fmt.Errorf("delete repository of account %d: %w", acct, err)
		}
	}
	return s.deleteEvents(ctx, acct)
}

// deleteAll repeats a delete until it finds nothing more.
func (s *Store) deleteAll(ctx context.Context, query string, acct AccountID) error {
	for n := int64(1); n > 0; {
		err := s.Update(ctx, func(tx *Tx) (err error) {
			n, err = tx.execCount(ctx, query, int64(acct), deleteChunk)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// deleteEvents finds the account's events by a pass over all, on a reader: they are kept in the order of the stream alone, and accounts are seldom deleted.
func (s *Store) deleteEvents(ctx context.Context, acct AccountID) error {
	const find = "SELECT seq FROM event WHERE account = ? AND kind <> ? AND seq > ? AND seq < ? ORDER BY seq LIMIT ?"
	for after := int64(0); ; {
		// The newest event stays, because it is what the next seq is counted from.
		rows, err := s.read.query(ctx, find, int64(acct), string(event.Account), after, s.LastSeq(), deleteChunk)
		seqs, err := collect(rows, err, scanOne[int64])
		if err != nil || len(seqs) == 0 {
			return err
		}
		err = s.Update(ctx, func(tx *Tx) error {
			for _, seq := range seqs {
				if _, err := tx.exec(ctx, "DELETE FROM event WHERE seq = ?", seq); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		after = seqs[len(seqs)-1]
	}
}
