package store

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"time"
)

// Audit is a line of the audit log: what an administrator has done. Lines are never changed nor removed.
type Audit struct {
	ID      int64
	At      time.Time
	Kind    string // of the actor: account, password, moderator, command-line
	Actor   string // DID; "" for those who have shown the admin password
	Address string // from which the request came; "" for a command that was given while the server did not run
	Action  string
	Subject string // DID of an account; "" when it is about none
	Detail  string // what else it is about: a record, a blob, codes
	Reason  string
	Result  string // AuditBegun, AuditDone, or the name of the error
}

// Results of an Audit that are no errors.
const (
	AuditBegun = "begun" // has more than one step: another line tells how it ended
	AuditDone  = "done"
)

// AddAudit appends a line. ID and At are ignored.
func (tx *Tx) AddAudit(ctx context.Context, a Audit) error {
	_, err := tx.exec(ctx, `INSERT INTO audit (at, kind, actor, address, action, subject, detail, reason, result) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		micros(tx.now), a.Kind, a.Actor, a.Address, a.Action, a.Subject, a.Detail, a.Reason, a.Result)
	if err != nil {
		return fmt.Errorf("add to the audit log: %w", err)
	}
	return nil
}

// AuditQuery chooses lines of the audit log. What is "" or 0 does not count.
type AuditQuery struct {
	Subject string // DID
	Actor   string // DID or kind
	Before  int64  // id
	Limit   int
}

// Audits lists lines of the audit log, the newest first.
func (s *Store) Audits(ctx context.Context, q AuditQuery) ([]Audit, error) {
	const columns = `SELECT id, at, kind, actor, address, action, subject, detail, reason, result FROM audit WHERE (?1 = 0 OR id < ?1)`
	query, args := columns, []any{q.Before, q.Limit}
	if q.Subject != "" { // one text for each way to ask, so that each finds its index
		query, args = query+` AND subject = ?3`, append(args, q.Subject)
	}
	if q.Actor != "" {
		query, args = query+fmt.Sprintf(` AND (actor = ?%d OR kind = ?%d)`, len(args)+1, len(args)+1), append(args, q.Actor)
	}
	rows, err := s.read.query(ctx, query+` ORDER BY id DESC LIMIT ?2`, args...)
	return collect(rows, err, func(r *sql.Rows, a *Audit) error {
		var at int64
		err := r.Scan(&a.ID, &at, &a.Kind, &a.Actor, &a.Address, &a.Action, &a.Subject, &a.Detail, &a.Reason, &a.Result)
		a.At = fromMicros(at)
		return err
	})
}

// auditNote is a line that waits for the first transaction of what it is about.
type auditNote struct {
	line    Audit
	written atomic.Bool
}

type auditKey struct{}

// WithAudit returns a context whose first transaction that succeeds, by Update or Commit, holds the line, too: what was done and that it was done are on disk
// together or not at all. written tells whether there was one.
func WithAudit(ctx context.Context, line Audit) (audited context.Context, written func() bool) {
	note := &auditNote{line: line}
	return context.WithValue(ctx, auditKey{}, note), note.written.Load
}

// join has the job write the line that waits in ctx.
func (j *job) join(ctx context.Context) {
	note, _ := ctx.Value(auditKey{}).(*auditNote)
	if note == nil || note.written.Load() {
		return
	}
	fn := j.fn
	j.atomic = false
	j.fn = func(tx *Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		tx.AfterCommit(func() { note.written.Store(true) })
		return tx.AddAudit(ctx, note.line)
	}
}
