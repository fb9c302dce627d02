package oauth

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"perch/pds/oauth/dpop"
	"perch/pds/store"
)

// Lifetimes.
const (
	// AccessLifetime is short because what a permission set gives is looked up anew with each refresh. A session can be ended at any time.
	AccessLifetime = 15 * time.Minute
	// RequestLifetime is how long a pushed request waits for a browser, OpenLifetime how long for the decision once one has come, and maxOpen the
	// longest of all that. CodeLifetime is how long a code waits for the app.
	RequestLifetime = 5 * time.Minute
	OpenLifetime    = 30 * time.Minute
	maxOpen         = 3 * time.Hour
	CodeLifetime    = time.Minute
	// challengeMemory is how long a code challenge and a state are not taken again, and a code known as used.
	challengeMemory = 24 * time.Hour

	// Sessions of clients that cannot prove who they are end after two weeks, whatever happens.
	publicSession = 14 * 24 * time.Hour
	publicRefresh = 14 * 24 * time.Hour
	// Others go on for as long as they refresh.
	provenSession = 2 * 365 * 24 * time.Hour
	provenRefresh = 90 * 24 * time.Hour
	// RefreshGrace is how long a refresh token may be repeated, for clients that lost the answer or refresh twice at the same time. They get the same
	// tokens again, and only as long as nobody has refreshed those.
	RefreshGrace = time.Minute
)

// Options configure New. All but TrustedClients, Lexicon, Logger and Now are needed.
type Options struct {
	Store *store.Store
	// Issuer is the server's public URL: scheme and host, no slash at the end.
	Issuer string
	// TokenSecret makes tokens; whoever has it and the database makes any.
	TokenSecret []byte
	// DPoP checks proofs, here and at the methods.
	DPoP *dpop.Verifier
	// Client fetches what strangers name. It must be guarded, and follow no redirects.
	Client *http.Client
	// TrustedClients are the client_ids whose names and pictures are shown, and that are let in without a question.
	TrustedClients []string
	// Lexicon fetches the lexicon of that name from its author, verified. ErrNoLexicon says that there surely is none. nil knows none.
	Lexicon func(ctx context.Context, nsid string) ([]byte, error)
	Logger  *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Service is the authorization server. It is safe for use by many goroutines.
type Service struct {
	opts    Options
	clients *clients
	sets    *sets
	grants  grantCache
}

// New returns a Service.
func New(opts Options) *Service {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	return &Service{opts: opts, clients: newClients(opts.Client, opts.TrustedClients, opts.Now), sets: newSets(opts.Lexicon, opts.Now)}
}

func (s *Service) now() time.Time { return s.opts.Now() }

// Sweep removes sessions, requests and client assertions that are over, a thousand at a time.
func (s *Service) Sweep(ctx context.Context) error {
	const batch = 1000
	for {
		var n int64
		err := s.opts.Store.Update(ctx, func(tx *store.Tx) (err error) {
			n, err = tx.SweepOAuth(ctx, s.now(), batch)
			return err
		})
		if err != nil || n < batch {
			return err
		}
	}
}

// update runs fn in a transaction. A refusal that fn returns as its first value is the answer, and what fn has changed stays nevertheless: a replay ends a
// session and is refused.
func (s *Service) update(ctx context.Context, fn func(tx *store.Tx) (refusal *Error, err error)) error {
	var refusal *Error
	err := s.opts.Store.Update(ctx, func(tx *store.Tx) (err error) {
		refusal, err = fn(tx)
		return err
	})
	if err == nil && refusal != nil {
		return refusal
	}
	return err
}

// asError makes an *Error of any error.
func asError(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, store.ErrClosed), errors.Is(err, store.ErrDiskFull), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return refuse(Unavailable, "The server cannot do that just now. Try again in a moment.").because(err)
	}
	return refuse(ServerError, "The server has made a mistake").because(err)
}
