package web

import (
	"errors"
	"net/http"
	"time"

	"perch/pds/account"
	"perch/pds/store"
)

// showSignIn shows the form, with the name filled in if the address has one.
func (s *Site) showSignIn(r *request) error { return r.signInPage(r.form()) }

// signIn takes name and password. Only the main password counts here: app passwords are for apps.
func (s *Site) signIn(r *request) error {
	f := r.form()
	login, err := r.checkPassword(f, f.Value("identifier"), f.Value("password"))
	if err != nil {
		return err
	}
	if !f.ok() {
		return r.signInPage(f)
	}
	if login.Account.TakedownRef != "" || !login.Account.SuspendedAt.IsZero() {
		return account.ErrTakendown
	}
	_, err = s.opts.Accounts.CheckFactor(r.Context(), login, "", s.opts.Host.SendSignInCode(r.Context()))
	if errors.Is(err, account.ErrFactorRequired) {
		return r.askFactor(&Form{}, login)
	}
	if err != nil {
		return err
	}
	return r.finishSignIn(login.Account, false)
}

// checkPassword adds to the form what is wrong with name or password, the same for every reason. Guesses at one account count together, however it is spelled.
func (r *request) checkPassword(f *Form, identifier, password string) (account.Login, error) {
	if err := r.takePassword(identifier); err != nil {
		return account.Login{}, err
	}
	login, err := r.site.opts.Accounts.Authenticate(r.Context(), identifier, password)
	if err == nil && login.AppPassword != "" {
		f.add("password", r.t("error.app-password"))
		return account.Login{}, nil
	}
	if err != nil && !r.refusal(f, err) {
		return account.Login{}, err
	}
	return login, nil
}

// takePassword counts a password that was entered.
func (r *request) takePassword(identifier string) error {
	for _, l := range []Limit{
		{Name: "com.atproto.server.createSession 30/5m0s", Points: 30, Window: 5 * time.Minute},
		{Name: "com.atproto.server.createSession 300/24h0m0s", Points: 300, Window: 24 * time.Hour},
	} { // the buckets of the method, so that nobody has two of them
		l.Key, l.PerAddress = account.Identifier(identifier), true
		if err := r.take(l); err != nil {
			return err
		}
	}
	return nil
}

// again shows a form with its errors, or passes on what is no fault of the form.
func (r *request) again(err error, page string, f *Form, data any) error {
	if err != nil && !r.refusal(f, err) {
		return err
	}
	return r.renderForm(page, f, data)
}

// factorPage is what the page for the second factor needs.
type factorPage struct {
	Half     string // the sign-in so far, sealed
	Mailed   bool
	Remember bool
	Passkey  *passkeyAsk // nil when the account has none
}

// askFactor shows the page for the second factor.
func (r *request) askFactor(f *Form, login account.Login) error {
	factors, err := r.site.opts.Accounts.Factors(r.Context(), login.Account.ID)
	if err != nil {
		return err
	}
	ask, err := r.askPasskey(account.PasskeyFactor, login.Account)
	if err != nil {
		return err
	}
	half := r.site.opts.Accounts.HalfSignIn(login, r.browser)
	return r.renderForm("factor", f, factorPage{half, !factors.TOTP, r.FormValue("remember") != "", ask})
}

// openHalf finds the sign-in that owes the second factor. When it took too long, it leads back to the beginning, and the login is empty.
func (r *request) openHalf() (account.Login, error) {
	login, err := r.site.opts.Accounts.OpenHalfSignIn(r.Context(), r.FormValue("half"), r.browser)
	if errors.Is(err, account.ErrSessionRevoked) {
		return account.Login{}, r.signInLate()
	}
	return login, err
}

// signInCode takes the second factor.
func (s *Site) signInCode(r *request) error {
	login, err := r.openHalf()
	if err != nil || login.Account == nil {
		return err
	}
	f := r.form()
	code := f.Value("code")
	if code == "" && r.FormValue("resend") == "" {
		f.add("code", r.t("error.code-missing"))
		return r.askFactor(f, login)
	}
	strong, err := s.opts.Accounts.CheckFactor(r.Context(), login, code, s.opts.Host.SendSignInCode(r.Context()))
	switch {
	case err == nil:
		factors, err := s.opts.Accounts.Factors(r.Context(), login.Account.ID)
		if err != nil {
			return err
		}
		return r.finishSignIn(login.Account, strong || !factors.Strong())
	case errors.Is(err, account.ErrFactorRequired):
		return r.askFactor(&Form{}, login)
	case !r.refusal(f, err):
		return err
	}
	return r.askFactor(f, login)
}

// finishSignIn signs the account in in this browser and goes on. shown tells that its second factor was, a strong one if it has one.
func (r *request) finishSignIn(acct *store.Account, shown bool) error {
	var factor time.Time
	if shown {
		factor = r.site.opts.Now()
	}
	d, err := r.site.opts.Accounts.SignInDevice(r.Context(), r.device, acct, factor, r.FormValue("remember") != "", r.site.opts.Visit(r.Request))
	if errors.Is(err, account.ErrBadCredentials) || errors.Is(err, account.ErrSessionRevoked) { // it has another password now
		return r.signInLate()
	}
	if err != nil {
		return err
	}
	r.keepDevice(d)
	return r.redirect(chosenIn(r.next("/account"), string(acct.DID)))
}

// signInLate begins a sign-in anew.
func (r *request) signInLate() error {
	r.tell("warning", "sign-in-late")
	return r.redirect(withNext("/account/sign-in", r.next("")))
}

// signOut signs one account out, or all that are signed in in this browser.
func (s *Site) signOut(r *request) error {
	if r.device == nil {
		return r.redirect("/")
	}
	left := 0
	for _, a := range r.device.Accounts {
		did := string(a.Account.DID)
		if r.FormValue("all") == "" && r.FormValue("did") != did {
			left++
			continue
		}
		if err := s.opts.Accounts.SignOutDevice(r.Context(), r.device.ID, a.Account.ID); err != nil {
			return err
		}
	}
	r.tell("success", "signed-out")
	if left > 0 {
		return r.redirect("/account/switch")
	}
	r.dropCookie(deviceCookie)
	return r.redirect("/account/sign-in")
}

// showSwitch lists the accounts of this browser.
func (s *Site) showSwitch(r *request) error { return r.render("switch", nil) }

// switchAccount has the pages show another account.
func (s *Site) switchAccount(r *request) error {
	if err := s.opts.Accounts.SwitchDevice(r.Context(), r.device, r.FormValue("did")); err != nil {
		return err
	}
	return r.redirect(r.next("/account"))
}

// showConfirm asks for the password again.
func (s *Site) showConfirm(r *request) error { return r.confirmPage(r.form()) }

// confirm takes the password again, before something that should not be done by somebody who finds the browser open.
func (s *Site) confirm(r *request) error {
	f := r.form()
	login, err := r.checkPassword(f, string(r.current().Account.DID), f.Value("password"))
	if err != nil {
		return err
	}
	if !f.ok() {
		f = &Form{values: f.values, Errors: []FieldError{{"password", r.t("error.password-wrong")}}}
		return r.confirmPage(f)
	}
	if login.Account.ID != r.current().Account.ID {
		return problem(http.StatusForbidden, "forgery")
	}
	return r.confirmNow(account.ProofPassword)
}

// confirmNow notes that it is the owner who sits there, and goes on.
func (r *request) confirmNow(shown account.Proof) error {
	err := r.site.opts.Accounts.ConfirmDevice(r.Context(), r.device, r.current(), shown)
	if errors.Is(err, account.ErrSessionRevoked) {
		return r.signInLate()
	}
	if err != nil {
		return err
	}
	if r.resumeForm() {
		return nil
	}
	return r.redirect(r.next("/account"))
}
