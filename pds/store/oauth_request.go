package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// What a request may not share with one of before.
var (
	ErrChallengeUsed = errors.New("the code challenge was used before")
	ErrStateUsed     = errors.New("the state was used before")
)

// OAuthRequest is an authorization request that an app has pushed, and later the code that it became.
type OAuthRequest struct {
	ID        []byte // SHA-256 of what stands at the end of the request_uri
	ClientID  string
	Challenge []byte    // SHA-256 of the code challenge
	State     []byte    // SHA-256 of client_id and state; not read
	Data      string    // JSON of pds/oauth; "" once it is over
	Device    string    // that opened it; "" before
	Code      []byte    // SHA-256 of the code; nil before it was granted
	Account   AccountID // that granted it
	Session   string    // what the code was traded for; "" before
	ExpiresAt time.Time
	ForgetAt  time.Time
}

const oauthRequestColumns = `id, client_id, challenge, data, device, code, account, session, expires_at, forget_at`

func scanOAuthRequest(r row) (OAuthRequest, error) {
	var q OAuthRequest
	var device, session sql.NullString
	var account sql.NullInt64
	var expires, forget int64
	if err := r.Scan(&q.ID, &q.ClientID, &q.Challenge, &q.Data, &device, &q.Code, &account, &session, &expires, &forget); err != nil {
		return OAuthRequest{}, fmt.Errorf("authorization request: %w", err)
	}
	q.Device, q.Session, q.Account = device.String, session.String, AccountID(account.Int64)
	q.ExpiresAt, q.ForgetAt = fromMicros(expires), fromMicros(forget)
	return q, nil
}

// CreateOAuthRequest inserts a request. Errors: ErrChallengeUsed, ErrStateUsed.
func (tx *Tx) CreateOAuthRequest(ctx context.Context, q OAuthRequest) error {
	var challenge bool
	err := tx.queryRow(ctx, `SELECT challenge = ? FROM oauth_request WHERE challenge = ? OR state = ?`, q.Challenge, q.Challenge, q.State).Scan(&challenge)
	switch {
	case err == nil && challenge:
		return ErrChallengeUsed
	case err == nil:
		return ErrStateUsed
	case !errors.Is(err, ErrNotFound):
		return err
	}
	_, err = tx.exec(ctx, `INSERT INTO oauth_request (id, client_id, challenge, state, data, expires_at, forget_at) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		q.ID, q.ClientID, q.Challenge, q.State, q.Data, micros(q.ExpiresAt), micros(q.ForgetAt))
	return err
}

// EmptyOAuthRequests forgets what up to limit requests that ended before the time given had asked for. What is left of them tells that they were used.
func (tx *Tx) EmptyOAuthRequests(ctx context.Context, before time.Time, limit int) error {
	_, err := tx.exec(ctx, `UPDATE oauth_request SET data = '', client_id = '' WHERE id IN
		(SELECT id FROM oauth_request WHERE data <> '' AND expires_at < ? ORDER BY expires_at LIMIT ?)`, micros(before), limit)
	return err
}

// OAuthRequest returns a request by its id, or ErrNotFound.
func (tx *Tx) OAuthRequest(ctx context.Context, id []byte) (OAuthRequest, error) {
	return scanOAuthRequest(tx.queryRow(ctx, `SELECT `+oauthRequestColumns+` FROM oauth_request WHERE id = ?`, id))
}

// OAuthRequest returns a request by its id, or ErrNotFound.
func (s *Store) OAuthRequest(ctx context.Context, id []byte) (OAuthRequest, error) {
	return scanOAuthRequest(s.read.queryRow(ctx, `SELECT `+oauthRequestColumns+` FROM oauth_request WHERE id = ?`, id))
}

// OAuthCode returns the request that became the code, or ErrNotFound.
func (tx *Tx) OAuthCode(ctx context.Context, code []byte) (OAuthRequest, error) {
	return scanOAuthRequest(tx.queryRow(ctx, `SELECT `+oauthRequestColumns+` FROM oauth_request WHERE code = ?`, code))
}

// UpdateOAuthRequest writes what changes in the life of a request.
func (tx *Tx) UpdateOAuthRequest(ctx context.Context, q OAuthRequest) error {
	var account any
	if q.Account != 0 {
		account = q.Account
	}
	_, err := tx.exec(ctx, `UPDATE oauth_request SET data = ?, device = ?, code = ?, account = ?, session = ?, expires_at = ?, forget_at = ? WHERE id = ?`,
		q.Data, nullString(q.Device), q.Code, account, nullString(q.Session), micros(q.ExpiresAt), micros(q.ForgetAt), q.ID)
	return err
}

// OAuthLexicon is a permission set as its author published it.
type OAuthLexicon struct {
	NSID      string
	Lexicon   []byte
	FetchedAt time.Time
	TriedAt   time.Time
}

// OAuthLexicon returns the stored permission set of the name, or ErrNotFound.
func (s *Store) OAuthLexicon(ctx context.Context, nsid string) (OAuthLexicon, error) {
	l := OAuthLexicon{NSID: nsid}
	var fetched, tried int64
	err := s.read.queryRow(ctx, `SELECT lexicon, fetched_at, tried_at FROM oauth_lexicon WHERE nsid = ?`, nsid).Scan(&l.Lexicon, &fetched, &tried)
	l.FetchedAt, l.TriedAt = fromMicros(fetched), fromMicros(tried)
	return l, err
}

// PutOAuthLexicon stores a permission set, over an older one.
func (tx *Tx) PutOAuthLexicon(ctx context.Context, l OAuthLexicon) error {
	_, err := tx.exec(ctx, `INSERT INTO oauth_lexicon (nsid, lexicon, fetched_at, tried_at) VALUES (?, ?, ?, ?)
		ON CONFLICT (nsid) DO UPDATE SET lexicon = excluded.lexicon, fetched_at = excluded.fetched_at, tried_at = excluded.tried_at`,
		l.NSID, string(l.Lexicon), micros(l.FetchedAt), micros(l.TriedAt))
	return err
}

// OAuthConsent returns the scopes that the account has granted the client, "" if none.
func (s *Store) OAuthConsent(ctx context.Context, acct AccountID, clientID string) (scope string, err error) {
	err = s.read.queryRow(ctx, `SELECT scope FROM oauth_consent WHERE account = ? AND client_id = ?`, acct, clientID).Scan(&scope)
	return scope, absent(err)
}

// OAuthConsent is what an account has granted a client.
type OAuthConsent struct {
	ClientID  string
	UpdatedAt time.Time
}

// IdleOAuthConsents lists up to MaxOAuthSessions clients that the account has let in and that have no session any more, the last one first.
func (s *Store) IdleOAuthConsents(ctx context.Context, acct AccountID, now time.Time) ([]OAuthConsent, error) {
	rows, err := s.read.query(ctx, `SELECT client_id, updated_at FROM oauth_consent AS c WHERE account = ? AND NOT EXISTS
		(SELECT 1 FROM oauth_session AS s WHERE s.account = c.account AND s.client_id = c.client_id AND s.expires_at > ?)
		ORDER BY updated_at DESC, client_id LIMIT ?`, acct, micros(now), MaxOAuthSessions)
	return collect(rows, err, func(r *sql.Rows, c *OAuthConsent) error {
		var at int64
		err := r.Scan(&c.ClientID, &at)
		c.UpdatedAt = fromMicros(at)
		return err
	})
}

// PutOAuthConsent remembers what the account has granted the client.
func (tx *Tx) PutOAuthConsent(ctx context.Context, acct AccountID, clientID, scope string, at time.Time) error {
	_, err := tx.exec(ctx, `INSERT INTO oauth_consent (account, client_id, scope, updated_at) VALUES (?, ?, ?, ?)
		ON CONFLICT (account, client_id) DO UPDATE SET scope = excluded.scope, updated_at = excluded.updated_at`, acct, clientID, scope, micros(at))
	return err
}

// DeleteOAuthConsent forgets what the account has granted the client.
func (tx *Tx) DeleteOAuthConsent(ctx context.Context, acct AccountID, clientID string) error {
	_, err := tx.exec(ctx, `DELETE FROM oauth_consent WHERE account = ? AND client_id = ?`, acct, clientID)
	return err
}
