package store

import (
	"context"
	"database/sql"
	"io"
	"sync"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/repo"
	"perch/repo/mst"
)

// Snapshot is a consistent view of one repository while others go on writing. It holds a connection of a small pool until Close: a read transaction keeps
// the write-ahead log from being reused. It is for one goroutine.
type Snapshot struct {
	Head repo.Head
	Tree mst.Tree

	source
	conn *sql.Conn
	once sync.Once
}

var _ mst.Source = (*Snapshot)(nil)

// connQuerier reads on one connection of a pool. Statements are not kept.
type connQuerier struct{ conn *sql.Conn }

func (c connQuerier) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return c.conn.QueryContext(ctx, query, args...)
}

func (c connQuerier) queryRow(ctx context.Context, query string, args ...any) row {
	return row{row: c.conn.QueryRowContext(ctx, query, args...)}
}

// Snapshot opens a view of the repository as it is now, or returns ErrNotFound. It waits while too many others are open. ctx governs all reads of the
// snapshot. Close it.
func (s *Store) Snapshot(ctx context.Context, acct AccountID) (*Snapshot, error) {
	conn, err := s.snaps.Conn(ctx)
	if err != nil {
		return nil, err
	}
	sn := &Snapshot{source: source{ctx, connQuerier{conn}, acct}, conn: conn}
	if err := s.openSnapshot(ctx, sn); err != nil {
		sn.Close()
		return nil, err
	}
	return sn, nil
}

func (s *Store) openSnapshot(ctx context.Context, sn *Snapshot) error {
	if _, err := sn.conn.ExecContext(ctx, "BEGIN"); err != nil {
		return err
	}
	row, err := readRepo(ctx, sn.q, sn.acct)
	if err != nil {
		return err
	}
	warm := s.trees.get(sn.acct)
	if warm == nil || warm.head.CID != row.head.CID {
		stale := warm != nil
		if warm, err = s.load(ctx, sn.q, sn.acct); err != nil {
			return err
		}
		if !stale { // else somebody is committing and will put a newer one there
			s.trees.put(sn.acct, warm)
		}
	}
	sn.Head, sn.Tree = warm.head, warm.tree
	return nil
}

// Close ends the snapshot. It may be called more than once.
func (sn *Snapshot) Close() {
	sn.once.Do(func() {
		_, _ = sn.conn.ExecContext(context.Background(), "ROLLBACK")
		_ = sn.conn.Close()
	})
}

// Body returns the record under path, or ErrNotFound.
func (sn *Snapshot) Body(ctx context.Context, path string) ([]byte, error) {
	var body []byte
	const query = "SELECT body FROM record WHERE account = ? AND path = ?"
	err := sn.q.queryRow(ctx, query, int64(sn.acct), path).Scan(&body)
	return body, err
}

// Bodies is a pass over all records in the order of the tree.
type Bodies struct {
	rows *sql.Rows
	body sql.RawBytes
}

// Bodies starts a pass over all records, for repo.Export. The bodies of records written at the revision since or before are left out; "" leaves out none.
// Only one pass may be under way. Close it.
func (sn *Snapshot) Bodies(ctx context.Context, since syntax.TID) (*Bodies, error) {
	const query = "SELECT path, cid, CASE WHEN rev > ?2 THEN body END FROM record WHERE account = ?1 ORDER BY path"
	rows, err := sn.q.query(ctx, query, int64(sn.acct), since.String())
	if err != nil {
		return nil, err
	}
	return &Bodies{rows: rows}, nil
}

// Next returns the next record, io.EOF after the last. The body, nil when it is left out, is valid until the call after.
func (b *Bodies) Next() (path string, c cid.Cid, body []byte, err error) {
	if !b.rows.Next() {
		if err := b.rows.Err(); err != nil {
			return "", cid.Undef, nil, err
		}
		return "", cid.Undef, nil, io.EOF
	}
	var raw sql.RawBytes
	if err := b.rows.Scan(&path, &raw, &b.body); err != nil {
		return "", cid.Undef, nil, err
	}
	if c, err = parseCID(raw); err != nil {
		return "", cid.Undef, nil, err
	}
	return path, c, b.body, nil
}

// Close ends the pass.
func (b *Bodies) Close() error { return b.rows.Close() }
