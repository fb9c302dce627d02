package web

import (
	"strings"
	"time"
)

// routes is the one list of pages. Rules are asked in their order: what costs us something comes after what keeps strangers out.
func (s *Site) routes() {
	s.page("GET /{$}", s.home)
	s.file("GET "+assetPath+"{name}", s.asset)
	s.file("GET "+facePath+"{did}", s.face)

	s.page("GET /account", s.overview, signedIn)
	s.page("GET /account/sign-in", s.showSignIn)
	s.page("POST /account/sign-in", s.signIn, limitAddress("sign-in", 60, 5*time.Minute))
	s.page("POST /account/sign-in/code", s.signInCode, limitAddress("sign-in code", 60, 5*time.Minute))
	s.page("POST /account/sign-out", s.signOut)
	s.page("GET /account/switch", s.showSwitch, signedIn)
	s.page("POST /account/switch", s.switchAccount, signedIn)
	s.page("GET "+confirmPath, s.showConfirm, signedIn)
	s.page("POST "+confirmPath, s.confirm, signedIn, limit("confirm", 20, 5*time.Minute))
	s.page("GET "+confirmFactorPath, s.showConfirmFactor, beforeCode)
	s.page("POST "+confirmFactorPath, s.confirmFactor, beforeCode, limit("sign-in code", 60, 5*time.Minute))

	s.page("GET /account/sign-up", s.showSignUp)
	s.page("POST /account/sign-up", s.signUp, limitAddress("sign-up form", 100, 5*time.Minute))
	s.page("GET /account/sign-up/handle", s.handleAvailable, limitAddress("handle", 200, 5*time.Minute))
	s.page("GET /account/reset", s.showReset)
	s.page("POST /account/reset", s.reset, limitAddress("reset", 15, time.Hour), limitAddress("reset day", 50, 24*time.Hour))
	s.page("GET /account/reset/code", s.showResetCode)
	s.page("POST /account/reset/code", s.resetCode, limitAddress("reset code", 50, 5*time.Minute))

	s.page("GET "+authorizePath, s.authorize, limit("authorize", 300, 5*time.Minute))
	s.page("POST "+authorizePath, s.decide, limit("decide", 100, 5*time.Minute))
	s.page("POST "+authorizePath+"/reactivate", s.reactivate, limit("reactivate", 30, time.Hour))

	s.accountRoutes()
	s.moveRoutes()
	s.passkeyRoutes()
	s.adminRoutes()

	s.page("/", s.missing)
}

// navItem is a line of the menu beside the pages of an account.
type navItem struct {
	Path, Key, Icon string // Key is that of the text
	Here            bool
}

const invitesPath = "/account/invites"

// accountPages is the menu, in its order.
var accountPages = []navItem{
	{Path: "/account", Key: "nav.overview", Icon: "home"},
	{Path: "/account/profile", Key: "nav.profile", Icon: "account"},
	{Path: "/account/handle", Key: "nav.handle", Icon: "at"},
	{Path: "/account/email", Key: "nav.email", Icon: "mail"},
	{Path: "/account/security", Key: "nav.security", Icon: "shield"},
	{Path: "/account/passkeys", Key: "nav.passkeys", Icon: "passkey"},
	{Path: "/account/apps", Key: "nav.apps", Icon: "app"},
	{Path: "/account/app-passwords", Key: "nav.app-passwords", Icon: "lock"},
	{Path: "/account/devices", Key: "nav.devices", Icon: "device"},
	{Path: invitesPath, Key: "nav.invites", Icon: "plus"},
	{Path: "/account/keys", Key: "nav.keys", Icon: "key"},
	{Path: "/account/data", Key: "nav.data", Icon: "download"},
	{Path: awayPath, Key: "nav.move", Icon: "move"},
	{Path: "/account/close", Key: "nav.close", Icon: "leave"},
}

// navigation is the menu for those who are signed in. The pages that lead there have none.
func (r *request) navigation() []navItem {
	if r.current() == nil {
		return nil
	}
	if items, ok := r.adminNavigation(); ok {
		return items
	}
	var items []navItem
	found := false
	for _, item := range accountPages {
		if item.Path == invitesPath && !r.site.opts.InviteRequired {
			continue
		}
		item.Here = item.Path == r.URL.Path || item.Path != "/account" && strings.HasPrefix(r.URL.Path, item.Path+"/")
		found = found || item.Here
		items = append(items, item)
	}
	if !found {
		return nil
	}
	return items
}
