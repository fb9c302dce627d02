package account

import (
	"bytes"
	"context"
	"encoding/base32"
	"net/url"
	"strings"
	"testing"
	"time"

	"perch/pds/store"
)

// The vectors of RFC 4226 appendix D and, for SHA-1, RFC 6238 appendix B.
func TestTOTPVectors(t *testing.T) {
	secret := []byte("12345678901234567890")
	for i, want := range []string{"755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"} {
		if got := hotp(secret, uint64(i), 6); got != want {
			t.Errorf("HOTP of %d: %s, want %s", i, got, want)
		}
	}
	for at, want := range map[int64]string{
		59: "94287082", 1111111109: "07081804", 1111111111: "14050471", 1234567890: "89005924", 2000000000: "69279037", 20000000000: "65353130",
	} {
		if got := hotp(secret, uint64(totpStep(time.Unix(at, 0))), 8); got != want {
			t.Errorf("TOTP at %d: %s, want %s", at, got, want)
		}
	}
}

// factorWorld has one person, with what tests of second factors do to them.
type factorWorld struct {
	*world
	acct   *store.Account
	secret []byte
	mails  []string // codes that were sent
}

func newFactorWorld(t *testing.T) *factorWorld {
	w := newWorld(t)
	return &factorWorld{world: w, acct: w.person().Account}
}

func (w *factorWorld) try(token string) error {
	return w.tryAs(Login{Account: w.acct}, token)
}

func (w *factorWorld) tryAs(login Login, token string) error {
	_, err := w.CheckFactor(context.Background(), login, token, func(_ *store.Tx, _ *store.Account, code Code) error {
		w.mails = append(w.mails, code.Text)
		return nil
	})
	return err
}

func (w *factorWorld) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// code is what the authenticator app shows after d.
func (w *factorWorld) code(d time.Duration) string {
	return hotp(w.secret, uint64(totpStep(w.clock.Load().Add(d))), totpDigits)
}

// wrong is a code that is not right now, nor a step before or after.
func (w *factorWorld) wrong() string {
	for _, c := range []string{"000000", "111111", "222222", "333333"} {
		if c != w.code(0) && c != w.code(totpPeriod) && c != w.code(-totpPeriod) {
			return c
		}
	}
	panic("four codes at once")
}

func (w *factorWorld) begin() TOTPSetup {
	w.t.Helper()
	setup, err := w.BeginTOTP(context.Background(), w.acct)
	w.ok(err)
	w.secret, err = base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(setup.Secret)
	w.ok(err)
	return setup
}

func (w *factorWorld) useTOTP() (recovery []string) {
	w.t.Helper()
	w.begin()
	recovery, err := w.ConfirmTOTP(context.Background(), w.acct, w.code(0))
	w.ok(err)
	w.pass(totpPeriod)
	return recovery
}

func (w *factorWorld) confirmEmail() {
	w.t.Helper()
	w.ok(w.st.Update(context.Background(), func(tx *store.Tx) error {
		return tx.SetEmail(context.Background(), w.acct.ID, w.acct.Email, w.now())
	}))
}

func (w *factorWorld) useEmail() {
	w.t.Helper()
	w.confirmEmail()
	w.ok(w.SetEmailFactor(context.Background(), w.acct.ID, true))
}

func TestNoFactorNoQuestion(t *testing.T) {
	w := newFactorWorld(t)
	w.ok(w.try(""))
	w.ok(w.try("anything"))
	w.begin() // not confirmed yet
	w.ok(w.try(""))
}

func TestTOTPRefuses(t *testing.T) {
	ctx := context.Background()
	w := newFactorWorld(t)
	_, err := w.ConfirmTOTP(ctx, w.acct, "123456")
	want(t, ErrFactorInvalid, err) // nothing was begun
	w.begin()
	_, err = w.ConfirmTOTP(ctx, w.acct, w.wrong())
	want(t, ErrFactorInvalid, err)
	w.useTOTP()
	other := w.person().Account
	want(t, ErrFactorRequired, w.try(""))
	want(t, ErrFactorRequired, w.try("  "))
	for name, code := range map[string]string{
		"wrong": w.wrong(), "two steps ahead": w.code(2*totpPeriod + time.Second), "two steps behind": w.code(-2*totpPeriod - time.Second),
		"the step of the set-up": w.code(-totpPeriod),
	} {
		if err := w.try(code); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for _, code := range []string{"12345", "1234567", "१२३४५६", "12345a", strings.Repeat("9", 1<<16)} {
		want(t, ErrFactorInvalid, w.try(code))
	}
	w.pass(time.Hour)
	w.ok(w.try(w.code(0)))
	want(t, ErrFactorInvalid, w.try(w.code(0))) // used
	want(t, ErrFactorInvalid, w.try(w.code(-totpPeriod)))
	w.ok(w.try(w.code(totpPeriod))) // a phone whose clock is ahead
	want(t, ErrFactorInvalid, w.try(w.code(totpPeriod)))

	// One account's secret does not open for another.
	w.ok(w.st.Update(ctx, func(tx *store.Tx) error {
		f, err := tx.SecondFactor(ctx, w.acct.ID)
		if err != nil {
			return err
		}
		f.Account = other.ID
		return tx.PutSecondFactor(ctx, f)
	}))
	w.pass(time.Hour)
	if err := w.tryAs(Login{Account: other}, w.code(0)); err == nil {
		t.Error("a sealed secret was put in the place of another's")
	}
}

func TestTOTPIsSealed(t *testing.T) {
	w := newFactorWorld(t)
	recovery := w.useTOTP()
	f, err := w.st.SecondFactor(context.Background(), w.acct.ID)
	w.ok(err)
	if len(f.TOTP) == 0 || bytes.Contains(f.TOTP, w.secret) {
		t.Error("the secret is stored as it is")
	}
	if len(recovery) != recoveryCodes || recovery[0] == recovery[1] || len(recovery[0]) != 17 {
		t.Errorf("recovery codes %v", recovery)
	}
}

func TestTOTPSetupURL(t *testing.T) {
	w := newFactorWorld(t)
	setup := w.begin()
	u, err := url.Parse(setup.URL)
	w.ok(err)
	if u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/pds.example.com:person1.example.com" ||
		u.Query().Get("secret") != setup.Secret || u.Query().Get("issuer") != "pds.example.com" || len(setup.Secret) != 32 {
		t.Errorf("URL %s", setup.URL)
	}
}

// A new app must show a code before the old one stops working.
func TestTOTPIsReplacedOnConfirmation(t *testing.T) {
	w := newFactorWorld(t)
	w.useTOTP()
	old := w.secret
	w.begin()
	fresh := w.secret
	want(t, ErrFactorInvalid, w.try(w.code(0)))
	w.secret = old
	w.ok(w.try(w.code(0)))
	w.secret = fresh
	_, err := w.ConfirmTOTP(context.Background(), w.acct, w.code(0))
	w.ok(err)
	w.pass(time.Hour)
	w.secret = old
	want(t, ErrFactorInvalid, w.try(w.code(0)))
	w.secret = fresh
	w.ok(w.try(w.code(0)))
}

func TestGuessesCostTime(t *testing.T) {
	w := newFactorWorld(t)
	recovery := w.useTOTP()
	for range freeTries {
		want(t, ErrFactorInvalid, w.try(w.wrong()))
	}
	want(t, ErrFactorLocked, w.try(w.code(0))) // even the right one: its answer would tell
	w.pass(firstWait + time.Second)
	want(t, ErrFactorInvalid, w.try(w.wrong()))
	w.pass(firstWait + time.Second)
	want(t, ErrFactorLocked, w.try(w.code(0))) // twice as long now
	for range 30 {
		w.pass(longestWait)
		want(t, ErrFactorInvalid, w.try(w.wrong()))
	}
	want(t, ErrFactorLocked, w.try(w.code(0)))
	w.ok(w.try(recovery[0])) // the way in for the owner
	w.ok(w.try(w.code(0)))

	for range freeTries {
		want(t, ErrFactorInvalid, w.try(w.wrong()))
	}
	w.pass(longestWait)
	w.ok(w.try(w.code(0)))
	want(t, ErrFactorInvalid, w.try(w.wrong())) // counted from the beginning again
	w.pass(totpPeriod)
	w.ok(w.try(w.code(0)))
}

func TestRecoveryCodes(t *testing.T) {
	ctx := context.Background()
	w := newFactorWorld(t)
	codes := w.useTOTP()
	other := w.person().Account
	theirs, err := w.RenewRecoveryCodes(ctx, other.ID)
	w.ok(err)
	want(t, ErrFactorInvalid, w.try(theirs[0]))
	w.ok(w.try(codes[0]))
	want(t, ErrFactorInvalid, w.try(codes[0])) // used
	w.ok(w.try(strings.ToLower(strings.ReplaceAll(codes[1], "-", " "))))
	f, err := w.Factors(ctx, w.acct.ID)
	if w.ok(err); f.RecoveryCodes != recoveryCodes-2 || !f.TOTP || f.Email {
		t.Errorf("factors %+v", f)
	}
	fresh, err := w.RenewRecoveryCodes(ctx, w.acct.ID)
	w.ok(err)
	want(t, ErrFactorInvalid, w.try(codes[2]))
	w.ok(w.try(fresh[2]))
	w.ok(w.RemoveFactors(ctx, w.acct.ID))
	w.ok(w.try(""))
	if f, err := w.Factors(ctx, w.acct.ID); err != nil || f != (Factors{}) {
		t.Errorf("factors after removal %+v, %v", f, err)
	}
}

func TestAppPasswordsAreExempt(t *testing.T) {
	w := newFactorWorld(t)
	w.useTOTP()
	w.ok(w.tryAs(Login{Account: w.acct, AppPassword: "phone"}, ""))
}

func TestEmailFactorRefuses(t *testing.T) {
	ctx := context.Background()
	w := newFactorWorld(t)
	want(t, ErrInvalidEmail, w.SetEmailFactor(ctx, w.acct.ID, true)) // not confirmed: a lock-out
	w.useEmail()
	want(t, ErrFactorInvalid, w.try("AAAAA-AAAAA")) // none was sent
	if len(w.mails) != 0 {
		t.Fatal("a wrong code has a mail sent")
	}
	want(t, ErrFactorRequired, w.try(""))
	want(t, ErrFactorRequired, w.try(""))
	if len(w.mails) != 1 {
		t.Fatalf("%d mails within a moment", len(w.mails))
	}
	want(t, ErrFactorInvalid, w.try("AAAAA-AAAAA"))
	other := &factorWorld{world: w.world, acct: w.person().Account}
	other.useEmail()
	want(t, ErrFactorRequired, other.try(""))
	want(t, ErrFactorInvalid, other.try(w.mails[0]))
	w.ok(w.try(" " + strings.ToLower(w.mails[0])))
	want(t, ErrFactorInvalid, w.try(w.mails[0])) // used

	w.pass(signInMailPause)
	want(t, ErrFactorRequired, w.try(""))
	w.pass(signInMailPause)
	want(t, ErrFactorRequired, w.try(""))
	if len(w.mails) != 3 {
		t.Fatalf("%d mails", len(w.mails))
	}
	want(t, ErrFactorInvalid, w.try(w.mails[1])) // replaced
	w.pass(CodeLifetime)
	want(t, ErrFactorInvalid, w.try(w.mails[2])) // expired
}

func TestMailedCodeBearsFewGuesses(t *testing.T) {
	w := newFactorWorld(t)
	w.useEmail()
	want(t, ErrFactorRequired, w.try(""))
	for range maxMailFailures {
		want(t, ErrFactorInvalid, w.try("AAAAA-AAAAA"))
	}
	want(t, ErrFactorInvalid, w.try(w.mails[0]))
	want(t, ErrFactorRequired, w.try(""))
	if len(w.mails) != 1 {
		t.Errorf("guessing brought %d mails within a minute", len(w.mails))
	}
	w.pass(signInMailPause)
	want(t, ErrFactorRequired, w.try(""))
	for range maxMailFailures - 1 {
		want(t, ErrFactorInvalid, w.try("AAAAA-AAAAA"))
	}
	w.ok(w.try(w.mails[1]))
}

// With an app in use no code is mailed, and none that was mailed before works: the weaker factor must not stand beside the stronger.
func TestTOTPTakesThePlaceOfEmail(t *testing.T) {
	w := newFactorWorld(t)
	w.useEmail()
	want(t, ErrFactorRequired, w.try(""))
	w.useTOTP()
	want(t, ErrFactorInvalid, w.try(w.mails[0]))
	w.pass(signInMailPause)
	want(t, ErrFactorRequired, w.try(""))
	if len(w.mails) != 1 {
		t.Error("a code was mailed although there is an app")
	}
	w.ok(w.try(w.code(0)))
	w.ok(w.SetEmailFactor(context.Background(), w.acct.ID, false))
	want(t, ErrFactorRequired, w.try(""))
}

func TestDeletionTakesFactorsAlong(t *testing.T) {
	ctx := context.Background()
	w := newFactorWorld(t)
	w.useTOTP()
	w.ok(w.Delete(ctx, w.acct.ID, nil))
	if f, err := w.Factors(ctx, w.acct.ID); err != nil || f != (Factors{}) {
		t.Errorf("factors of a deleted account %+v, %v", f, err)
	}
}
