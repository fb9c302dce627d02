package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Session is a sign-in that may be refreshed. Each refresh makes a new row; the old one goes on for a grace period and knows its successor.
type Session struct {
	ID          string // jti of the refresh token
	Account     AccountID
	AppPassword string // name of the app password it was begun with; "" for the main password
	NextID      string // its successor, once it was refreshed
	CreatedAt   time.Time
	ExpiresAt   time.Time
}

// sessionState is what a request with an access token needs to know of its session.
type sessionState struct {
	account   AccountID
	expiresAt int64 // microseconds
}

const sessionColumns = `id, account, app_password, next_id, created_at, expires_at`

func scanSession(scan func(...any) error) (Session, error) {
	var s Session
	var app, next sql.NullString
	var created, expires int64
	if err := scan(&s.ID, &s.Account, &app, &next, &created, &expires); err != nil {
		return Session{}, err
	}
	s.AppPassword, s.NextID = app.String, next.String
	s.CreatedAt, s.ExpiresAt = fromMicros(created), fromMicros(expires)
	return s, nil
}

func sessionByID(ctx context.Context, q querier, id string) (Session, error) {
	s, err := scanSession(q.queryRow(ctx, `SELECT `+sessionColumns+` FROM session WHERE id = ?`, id).Scan)
	if err != nil {
		return Session{}, fmt.Errorf("session: %w", err)
	}
	return s, nil
}

func sessionsOf(ctx context.Context, q querier, acct AccountID) ([]Session, error) {
	rows, err := q.query(ctx, `SELECT `+sessionColumns+` FROM session WHERE account = ? ORDER BY created_at, id`, acct)
	return collect(rows, err, func(r *sql.Rows, s *Session) (err error) {
		*s, err = scanSession(r.Scan)
		return err
	})
}

// Session returns a session, expired or not, or ErrNotFound.
func (s *Store) Session(ctx context.Context, id string) (Session, error) {
	return sessionByID(ctx, s.read, id)
}

// Sessions lists an account's sessions, oldest first, with those that are in their grace period or expired.
func (s *Store) Sessions(ctx context.Context, acct AccountID) ([]Session, error) {
	return sessionsOf(ctx, s.read, acct)
}

// SessionLive tells whether the session exists, is the account's, and has not expired at the time given. It is made for every request.
func (s *Store) SessionLive(ctx context.Context, id string, acct AccountID, now time.Time) (bool, error) {
	st, err := s.accounts.sessions.get(id, func() (sessionState, error) {
		ses, err := sessionByID(ctx, s.read, id)
		return sessionState{ses.Account, micros(ses.ExpiresAt)}, err
	})
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && st.account == acct && micros(now) < st.expiresAt, err
}

// Session is Store.Session as the transaction sees it.
func (tx *Tx) Session(ctx context.Context, id string) (Session, error) {
	return sessionByID(ctx, tx, id)
}

// MaxSessions is how many sessions an account may have. Somebody who signs in over and over fills neither the disk nor the writer's time.
const MaxSessions = 1000

// CreateSession inserts a session. If the account has MaxSessions of them, the one that would end first makes room.
func (tx *Tx) CreateSession(ctx context.Context, s Session) error {
	const surplus = "DELETE FROM session WHERE id IN (SELECT id FROM session WHERE account = ? ORDER BY expires_at DESC LIMIT -1 OFFSET ?) RETURNING id"
	err := tx.deleteSessions(ctx, surplus, s.Account, MaxSessions-1)
	if err == nil {
		_, err = tx.exec(ctx, `INSERT INTO session (`+sessionColumns+`) VALUES (?, ?, ?, ?, ?, ?)`,
			s.ID, s.Account, nullString(s.AppPassword), nullString(s.NextID), micros(s.CreatedAt), micros(s.ExpiresAt))
	}
	if err != nil {
		return fmt.Errorf("create session: %w", err)
	}
	return nil
}

// SetSessionNext notes the successor of a session and brings its end near.
func (tx *Tx) SetSessionNext(ctx context.Context, id, next string, expiresAt time.Time) error {
	tx.AfterCommit(func() { tx.s.accounts.sessions.forget(id) })
	_, err := tx.exec(ctx, `UPDATE session SET next_id = ?, expires_at = ? WHERE id = ?`, next, micros(expiresAt), id)
	return err
}

// EndSessionChain ends a session of the account with those it was refreshed from and into. A session that is not there, or another's, is no error.
func (tx *Tx) EndSessionChain(ctx context.Context, acct AccountID, id string) error {
	next, err := tx.endSession(ctx, acct, id)
	// Each is gone before another is looked for, so this ends whatever the rows say.
	for prev := id; err == nil && prev != ""; {
		if prev, err = tx.sessionBefore(ctx, acct, prev); err == nil && prev != "" {
			_, err = tx.endSession(ctx, acct, prev)
		}
	}
	for err == nil && next != "" {
		next, err = tx.endSession(ctx, acct, next)
	}
	return err
}

// endSession deletes a session of the account and returns its successor; "" if it has none, or is not there.
func (tx *Tx) endSession(ctx context.Context, acct AccountID, id string) (next string, err error) {
	tx.AfterCommit(func() { tx.s.accounts.sessions.forget(id) })
	err = tx.queryRow(ctx, "DELETE FROM session WHERE id = ? AND account = ? RETURNING coalesce(next_id, '')", id, acct).Scan(&next)
	return next, absent(err)
}

// sessionBefore returns the session that was refreshed into id, or "".
func (tx *Tx) sessionBefore(ctx context.Context, acct AccountID, id string) (prev string, err error) {
	err = tx.queryRow(ctx, "SELECT id FROM session WHERE next_id = ? AND account = ?", id, acct).Scan(&prev)
	return prev, absent(err)
}

// absent makes ErrNotFound no error.
func absent(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// DeleteSessions ends all sessions of an account, and signs it out in all browsers.
func (tx *Tx) DeleteSessions(ctx context.Context, acct AccountID) error {
	if err := tx.deleteDeviceAccounts(ctx, acct); err != nil {
		return err
	}
	return tx.deleteSessions(ctx, "DELETE FROM session WHERE account = ? RETURNING id", acct)
}

// DeleteAppPasswordSessions ends the sessions that were begun with the app password.
func (tx *Tx) DeleteAppPasswordSessions(ctx context.Context, acct AccountID, name string) error {
	return tx.deleteSessions(ctx, "DELETE FROM session WHERE account = ? AND app_password = ? RETURNING id", acct, name)
}

// DeleteExpiredSessions removes an account's sessions that ended before the time given.
func (tx *Tx) DeleteExpiredSessions(ctx context.Context, acct AccountID, before time.Time) error {
	return tx.deleteSessions(ctx, "DELETE FROM session WHERE account = ? AND expires_at <= ? RETURNING id", acct, micros(before))
}

// deleteSessions runs a DELETE that returns the ids of the sessions.
func (tx *Tx) deleteSessions(ctx context.Context, query string, args ...any) error {
	return tx.deleteReturning(ctx, tx.s.accounts.sessions.forget, query, args...)
}

// deleteReturning runs a DELETE that returns the keys of the rows, and has them forgotten once it is on disk.
func (tx *Tx) deleteReturning(ctx context.Context, forget func(...string), query string, args ...any) error {
	rows, err := tx.query(ctx, query, args...)
	gone, err := collect(rows, err, scanOne[string])
	if len(gone) > 0 {
		tx.AfterCommit(func() { forget(gone...) })
	}
	return err
}

// SweepSessions removes up to limit sessions of all accounts that ended before the time given, and returns how many they were.
func (tx *Tx) SweepSessions(ctx context.Context, before time.Time, limit int) (int64, error) {
	return tx.execCount(ctx, `DELETE FROM session WHERE id IN (SELECT id FROM session WHERE expires_at < ? LIMIT ?)`, micros(before), limit)
}
