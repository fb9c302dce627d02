package web

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"perch/pds/account"
)

// signUpPage is what the page needs beside the form.
type signUpPage struct {
	Domains []string
	Checked *availability // what was found out about the handle, for those without script
}

// availability tells whether a handle would do.
type availability struct {
	Good bool   `json:"good"`
	Text string `json:"text"`
}

func (s *Site) signUpPage() signUpPage { return signUpPage{Domains: s.opts.HandleDomains} }

// showSignUp shows the form for a new account.
func (s *Site) showSignUp(r *request) error { return r.renderForm("signup", r.form(), s.signUpPage()) }

// signUp makes an account, or only looks whether the handle is free.
func (s *Site) signUp(r *request) error {
	f := r.form()
	page := s.signUpPage()
	if f.Value("check") != "" {
		found, err := r.checkHandle(f)
		if err != nil {
			return err
		}
		page.Checked = &found
		return r.renderForm("signup", f, page)
	}
	if err := r.take(Limit{Name: "web sign-up", Points: 20, Window: time.Hour}); err != nil {
		return err
	}
	acct, err := s.opts.Host.SignUp(r.Context(), account.NewAccount{
		Handle: s.wantedHandle(f), Email: f.Value("email"), Password: f.Value("password"), InviteCode: strings.TrimSpace(f.Value("invite")),
	})
	if err != nil {
		return r.again(err, "signup", f, page)
	}
	r.tell("success", "signed-up")
	return r.finishSignIn(acct, false)
}

// handleAvailable answers the script that asks while somebody types.
func (s *Site) handleAvailable(r *request) error {
	found, err := r.checkHandle(r.form())
	if err != nil {
		return err
	}
	r.w.Header().Set("Content-Type", "application/json; charset=utf-8")
	return json.NewEncoder(r.w).Encode(found)
}

func (r *request) checkHandle(f *Form) (availability, error) {
	handle := r.site.wantedHandle(f)
	free, err := r.site.opts.Host.HandleFree(r.Context(), handle)
	if err != nil {
		return availability{}, err
	}
	if free {
		return availability{true, r.t("signup.free", "handle", handle)}, nil
	}
	return availability{false, r.t("error.handle-taken")}, nil
}

// wantedHandle puts the name before the domain that was chosen. Who writes the whole handle means that.
func (s *Site) wantedHandle(f *Form) string {
	name := strings.ToLower(strings.TrimPrefix(strings.TrimSpace(f.Value("handle")), "@"))
	if strings.Contains(name, ".") {
		return name
	}
	domain := f.Value("domain")
	if !slices.Contains(s.opts.HandleDomains, domain) && len(s.opts.HandleDomains) > 0 {
		domain = s.opts.HandleDomains[0]
	}
	return name + domain
}
