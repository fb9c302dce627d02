package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// errReplaceStopped ends the reading of a replacement's records when writing them has failed.
var errReplaceStopped = errors.New("replacement stopped")

// replaceMerge walks the records that are there and those that shall be side by side and puts the differences into chunks.
type replaceMerge struct {
	w      *replaceRun
	chunks chan<- *replaceChunk
	stop   <-chan struct{}
	err    error // set before chunks is closed

	old    []Record // a page of what is there: path and CID
	oldEnd bool     // no page after it
	chunk  *replaceChunk
	listed string // collection under which the account surely is
}

func (m *replaceMerge) run() {
	defer close(m.chunks)
	m.chunk = m.newChunk()
	m.err = m.page("")
	if m.err == nil {
		m.err = m.w.r.Records(m.add)
	}
	if m.err == nil {
		m.err = m.removeBefore("")
	}
	if m.err == nil {
		m.err = m.flush()
	}
}

// page reads what is there after a path. Rows that the replacement has written lie before it.
func (m *replaceMerge) page(after string) error {
	const query = "SELECT path, cid FROM record WHERE account = ? AND path > ? ORDER BY path LIMIT ?"
	rows, err := m.w.s.read.query(m.w.ctx, query, int64(m.w.r.Account), after, replaceRows)
	m.old, err = collect(rows, err, func(rows *sql.Rows, r *Record) error {
		var raw sql.RawBytes
		if err := rows.Scan(&r.Path, &raw); err != nil {
			return err
		}
		var err error
		r.CID, err = parseCID(raw)
		return err
	})
	m.oldEnd = len(m.old) < replaceRows
	return err
}

// next moves on to the following record of those that are there.
func (m *replaceMerge) next() error {
	last := m.old[0].Path
	if m.old = m.old[1:]; len(m.old) > 0 || m.oldEnd {
		return nil
	}
	return m.page(last)
}

func (m *replaceMerge) add(r NewRecord) error {
	if err := m.removeBefore(r.Path); err != nil {
		return err
	}
	m.w.stats.Records++
	m.w.stats.Bytes += int64(len(r.Body))
	exists := len(m.old) > 0 && m.old[0].Path == r.Path
	same := exists && m.old[0].CID == r.CID
	if exists {
		if err := m.next(); err != nil {
			return err
		}
	}
	if same {
		return nil
	}
	if r.Rev == "" {
		r.Rev = m.w.r.Head.Commit.Rev
	}
	if name, _, _ := strings.Cut(r.Path, "/"); name != m.listed {
		m.listed = name
		m.chunk.list = append(m.chunk.list, name)
	}
	if exists {
		m.chunk.replaced = append(m.chunk.replaced, r.Path)
	}
	m.chunk.put = append(m.chunk.put, r)
	m.chunk.bytes += len(r.Body)
	return m.flushFull()
}

// removeBefore removes what is there before a path, or all that is left if that is "".
func (m *replaceMerge) removeBefore(path string) error {
	for len(m.old) > 0 && (path == "" || m.old[0].Path < path) {
		m.chunk.remove = append(m.chunk.remove, m.old[0].Path)
		if err := m.flushFull(); err != nil {
			return err
		}
		if err := m.next(); err != nil {
			return err
		}
	}
	return nil
}

func (m *replaceMerge) flushFull() error {
	if len(m.chunk.put)+len(m.chunk.remove) < replaceRows && m.chunk.bytes < replaceBytes {
		return nil
	}
	return m.flush()
}

func (m *replaceMerge) flush() error {
	select {
	case m.chunks <- m.chunk:
	case <-m.stop:
		return errReplaceStopped
	}
	m.chunk = m.newChunk()
	return nil
}

func (m *replaceMerge) newChunk() *replaceChunk {
	return &replaceChunk{r: m.w.r, put: make([]NewRecord, 0, replaceRows)}
}

// replaceChunk is what one transaction of a replacement writes.
type replaceChunk struct {
	r        *Replacement
	put      []NewRecord // in order of their paths
	replaced []string    // of put, those that were there with another CID
	remove   []string
	list     []string // collections
	bytes    int
}

func (c *replaceChunk) write(tx *Tx) error {
	ctx, acct := context.Background(), int64(c.r.Account)
	if err := c.r.stillOurs(tx); err != nil {
		return err
	}
	if err := c.removeRows(ctx, tx); err != nil {
		return err
	}
	for _, path := range c.replaced {
		if _, err := tx.exec(ctx, "DELETE FROM blob_ref WHERE account = ? AND path = ?", acct, path); err != nil {
			return err
		}
	}
	if err := c.putRows(ctx, tx); err != nil {
		return err
	}
	for i := range c.put {
		for _, blob := range c.put[i].Blobs {
			const insert = "INSERT INTO blob_ref (account, path, cid) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
			if _, err := tx.exec(ctx, insert, acct, c.put[i].Path, blob.Bytes()); err != nil {
				return err
			}
		}
	}
	for _, name := range c.list {
		const insert = "INSERT INTO collection (collection, account) VALUES (?, ?) ON CONFLICT DO NOTHING"
		if _, err := tx.exec(ctx, insert, name, acct); err != nil {
			return err
		}
	}
	return tx.s.fault("chunk replaced")
}

// removeRows removes records with what hangs on them, and takes the account off the lists of collections that it leaves.
func (c *replaceChunk) removeRows(ctx context.Context, tx *Tx) error {
	const unlist = `DELETE FROM collection WHERE collection = ?1 AND account = ?2
		AND NOT EXISTS (SELECT 1 FROM record WHERE account = ?2 AND path > ?3 AND path < ?4)`
	acct := int64(c.r.Account)
	for i, path := range c.remove {
		if _, err := tx.exec(ctx, "DELETE FROM record WHERE account = ? AND path = ?", acct, path); err != nil {
			return err
		}
		if _, err := tx.exec(ctx, "DELETE FROM blob_ref WHERE account = ? AND path = ?", acct, path); err != nil {
			return err
		}
		name, _, _ := strings.Cut(path, "/")
		if i+1 < len(c.remove) && strings.HasPrefix(c.remove[i+1], name+"/") {
			continue
		}
		lo, hi := collectionRange(syntax.NSID(name))
		if _, err := tx.exec(ctx, unlist, name, acct, lo, hi); err != nil {
			return err
		}
	}
	return nil
}

// putBatch is the number of records that one statement writes. A statement costs more than a row.
const putBatch = 40

const (
	putHead   = "INSERT INTO record (account, path, cid, rev, subject, takedown_ref, body) VALUES "
	putValues = "(?, ?, ?, ?, ?, ?, ?)"
	putTail   = ` ON CONFLICT DO UPDATE SET cid = excluded.cid, rev = excluded.rev, subject = excluded.subject,
		takedown_ref = coalesce(excluded.takedown_ref, takedown_ref), body = excluded.body`
)

var (
	putOne  = putHead + putValues + putTail
	putMany = putHead + strings.Repeat(putValues+", ", putBatch-1) + putValues + putTail
)

func (c *replaceChunk) putRows(ctx context.Context, tx *Tx) error {
	args := make([]any, 0, 7*putBatch)
	for rest := c.put; len(rest) > 0; {
		query, n := putOne, 1
		if len(rest) >= putBatch {
			query, n = putMany, putBatch
		}
		args = args[:0]
		for i := range rest[:n] {
			r := &rest[i]
			args = append(args, int64(c.r.Account), r.Path, cidArg(r.CID), r.Rev.String(), nullArg(r.Subject), nullArg(r.TakedownRef), r.Body)
		}
		if _, err := tx.exec(ctx, query, args...); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// nullArg is NULL for "".
func nullArg(s string) any {
	if s == "" {
		return nil
	}
	return s
}
