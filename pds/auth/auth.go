// Package auth decides who calls and what they may do.
//
// A Verifier turns the Authorization header of a request into a Principal, or into an *Error that has the name and status which clients of the
// reference match on. Each XRPC method is registered with one of the Verifier's access functions:
//
//	Standard            an access token of a session, begun with the main password or an app password, or of an app (OAuth)
//	With                the same, if it has a right, such as ChangeHandle
//	Full                an access token of a session that was begun with the main password
//	Refresh             a refresh token; RefreshExpired takes one that has expired too
//	Admin               HTTP Basic, user "admin"
//	Moderator           the same, or a token that the moderation service has signed for this method
//	Optional            nothing, an access token of any kind, or Admin
//	Service             a token that another account's key has signed for this method
//	StandardOrService   either
//
// Every one of them looks the account up and refuses those that are taken down, suspended or deactivated, unless it is told to let them in
// (Takendown, Deactivated). Access tokens name their session, so signing out, revoking an app password and taking an account down end them at once.
// What remains to be asked about a Principal, its methods answer: MayWrite for changes of a repository, MayCall for service tokens and proxying, May
// for the rest. All of them and With decide in May.
package auth

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/account"
	"perch/pds/oauth/dpop"
	"perch/pds/store"
)

// Access authenticates a request and returns a context from which From takes the Principal. Its errors are *Error, or unexpected.
type Access = func(ctx context.Context, r *http.Request) (context.Context, error)

// Accounts is what the Verifier asks about accounts; *account.Service and *store.Store together answer it, see NewAccounts.
type Accounts interface {
	// ByID and ByDID return the account in whatever state it is, or store.ErrNotFound.
	ByID(ctx context.Context, id store.AccountID) (*store.Account, error)
	ByDID(ctx context.Context, did syntax.DID) (*store.Account, error)
	// SessionLive tells whether the account's session is there and has not expired.
	SessionLive(ctx context.Context, acct store.AccountID, id string) (bool, error)
}

// Options configure New. All but ModServiceDID, OAuth and what belongs to it, ClientIP, LetIn and Now are needed.
type Options struct {
	Accounts Accounts
	// ServiceDID is the server's own DID, the audience of all tokens.
	ServiceDID syntax.DID
	// JWTSecret signs session tokens. MinSecret bytes at least.
	JWTSecret []byte
	// AdminPassword is the password of "admin"; "" shuts that door.
	AdminPassword string
	// ModServiceDID is the moderation service, whose tokens the methods of moderators take; "" for none.
	ModServiceDID syntax.DID
	// IssuerKey returns a key in the DID document of somebody who signs service tokens, by its id without "#": "atproto", or "atproto_label" for a
	// labeler. With fresh it must not come from a cache.
	IssuerKey func(ctx context.Context, did syntax.DID, id string, fresh bool) (atcrypto.PublicKey, error)
	// OAuth knows the tokens of apps; nil knows none. DPoP checks the proofs that go with them, and PublicURL is the server's address in those, without
	// a slash at the end. Its Tell must stand before the methods.
	OAuth     OAuthTokens
	DPoP      *dpop.Verifier
	PublicURL string
	// ClientIP tells where a request comes from; nil takes the address of the connection.
	ClientIP func(*http.Request) string
	// LetIn, unless nil, is told of everybody whose credentials were good, with the context of the request.
	LetIn func(context.Context, Principal)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// MinSecret is the shortest JWTSecret in bytes.
const MinSecret = 16

// macKey is the key size that HS256 asks for. HMAC fills a shorter key up with zeros itself, so doing it before changes no token.
const macKey = 32

// Verifier checks and makes tokens. It is safe for use by many goroutines.
type Verifier struct {
	opts     Options
	secret   []byte
	sessions *tokenCache
	replays  *replays
	guesses  *guesses
}

// New returns a Verifier.
func New(opts Options) (*Verifier, error) {
	if len(opts.JWTSecret) < MinSecret {
		return nil, errors.New("the secret for session tokens (PDS_JWT_SECRET) is too short: 16 bytes are the least; openssl rand -hex 32 makes one")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.ClientIP == nil {
		opts.ClientIP = remoteHost
	}
	if opts.LetIn == nil {
		opts.LetIn = func(context.Context, Principal) {}
	}
	secret := append([]byte(nil), opts.JWTSecret...)
	for len(secret) < macKey {
		secret = append(secret, 0)
	}
	return &Verifier{
		opts: opts, secret: secret,
		sessions: newTokenCache(), replays: newReplays(), guesses: newGuesses(),
	}, nil
}

func (v *Verifier) now() time.Time { return v.opts.Now() }

func remoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// NewAccounts joins the two halves of Accounts.
func NewAccounts(st *store.Store, svc *account.Service) Accounts { return accounts{st, svc} }

type accounts struct {
	store *store.Store
	svc   *account.Service
}

func (a accounts) ByDID(ctx context.Context, did syntax.DID) (*store.Account, error) {
	return a.store.AccountByDID(ctx, did)
}

func (a accounts) ByID(ctx context.Context, id store.AccountID) (*store.Account, error) {
	return a.store.AccountByID(ctx, id)
}

func (a accounts) SessionLive(ctx context.Context, acct store.AccountID, id string) (bool, error) {
	return a.svc.SessionLive(ctx, acct, id)
}
