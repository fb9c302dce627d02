package auth

import (
	"context"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/go-jose/go-jose/v4"
)

const (
	stranger = "did:plc:strangerstrangerstranger"
	create   = "com.atproto.server.createAccount"
)

func newKey(t testing.TB) *atcrypto.PrivateKeyK256 {
	t.Helper()
	key, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func public(t testing.TB, key atcrypto.PrivateKey) atcrypto.PublicKey {
	t.Helper()
	pub, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

// forgeService signs any header and claims.
func forgeService(t testing.TB, key atcrypto.PrivateKey, header, claims string) string {
	t.Helper()
	b64 := base64.RawURLEncoding
	input := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(claims))
	sig, err := key.HashAndSign([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + b64.EncodeToString(sig)
}

func TestServiceTokensRefused(t *testing.T) {
	w := newWorld(t)
	key, p256 := newKey(t), newP256(t)
	w.keys[stranger] = public(t, key)
	w.keys["did:web:p256.example.com"] = public(t, p256)
	const header = `{"typ":"JWT","alg":"ES256K"}`
	claims := func(change map[string]any) string {
		c := map[string]any{"iss": stranger, "aud": serviceDID, "lxm": create, "iat": w.exp(0), "exp": w.exp(time.Minute), "jti": "n"}
		for k, v := range change {
			if c[k] = v; v == nil {
				delete(c, k)
			}
		}
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	with := func(change map[string]any) string { return forgeService(t, key, header, claims(change)) }
	head := func(h string) string { return forgeService(t, key, h, claims(nil)) }
	good := with(nil)
	parts := strings.Split(good, ".")
	sig, _ := base64.RawURLEncoding.DecodeString(parts[2])
	der := base64.RawURLEncoding.EncodeToString(append([]byte{0x30, 0x44, 2, 32}, sig...))
	hs256 := forge(t, jose.HS256, jwtSecret, "JWT", map[string]any{"iss": stranger, "aud": serviceDID, "lxm": create, "exp": w.exp(time.Minute)})
	hsPublic := forge(t, jose.HS256, public(t, key).Bytes(), "JWT", map[string]any{"iss": stranger, "aud": serviceDID, "lxm": create, "exp": w.exp(time.Minute)})
	_, session := w.person()

	cases := []struct {
		name, token string
		want        *Error
	}{
		{"garbage", "garbage", ErrBadJWT},
		{"dots", "..", ErrBadJWT},
		{"two parts", parts[0] + "." + parts[1], ErrBadJWT},
		{"four parts", good + "." + parts[2], ErrBadJWT},
		{"no base64", parts[0] + ".???." + parts[2], ErrBadJWT},
		{"padded", good + "=", ErrBadJWT},
		{"huge", good + strings.Repeat("A", 1<<20), ErrBadJWT},
		{"header no JSON", head(`x`), ErrBadJWT},
		{"header a list", head(`[]`), ErrBadJWT},
		{"claims no JSON", forgeService(t, key, header, `{`), ErrBadJWT},
		{"claims null", forgeService(t, key, header, `null`), ErrBadJWT},
		{"claims a list", forgeService(t, key, header, `[]`), ErrBadJWT},
		{"a claim twice", forgeService(t, key, header, strings.Replace(claims(nil), "{", `{"aud":"did:web:other.example.com",`, 1)), ErrBadJWT},
		{"a claim in other letters", forgeService(t, key, header, strings.Replace(claims(map[string]any{"aud": "did:web:other.example.com"}), "}", `,"AUD":"`+serviceDID+`"}`, 1)), ErrBadAudience},
		{"alg twice", head(`{"typ":"JWT","alg":"none","alg":"ES256K"}`), ErrBadJWT},
		{"truncated signature", parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(sig[:60]), ErrBadSignature},
		{"no signature", parts[0] + "." + parts[1] + ".", ErrBadSignature},
		{"DER signature", parts[0] + "." + parts[1] + "." + der, ErrBadSignature},
		{"zero signature", parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)), ErrBadSignature},
		{"claims swapped", parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(claims(map[string]any{"jti": "m"}))) + "." + parts[2], ErrBadSignature},
		{"another's key", forgeService(t, newKey(t), header, claims(nil)), ErrBadSignature},
		{"alg none", unsigned(`{"alg":"none"}`, claims(nil), ""), ErrBadSignature},
		{"alg missing", head(`{"typ":"JWT"}`), ErrBadSignature},
		{"alg HS256 with our secret", hs256, ErrBadSignature},
		{"alg HS256 with the public key", hsPublic, ErrBadSignature},
		{"alg ES256 with a K-256 key", head(`{"typ":"JWT","alg":"ES256"}`), ErrBadSignature},
		{"alg ES256K with a P-256 key", forgeService(t, p256, header, claims(map[string]any{"iss": "did:web:p256.example.com"})), ErrBadSignature},
		{"alg es256k", head(`{"typ":"JWT","alg":"es256k"}`), ErrBadSignature},
		{"alg RS256", head(`{"typ":"JWT","alg":"RS256"}`), ErrBadSignature},
		{"type at+jwt", head(`{"typ":"at+jwt","alg":"ES256K"}`), ErrBadJWTType},
		{"type AT+JWT", head(`{"typ":"AT+JWT","alg":"ES256K"}`), ErrBadJWTType},
		{"type application/at+jwt", head(`{"typ":"application/at+jwt","alg":"ES256K"}`), ErrBadJWTType},
		{"type refresh+jwt", head(`{"typ":"refresh+jwt","alg":"ES256K"}`), ErrBadJWTType},
		{"type dpop+jwt", head(`{"typ":"dpop+jwt","alg":"ES256K"}`), ErrBadJWTType},
		{"type a number", head(`{"typ":1,"alg":"ES256K"}`), ErrBadJWT},
		{"critical header", head(`{"typ":"JWT","alg":"ES256K","crit":["x"]}`), ErrBadJWT},
		{"key #atproto_label", head(`{"typ":"JWT","alg":"ES256K","kid":"#atproto_label"}`), ErrBadSignature},
		{"key of a DID", head(`{"typ":"JWT","alg":"ES256K","kid":"` + stranger + `#atproto"}`), ErrBadSignature},
		{"our access token", session.Access, ErrBadJWTType},
		{"our refresh token", session.Refresh, ErrBadJWTType},
		{"expired", with(map[string]any{"exp": w.exp(-time.Second)}), ErrJWTExpired},
		{"expires now", with(map[string]any{"exp": w.exp(0)}), ErrJWTExpired},
		{"expiry missing", with(map[string]any{"exp": nil}), ErrBadJWT},
		{"expiry null", forgeService(t, key, header, strings.Replace(claims(nil), fmt.Sprint(w.exp(time.Minute)), "null", 1)), ErrBadJWT},
		{"expiry text", with(map[string]any{"exp": "9999999999"}), ErrBadJWT},
		{"lives a day", with(map[string]any{"exp": w.exp(24 * time.Hour)}), ErrBadJWT},
		{"lives for ever", with(map[string]any{"exp": 1e300}), ErrBadJWT},
		{"expires before time began", with(map[string]any{"exp": -1e300}), ErrJWTExpired},
		{"issued in the future", with(map[string]any{"iat": w.exp(10 * time.Minute)}), ErrBadJWT},
		{"not before the future", with(map[string]any{"nbf": w.exp(10 * time.Minute)}), ErrBadJWT},
		{"audience missing", with(map[string]any{"aud": nil}), ErrBadJWT},
		{"another audience", with(map[string]any{"aud": "did:web:other.example.com"}), ErrBadAudience},
		{"another service of ours", with(map[string]any{"aud": serviceDID + "#atproto_labeler"}), ErrBadAudience},
		{"audience begins with ours", with(map[string]any{"aud": serviceDID + ".evil.example.com"}), ErrBadAudience},
		{"audience list", with(map[string]any{"aud": []string{serviceDID}}), ErrBadJWT},
		{"method missing", with(map[string]any{"lxm": nil}), ErrBadMethod},
		{"another method", with(map[string]any{"lxm": uploadBlob}), ErrBadMethod},
		{"method star", with(map[string]any{"lxm": "*"}), ErrBadMethod},
		{"method list", with(map[string]any{"lxm": []string{create}}), ErrBadJWT},
		{"issuer missing", with(map[string]any{"iss": nil}), ErrBadJWT},
		{"issuer with fragment", with(map[string]any{"iss": stranger + "#atproto_labeler"}), ErrBadIssuer},
		{"issuer a handle", with(map[string]any{"iss": "alice.example.com"}), ErrBadIssuer},
		{"issuer unknown", with(map[string]any{"iss": "did:plc:zzzzzzzzzzzzzzzzzzzzzzzz"}), ErrBadIssuer},
		{"issuer another", with(map[string]any{"iss": "did:web:p256.example.com"}), ErrBadSignature},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p, err := try(w.v.Service(create), "Bearer "+c.token)
			wantError(t, c.want, p, err)
		})
	}
	for _, c := range cases { // whatever it is, it is no session either
		if c.token == session.Access {
			continue
		}
		if p, err := try(w.v.Standard(), "Bearer "+c.token); err == nil {
			t.Errorf("%s: taken for a session: %+v", c.name, p)
		}
		if p, err := try(w.v.StandardOrService(create), "Bearer "+c.token); err == nil {
			t.Errorf("%s: StandardOrService let %+v in", c.name, p)
		}
	}
	p, err := try(w.v.Service(create))
	wantError(t, ErrMissingJWT, p, err)
	p, err = try(w.v.Service(create), "Basic x")
	wantError(t, ErrInvalidToken, p, err)
}

func newP256(t testing.TB) *atcrypto.PrivateKeyP256 {
	t.Helper()
	key, err := atcrypto.GeneratePrivateKeyP256()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestServiceTokenAccepted(t *testing.T) {
	w := newWorld(t)
	for _, key := range []atcrypto.PrivateKey{newKey(t), newP256(t)} {
		w.keys[stranger] = public(t, key)
		for _, aud := range []string{serviceDID, serviceDID + "#atproto_pds"} {
			token, err := ServiceToken(key, ServiceClaims{Issuer: stranger, Audience: aud, Method: create, IssuedAt: w.clock()})
			if err != nil {
				t.Fatal(err)
			}
			p, err := try(w.v.Service(create), "Bearer "+token)
			if err != nil || p.Kind != Service || p.DID != stranger || p.Account != nil || p.Method != create {
				t.Fatalf("%T %s: %+v, %v", key, aud, p, err)
			}
			p, err = try(w.v.Service(create), "Bearer "+token)
			wantError(t, ErrBadJWT, p, err) // replay
		}
	}
	key := newKey(t)
	w.keys[stranger] = public(t, key)
	lean := forgeService(t, key, `{"alg":"ES256K","kid":"#atproto"}`,
		fmt.Sprintf(`{"iss":%q,"aud":%q,"lxm":%q,"exp":%d}`, stranger, serviceDID, create, w.exp(time.Minute)))
	if _, err := try(w.v.Service(create), "Bearer "+lean); err != nil {
		t.Fatalf("without typ, iat and jti: %v", err)
	}
	p, err := try(w.v.Service(create), "Bearer "+lean)
	wantError(t, ErrBadJWT, p, err)
}

// TestServiceTokenMalleable: the other signature of the same token is the same token.
func TestServiceTokenMalleable(t *testing.T) {
	w := newWorld(t)
	key := newP256(t)
	w.keys[stranger] = public(t, key)
	token := forgeService(t, key, `{"alg":"ES256"}`,
		fmt.Sprintf(`{"iss":%q,"aud":%q,"lxm":%q,"exp":%d}`, stranger, serviceDID, create, w.exp(time.Minute)))
	at := strings.LastIndexByte(token, '.')
	sig, _ := base64.RawURLEncoding.DecodeString(token[at+1:])
	n := elliptic.P256().Params().N
	new(big.Int).Sub(n, new(big.Int).SetBytes(sig[32:])).FillBytes(sig[32:])
	high := token[:at+1] + base64.RawURLEncoding.EncodeToString(sig)
	if _, err := try(w.v.Service(create), "Bearer "+high); err != nil {
		t.Fatalf("high-S: %v", err)
	}
	p, err := try(w.v.Service(create), "Bearer "+token)
	wantError(t, ErrBadJWT, p, err)
}

func TestKeyRotationIsFollowedOnce(t *testing.T) {
	w := newWorld(t)
	old, fresh := newKey(t), newKey(t)
	w.keys[stranger], w.fresh[stranger] = public(t, old), public(t, fresh)
	token := func(key atcrypto.PrivateKey) string {
		s, err := ServiceToken(key, ServiceClaims{Issuer: stranger, Audience: serviceDID, Method: create, IssuedAt: w.clock()})
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + s
	}
	if _, err := try(w.v.Service(create), token(fresh)); err != nil {
		t.Fatalf("signed with the new key: %v", err)
	}
	w.resolved.Store(0)
	p, err := try(w.v.Service(create), token(newKey(t)))
	wantError(t, ErrBadSignature, p, err)
	if n := w.resolved.Load(); n != 2 {
		t.Fatalf("%d looks into the DID document, want 2", n)
	}
	w.resolved.Store(0)
	_, _ = try(w.v.Service(uploadBlob), token(fresh))
	if n := w.resolved.Load(); n != 0 {
		t.Fatalf("a token for another method cost %d looks into a DID document", n)
	}
}

func TestStandardOrService(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	acct, tokens := w.person()
	key, err := w.accounts.SigningKey(acct)
	if err != nil {
		t.Fatal(err)
	}
	w.keys[acct.DID] = public(t, key)
	foreign := newKey(t)
	w.keys[stranger] = public(t, foreign)
	service := func(key atcrypto.PrivateKey, iss syntax.DID) string {
		s, err := ServiceToken(key, ServiceClaims{Issuer: iss, Audience: serviceDID, Method: uploadBlob, IssuedAt: w.clock(), Expires: w.clock().Add(30 * time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + s
	}
	upload := w.v.StandardOrService(uploadBlob, Deactivated, Reusable)
	if p, err := try(upload, "Bearer "+tokens.Access); err != nil || p.Kind != Session {
		t.Fatalf("%+v, %v", p, err)
	}
	again := service(key, acct.DID)
	for range 3 { // a video service may try more than once
		if p, err := try(upload, again); err != nil || p.Kind != Service || p.Account == nil || p.IsFull() {
			t.Fatalf("%+v, %v", p, err)
		}
	}
	p, err := try(upload, service(foreign, stranger))
	wantError(t, ErrAccountNotFound, p, err)
	p, err = try(upload, "Bearer "+tokens.Refresh)
	wantError(t, ErrInvalidToken, p, err)
	p, err = try(upload)
	wantError(t, ErrAuthMissing, p, err)
	if err := w.accounts.Takedown(ctx, acct.ID, "x", nil); err != nil {
		t.Fatal(err)
	}
	p, err = try(upload, service(key, acct.DID))
	wantError(t, ErrAccountTakedown, p, err)

	if p, err := try(w.v.OptionalService(create)); err != nil || p.Kind != Nobody {
		t.Fatalf("%+v, %v", p, err)
	}
	p, err = try(w.v.OptionalService(create), "Bearer x")
	wantError(t, ErrBadJWT, p, err)
}

func TestServiceTokenForm(t *testing.T) {
	key := newKey(t)
	now := time.Unix(1_700_000_000, 0)
	token, err := ServiceToken(key, ServiceClaims{Issuer: stranger, Audience: "did:web:api.example.com#bsky_appview", Method: "app.bsky.feed.getTimeline", IssuedAt: now})
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(token, ".")
	header, _ := base64.RawURLEncoding.DecodeString(parts[0])
	claims, _ := base64.RawURLEncoding.DecodeString(parts[1])
	if string(header) != `{"typ":"JWT","alg":"ES256K"}` {
		t.Errorf("header %s", header)
	}
	var c map[string]any
	if err := json.Unmarshal(claims, &c); err != nil {
		t.Fatal(err)
	}
	jti, _ := c["jti"].(string)
	if len(jti) != 32 {
		t.Errorf("jti %q", jti)
	}
	delete(c, "jti")
	want := map[string]any{"iat": 1.7e9, "exp": 1.7e9 + 60, "iss": stranger, "aud": "did:web:api.example.com#bsky_appview", "lxm": "app.bsky.feed.getTimeline"}
	if fmt.Sprint(c) != fmt.Sprint(want) {
		t.Errorf("claims %s", claims)
	}
	if !strings.Contains(string(claims), `"exp":1700000060`) {
		t.Errorf("times must be whole numbers without exponents: %s", claims)
	}
	sig, _ := base64.RawURLEncoding.DecodeString(parts[2])
	if err := public(t, key).HashAndVerify([]byte(parts[0]+"."+parts[1]), sig); err != nil {
		t.Errorf("signature is not low-S or not right: %v", err)
	}
}

func TestServiceExpiry(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	in := func(d time.Duration) *int64 { s := now.Add(d).Unix(); return &s }
	huge, tiny := int64(1)<<62, -int64(1)<<62
	for _, c := range []struct {
		exp    *int64
		method syntax.NSID
		ok     bool
	}{
		{nil, create, true}, {nil, "", true},
		{in(time.Hour), create, true}, {in(time.Hour + time.Second), create, false}, {in(-time.Second), create, false},
		{in(time.Minute), "", true}, {in(61 * time.Second), "", false}, {&huge, create, false}, {&tiny, create, false},
	} {
		at, err := ServiceExpiry(now, c.exp, c.method)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrBadExpiration) {
			t.Errorf("%v %q: %v, %v", c.exp, c.method, at, err)
		}
	}
}

func FuzzParseService(f *testing.F) {
	f.Add("a.b.c")
	f.Add(unsigned(`{"alg":"ES256K","typ":"JWT"}`, `{"iss":"did:web:a","aud":"b","exp":1e400}`, "AAAA"))
	f.Fuzz(func(t *testing.T, token string) {
		p, err := parseService(token)
		if err != nil {
			return
		}
		if p.claims.Expires != nil {
			_ = unix(*p.claims.Expires)
		}
		if !strings.HasPrefix(token, p.input+".") {
			t.Fatalf("what is verified (%q) is not what was sent (%q)", p.input, token)
		}
	})
}
