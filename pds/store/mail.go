package store

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"time"
)

// JobMail is the kind of jobs that send a mail. The payload is its id in decimal.
const JobMail = "mail"

// Mail is a message: what waits to be sent, and for a while what became of it.
type Mail struct {
	ID        int64
	Account   AccountID // 0: of no account
	To        string    // address
	Subject   string
	Sealed    []byte // the message; nil once it was sent or given up
	CreatedAt time.Time
	ExpiresAt time.Time // of no use after
	Attempts  int       // that failed
	TriedAt   time.Time // zero: not yet
	Error     string    // of the last attempt
	SentAt    time.Time // zero: not sent
}

// Waits tells that it is still to be sent.
func (m *Mail) Waits() bool { return m.Sealed != nil }

// GivenUp tells that it was not sent and never will be.
func (m *Mail) GivenUp() bool { return m.Sealed == nil && m.SentAt.IsZero() }

const mailColumns = `id, account, recipient, subject, sealed, created_at, expires_at, attempts, tried_at, error, sent_at`

func scanMail(scan func(...any) error) (m Mail, err error) {
	var created, expires int64
	var tried, sent sql.NullInt64
	var text sql.NullString
	err = scan(&m.ID, &m.Account, &m.To, &m.Subject, &m.Sealed, &created, &expires, &m.Attempts, &tried, &text, &sent)
	m.CreatedAt, m.ExpiresAt, m.TriedAt, m.SentAt, m.Error = fromMicros(created), fromMicros(expires), fromMicros(tried.Int64), fromMicros(sent.Int64), text.String
	return m, err
}

// AddMail stores a message and the job that sends it. ID, Attempts, TriedAt, Error and SentAt are ignored.
func (tx *Tx) AddMail(ctx context.Context, m Mail) error {
	res, err := tx.exec(ctx, `INSERT INTO mail (account, recipient, subject, sealed, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)`,
		m.Account, m.To, m.Subject, m.Sealed, micros(m.CreatedAt), micros(m.ExpiresAt))
	if err != nil {
		return fmt.Errorf("add mail: %w", err)
	}
	id, err := res.LastInsertId()
	if err != nil {
		return err
	}
	return tx.AddJob(ctx, JobMail, strconv.FormatInt(id, 10), tx.now)
}

// Mail returns a message, or ErrNotFound.
func (s *Store) Mail(ctx context.Context, id int64) (Mail, error) {
	m, err := scanMail(s.read.queryRow(ctx, `SELECT `+mailColumns+` FROM mail WHERE id = ?`, id).Scan)
	if err != nil {
		return Mail{}, fmt.Errorf("mail %d: %w", id, err)
	}
	return m, nil
}

// Mails lists what was not sent, the newest first.
func (s *Store) Mails(ctx context.Context, limit int) ([]Mail, error) {
	return s.mails(ctx, `sent_at IS NULL ORDER BY id DESC LIMIT ?`, limit)
}

// SentMails lists what was sent, the newest first, from below an id on. With to only what went to that address.
func (s *Store) SentMails(ctx context.Context, to string, before int64, limit int) ([]Mail, error) {
	return s.mails(ctx, `sent_at IS NOT NULL AND id < ?1 AND (?2 = '' OR recipient = ?2) ORDER BY id DESC LIMIT ?3`, before, to, limit)
}

func (s *Store) mails(ctx context.Context, where string, args ...any) ([]Mail, error) {
	rows, err := s.read.query(ctx, `SELECT `+mailColumns+` FROM mail WHERE `+where, args...)
	return collect(rows, err, func(r *sql.Rows, m *Mail) (err error) {
		*m, err = scanMail(r.Scan)
		return err
	})
}

// MailSent notes that a message is on its way, and forgets what was in it.
func (s *Store) MailSent(ctx context.Context, id int64) error {
	return s.Update(ctx, func(tx *Tx) error {
		_, err := tx.exec(ctx, `UPDATE mail SET attempts = attempts + 1, tried_at = ?1, sent_at = ?1, sealed = NULL, error = NULL WHERE id = ?2`, micros(tx.now), id)
		return err
	})
}

// MailFailed notes an attempt that failed. With giveUp it was the last: the message itself is forgotten.
func (s *Store) MailFailed(ctx context.Context, id int64, cause error, giveUp bool) error {
	return s.Update(ctx, func(tx *Tx) error {
		_, err := tx.exec(ctx, `UPDATE mail SET attempts = attempts + 1, tried_at = ?, error = ?, sealed = CASE WHEN ? THEN NULL ELSE sealed END
			WHERE id = ?`, micros(tx.now), causeText(cause), giveUp, id)
		return err
	})
}

// SweepMails removes messages that were sent or given up and are from before the time given.
func (tx *Tx) SweepMails(ctx context.Context, before time.Time) error {
	_, err := tx.exec(ctx, `DELETE FROM mail WHERE sealed IS NULL AND created_at < ?`, micros(before))
	return err
}
