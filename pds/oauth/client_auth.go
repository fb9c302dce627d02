package oauth

import (
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"perch/pds/store"
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	maxAssertion  = 8 << 10 // bytes
	// An assertion may be so old, and be good for so long.
	maxAssertionAge  = 5 * time.Minute
	maxAssertionLife = time.Hour
	assertionSkew    = time.Minute
)

// clientKey is the key by which a confidential client has proved itself. It stays the same for the whole session. It is zero for public clients.
type clientKey struct {
	ID         string `json:"kid,omitempty"`
	Algorithm  string `json:"alg,omitempty"`
	Thumbprint string `json:"jkt,omitempty"`
}

// errUnknownKey is the refusal of an assertion whose key the client does not have, as far as is known.
var errUnknownKey = refuse(InvalidClient, "client_assertion names no key of the client (kid)")

// assertion is what a confidential client has proved itself with. It is good once.
type assertion struct {
	id      []byte // hash of client_id and jti
	expires time.Time
	used    bool // and this is in the database
}

// confirmation is the DPoP key that an assertion was made for, where it says so: a server that signs for an app in a browser binds it thus to that app.
type confirmation struct {
	Key struct {
		Thumbprint *string `json:"jkt"`
	} `json:"cnf"`
}

func errAssertionUsed() *Error {
	return refuse(InvalidClient, "client_assertion: it was used before (jti)")
}

// authenticate checks the client's own proof, if it is one that has to bring it; a public client has none. dpop is the thumbprint of the key in its DPoP proof,
// "" for none: it must be another, and that which the assertion names if it names one. The error is an *Error with InvalidClient.
func (s *Service) authenticate(c *client, form url.Values, dpop string) (clientKey, *assertion, error) {
	text, kind := form.Get("client_assertion"), form.Get("client_assertion_type")
	if form.Has("client_secret") {
		return clientKey{}, nil, refuse(InvalidClient, "Client secrets are not supported")
	}
	if !c.confidential() {
		if text != "" || kind != "" {
			return clientKey{}, nil, refuse(InvalidClient, "The client's metadata say that it does not authenticate itself")
		}
		return clientKey{}, nil, nil
	}
	if kind != assertionType || text == "" || len(text) > maxAssertion {
		return clientKey{}, nil, refuse(InvalidClient, "The client must authenticate itself with a client_assertion of the type "+assertionType)
	}
	parsed, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(c.meta.AuthAlgorithm)})
	if err != nil || len(parsed.Headers) != 1 {
		return clientKey{}, nil, refuse(InvalidClient, "client_assertion must be a JWT signed with "+c.meta.AuthAlgorithm).because(err)
	}
	head := parsed.Headers[0]
	jwk, key, ok := c.key(head.KeyID, head.Algorithm)
	if !ok {
		return clientKey{}, nil, errUnknownKey
	}
	var claims jwt.Claims
	var bound confirmation
	if err := parsed.Claims(jwk, &claims, &bound); err != nil {
		return clientKey{}, nil, refuse(InvalidClient, "client_assertion: the signature or a claim is wrong").because(err)
	}
	if wrong := s.checkAssertion(c, &claims); wrong != "" {
		return clientKey{}, nil, refuse(InvalidClient, "client_assertion: "+wrong)
	}
	if dpop == "" {
		dpop = form.Get("dpop_jkt")
	}
	if bound.Key.Thumbprint != nil && !same(dpop, *bound.Key.Thumbprint) {
		return clientKey{}, nil, refuse(InvalidClient, "client_assertion: it was made for another DPoP key (cnf)")
	}
	if dpop != "" && same(dpop, key.Thumbprint) {
		return clientKey{}, nil, refuse(InvalidClient, "The DPoP key must be another than the key of the client")
	}
	return key, &assertion{id: hashOf(c.id + " " + claims.ID), expires: goodUntil(&claims)}, nil
}

// goodUntil is when an assertion is refused in any case.
func goodUntil(claims *jwt.Claims) time.Time {
	return earlier(claims.Expiry.Time().Add(assertionSkew), claims.IssuedAt.Time().Add(maxAssertionAge+time.Second))
}

// checkUnused refuses an assertion that was used before, so that whoever has seen one learns nothing from what else is wrong. What decides is use.
func (s *Service) checkUnused(ctx context.Context, a *assertion) error {
	if a == nil {
		return nil
	}
	used, err := s.opts.Store.OAuthAssertionUsed(ctx, a.id, s.now())
	if err == nil && used {
		return errAssertionUsed()
	}
	return err
}

// act is update for what a client asks for. The transaction uses up its assertion, before all else: with one that was used before fn is not called.
func (s *Service) act(ctx context.Context, a *assertion, fn func(tx *store.Tx) (*Error, error)) error {
	if a == nil {
		return s.update(ctx, fn)
	}
	return s.update(ctx, func(tx *store.Tx) (*Error, error) {
		switch err := tx.UseOAuthAssertion(ctx, a.id, a.expires); {
		case errors.Is(err, store.ErrAssertionUsed):
			a.used = true
			return errAssertionUsed(), nil
		case err != nil:
			return nil, err
		}
		tx.AfterCommit(func() { a.used = true })
		return fn(tx)
	})
}

// settle uses up the assertion of a call that came to its end without a transaction. err is what came of the call, and is what it returns unless that is nil. The
// client may have gone away meanwhile: its assertion was here nevertheless.
func (s *Service) settle(ctx context.Context, a *assertion, err error) error {
	if a == nil || a.used {
		return err
	}
	nothing := func(*store.Tx) (*Error, error) { return nil, nil }
	if refusal := s.act(context.WithoutCancel(ctx), a, nothing); err == nil {
		return refusal
	}
	return err
}

func (s *Service) checkAssertion(c *client, claims *jwt.Claims) string {
	now := s.now()
	switch {
	case claims.Issuer != c.id || claims.Subject != c.id:
		return "iss and sub must be the client_id"
	case len(claims.Audience) != 1 || claims.Audience[0] != s.opts.Issuer:
		return "aud must be " + s.opts.Issuer
	case claims.ID == "" || len(claims.ID) > 512:
		return "jti is missing"
	case claims.Expiry == nil:
		return "exp is missing"
	case claims.IssuedAt == nil:
		return "iat is missing"
	case !now.Before(claims.Expiry.Time().Add(assertionSkew)):
		return "it has expired"
	case claims.Expiry.Time().After(now.Add(maxAssertionLife)):
		return "exp is too far away"
	case claims.IssuedAt.Time().After(now.Add(assertionSkew)) || claims.IssuedAt.Time().Before(now.Add(-maxAssertionAge)):
		return "iat is not the present time"
	case claims.NotBefore != nil && claims.NotBefore.Time().After(now.Add(assertionSkew)):
		return "nbf is in the future"
	}
	return ""
}

// key finds a key of the client by its id and algorithm.
func (c *client) key(id, algorithm string) (*jose.JSONWebKey, clientKey, bool) {
	i := slices.IndexFunc(c.keys, func(k jose.JSONWebKey) bool {
		return id != "" && k.KeyID == id && (k.Algorithm == "" || k.Algorithm == algorithm)
	})
	if i < 0 {
		return nil, clientKey{}, false
	}
	sum, err := c.keys[i].Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, clientKey{}, false
	}
	return &c.keys[i], clientKey{id, algorithm, base64.RawURLEncoding.EncodeToString(sum)}, true
}

// has tells whether the client still has the key that a session was begun with. Public clients have none, and stay public.
func (c *client) has(k clientKey) bool {
	if k == (clientKey{}) {
		return !c.confidential()
	}
	_, now, ok := c.key(k.ID, k.Algorithm)
	return c.confidential() && ok && now == k
}
