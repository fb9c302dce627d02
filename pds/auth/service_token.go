package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	strict "github.com/go-jose/go-jose/v4/json" // no member twice, and none in other letters
)

const (
	// ServiceLifetime is how long a service token lives when nobody asks for more.
	ServiceLifetime = time.Minute
	// MaxServiceLifetime is the longest life of a token for one method, of those made here and of those accepted.
	MaxServiceLifetime = time.Hour
	// maxUnboundLifetime is the longest life of a token for any method.
	maxUnboundLifetime = time.Minute

	serviceFragment = "#atproto_pds" // of this server in its DID document
	nonceBytes      = 16

	// Ids of keys in DID documents. A labeler's tokens, and nobody else's, are signed with its second one, and have an issuer that says so.
	signingKey      = "atproto"
	labelerKey      = "atproto_label"
	labelerFragment = "atproto_labeler"
)

// ServiceClaims are what a service token says.
type ServiceClaims struct {
	Issuer   syntax.DID  // the account in whose name it speaks
	Audience string      // DID of the service it is for, with or without "#fragment"
	Method   syntax.NSID // lxm; "" for any
	IssuedAt time.Time   // zero: now
	Expires  time.Time   // zero: ServiceLifetime after IssuedAt
}

type serviceHeader struct {
	Alg      string          `json:"alg"`
	Type     string          `json:"typ,omitempty"`
	KeyID    string          `json:"kid,omitempty"`
	Critical json.RawMessage `json:"crit,omitempty"`
}

type serviceClaims struct {
	IssuedAt  *float64 `json:"iat,omitempty"`
	Issuer    string   `json:"iss"`
	Audience  string   `json:"aud"`
	Expires   *float64 `json:"exp"`
	NotBefore *float64 `json:"nbf,omitempty"`
	Method    string   `json:"lxm,omitempty"`
	ID        string   `json:"jti,omitempty"`
}

// ServiceToken makes a token with which the account speaks to another service, signed with the account's key: ES256K or ES256, as the key is.
func ServiceToken(key atcrypto.PrivateKey, c ServiceClaims) (string, error) {
	pub, err := key.PublicKey()
	if err != nil {
		return "", fmt.Errorf("sign service token: %w", err)
	}
	if c.IssuedAt.IsZero() {
		c.IssuedAt = time.Now()
	}
	if c.Expires.IsZero() {
		c.Expires = c.IssuedAt.Add(ServiceLifetime)
	}
	nonce := make([]byte, nonceBytes)
	rand.Read(nonce)
	iat, exp := float64(c.IssuedAt.Unix()), float64(c.Expires.Unix())
	claims, err := json.Marshal(serviceClaims{
		IssuedAt: &iat, Issuer: string(c.Issuer), Audience: c.Audience, Expires: &exp, Method: string(c.Method), ID: hex.EncodeToString(nonce),
	})
	if err != nil {
		return "", fmt.Errorf("sign service token: %w", err)
	}
	b64 := base64.RawURLEncoding
	input := b64.EncodeToString([]byte(`{"typ":"JWT","alg":"`+algorithm(pub)+`"}`)) + "." + b64.EncodeToString(claims)
	sig, err := key.HashAndSign([]byte(input))
	if err != nil {
		return "", fmt.Errorf("sign service token: %w", err)
	}
	return input + "." + b64.EncodeToString(sig), nil
}

// algorithm names the JWS algorithm of a key; "" for a kind of key that we do not know.
func algorithm(key atcrypto.PublicKey) string {
	switch key.(type) {
	case *atcrypto.PublicKeyK256:
		return "ES256K"
	case *atcrypto.PublicKeyP256:
		return "ES256"
	}
	return ""
}

// ServiceExpiry checks the lifetime that getServiceAuth was asked for, in Unix seconds; nil asks for none. A token for one method may live an
// hour, one for any method a minute. The error is ErrBadExpiration.
func ServiceExpiry(now time.Time, exp *int64, method syntax.NSID) (time.Time, error) {
	if exp == nil {
		return now.Add(ServiceLifetime), nil
	}
	at := time.Unix(*exp, 0)
	switch {
	case at.Before(now):
		return time.Time{}, ErrBadExpiration.with("expiration is in past")
	case at.After(now.Add(MaxServiceLifetime)):
		return time.Time{}, ErrBadExpiration.with("cannot request a token with an expiration more than an hour in the future")
	case method == "" && at.After(now.Add(maxUnboundLifetime)):
		return time.Time{}, ErrBadExpiration.with("cannot request a method-less token with an expiration more than a minute in the future")
	}
	return at, nil
}

// parsedService is a service token taken apart.
type parsedService struct {
	header serviceHeader
	claims serviceClaims
	input  string // what was signed
	sig    []byte
}

// looksLikeService tells a service token from a session token by its header, without believing it.
func looksLikeService(token string) bool {
	if len(token) > maxToken {
		return false
	}
	t, err := parseService(token)
	return err == nil && strings.HasPrefix(t.header.Alg, "ES256") && !sessionType(t.header.Type)
}

func parseService(token string) (*parsedService, error) {
	parts := strings.Split(token, ".")
	if len(token) > maxToken || len(parts) != 3 {
		return nil, ErrBadJWT
	}
	t := &parsedService{input: token[:len(parts[0])+1+len(parts[1])]}
	var raw [3][]byte
	for i, part := range parts {
		var err error
		// Strict: the bits that base64 does not use must be zero, or one signature would make several tokens.
		if raw[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil || strings.ContainsAny(part, "\r\n") {
			return nil, ErrBadJWT.because(err)
		}
	}
	if err := strict.Unmarshal(raw[0], &t.header); err != nil {
		return nil, ErrBadJWT.because(err)
	}
	if err := strict.Unmarshal(raw[1], &t.claims); err != nil {
		return nil, ErrBadJWT.because(err)
	}
	t.sig = raw[2]
	return t, nil
}

// sessionType tells whether the type in the header is that of another kind of token.
func sessionType(typ string) bool {
	switch strings.TrimPrefix(strings.ToLower(typ), "application/") {
	case typeAccess, typeRefresh, "dpop+jwt":
		return true
	}
	return false
}

// service turns a service token into a Principal.
func (v *Verifier) service(ctx context.Context, token string, method syntax.NSID, allow []Allow) (Principal, error) {
	t, err := parseService(token)
	if err != nil {
		return Principal{}, err
	}
	if err := v.checkService(t, method, signingKey); err != nil {
		return Principal{}, err
	}
	issuer, err := syntax.ParseDID(t.claims.Issuer)
	if err != nil {
		return Principal{}, ErrBadIssuer.with("jwt issuer must be a DID").because(err)
	}
	if err := v.checkServiceSignature(ctx, t, issuer, signingKey); err != nil {
		return Principal{}, err
	}
	p := Principal{Kind: Service, DID: issuer, Method: method}
	if p.Account, err = v.account(ctx, issuer); errors.Is(err, ErrAccountNotFound) {
		p.Account = nil
	} else if err != nil {
		return Principal{}, err
	}
	if p.Account != nil {
		if err := refuseInactive(p.Account, allow); err != nil {
			return Principal{}, err
		}
	}
	if !slices.Contains(allow, Reusable) && !v.firstUse(t, issuer) {
		return Principal{}, errUsedBefore
	}
	return p, nil
}

var errUsedBefore = ErrBadJWT.with("jwt was used before")

func (v *Verifier) firstUse(t *parsedService, issuer syntax.DID) bool {
	return v.replays.first(string(issuer), t.identity(), unix(*t.claims.Expires), v.now())
}

// moderator turns a token of the moderation service into a Principal. Who else signs is refused before anything is looked up.
func (v *Verifier) moderator(ctx context.Context, token string, method syntax.NSID) (Principal, error) {
	t, err := parseService(token)
	if err != nil {
		return Principal{}, err
	}
	mod, key := v.opts.ModServiceDID, signingKey
	switch {
	case mod != "" && t.claims.Issuer == string(mod):
	case mod != "" && t.claims.Issuer == string(mod)+"#"+labelerFragment:
		key = labelerKey
	default:
		return Principal{}, ErrUntrustedIss
	}
	if err := v.checkService(t, method, key); err != nil {
		return Principal{}, err
	}
	if err := v.checkServiceSignature(ctx, t, mod, key); err != nil {
		return Principal{}, err
	}
	if !v.firstUse(t, mod) {
		return Principal{}, errUsedBefore
	}
	return Principal{Kind: Moderator, DID: mod, Method: method}, nil
}

// identity is what two uses of one token have in common: its nonce, or else all that was signed.
func (t *parsedService) identity() [sha256.Size]byte {
	if t.claims.ID != "" {
		return sha256.Sum256([]byte("jti " + t.claims.ID))
	}
	return sha256.Sum256([]byte("jwt " + t.input))
}

// checkService checks everything but who the issuer is and the signature, which costs a look into a DID document. key is the id of the key that
// the token must be signed with.
func (v *Verifier) checkService(t *parsedService, method syntax.NSID, key string) error {
	h, c := t.header, t.claims
	switch {
	case sessionType(h.Type):
		return ErrBadJWTType.with(fmt.Sprintf("Invalid jwt type %q", h.Type))
	case h.Critical != nil:
		return ErrBadJWT.with("jwt has critical headers that are not understood")
	case h.Alg != "ES256K" && h.Alg != "ES256":
		return ErrBadSignature.with("jwt algorithm must be ES256K or ES256")
	case h.KeyID != "" && h.KeyID != "#"+key:
		return ErrBadSignature.with("jwt key must be #" + key)
	case c.Issuer == "" || c.Audience == "" || c.Expires == nil:
		return ErrBadJWT
	}
	if err := v.checkServiceTimes(c); err != nil {
		return err
	}
	if own := string(v.opts.ServiceDID); c.Audience != own && c.Audience != own+serviceFragment {
		return ErrBadAudience
	}
	if c.Method == "" {
		return ErrBadMethod.with(`missing jwt lexicon method ("lxm"). must match: ` + string(method))
	}
	if c.Method != string(method) {
		return ErrBadMethod.with(`bad jwt lexicon method ("lxm"). must match: ` + string(method))
	}
	return nil
}

func (v *Verifier) checkServiceTimes(c serviceClaims) error {
	now := v.now()
	if !now.Before(unix(*c.Expires)) {
		return ErrJWTExpired
	}
	if unix(*c.Expires).After(now.Add(MaxServiceLifetime + clockSkew)) {
		return ErrBadJWT.with("jwt lives too long: an hour is the most")
	}
	for _, begin := range []*float64{c.IssuedAt, c.NotBefore} {
		if begin != nil && unix(*begin).After(now.Add(clockSkew)) {
			return ErrBadJWT.with("jwt is not valid yet")
		}
	}
	return nil
}

// unix turns a NumericDate into a time. Numbers beyond what a time can be become its ends.
func unix(seconds float64) time.Time {
	const limit = 1 << 40
	if math.IsNaN(seconds) {
		return time.Unix(0, 0)
	}
	return time.Unix(int64(max(-limit, min(limit, seconds))), 0)
}

// checkServiceSignature verifies with the issuer's key as it is known here, and once more with a fresh one when that fails: the key may have changed.
func (v *Verifier) checkServiceSignature(ctx context.Context, t *parsedService, issuer syntax.DID, key string) error {
	known, err := v.opts.IssuerKey(ctx, issuer, key, false)
	if err != nil {
		return ErrBadIssuer.because(err)
	}
	if t.verify(known) == nil {
		return nil
	}
	fresh, err := v.opts.IssuerKey(ctx, issuer, key, true)
	if err != nil {
		return ErrBadIssuer.because(err)
	}
	if fresh.Equal(known) {
		return ErrBadSignature
	}
	if err := t.verify(fresh); err != nil {
		return ErrBadSignature.because(err)
	}
	return nil
}

// verify takes high-S signatures too: makers of JWTs do not know of low-S.
func (t *parsedService) verify(key atcrypto.PublicKey) error {
	if algorithm(key) != t.header.Alg {
		return errors.New("jwt algorithm does not fit the key")
	}
	return key.HashAndVerifyLenient([]byte(t.input), t.sig)
}
