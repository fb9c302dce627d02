package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"perch/pds/account"
	"perch/pds/seal"
	"perch/pds/store"
	"perch/repo"
)

const (
	serviceDID    = "did:web:pds.example.com"
	modDID        = "did:plc:mod222222222222222222222"
	adminPassword = "correct horse battery staple"
	goodPassword  = "a good password"
	uploadBlob    = "com.atproto.repo.uploadBlob"
)

var jwtSecret = []byte("0123456789abcdef0123456789abcdef")

// world is a server's accounts with a clock that tests move.
type world struct {
	t        testing.TB
	store    *store.Store
	accounts *account.Service
	v        *Verifier
	now      atomic.Pointer[time.Time]
	keys     map[syntax.DID]atcrypto.PublicKey // DID documents as cached
	fresh    map[syntax.DID]atcrypto.PublicKey // DID documents as they are
	resolved atomic.Int64
	people   int
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, keys: map[syntax.DID]atcrypto.PublicKey{}, fresh: map[syntax.DID]atcrypto.PublicKey{}}
	w.at(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	clock := func() time.Time { return *w.now.Load() }
	st, err := store.Open(context.Background(), store.Options{Path: filepath.Join(t.TempDir(), "perch.db"), Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	box, err := seal.New(make([]byte, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	w.store = st
	w.accounts = account.New(account.Options{
		Store: st, Seal: box, Hostname: "pds.example.com", ServiceDomains: []string{".example.com"},
		FailureDelay: time.Nanosecond, Now: clock,
	})
	w.v, err = New(Options{
		Accounts: NewAccounts(st, w.accounts), ServiceDID: serviceDID, JWTSecret: jwtSecret,
		AdminPassword: adminPassword, ModServiceDID: modDID, IssuerKey: w.issuerKey, Now: clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) at(t time.Time)            { w.now.Store(&t) }
func (w *world) pass(d time.Duration)      { w.at(w.now.Load().Add(d)) }
func (w *world) clock() time.Time          { return *w.now.Load() }
func (w *world) exp(d time.Duration) int64 { return w.clock().Add(d).Unix() }

func (w *world) issuerKey(_ context.Context, did syntax.DID, id string, fresh bool) (atcrypto.PublicKey, error) {
	w.resolved.Add(1)
	if id != signingKey {
		did += syntax.DID("#" + id)
	}
	key := w.keys[did]
	if fresh && w.fresh[did] != nil {
		key = w.fresh[did]
	}
	if key == nil {
		return nil, errors.New("no such DID")
	}
	return key, nil
}

// person makes an account and returns it with the tokens of its first session.
func (w *world) person() (*store.Account, Tokens) {
	w.t.Helper()
	w.people++
	did := syntax.DID(fmt.Sprintf("did:plc:%024d", w.people))
	did = syntax.DID(strings.NewReplacer("0", "a", "1", "b", "8", "c", "9", "d").Replace(string(did)))
	r, err := w.accounts.Reserve(context.Background(), account.NewAccount{
		Handle: fmt.Sprintf("person%d.example.com", w.people), Email: fmt.Sprintf("p%d@mail.example.org", w.people), Password: goodPassword,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Release()
	ses, err := r.Commit(context.Background(), did, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return ses.Account, w.tokens(ses)
}

func (w *world) tokens(s account.Session) Tokens {
	w.t.Helper()
	tokens, err := w.v.Tokens(s)
	if err != nil {
		w.t.Fatal(err)
	}
	return tokens
}

// login signs in with a password.
func (w *world) login(acct *store.Account, password string, allowTakendown bool) Tokens {
	w.t.Helper()
	ctx := context.Background()
	login, err := w.accounts.Authenticate(ctx, string(acct.DID), password)
	if err != nil {
		w.t.Fatal(err)
	}
	ses, err := w.accounts.StartSession(ctx, login, allowTakendown)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.tokens(ses)
}

func (w *world) appPassword(acct *store.Account, name string, privileged bool) string {
	w.t.Helper()
	p, err := w.accounts.CreateAppPassword(context.Background(), acct, name, privileged)
	if err != nil {
		w.t.Fatal(err)
	}
	return p.Secret
}

func try(a Access, header ...string) (Principal, error) {
	r := httptest.NewRequest(http.MethodGet, "/xrpc/x", nil)
	for _, h := range header {
		r.Header.Add("Authorization", h)
	}
	ctx, err := a(context.Background(), r)
	return From(ctx), err
}

// wantError checks a refusal by status and name, and that it left nobody in the context.
func wantError(t *testing.T, want *Error, p Principal, err error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v (%+v); want %d %s", err, p, want.Status, want.Name)
	}
	if p.Kind != Nobody {
		t.Fatalf("refused, and yet the context holds %+v", p)
	}
}

// forge signs any claims with any secret and type.
func forge(t testing.TB, alg jose.SignatureAlgorithm, secret []byte, typ string, claims map[string]any) string {
	t.Helper()
	opts := &jose.SignerOptions{}
	if typ != "" {
		opts = opts.WithType(jose.ContentType(typ))
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: secret}, opts)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// unsigned makes a token by hand.
func unsigned(header, claims, sig string) string {
	b64 := base64.RawURLEncoding
	return b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(claims)) + "." + sig
}

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

func TestAccountState(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	acct, tokens := w.person()
	bearer := "Bearer " + tokens.Access

	if err := w.accounts.Deactivate(ctx, acct.ID, time.Time{}, nil); err != nil {
		t.Fatal(err)
	}
	p, err := try(w.v.Standard(), bearer)
	wantError(t, ErrAccountDeactivated, p, err)
	if _, err := try(w.v.Standard(Deactivated), bearer); err != nil {
		t.Fatal(err)
	}
	if err := w.accounts.Activate(ctx, acct.ID, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := try(w.v.Standard(), bearer); err != nil {
		t.Fatal(err)
	}

	if err := w.accounts.Takedown(ctx, acct.ID, "case 1", nil); err != nil {
		t.Fatal(err)
	}
	p, err = try(w.v.Standard(), bearer)
	wantError(t, ErrAccountTakedown, p, err)
	p, err = try(w.v.Standard(Takendown), bearer)
	wantError(t, ErrExpiredToken, p, err) // the session ended with the takedown
	leaving := "Bearer " + w.login(acct, goodPassword, true).Access
	p, err = try(w.v.Standard(), leaving)
	wantError(t, ErrInvalidToken, p, err)
	if p, err = try(w.v.Full(Takendown), leaving); err != nil || !p.IsTakendown() || p.IsFull() {
		t.Fatalf("%+v, %v", p, err)
	}
	if err := p.MayWrite(acct.DID, "app.bsky.feed.post", "create"); err == nil {
		t.Fatal("a taken-down account may write")
	}
	if p.MayCall("app.bsky.feed.getTimeline", serviceDID) == nil || p.MayCall(methodCreateAccount, serviceDID) != nil {
		t.Fatal("a taken-down account may move away and nothing else")
	}

	if err := w.accounts.Delete(ctx, acct.ID, nil); err != nil {
		t.Fatal(err)
	}
	p, err = try(w.v.Standard(Takendown, Deactivated), leaving)
	wantError(t, ErrAccountNotFound, p, err)
}

func TestAccessEndsWithSession(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	acct, tokens := w.person()
	bearer := "Bearer " + tokens.Access
	id := sessionOf(t, w, tokens)
	app := w.appPassword(acct, "phone", false)
	phone := "Bearer " + w.login(acct, app, false).Access
	if _, err := try(w.v.Standard(), phone); err != nil {
		t.Fatal(err)
	}

	next, err := w.accounts.RefreshSession(ctx, acct.ID, id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := try(w.v.Standard(), bearer); err != nil {
		t.Fatalf("the old access token must live on through a refresh: %v", err)
	}
	if err := w.accounts.EndSession(ctx, acct.ID, next.ID); err != nil {
		t.Fatal(err)
	}
	p, err := try(w.v.Standard(), bearer)
	wantError(t, ErrExpiredToken, p, err)
	p, err = try(w.v.Standard(), "Bearer "+w.tokens(next).Access)
	wantError(t, ErrExpiredToken, p, err)

	if _, err := try(w.v.Standard(), phone); err != nil {
		t.Fatalf("another session must not end: %v", err)
	}
	if err := w.accounts.RevokeAppPassword(ctx, acct.ID, "phone"); err != nil {
		t.Fatal(err)
	}
	p, err = try(w.v.Standard(), phone)
	wantError(t, ErrExpiredToken, p, err)
}

func TestAccessTokenOutlivesNothing(t *testing.T) {
	w := newWorld(t)
	_, tokens := w.person()
	if _, err := try(w.v.Standard(), "Bearer "+tokens.Access); err != nil {
		t.Fatal(err)
	}
	w.pass(account.AccessLifetime)
	p, err := try(w.v.Standard(), "Bearer "+tokens.Access) // it is in the cache
	wantError(t, ErrExpiredToken, p, err)
	w.pass(account.RefreshLifetime - account.AccessLifetime)
	p, err = try(w.v.Refresh(), "Bearer "+tokens.Refresh)
	wantError(t, ErrExpiredToken, p, err)
}

func TestAdmin(t *testing.T) {
	basic := func(userinfo string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(userinfo)) }
	for _, header := range []string{
		"", "Basic", "Basic ", "Basic !!", basic(""), basic("admin"), basic("admin:"), basic(":" + adminPassword),
		basic("Admin:" + adminPassword), basic("root:" + adminPassword), basic("admin:" + adminPassword + "x"), basic("admin:" + adminPassword[1:]),
		basic("admin:" + adminPassword + "\x00"), "Bearer " + adminPassword,
	} {
		w := newWorld(t)
		var h []string
		if header != "" {
			h = []string{header}
		}
		p, err := try(w.v.Admin(), h...)
		wantError(t, ErrAuthRequired, p, err)
	}
	w := newWorld(t)
	if p, err := try(w.v.Admin(), basic("admin:"+adminPassword)); err != nil || !p.IsAdmin() {
		t.Fatalf("%+v, %v", p, err)
	}
	p, err := try(w.v.Admin(), basic("admin:"+adminPassword), basic("admin:"+adminPassword))
	wantError(t, ErrAuthRequired, p, err)

	w.v.opts.AdminPassword = ""
	p, err = try(w.v.Admin(), basic("admin:"))
	wantError(t, ErrAuthRequired, p, err)
}

func TestAdminGuesses(t *testing.T) {
	w := newWorld(t)
	ask := func(ip, password string) error {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = ip
		r.SetBasicAuth("admin", password)
		_, err := w.v.Admin()(context.Background(), r)
		return err
	}
	for range maxGuesses {
		if err := ask("192.0.2.1:1000", "guess"); !errors.Is(err, ErrAuthRequired) {
			t.Fatal(err)
		}
	}
	if err := ask("192.0.2.1:1001", adminPassword); !errors.Is(err, ErrRateLimit) {
		t.Fatalf("the right password after %d wrong ones: %v, want a refusal that tells nothing", maxGuesses, err)
	}
	if err := ask("192.0.2.2:1000", adminPassword); err != nil {
		t.Fatalf("another address: %v", err)
	}
	for i := range maxGuesses {
		_ = ask(fmt.Sprintf("[2001:db8:0:1::%x]:1000", i), "guess")
	}
	if err := ask("[2001:db8:0:1::ffff]:1000", adminPassword); !errors.Is(err, ErrRateLimit) {
		t.Fatalf("another address of the same /64: %v", err)
	}
	w.pass(guessWindow)
	if err := ask("192.0.2.1:1000", adminPassword); err != nil {
		t.Fatalf("after the window: %v", err)
	}
}

func TestGuessersAreBounded(t *testing.T) {
	g := newGuesses()
	now := time.Now()
	for i := range maxGuessers + 100 {
		g.failed(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), now)
	}
	if len(g.count) > maxGuessers {
		t.Fatalf("%d addresses remembered", len(g.count))
	}
}

func TestOptional(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	acct, tokens := w.person()
	if p, err := try(w.v.Optional()); err != nil || p.Kind != Nobody || p.MaySee(acct.DID) || p.MaySee("") {
		t.Fatalf("%+v, %v", p, err)
	}
	for _, bad := range []string{"Bearer x", "Basic x", "Bearer " + tokens.Refresh, "Digest x"} {
		if p, err := try(w.v.Optional(), bad); err == nil {
			t.Fatalf("%q let %+v in", bad, p)
		}
	}
	if err := w.accounts.Deactivate(ctx, acct.ID, time.Time{}, nil); err != nil {
		t.Fatal(err)
	}
	p, err := try(w.v.Optional(), "Bearer "+tokens.Access)
	if err != nil || !p.MaySee(acct.DID) || p.MaySee("did:plc:zzzzzzzzzzzzzzzzzzzzzzzz") {
		t.Fatalf("%+v, %v", p, err)
	}
	p, err = try(w.v.Optional(), "Basic "+base64.StdEncoding.EncodeToString([]byte("admin:"+adminPassword)))
	if err != nil || !p.IsAdmin() || !p.MaySee(acct.DID) {
		t.Fatalf("%+v, %v", p, err)
	}
}

func TestMayWrite(t *testing.T) {
	w := newWorld(t)
	acct, _ := w.person()
	other, _ := w.person()
	const post = "app.bsky.feed.post"
	session := func(scope Scope) Principal {
		return Principal{Kind: Session, DID: acct.DID, Scope: scope, Account: acct}
	}
	inactive := *acct
	inactive.DeactivatedAt = time.Now()
	takendown := *acct
	takendown.TakedownRef = "x"
	cases := []struct {
		name string
		p    Principal
		did  syntax.DID
		want *Error
	}{
		{"nobody", Principal{}, acct.DID, ErrAuthMissing},
		{"admin", Principal{Kind: Admin}, acct.DID, ErrAuthRequired},
		{"admin, no DID", Principal{Kind: Admin}, "", ErrAuthRequired},
		{"service token", Principal{Kind: Service, DID: acct.DID, Account: acct}, acct.DID, ErrAuthRequired},
		{"refresh token", Principal{Kind: Refresh, DID: acct.DID, Account: acct}, acct.DID, ErrAuthRequired},
		{"another's repo", session(ScopeAccess), other.DID, ErrWrongRepo},
		{"no repo", session(ScopeAccess), "", ErrWrongRepo},
		{"takendown session", session(ScopeTakendown), acct.DID, ErrInvalidToken},
		{"deactivated", Principal{Kind: Session, DID: acct.DID, Scope: ScopeAccess, Account: &inactive}, acct.DID, ErrAccountDeactivated},
		{"taken down", Principal{Kind: Session, DID: acct.DID, Scope: ScopeAccess, Account: &takendown}, acct.DID, ErrAccountTakedown},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if err := c.p.MayWrite(c.did, post, "create"); !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
		})
	}
	for _, scope := range []Scope{ScopeAccess, ScopeAppPass, ScopeAppPassPrivileged} {
		for _, action := range []string{"create", "update", "delete", "put"} {
			if err := session(scope).MayWrite(acct.DID, post, repo.Action(action)); err != nil {
				t.Errorf("%s %s: %v", scope, action, err)
			}
		}
	}
	if session(ScopeAccess).MayWrite(acct.DID, post, "purge") == nil || session(ScopeAccess).MayWrite(acct.DID, "", "create") == nil {
		t.Error("an unknown action, or no collection, was allowed")
	}
}

func TestMayCall(t *testing.T) {
	session := func(scope Scope) Principal {
		return Principal{Kind: Session, DID: "did:web:a.example.com", Scope: scope}
	}
	cases := []struct {
		method                                 string
		mainOnly, privileged, plain, takendown bool
	}{
		{"app.bsky.feed.getTimeline", true, true, true, false},
		{"", true, true, false, false},
		{"chat.bsky.convo.sendMessage", true, true, false, false},
		{"chat.bsky.convo.addReaction", true, true, false, false},
		{"CHAT.bsky.convo.SendMessage", true, true, false, false},
		{"com.atproto.server.createAccount", true, true, false, true},
		{"com.atproto.server.CREATEACCOUNT", true, true, false, true},
		{"com.atproto.server.createAppPassword", false, false, false, false},
		{"com.atproto.server.createapppassword", false, false, false, false},
		{"COM.ATPROTO.identity.signPlcOperation", false, false, false, false},
		{"com.atproto.identity.submitPlcOperation", false, false, false, false},
	}
	for _, c := range cases {
		for scope, want := range map[Scope]bool{ScopeAccess: c.mainOnly, ScopeAppPassPrivileged: c.privileged, ScopeAppPass: c.plain, ScopeTakendown: c.takendown} {
			if err := session(scope).MayCall(syntax.NSID(c.method), serviceDID); (err == nil) != want {
				t.Errorf("%s with %s: %v, want ok %v", c.method, scope, err, want)
			}
		}
	}
	for _, p := range []Principal{{}, {Kind: Admin}, {Kind: Service, DID: "did:web:a.example.com"}, {Kind: Refresh}} {
		if p.MayCall("app.bsky.feed.getTimeline", serviceDID) == nil {
			t.Errorf("%+v may call", p)
		}
	}
}
