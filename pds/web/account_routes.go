package web

import (
	"fmt"
	"net/http"
	"time"
)

// accountRoutes is the list of the pages on which people look after their account. What could harm it is sensitive: before the page, so that
// nobody fills in a form in vain, and before what the form does.
func (s *Site) accountRoutes() {
	s.page("GET /account/profile", s.showProfile, signedIn)
	s.filePage("POST /account/profile", s.setProfile, signedIn, limit("profile", 60, time.Hour))
	for _, kind := range pictureKinds {
		s.page("GET "+picturePath(kind), s.showPicture(kind), signedIn)
	}

	s.accountPage("/account/handle", s.showHandle, map[string]handler{"service": s.serviceHandle, "check": s.checkOwnHandle, "own": s.ownHandle})
	s.accountPage("/account/email", s.showEmail, map[string]handler{
		"send": s.sendConfirmation, "confirm": s.confirmEmail, "ask": s.askEmailChange, "change": s.changeEmail,
	})
	s.accountPage("/account/security", s.showSecurity, map[string]handler{
		"password": s.changePassword, "mail-on": s.mailCodesOn, "mail-ask": s.askMailCodesOff, "mail-off": s.mailCodesOff,
		"app": s.beginTOTP, "renew": s.renewRecovery, "remove": s.removeFactors,
	})
	s.accountPage("/account/security/app", s.showTOTP, map[string]handler{"confirm": s.confirmTOTP})
	s.accountPage("/account/app-passwords", s.showAppPasswords, map[string]handler{"create": s.createAppPassword, "revoke": s.revokeAppPassword})
	s.accountPage("/account/keys", s.showKeys, map[string]handler{"ask": s.askKeyCode, "finish": s.changeKeys, "dismiss": s.dismissAlerts})
	s.accountPage("/account/close", s.showClose, map[string]handler{
		"deactivate": s.deactivate, "activate": s.activate, "ask": s.askDelete, "delete": s.deleteAccount,
	})

	s.page("GET /account/apps", s.showApps, signedIn)
	s.page("POST /account/apps", s.endApp, signedIn, limit("apps", 100, time.Hour))
	s.page("GET /account/devices", s.showDevices, signedIn)
	s.page("POST /account/devices", actions(map[string]handler{
		"device": s.endDevice, "session": s.endSession, "others": s.signOutOthers,
	}), signedIn, limit("devices", 100, time.Hour))
	s.page("GET /account/invites", s.showInvites, signedIn)

	s.page("GET /account/data", s.showData, sensitive)
	for _, kind := range []DownloadKind{DownloadAll, DownloadRepo} {
		s.page("GET /account/data/"+string(kind), s.download(kind), sensitiveFor("/account/data"), limit("download", 20, time.Hour))
	}
}

// accountPage registers a page with several forms, all of which are sensitive.
func (s *Site) accountPage(path string, show handler, forms map[string]handler) {
	s.page("GET "+path, show, sensitive)
	s.page("POST "+path, actions(forms), sensitive, limit("form "+path, 100, time.Hour))
}

// actions takes what the forms of a page send. Each says in a field "do" which one it is.
func actions(forms map[string]handler) handler {
	return func(r *request) error {
		h := forms[r.PostForm.Get("do")]
		if h == nil {
			return problem(http.StatusBadRequest, "form")
		}
		return h(r)
	}
}

// Limits that a page shares with the method of the API that does the same.
const (
	updateHandleNSID  = "com.atproto.identity.updateHandle"
	confirmEmailNSID  = "com.atproto.server.requestEmailConfirmation"
	updateEmailNSID   = "com.atproto.server.requestEmailUpdate"
	deactivateNSID    = "com.atproto.server.deactivateAccount"
	activateNSID      = "com.atproto.server.activateAccount"
	deleteAccountNSID = "com.atproto.server.requestAccountDelete"
	signPLCNSID       = "com.atproto.identity.requestPlcOperationSignature"
)

// takeMail counts a mail against those that an account can have sent to itself.
func (r *request) takeMail(nsid string) error {
	if err := r.takeShared(nsid, 5, time.Hour); err != nil {
		return err
	}
	return r.takeShared(nsid, 15, 24*time.Hour)
}

// takeShared counts the request against the limit of a method. The name is the one that the method's limit has.
func (r *request) takeShared(nsid string, points int, window time.Duration) error {
	return r.take(Limit{Name: fmt.Sprintf("%s %d/%s", nsid, points, window), Points: points, Window: window, Key: string(r.current().Account.DID)})
}
