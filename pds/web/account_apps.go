package web

import (
	"net/http"
	"strings"

	"perch/pds/oauth"
	"perch/pds/store"
)

// connectedApp is an app that may act for the account, in plain words.
type connectedApp struct {
	oauth.Session
	Name   string
	Logo   string // of trusted apps only
	Groups []consentGroup
}

// rememberedApp is one that was let in before.
type rememberedApp struct {
	oauth.Remembered
	Name string
}

// appsPage is what the template "apps" shows.
type appsPage struct {
	Connected []connectedApp
	Before    []rememberedApp
}

// showApps lists the apps that were let in, and those that could come back.
func (s *Site) showApps(r *request) error {
	if s.opts.OAuth == nil {
		return r.render("apps", appsPage{})
	}
	before, err := s.opts.OAuth.Remembered(r.Context(), r.current().Account.ID)
	if err != nil {
		return err
	}
	var page appsPage
	for _, b := range before {
		page.Before = append(page.Before, rememberedApp{b, appName(b.Client)})
	}
	sessions, err := s.opts.OAuth.Sessions(r.Context(), r.current().Account.ID)
	if err != nil {
		return err
	}
	apps := make([]connectedApp, len(sessions))
	for i, ses := range sessions {
		apps[i] = connectedApp{Session: ses, Name: appName(ses.Client), Groups: r.groups(ses.Permissions)}
		if origin := originOf(ses.Client.LogoURI); ses.Client.Trusted && origin != "" {
			apps[i].Logo = ses.Client.LogoURI
			r.images = append(r.images, origin)
		}
	}
	page.Connected = apps
	return r.render("apps", page)
}

// endApp sends an app away, or forgets one that could come back.
func (s *Site) endApp(r *request) error {
	if s.opts.OAuth == nil {
		return problem(http.StatusNotFound, "missing")
	}
	acct := r.current().Account.ID
	if client := r.PostForm.Get("client"); client != "" {
		if err := s.opts.OAuth.Forget(r.Context(), acct, client); err != nil {
			return err
		}
		return r.done("app-forgotten", "/account/apps")
	}
	if err := s.opts.OAuth.EndSession(r.Context(), acct, r.PostForm.Get("id")); err != nil {
		return err
	}
	return r.done("app-ended", "/account/apps")
}

// showAppPasswords lists the app passwords and shows the form for a new one.
func (s *Site) showAppPasswords(r *request) error { return r.appPasswords(&Form{}) }

func (r *request) appPasswords(f *Form) error {
	all, err := r.site.opts.Accounts.AppPasswords(r.Context(), r.current().Account.ID)
	if err != nil {
		return err
	}
	return r.renderForm("app-passwords", f, all)
}

// createAppPassword makes an app password and shows it once.
func (s *Site) createAppPassword(r *request) error {
	f := r.form()
	made, err := s.opts.Accounts.CreateAppPassword(r.Context(), r.current().Account, strings.TrimSpace(f.Value("name")), f.Value("privileged") != "")
	if err != nil {
		if !r.refusal(f, err) {
			return err
		}
		return r.appPasswords(f)
	}
	return r.render("app-password", made)
}

// revokeAppPassword ends an app password, and the apps that came in with it.
func (s *Site) revokeAppPassword(r *request) error {
	if err := s.opts.Accounts.RevokeAppPassword(r.Context(), r.current().Account.ID, r.PostForm.Get("name")); err != nil {
		return err
	}
	return r.done("app-password-revoked", "/account/app-passwords")
}

// invite is an invite code with those who came by it.
type invite struct {
	store.Invite
	Left   int64
	Guests []string // handles, or DIDs of those who are gone
}

// showInvites lists the codes that the account may give away.
func (s *Site) showInvites(r *request) error {
	if !s.opts.InviteRequired {
		return problem(http.StatusNotFound, "missing")
	}
	codes, err := s.opts.Accounts.AccountInvites(r.Context(), r.current().Account, true, true)
	if err != nil {
		return err
	}
	list := make([]invite, len(codes))
	for i, c := range codes {
		list[i] = invite{Invite: c, Left: max(0, c.AvailableUses-int64(len(c.Uses)))}
		for _, u := range c.Uses {
			name := string(u.UsedBy)
			if guest, err := s.opts.Accounts.Find(r.Context(), name); err == nil && guest.Handle != "" {
				name = "@" + string(guest.Handle)
			}
			list[i].Guests = append(list[i].Guests, name)
		}
	}
	return r.render("invites", list)
}
