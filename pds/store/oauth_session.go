package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// OAuthSession is an app that may act for an account. It is shared by those who read it: never change one that came from the cache.
type OAuthSession struct {
	ID              string
	Account         AccountID
	ClientID        string
	Device          string // on which it was let in; "" if not known
	Data            string // JSON of pds/oauth
	Granted         string // scopes as granted
	Scope           string // the same with permission sets expanded
	JKT             string // thumbprint of the DPoP key
	Salt            []byte // the tokens are made from it
	Generation      int64  // of the tokens
	CreatedAt       time.Time
	UsedAt          time.Time // when the tokens were made
	AccessExpiresAt time.Time
	ExpiresAt       time.Time
}

// size is that of what the app has chosen.
func (s *OAuthSession) size() int {
	return len(s.ClientID) + len(s.Data) + len(s.Granted) + len(s.Scope)
}

// MaxOAuthSessions is how many apps may act for an account at a time; of more, the ones that end first go.
const MaxOAuthSessions = 500

const oauthSessionColumns = `id, account, client_id, device, data, granted, scope, jkt, salt, generation, created_at, used_at, access_expires_at, expires_at`

func scanOAuthSession(scan func(...any) error) (*OAuthSession, error) {
	var s OAuthSession
	var device sql.NullString
	var created, used, access, expires int64
	if err := scan(&s.ID, &s.Account, &s.ClientID, &device, &s.Data, &s.Granted, &s.Scope, &s.JKT, &s.Salt, &s.Generation,
		&created, &used, &access, &expires); err != nil {
		return nil, fmt.Errorf("OAuth session: %w", err)
	}
	s.Device = device.String
	s.CreatedAt, s.UsedAt, s.AccessExpiresAt, s.ExpiresAt = fromMicros(created), fromMicros(used), fromMicros(access), fromMicros(expires)
	return &s, nil
}

func oauthSession(ctx context.Context, q querier, id string) (*OAuthSession, error) {
	return scanOAuthSession(q.queryRow(ctx, `SELECT `+oauthSessionColumns+` FROM oauth_session WHERE id = ?`, id).Scan)
}

// OAuthSession returns a session, expired or not, or ErrNotFound. It is asked for on every request, and answered from memory mostly.
func (s *Store) OAuthSession(ctx context.Context, id string) (*OAuthSession, error) {
	return s.accounts.oauth.get(id, func() (*OAuthSession, error) { return oauthSession(ctx, s.read, id) })
}

// OAuthSessions lists an account's sessions, the last used first, with those that have expired.
func (s *Store) OAuthSessions(ctx context.Context, acct AccountID) ([]*OAuthSession, error) {
	rows, err := s.read.query(ctx, `SELECT `+oauthSessionColumns+` FROM oauth_session WHERE account = ? ORDER BY used_at DESC, id`, acct)
	return collect(rows, err, func(r *sql.Rows, v **OAuthSession) (err error) {
		*v, err = scanOAuthSession(r.Scan)
		return err
	})
}

// OAuthSession is Store.OAuthSession as the transaction sees it.
func (tx *Tx) OAuthSession(ctx context.Context, id string) (*OAuthSession, error) {
	return oauthSession(ctx, tx, id)
}

// CreateOAuthSession inserts a session. If the account has MaxOAuthSessions of them, the one that would end first makes room.
func (tx *Tx) CreateOAuthSession(ctx context.Context, s OAuthSession) error {
	const surplus = "DELETE FROM oauth_session WHERE id IN (SELECT id FROM oauth_session WHERE account = ? ORDER BY expires_at DESC LIMIT -1 OFFSET ?) RETURNING id"
	if err := tx.deleteOAuthSessions(ctx, surplus, s.Account, MaxOAuthSessions-1); err != nil {
		return err
	}
	_, err := tx.exec(ctx, `INSERT INTO oauth_session (`+oauthSessionColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		s.ID, s.Account, s.ClientID, nullString(s.Device), s.Data, s.Granted, s.Scope, s.JKT, s.Salt, s.Generation,
		micros(s.CreatedAt), micros(s.UsedAt), micros(s.AccessExpiresAt), micros(s.ExpiresAt))
	if err != nil {
		return fmt.Errorf("create OAuth session: %w", err)
	}
	return nil
}

// RotateOAuthSession writes what a refresh changes.
func (tx *Tx) RotateOAuthSession(ctx context.Context, s OAuthSession) error {
	tx.AfterCommit(func() { tx.s.accounts.oauth.forget(s.ID) })
	_, err := tx.exec(ctx, `UPDATE oauth_session SET data = ?, scope = ?, generation = ?, used_at = ?, access_expires_at = ?, expires_at = ? WHERE id = ?`,
		s.Data, s.Scope, s.Generation, micros(s.UsedAt), micros(s.AccessExpiresAt), micros(s.ExpiresAt), s.ID)
	return err
}

// EndOAuthSession ends a session. One that is not there is no error.
func (tx *Tx) EndOAuthSession(ctx context.Context, id string) error {
	return tx.deleteOAuthSessions(ctx, `DELETE FROM oauth_session WHERE id = ? RETURNING id`, id)
}

// DeleteOAuth ends all sessions of apps for an account, and the codes on their way to becoming one. What was consented to is forgotten.
func (tx *Tx) DeleteOAuth(ctx context.Context, acct AccountID) error {
	if err := tx.deleteOAuthSessions(ctx, `DELETE FROM oauth_session WHERE account = ? RETURNING id`, acct); err != nil {
		return err
	}
	if _, err := tx.exec(ctx, `UPDATE oauth_request SET data = '' WHERE account = ?`, acct); err != nil {
		return err
	}
	_, err := tx.exec(ctx, `DELETE FROM oauth_consent WHERE account = ?`, acct)
	return err
}

// deleteOAuthSessions runs a DELETE that returns the ids of the sessions.
func (tx *Tx) deleteOAuthSessions(ctx context.Context, query string, args ...any) error {
	return tx.deleteReturning(ctx, tx.s.accounts.oauth.forget, query, args...)
}

// SweepOAuth removes up to limit sessions that ended, as many requests that are over and as many assertions of clients that expired before the time given. It
// returns how many of one kind they were at most.
func (tx *Tx) SweepOAuth(ctx context.Context, before time.Time, limit int) (most int64, err error) {
	for _, query := range []string{
		`DELETE FROM oauth_session WHERE id IN (SELECT id FROM oauth_session WHERE expires_at < ? LIMIT ?)`,
		`DELETE FROM oauth_request WHERE id IN (SELECT id FROM oauth_request WHERE forget_at < ? LIMIT ?)`,
		`DELETE FROM oauth_assertion WHERE id IN (SELECT id FROM oauth_assertion WHERE expires_at < ? LIMIT ?)`,
	} {
		n, err := tx.execCount(ctx, query, micros(before), limit)
		if err != nil {
			return most, err
		}
		most = max(most, n)
	}
	return most, nil
}
