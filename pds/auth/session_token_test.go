package auth

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func TestAccessTokensRefused(t *testing.T) {
	w := newWorld(t)
	acct, tokens := w.person()
	other, _ := w.person()
	good := func(change map[string]any) map[string]any {
		c := map[string]any{
			"scope": "com.atproto.access", "sub": string(acct.DID), "aud": serviceDID,
			"iat": w.exp(0), "exp": w.exp(time.Hour),
		}
		for k, v := range change {
			if c[k] = v; v == nil {
				delete(c, k)
			}
		}
		return c
	}
	sign := func(change map[string]any) string { return forge(t, jose.HS256, jwtSecret, "at+jwt", good(change)) }
	long := append(append([]byte{}, jwtSecret...), jwtSecret...)
	parts := strings.Split(tokens.Access, ".")
	key, err := w.accounts.SigningKey(acct)
	if err != nil {
		t.Fatal(err)
	}
	service, err := ServiceToken(key, ServiceClaims{Issuer: acct.DID, Audience: serviceDID, Method: uploadBlob, IssuedAt: w.clock()})
	if err != nil {
		t.Fatal(err)
	}
	claims := fmt.Sprintf(`{"scope":"com.atproto.access","sub":%q,"aud":%q,"exp":%d}`, acct.DID, serviceDID, w.exp(time.Hour))

	cases := []struct {
		name   string
		header string
		want   *Error
	}{
		{"no header", "", ErrAuthMissing},
		{"scheme only", "Bearer", ErrInvalidToken},
		{"scheme and space", "Bearer ", ErrInvalidToken},
		{"token without scheme", tokens.Access, ErrInvalidToken},
		{"DPoP scheme", "DPoP " + tokens.Access, ErrInvalidToken},
		{"basic scheme", "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+adminPassword)), ErrInvalidToken},
		{"two tokens", "Bearer " + tokens.Access + " " + tokens.Access, ErrInvalidToken},
		{"comma", "Bearer " + tokens.Access + ",x", ErrInvalidToken},
		{"garbage", "Bearer garbage", ErrInvalidToken},
		{"dots", "Bearer ..", ErrInvalidToken},
		{"two parts", "Bearer " + parts[0] + "." + parts[1], ErrInvalidToken},
		{"four parts", "Bearer " + tokens.Access + "." + parts[2], ErrInvalidToken},
		{"five parts", "Bearer a.b.c.d.e", ErrInvalidToken},
		{"truncated", "Bearer " + tokens.Access[:len(tokens.Access)-4], ErrInvalidToken},
		{"signature missing", "Bearer " + parts[0] + "." + parts[1] + ".", ErrInvalidToken},
		{"signature of another token", "Bearer " + parts[0] + "." + parts[1] + "." + strings.Split(tokens.Refresh, ".")[2], ErrInvalidToken},
		{"claims of another token", "Bearer " + parts[0] + "." + strings.Split(tokens.Refresh, ".")[1] + "." + parts[2], ErrInvalidToken},
		{"padded", "Bearer " + tokens.Access + "=", ErrInvalidToken},
		{"huge", "Bearer " + tokens.Access + strings.Repeat("A", 1<<20), ErrInvalidToken},
		{"huge claims", "Bearer " + sign(map[string]any{"x": strings.Repeat("A", maxToken)}), ErrInvalidToken},
		{"alg none", "Bearer " + unsigned(`{"alg":"none","typ":"at+jwt"}`, claims, ""), ErrInvalidToken},
		{"alg None", "Bearer " + unsigned(`{"alg":"None","typ":"at+jwt"}`, claims, "AAAA"), ErrInvalidToken},
		{"alg missing", "Bearer " + unsigned(`{"typ":"at+jwt"}`, claims, "AAAA"), ErrInvalidToken},
		{"alg HS384", "Bearer " + forge(t, jose.HS384, long, "at+jwt", good(nil)), ErrInvalidToken},
		{"alg HS512", "Bearer " + forge(t, jose.HS512, long, "at+jwt", good(nil)), ErrInvalidToken},
		{"critical header", "Bearer " + unsigned(`{"alg":"HS256","typ":"at+jwt","crit":["b64"],"b64":false}`, claims, "AAAA"), ErrInvalidToken},
		{"json serialization", `Bearer {"payload":"e30","signatures":[]}`, ErrInvalidToken},
		{"another secret", "Bearer " + forge(t, jose.HS256, []byte(strings.Repeat("x", 32)), "at+jwt", good(nil)), ErrInvalidToken},
		{"empty secret", "Bearer " + forge(t, jose.HS256, make([]byte, 32), "at+jwt", good(nil)), ErrInvalidToken},
		{"refresh token", "Bearer " + tokens.Refresh, ErrInvalidToken},
		{"service token", "Bearer " + service, ErrInvalidToken},
		{"type missing", "Bearer " + forge(t, jose.HS256, jwtSecret, "", good(nil)), ErrInvalidToken},
		{"type JWT", "Bearer " + forge(t, jose.HS256, jwtSecret, "JWT", good(nil)), ErrInvalidToken},
		{"type refresh+jwt", "Bearer " + forge(t, jose.HS256, jwtSecret, "refresh+jwt", good(nil)), ErrInvalidToken},
		{"type dpop+jwt", "Bearer " + forge(t, jose.HS256, jwtSecret, "dpop+jwt", good(nil)), ErrInvalidToken},
		{"with lxm", "Bearer " + sign(map[string]any{"lxm": uploadBlob}), ErrInvalidToken},
		{"with cnf", "Bearer " + sign(map[string]any{"cnf": map[string]string{"jkt": "x"}}), ErrInvalidToken},
		{"another audience", "Bearer " + sign(map[string]any{"aud": "did:web:other.example.com"}), ErrInvalidToken},
		{"audience list", "Bearer " + sign(map[string]any{"aud": []string{serviceDID}}), ErrInvalidToken},
		{"audience with fragment", "Bearer " + sign(map[string]any{"aud": serviceDID + "#atproto_pds"}), ErrInvalidToken},
		{"audience missing", "Bearer " + sign(map[string]any{"aud": nil}), ErrInvalidToken},
		{"audience empty", "Bearer " + sign(map[string]any{"aud": ""}), ErrInvalidToken},
		{"expired", "Bearer " + sign(map[string]any{"exp": w.exp(-time.Second)}), ErrExpiredToken},
		{"expires now", "Bearer " + sign(map[string]any{"exp": w.exp(0)}), ErrExpiredToken},
		{"expiry missing", "Bearer " + sign(map[string]any{"exp": nil}), ErrInvalidToken},
		{"expiry text", "Bearer " + sign(map[string]any{"exp": "tomorrow"}), ErrInvalidToken},
		{"expiry negative", "Bearer " + sign(map[string]any{"exp": -1}), ErrExpiredToken},
		{"not valid yet", "Bearer " + sign(map[string]any{"nbf": w.exp(10 * time.Minute)}), ErrInvalidToken},
		{"not before the future", "Bearer " + sign(map[string]any{"nbf": w.exp(10 * time.Minute)}), ErrInvalidToken},
		{"scope missing", "Bearer " + sign(map[string]any{"scope": nil}), ErrInvalidToken},
		{"scope unknown", "Bearer " + sign(map[string]any{"scope": "com.atproto.everything"}), ErrInvalidToken},
		{"scope refresh", "Bearer " + sign(map[string]any{"scope": "com.atproto.refresh"}), ErrInvalidToken},
		{"scope list", "Bearer " + sign(map[string]any{"scope": []string{"com.atproto.access"}}), ErrInvalidToken},
		{"scope of two", "Bearer " + sign(map[string]any{"scope": "com.atproto.access com.atproto.refresh"}), ErrInvalidToken},
		{"scope takendown", "Bearer " + sign(map[string]any{"scope": "com.atproto.takendown"}), ErrInvalidToken},
		{"scope signup queued", "Bearer " + sign(map[string]any{"scope": "com.atproto.signupQueued"}), ErrInvalidToken},
		{"subject missing", "Bearer " + sign(map[string]any{"sub": nil}), ErrInvalidToken},
		{"subject a handle", "Bearer " + sign(map[string]any{"sub": "alice.example.com"}), ErrInvalidToken},
		{"subject a path", "Bearer " + sign(map[string]any{"sub": "did:plc:../../etc"}), ErrInvalidToken},
		{"subject unknown here", "Bearer " + sign(map[string]any{"sub": "did:plc:zzzzzzzzzzzzzzzzzzzzzzzz"}), ErrAccountNotFound},
		{"session unknown", "Bearer " + sign(map[string]any{"sid": "no such session"}), ErrExpiredToken},
		{"session of another", "Bearer " + sign(map[string]any{"sub": string(other.DID), "sid": sessionOf(t, w, tokens)}), ErrExpiredToken},
		{"claims no object", "Bearer " + forgeRaw(t, `[]`), ErrInvalidToken},
		{"claims null", "Bearer " + forgeRaw(t, `null`), ErrInvalidToken},
		{"claims no JSON", "Bearer " + forgeRaw(t, `{`), ErrInvalidToken},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var header []string
			if c.header != "" {
				header = []string{c.header}
			}
			for name, a := range map[string]Access{"Standard": w.v.Standard(), "Full": w.v.Full(), "Privileged": w.v.With(Privileged)} {
				p, err := try(a, header...)
				t.Log(name, err)
				wantError(t, c.want, p, err)
			}
		})
	}
	t.Run("two headers", func(t *testing.T) {
		p, err := try(w.v.Standard(), "Bearer "+tokens.Access, "Bearer "+tokens.Access)
		wantError(t, ErrInvalidToken, p, err)
	})
	t.Run("the good one", func(t *testing.T) {
		for _, header := range []string{"Bearer " + tokens.Access, "bearer " + tokens.Access, "Bearer " + sign(nil)} {
			if p, err := try(w.v.Full(), header); err != nil || p.DID != acct.DID || p.Account == nil {
				t.Fatalf("%+v, %v", p, err)
			}
		}
	})
}

func sessionOf(t *testing.T, w *world, tokens Tokens) string {
	t.Helper()
	p, err := try(w.v.Standard(), "Bearer "+tokens.Access)
	if err != nil || p.SessionID == "" {
		t.Fatalf("%+v, %v", p, err)
	}
	return p.SessionID
}

func forgeRaw(t testing.TB, payload string) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: jwtSecret}, (&jose.SignerOptions{}).WithType("at+jwt"))
	if err != nil {
		t.Fatal(err)
	}
	sig, err := signer.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	token, err := sig.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestRefreshTokensRefused(t *testing.T) {
	w := newWorld(t)
	acct, tokens := w.person()
	good := map[string]any{"scope": "com.atproto.refresh", "sub": string(acct.DID), "aud": serviceDID, "exp": w.exp(time.Hour), "jti": "x"}
	sign := func(typ string, k string, v any) string {
		c := map[string]any{}
		for k, v := range good {
			c[k] = v
		}
		if c[k] = v; v == nil {
			delete(c, k)
		}
		return "Bearer " + forge(t, jose.HS256, jwtSecret, typ, c)
	}
	cases := []struct {
		name, header string
		want         *Error
	}{
		{"access token", "Bearer " + tokens.Access, ErrInvalidToken},
		{"type at+jwt", sign("at+jwt", "", nil), ErrInvalidToken},
		{"type missing", sign("", "", nil), ErrInvalidToken},
		{"id missing", sign("refresh+jwt", "jti", nil), ErrMissingTokenID},
		{"scope access", sign("refresh+jwt", "scope", "com.atproto.access"), ErrInvalidToken},
		{"another audience", sign("refresh+jwt", "aud", "did:web:else.example.com"), ErrInvalidToken},
		{"expired", sign("refresh+jwt", "exp", w.exp(-time.Minute)), ErrExpiredToken},
		{"not valid yet", sign("refresh+jwt", "nbf", w.exp(time.Hour)), ErrInvalidToken},
		{"unknown account", sign("refresh+jwt", "sub", "did:plc:zzzzzzzzzzzzzzzzzzzzzzzz"), ErrAccountNotFound},
		{"with cnf", sign("refresh+jwt", "cnf", map[string]string{"jkt": "x"}), ErrInvalidToken},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p, err := try(w.v.Refresh(), c.header)
			wantError(t, c.want, p, err)
		})
	}
	p, err := try(w.v.RefreshExpired(), sign("refresh+jwt", "exp", w.exp(-time.Minute)))
	if err != nil || p.Kind != Refresh || p.SessionID != "x" {
		t.Fatalf("signing out with an expired token: %+v, %v", p, err)
	}
	p, err = try(w.v.RefreshExpired(), "Bearer "+tokens.Access)
	wantError(t, ErrInvalidToken, p, err)
	if p, err := try(w.v.Refresh(), "Bearer "+tokens.Refresh); err != nil || p.DID != acct.DID {
		t.Fatalf("%+v, %v", p, err)
	}
}

func TestScopes(t *testing.T) {
	w := newWorld(t)
	acct, full := w.person()
	plain := w.login(acct, w.appPassword(acct, "plain", false), false)
	privileged := w.login(acct, w.appPassword(acct, "chat", true), false)
	cases := []struct {
		name                           string
		token                          string
		scope                          Scope
		standard, privileged, mainOnly bool
	}{
		{"main password", full.Access, ScopeAccess, true, true, true},
		{"privileged app password", privileged.Access, ScopeAppPassPrivileged, true, true, false},
		{"plain app password", plain.Access, ScopeAppPass, true, false, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, a := range []struct {
				access Access
				ok     bool
			}{{w.v.Standard(), c.standard}, {w.v.With(Privileged), c.privileged}, {w.v.Full(), c.mainOnly}, {w.v.Admin(), false}, {w.v.Refresh(), false}} {
				p, err := try(a.access, "Bearer "+c.token)
				if a.ok != (err == nil) {
					t.Fatalf("%+v, %v; want ok %v", p, err, a.ok)
				}
				if a.ok && p.Scope != c.scope {
					t.Fatalf("scope %s, want %s", p.Scope, c.scope)
				}
			}
		})
	}
}

// TestClockSetBack: a clock that was wrong and is put right must not sign people out.
func TestClockSetBack(t *testing.T) {
	w := newWorld(t)
	acct, tokens := w.person()
	w.pass(-10 * time.Minute)
	if p, err := try(w.v.Standard(), "Bearer "+tokens.Access); err != nil || p.DID != acct.DID {
		t.Errorf("access token: %v", err)
	}
	if p, err := try(w.v.Refresh(), "Bearer "+tokens.Refresh); err != nil || p.DID != acct.DID {
		t.Errorf("refresh token: %v", err)
	}
}
