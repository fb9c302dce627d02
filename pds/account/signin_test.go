package account

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"perch/pds/store"
)

func TestAuthenticateRefuses(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	ses := w.person()
	a := ses.Account
	app := w.app(a, "phone", false)
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
	_, err := w.Authenticate(ctx, string(other.DID), testPassword)
	want(t, ErrBadCredentials, err)
}

func TestAuthenticate(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	a := w.person().Account
	app := w.app(a, "chat", true)
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
	app := w.app(a, "phone", false)
	if err := w.Takedown(ctx, a.ID, "case", nil); err != nil {
		t.Fatal(err)
	}
	_, err := w.Authenticate(ctx, a.Email, app.Secret)
	want(t, ErrBadCredentials, err)
	login, err := w.Authenticate(ctx, a.Email, testPassword)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.StartSession(ctx, login, false)
	want(t, ErrTakendown, err)
	ses, err := w.StartSession(ctx, login, true)
	if err != nil || !ses.Takendown {
		t.Fatalf("%+v, %v", ses, err)
	}
	// It is stored, so that it can be ended, for as long as its access token is good.
	if all, _ := w.st.Sessions(ctx, a.ID); len(all) != 1 || all[0].ExpiresAt.Sub(all[0].CreatedAt) != AccessLifetime {
		t.Fatalf("stored: %+v", all)
	}
	if err := w.SetPassword(ctx, a.ID, "another password", true); err != nil {
		t.Fatal(err)
	}
	if live, err := w.SessionLive(ctx, a.ID, ses.ID); live || err != nil {
		t.Fatalf("the session outlives the password: %v", err)
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

// Many who ask at once get no more app passwords than one after the other.
func TestAppPasswordsAreBoundedAtOnce(t *testing.T) {
	w := newWorld(t)
	a := w.person().Account
	for i := range maxAppPasswords - 5 {
		w.app(a, fmt.Sprint("app ", i), false)
	}
	errs := concurrently(40, func(i int) error {
		_, err := w.CreateAppPassword(context.Background(), a, fmt.Sprint("late ", i), false)
		return err
	})
	all, err := w.AppPasswords(context.Background(), a.ID)
	if err != nil || len(all) != maxAppPasswords || successes(errs) != 5 || count(errs, ErrInvalidName) != 35 {
		t.Errorf("%d app passwords, %d made, %v", len(all), successes(errs), err)
	}
}
