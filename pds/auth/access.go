package auth

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/store"
)

// Allow widens an access function.
type Allow int

const (
	// Takendown lets in accounts that are taken down or suspended, and sessions that are good only for leaving.
	Takendown Allow = iota
	// Deactivated lets in accounts that their owner has deactivated, or is moving here.
	Deactivated
	// Reusable lets a service token be used more than once while it lives. For uploads that a service does in somebody's name and may repeat.
	Reusable
)

// Standard asks for an access token of any session, or of an app.
func (v *Verifier) Standard(allow ...Allow) Access { return v.With(SignedIn, allow...) }

// Full asks for an access token of a session begun with the main password.
func (v *Verifier) Full(allow ...Allow) Access { return v.With(Owner, allow...) }

// With asks for an access token of a session or an app that has the right.
func (v *Verifier) With(right Right, allow ...Allow) Access {
	return func(ctx context.Context, r *http.Request) (context.Context, error) {
		p, err := v.credential(ctx, r, allow)
		if err != nil {
			return ctx, err
		}
		if !p.IsTakendown() { // it got in because it is allowed here
			if err := p.May(right); err != nil {
				return ctx, err
			}
		}
		p.again = func(ctx context.Context) (*store.Account, error) { return v.still(ctx, &p, allow) }
		return v.letIn(ctx, p), nil
	}
}

// letIn returns a context that carries who was let in.
func (v *Verifier) letIn(ctx context.Context, p Principal) context.Context {
	v.opts.LetIn(ctx, p)
	return NewContext(ctx, p)
}

// still is the part of an access function that may come out differently a while later.
func (v *Verifier) still(ctx context.Context, p *Principal, allow []Allow) (*store.Account, error) {
	acct, err := v.opts.Accounts.ByID(ctx, p.Account.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrAccountNotFound
	}
	if err == nil {
		err = refuseInactive(acct, allow)
	}
	if err != nil {
		return nil, err
	}
	if p.Kind == OAuth {
		return acct, v.opts.OAuth.Alive(ctx, p.SessionID)
	}
	return acct, v.sessionLive(ctx, acct, p.SessionID)
}

// sessionLive refuses a session that was ended. Tokens of the reference, which live on for two hours when its data is taken over, name none.
func (v *Verifier) sessionLive(ctx context.Context, acct *store.Account, id string) error {
	if id == "" {
		return nil
	}
	live, err := v.opts.Accounts.SessionLive(ctx, acct.ID, id)
	if err == nil && !live {
		err = ErrExpiredToken.with("Token has been revoked")
	}
	return err
}

// Refresh asks for a refresh token. Whether its session is still there, account.Service.RefreshSession finds out.
func (v *Verifier) Refresh() Access { return v.refresh(false) }

// RefreshExpired asks for a refresh token that may have expired, for signing out.
func (v *Verifier) RefreshExpired() Access { return v.refresh(true) }

func (v *Verifier) refresh(expiredOK bool) Access {
	return func(ctx context.Context, r *http.Request) (context.Context, error) {
		token, err := bearer(r)
		if err != nil {
			return ctx, err
		}
		c, err := v.refreshClaims(token, expiredOK)
		if err != nil {
			return ctx, err
		}
		acct, err := v.account(ctx, c.Subject)
		if err != nil {
			return ctx, err
		}
		return v.letIn(ctx, Principal{Kind: Refresh, DID: acct.DID, Scope: c.Scope, Account: acct, SessionID: c.ID}), nil
	}
}

// Admin asks for HTTP Basic with the admin password.
func (v *Verifier) Admin() Access {
	return func(ctx context.Context, r *http.Request) (context.Context, error) {
		if err := v.admin(r); err != nil {
			return ctx, err
		}
		return v.letIn(ctx, Principal{Kind: Admin}), nil
	}
}

// Moderator asks for the admin password, or for a token that the moderation service (Options.ModServiceDID) has signed for this method, as itself
// or as its labeler. The service need not have an account here; if it has one, its status does not count.
func (v *Verifier) Moderator(method syntax.NSID) Access {
	admin := v.Admin()
	return func(ctx context.Context, r *http.Request) (context.Context, error) {
		if scheme, _ := authorization(r); scheme != "bearer" {
			return admin(ctx, r)
		}
		token, err := bearer(r)
		if err != nil {
			return ctx, err
		}
		p, err := v.moderator(ctx, token, method)
		if err != nil {
			return ctx, err
		}
		return v.letIn(ctx, p), nil
	}
}

// Optional takes nothing, an access token of any session of any account, or the admin password. What is given must be right. It is for reads
// that show more to the owner and the admin; see Principal.MaySee.
func (v *Verifier) Optional() Access {
	session, admin := v.Standard(Takendown, Deactivated), v.Admin()
	return func(ctx context.Context, r *http.Request) (context.Context, error) {
		switch scheme, _ := authorization(r); scheme {
		case "":
			return NewContext(ctx, Principal{}), nil
		case "basic":
			return admin(ctx, r)
		}
		return session(ctx, r)
	}
}

// Service asks for a service token made for this method. Its signer need not have an account here; if it has one, that must be active or allowed.
func (v *Verifier) Service(method syntax.NSID, allow ...Allow) Access {
	return func(ctx context.Context, r *http.Request) (context.Context, error) {
		token, err := bearer(r)
		if errors.Is(err, ErrAuthMissing) {
			return ctx, ErrMissingJWT
		}
		if err != nil {
			return ctx, err
		}
		p, err := v.service(ctx, token, method, allow)
		if err != nil {
			return ctx, err
		}
		return v.letIn(ctx, p), nil
	}
}

// StandardOrService asks for an access token of any session, or a service token made for this method by an account that lives here.
func (v *Verifier) StandardOrService(method syntax.NSID, allow ...Allow) Access {
	session := v.Standard(allow...)
	return func(ctx context.Context, r *http.Request) (context.Context, error) {
		if scheme, _ := authorization(r); scheme == "dpop" {
			return session(ctx, r)
		}
		token, err := bearer(r)
		if err != nil {
			return ctx, err
		}
		if !looksLikeService(token) {
			return session(ctx, r)
		}
		p, err := v.service(ctx, token, method, allow)
		if err != nil {
			return ctx, err
		}
		if p.Account == nil {
			return ctx, ErrAccountNotFound
		}
		return v.letIn(ctx, p), nil
	}
}

// OptionalService takes nothing, or a service token made for this method: sign-up, where a token is needed only to move an account here. As in the
// reference, credentials that are no bearer token count for nothing.
func (v *Verifier) OptionalService(method syntax.NSID) Access {
	service := v.Service(method, Deactivated)
	return func(ctx context.Context, r *http.Request) (context.Context, error) {
		if scheme, _ := authorization(r); scheme != "bearer" && scheme != "several" {
			return NewContext(ctx, Principal{}), nil
		}
		return service(ctx, r)
	}
}

// session turns an access token into a Principal.
func (v *Verifier) session(ctx context.Context, token string, allow []Allow) (Principal, error) {
	c, err := v.accessClaims(token)
	if err != nil {
		return Principal{}, err
	}
	switch c.Scope {
	case ScopeAccess, ScopeAppPass, ScopeAppPassPrivileged:
	case ScopeTakendown:
		if !slices.Contains(allow, Takendown) {
			return Principal{}, ErrInvalidToken.with("Bad token scope")
		}
	default:
		return Principal{}, ErrInvalidToken.with("Bad token scope")
	}
	acct, err := v.account(ctx, c.Subject)
	if err != nil {
		return Principal{}, err
	}
	if err := refuseInactive(acct, allow); err != nil {
		return Principal{}, err
	}
	if err := v.sessionLive(ctx, acct, c.Session); err != nil {
		return Principal{}, err
	}
	return Principal{Kind: Session, DID: acct.DID, Scope: c.Scope, Account: acct, SessionID: c.Session}, nil
}

// account looks an account up. A deleted one is as good as none.
func (v *Verifier) account(ctx context.Context, did syntax.DID) (*store.Account, error) {
	acct, err := v.opts.Accounts.ByDID(ctx, did)
	if errors.Is(err, store.ErrNotFound) || err == nil && !acct.DeletedAt.IsZero() {
		return nil, ErrAccountNotFound
	}
	return acct, err
}

func refuseInactive(a *store.Account, allow []Allow) error {
	switch a.Status() {
	case store.StatusDeleted:
		return ErrAccountNotFound
	case store.StatusTakendown:
		if !slices.Contains(allow, Takendown) {
			return ErrAccountTakedown
		}
	case store.StatusSuspended: // clients know no other name for it
		if !slices.Contains(allow, Takendown) {
			return ErrAccountTakedown.with("Account has been suspended")
		}
	}
	if !a.DeactivatedAt.IsZero() && !slices.Contains(allow, Deactivated) {
		return ErrAccountDeactivated
	}
	return nil
}

// authorization splits the header; the scheme is in lower case and "" when there is none. Two headers are one too many.
func authorization(r *http.Request) (scheme, value string) {
	all := r.Header.Values("Authorization")
	if len(all) == 0 {
		return "", ""
	}
	if len(all) > 1 {
		return "several", ""
	}
	scheme, value, _ = strings.Cut(strings.TrimSpace(all[0]), " ")
	return strings.ToLower(scheme), strings.TrimSpace(value)
}

func bearer(r *http.Request) (string, error) {
	switch scheme, token := authorization(r); {
	case scheme == "":
		return "", ErrAuthMissing
	case scheme != "bearer":
		return "", ErrInvalidToken.with("Unexpected authorization type")
	case token == "" || strings.ContainsAny(token, " ,\t"):
		return "", ErrInvalidToken.with("Malformed token")
	default:
		return token, nil
	}
}
