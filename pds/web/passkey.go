package web

import (
	"encoding/base64"
	"errors"

	"perch/pds/account"
	"perch/pds/store"
)

// Fields of the forms that bring an answer.
const (
	askField    = "ask"
	answerField = "answer"
)

// signInPage shows the form to sign in.
func (r *request) signInPage(f *Form) error {
	ask, err := r.askPasskey(account.PasskeySignIn, nil)
	if err != nil {
		return err
	}
	return r.renderForm("signin", f, ask)
}

// signInPasskey signs in whoever has answered: a passkey counts for password and second factor.
func (s *Site) signInPasskey(r *request) error {
	acct, err := s.opts.Accounts.SignInWithPasskey(r.Context(), r.PostFormValue(askField), r.browser, r.PostFormValue(answerField))
	if err != nil {
		f := &Form{values: r.Form}
		if !r.passkeyRefusal(f, err) {
			return err
		}
		return r.signInPage(f)
	}
	return r.finishSignIn(acct, true)
}

// signInCodePasskey takes a passkey in place of a code, after the password.
func (s *Site) signInCodePasskey(r *request) error {
	login, err := r.openHalf()
	if err != nil || login.Account == nil {
		return err
	}
	err = s.opts.Accounts.CheckPasskey(r.Context(), account.PasskeyFactor, login.Account.ID, r.PostFormValue(askField), r.browser, r.PostFormValue(answerField))
	if err == nil {
		return r.finishSignIn(login.Account, true)
	}
	f := &Form{values: r.Form}
	if !r.passkeyRefusal(f, err) {
		return err
	}
	return r.askFactor(f, login)
}

// confirmPage is what the page that asks for the password again needs.
type confirmPage struct {
	Passkey *passkeyAsk // nil when the account has none
	Held    string      // the form to go on with, sealed
}

// confirmPage asks for the password again, or for a passkey.
func (r *request) confirmPage(f *Form) error {
	ask, err := r.askPasskey(account.PasskeyConfirm, r.current().Account)
	if err != nil {
		return err
	}
	return r.renderForm("confirm", f, confirmPage{ask, r.FormValue(heldField)})
}

// confirmPasskey takes a passkey in place of the password, before something sensitive.
func (s *Site) confirmPasskey(r *request) error {
	acct := r.current().Account.ID
	err := s.opts.Accounts.CheckPasskey(r.Context(), account.PasskeyConfirm, acct, r.PostFormValue(askField), r.browser, r.PostFormValue(answerField))
	if err == nil {
		return r.confirmNow(account.ProofPasskey)
	}
	f := &Form{values: r.Form}
	if !r.passkeyRefusal(f, err) {
		return err
	}
	return r.confirmPage(f)
}

// passkeysPage is what the list of passkeys shows.
type passkeysPage struct {
	Passkeys []listedPasskey
	New      *passkeyAsk // nil when there are as many as there may be
	Max      int
	MaxName  int
}

// listedPasskey is a passkey as its owner sees it.
type listedPasskey struct {
	store.Passkey
	ID string // of the credential, for forms
}

// passkeys lists the passkeys of an account.
func (s *Site) passkeys(r *request) error { return r.listPasskeys(&Form{}) }

func (r *request) listPasskeys(f *Form) error {
	acct := r.current().Account
	all, err := r.site.opts.Accounts.Passkeys(r.Context(), acct.ID)
	if err != nil {
		return err
	}
	page := passkeysPage{Max: account.MaxPasskeys, MaxName: account.MaxPasskeyName}
	for _, p := range all {
		page.Passkeys = append(page.Passkeys, listedPasskey{p, base64url(p.Credential)})
	}
	if len(all) < account.MaxPasskeys {
		if page.New, err = r.askPasskey(account.NewPasskey, acct); err != nil {
			return err
		}
	}
	return r.renderForm("passkeys", f, page)
}

// addPasskey stores a new passkey. Its owner may leave its name to us.
func (s *Site) addPasskey(r *request) error {
	acct, name := r.current().Account, r.PostFormValue("name")
	if name == "" {
		all, err := s.opts.Accounts.Passkeys(r.Context(), acct.ID)
		if err != nil {
			return err
		}
		name = r.t("passkeys.number", "number", len(all)+1)
	}
	err := s.opts.Accounts.AddPasskey(r.Context(), acct, r.PostFormValue(askField), r.browser, r.PostFormValue(answerField), name, s.opts.Host.PasskeyAdded(r.Context()))
	if err == nil {
		r.noteFactor()
	}
	return r.changedPasskeys(err, "passkey-added")
}

// renamePasskey gives a passkey another name.
func (s *Site) renamePasskey(r *request) error {
	err := s.opts.Accounts.RenamePasskey(r.Context(), r.current().Account.ID, r.passkeyID(), r.PostFormValue("name"))
	return r.changedPasskeys(err, "passkey-renamed")
}

// removePasskey takes a passkey away.
func (s *Site) removePasskey(r *request) error {
	f := &Form{}
	if err := r.keepStrong(f, func(now account.Factors) account.Factors { now.Passkeys--; return now }); err != nil {
		return err
	}
	if !f.ok() {
		return r.listPasskeys(f)
	}
	err := s.opts.Accounts.RemovePasskey(r.Context(), r.current().Account, r.passkeyID(), s.opts.Host.PasskeyRemoved(r.Context()))
	return r.changedPasskeys(err, "passkey-removed")
}

// passkeyID is the credential that a form is about. What is none of ours is found nowhere.
func (r *request) passkeyID() []byte {
	id, _ := base64.RawURLEncoding.DecodeString(r.PostFormValue("passkey"))
	return id
}

// changedPasskeys goes back to the list, and says there what was done or what was wrong.
func (r *request) changedPasskeys(err error, done string) error {
	f := &Form{}
	switch {
	case err == nil:
		r.tell("success", done)
		return r.redirect("/account/passkeys")
	case errors.Is(err, store.ErrNotFound): // removed in another tab
		return r.redirect("/account/passkeys")
	case errors.Is(err, account.ErrInvalidName):
		f.add("", r.t("error.passkey-name", "max", account.MaxPasskeyName))
	case !r.passkeyRefusal(f, err):
		return err
	}
	return r.listPasskeys(f)
}
