package store

import (
	"context"
	"database/sql"
	"time"
)

// Tx is the writer's transaction, as a job sees it. It is valid until the function it was given to returns, and only in that goroutine.
type Tx struct {
	s    *Store
	conn *writeConn
	now  time.Time

	events []StoredEvent // of this job, in order
	after  []func()      // run once the transaction is on disk
}

// Now is the time of the transaction, the same for all of a job.
func (tx *Tx) Now() time.Time { return tx.now }

// AfterCommit has fn called once the transaction is on disk, before the job's caller is answered. fn must be quick.
func (tx *Tx) AfterCommit(fn func()) { tx.after = append(tx.after, fn) }

// The context is for values only: a statement of the shared transaction cannot be cancelled, because SQLite would then roll back the work of
// the other jobs too.

func (tx *Tx) exec(_ context.Context, query string, args ...any) (sql.Result, error) {
	return tx.conn.exec(query, args...)
}

// execCount is exec for callers who want to know how many rows it changed.
func (tx *Tx) execCount(ctx context.Context, query string, args ...any) (int64, error) {
	res, err := tx.exec(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (tx *Tx) query(_ context.Context, query string, args ...any) (*sql.Rows, error) {
	st, err := tx.conn.stmt(query)
	if err != nil {
		return nil, err
	}
	return st.QueryContext(context.Background(), args...)
}

func (tx *Tx) queryRow(_ context.Context, query string, args ...any) row {
	st, err := tx.conn.stmt(query)
	if err != nil {
		return row{err: err}
	}
	return row{row: st.QueryRowContext(context.Background(), args...)}
}
