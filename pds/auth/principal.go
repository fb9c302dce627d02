package auth

import (
	"context"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/oauth/scope"
	"perch/pds/store"
	"perch/repo"
)

// Kind is what a caller has shown.
type Kind int

// The kinds. The zero Kind is nobody.
const (
	Nobody        Kind = iota
	Session            // an access token
	Refresh            // a refresh token
	Admin              // the admin password
	Service            // a token signed by the key of the account DID
	Moderator          // a token signed by the moderation service
	OAuth              // an access token of an app, with the proof that it is its own
	Administrator      // an account with the role of an administrator, signed in on the server's pages
)

// Scope of a session token.
type Scope string

// The scopes of the reference.
const (
	ScopeAccess            Scope = "com.atproto.access"
	ScopeAppPass           Scope = "com.atproto.appPass"
	ScopeAppPassPrivileged Scope = "com.atproto.appPassPrivileged"
	ScopeTakendown         Scope = "com.atproto.takendown" // signed in only to leave
	ScopeRefresh           Scope = "com.atproto.refresh"
)

// Principal is who makes a request. The zero Principal is nobody.
type Principal struct {
	Kind  Kind
	DID   syntax.DID // of the account, or of the signer of a service token; "" for Nobody and Admin
	Scope Scope      // of a session or refresh token

	// Account is the account here; nil for Nobody, Admin, and service tokens of people who have none. It is shared: never change it.
	Account *store.Account
	// SessionID is the id of the session: of a refresh token and an app always, of an access token unless it cannot be refreshed.
	SessionID string
	// Method is the lxm of a service token.
	Method syntax.NSID
	// ClientID and Grant say which app it is, and what it may do; of OAuth only.
	ClientID string
	Grant    *scope.Grant

	again func(context.Context) (*store.Account, error) // see Again; nil: there is nothing to look at
}

type contextKey struct{}

// From returns who makes the request; the zero Principal when nobody signed in, or no access function ran.
func From(ctx context.Context) Principal {
	p, _ := ctx.Value(contextKey{}).(Principal)
	return p
}

// NewContext returns a context that carries the Principal.
func NewContext(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, contextKey{}, p)
}

// Again looks once more whether the session or the app's access still is there, and the account as it must be, and returns a context with the account as it is now.
// It is for requests whose body comes slowly: who was let in keeps the door open otherwise, past the password reset that was to shut him out.
func Again(ctx context.Context) (context.Context, error) {
	p := From(ctx)
	if p.again == nil {
		return ctx, nil
	}
	acct, err := p.again(ctx)
	if err != nil {
		return ctx, err
	}
	p.Account = acct
	return NewContext(ctx, p), nil
}

// IsFull tells whether the main password was shown: full access to the account.
func (p Principal) IsFull() bool { return p.Kind == Session && p.Scope == ScopeAccess }

// IsPrivileged tells whether direct messages and the like are open: full access, or a privileged app password.
func (p Principal) IsPrivileged() bool {
	return p.IsFull() || p.Kind == Session && p.Scope == ScopeAppPassPrivileged
}

// IsAppPassword tells whether an app password was shown.
func (p Principal) IsAppPassword() bool {
	return p.Kind == Session && (p.Scope == ScopeAppPass || p.Scope == ScopeAppPassPrivileged)
}

// IsTakendown tells whether the session is good only for leaving.
func (p Principal) IsTakendown() bool { return p.Kind == Session && p.Scope == ScopeTakendown }

// MaySee tells whether the caller may read an account's repository although it is not active: its owner, and the admin.
func (p Principal) MaySee(did syntax.DID) bool {
	return p.Kind == Admin || (p.Kind == Session || p.Kind == OAuth) && did != "" && p.DID == did
}

// MayWrite tells whether the caller may create, update or delete records of the collection in the repository of did. Errors: those of May,
// ErrWrongRepo, ErrAccountTakedown, ErrAccountDeactivated.
func (p Principal) MayWrite(did syntax.DID, collection syntax.NSID, action repo.Action) error {
	switch {
	case p.Kind == Nobody:
		return ErrAuthMissing
	case p.Kind != Session && p.Kind != OAuth:
		return ErrAuthRequired
	case did == "" || p.DID != did:
		return ErrWrongRepo
	}
	if p.Account != nil {
		if err := refuseInactive(p.Account, nil); err != nil {
			return err
		}
	}
	actions := actionsOf(action)
	if collection == "" || len(actions) == 0 {
		return ErrInvalidToken.with("Bad token scope")
	}
	return p.May(write(collection, actions...))
}

// MayCall tells whether a service token for the method and the audience may be made for the caller, or the request be passed on in the caller's name.
// An empty method stands for a token that is not bound to one. Errors: those of May.
func (p Principal) MayCall(method syntax.NSID, audience string) error {
	switch {
	case p.Kind != Session && p.Kind != OAuth:
		return ErrAuthMissing
	case IsProtected(method):
		return ErrInvalidToken.with("Bad token method")
	case p.IsTakendown() && sameMethod(method, methodCreateAccount):
		return nil
	}
	err := p.May(callRight(method, audience))
	switch {
	case err == nil || p.Kind == OAuth || p.IsTakendown():
		return err
	case method == "":
		return ErrInvalidToken.with("A token for all methods needs the main password: name one with lxm") // it would open privileged ones too
	}
	return ErrInvalidToken.with("Bad token method")
}
