package web

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"perch/pds/account"
)

// deleteDays are the times after which a deactivated account may be deleted.
var deleteDays = []int{7, 30, 90}

// closePage is what the page about the end of an account shows.
type closePage struct {
	Days []int
}

// showClose offers the ways out, and the way back.
func (s *Site) showClose(r *request) error { return r.closing(&Form{}) }

func (r *request) closing(f *Form) error { return r.renderForm("close", f, closePage{deleteDays}) }

// deactivate hides the account.
func (s *Site) deactivate(r *request) error {
	deleteAfter := time.Time{}
	if chosen := r.PostForm.Get("days"); chosen != "" {
		days, err := strconv.Atoi(chosen)
		if err != nil || days < 1 || days > 366 {
			return problem(http.StatusBadRequest, "form")
		}
		deleteAfter = s.opts.Now().AddDate(0, 0, days)
	}
	if err := r.takeShared(deactivateNSID, 30, time.Hour); err != nil {
		return err
	}
	if err := s.opts.Host.Deactivate(r.Context(), r.current().Account, deleteAfter); err != nil {
		return r.closeAgain(r.form(), err)
	}
	return r.done("deactivated", "/account")
}

// activate brings it back.
func (s *Site) activate(r *request) error {
	if err := r.takeShared(activateNSID, 30, time.Hour); err != nil {
		return err
	}
	if err := s.opts.Host.Activate(r.Context(), r.current().Account); err != nil {
		return r.closeAgain(r.form(), err)
	}
	return r.done("activated", "/account")
}

func (r *request) closeAgain(f *Form, err error) error {
	if !r.refusal(f, err) {
		return err
	}
	return r.closing(f)
}

// askDelete mails the code that a deletion needs, and asks for it and the password.
func (s *Site) askDelete(r *request) error {
	if err := r.takeMail(deleteAccountNSID); err != nil {
		return err
	}
	if err := s.opts.Host.SendCode(r.Context(), r.current().Account, account.ForDeleteAccount); err != nil {
		return r.closeAgain(r.form(), err)
	}
	return r.renderForm("delete", &Form{}, nil)
}

// deleteAccount ends the account for good.
func (s *Site) deleteAccount(r *request) error {
	f := r.form()
	if r.mustRepeat(f) {
		return r.renderForm("delete", f, nil)
	}
	acct := r.current().Account
	if err := r.takePassword(string(acct.DID)); err != nil {
		return err
	}
	if err := s.opts.Host.Delete(r.Context(), acct, f.Value("password"), f.Value("code")); err != nil {
		return r.deleteAgain(f, err)
	}
	r.tell("success", "deleted")
	return r.redirect("/")
}

func (r *request) deleteAgain(f *Form, err error) error {
	if errors.Is(err, account.ErrBadCredentials) {
		f.add("password", r.t("error.password-wrong"))
		return r.renderForm("delete", f, nil)
	}
	return r.again(err, "delete", f, nil)
}
