package account

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"perch/pds/store"
)

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
	app := w.app(a, "phone", false)
	if err := w.SetPassword(ctx, a.ID, "another password", false); err != nil {
		t.Fatal(err)
	}
	_, err := w.RefreshSession(ctx, a.ID, ses.ID)
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
