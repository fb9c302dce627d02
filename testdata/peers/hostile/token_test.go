package hostile

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
)

// part is a segment of a JWT.
func part(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// hs makes a JWT with a shared secret.
func hs(h func() hash.Hash, secret string, header, claims any) string {
	body := part(header) + "." + part(claims)
	mac := hmac.New(h, []byte(secret))
	mac.Write([]byte(body))
	return body + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// tokenRows are credentials that must not be believed.
func (s *target) tokenRows(t *testing.T) []row {
	var rows []row
	add := func(name, authorization string) {
		for _, path := range []string{"com.atproto.server.getSession", "com.atproto.server.getAccountInviteCodes"} {
			rows = append(rows, row{name: name + " at " + path[19:], path: "/xrpc/" + path, as: raw(authorization), status: []int{400, 401, 403, 431}})
		}
	}
	for i, a := range []string{"Bearer", "Bearer ", "Bearer x", "Bearer x.y", "Bearer x.y.z", "Bearer ...", "Bearer a.b.c.d.e", "Bearer " + s.alice.Token + "x", "Bearer " + s.alice.Token[:len(s.alice.Token)-2],
		"Bearer  " + s.alice.Token + " " + s.alice.Token, s.alice.Token, "Token " + s.alice.Token, "Digest username=x", "Basic", "Basic !!!", "Basic " + b64("admin"), "Basic " + b64(":"), "Basic " + b64("admin:wrong"),
		"Basic " + b64("root:admin"), "Basic " + b64("admin:"+strings.Repeat("x", 50000)), "DPoP " + s.alice.Token, "DPoP x", "Bearer " + strings.Repeat("A", 6000), "Bearer \xff\xfe", "Bearer did:plc:x", "Negotiate", "Bearer " + s.alice.Refresh} {
		add(fmt.Sprintf("scheme %d", i), a)
	}
	for name, token := range s.forged() {
		add(name, "Bearer "+token)
	}
	for name, token := range s.services(t) {
		add(name, "Bearer "+token)
		rows = append(rows,
			row{name: name + " at uploadBlob", method: "POST", path: "/xrpc/com.atproto.repo.uploadBlob", as: raw("Bearer " + token), kind: "text/plain", body: []byte("x"), status: []int{400, 401, 403}},
			procedure(name+" at createAccount", "server.createAccount", raw("Bearer "+token), `{"handle":"moved.test","did":"did:web:example.com","email":"m@example.com","password":"correct-horse"}`))
	}
	for name, a := range map[string]string{"access as refresh": "Bearer " + s.alice.Token, "nothing as refresh": "", "basic as refresh": "Basic " + b64("admin:admin"), "changed refresh": "Bearer " + s.alice.Refresh + "A"} {
		rows = append(rows, procedure(name, "server.refreshSession", raw(a), ""), procedure(name+" at deleteSession", "server.deleteSession", raw(a), ""))
	}
	for _, nsid := range []string{"server.getSession", "server.listAppPasswords", "server.checkAccountStatus", "server.getAccountInviteCodes", "repo.listMissingBlobs", "server.getServiceAuth?aud=did:web:example.com"} {
		rows = append(rows, row{name: "nobody at " + nsid, path: "/xrpc/com.atproto." + nsid, want: "AuthMissing", status: []int{401}})
	}
	for aud, rest := range map[string]string{"notadid": "", "did:web:example.com": "&exp=99999999999", "did:web:example.com#x#y": "", "did:web:example.org": "&exp=1", "did:web:example.net": "&lxm=not%20an%20nsid", "did:web:example.edu": "&lxm=com.atproto.server.createAppPassword"} {
		rows = append(rows, row{name: "service auth for " + aud + rest, path: "/xrpc/com.atproto.server.getServiceAuth?aud=" + strings.ReplaceAll(aud, "#", "%23") + rest, as: alice})
	}
	return rows
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// forged are session tokens that the server did not make, most with the right secret and one thing wrong.
func (s *target) forged() map[string]string {
	now := time.Now().Unix()
	header := map[string]any{"typ": "at+jwt", "alg": "HS256"}
	claims := map[string]any{"scope": "com.atproto.access", "sub": s.alice.DID, "aud": "did:web:pds.test", "iat": now, "exp": now + 3600}
	with := func(m map[string]any, changes ...any) map[string]any {
		m = maps.Clone(m)
		for i := 0; i < len(changes); i += 2 {
			if m[changes[i].(string)] = changes[i+1]; changes[i+1] == nil {
				delete(m, changes[i].(string))
			}
		}
		return m
	}
	mine := func(h, c map[string]any) string { return hs(sha256.New, jwtSecret, h, c) }
	return map[string]string{
		"alg none":          part(with(header, "alg", "none")) + "." + part(claims) + ".",
		"alg None":          part(with(header, "alg", "nOnE")) + "." + part(claims) + ".",
		"alg missing":       mine(with(header, "alg", nil), claims),
		"alg HS512":         hs(sha512.New, jwtSecret, with(header, "alg", "HS512"), claims),
		"alg RS256":         mine(with(header, "alg", "RS256"), claims),
		"alg a list":        mine(with(header, "alg", []string{"HS256"}), claims),
		"wrong secret":      hs(sha256.New, "secret", header, claims),
		"empty secret":      hs(sha256.New, "", header, claims),
		"typ refresh":       mine(with(header, "typ", "refresh+jwt"), claims),
		"critical":          mine(with(header, "crit", []string{"x"}), claims),
		"expired":           mine(header, with(claims, "exp", now-10, "iat", now-20)),
		"exp text":          mine(header, with(claims, "exp", "tomorrow")),
		"exp missing":       mine(header, with(claims, "exp", nil)),
		"aud other":         mine(header, with(claims, "aud", "did:web:evil.example")),
		"aud missing":       mine(header, with(claims, "aud", nil)),
		"scope refresh":     mine(header, with(claims, "scope", "com.atproto.refresh")),
		"scope unknown":     mine(header, with(claims, "scope", "com.atproto.everything")),
		"scope missing":     mine(header, with(claims, "scope", nil)),
		"scope list":        mine(header, with(claims, "scope", []string{"com.atproto.access"})),
		"sub unknown":       mine(header, with(claims, "sub", "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")),
		"sub no did":        mine(header, with(claims, "sub", "alice")),
		"sub number":        mine(header, with(claims, "sub", 5)),
		"sub missing":       mine(header, with(claims, "sub", nil)),
		"with lxm":          mine(header, with(claims, "lxm", "com.atproto.server.getSession")),
		"with cnf":          mine(header, with(claims, "cnf", map[string]string{"jkt": "x"})),
		"claims a list":     hs(sha256.New, jwtSecret, header, []int{1}),
		"claims a string":   hs(sha256.New, jwtSecret, header, "x"),
		"header a list":     hs(sha256.New, jwtSecret, []int{1}, claims),
		"deep claims":       base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"at+jwt"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat(`{"a":`, 900))) + ".x",
		"signature missing": strings.TrimRight(s.alice.Token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
		"padded":            s.alice.Token + "==",
	}
}

// services are tokens of other services that must not be believed, nor make the server connect to places it should not.
func (s *target) services(t *testing.T) map[string]string {
	t.Helper()
	key, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	sign := func(alg, iss, aud, lxm string, exp int64) string {
		body := part(map[string]string{"typ": "JWT", "alg": alg}) + "." + part(map[string]any{"iss": iss, "aud": aud, "lxm": lxm, "iat": now, "exp": exp, "jti": "x"})
		sig, err := key.HashAndSign([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return body + "." + base64.RawURLEncoding.EncodeToString(sig)
	}
	const here, upload = "did:web:pds.test", "com.atproto.repo.uploadBlob"
	return map[string]string{
		"service with a stranger's key": sign("ES256K", s.alice.DID, here, upload, now+60),
		"service of another algorithm":  sign("ES256", s.alice.DID, here, upload, now+60),
		"service of no did":             sign("ES256K", "alice", here, upload, now+60),
		"service of nobody":             sign("ES256K", "", here, upload, now+60),
		"service of an unknown did":     sign("ES256K", "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", here, upload, now+60),
		"service of a web did inside":   sign("ES256K", "did:web:127.0.0.1%3A22", here, upload, now+60),
		"service of the metadata":       sign("ES256K", "did:web:169.254.169.254", here, upload, now+60),
		"service of a bad web did":      sign("ES256K", "did:web:..%2f..", here, upload, now+60),
		"service of a long did":         sign("ES256K", "did:web:"+strings.Repeat("a", 4000), here, upload, now+60),
		"service of an odd method":      sign("ES256K", "did:example:123", here, upload, now+60),
		"service for another":           sign("ES256K", s.alice.DID, "did:web:other.example", upload, now+60),
		"service for another method":    sign("ES256K", s.alice.DID, here, "com.atproto.repo.createRecord", now+60),
		"service expired":               sign("ES256K", s.alice.DID, here, upload, now-60),
		"service with a short mark":     part(map[string]string{"alg": "ES256K", "typ": "JWT"}) + "." + part(map[string]any{"iss": s.alice.DID, "aud": here, "lxm": upload, "exp": now + 60}) + ".AAAA",
	}
}
