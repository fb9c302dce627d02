package store

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
)

// querier reads. A *Tx sees the transaction it belongs to, a *reader the last committed state. Query texts are constants: each is prepared
// once per connection and kept.
type querier interface {
	query(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	queryRow(ctx context.Context, query string, args ...any) row
}

// row is a *sql.Row, or the error that kept it from being made.
type row struct {
	row *sql.Row
	err error
}

// Scan copies the columns into dest. It returns ErrNotFound when there is no row.
func (r row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	err := r.row.Scan(dest...)
	if err == sql.ErrNoRows {
		return ErrNotFound
	}
	return err
}

// collect reads all rows with scan, which is called once for each of them, and closes them.
func collect[T any](rows *sql.Rows, err error, scan func(*sql.Rows, *T) error) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		var v T
		if err := scan(rows, &v); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// reader is the pool of connections for short reads. A context that has ended keeps a read from beginning, but does not break it off: these reads wait
// for nothing, and to watch the context would cost more than most of them do. What reads many rows looks at its context itself.
type reader struct {
	db    *sql.DB
	stmts sync.Map // query text → *sql.Stmt
}

func openReader(path string) (*reader, error) {
	n := readers()
	db, err := openPool(path, readPragmas, n, n)
	if err != nil {
		return nil, err
	}
	return &reader{db: db}, nil
}

func (r *reader) close() error { return r.db.Close() } // closes its statements too

func (r *reader) stmt(query string) (*sql.Stmt, error) {
	if st, ok := r.stmts.Load(query); ok {
		return st.(*sql.Stmt), nil
	}
	st, err := r.db.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	if prev, loaded := r.stmts.LoadOrStore(query, st); loaded {
		_ = st.Close()
		return prev.(*sql.Stmt), nil
	}
	return st, nil
}

func (r *reader) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	st, err := r.stmt(query)
	if err != nil {
		return nil, err
	}
	return st.QueryContext(context.Background(), args...)
}

func (r *reader) queryRow(ctx context.Context, query string, args ...any) row {
	if err := ctx.Err(); err != nil {
		return row{err: err}
	}
	st, err := r.stmt(query)
	if err != nil {
		return row{err: err}
	}
	return row{row: st.QueryRowContext(context.Background(), args...)}
}

// writeConn is the one connection that writes. Only the writer's goroutine uses it.
type writeConn struct {
	db    *sql.DB
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

// openWriterConn opens it. keepLog is how many bytes of the log's file stay when the log begins anew.
func openWriterConn(ctx context.Context, path string, keepLog int64) (*writeConn, error) {
	db, err := openPool(path, writePragmas+fmt.Sprintf("&_pragma=journal_size_limit(%d)", keepLog), 1, 1)
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	return &writeConn{db: db, conn: conn, stmts: make(map[string]*sql.Stmt)}, nil
}

func (c *writeConn) close() error {
	if c == nil || c.db == nil {
		return nil
	}
	for _, st := range c.stmts {
		_ = st.Close()
	}
	_ = c.conn.Close()
	err := c.db.Close()
	c.db = nil
	return err
}

func (c *writeConn) stmt(query string) (*sql.Stmt, error) {
	if st, ok := c.stmts[query]; ok {
		return st, nil
	}
	st, err := c.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	c.stmts[query] = st
	return st, nil
}

func (c *writeConn) exec(query string, args ...any) (sql.Result, error) {
	st, err := c.stmt(query)
	if err != nil {
		return nil, err
	}
	return st.ExecContext(context.Background(), args...)
}
