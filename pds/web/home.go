package web

import "strconv"

// PublicAccount is an account as visitors see it.
type PublicAccount struct {
	Handle, Name string
	Link, Avatar string // Avatar is "" when there is none
}

// publicList is a page of the server's accounts.
type publicList struct {
	Accounts []PublicAccount
	Next     int64 // where the next page begins; 0: nowhere
	Later    bool  // this is not the first page
}

// home is what a person sees who opens the server's address in a browser.
func (s *Site) home(r *request) error {
	if !s.opts.PublicAccounts {
		return r.render("home", nil)
	}
	before, _ := strconv.ParseInt(r.URL.Query().Get("before"), 10, 64)
	list, next, err := s.opts.Host.PublicAccounts(r.Context(), before)
	if err != nil {
		return err
	}
	return r.render("home", &publicList{list, next, before > 0})
}
