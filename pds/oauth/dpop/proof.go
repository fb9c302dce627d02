// Package dpop checks proofs of possession (RFC 9449): that whoever sends a request holds the key that its token was made for.
package dpop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	strict "github.com/go-jose/go-jose/v4/json" // no member twice, and none in other letters

	"perch/pds/oauth/dpop/es256"
)

const (
	// HeaderName is the header that carries a proof, and NonceHeader the one that tells the next nonce.
	HeaderName  = "DPoP"
	NonceHeader = "DPoP-Nonce"
	// Algorithm is the only one that is taken: all clients must have it.
	Algorithm = "ES256"

	proofType = "dpop+jwt"
	maxProof  = 8 << 10 // bytes
	maxJTI    = 512     // bytes
	// clockSkew is how far the client's clock may be off. The nonce says when a proof was made, so this can be generous.
	clockSkew = 3 * time.Minute
)

var (
	// ErrProof says that a proof is missing, malformed, not for this request, used before, or not signed by its key.
	ErrProof = errors.New("the DPoP proof is not valid")
	// ErrNonce says that the proof has no nonce, or one that is too old: the client shall repeat the request with Verifier.Nonce.
	ErrNonce = errors.New("the DPoP proof needs the server's nonce")
)

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProof, fmt.Sprintf(format, args...))
}

// Request is what a proof must be made for.
type Request struct {
	Method string
	// URL is the public one, as the client knows it. Query and fragment do not count.
	URL string
	// Token is the access token that goes with it, "" for none.
	Token string
}

// Verifier checks proofs. It is safe for use by many goroutines.
type Verifier struct {
	nonces     nonces
	keys       keyCache
	signatures *es256.Verifier
	now        func() time.Time

	// Proofs that were used. Strangers can make those that go with no token; what they fill up is theirs alone.
	bound, unbound usedProofs
}

// New returns a Verifier whose nonces are derived from the secret, and are good for its own life only. now is the clock; nil means time.Now.
func New(secret []byte, now func() time.Time) *Verifier {
	if now == nil {
		now = time.Now
	}
	return &Verifier{
		nonces: newNonces(secret, now), signatures: es256.New(now), now: now,
		bound: usedProofs{most: maxBound}, unbound: usedProofs{most: maxUnbound},
	}
}

// Nonce returns what clients shall put into their next proof.
func (v *Verifier) Nonce() string { return v.nonces.at(v.nonces.period()) }

// FromHeader returns the proof of a request, "" if it has none. Two are one too many.
func FromHeader(h http.Header) (string, error) {
	switch all := h.Values(HeaderName); len(all) {
	case 0:
		return "", nil
	case 1:
		return all[0], nil
	}
	return "", bad("there must be one DPoP header")
}

type header struct {
	Type     string                     `json:"typ"`
	Alg      string                     `json:"alg"`
	JWK      map[string]json.RawMessage `json:"jwk"`
	Critical json.RawMessage            `json:"crit"`
}

type claims struct {
	ID       string   `json:"jti"`
	Method   string   `json:"htm"`
	URL      string   `json:"htu"`
	IssuedAt *float64 `json:"iat"`
	Expires  *float64 `json:"exp"`
	Nonce    *string  `json:"nonce"`
	Token    *string  `json:"ath"`
}

// Verify checks a proof for the request and returns the thumbprint of its key. Errors: ErrProof, ErrNonce. The cheap checks come first; the proof counts
// as used only when all of them passed.
func (v *Verifier) Verify(proof string, r Request) (thumbprint string, err error) {
	input, sig, key, err := v.parse(proof)
	if err != nil {
		return "", err
	}
	_, payload, _ := strings.Cut(input, ".")
	period, id, err := v.checkClaims(payload, r)
	if err != nil {
		return "", err
	}
	if !v.signatures.Verify(key.public, sha256.Sum256([]byte(input)), sig) {
		return "", bad("signature")
	}
	head, _, _ := strings.Cut(input, ".")
	v.keys.put(head, key)
	used := &v.unbound
	if r.Token != "" {
		used = &v.bound
	}
	if !used.first(v.nonces.period(), period, key.thumbprint, id) {
		return "", bad("it was used before")
	}
	return key.thumbprint, nil
}

// parse takes a compact JWS apart and reads its header.
func (v *Verifier) parse(proof string) (input string, sig []byte, key *proofKey, err error) {
	if proof == "" {
		return "", nil, nil, bad("there is none")
	}
	at := strings.LastIndexByte(proof, '.')
	if len(proof) > maxProof || at < 0 || strings.Count(proof, ".") != 2 {
		return "", nil, nil, bad("malformed")
	}
	input = proof[:at]
	sig, err = base64.RawURLEncoding.Strict().DecodeString(proof[at+1:])
	if err != nil || len(sig) != 64 {
		return "", nil, nil, bad("malformed signature")
	}
	head, _, _ := strings.Cut(input, ".")
	if key = v.keys.get(head); key == nil {
		key, err = parseHeader(head)
	}
	return input, sig, key, err
}

func parseHeader(head string) (*proofKey, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(head)
	var h header
	if err != nil || strict.Unmarshal(raw, &h) != nil {
		return nil, bad("malformed header")
	}
	switch {
	case h.Type != proofType:
		return nil, bad("typ must be %s", proofType)
	case h.Alg != Algorithm:
		return nil, bad("alg must be %s", Algorithm)
	case h.Critical != nil:
		return nil, bad("crit is not supported")
	case h.JWK == nil:
		return nil, bad("there is no jwk")
	}
	return parseKey(h.JWK)
}

// parseKey reads the public key. Members of private and symmetric keys are refused, whatever they hold.
func parseKey(members map[string]json.RawMessage) (*proofKey, error) {
	for _, secret := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if _, has := members[secret]; has {
			return nil, bad("jwk must be a public key")
		}
	}
	FillCoordinates(members)
	raw, err := json.Marshal(members)
	if err != nil {
		return nil, bad("jwk")
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(raw); err != nil {
		return nil, bad("jwk")
	}
	public, ok := jwk.Key.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, bad("jwk must be a key on P-256")
	}
	sum, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, bad("jwk")
	}
	return &proofKey{public, base64.RawURLEncoding.EncodeToString(sum)}, nil
}

func (v *Verifier) checkClaims(payload string, r Request) (period int64, id string, err error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(payload)
	var c claims
	if err != nil || strict.Unmarshal(raw, &c) != nil {
		return 0, "", bad("malformed claims")
	}
	now := v.now()
	switch {
	case c.ID == "" || len(c.ID) > maxJTI:
		return 0, "", bad("jti")
	case c.Method != r.Method:
		return 0, "", bad("htm is not the method of the request")
	case !sameURL(c.URL, r.URL):
		return 0, "", bad("htu is not the address of the request, %s", r.URL)
	case c.IssuedAt == nil || math.Abs(*c.IssuedAt-float64(now.Unix())) > clockSkew.Seconds():
		return 0, "", bad("iat is not the present time")
	case c.Expires != nil && *c.Expires < float64(now.Add(-clockSkew).Unix()):
		return 0, "", bad("it has expired")
	case !boundTo(c.Token, r.Token):
		return 0, "", bad("ath is not the hash of the access token")
	case c.Nonce == nil:
		return 0, "", ErrNonce
	}
	period, ok := v.nonces.find(*c.Nonce)
	if !ok {
		return 0, "", ErrNonce
	}
	return period, c.ID, nil
}

// boundTo tells whether ath is the hash of the token, or absent where there is none.
func boundTo(ath *string, token string) bool {
	if token == "" {
		return ath == nil
	}
	sum := sha256.Sum256([]byte(token))
	return ath != nil && subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(*ath)) == 1
}

// sameURL compares two addresses without query and fragment; want is ours and has neither.
func sameURL(got, want string) bool {
	if got == want {
		return true
	}
	g, err := url.Parse(got)
	if err != nil || g.User != nil || g.Opaque != "" {
		return false
	}
	w, err := url.Parse(want)
	if err != nil {
		return false
	}
	return strings.EqualFold(g.Scheme, w.Scheme) && strings.EqualFold(host(g), host(w)) && path(g) == path(w)
}

// host returns host and port, without the scheme's own port.
func host(u *url.URL) string {
	switch {
	case strings.EqualFold(u.Scheme, "https"):
		return strings.TrimSuffix(u.Host, ":443")
	case strings.EqualFold(u.Scheme, "http"):
		return strings.TrimSuffix(u.Host, ":80")
	}
	return u.Host
}

func path(u *url.URL) string {
	if p := u.EscapedPath(); p != "" {
		return p
	}
	return "/"
}
