package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"github.com/ipfs/go-cid"

	"perch/repo"
	"perch/repo/mst"
)

// ErrOvertaken says that a repository has changed while it was read as a whole, and that what it was could not be kept any longer. To read it again may help.
var ErrOvertaken = errors.New("repository has changed while it was read")

// Snapshot is a consistent view of one repository while others go on writing. It holds a connection of a small pool until Close. It is for one goroutine.
//
// Its read transaction keeps the write-ahead log from being reused. When the log has grown too much, the transaction is ended between two reads, however
// slowly its owner reads, and the next read begins a new one. What comes then still fits Head and Tree or is an error, mst.ErrCorrupt as
// a rule, which Cause explains: only a repository that was written to meanwhile, where it had not been read yet, ends so.
type Snapshot struct {
	Head repo.Head
	Tree mst.Tree

	s    *Store
	ctx  context.Context
	acct AccountID
	conn *sql.Conn
	once sync.Once

	mu    sync.Mutex // held during each read, and while a transaction is ended from outside
	live  bool       // a transaction is under way; guarded by mu
	begun bool       // there was one before; guarded by mu
	moved bool       // the head is not Head any more; guarded by mu
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
	sn := &Snapshot{s: s, ctx: ctx, acct: acct, conn: conn}
	s.gate.add(sn)
	if err := sn.read(sn.open); err != nil {
		sn.Close()
		return nil, err
	}
	return sn, nil
}

func (sn *Snapshot) open(q connQuerier) error {
	row, err := readRepo(sn.ctx, q, sn.acct)
	if err != nil {
		return err
	}
	s := sn.s
	warm := s.trees.get(sn.acct)
	if warm == nil || warm.head.CID != row.head.CID {
		stale := warm != nil
		if warm, err = s.load(sn.ctx, q, sn.acct); err != nil {
			return err
		}
		if !stale { // else somebody is committing and will put a newer one there
			s.trees.put(sn.acct, warm)
		}
	}
	sn.Head, sn.Tree = warm.head, warm.tree
	return nil
}

// read calls fn, which must wait for nothing but the database, with a transaction under way.
func (sn *Snapshot) read(fn func(q connQuerier) error) error {
	if err := sn.lock(); err != nil {
		return err
	}
	defer sn.mu.Unlock()
	q := connQuerier{sn.conn}
	if !sn.live {
		if err := sn.begin(q); err != nil {
			return err
		}
	}
	return fn(q)
}

// lock takes mu at a time when there is a transaction, or one may begin.
func (sn *Snapshot) lock() error {
	for {
		if err := sn.ctx.Err(); err != nil {
			return err
		}
		sn.mu.Lock()
		shut := sn.s.gate.shut()
		if sn.live || shut == nil {
			return nil
		}
		sn.mu.Unlock()
		select {
		case <-shut:
		case <-sn.ctx.Done():
		}
	}
}

func (sn *Snapshot) begin(q connQuerier) error {
	if _, err := sn.conn.ExecContext(sn.ctx, "BEGIN"); err != nil {
		return err
	}
	sn.live = true
	if !sn.begun {
		sn.begun = true
		return nil
	}
	row, err := readRepo(sn.ctx, q, sn.acct)
	sn.moved = sn.moved || err != nil || row.head.CID != sn.Head.CID
	return err
}

// pause ends the transaction between two reads. The next read begins another.
func (sn *Snapshot) pause() {
	sn.mu.Lock()
	defer sn.mu.Unlock()
	if sn.live {
		sn.live = false
		_, _ = sn.conn.ExecContext(context.Background(), "ROLLBACK")
	}
}

// Cause explains an error that came of what the snapshot gave: ErrOvertaken if that is why records and tree did not fit, else err.
func (sn *Snapshot) Cause(err error) error {
	if err != nil && sn.Moved() && !errors.Is(err, ErrOvertaken) {
		return fmt.Errorf("%w: %w", ErrOvertaken, err)
	}
	return err
}

// Moved tells whether the repository may have changed between two reads.
func (sn *Snapshot) Moved() bool {
	sn.mu.Lock()
	defer sn.mu.Unlock()
	return sn.moved
}

// Close ends the snapshot. It may be called more than once.
func (sn *Snapshot) Close() {
	sn.once.Do(func() {
		sn.s.gate.remove(sn)
		sn.pause()
		_ = sn.conn.Close()
	})
}

// Body returns the record under path, or ErrNotFound.
func (sn *Snapshot) Body(ctx context.Context, path string) (body []byte, err error) {
	err = sn.read(func(q connQuerier) error {
		if sn.moved {
			return ErrOvertaken
		}
		const query = "SELECT body FROM record WHERE account = ? AND path = ?"
		return q.queryRow(ctx, query, int64(sn.acct), path).Scan(&body)
	})
	return body, err
}

// scanRows is how many records are scanned in one go.
const scanRows = 4096

var errPageFull = errors.New("page is full")

// Scan implements mst.Source.
func (sn *Snapshot) Scan(lo, hi string, yield func(key string, value cid.Cid) error) error {
	var page []mst.Entry
	for {
		page = page[:0]
		err := sn.read(func(q connQuerier) error {
			return source{sn.ctx, q, sn.acct}.Scan(lo, hi, func(key string, value cid.Cid) error {
				page = append(page, mst.Entry{Key: key, Value: value})
				if len(page) == scanRows {
					return errPageFull
				}
				return nil
			})
		})
		if err != nil && err != errPageFull {
			return err
		}
		for _, e := range page {
			if err := yield(e.Key, e.Value); err != nil {
				return err
			}
		}
		if err == nil {
			return nil
		}
		lo = page[len(page)-1].Key
	}
}
