package oauth

import (
	"context"
	"errors"
	"net/http"

	"perch/pds/store"
)

// Service is the authorization server. It is safe for use by many goroutines.
type Service struct{}

// Handlers are the endpoints for programs, by path. They answer all verbs, CORS preflights too.
func (s *Service) Handlers() map[string]http.Handler { return nil }

var errNotYet = errors.New("not built yet")

// Open finds the request that an app has pushed, for the browser that is known as device, an opaque id of the page's making. The first device that opens
// a request keeps it: others are refused. It may be called again as often as pages are shown.
func (s *Service) Open(ctx context.Context, clientID, requestURI, device string) (*Request, error) {
	return nil, errNotYet
}

// MaySkipConsent tells whether the app may be let in without a question, and with which scopes: the operator trusts it, or it proves who it is with a key
// of its own and the person has granted all of this before. The person must be signed in; prompts other than PromptConsent are the page's business.
func (s *Service) MaySkipConsent(ctx context.Context, r *Request, acct store.AccountID) (scopes []string, ok bool, err error) {
	return nil, false, errNotYet
}

// Grant lets the app in with the scopes that were not unticked, out of those of r.Permissions, and remembers the decision. The request is used up. Scopes
// that the app has not asked for are refused, and "atproto" is always part of it.
func (s *Service) Grant(ctx context.Context, r *Request, acct *store.Account, device string, scopes []string) (Response, error) {
	return Response{}, errNotYet
}

// Deny sends the app away with an error: AccessDenied when the person said no, LoginRequired, ConsentRequired or SelectAccount when it asked for
// PromptNone and a question would be needed. The request is used up.
func (s *Service) Deny(ctx context.Context, r *Request, code Code, description string) (Response, error) {
	return Response{}, errNotYet
}

// Consented returns the scopes that the person has granted the client before; none if it never was let in, or was sent away by EndSession since.
func (s *Service) Consented(ctx context.Context, acct store.AccountID, clientID string) ([]string, error) {
	return nil, errNotYet
}

// Sessions lists the apps that may act for the account, the last used first.
func (s *Service) Sessions(ctx context.Context, acct store.AccountID) ([]Session, error) {
	return nil, errNotYet
}

// EndSession sends an app away at once, and forgets what was granted to it so that it has to ask again. A session that is not there is no error.
func (s *Service) EndSession(ctx context.Context, acct store.AccountID, id string) error {
	return errNotYet
}

// EndDevice ends the sessions that were begun on a device of the account.
func (s *Service) EndDevice(ctx context.Context, acct store.AccountID, device string) error {
	return errNotYet
}
