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

func (w *world) at(t time.Time) { w.now.Store(&t) }

func (w *world) pass(d time.Duration) { w.at(w.now.Load().Add(d)) }

func (w *world) clock() time.Time { return *w.now.Load() }

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
	if err != nil || p.Kind != Admin || !p.MaySee(acct.DID) {
		t.Fatalf("%+v, %v", p, err)
	}
}
