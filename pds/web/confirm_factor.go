package web

import (
	"errors"
	"net/http"
	"time"

	"perch/pds/account"
)

const (
	confirmPath       = "/account/confirm"
	confirmFactorPath = "/account/confirm/factor"
	// sudoAge is how long ago password and second factor may have been given for what is sensitive.
	sudoAge = 10 * time.Minute
	// factorAge is how long ago an administrator may have shown the second factor in this browser: a day's work.
	factorAge = 12 * time.Hour
)

// sudo lets in those who have given the password a moment ago, and asks others for it.
func sudo(r *request) (bool, error) {
	if ok, err := signedIn(r); !ok {
		return false, err
	}
	if r.confirmed() {
		return true, nil
	}
	return false, r.askToConfirm(confirmPath)
}

// confirmed tells whether the password was given a moment ago.
func (r *request) confirmed() bool { return r.site.opts.Now().Sub(r.current().ConfirmedAt) < sudoAge }

// sensitive is the one rule before all with which somebody could take an account away from its owner, or learn its secrets. It lets in those who have shown a
// moment ago all that the account has to show: the password, and the second factor if there is one. A browser left open and a stolen password are not enough.
func sensitive(r *request) (bool, error) { return r.proven(r.askToConfirm) }

// sensitiveFor is sensitive for what is no page: who has shown all comes to the page given.
func sensitiveFor(page string) rule {
	return func(r *request) (bool, error) {
		return r.proven(func(at string) error { return r.redirect(withNext(at, page)) })
	}
}

// proven tells whether nothing is missing. If something is, it has ask answer with the page for it.
func (r *request) proven(ask func(page string) error) (bool, error) {
	if ok, err := signedIn(r); !ok {
		return false, err
	}
	page, err := r.proofMissing()
	if err != nil || page == "" {
		return err == nil, err
	}
	return false, ask(page)
}

// proofMissing is the page on which somebody who is signed in has to show something before what is sensitive; "" when nothing is missing.
func (r *request) proofMissing() (string, error) {
	if !r.shownFactor(sudoAge) {
		asked, err := r.askedFactors()
		if err != nil {
			return "", err
		}
		if asked.Strong() || asked.Email {
			return r.factorPage(asked), nil
		}
	}
	if !r.confirmed() {
		return confirmPath, nil
	}
	return "", nil
}

// shownFactor tells whether the account's second factor was shown in this browser within the time given.
func (r *request) shownFactor(within time.Duration) bool {
	return r.site.opts.Now().Sub(r.current().FactorAt) < within
}

// askedFactors are those of the account that count. Codes by mail do when there is nothing stronger, and when mail is known to arrive: with a mistake in a new
// address nobody could correct it.
func (r *request) askedFactors() (account.Factors, error) {
	acct := r.current().Account
	f, err := r.site.opts.Accounts.Factors(r.Context(), acct.ID)
	f.Email = f.Email && !f.Strong() && !acct.EmailConfirmedAt.IsZero()
	return f, err
}

// factorPage is where a second factor is asked for: after the password, so that who has only the browser can neither guess codes nor have them mailed. Passkeys
// need no password beside them.
func (r *request) factorPage(asked account.Factors) string {
	if r.confirmed() || passkeysOnly(asked) {
		return confirmFactorPath
	}
	return confirmPath
}

func passkeysOnly(f account.Factors) bool { return f.Passkeys > 0 && !f.TOTP }

// askFactorAgain asks for the second factor, after what comes before it.
func (r *request) askFactorAgain() error {
	asked, err := r.askedFactors()
	if err != nil {
		return err
	}
	return r.askToConfirm(r.factorPage(asked))
}

// beforeCode lets in those to whom the page for the second factor may be shown.
func beforeCode(r *request) (bool, error) {
	if ok, err := signedIn(r); !ok {
		return false, err
	}
	asked, err := r.askedFactors()
	if err != nil {
		return false, err
	}
	if page := r.factorPage(asked); page != confirmFactorPath {
		return false, r.askToConfirm(page)
	}
	return true, nil
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
	TOTP, Mailed bool
	Passkey      *passkeyAsk // nil when the account has none
	Held         string      // the form to go on with, sealed
}

// showConfirmFactor asks somebody who is signed in for the second factor, unless that was done meanwhile.
func (s *Site) showConfirmFactor(r *request) error {
	if r.shownFactor(sudoAge) {
		return r.redirect(r.next("/account"))
	}
	return r.factorAgain()
}

// factorAgain shows the page, with a code on its way if that is how the account wants it.
func (r *request) factorAgain() error {
	factors, err := r.askedFactors()
	if err == nil && factors.Email {
		if _, err = r.checkFactor(""); errors.Is(err, account.ErrFactorRequired) {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	return r.confirmFactorPage(&Form{}, factors)
}

func (r *request) confirmFactorPage(f *Form, factors account.Factors) error {
	if !factors.Strong() && !factors.Email {
		return problem(http.StatusNotFound, "missing")
	}
	ask, err := r.askPasskey(account.PasskeyConfirm, r.current().Account)
	if err != nil {
		return err
	}
	return r.renderForm("confirm-factor", f, confirmFactorPage{factors.TOTP, factors.Email, ask, r.FormValue(heldField)})
}

func (r *request) checkFactor(code string) (strong bool, err error) {
	return r.site.opts.Accounts.CheckFactor(r.Context(), account.Login{Account: r.current().Account}, code, r.site.opts.Host.SendSignInCode(r.Context()))
}

// confirmFactor takes a code of the app, a recovery code, or the code that was mailed. A passkey comes by the page that asks for the password again.
func (s *Site) confirmFactor(r *request) error {
	f := r.form()
	factors, err := r.askedFactors()
	if err != nil {
		return err
	}
	code := f.Value("code")
	switch {
	case factors.Email && r.FormValue("resend") != "":
		return r.factorAgain()
	case passkeysOnly(factors):
		return r.confirmFactorPage(&Form{}, factors)
	case code == "":
		f.add("code", r.t("error.code-missing"))
		return r.confirmFactorPage(f, factors)
	}
	strong, err := r.checkFactor(code)
	if err == nil && (strong || factors.Email) {
		return r.confirmNow(account.ProofFactor)
	}
	if err != nil && !r.refusal(f, err) {
		return err
	}
	if f.ok() { // the account has no such factor any more
		return r.redirect(confirmFactorPath)
	}
	return r.confirmFactorPage(f, factors)
}

// noteFactor notes that the account's second factor was shown in this browser just now, by setting it up here: it is not asked for at once.
func (r *request) noteFactor() {
	if err := r.site.opts.Accounts.ConfirmDevice(r.Context(), r.device, r.current(), account.ProofFactor); err != nil {
		r.site.log.WarnContext(r.Context(), "note a second factor", "did", r.current().Account.DID, "err", err)
	}
}
