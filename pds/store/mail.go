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

// Mail is a message that was not sent yet, or that could not be sent at all.
type Mail struct {
	ID        int64
	Account   AccountID // 0: of no account
	To        string    // address
	Subject   string
	Sealed    []byte // the message; nil once it was given up
	CreatedAt time.Time
	ExpiresAt time.Time // of no use after
	Attempts  int       // that failed
	TriedAt   time.Time // zero: not yet
	Error     string    // of the last attempt
}

// GivenUp tells that no more attempts will be made.
func (m *Mail) GivenUp() bool { return m.Sealed == nil }

const mailColumns = `id, account, recipient, subject, sealed, created_at, expires_at, attempts, tried_at, error`

func scanMail(scan func(...any) error) (m Mail, err error) {
	var created, expires int64
	var tried sql.NullInt64
	var text sql.NullString
	err = scan(&m.ID, &m.Account, &m.To, &m.Subject, &m.Sealed, &created, &expires, &m.Attempts, &tried, &text)
	m.CreatedAt, m.ExpiresAt, m.TriedAt, m.Error = fromMicros(created), fromMicros(expires), fromMicros(tried.Int64), text.String
	return m, err
}

// AddMail stores a message and the job that sends it. ID, Attempts, TriedAt and Error are ignored.
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

// Mail returns a message that was not sent, or ErrNotFound.
func (s *Store) Mail(ctx context.Context, id int64) (Mail, error) {
	m, err := scanMail(s.read.queryRow(ctx, `SELECT `+mailColumns+` FROM mail WHERE id = ?`, id).Scan)
	if err != nil {
		return Mail{}, fmt.Errorf("mail %d: %w", id, err)
	}
	return m, nil
}

// Mails lists what was not sent, the newest first.
func (s *Store) Mails(ctx context.Context, limit int) ([]Mail, error) {
	rows, err := s.read.query(ctx, `SELECT `+mailColumns+` FROM mail ORDER BY id DESC LIMIT ?`, limit)
	return collect(rows, err, func(r *sql.Rows, m *Mail) (err error) {
		*m, err = scanMail(r.Scan)
		return err
	})
}

// MailSent removes a message.
func (s *Store) MailSent(ctx context.Context, id int64) error {
	return s.Update(ctx, func(tx *Tx) error {
		_, err := tx.exec(ctx, `DELETE FROM mail WHERE id = ?`, id)
		return err
	})
}

// MailFailed notes an attempt that failed. With giveUp it was the last: the message itself is forgotten.
func (s *Store) MailFailed(ctx context.Context, id int64, cause error, giveUp bool) error {
	return s.Update(ctx, func(tx *Tx) error {
		_, err := tx.exec(ctx, `UPDATE mail SET attempts = attempts + 1, tried_at = ?, error = ?, sealed = CASE WHEN ? THEN NULL ELSE sealed END
			WHERE id = ?`, micros(tx.now), cause.Error(), giveUp, id)
		return err
	})
}

// DeleteMails removes all messages to an account.
func (tx *Tx) DeleteMails(ctx context.Context, acct AccountID) error {
	_, err := tx.exec(ctx, `DELETE FROM mail WHERE account = ?`, acct)
	return err
}

// SweepMails removes messages that were given up and are from before the time given.
func (tx *Tx) SweepMails(ctx context.Context, before time.Time) error {
	_, err := tx.exec(ctx, `DELETE FROM mail WHERE sealed IS NULL AND created_at < ?`, micros(before))
	return err
}
