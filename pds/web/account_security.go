package web

import (
	"errors"

	"perch/pds/account"
	"perch/pds/store"
)

// securityPage is what the page about password and second factor shows.
type securityPage struct {
	Factors   account.Factors
	Confirmed bool // the e-mail address
	MailAsked bool // a code to switch codes by e-mail off is on its way
}

// showSecurity shows how somebody signs in.
func (s *Site) showSecurity(r *request) error { return r.security(&Form{}) }

func (r *request) security(f *Form) error {
	acct := r.current().Account
	factors, err := r.site.opts.Accounts.Factors(r.Context(), acct.ID)
	if err != nil {
		return err
	}
	return r.renderForm("security", f, securityPage{factors, !acct.EmailConfirmedAt.IsZero(), r.FormValue("step") == "mail-off"})
}

// securityAgain shows the page with what is wrong. The errors of one field belong to another.
func (r *request) securityAgain(f *Form, err error, from, to string) error {
	if !r.refusal(f, err) {
		return err
	}
	f.move(from, to)
	return r.security(f)
}

// changePassword sets another password. Everybody is signed out then, and this browser in again.
func (s *Site) changePassword(r *request) error {
	f := r.form()
	if r.mustRepeat(f) {
		return r.security(f)
	}
	cur := *r.current()
	login, err := r.checkPassword(f, string(cur.Account.DID), f.Value("old-password"))
	if err != nil {
		return err
	}
	if !f.ok() {
		f.Errors = []FieldError{{"old-password", r.t("error.password-wrong")}}
		return r.security(f)
	}
	revoke := f.Value("revoke") != ""
	err = r.keepStrong(f, func(now account.Factors) account.Factors {
		if revoke {
			now.Passkeys = 0
		}
		return now
	})
	if err != nil {
		return err
	}
	if !f.ok() {
		return r.security(f)
	}
	changed, err := s.opts.Accounts.ChangePassword(r.Context(), login, f.Value("new-password"), revoke)
	if err != nil {
		return r.securityAgain(f, err, "password", "new-password")
	}
	d, err := s.opts.Accounts.SignInDevice(r.Context(), r.device, changed, cur.FactorAt, cur.Remembered, s.opts.Visit(r.Request))
	if err != nil {
		return err
	}
	r.keepDevice(d)
	return r.done("password", "/account/security")
}

// done goes on to a page that says what was done.
func (r *request) done(flash, path string) error {
	r.tell("success", flash)
	return r.redirect(path)
}

// mailCodesOn asks for codes by e-mail at each sign-in from now on.
func (s *Site) mailCodesOn(r *request) error { return r.setMailCodes(true, "") }

// askMailCodesOff mails the code that switching them off needs.
func (s *Site) askMailCodesOff(r *request) error {
	return r.sendCode(updateEmailNSID, account.ForUpdateEmail, "/account/security?step=mail-off", r.security)
}

// mailCodesOff ends codes by e-mail.
func (s *Site) mailCodesOff(r *request) error { return r.setMailCodes(false, r.FormValue("mail-code")) }

func (r *request) setMailCodes(on bool, code string) error {
	acct := r.current().Account
	before, err := r.askedFactors()
	if err != nil {
		return err
	}
	if err := r.site.opts.Accounts.UpdateEmail(r.Context(), acct.ID, acct.Email, code, &on); err != nil {
		return r.securityAgain(r.form(), err, "code", "mail-code")
	}
	if on && !before.Strong() && !before.Email {
		r.noteFactor()
	}
	if on {
		return r.done("mail-codes-on", "/account/security")
	}
	return r.done("mail-codes-off", "/account/security")
}

// beginTOTP makes a secret for an authenticator app. Who has one already must end that first.
func (s *Site) beginTOTP(r *request) error {
	factors, err := s.opts.Accounts.Factors(r.Context(), r.current().Account.ID)
	if err != nil {
		return err
	}
	if !factors.TOTP {
		_, err = s.opts.Accounts.BeginTOTP(r.Context(), r.current().Account)
	}
	if err != nil {
		return err
	}
	return r.redirect("/account/security/app")
}

// totpPage is the secret of an authenticator app while it is being set up.
type totpPage struct {
	Setup account.TOTPSetup
	QR    qrCode
}

// showTOTP shows the secret until a code of the app was seen.
func (s *Site) showTOTP(r *request) error { return r.totp(&Form{}) }

func (r *request) totp(f *Form) error {
	factors, err := r.site.opts.Accounts.Factors(r.Context(), r.current().Account.ID)
	if err != nil {
		return err
	}
	setup, err := r.site.opts.Accounts.PendingTOTP(r.Context(), r.current().Account)
	if factors.TOTP || errors.Is(err, store.ErrNotFound) {
		return r.redirect("/account/security")
	}
	if err != nil {
		return err
	}
	qr, err := newQR(setup.URL)
	if err != nil {
		return err
	}
	return r.renderForm("totp", f, totpPage{setup, qr})
}

// confirmTOTP puts the app into force, and shows the recovery codes once. It takes no place of one that is in force.
func (s *Site) confirmTOTP(r *request) error {
	f := r.form()
	factors, err := s.opts.Accounts.Factors(r.Context(), r.current().Account.ID)
	if err != nil {
		return err
	}
	if factors.TOTP {
		return r.redirect("/account/security")
	}
	codes, err := s.opts.Accounts.ConfirmTOTP(r.Context(), r.current().Account, f.Value("code"))
	if err != nil {
		if !r.refusal(f, err) {
			return err
		}
		return r.totp(f)
	}
	r.noteFactor()
	return r.render("recovery", codes)
}

// renewRecovery makes new recovery codes, which belong to an app.
func (s *Site) renewRecovery(r *request) error {
	factors, err := s.opts.Accounts.Factors(r.Context(), r.current().Account.ID)
	if err != nil {
		return err
	}
	if !factors.TOTP {
		return r.redirect("/account/security")
	}
	codes, err := s.opts.Accounts.RenewRecoveryCodes(r.Context(), r.current().Account.ID)
	if err != nil {
		return err
	}
	return r.render("recovery", codes)
}

// removeFactors ends app and codes by e-mail.
func (s *Site) removeFactors(r *request) error {
	f := r.form()
	if err := r.keepStrong(f, func(now account.Factors) account.Factors { return account.Factors{Passkeys: now.Passkeys} }); err != nil {
		return err
	}
	if !f.ok() {
		return r.security(f)
	}
	if err := s.opts.Accounts.RemoveFactors(r.Context(), r.current().Account.ID); err != nil {
		return err
	}
	return r.done("factors-removed", "/account/security")
}
