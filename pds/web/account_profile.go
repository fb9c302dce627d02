package web

import "strings"

// showProfile shows what others see beside the handle.
func (s *Site) showProfile(r *request) error {
	p, err := s.opts.Host.Profile(r.Context(), r.current().Account)
	if err != nil {
		return err
	}
	return r.renderForm("profile", &Form{}, p)
}

// setProfile writes the profile record.
func (s *Site) setProfile(r *request) error {
	f := r.form()
	p := Profile{
		DisplayName: strings.TrimSpace(f.Value("name")),
		Description: strings.TrimSpace(strings.ReplaceAll(f.Value("description"), "\r\n", "\n")),
	}
	if err := s.opts.Host.SetProfile(r.Context(), r.current().Account, p); err != nil {
		return r.again(err, "profile", f, p)
	}
	r.tell("success", "profile")
	return r.redirect("/account/profile")
}
