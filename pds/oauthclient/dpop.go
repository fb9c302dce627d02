package oauthclient

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	maxNonce  = 512 // bytes
	maxNonces = 1000
	maxToken  = 8 << 10 // bytes
)

func newKey() (jose.JSONWebKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return jose.JSONWebKey{Key: key}, err
}

// proof says that the holder of the key makes this request now.
func (c *Client) proof(key jose.JSONWebKey, method string, target *url.URL, access string) (string, error) {
	plain := url.URL{Scheme: target.Scheme, Host: target.Host, Path: target.Path}
	claims := map[string]any{"jti": rand.Text(), "htm": method, "htu": plain.String(), "iat": time.Now().Unix()}
	if nonce := c.nonce(plain.Scheme + "://" + plain.Host); nonce != "" {
		claims["nonce"] = nonce
	}
	if access != "" {
		claims["ath"] = hash(access)
	}
	text, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key.Key}, (&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(text)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (c *Client) nonce(origin string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nonces[origin]
}

// keepNonce forgets all others when there are many: strangers may name any server, and a nonce that is missing costs a request.
func (c *Client) keepNonce(origin, nonce string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nonces == nil || len(c.nonces) >= maxNonces {
		c.nonces = make(map[string]string)
	}
	c.nonces[origin] = nonce
}

// Sign puts the session's token and a proof into a request.
func (c *Client) Sign(req *http.Request, s *Session) error {
	proof, err := c.proof(s.Key, req.Method, req.URL, s.Access)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "DPoP "+s.Access)
	req.Header.Set("DPoP", proof)
	return nil
}

// Observe keeps the nonce that an answer brings, and tells whether the request was refused only for the want of it: it may be made again at once.
func (c *Client) Observe(resp *http.Response) (again bool) {
	nonce := resp.Header.Get("DPoP-Nonce")
	if nonce == "" || len(nonce) > maxNonce {
		return false
	}
	c.keepNonce(resp.Request.URL.Scheme+"://"+resp.Request.URL.Host, nonce)
	return resp.StatusCode == http.StatusUnauthorized && strings.Contains(resp.Header.Get("WWW-Authenticate"), `error="use_dpop_nonce"`)
}
