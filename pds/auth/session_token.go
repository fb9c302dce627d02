package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"perch/pds/account"
)

const (
	typeAccess  = "at+jwt"
	typeRefresh = "refresh+jwt"

	maxToken = 8 << 10 // bytes
	// clockSkew is how far the clocks of those who make tokens may run ahead of ours.
	clockSkew = time.Minute
)

// Tokens are what a client gets when it signs in or refreshes.
type Tokens struct {
	Access  string
	Refresh string // for a taken-down account too, whose session cannot be refreshed with it
}

// sessionClaims are the claims of session tokens: those of the reference, and sid, by which an access token names its session.
type sessionClaims struct {
	Scope    Scope            `json:"scope"`
	Subject  syntax.DID       `json:"sub"`
	Audience string           `json:"aud"`
	IssuedAt *jwt.NumericDate `json:"iat,omitempty"`
	Expires  *jwt.NumericDate `json:"exp"`
	ID       string           `json:"jti,omitempty"`
	Session  string           `json:"sid,omitempty"`

	NotBefore *jwt.NumericDate `json:"nbf,omitempty"`
	// These make it a token of another kind, whoever signed it.
	Method       json.RawMessage `json:"lxm,omitempty"`
	Confirmation json.RawMessage `json:"cnf,omitempty"`
}

// Tokens makes the tokens of a session.
func (v *Verifier) Tokens(s account.Session) (Tokens, error) {
	now := v.now()
	claims := sessionClaims{
		Scope: scopeOf(s), Subject: s.Account.DID, Audience: string(v.opts.ServiceDID),
		IssuedAt: jwt.NewNumericDate(now), Expires: jwt.NewNumericDate(now.Add(account.AccessLifetime)), Session: s.ID,
	}
	access, err := v.sign(typeAccess, claims)
	if err != nil {
		return Tokens{}, err
	}
	claims.Scope, claims.Expires, claims.ID, claims.Session = ScopeRefresh, jwt.NewNumericDate(s.ExpiresAt), s.ID, ""
	if s.Takendown {
		claims.ID = "none" // the lexicon wants a refresh token always; this one is good for nothing
	}
	refresh, err := v.sign(typeRefresh, claims)
	return Tokens{Access: access, Refresh: refresh}, err
}

func scopeOf(s account.Session) Scope {
	switch {
	case s.Takendown:
		return ScopeTakendown
	case s.AppPassword == "":
		return ScopeAccess
	case s.Privileged:
		return ScopeAppPassPrivileged
	}
	return ScopeAppPass
}

func (v *Verifier) sign(typ string, claims sessionClaims) (string, error) {
	opts := (&jose.SignerOptions{}).WithType(jose.ContentType(typ))
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: v.secret}, opts)
	if err != nil {
		return "", fmt.Errorf("sign session token: %w", err)
	}
	return jwt.Signed(signer).Claims(claims).Serialize()
}

// accessClaims verifies an access token. Tokens that were verified before are found by their hash.
func (v *Verifier) accessClaims(token string) (*sessionClaims, error) {
	c, ok := v.sessions.get(token)
	if !ok {
		var err error
		if c, err = v.verifySession(token, typeAccess); err != nil {
			return nil, err
		}
		v.sessions.put(token, c)
	}
	return c, v.checkTimes(c)
}

// refreshClaims verifies a refresh token; with expiredOK the end of its life does not count.
func (v *Verifier) refreshClaims(token string, expiredOK bool) (*sessionClaims, error) {
	c, err := v.verifySession(token, typeRefresh)
	if err != nil {
		return nil, err
	}
	if err := v.checkTimes(c); err != nil && !(expiredOK && errors.Is(err, ErrExpiredToken)) {
		return nil, err
	}
	if c.Scope != ScopeRefresh {
		return nil, ErrInvalidToken.with("Bad token scope")
	}
	if c.ID == "" {
		return nil, ErrMissingTokenID
	}
	return c, nil
}

// verifySession checks everything about a session token but the times.
func (v *Verifier) verifySession(token, typ string) (*sessionClaims, error) {
	if len(token) > maxToken {
		return nil, ErrInvalidToken.with("Malformed token")
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.HS256})
	if err != nil || len(parsed.Headers) != 1 {
		return nil, ErrInvalidToken.because(err)
	}
	var c sessionClaims
	if err := parsed.Claims(v.secret, &c); err != nil {
		return nil, ErrInvalidToken.because(err)
	}
	if got, _ := parsed.Headers[0].ExtraHeaders[jose.HeaderType].(string); got != typ {
		return nil, ErrInvalidToken.with("Invalid token type")
	}
	if c.Method != nil || c.Confirmation != nil {
		return nil, ErrInvalidToken.with("Malformed token")
	}
	if c.Audience != string(v.opts.ServiceDID) || c.Expires == nil {
		return nil, ErrInvalidToken
	}
	if _, err := syntax.ParseDID(string(c.Subject)); err != nil {
		return nil, ErrInvalidToken.with("Malformed token")
	}
	return &c, nil
}

func (v *Verifier) checkTimes(c *sessionClaims) error {
	now := v.now()
	if !now.Before(c.Expires.Time()) {
		return ErrExpiredToken
	}
	// iat does not count: we signed the token, and a clock that was set back since must not sign people out.
	if c.NotBefore != nil && c.NotBefore.Time().After(now.Add(clockSkew)) {
		return ErrInvalidToken.with("Token is not valid yet")
	}
	return nil
}
