package account

import (
	"context"
	"strings"
	"testing"
	"time"

	"perch/pds/store"
)

var visit = Visit{IP: "192.0.2.1", UserAgent: "Browser"}

// browser is somebody's browser: it keeps the cookie.
type browser struct {
	*world
	t       *testing.T
	cookie  string
	sitting string
}

func (b *browser) signIn(acct *store.Account, remember bool) {
	b.t.Helper()
	d, err := b.SignInDevice(context.Background(), b.open(), acct, time.Time{}, remember, visit)
	if err != nil {
		b.t.Fatal(err)
	}
	b.cookie, b.sitting = d.Cookie, d.Sitting
}

// open makes a request, and keeps the cookie that comes with the answer.
func (b *browser) open() *Device {
	b.t.Helper()
	d := b.lose()
	if d != nil && d.Cookie != "" {
		b.cookie = d.Cookie
	}
	return d
}

// lose makes a request whose answer does not arrive.
func (b *browser) lose() *Device {
	b.t.Helper()
	d, err := b.OpenDevice(context.Background(), b.cookie, b.sitting, visit)
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

func TestDeviceCookieIsRenewed(t *testing.T) {
	w := newWorld(t)
	b := &browser{world: w, t: t, cookie: ""}
	b.signIn(w.person().Account, true)
	first := b.cookie
	b.open()
	if b.cookie != first {
		t.Error("the cookie was renewed at once")
	}
	w.pass(deviceRotation)
	one, two := b.lose(), b.lose()
	if one.Cookie == "" || one.Cookie == first || one.Cookie != two.Cookie {
		t.Fatalf("two requests at once got %q and %q", one.Cookie, two.Cookie)
	}
	w.pass(time.Hour)
	if b.open() == nil { // the answers were lost, so the old cookie is all the browser has
		t.Fatal("signed out because an answer was lost")
	}
	if b.open() == nil {
		t.Fatal("the new cookie does not work")
	}
	old := &browser{world: w, t: t, cookie: first}
	if old.lose() == nil {
		t.Fatal("a request of another tab, a moment later, was signed out")
	}
}

func TestStolenDeviceCookieSignsOut(t *testing.T) {
	w := newWorld(t)
	b := &browser{world: w, t: t, cookie: ""}
	b.signIn(w.person().Account, true)
	thief := &browser{world: w, t: t, cookie: b.cookie}
	w.pass(deviceRotation)
	b.open()
	b.open()
	w.pass(deviceGrace + time.Second + deviceRotation)
	if thief.lose() != nil {
		t.Error("the old cookie works")
	}
	if b.lose() != nil {
		t.Error("the browser goes on after its cookie was used elsewhere")
	}
}

func TestForgedDeviceCookie(t *testing.T) {
	w := newWorld(t)
	b := &browser{world: w, t: t, cookie: ""}
	b.signIn(w.person().Account, true)
	good := b.cookie
	parts := strings.Split(good, ".")
	for _, bad := range []string{"", ".", "..", "a.1.b", good + "x", good[1:], parts[0] + ".2." + parts[2], parts[0] + ".1.", parts[0] + ".01." + parts[2], strings.Repeat("a", 5000)} {
		if b.cookie = bad; b.lose() != nil {
			t.Errorf("%.80q was taken", bad)
		}
	}
	if b.cookie = good; b.lose() == nil {
		t.Error("forgeries have signed the browser out")
	}
}

func TestSignInReplacesAPlantedCookie(t *testing.T) {
	w := newWorld(t)
	mallory := &browser{world: w, t: t, cookie: ""}
	mallory.signIn(w.person().Account, true)
	alice := &browser{world: w, t: t, cookie: mallory.cookie}
	alice.signIn(w.person().Account, true)
	if mallory.lose() != nil {
		t.Error("who has planted the cookie is signed in with alice")
	}
	if d := alice.lose(); d == nil || len(d.Accounts) != 2 {
		t.Errorf("alice's browser: %+v", d)
	}
}

func TestDeviceSignInsEnd(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		remember bool
		end      func(w *world, acct *store.Account) error
	}{
		"password":  {true, func(w *world, a *store.Account) error { return w.SetPassword(ctx, a.ID, "another password", false) }},
		"takedown":  {true, func(w *world, a *store.Account) error { return w.Takedown(ctx, a.ID, "ref", nil) }},
		"suspended": {true, func(w *world, a *store.Account) error { return w.Suspend(ctx, a.ID, true, nil) }},
		"deleted":   {true, func(w *world, a *store.Account) error { return w.Delete(ctx, a.ID, nil) }},
		"time":      {true, func(w *world, _ *store.Account) error { w.pass(RememberedLifetime + time.Second); return nil }},
		"half day":  {false, func(w *world, _ *store.Account) error { w.pass(ForgottenLifetime + time.Second); return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := &browser{world: w, t: t, cookie: ""}
			acct := w.person().Account
			b.signIn(acct, c.remember)
			if err := c.end(w, acct); err != nil {
				t.Fatal(err)
			}
			if b.lose() != nil {
				t.Error("still signed in")
			}
			if err := w.SweepDevices(ctx); err != nil {
				t.Fatal(err)
			}
			if list, err := w.Devices(ctx, acct.ID); err != nil || len(list) != 0 {
				t.Errorf("%v, %v", list, err)
			}
		})
	}
}

func TestDevicesAreBounded(t *testing.T) {
	w := newWorld(t)
	acct := w.person().Account
	first := &browser{world: w, t: t, cookie: ""}
	first.signIn(acct, true)
	for range store.MaxDevices {
		w.pass(time.Second)
		(&browser{world: w, t: t, cookie: ""}).signIn(acct, true)
	}
	if list, err := w.Devices(context.Background(), acct.ID); err != nil || len(list) != store.MaxDevices {
		t.Errorf("%d browsers, %v", len(list), err)
	}
	if first.lose() != nil {
		t.Error("the oldest browser is signed in still")
	}
}

func TestHalfSignIn(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	acct := w.person().Account
	half := w.HalfSignIn(Login{Account: acct}, "browser")
	if l, err := w.OpenHalfSignIn(ctx, half, "browser"); err != nil || l.Account.ID != acct.ID {
		t.Fatal(l, err)
	}
	for _, bad := range []struct{ sealed, browser string }{{half, "another"}, {half, ""}, {half[1:], "browser"}, {"", "browser"}, {"AAAA", "browser"}} {
		_, err := w.OpenHalfSignIn(ctx, bad.sealed, bad.browser)
		want(t, ErrSessionRevoked, err)
	}
	if err := w.SetPassword(ctx, acct.ID, "another password", false); err != nil {
		t.Fatal(err)
	}
	_, err := w.OpenHalfSignIn(ctx, half, "browser")
	want(t, ErrSessionRevoked, err)
	acct, err = w.st.AccountByID(ctx, acct.ID)
	if err != nil {
		t.Fatal(err)
	}
	half = w.HalfSignIn(Login{Account: acct}, "browser")
	w.pass(halfLifetime)
	_, err = w.OpenHalfSignIn(ctx, half, "browser")
	want(t, ErrSessionRevoked, err)
}

// A browser that several people share forgets, when it is closed, whoever did not want to be remembered, whatever the others wanted.
func TestClosedBrowserForgets(t *testing.T) {
	w := newWorld(t)
	b := &browser{world: w, t: t}
	alice, bob, carol := w.person().Account, w.person().Account, w.person().Account
	b.signIn(alice, false)
	b.signIn(bob, true)
	b.signIn(carol, false)
	names := func(d *Device) (out []string) {
		for _, a := range d.Accounts {
			out = append(out, string(a.Account.Handle))
		}
		return out
	}
	if d := b.open(); len(d.Accounts) != 3 {
		t.Fatalf("signed in: %v", names(d))
	}
	b.sitting = ""
	d := b.open()
	if d == nil || len(d.Accounts) != 1 || d.Current.Account.ID != bob.ID {
		t.Fatalf("after the browser was closed: %v", names(d))
	}
	b.signIn(w.person().Account, false) // begins a sitting, which brings nobody back
	if d := b.open(); len(d.Accounts) != 2 {
		t.Errorf("signed in: %v", names(d))
	}
	for _, a := range []*store.Account{alice, carol} {
		if list, err := w.Devices(context.Background(), a.ID); err != nil || len(list) > 0 {
			t.Errorf("%s is listed: %+v %v", a.Handle, list, err)
		}
	}
}

func TestBrowserOfVeryManyAccounts(t *testing.T) {
	w := newWorld(t)
	b := &browser{world: w, t: t}
	var first, last *store.Account
	for range maxDeviceAccounts + 1 {
		last = w.person().Account
		if first == nil {
			first = last
		}
		b.signIn(last, true)
		w.pass(time.Second)
	}
	d := b.open()
	if len(d.Accounts) != maxDeviceAccounts || d.Current.Account.ID != last.ID || d.Accounts[0].Account.ID == first.ID {
		t.Errorf("%d accounts, current %s", len(d.Accounts), d.Current.Account.Handle)
	}
}
