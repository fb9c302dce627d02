package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"perch/pds/oauth/scope"
	"perch/pds/store"
)

// Open finds the request that an app has pushed, for the browser that is known as device, an opaque id of the page's making. The first device that opens
// a request keeps it: others are refused. It may be called again as often as pages are shown. Of an error with a Redirect the app is to be told.
func (s *Service) Open(ctx context.Context, clientID, requestURI, device string) (*Request, error) {
	secret, ok := strings.CutPrefix(requestURI, requestPrefix)
	if !ok || clientID == "" || device == "" {
		return nil, refuse(InvalidRequest, "An app must push its request first, and send the browser here with client_id and request_uri")
	}
	row, p, err := s.claim(ctx, hashOf(secret), clientID, device)
	if err != nil {
		return nil, err
	}
	c, err := s.clients.get(ctx, clientID)
	if errors.Is(err, &Error{Code: InvalidClientMeta}) { // what it says is for the app's makers: a page does not quote strangers
		return nil, refuse(InvalidClientMeta, "The document at the app's client_id is gone, or not right any more").because(err)
	}
	if err != nil {
		return nil, err
	}
	if !c.allowsRedirect(p.RedirectURI) || !c.has(p.Key) {
		return nil, refuse(InvalidRequest, "The app has changed since it made the request")
	}
	shown, err := s.permissions(ctx, p.Scopes)
	if err != nil {
		return nil, err
	}
	return &Request{
		URI: requestURI, ClientID: clientID, Client: c.public(), Permissions: shown, Prompt: p.Prompt, LoginHint: p.LoginHint,
		Display: p.Display, UILocales: p.UILocales, RedirectURI: p.RedirectURI, PushedAt: row.ForgetAt.Add(-challengeMemory), ExpiresAt: row.ExpiresAt,
		id: row.ID, device: device, params: *p,
	}, nil
}

// claim binds a request to the device, and gives the person time.
func (s *Service) claim(ctx context.Context, id []byte, clientID, device string) (row store.OAuthRequest, p *params, err error) {
	row, err = s.opts.Store.OAuthRequest(ctx, id)
	if err == nil && row.Device == device && row.ExpiresAt.Sub(s.now()) > OpenLifetime/2 {
		p, err = s.pending(row, clientID, device)
		return row, p, err
	}
	err = s.update(ctx, func(tx *store.Tx) (*Error, error) {
		row, err = tx.OAuthRequest(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			return errNoRequest(), nil
		}
		if err != nil {
			return nil, err
		}
		if p, err = s.pending(row, clientID, device); err != nil {
			return asError(err), nil
		}
		row.Device = device
		row.ExpiresAt = s.now().Add(OpenLifetime)
		if last := row.ForgetAt.Add(maxOpen - challengeMemory); row.ExpiresAt.After(last) {
			row.ExpiresAt = last
		}
		return nil, tx.UpdateOAuthRequest(ctx, row)
	})
	return row, p, err
}

func errNoRequest() *Error {
	e := refuse(InvalidRequest, "There is no such request. It may have ended, or something was decided already.")
	e.Ended = true
	return e
}

// pending tells whether the request waits for a decision on this device.
func (s *Service) pending(row store.OAuthRequest, clientID, device string) (*params, error) {
	if row.Data == "" || row.Code != nil || row.ClientID != clientID {
		return nil, errNoRequest()
	}
	if row.Device != "" && !same(row.Device, device) {
		e := refuse(AccessDenied, "The request was opened in another browser")
		e.Status = http.StatusForbidden
		return nil, e
	}
	var p params
	if err := json.Unmarshal([]byte(row.Data), &p); err != nil {
		return nil, err
	}
	if !s.now().Before(row.ExpiresAt) {
		e := refuse(AccessDenied, "The request has expired")
		e.Ended = true
		if row.Device != "" { // it got past the checks before
			e.Redirect = s.errorResponse(&p, AccessDenied, e.Description)
		}
		return nil, e
	}
	return &p, nil
}

// MaySkipConsent tells whether the app may be let in without a question, and with which scopes: the operator trusts it and the answer goes to its web site, or it proves who it is
// with a key of its own and the person has granted all of this before. The person must be signed in; prompts other than PromptConsent are the page's business.
func (s *Service) MaySkipConsent(ctx context.Context, r *Request, acct store.AccountID) (scopes []string, ok bool, err error) {
	for _, p := range r.Permissions {
		scopes = append(scopes, p.Scope)
	}
	if r.Prompt == PromptConsent || !r.MayBeSilent() {
		return scopes, false, nil
	}
	if r.trusted() {
		return scopes, true, nil
	}
	before, err := s.Consented(ctx, acct, r.ClientID)
	return scopes, err == nil && len(scope.Subset(scopes, before)) == len(scopes), err
}

// MayKnow tells whether the app may learn without a question that the account is signed in here: the operator trusts it, or it proves who it is and the account
// has let it in before.
func (s *Service) MayKnow(ctx context.Context, r *Request, acct store.AccountID) (bool, error) {
	if r.trusted() {
		return true, nil
	}
	if !r.Client.Confidential {
		return false, nil
	}
	before, err := s.Consented(ctx, acct, r.ClientID)
	return len(before) > 0, err
}

// Grant lets the app in with the scopes that were not unticked, out of those of r.Permissions, and remembers the decision. The request is used up. Scopes
// that the app has not asked for are refused, and "atproto" is always part of it.
func (s *Service) Grant(ctx context.Context, r *Request, acct *store.Account, device string, scopes []string) (Response, error) {
	granted, err := granted(r, scopes)
	if err != nil {
		return Response{}, err
	}
	if err := mayGrant(r, acct); err != nil {
		return Response{}, err
	}
	expanded, err := s.expand(ctx, granted, true)
	if err != nil {
		return Response{}, err
	}
	consent, err := s.consentAfter(ctx, r, acct.ID, granted)
	if err != nil {
		return Response{}, err
	}
	secret := codePrefix + newCode()
	err = s.update(ctx, func(tx *store.Tx) (*Error, error) {
		row, p, refusal, err := s.decide(ctx, tx, r, device)
		if refusal != nil || err != nil {
			return refusal, err
		}
		now, err := tx.AccountByID(ctx, acct.ID) // it may have been taken down, or have lost its password, since the page was shown
		if err != nil {
			return nil, err
		}
		if refusal := mayGrant(r, now); refusal != nil {
			return refusal, nil
		}
		if !same(now.PasswordHash, acct.PasswordHash) { // all sign-ins of before have ended
			return refuse(AccessDenied, "The account's password has changed. Sign in again."), nil
		}
		client := r.Client
		p.Granted, p.Expanded, p.Client = granted, expanded.scopes, &client
		data, err := json.Marshal(p)
		if err != nil {
			return nil, err
		}
		row.Data, row.Code, row.Account, row.ExpiresAt = string(data), hashOf(secret), acct.ID, s.now().Add(CodeLifetime)
		if err := tx.UpdateOAuthRequest(ctx, row); err != nil {
			return nil, err
		}
		for _, set := range expanded.fetched {
			if err := tx.PutOAuthLexicon(ctx, set); err != nil {
				return nil, err
			}
		}
		return nil, tx.PutOAuthConsent(ctx, acct.ID, r.ClientID, scope.Join(consent), s.now())
	})
	if err != nil {
		return Response{}, err
	}
	return s.response(&r.params, Param{"code", secret}), nil
}

func newCode() string {
	secret, _ := newSecret()
	return secret
}

// granted holds the scopes that were ticked against those that were asked for.
func granted(r *Request, scopes []string) ([]string, error) {
	var asked []string
	for _, p := range r.Permissions {
		asked = append(asked, p.Scope)
		if p.Required && !slices.Contains(scopes, p.Scope) {
			scopes = append([]string{p.Scope}, scopes...)
		}
	}
	for _, v := range scopes {
		if !slices.Contains(asked, v) {
			return nil, refuse(InvalidScope, "The app has not asked for "+clip(v))
		}
	}
	return scope.Subset(asked, scopes), nil
}

// mayGrant tells whether the account is one that may let the app in.
func mayGrant(r *Request, acct *store.Account) *Error {
	switch acct.Status() {
	case "", store.StatusDeactivated:
	default:
		return refuse(AccessDenied, "The account is not active")
	}
	if hint := r.LoginHint; hint != "" && hint != acct.DID.String() && hint != acct.Handle.Normalize().String() {
		return refuse(AccessDenied, "The app has asked for another account")
	}
	return nil
}

// consentAfter is what is remembered once the scopes are granted: those, and what was granted before and not asked for this time.
func (s *Service) consentAfter(ctx context.Context, r *Request, acct store.AccountID, granted []string) ([]string, error) {
	before, err := s.Consented(ctx, acct, r.ClientID)
	if err != nil {
		return nil, err
	}
	out := slices.Clone(granted)
	for _, v := range before {
		if !slices.Contains(r.params.Scopes, v) && len(out) < maxConsents {
			out = append(out, v)
		}
	}
	return out, nil
}

// maxConsents bounds what is remembered of one client.
const maxConsents = 400

// decide finds the request in the transaction that will use it up.
func (s *Service) decide(ctx context.Context, tx *store.Tx, r *Request, device string) (row store.OAuthRequest, p *params, refusal *Error, err error) {
	row, err = tx.OAuthRequest(ctx, r.id)
	if errors.Is(err, store.ErrNotFound) {
		return row, nil, errNoRequest(), nil
	}
	if err != nil {
		return row, nil, nil, err
	}
	if row.Device == "" {
		return row, nil, errNoRequest(), nil
	}
	if p, err = s.pending(row, r.ClientID, device); err != nil {
		return row, nil, asError(err), nil
	}
	return row, p, nil, nil
}

// Deny sends the app away with an error: AccessDenied when the person said no, LoginRequired, ConsentRequired or SelectAccount when it asked for
// PromptNone and a question would be needed. The request is used up.
func (s *Service) Deny(ctx context.Context, r *Request, code Code, description string) (Response, error) {
	err := s.update(ctx, func(tx *store.Tx) (*Error, error) {
		row, _, refusal, err := s.decide(ctx, tx, r, r.device)
		if refusal != nil || err != nil {
			return refusal, err
		}
		row.Data = ""
		return nil, tx.UpdateOAuthRequest(ctx, row)
	})
	if err != nil {
		return Response{}, err
	}
	return *s.errorResponse(&r.params, code, description), nil
}

// response is what goes to the app, with what always does.
func (s *Service) response(p *params, more ...Param) Response {
	return Response{Mode: p.Mode, RedirectURI: p.RedirectURI, Params: append([]Param{{"iss", s.opts.Issuer}, {"state", p.State}}, more...)}
}

func (s *Service) errorResponse(p *params, code Code, description string) *Response {
	r := s.response(p, Param{"error", string(code)}, Param{"error_description", description})
	return &r
}

// Consented returns the scopes that the person has granted the client before; none if it never was let in, or was sent away by EndSession since.
func (s *Service) Consented(ctx context.Context, acct store.AccountID, clientID string) ([]string, error) {
	text, err := s.opts.Store.OAuthConsent(ctx, acct, clientID)
	if err != nil {
		return nil, err
	}
	return splitScopes(text), nil
}
