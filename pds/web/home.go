package web

// home is what a person sees who opens the server's address in a browser.
func (s *Site) home(r *request) error { return r.render("home", nil) }
