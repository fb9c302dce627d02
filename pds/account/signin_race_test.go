package account

import (
	"context"
	"sync"
	"testing"
	"time"

	"perch/pds/store"
)

// Between the check of a password and the session there is time enough to reset it, to revoke it, and to shut the account out.
func TestPasswordThatEndedMeanwhileOpensNothing(t *testing.T) {
	ctx := context.Background()
	for name, tc := range map[string]struct {
		app  bool
		ends func(w *world, a *store.Account) error
		want error
	}{
		"a reset":             {false, func(w *world, a *store.Account) error { return w.SetPassword(ctx, a.ID, "another password", true) }, ErrBadCredentials},
		"a reset to the same": {false, func(w *world, a *store.Account) error { return w.SetPassword(ctx, a.ID, testPassword, true) }, ErrBadCredentials},
		"a deletion":          {false, func(w *world, a *store.Account) error { return w.Delete(ctx, a.ID, nil) }, ErrBadCredentials},
		"a takedown":          {false, func(w *world, a *store.Account) error { return w.Takedown(ctx, a.ID, "case", nil) }, ErrTakendown},
		"a suspension":        {false, func(w *world, a *store.Account) error { return w.Suspend(ctx, a.ID, true, nil) }, ErrTakendown},

		"a reset, by app password":      {true, func(w *world, a *store.Account) error { return w.SetPassword(ctx, a.ID, "another password", true) }, ErrBadCredentials},
		"a takedown, by app password":   {true, func(w *world, a *store.Account) error { return w.Takedown(ctx, a.ID, "case", nil) }, ErrTakendown},
		"a deletion, by app password":   {true, func(w *world, a *store.Account) error { return w.Delete(ctx, a.ID, nil) }, ErrBadCredentials},
		"the app password's revocation": {true, func(w *world, a *store.Account) error { return w.RevokeAppPassword(ctx, a.ID, "phone") }, ErrBadCredentials},
		"another app password of the name": {true, func(w *world, a *store.Account) error {
			if err := w.RevokeAppPassword(ctx, a.ID, "phone"); err != nil {
				return err
			}
			_, err := w.CreateAppPassword(ctx, a, "phone", true)
			return err
		}, ErrBadCredentials},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a, password := w.person().Account, testPassword
			if tc.app {
				app := w.app(a, "phone", false)
				password = app.Secret
			}
			login, err := w.Authenticate(ctx, a.Email, password)
			if err != nil {
				t.Fatal(err)
			}
			if err := tc.ends(w, a); err != nil {
				t.Fatal(err)
			}
			before, _ := w.st.Sessions(ctx, a.ID)
			_, err = w.StartSession(ctx, login, false)
			want(t, tc.want, err)
			if tc.app {
				_, err = w.StartSession(ctx, login, true) // app passwords are not for leaving
				want(t, tc.want, err)
			} else {
				_, err = w.SignInDevice(ctx, nil, login.Account, time.Time{}, true, Visit{})
				want(t, tc.want, err)
			}
			if all, _ := w.st.Sessions(ctx, a.ID); len(all) != len(before) {
				t.Errorf("%d sessions, before %d", len(all), len(before))
			}
		})
	}
}

func TestResetWhileABrowserConfirms(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	a := w.person().Account
	d, err := w.SignInDevice(ctx, nil, a, time.Time{}, true, Visit{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.ConfirmDevice(ctx, d, d.Current, ProofPassword); err != nil {
		t.Fatal(err)
	}
	if err := w.SetPassword(ctx, a.ID, "another password", false); err != nil {
		t.Fatal(err)
	}
	want(t, ErrSessionRevoked, w.ConfirmDevice(ctx, d, d.Current, ProofPassword))
	if now, err := w.OpenDevice(ctx, d.Cookie, d.Sitting, Visit{}); err != nil || now != nil {
		t.Errorf("the browser is signed in again: %+v %v", now, err)
	}
}

// A request that was let in before a reset must not leave behind, after it, what lets its sender in again.
func TestWhatWasAskedBeforeAResetLeavesNothingBehind(t *testing.T) {
	ctx := context.Background()
	for name, ask := range map[string]func(w *world, d *Device, login Login) error{
		"sign out elsewhere": func(w *world, d *Device, _ Login) error { return w.SignOutOthers(ctx, d, d.Current) },
		"an app password": func(w *world, _ *Device, login Login) error {
			_, err := w.CreateAppPassword(ctx, login.Account, "phone", true)
			return err
		},
		"another password": func(w *world, _ *Device, login Login) error {
			_, err := w.ChangePassword(ctx, login, "a password of the thief", false)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			login, err := w.Authenticate(ctx, string(w.person().Account.DID), testPassword)
			if err != nil {
				t.Fatal(err)
			}
			a := login.Account
			d, err := w.SignInDevice(ctx, nil, a, time.Time{}, true, Visit{})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.SetPassword(ctx, a.ID, "another password", true); err != nil {
				t.Fatal(err)
			}
			want(t, ErrSessionRevoked, ask(w, d, login))
			if now, err := w.OpenDevice(ctx, d.Cookie, d.Sitting, Visit{}); err != nil || now != nil {
				t.Errorf("the browser is signed in again: %+v %v", now, err)
			}
			if list, err := w.AppPasswords(ctx, a.ID); err != nil || len(list) > 0 {
				t.Errorf("app passwords: %+v %v", list, err)
			}
			if _, err := w.Authenticate(ctx, string(a.DID), "another password"); err != nil {
				t.Errorf("the password of the reset: %v", err)
			}
		})
	}
}

// The first sign-ins after a take-over replace the hash; those at the same time must go on all the same.
func TestUpgradesAtTheSameTime(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	a := w.person().Account
	w.setHash(a.ID, "salt:"+scryptHex(testPassword, "salt"))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			login, err := w.Authenticate(ctx, a.Email, testPassword)
			if err == nil {
				_, err = w.StartSession(ctx, login, false)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	now, err := w.st.AccountByID(ctx, a.ID)
	if err != nil || outdated(now.PasswordHash) {
		t.Errorf("hash %q, %v", now.PasswordHash, err)
	}
}
