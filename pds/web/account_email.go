package web

import "perch/pds/account"

// showEmail shows the address, and the forms to confirm and to change it.
func (s *Site) showEmail(r *request) error { return r.renderForm("email", &Form{}, emailPage(r)) }

// emailPageData tells which forms the page shows.
type emailPageData struct {
	Confirmed bool
	Asked     bool // a code for the change is on its way
	Sent      bool // a code for the confirmation is
}

func emailPage(r *request) emailPageData {
	step := r.FormValue("step")
	return emailPageData{!r.current().Account.EmailConfirmedAt.IsZero(), step == "change", step == "confirm"}
}

// sendConfirmation mails the code that shows that mail arrives.
func (s *Site) sendConfirmation(r *request) error {
	return r.sendCode(confirmEmailNSID, account.ForConfirmEmail, "/account/email?step=confirm", func(f *Form) error {
		return r.renderForm("email", f, emailPage(r))
	})
}

// sendCode mails a code and goes on to a page; what is wrong is shown by again.
func (r *request) sendCode(nsid string, purpose account.Purpose, next string, again func(*Form) error) error {
	if err := r.takeMail(nsid); err != nil {
		return err
	}
	if err := r.site.opts.Host.SendCode(r.Context(), r.current().Account, purpose); err != nil {
		f := &Form{}
		if !r.refusal(f, err) {
			return err
		}
		return again(f)
	}
	return r.redirect(next)
}

// confirmEmail takes the code.
func (s *Site) confirmEmail(r *request) error {
	f := r.form()
	acct := r.current().Account
	if err := s.opts.Accounts.ConfirmEmail(r.Context(), acct.ID, acct.Email, f.Value("code")); err != nil {
		return r.again(err, "email", f, emailPageData{Sent: true})
	}
	r.tell("success", "email-confirmed")
	return r.redirect("/account/email")
}

// askEmailChange mails a code to the present address: whoever gets at the password alone does not get the account.
func (s *Site) askEmailChange(r *request) error {
	return r.sendCode(updateEmailNSID, account.ForUpdateEmail, "/account/email?step=change", func(f *Form) error {
		return r.renderForm("email", f, emailPage(r))
	})
}

// changeEmail stores the new address and mails a code there. An address that was never confirmed protects nobody, and needs no code.
func (s *Site) changeEmail(r *request) error {
	f := r.form()
	acct := r.current().Account
	err := s.opts.Host.ChangeEmail(r.Context(), acct, f.Value("email"), f.Value("change-code"))
	if err != nil {
		if !r.refusal(f, err) {
			return err
		}
		f.move("code", "change-code")
		return r.renderForm("email", f, emailPageData{Confirmed: !acct.EmailConfirmedAt.IsZero(), Asked: true})
	}
	changed, err := s.opts.Accounts.Find(r.Context(), string(acct.DID))
	if err != nil {
		return err
	}
	if !changed.EmailConfirmedAt.IsZero() { // it was the same address
		return r.redirect("/account/email")
	}
	r.tell("success", "email-changed")
	if err := r.takeMail(confirmEmailNSID); err != nil {
		return r.redirect("/account/email")
	}
	if err := s.opts.Host.SendCode(r.Context(), changed, account.ForConfirmEmail); err != nil {
		return err
	}
	return r.redirect("/account/email?step=confirm")
}
