// Package account is what the server knows of people: accounts and how they begin, change and end; passwords and app passwords; sessions;
// invite codes; preferences; and the keys that sign their repositories.
//
// It decides and it stores, through pds/store, always in one transaction per decision. It knows nothing of HTTP: tokens are made and
// checked in pds/auth, and what must go out to the network (PLC operations, events) is the caller's, who passes a function that runs
// inside the same transaction.
package account

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/passkey"
	"perch/pds/seal"
	"perch/pds/store"
)

// Kinds of refusal. What is returned is mostly a *Refused that wraps one of these.
var (
	// ErrInvalidHandle: bad syntax, a label too short or too long, a TLD that is not for accounts, or a handle that points elsewhere.
	ErrInvalidHandle = errors.New("invalid handle")
	// ErrHandleNotAvailable: the name is reserved.
	ErrHandleNotAvailable = errors.New("handle is not available")
	// ErrHandleChanging: another change of the account's handle is under way.
	ErrHandleChanging = errors.New("handle is being changed")
	// ErrUnsupportedDomain: a new account asked for a handle outside the server's own domains.
	ErrUnsupportedDomain = errors.New("unsupported handle domain")
	// ErrInvalidEmail: no e-mail address, or none that mail could be sent to.
	ErrInvalidEmail = errors.New("invalid e-mail address")
	// ErrInvalidPassword: the new password is too short or too long.
	ErrInvalidPassword = errors.New("invalid password")
	// ErrInvalidInvite: an invite code is needed and none was given, or it is used up, disabled or unknown.
	ErrInvalidInvite = errors.New("invalid invite code")
	// ErrBadCredentials: identifier and password do not belong together. It never tells which of them is wrong.
	ErrBadCredentials = errors.New("invalid identifier or password")
	// ErrTakendown: the account is taken down or suspended.
	ErrTakendown = errors.New("account is taken down")
	// ErrFactorRequired: the password was right, and a code is wanted beside it.
	ErrFactorRequired = errors.New("second factor is required")
	// ErrFactorInvalid: the code is wrong, used, or expired.
	ErrFactorInvalid = errors.New("second factor is invalid")
	// ErrFactorLocked: too many codes were wrong; none is looked at for a while.
	ErrFactorLocked = errors.New("second factor is locked")
	// ErrFactorNeeded: what the account shall be needs a second factor that nobody has who reads its mail.
	ErrFactorNeeded = errors.New("a strong second factor is needed")
	// ErrPasskey: the answer of an authenticator is not one of a passkey that is good for this.
	ErrPasskey = errors.New("passkey is refused")
	// ErrPasskeyCloned: the counter of a passkey did not rise, so there may be two of it. It is an ErrPasskey too.
	ErrPasskeyCloned = passkey.ErrCloned
	// ErrPasskeyLate: the question was put too long ago, or in another browser, or was answered before.
	ErrPasskeyLate = errors.New("question to the passkey has expired")
	// ErrPasskeyLimit: the account has as many passkeys as it may have.
	ErrPasskeyLimit = errors.New("too many passkeys")
	// ErrSessionRevoked: the session was ended, has expired, or was refreshed longer ago than the grace period.
	ErrSessionRevoked = errors.New("session is revoked")
	// ErrInvalidName: the name of an app password or a passkey is missing, too long or taken.
	ErrInvalidName = errors.New("invalid name")
	// ErrInvalidPreferences: the list of preferences breaks the rules.
	ErrInvalidPreferences = errors.New("invalid preferences")
	// ErrUnknownKey: the server has not the private half of a key that is to be an account's.
	ErrUnknownKey = errors.New("signing key is unknown")
	// ErrInvalidCode: a code from a mail that is not the account's, is for something else, was replaced by a newer one, or was used.
	ErrInvalidCode = errors.New("invalid code")
	// ErrExpiredCode: a code from a mail that came too long ago.
	ErrExpiredCode = errors.New("code has expired")
	// ErrCodeRequired: the change needs a code from a mail.
	ErrCodeRequired = errors.New("code is required")
	// ErrOtherEmail: the e-mail address that was given is not the account's.
	ErrOtherEmail = errors.New("e-mail address is not the account's")
	// ErrKey: the account's signing key does not open or is none.
	ErrKey = errors.New("signing key is unusable")
)

// Refused is a refusal whose Message may be shown to the client. Kind is one of the sentinels of this package or of pds/store
// (ErrHandleTaken, ErrEmailTaken, ErrDIDTaken); errors.Is finds it.
type Refused struct {
	Kind    error
	Message string
}

// Error implements error.
func (r *Refused) Error() string { return r.Message }

// Unwrap returns the kind.
func (r *Refused) Unwrap() error { return r.Kind }

func refuse(kind error, format string, args ...any) error {
	return &Refused{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Options configure New. Store and Seal are needed.
type Options struct {
	Store *store.Store
	Seal  *seal.Box

	// Hostname of the server; invite codes begin with it, and passkeys are bound to it.
	Hostname string
	// Origin of the server's pages, on which passkeys are used.
	Origin string
	// ServiceDomains are those under which the server hands out handles, each with a dot before it: ".example.com".
	ServiceDomains []string
	// AllowTest permits handles below .test, for development.
	AllowTest bool
	// ResolveHandle asks the network where a handle points. Without it only handles under ServiceDomains are accepted.
	ResolveHandle func(context.Context, syntax.Handle) (syntax.DID, error)

	// InviteRequired keeps out those who have no invite code.
	InviteRequired bool
	// InviteInterval is how long it takes an account to earn an invite code; zero: none are earned.
	InviteInterval time.Duration
	// InviteEpoch is the time from which codes are earned, at the earliest.
	InviteEpoch time.Time

	// Guess counts a password that is tried at an account, and tells whether it may be looked at. right takes the count back: a right password was no guess. It counts
	// all spellings of the account together, and nobody may notice: whether an e-mail address belongs to a handle is not for strangers. nil: as many as anybody likes.
	Guess func(ctx context.Context, did syntax.DID) (right func(), ok bool)
	// RoleEnded stores what belongs to the end of an administrator's role that came with the end of the last strong factor. acct is as it was before; nil does nothing.
	RoleEnded func(ctx context.Context, tx *store.Tx, acct *store.Account) error

	// Changed stores what tells an account's owner of a change in how one gets in. acct is as it was before with EmailChanged; nil does nothing.
	Changed func(ctx context.Context, tx *store.Tx, acct *store.Account, what Change) error

	// FailureDelay is how long a refused sign-in takes at least, so that its time tells nothing; zero means 350 ms.
	FailureDelay time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Service answers for all accounts of the server. It is safe for use by many goroutines.
type Service struct {
	opts     Options
	store    *store.Store
	hasher   *hasher
	keys     keyCache
	reserved reservedKeys
	pending  pending
}

// New returns the service for the accounts in opts.Store.
func New(opts Options) *Service {
	if opts.FailureDelay == 0 {
		opts.FailureDelay = defaultFailureDelay
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	domains := make([]string, len(opts.ServiceDomains))
	for i, d := range opts.ServiceDomains {
		domains[i] = strings.ToLower(d)
	}
	opts.ServiceDomains = domains
	return &Service{opts: opts, store: opts.Store, hasher: newHasher(), pending: newPending()}
}

func (s *Service) now() time.Time { return s.opts.Now().UTC() }
