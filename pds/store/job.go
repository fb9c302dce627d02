package store

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Job is work that must survive a restart.
type Job struct {
	ID       int64
	Kind     string
	Payload  string // JSON
	RunAt    time.Time
	Attempts int    // that failed
	Error    string // of the last attempt
}

// AddJob adds work to be done at runAt or later, as part of the transaction.
func (tx *Tx) AddJob(ctx context.Context, kind, payload string, runAt time.Time) error {
	_, err := tx.exec(ctx, "INSERT INTO job (kind, payload, run_at) VALUES (?, ?, ?)", kind, payload, micros(runAt))
	if err != nil {
		return fmt.Errorf("add job %s: %w", kind, err)
	}
	return nil
}

// JobDelay is how long a job waits that is there only in case the process ends before the work is done.
const JobDelay = time.Minute

// CancelJob removes the jobs of a kind with exactly this payload, as part of the transaction. That there are none is no error.
func (tx *Tx) CancelJob(ctx context.Context, kind, payload string) error {
	if _, err := tx.exec(ctx, "DELETE FROM job WHERE kind = ? AND payload = ?", kind, payload); err != nil {
		return fmt.Errorf("cancel job %s: %w", kind, err)
	}
	return nil
}

// Jobs lists all jobs, those that are due next first.
func (s *Store) Jobs(ctx context.Context, limit int) ([]Job, error) {
	rows, err := s.read.query(ctx, "SELECT "+jobColumns+" FROM job ORDER BY run_at, id LIMIT ?", limit)
	return collect(rows, err, scanJob)
}

// CountJobs tells how many jobs there are, and how many of them have failed at least once.
func (s *Store) CountJobs(ctx context.Context) (all, failed int, err error) {
	err = s.read.queryRow(ctx, "SELECT count(*), coalesce(sum(attempts > 0), 0) FROM job").Scan(&all, &failed)
	return all, failed, err
}

// JobKind returns the kind of a job, or ErrNotFound.
func (s *Store) JobKind(ctx context.Context, id int64) (kind string, err error) {
	err = s.read.queryRow(ctx, "SELECT kind FROM job WHERE id = ?", id).Scan(&kind)
	return kind, err
}

// RunJobNow makes a job due, and returns its kind. The error is ErrNotFound.
func (tx *Tx) RunJobNow(ctx context.Context, id int64) (kind string, err error) {
	err = tx.queryRow(ctx, "UPDATE job SET run_at = min(run_at, ?) WHERE id = ? RETURNING kind", micros(tx.now), id).Scan(&kind)
	return kind, err
}

// RunMailNow makes the job of a message due. The error is ErrNotFound when there is none, because it was sent or given up.
func (tx *Tx) RunMailNow(ctx context.Context, id int64) error {
	n, err := tx.execCount(ctx, "UPDATE job SET run_at = min(run_at, ?) WHERE kind = ? AND payload = ?", micros(tx.now), JobMail, strconv.FormatInt(id, 10))
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

const jobColumns = "id, kind, payload, run_at, attempts, error"

func scanJob(rows *sql.Rows, j *Job) error {
	var at int64
	var text sql.NullString
	err := rows.Scan(&j.ID, &j.Kind, &j.Payload, &at, &j.Attempts, &text)
	j.RunAt, j.Error = fromMicros(at), text.String
	return err
}

// DueJobs lists the jobs of the kinds given, or of all without any, whose time has come, the longest waiting first, at most limit.
func (s *Store) DueJobs(ctx context.Context, now time.Time, limit int, kinds ...string) ([]Job, error) {
	query := "SELECT " + jobColumns + " FROM job WHERE run_at <= ?"
	args := []any{micros(now)}
	if len(kinds) > 0 {
		query += " AND kind IN (?" + strings.Repeat(", ?", len(kinds)-1) + ")"
		for _, kind := range kinds {
			args = append(args, kind)
		}
	}
	rows, err := s.read.query(ctx, query+" ORDER BY run_at, id LIMIT ?", append(args, limit)...)
	return collect(rows, err, scanJob)
}

// FinishJob removes a job that is done. That it is gone already is no error.
func (s *Store) FinishJob(ctx context.Context, id int64) error {
	return s.Update(ctx, func(tx *Tx) error {
		_, err := tx.exec(ctx, "DELETE FROM job WHERE id = ?", id)
		return err
	})
}

// maxCause bounds the text of an error that is kept, in bytes: others may have written it.
const maxCause = 1000

func causeText(cause error) string {
	text := cause.Error()
	if len(text) > maxCause {
		text = text[:maxCause] + "…"
	}
	return strings.ToValidUTF8(text, "")
}

// RetryJob notes that an attempt failed with cause and when to try again.
func (s *Store) RetryJob(ctx context.Context, id int64, runAt time.Time, cause error) error {
	return s.Update(ctx, func(tx *Tx) error {
		const update = "UPDATE job SET attempts = attempts + 1, run_at = ?, error = ? WHERE id = ?"
		_, err := tx.exec(ctx, update, micros(runAt), causeText(cause), id)
		return err
	})
}
