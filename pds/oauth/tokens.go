package oauth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"strings"

	"perch/pds/store"
)

// Tokens are not stored. A token names its session and a generation, and ends with a MAC over both and the session's salt, under a key that is derived from
// the master key. So a stolen database gives no tokens; an old refresh token is told from a false one however long ago it was used; and a client that
// repeats a refresh can be given the very same tokens again.

const (
	accessPrefix  = "acc-"
	refreshPrefix = "ref-"
	codePrefix    = "cod-"
	requestPrefix = "urn:ietf:params:oauth:request_uri:req-"

	sessionIDBytes = 15 // 20 characters
	secretBytes    = 32
	tokenBytes     = sessionIDBytes + 8 + sha256.Size
)

// token is a token taken apart. Its MAC has not been checked yet.
type token struct {
	session    string
	generation int64
	mac        []byte
}

// parseToken reads an access or refresh token. It is false for anything else.
func parseToken(prefix, s string) (token, bool) {
	body, ok := strings.CutPrefix(s, prefix)
	if !ok || len(body) != base64.RawURLEncoding.EncodedLen(tokenBytes) {
		return token{}, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil || len(raw) != tokenBytes { // line ends in it count for nothing
		return token{}, false
	}
	return token{
		session:    base64.RawURLEncoding.EncodeToString(raw[:sessionIDBytes]),
		generation: int64(binary.BigEndian.Uint64(raw[sessionIDBytes:])),
		mac:        raw[sessionIDBytes+8:],
	}, true
}

// genuine tells whether the token was made by this server for the session, in whatever generation.
func (s *Service) genuine(prefix string, t token, ses *store.OAuthSession) bool {
	return subtle.ConstantTimeCompare(s.tokenMAC(prefix, ses, t.generation), t.mac) == 1
}

// makeToken makes the session's token of its present generation.
func (s *Service) makeToken(prefix string, ses *store.OAuthSession) string {
	raw, err := base64.RawURLEncoding.DecodeString(ses.ID)
	if err != nil {
		panic("oauth: session id: " + err.Error()) // we made it
	}
	raw = binary.BigEndian.AppendUint64(raw, uint64(ses.Generation))
	raw = append(raw, s.tokenMAC(prefix, ses, ses.Generation)...)
	return prefix + base64.RawURLEncoding.EncodeToString(raw)
}

func (s *Service) tokenMAC(prefix string, ses *store.OAuthSession, generation int64) []byte {
	mac := hmac.New(sha256.New, s.opts.TokenSecret)
	buf := make([]byte, 0, 128)
	buf = append(buf, prefix...)
	buf = append(buf, ses.ID...)
	buf = binary.BigEndian.AppendUint64(buf, uint64(generation))
	buf = append(buf, ses.Salt...)
	mac.Write(buf)
	return mac.Sum(nil)
}

func newSessionID() string { return base64.RawURLEncoding.EncodeToString(randomBytes(sessionIDBytes)) }

// newSecret returns a secret for somebody to bring back, and the hash by which it is found again.
func newSecret() (secret string, hash []byte) {
	secret = base64.RawURLEncoding.EncodeToString(randomBytes(secretBytes))
	return secret, hashOf(secret)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func hashOf(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
