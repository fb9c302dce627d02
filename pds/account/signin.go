package account

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/store"
)

const (
	defaultFailureDelay = 350 * time.Millisecond
	maxIdentifier       = 512 // bytes
)

// Login is a person who has shown a password.
type Login struct {
	Account     *store.Account // with the hash of the password that was shown
	AppPassword string         // name of the app password; "" for the main password
	Privileged  bool           // the app password may use direct messages

	appHash string // of the app password
}

// stillShown looks, in the transaction that begins a session, whether the password that was shown is one yet, and returns the account as it is now. Checking a password
// takes its time, and one that was reset or revoked meanwhile must open nothing. The error is ErrBadCredentials.
func stillShown(ctx context.Context, tx *store.Tx, login Login) (*store.Account, error) {
	refused := refuse(ErrBadCredentials, "Invalid identifier or password")
	now, err := tx.AccountByID(ctx, login.Account.ID)
	if err == nil && login.AppPassword != "" {
		var p store.AppPassword
		if p, err = tx.AppPassword(ctx, now.ID, login.AppPassword); err == nil && !sameHash(p.Hash, login.appHash) {
			err = refused
		}
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, refused
	case err != nil:
		return nil, err
	case !now.DeletedAt.IsZero(), login.AppPassword == "" && !sameHash(now.PasswordHash, login.Account.PasswordHash):
		return nil, refused
	}
	return now, nil
}

var appPasswordForm = regexp.MustCompile(`^[a-z2-7]{4}(-[a-z2-7]{4}){3}$`)

// Authenticate checks a password, the account's own or one of its app passwords, for an identifier: handle, DID or e-mail address. The error is
// ErrBadCredentials, and takes FailureDelay at least, whether the account exists or not. Accounts that are deactivated, suspended or taken down
// are found too (see Login.Account.Status), but with an app password a taken-down one is refused.
func (s *Service) Authenticate(ctx context.Context, identifier, password string) (Login, error) {
	return slowly(ctx, s.opts.FailureDelay, func() (Login, error) { return s.authenticate(ctx, identifier, password) })
}

// slowly runs fn and holds back ErrBadCredentials until the delay is over.
func slowly[T any](ctx context.Context, delay time.Duration, fn func() (T, error)) (T, error) {
	begun := time.Now()
	out, err := fn()
	if errors.Is(err, ErrBadCredentials) {
		var nobody T
		if err := wait(ctx, delay-time.Since(begun)); err != nil {
			return nobody, err
		}
		return nobody, refuse(ErrBadCredentials, "Invalid identifier or password")
	}
	return out, err
}

func (s *Service) authenticate(ctx context.Context, identifier, password string) (Login, error) {
	if len(identifier) > maxIdentifier || len(password) > MaxOldPassword || password == "" {
		return Login{}, ErrBadCredentials
	}
	acct, err := s.byIdentifier(ctx, identifier)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Login{}, err
	}
	return s.guess(ctx, acct, password, func() (Login, error) {
		if acct != nil && appPasswordForm.MatchString(password) {
			if login, err := s.appPasswordLogin(ctx, acct, password); !errors.Is(err, ErrBadCredentials) {
				return login, err
			}
		}
		return s.mainPasswordLogin(ctx, acct, password)
	})
}

// guess runs try, unless too many passwords were tried at the account. Then the answer is that of a wrong one, and takes the same work.
func (s *Service) guess(ctx context.Context, acct *store.Account, password string, try func() (Login, error)) (Login, error) {
	if acct == nil || s.opts.Guess == nil {
		return try()
	}
	right, ok := s.opts.Guess(ctx, acct.DID)
	if !ok {
		return s.mainPasswordLogin(ctx, nil, password)
	}
	login, err := try()
	if err == nil {
		right()
	}
	return login, err
}

// mainPasswordLogin does the same work for an account without a password and for none at all.
func (s *Service) mainPasswordLogin(ctx context.Context, acct *store.Account, password string) (Login, error) {
	stored := ""
	if acct != nil {
		stored = acct.PasswordHash
	}
	ok, err := s.hasher.verify(ctx, stored, password)
	if err != nil {
		return Login{}, err
	}
	if !ok || stored == "" {
		return Login{}, ErrBadCredentials
	}
	if outdated(stored) {
		acct, err = s.upgrade(ctx, acct, password)
	}
	return Login{Account: acct}, err
}

// upgrade replaces a hash of the reference by ours and returns the account with it. If another sign-in was faster, its hash counts. The error is ErrBadCredentials when
// the password was changed meanwhile.
func (s *Service) upgrade(ctx context.Context, acct *store.Account, password string) (*store.Account, error) {
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return nil, err
	}
	var now store.Account
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		a, err := tx.AccountByID(ctx, acct.ID)
		if err != nil {
			return err
		}
		if now = *a; now.PasswordHash != acct.PasswordHash {
			return nil
		}
		now.PasswordHash = hash
		return tx.SetPasswordHash(ctx, acct.ID, hash)
	})
	if err != nil || now.PasswordHash == hash {
		return &now, err
	}
	ok, err := s.hasher.verify(ctx, now.PasswordHash, password)
	if err == nil && (!ok || now.PasswordHash == "") {
		err = ErrBadCredentials
	}
	return &now, err
}

func (s *Service) appPasswordLogin(ctx context.Context, acct *store.Account, password string) (Login, error) {
	all, err := s.store.AppPasswords(ctx, acct.ID)
	if err != nil {
		return Login{}, err
	}
	found, err := s.matchAppPassword(ctx, acct, all, password)
	if err != nil {
		return Login{}, err
	}
	if barred(acct) {
		return Login{}, ErrBadCredentials
	}
	return Login{Account: acct, AppPassword: found.Name, Privileged: found.Privileged, appHash: found.Hash}, nil
}

// matchAppPassword finds the app password that was given, or ErrBadCredentials. One that came from the reference is stored in our form.
func (s *Service) matchAppPassword(ctx context.Context, acct *store.Account, all []store.AppPassword, password string) (store.AppPassword, error) {
	ours := hashAppPassword(acct.DID, password)
	var old []store.AppPassword
	for _, p := range all {
		if sameHash(p.Hash, ours) {
			return p, nil
		}
		if !strings.HasPrefix(p.Hash, appPrefix) {
			old = append(old, p)
		}
	}
	i, err := s.hasher.verifyFirst(ctx, old, password)
	if err != nil {
		return store.AppPassword{}, err
	}
	if i < 0 {
		return store.AppPassword{}, ErrBadCredentials
	}
	found := old[i]
	found.Hash = ours
	return found, s.store.Update(ctx, func(tx *store.Tx) error { return tx.SetAppPasswordHash(ctx, acct.ID, found.Name, ours) })
}

// Identifier is the one form of all spellings in which a sign-in may name an account by its handle, DID or e-mail address. Whoever counts guesses counts by it, or
// each spelling would give as many again.
func Identifier(s string) string {
	return strings.TrimPrefix(strings.ToLower(strings.TrimSpace(s)), "@")
}

// Find returns the account that a handle, DID or e-mail address names, in whatever state but deleted, or store.ErrNotFound.
func (s *Service) Find(ctx context.Context, identifier string) (*store.Account, error) {
	return s.byIdentifier(ctx, identifier)
}

// byIdentifier finds the account that a sign-in names, or ErrNotFound. The account is nil with any error.
func (s *Service) byIdentifier(ctx context.Context, identifier string) (*store.Account, error) {
	id := Identifier(identifier)
	var acct *store.Account
	var err error
	switch {
	case strings.HasPrefix(id, "did:"):
		acct, err = s.store.AccountByDID(ctx, syntax.DID(strings.TrimSpace(identifier)))
	case strings.Contains(id, "@"):
		acct, err = s.store.AccountByEmail(ctx, id)
	default:
		acct, err = s.store.AccountByHandle(ctx, syntax.Handle(id))
	}
	if err != nil {
		return nil, err
	}
	if !acct.DeletedAt.IsZero() {
		return nil, store.ErrNotFound
	}
	return acct, nil
}

// barred tells whether the moderators shut the account out.
func barred(a *store.Account) bool { return a.TakedownRef != "" || !a.SuspendedAt.IsZero() }

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
