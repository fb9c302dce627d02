package auth

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"perch/pds/oauth/dpop"
	"perch/pds/oauth/scope"
	"perch/pds/store"
)

// OAuthTokens is what the Verifier asks about access tokens of apps; *oauth.Service answers.
type OAuthTokens interface {
	// Authenticate finds the session of an access token. The error for one that is not valid (any more) is ErrOAuthToken.
	Authenticate(ctx context.Context, accessToken string) (OAuthSession, error)
	// Alive returns ErrOAuthToken when the session is not there any more.
	Alive(ctx context.Context, session string) error
}

// OAuthSession is an app that may act for an account.
type OAuthSession struct {
	ID       string
	ClientID string
	Account  store.AccountID
	JKT      string // thumbprint of the key that the token is bound to
	Grant    *scope.Grant
}

// oauthTokenPrefix begins all access tokens of apps.
const oauthTokenPrefix = "acc-"

// Refusals of apps. The names are those of RFC 6750 and RFC 9449, as in the reference: client libraries act on them.
var (
	ErrOAuthToken = dpopError("invalid_token", "The access token is not valid any more")
	ErrDPoPProof  = dpopError("invalid_dpop_proof", "The DPoP proof is not valid")
	ErrDPoPNonce  = dpopError("use_dpop_nonce", "The DPoP proof must carry the nonce of the header DPoP-Nonce")

	// ErrScopeMissing: the app was not granted what it wants to do.
	ErrScopeMissing = &Error{Status: 403, Name: "ScopeMissingError", Message: "Missing required scope"}
	// ErrNotForApps: the method is closed to apps, whatever was granted to them.
	ErrNotForApps = &Error{Status: 403, Name: "Forbidden", Message: "OAuth credentials are not supported for this endpoint"}
)

func dpopError(name, message string) *Error {
	e := &Error{Status: 401, Name: name}
	return e.dpop(message)
}

// dpop returns a copy of the refusal with another message, in the challenge too.
func (e *Error) dpop(message string) *Error {
	c := e.with(message)
	c.Challenge = `DPoP algs="` + dpop.Algorithm + `", error="` + e.Name + `", error_description="` + quotable.Replace(message) + `"`
	return c
}

var quotable = strings.NewReplacer(`"`, "'", `\`, "/", "\r", " ", "\n", " ")

// credential turns an access token into a Principal: of a session, or of an app that proves that the token is its own.
func (v *Verifier) credential(ctx context.Context, r *http.Request, allow []Allow) (Principal, error) {
	scheme, token := authorization(r)
	if scheme == "dpop" {
		return v.app(ctx, r, token, allow)
	}
	token, err := bearer(r)
	if err != nil {
		return Principal{}, err
	}
	if strings.HasPrefix(token, oauthTokenPrefix) {
		return Principal{}, ErrOAuthToken.dpop("The token must be sent with the scheme DPoP")
	}
	return v.session(ctx, token, allow)
}

// app checks the token and the proof of an app.
func (v *Verifier) app(ctx context.Context, r *http.Request, token string, allow []Allow) (Principal, error) {
	if v.opts.OAuth == nil {
		return Principal{}, ErrInvalidToken.with("Unexpected authorization type")
	}
	ses, err := v.opts.OAuth.Authenticate(ctx, token)
	if err != nil {
		return Principal{}, err
	}
	proof, err := dpop.FromHeader(r.Header)
	if err != nil {
		return Principal{}, ErrDPoPProof.dpop(err.Error())
	}
	jkt, err := v.opts.DPoP.Verify(proof, dpop.Request{Method: r.Method, URL: v.opts.PublicURL + r.URL.EscapedPath(), Token: token})
	switch {
	case errors.Is(err, dpop.ErrNonce):
		return Principal{}, ErrDPoPNonce
	case err != nil:
		return Principal{}, ErrDPoPProof.dpop(err.Error())
	case sameSecret(jkt, ses.JKT) != 1:
		return Principal{}, ErrOAuthToken.dpop("The access token is bound to another key")
	case !ses.Grant.Valid():
		return Principal{}, missing(scope.Atproto)
	}
	acct, err := v.opts.Accounts.ByID(ctx, ses.Account)
	if errors.Is(err, store.ErrNotFound) {
		return Principal{}, ErrAccountNotFound
	}
	if err != nil {
		return Principal{}, err
	}
	if err := refuseInactive(acct, allow); err != nil {
		return Principal{}, err
	}
	return Principal{Kind: OAuth, DID: acct.DID, Account: acct, SessionID: ses.ID, ClientID: ses.ClientID, Grant: ses.Grant}, nil
}

func missing(scope string) *Error {
	return ErrScopeMissing.with(`Missing required scope "` + scope + `"`)
}
