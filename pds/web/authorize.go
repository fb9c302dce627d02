package web

import (
	"errors"
	"strings"

	"perch/pds/account"
	"perch/pds/oauth"
)

// authorize is where an app sends people. It asks for what is still missing, one thing after the other, and comes back here in between: an account, the
// password, a yes. With prompt=none nothing may be asked.
func (s *Site) authorize(r *request) error {
	query := r.URL.Query()
	f, err := r.openFlow(query.Get("client_id"), query.Get("request_uri"))
	if err != nil {
		return r.failFlow(err)
	}
	if f.Request.Prompt == oauth.PromptNone {
		return r.authorizeSilently(f)
	}
	chosen, open := f.candidates(r, query.Get("account"))
	switch {
	case chosen == nil && f.Request.Prompt == oauth.PromptCreate && f.Hint == "" && query.Get("account") == "":
		return r.redirect(withNext("/account/sign-up", f.address("account", "any")))
	case chosen == nil && len(open) > 0:
		return r.render("authorize-account", open)
	case chosen == nil:
		return r.redirect(f.signIn(f.Hint))
	case f.Request.Prompt == oauth.PromptLogin && chosen.ConfirmedAt.Before(f.Request.PushedAt):
		return r.redirect(f.signIn(string(chosen.Account.Handle)))
	case !chosen.Account.DeactivatedAt.IsZero() && query.Get("inactive") == "":
		return r.render("reactivate", chosen)
	}
	scopes, skip, err := s.opts.OAuth.MaySkipConsent(r.Context(), f.Request, chosen.Account.ID)
	if err != nil {
		return r.failFlow(err)
	}
	if skip {
		return r.grant(f, chosen, scopes)
	}
	return r.render("consent", newConsent(r, f, chosen))
}

// candidates returns the account that is meant, if that is clear, and else those among which the visitor can choose.
func (f *flow) candidates(r *request, wanted string) (chosen *account.SignedIn, open []account.SignedIn) {
	if r.device == nil {
		return nil, nil
	}
	for i := range r.device.Accounts {
		a := &r.device.Accounts[i]
		did, handle := string(a.Account.DID), string(a.Account.Handle)
		if f.Hint != "" && f.Hint != did && !strings.EqualFold(f.Hint, handle) {
			continue
		}
		if wanted == did {
			return a, nil
		}
		open = append(open, *a)
	}
	ask := f.Request.Prompt == oauth.PromptSelect || f.Request.Prompt == oauth.PromptCreate && wanted == ""
	if len(open) == 1 && !(ask && f.Hint == "") {
		return &open[0], nil
	}
	return nil, open
}

// authorizeSilently lets the app in without a question, or tells it which question there would be. Any site can send a browser here unseen: it must not learn who is
// signed in. So accounts that have not let it in before are passed over, as if nobody were signed in to them, and no address chooses among the others.
func (r *request) authorizeSilently(f *flow) error {
	if !f.Request.MayBeSilent() {
		return r.deny(f, oauth.ConsentRequired, "Apps that cannot prove who they are need a person's consent each time")
	}
	known, err := r.knownTo(f)
	switch {
	case err != nil:
		return r.failFlow(err)
	case len(known) > 1:
		return r.deny(f, oauth.SelectAccount, "Several accounts are signed in")
	case len(known) == 0 || !known[0].Account.DeactivatedAt.IsZero():
		return r.deny(f, oauth.LoginRequired, "The person must sign in")
	}
	chosen := &known[0]
	scopes, skip, err := r.site.opts.OAuth.MaySkipConsent(r.Context(), f.Request, chosen.Account.ID)
	if err != nil {
		return r.failFlow(err)
	}
	if !skip {
		return r.deny(f, oauth.ConsentRequired, "The person must agree")
	}
	return r.grant(f, chosen, scopes)
}

// knownTo lists the accounts that are meant and that the app may know of.
func (r *request) knownTo(f *flow) (known []account.SignedIn, err error) {
	chosen, open := f.candidates(r, "")
	if chosen != nil {
		open = []account.SignedIn{*chosen}
	}
	for _, a := range open {
		may, err := r.site.opts.OAuth.MayKnow(r.Context(), f.Request, a.Account.ID)
		if err != nil {
			return nil, err
		}
		if may {
			known = append(known, a)
		}
	}
	return known, nil
}

// decide takes the answer to the question.
func (s *Site) decide(r *request) error {
	f, err := r.openFlow(r.PostForm.Get("client_id"), r.PostForm.Get("request_uri"))
	if err != nil {
		return r.failFlow(err)
	}
	if r.PostForm.Get("decision") != "allow" {
		return r.deny(f, oauth.AccessDenied, "The person has said no")
	}
	chosen, _ := f.candidates(r, r.PostForm.Get("account"))
	if chosen == nil || string(chosen.Account.DID) != r.PostForm.Get("account") {
		return r.redirect(f.address()) // signed out meanwhile
	}
	if f.Request.Prompt == oauth.PromptLogin && chosen.ConfirmedAt.Before(f.Request.PushedAt) {
		return r.redirect(f.address())
	}
	return r.grant(f, chosen, strings.Fields(strings.Join(r.PostForm["scope"], " ")))
}

// reactivate brings a deactivated account back, in the middle of the way.
func (s *Site) reactivate(r *request) error {
	f, err := r.openFlow(r.PostForm.Get("client_id"), r.PostForm.Get("request_uri"))
	if err != nil {
		return r.failFlow(err)
	}
	chosen, _ := f.candidates(r, r.PostForm.Get("account"))
	if chosen == nil || string(chosen.Account.DID) != r.PostForm.Get("account") { // another one than was shown must not come back
		return r.redirect(f.address())
	}
	if err := s.opts.Host.Activate(r.Context(), chosen.Account); err != nil {
		s.log.WarnContext(r.Context(), "reactivate from a page", "did", chosen.Account.DID, "err", err)
		form := r.form()
		form.add("", r.t("reactivate.failed"))
		return r.renderForm("reactivate", form, chosen)
	}
	return r.redirect(f.address("account", string(chosen.Account.DID)))
}

func (r *request) grant(f *flow, a *account.SignedIn, scopes []string) error {
	answer, err := r.site.opts.OAuth.Grant(r.Context(), f.Request, a.Account, r.browserID(), scopes)
	if err != nil {
		return r.failFlow(err)
	}
	return r.leave(answer)
}

func (r *request) deny(f *flow, code oauth.Code, why string) error {
	answer, err := r.site.opts.OAuth.Deny(r.Context(), f.Request, code, why)
	if err != nil {
		return r.failFlow(err)
	}
	return r.leave(answer)
}

// leave sends the browser back to the app. A form_post is a page with a form that the script sends, and a button for those without.
func (r *request) leave(answer oauth.Response) error {
	if answer.Mode == oauth.FormPost {
		r.formTargets = append(r.formTargets, formTarget(answer.RedirectURI))
		return r.render("leave", answer)
	}
	r.w.Header().Set("Referrer-Policy", "no-referrer")
	return r.redirect(answer.URL())
}

// failFlow tells the app what went wrong, if it may be told, or else the visitor.
func (r *request) failFlow(err error) error {
	var refused *oauth.Error
	if !errors.As(err, &refused) {
		return err
	}
	if refused.Redirect != nil {
		return r.leave(*refused.Redirect)
	}
	p := problem(refused.Status, "app", "reason", refused.Description)
	switch {
	case refused.Ended:
		p.name = "app-ended"
	case refused.Away:
		p.name = "app-away"
	case refused.Code == oauth.Unavailable:
		p.name = "busy"
	}
	p.retry, p.cause = refused.RetryAfter, err
	return p
}
