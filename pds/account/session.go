package account

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"slices"
	"time"

	"perch/pds/store"
)

// Lifetimes of sessions, as in the reference.
const (
	AccessLifetime  = 2 * time.Hour
	RefreshLifetime = 90 * 24 * time.Hour
	// RefreshGrace is how long a refresh token goes on working once it was used, for clients that lost the answer. It must not be shorter than
	// AccessLifetime: an access token dies with its session.
	RefreshGrace = 2 * time.Hour
)

const sessionIDBytes = 32

// Session is a sign-in for which tokens can be made.
type Session struct {
	ID          string
	Account     *store.Account
	AppPassword string // name; "" for the main password
	Privileged  bool
	Takendown   bool // signed in only to leave; it cannot be refreshed
	ExpiresAt   time.Time
}

// StartSession begins a session for somebody who has shown a password. An account that is taken down or suspended gets ErrTakendown; with
// allowTakendown it gets a session that is good for leaving and cannot be refreshed. The error is ErrBadCredentials when the password is none any more.
func (s *Service) StartSession(ctx context.Context, login Login, allowTakendown bool) (Session, error) {
	var ses Session
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		acct, err := stillShown(ctx, tx, login)
		if err != nil {
			return err
		}
		now := s.now()
		ses = Session{ID: newSessionID(), Account: acct, AppPassword: login.AppPassword, Privileged: login.Privileged, ExpiresAt: now.Add(RefreshLifetime)}
		if !barred(acct) {
			return tx.CreateSession(ctx, ses.row(now))
		}
		if !allowTakendown || login.AppPassword != "" {
			return refuse(ErrTakendown, "Account has been taken down")
		}
		ses.Takendown, ses.ExpiresAt = true, now.Add(AccessLifetime)
		return tx.CreateSession(ctx, ses.row(now)) // so that a new password ends it
	})
	if err != nil {
		return Session{}, err
	}
	return ses, nil
}

func (ses *Session) row(now time.Time) store.Session {
	return store.Session{ID: ses.ID, Account: ses.Account.ID, AppPassword: ses.AppPassword, CreatedAt: now, ExpiresAt: ses.ExpiresAt}
}

func newSessionID() string {
	b := make([]byte, sessionIDBytes)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// RefreshSession rotates a session of the account. The old one works on for RefreshGrace, and whoever refreshes it again gets the same new
// one. Errors: ErrSessionRevoked, ErrTakendown.
func (s *Service) RefreshSession(ctx context.Context, acct store.AccountID, id string) (Session, error) {
	var out Session
	err := s.store.Update(ctx, func(tx *store.Tx) (err error) {
		out, err = s.refresh(ctx, tx, acct, id)
		return err
	})
	return out, err
}

func (s *Service) refresh(ctx context.Context, tx *store.Tx, id store.AccountID, jti string) (Session, error) {
	now := s.now()
	old, err := liveSession(ctx, tx, id, jti, now)
	if err != nil {
		return Session{}, err
	}
	out := Session{AppPassword: old.AppPassword}
	if out.Account, err = tx.AccountByID(ctx, id); err != nil {
		return Session{}, err
	}
	if barred(out.Account) {
		return Session{}, refuse(ErrTakendown, "Account has been taken down")
	}
	if out.Privileged, err = appPasswordPrivileged(ctx, tx, old); err != nil {
		return Session{}, err
	}
	if err := tx.DeleteExpiredSessions(ctx, id, now); err != nil {
		return Session{}, err
	}
	if old.NextID != "" {
		next, err := liveSession(ctx, tx, id, old.NextID, now) // gone when it was signed out: then its predecessor is as good as gone
		out.ID, out.ExpiresAt = next.ID, next.ExpiresAt
		return out, err
	}
	out.ID, out.ExpiresAt = newSessionID(), now.Add(RefreshLifetime)
	if err := tx.SetSessionNext(ctx, old.ID, out.ID, earlier(now.Add(RefreshGrace), old.ExpiresAt)); err != nil {
		return Session{}, err
	}
	return out, tx.CreateSession(ctx, out.row(now))
}

func liveSession(ctx context.Context, tx *store.Tx, acct store.AccountID, id string, now time.Time) (store.Session, error) {
	ses, err := tx.Session(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.Session{}, err
	}
	if err != nil || ses.Account != acct || !now.Before(ses.ExpiresAt) {
		return store.Session{}, revoked()
	}
	return ses, nil
}

func appPasswordPrivileged(ctx context.Context, tx *store.Tx, ses store.Session) (bool, error) {
	if ses.AppPassword == "" {
		return false, nil
	}
	p, err := tx.AppPassword(ctx, ses.Account, ses.AppPassword)
	if errors.Is(err, store.ErrNotFound) {
		return false, revoked()
	}
	return p.Privileged, err
}

func revoked() error { return refuse(ErrSessionRevoked, "Token has been revoked") }

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// EndSession signs out: the session ends with those it was refreshed from and into, so that no token of that sign-in works on. A session that
// is not there is no error.
func (s *Service) EndSession(ctx context.Context, acct store.AccountID, id string) error {
	return s.store.Update(ctx, func(tx *store.Tx) error { return tx.EndSessionChain(ctx, acct, id) })
}

// Sessions lists the sign-ins of apps with a password, the newest first, each by the session that goes on.
func (s *Service) Sessions(ctx context.Context, acct store.AccountID) ([]store.Session, error) {
	all, err := s.store.Sessions(ctx, acct)
	now := s.now()
	live := slices.DeleteFunc(all, func(ses store.Session) bool { return ses.NextID != "" || !now.Before(ses.ExpiresAt) })
	slices.Reverse(live)
	return live, err
}

// SignOutOthers signs the account out everywhere but in one browser: in the others, and in all apps. The error is ErrSessionRevoked when it was signed out there meanwhile.
func (s *Service) SignOutOthers(ctx context.Context, device *Device, a *SignedIn) error {
	row := store.DeviceAccount{
		Device: device.ID, Account: a.Account.ID, SignedInAt: a.SignedInAt, ConfirmedAt: a.ConfirmedAt, FactorAt: a.FactorAt, Remembered: a.Remembered,
	}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		if err := tx.ConfirmDeviceAccount(ctx, row); errors.Is(err, store.ErrNotFound) {
			return signedOut()
		} else if err != nil {
			return err
		}
		if err := endSessions(ctx, tx, a.Account.ID); err != nil {
			return err
		}
		return tx.PutDeviceAccount(ctx, row)
	})
}

// SessionLive tells whether an access token's session is still there. It is asked for every request and answered from memory mostly.
func (s *Service) SessionLive(ctx context.Context, acct store.AccountID, id string) (bool, error) {
	return s.store.SessionLive(ctx, id, acct, s.now())
}

// SweepSessions removes sessions that have expired, of all accounts, a thousand at a time.
func (s *Service) SweepSessions(ctx context.Context) error {
	const batch = 1000
	for {
		var n int64
		err := s.store.Update(ctx, func(tx *store.Tx) (err error) {
			n, err = tx.SweepSessions(ctx, s.now(), batch)
			return err
		})
		if err != nil || n < batch {
			return err
		}
	}
}
