package account

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/seal"
	"perch/pds/store"
)

// world is a service with a clock that tests move.
type world struct {
	*Service
	t      testing.TB
	st     *store.Store
	clock  atomic.Pointer[time.Time]
	people atomic.Int64
}

func newWorld(t testing.TB, change ...func(*Options)) *world {
	t.Helper()
	w := &world{t: t}
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	w.clock.Store(&start)
	now := func() time.Time { return *w.clock.Load() }
	var err error
	if w.st, err = store.Open(context.Background(), store.Options{Path: filepath.Join(t.TempDir(), "perch.db"), Now: now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.st.Close() })
	box, err := seal.New(make([]byte, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{
		Store: w.st, Seal: box, Hostname: "pds.example.com", ServiceDomains: []string{".example.com", ".deep.example.com"},
		FailureDelay: time.Nanosecond, Now: now,
	}
	for _, c := range change {
		c(&opts)
	}
	w.Service = New(opts)
	return w
}

func (w *world) pass(d time.Duration) {
	t := w.clock.Load().Add(d)
	w.clock.Store(&t)
}

func testDID(n int64) syntax.DID {
	digits := strings.NewReplacer("0", "a", "1", "b", "8", "c", "9", "d").Replace(fmt.Sprintf("%024d", n))
	return syntax.DID("did:plc:" + digits)
}

const testPassword = "a good password"

func (w *world) newAccount(n int64) NewAccount {
	return NewAccount{Handle: fmt.Sprintf("person%d.example.com", n), Email: fmt.Sprintf("p%d@mail.example.org", n), Password: testPassword}
}

func (w *world) person() Session {
	w.t.Helper()
	n := w.people.Add(1)
	ses, err := w.signUp(w.newAccount(n), testDID(n))
	if err != nil {
		w.t.Fatal(err)
	}
	return ses
}

func (w *world) signUp(in NewAccount, did syntax.DID) (Session, error) {
	r, err := w.Reserve(context.Background(), in)
	if err != nil {
		return Session{}, err
	}
	defer r.Release()
	return r.Commit(context.Background(), did, nil)
}

func (w *world) setHash(id store.AccountID, hash string) {
	w.t.Helper()
	err := w.st.Update(context.Background(), func(tx *store.Tx) error { return tx.SetPasswordHash(context.Background(), id, hash) })
	if err != nil {
		w.t.Fatal(err)
	}
}

func want(t *testing.T, kind, err error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got %v, want %v", err, kind)
	}
}

func TestAuthenticateRefuses(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	ses := w.person()
	a := ses.Account
	app, err := w.CreateAppPassword(ctx, a, "phone", false)
	if err != nil {
		t.Fatal(err)
	}
	other := w.person().Account
	cases := map[string][2]string{
		"wrong password":            {string(a.Handle), "a bad password"},
		"no password":               {string(a.Handle), ""},
		"longer password":           {string(a.Handle), testPassword + "x"},
		"password and NUL":          {string(a.Handle), testPassword + "\x00"},
		"very long password":        {string(a.Handle), strings.Repeat("x", 1<<20)},
		"unknown handle":            {"nobody.example.com", testPassword},
		"unknown e-mail":            {"nobody@mail.example.org", testPassword},
		"unknown DID":               {"did:plc:zzzzzzzzzzzzzzzzzzzzzzzz", testPassword},
		"DID in capitals":           {strings.ToUpper(string(a.DID)), testPassword},
		"no identifier":             {"", testPassword},
		"only @":                    {"@", testPassword},
		"very long identifier":      {strings.Repeat("a", 1<<20), testPassword},
		"another's password":        {string(other.Handle), app.Secret},
		"app password without dash": {string(a.Handle), strings.ReplaceAll(app.Secret, "-", "")},
		"app password in capitals":  {string(a.Handle), strings.ToUpper(app.Secret)},
		"the hash as password":      {string(a.Handle), app.Hash},
		"the stored main hash":      {string(a.Handle), a.PasswordHash},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			login, err := w.Authenticate(ctx, c[0], c[1])
			want(t, ErrBadCredentials, err)
			if err.Error() != "Invalid identifier or password" || login.Account != nil {
				t.Fatalf("the answer tells more than it should: %v, %+v", err, login)
			}
		})
	}
	if err := w.Delete(ctx, other.ID, nil); err != nil {
		t.Fatal(err)
	}
	_, err = w.Authenticate(ctx, string(other.DID), testPassword)
	want(t, ErrBadCredentials, err)
}

func TestAuthenticate(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	a := w.person().Account
	app, err := w.CreateAppPassword(ctx, a, "chat", true)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{string(a.Handle), strings.ToUpper(string(a.Handle)), "@" + string(a.Handle), a.Email, strings.ToUpper(a.Email), " " + a.Email + " ", string(a.DID)} {
		login, err := w.Authenticate(ctx, id, testPassword)
		if err != nil || login.Account.ID != a.ID || login.AppPassword != "" {
			t.Errorf("%q: %+v, %v", id, login, err)
		}
		login, err = w.Authenticate(ctx, id, app.Secret)
		if err != nil || login.Account.ID != a.ID || login.AppPassword != "chat" || !login.Privileged {
			t.Errorf("%q with app password: %+v, %v", id, login, err)
		}
	}
}

// TestEqualWork: every refusal costs one run of the slow hash, whatever the reason, and waits for the same time.
func TestEqualWork(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, func(o *Options) { o.FailureDelay = 80 * time.Millisecond })
	a := w.person().Account
	bare := w.person().Account
	w.setHash(bare.ID, "")
	for name, c := range map[string][2]string{
		"wrong password":       {string(a.Handle), "a bad password"},
		"wrong app password":   {string(a.Handle), "aaaa-bbbb-cccc-dddd"},
		"unknown":              {"nobody.example.com", "a bad password"},
		"unknown, app":         {"nobody.example.com", "aaaa-bbbb-cccc-dddd"},
		"account has none":     {string(bare.Handle), "a bad password"},
		"too long a password":  {string(a.Handle), strings.Repeat("x", 600)},
		"too long a name":      {strings.Repeat("x", 600), "a bad password"},
		"the dummy's password": {"nobody.example.com", string(make([]byte, 16))},
	} {
		begun := time.Now()
		_, err := w.Authenticate(ctx, c[0], c[1])
		want(t, ErrBadCredentials, err)
		if took := time.Since(begun); took < 80*time.Millisecond {
			t.Errorf("%s: refused after %v", name, took)
		}
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := w.Authenticate(cancelled, string(a.Handle), testPassword); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that left still costs a hash: %v", err)
	}
}

// Hashes made with Node's crypto.scrypt and its defaults, as the reference makes them: "salt:key".
const (
	referenceSalt = "5f4dcc3b5aa765d61d8327deb882cf99"
)

func TestReferenceHashesAreUpgraded(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	a := w.person().Account
	w.setHash(a.ID, referenceSalt+":"+scryptHex("old", referenceSalt)) // shorter than new ones may be
	_, err := w.Authenticate(ctx, a.Email, "wrong")
	want(t, ErrBadCredentials, err)
	if _, err := w.Authenticate(ctx, a.Email, "old"); err != nil {
		t.Fatal(err)
	}
	now, err := w.st.AccountByID(ctx, a.ID)
	if err != nil || !strings.HasPrefix(now.PasswordHash, "$argon2id$v=19$m=9216,t=4,p=1$") {
		t.Fatalf("%q, %v", now.PasswordHash, err)
	}
	if _, err := w.Authenticate(ctx, a.Email, "old"); err != nil {
		t.Fatalf("after the upgrade: %v", err)
	}

	err = w.st.Update(ctx, func(tx *store.Tx) error {
		for _, name := range []string{"one", "two"} {
			hash := referenceSalt + ":" + scryptHex("aaaa-bbbb-cccc-"+name+"x", referenceSalt)
			if err := tx.CreateAppPassword(ctx, store.AppPassword{Account: a.ID, Name: name, Hash: hash, CreatedAt: w.now()}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if login, err := w.Authenticate(ctx, a.Email, "aaaa-bbbb-cccc-twox"); err != nil || login.AppPassword != "two" {
			t.Fatalf("%+v, %v", login, err)
		}
	}
	if p, _ := w.st.AppPassword(ctx, a.ID, "two"); !strings.HasPrefix(p.Hash, appPrefix) {
		t.Fatalf("not upgraded: %q", p.Hash)
	}
}

func TestOtherArgonSettings(t *testing.T) {
	h := newHasher()
	stored := "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQ$" + base64.RawStdEncoding.EncodeToString(argonWith("password", []byte("somesalt"), 64, 2))
	for password, want := range map[string]bool{"password": true, "Password": false} {
		if ok, err := h.verify(context.Background(), stored, password); ok != want || err != nil {
			t.Errorf("%s: %v, %v", password, ok, err)
		}
	}
}

func TestStrangeHashesMatchNothing(t *testing.T) {
	h := newHasher()
	for _, stored := range []string{
		"", ":", "x", "salt:", ":" + strings.Repeat("0", 128), "salt:zz", "$argon2id$", "$argon2id$v=19$m=1,t=1,p=1$AA$AA",
		"$argon2id$v=19$m=19456,t=2,p=1$$", "$argon2id$v=19$m=19456,t=2,p=1$!$!", "$argon2id$v=19$m=19456,t=2,p=1$AAAA$AAAA",
		"$argon2id$v=19$m=99999999,t=1,p=1$AAAA$AAAA", "$argon2id$v=19$m=8,t=0,p=1$AAAA$AAAA", "$argon2id$v=19$m=8,t=99999999,p=1$AAAA$AAAA",
		"$argon2id$v=19$m=8,t=1,p=1 $AAAA$AAAA", "$2b$10$abc", h.dummy,
	} {
		for _, password := range []string{"", "x", strings.Repeat("\xff", 32)} {
			if ok, err := h.verify(context.Background(), stored, password); ok || err != nil {
				t.Errorf("%q is a password for %q (%v)", password, stored, err)
			}
		}
	}
}

func TestPasswordPolicy(t *testing.T) {
	w := newWorld(t)
	for _, p := range []string{"", "1234567", strings.Repeat("x", 257)} {
		in := w.newAccount(1)
		in.Password = p
		_, err := w.signUp(in, testDID(1))
		want(t, ErrInvalidPassword, err)
		want(t, ErrInvalidPassword, w.SetPassword(context.Background(), 1, p, false))
	}
	for i, p := range []string{"12345678", strings.Repeat("x", 256), "пароль-🔑"} {
		in := w.newAccount(int64(i))
		in.Password = p
		if _, err := w.signUp(in, testDID(int64(i))); err != nil {
			t.Errorf("%q: %v", p, err)
		}
		if _, err := w.Authenticate(context.Background(), in.Email, p); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
}

func TestSetPasswordEndsSessions(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	ses := w.person()
	a := ses.Account
	app, err := w.CreateAppPassword(ctx, a, "phone", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.SetPassword(ctx, a.ID, "another password", false); err != nil {
		t.Fatal(err)
	}
	_, err = w.RefreshSession(ctx, a.ID, ses.ID)
	want(t, ErrSessionRevoked, err)
	_, err = w.Authenticate(ctx, a.Email, testPassword)
	want(t, ErrBadCredentials, err)
	if _, err := w.Authenticate(ctx, a.Email, "another password"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Authenticate(ctx, a.Email, app.Secret); err != nil {
		t.Fatalf("the app password went too: %v", err)
	}
	if err := w.SetPassword(ctx, a.ID, "a third password", true); err != nil {
		t.Fatal(err)
	}
	_, err = w.Authenticate(ctx, a.Email, app.Secret)
	want(t, ErrBadCredentials, err)
}

func TestHasherIsBounded(t *testing.T) {
	h := newHasher()
	release := make(chan struct{})
	for range cap(h.slots) {
		started := make(chan struct{})
		go h.run(context.Background(), func() { close(started); <-release })
		<-started
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := h.run(ctx, func() { t.Error("ran beside all others") }); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	close(release)
}

func TestAppPasswords(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	a := w.person().Account
	p, err := w.CreateAppPassword(ctx, a, "phone", false)
	if err != nil || !appPasswordForm.MatchString(p.Secret) || strings.Contains(p.Hash, p.Secret) {
		t.Fatalf("%+v, %v", p, err)
	}
	for _, name := range []string{"phone", "", strings.Repeat("x", 65)} {
		_, err := w.CreateAppPassword(ctx, a, name, true)
		want(t, ErrInvalidName, err)
	}
	if _, err := w.CreateAppPassword(ctx, w.person().Account, "phone", false); err != nil {
		t.Fatalf("another account may use the name: %v", err)
	}
	all, err := w.AppPasswords(ctx, a.ID)
	if err != nil || len(all) != 1 || all[0].Privileged {
		t.Fatalf("%+v, %v", all, err)
	}
	login, err := w.Authenticate(ctx, a.Email, p.Secret)
	if err != nil {
		t.Fatal(err)
	}
	ses, err := w.StartSession(ctx, login, false)
	if err != nil {
		t.Fatal(err)
	}
	next, err := w.RefreshSession(ctx, a.ID, ses.ID)
	if err != nil || next.AppPassword != "phone" || next.Privileged {
		t.Fatalf("the app password is not carried along: %+v, %v", next, err)
	}
	if err := w.RevokeAppPassword(ctx, a.ID, "phone"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{ses.ID, next.ID} {
		_, err := w.RefreshSession(ctx, a.ID, id)
		want(t, ErrSessionRevoked, err)
	}
	_, err = w.Authenticate(ctx, a.Email, p.Secret)
	want(t, ErrBadCredentials, err)
	if err := w.RevokeAppPassword(ctx, a.ID, "phone"); err != nil {
		t.Fatalf("revoking twice: %v", err)
	}
}

func TestTakendownLogin(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	a := w.person().Account
	app, err := w.CreateAppPassword(ctx, a, "phone", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Takedown(ctx, a.ID, "case", nil); err != nil {
		t.Fatal(err)
	}
	_, err = w.Authenticate(ctx, a.Email, app.Secret)
	want(t, ErrBadCredentials, err)
	login, err := w.Authenticate(ctx, a.Email, testPassword)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.StartSession(ctx, login, false)
	want(t, ErrTakendown, err)
	ses, err := w.StartSession(ctx, login, true)
	if err != nil || !ses.Takendown || ses.ID != "" {
		t.Fatalf("%+v, %v", ses, err)
	}
	if all, _ := w.st.Sessions(ctx, a.ID); len(all) != 0 {
		t.Fatalf("%d sessions are stored", len(all))
	}
}

func TestDeactivatedMaySignIn(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	a := w.person().Account
	if err := w.Deactivate(ctx, a.ID, w.now().Add(time.Hour), nil); err != nil {
		t.Fatal(err)
	}
	login, err := w.Authenticate(ctx, a.Email, testPassword)
	if err != nil || login.Account.Status() != store.StatusDeactivated {
		t.Fatalf("%+v, %v", login, err)
	}
	if _, err := w.StartSession(ctx, login, false); err != nil {
		t.Fatal(err)
	}
}

func TestHooksShareTheTransaction(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	a := w.person().Account
	boom := errors.New("boom")
	refuseAll := func(*store.Tx, *store.Account) error { return boom }
	for name, change := range map[string]func(Hook) error{
		"deactivate": func(h Hook) error { return w.Deactivate(ctx, a.ID, time.Time{}, h) },
		"takedown":   func(h Hook) error { return w.Takedown(ctx, a.ID, "x", h) },
		"suspend":    func(h Hook) error { return w.Suspend(ctx, a.ID, true, h) },
		"handle":     func(h Hook) error { return w.SetHandle(ctx, a.ID, "other.example.com", h) },
		"delete":     func(h Hook) error { return w.Delete(ctx, a.ID, h) },
	} {
		want(t, boom, change(refuseAll))
		now, err := w.st.AccountByID(ctx, a.ID)
		if err != nil || !now.Active() || now.Handle != a.Handle {
			t.Fatalf("%s left %+v, %v behind", name, now, err)
		}
	}
	err := w.Takedown(ctx, a.ID, "x", func(tx *store.Tx, changed *store.Account) error {
		if changed.Status() != store.StatusTakendown {
			t.Errorf("the hook sees %q", changed.Status())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSigningKeys(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	a, b := w.person().Account, w.person().Account
	key, err := w.SigningKey(a)
	if err != nil {
		t.Fatal(err)
	}
	if pub, _ := key.PublicKey(); pub.DIDKey() != a.SigningKeyDID {
		t.Fatal("not the account's key")
	}
	if again, _ := w.SigningKey(a); again != key {
		t.Fatal("parsed twice")
	}
	if strings.Contains(string(a.SigningKey), string(key.Bytes())) {
		t.Fatal("the key is stored in clear")
	}
	swapped := *b
	swapped.SigningKey = a.SigningKey
	_, err = w.SigningKey(&swapped)
	want(t, ErrKey, err)
	other := *a
	other.SigningKeyDID = b.SigningKeyDID
	_, err = w.SigningKey(&other)
	want(t, ErrKey, err)

	fresh, err := atcrypto.GeneratePrivateKeyP256()
	if err != nil {
		t.Fatal(err)
	}
	sealed, public, err := w.SealSigningKey(a.DID, fresh)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.st.Update(ctx, func(tx *store.Tx) error { return tx.SetSigningKey(ctx, a.ID, sealed, public) }); err != nil {
		t.Fatal(err)
	}
	now, err := w.st.AccountByID(ctx, a.ID)
	if err != nil {
		t.Fatal(err)
	}
	if key, err := w.SigningKey(now); err != nil || !key.Equal(fresh) {
		t.Fatalf("after rotation: %v", err)
	}
}

func TestReservedSigningKeys(t *testing.T) {
	w := newWorld(t)
	one, err := w.ReserveSigningKey(testDID(1))
	if err != nil {
		t.Fatal(err)
	}
	two, _ := w.ReserveSigningKey(testDID(2))
	if again, _ := w.ReserveSigningKey(testDID(1)); again != one || one == two {
		t.Fatal("reserved keys must be one for each DID")
	}
	in := w.newAccount(1)
	in.SigningKey = one
	ses, err := w.signUp(in, testDID(1))
	if err != nil || ses.Account.SigningKeyDID == one {
		t.Fatalf("a key reserved for a DID was given to an account that has not shown it: %v", err)
	}
	in = w.newAccount(2)
	in.SigningKey, in.DID = two, testDID(2)
	if ses, err = w.signUp(in, testDID(2)); err != nil || ses.Account.SigningKeyDID != two {
		t.Fatalf("%+v, %v", ses.Account, err)
	}
	anon, _ := w.ReserveSigningKey("")
	in = w.newAccount(3)
	in.SigningKey = anon
	if ses, err = w.signUp(in, testDID(3)); err != nil || ses.Account.SigningKeyDID != anon {
		t.Fatalf("%+v, %v", ses.Account, err)
	}
	for range maxReservedKeys + 10 {
		if _, err := w.ReserveSigningKey(""); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.reserved.keys) > maxReservedKeys || len(w.reserved.order) > maxReservedKeys {
		t.Fatalf("%d keys kept for strangers", len(w.reserved.keys))
	}
}

func TestSessionIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := newSessionID()
		if len(id) != 43 || seen[id] {
			t.Fatal(id)
		}
		seen[id] = true
	}
}

// concurrently runs fn n times at once and returns the errors.
func concurrently(n int, fn func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = fn(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

func count(errs []error, kind error) int {
	n := 0
	for _, err := range errs {
		if errors.Is(err, kind) {
			n++
		}
	}
	return n
}

func successes(errs []error) int {
	return len(slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err != nil }))
}
