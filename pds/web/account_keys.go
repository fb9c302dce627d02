package web

import (
	"net/http"
	"strings"

	"perch/pds/account"
)

// keysPage is who may change the account's DID, and who has.
type keysPage struct {
	Possible bool // the DID is of a kind that has such keys
	Keys     []RotationKey
	Own      bool // the owner has one
	Alerts   []Alert
}

// showKeys shows the keys and what strangers have done with them.
func (s *Site) showKeys(r *request) error { return r.keys(&Form{}) }

func (r *request) keys(f *Form) error {
	acct := r.current().Account
	page := keysPage{Possible: r.site.opts.Host.HasRotationKeys(acct)}
	if !page.Possible {
		return r.renderForm("keys", f, page)
	}
	var err error
	if page.Alerts, err = r.site.opts.Host.Alerts(r.Context(), acct); err != nil {
		return err
	}
	if page.Keys, err = r.site.opts.Host.RotationKeys(r.Context(), acct); err != nil && !r.refusal(f, err) {
		return err
	}
	page.Own = hasOwn(page.Keys)
	return r.renderForm("keys", f, page)
}

func hasOwn(keys []RotationKey) bool {
	for _, k := range keys {
		if k.Holder == "owner" {
			return true
		}
	}
	return false
}

// keyChange is what somebody wants to do, while the code for it is on its way.
type keyChange struct {
	What   string // create, add, remove, give-up or undo
	Key    string // add and remove: did:key
	Change string // undo: CID of the operation
}

func (r *request) keyChange() (keyChange, error) {
	c := keyChange{r.PostForm.Get("what"), strings.TrimSpace(r.PostForm.Get("key")), r.PostForm.Get("change")}
	switch c.What {
	case "create", "add", "remove", "give-up", "undo":
		return c, nil
	}
	return c, problem(http.StatusBadRequest, "form")
}

// askKeyCode mails the code that a change needs, and asks for it.
func (s *Site) askKeyCode(r *request) error {
	c, err := r.keyChange()
	if err != nil {
		return err
	}
	f := r.form()
	if c.What == "add" && !strings.HasPrefix(c.Key, "did:key:z") {
		f.add("key", r.t("keys.no-key"))
		return r.keys(f)
	}
	if err := r.takeMail(signPLCNSID); err != nil {
		return err
	}
	if err := s.opts.Host.SendCode(r.Context(), r.current().Account, account.ForPLCOperation); err != nil {
		if !r.refusal(f, err) {
			return err
		}
		return r.keys(f)
	}
	return r.renderForm("keys-code", &Form{}, c)
}

// newKey is a key in the one moment in which it is shown.
type newKey struct{ Public, Private string }

// changeKeys takes the code and does what was asked for.
func (s *Site) changeKeys(r *request) error {
	c, err := r.keyChange()
	if err != nil {
		return err
	}
	f := r.form()
	if r.mustRepeat(f) {
		return r.renderForm("keys-code", f, c)
	}
	if c.What == "give-up" && f.Value("sure") == "" {
		f.add("sure", r.t("keys.not-sure"))
		return r.renderForm("keys-code", f, c)
	}
	host, acct, code := s.opts.Host, r.current().Account, f.Value("code")
	var made newKey
	switch c.What {
	case "create":
		made.Public, made.Private, err = host.CreateRotationKey(r.Context(), acct, code)
	case "add":
		err = host.AddRotationKey(r.Context(), acct, c.Key, code)
	case "remove", "give-up":
		err = host.RemoveRotationKey(r.Context(), acct, c.Key, c.What == "give-up", code)
	case "undo":
		err = host.Undo(r.Context(), acct, c.Change, strings.TrimSpace(f.Value("private")), code)
	}
	if err != nil {
		return r.again(err, "keys-code", f, c)
	}
	if c.What == "create" {
		return r.render("keys-new", made)
	}
	return r.done("keys-"+c.What, "/account/keys")
}

// dismissAlerts notes that the owner knows of the changes.
func (s *Site) dismissAlerts(r *request) error {
	if err := s.opts.Host.DismissAlerts(r.Context(), r.current().Account); err != nil {
		return err
	}
	return r.done("alerts-dismissed", "/account/keys")
}
