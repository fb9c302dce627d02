package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"perch/pds/auth"
	"perch/pds/oauth/scope"
	"perch/pds/store"
)

// Session is an app that somebody has let in, for the list of connected apps.
type Session struct {
	ID          string
	Client      Client // as it was when it was let in
	Permissions []Permission
	CreatedAt   time.Time
	UsedAt      time.Time // when it last got tokens
	ExpiresAt   time.Time
	Device      string // on which it was let in, as given to Open
}

// Sessions lists the apps that may act for the account, the last used first.
func (s *Service) Sessions(ctx context.Context, acct store.AccountID) ([]Session, error) {
	rows, err := s.opts.Store.OAuthSessions(ctx, acct)
	if err != nil {
		return nil, err
	}
	var out []Session
	for _, row := range rows {
		if !s.now().Before(row.ExpiresAt) {
			continue
		}
		var d sessionData
		if err := json.Unmarshal([]byte(row.Data), &d); err != nil {
			return nil, err
		}
		permissions, err := s.storedPermissions(ctx, splitScopes(row.Granted))
		if err != nil {
			return nil, err
		}
		out = append(out, Session{
			ID: row.ID, Client: d.Client, Permissions: permissions,
			CreatedAt: row.CreatedAt, UsedAt: row.UsedAt, ExpiresAt: row.ExpiresAt, Device: row.Device,
		})
	}
	return out, nil
}

// storedPermissions is permissions without asking anybody.
func (s *Service) storedPermissions(ctx context.Context, scopes []string) ([]Permission, error) {
	return explain(scopes, func(nsid string) (*scope.PermissionSet, error) {
		row, err := s.opts.Store.OAuthLexicon(ctx, nsid)
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		set, err := parseSet(nsid, row.Lexicon)
		if err != nil {
			return nil, nil // an app that was let in with it must be seen, to be sent away
		}
		return set, nil
	})
}

// EndSession sends an app away at once, and forgets what was granted to it so that it has to ask again. Other sessions of the same app go on. A session that
// is not there is no error.
func (s *Service) EndSession(ctx context.Context, acct store.AccountID, id string) error {
	return s.opts.Store.Update(ctx, func(tx *store.Tx) error {
		ses, err := tx.OAuthSession(ctx, id)
		if errors.Is(err, store.ErrNotFound) || err == nil && ses.Account != acct {
			return nil
		}
		if err != nil {
			return err
		}
		if err := tx.DeleteOAuthConsent(ctx, acct, ses.ClientID); err != nil {
			return err
		}
		return tx.EndOAuthSession(ctx, id)
	})
}

// Remembered is an app that may not act for an account any more, and that the account has let in before: one that proves who it is comes back without a question.
type Remembered struct {
	Client    Client // its ID alone
	GrantedAt time.Time
}

// Remembered lists the apps that were let in and have no session any more, the last one first; not those under development, which are asked about each time.
func (s *Service) Remembered(ctx context.Context, acct store.AccountID) ([]Remembered, error) {
	rows, err := s.opts.Store.IdleOAuthConsents(ctx, acct, s.now())
	var out []Remembered
	for _, row := range rows {
		if !isLocalhostID(row.ClientID) {
			out = append(out, Remembered{Client{ID: row.ClientID}, row.UpdatedAt})
		}
	}
	return out, err
}

// Forget forgets what was granted to a client, so that it has to ask again. Its sessions go on.
func (s *Service) Forget(ctx context.Context, acct store.AccountID, clientID string) error {
	return s.opts.Store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteOAuthConsent(ctx, acct, clientID) })
}

// Authenticate implements auth.OAuthTokens: it finds the session of an access token. The error is auth.ErrOAuthToken.
func (s *Service) Authenticate(ctx context.Context, accessToken string) (auth.OAuthSession, error) {
	t, ok := parseToken(accessPrefix, accessToken)
	if !ok {
		return auth.OAuthSession{}, auth.ErrOAuthToken
	}
	ses, err := s.opts.Store.OAuthSession(ctx, t.session)
	if errors.Is(err, store.ErrNotFound) {
		return auth.OAuthSession{}, auth.ErrOAuthToken
	}
	if err != nil {
		return auth.OAuthSession{}, err
	}
	if !s.genuine(accessPrefix, t, ses) || t.generation != ses.Generation || !s.now().Before(ses.AccessExpiresAt) {
		return auth.OAuthSession{}, auth.ErrOAuthToken
	}
	return auth.OAuthSession{ID: ses.ID, ClientID: ses.ClientID, Account: ses.Account, JKT: ses.JKT, Grant: s.grants.get(ses.Scope)}, nil
}

// Alive implements auth.OAuthTokens.
func (s *Service) Alive(ctx context.Context, session string) error {
	_, err := s.opts.Store.OAuthSession(ctx, session)
	if errors.Is(err, store.ErrNotFound) {
		return auth.ErrOAuthToken
	}
	return err
}

func splitScopes(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, " ")
}
