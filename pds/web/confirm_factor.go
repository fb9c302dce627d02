package web

import (
	"net/http"
	"time"

	"perch/pds/account"
)

const (
	confirmFactorPath = "/account/confirm/factor"
	// factorAge is how long ago an administrator may have shown a strong factor in this browser: a day's work.
	factorAge = 12 * time.Hour
)

// guarded asks administrators for a strong factor, unless they have shown one in this browser today. Beside their own pages it stands before those that change
// factors: who has no more than an administrator's password gives himself none.
func guarded(r *request) (bool, error) {
	if !r.isAdministrator() || r.site.opts.Now().Sub(r.current().FactorAt) < factorAge {
		return true, nil
	}
	return false, r.redirect(withNext(confirmFactorPath, r.here()))
}

// keepStrong adds to the form that an administrator's last strong factor is not taken away. left is what would be left of the factors.
func (r *request) keepStrong(f *Form, left func(account.Factors) account.Factors) error {
	if !r.isAdministrator() {
		return nil
	}
	now, err := r.site.opts.Accounts.Factors(r.Context(), r.current().Account.ID)
	if err == nil && !left(now).Strong() {
		f.add("", r.t("error.last-factor"))
	}
	return err
}

// confirmFactorPage is what the page that asks for a second factor again shows.
type confirmFactorPage struct {
	TOTP    bool
	Passkey *passkeyAsk // nil when the account has none
}

// showConfirmFactor asks somebody who is signed in for a strong factor.
func (s *Site) showConfirmFactor(r *request) error { return r.confirmFactorPage(&Form{}) }

func (r *request) confirmFactorPage(f *Form) error {
	acct := r.current().Account
	factors, err := r.site.opts.Accounts.Factors(r.Context(), acct.ID)
	if err != nil {
		return err
	}
	if !factors.Strong() {
		return problem(http.StatusNotFound, "missing")
	}
	ask, err := r.askPasskey(account.PasskeyConfirm, acct)
	if err != nil {
		return err
	}
	return r.renderForm("confirm-factor", f, confirmFactorPage{factors.TOTP, ask})
}

// confirmFactor takes a code of the app, or a recovery code. A passkey comes by the page that asks for the password again.
func (s *Site) confirmFactor(r *request) error {
	f := r.form()
	code := f.Value("code")
	if code == "" {
		f.add("code", r.t("error.code-missing"))
		return r.confirmFactorPage(f)
	}
	strong, err := s.opts.Accounts.CheckFactor(r.Context(), account.Login{Account: r.current().Account}, code, s.opts.Host.SendSignInCode(r.Context()))
	if err == nil && strong {
		return r.confirmNow(account.ProofFactor)
	}
	if err != nil && !r.refusal(f, err) {
		return err
	}
	if f.ok() { // the account has no such factor any more
		return r.redirect(confirmFactorPath)
	}
	return r.confirmFactorPage(f)
}
