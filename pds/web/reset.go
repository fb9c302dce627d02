package web

import (
	"strings"
	"time"
)

// showReset asks for the address to which the code shall go.
func (s *Site) showReset(r *request) error { return r.renderForm("reset", r.form(), nil) }

// reset has a code sent. It says the same whether there is an account or not.
func (s *Site) reset(r *request) error {
	f := r.form()
	email := strings.ToLower(strings.TrimSpace(f.Value("email")))
	if !strings.Contains(email, "@") {
		f.add("email", r.t("error.email"))
		return r.renderForm("reset", f, nil)
	}
	// The mails that one address gets are counted together with those that apps ask for.
	if err := r.take(Limit{Name: "com.atproto.server.requestPasswordReset 20/1h0m0s", Points: 20, Window: time.Hour, Key: email}); err != nil {
		return err
	}
	if err := s.opts.Host.SendPasswordReset(r.Context(), email); err != nil {
		return err
	}
	return r.redirect(withNext("/account/reset/code", r.next("")))
}

// showResetCode asks for the code and the new password.
func (s *Site) showResetCode(r *request) error { return r.renderForm("reset-code", r.form(), nil) }

// resetCode sets the new password. Everybody is signed out then, in all browsers and apps.
func (s *Site) resetCode(r *request) error {
	f := r.form()
	if _, err := s.opts.Accounts.ResetPassword(r.Context(), f.Value("code"), f.Value("password")); err != nil {
		return r.again(err, "reset-code", f, nil)
	}
	r.tell("success", "password-reset")
	return r.redirect(withNext("/account/sign-in", r.next("")))
}
