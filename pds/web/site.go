package web

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/account"
	"perch/pds/oauth"
	"perch/pds/store"
)

// Host is what the pages ask of the server as a whole.
type Host interface {
	MoveHost

	// SignUp makes an account with its DID and its empty repository.
	SignUp(ctx context.Context, in account.NewAccount) (*store.Account, error)
	// HandleFree tells whether a new account may take the handle.
	HandleFree(ctx context.Context, handle string) (bool, error)
	// SendPasswordReset has a code sent to an address, if it is an account's. It takes as long if it is not.
	SendPasswordReset(ctx context.Context, email string) error
	// SendSignInCode stores the mail that carries the second factor, in the transaction in which the code comes into force.
	SendSignInCode(ctx context.Context) account.SendCode
	// PasskeyAdded stores the mail that tells an account's owner of a new passkey, in the transaction that adds it.
	PasskeyAdded(ctx context.Context) account.PasskeyHook
	// PasskeyRemoved is the same for one that goes.
	PasskeyRemoved(ctx context.Context) account.PasskeyHook
	// ServesHost tells whether a host name is one that people come to: the server's own, an account's handle, or that of a DID whose document is here.
	ServesHost(ctx context.Context, host string) bool
	// Activate ends the deactivation of an account, if its DID names this server.
	Activate(ctx context.Context, acct *store.Account) error

	// PublicAccounts lists active accounts, the newest first, from below a number on; 0: from the newest. next is 0 at the end.
	PublicAccounts(ctx context.Context, before int64) (list []PublicAccount, next int64, err error)
	// PublicFace returns a small JPEG of an account's picture. The error is store.ErrNotFound when there is none to be shown.
	PublicFace(ctx context.Context, did syntax.DID) ([]byte, error)

	AccountHost
	AdminHost
}

// Limit is how often something may be done. Limits of one Name and Key share what is left.
type Limit struct {
	Name   string
	Points int
	Window time.Duration
	Key    string // who or what is counted; "" for the client's address alone
	// PerAddress counts the key for each address by itself.
	PerAddress bool
}

// Options configure New.
type Options struct {
	Accounts *account.Service
	Host     Host
	OAuth    *oauth.Service // nil: apps cannot ask here
	Logger   *slog.Logger

	PublicURL      string   // origin, without a slash at its end
	HandleDomains  []string // each with a dot before it
	InviteRequired bool
	PublicAccounts bool // the home page lists accounts
	Version        string
	Brand          Brand

	// Take counts a request against a limit. When that is used up, it returns how long to wait, and false.
	Take func(r *http.Request, l Limit) (wait time.Duration, ok bool)
	// Visit tells where a request comes from.
	Visit func(r *http.Request) account.Visit
	// HostAsked tells for which host name a request is, in lower case and without a port.
	HostAsked func(r *http.Request) string
	// RequestID names a request as the log does.
	RequestID func(r *http.Request) string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Site serves the pages. Make it with New.
type Site struct {
	opts    Options
	log     *slog.Logger
	https   bool
	host    string // the name in PublicURL, without a port
	brand   brand
	assets  *assets
	mux     *http.ServeMux
	origins *http.CrossOriginProtection

	patterns []string // of all pages
}

// New returns the pages. The error is about the brand or the public address.
func New(opts Options) (*Site, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	b, err := newBrand(opts.Brand)
	if err != nil {
		return nil, err
	}
	public, err := url.Parse(opts.PublicURL)
	if err != nil {
		return nil, err
	}
	s := &Site{
		opts: opts, log: opts.Logger, brand: b,
		https:   public.Scheme == "https",
		host:    strings.ToLower(public.Hostname()),
		assets:  newAssets(b),
		mux:     http.NewServeMux(),
		origins: http.NewCrossOriginProtection(),
	}
	s.routes()
	return s, nil
}

// Paths are where the pages are, "/*" at the end standing for everything below.
func Paths() []string {
	return []string{"/", movePath, movePath + "/*", MoveCallbackPath, adminPath, adminPath + "/*", "/account", "/account/*", authorizePath, authorizePath + "/*", assetPath + "*", facePath + "*"}
}

// Patterns lists the pages, as http.ServeMux has them.
func (s *Site) Patterns() []string { return slices.Clone(s.patterns) }

// ServeHTTP implements http.Handler.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// localPath returns where to go after a sign-in, if that is one of our own pages; "" if not. Whatever browsers might read as another site is refused.
func localPath(next string) string {
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") || len(next) > maxNext {
		return ""
	}
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" {
		return ""
	}
	return next
}

// maxNext bounds the address of the page to go to after a sign-in, in bytes. That of an app's request can hold many scopes.
const maxNext = 16 << 10
