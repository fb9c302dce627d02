package web

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"perch/pds/account"
)

const (
	heldField = "held"
	// maxHeld bounds a form that is held, in bytes: sealed it must fit into the next one.
	maxHeld = 24 << 10
)

// secretFields are the fields that are never put back into a page, sealed or not.
var secretFields = []string{"password", "old-password", "new-password", "private"}

// holdForm seals the form that was sent here, for the page that asks for something else first; "" when there is nothing to hold or too much.
func (r *request) holdForm() string {
	if r.Method != http.MethodPost {
		return ""
	}
	held := account.HeldForm{Path: r.URL.Path, Fields: maps.Clone(r.Form), Dropped: r.dropped()} // it may have been held before
	held.Fields.Del(tokenField)
	for _, name := range secretFields {
		if held.Fields.Get(name) != "" {
			held.Dropped = append(held.Dropped, name)
		}
		held.Fields.Del(name)
	}
	if len(held.Fields) == 0 || len(held.Fields.Encode()) > maxHeld {
		return ""
	}
	return r.site.opts.Accounts.HoldForm(held, r.current().Account.ID, r.browser)
}

// askToConfirm asks for what is missing, on the page given, on the way to a page or before a form, which is held meanwhile.
func (r *request) askToConfirm(page string) error {
	back := r.here()
	held := r.holdForm()
	if held == "" {
		return r.redirect(withNext(page, back))
	}
	r.Request = r.WithContext(r.Context()) // a copy, with the address of the page that it becomes
	r.URL = &url.URL{Path: page, RawQuery: url.Values{"next": {back}}.Encode()}
	r.Form = url.Values{"next": {back}, heldField: {held}}
	if page == confirmFactorPath {
		return r.factorAgain()
	}
	return r.confirmPage(&Form{})
}

type droppedKey struct{}

// dropped are the fields that a form has lost while it was held.
func (r *request) dropped() []string {
	names, _ := r.Context().Value(droppedKey{}).([]string)
	return slices.Clone(names)
}

// resumeForm goes on with a form that was held, as if it was sent now, and tells whether there was one.
func (r *request) resumeForm() bool {
	held, ok := r.site.opts.Accounts.OpenHeldForm(r.FormValue(heldField), r.current().Account.ID, r.browser)
	if !ok {
		return false
	}
	held.Fields.Set(tokenField, r.token())
	again := r.WithContext(context.WithValue(r.Context(), droppedKey{}, held.Dropped))
	again.URL, again.Form, again.PostForm, again.Body = &url.URL{Path: held.Path}, held.Fields, held.Fields, http.NoBody
	r.site.mux.ServeHTTP(r.w, again)
	return true
}

// mustRepeat tells whether secrets are missing because the form was held, and adds that to the form.
func (r *request) mustRepeat(f *Form) bool {
	dropped := r.dropped()
	for _, name := range slices.Sorted(slices.Values(dropped)) {
		f.add(name, r.t("error.enter-again"))
	}
	return len(dropped) > 0
}
