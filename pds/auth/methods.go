package auth

import (
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

const methodCreateAccount = "com.atproto.server.createAccount"

// protectedNamespace are the methods of moderators. The moderation service speaks for itself: when its DID is an account here, this server's copy of its key makes
// nobody a moderator who has a session of that account, let alone an app password.
const protectedNamespace = "com.atproto.admin."

// protectedMethods change or reveal what only the owner of an account may. They are never called in somebody's name.
var protectedMethods = lowerSet(
	"com.atproto.identity.requestPlcOperationSignature",
	"com.atproto.identity.signPlcOperation",
	"com.atproto.identity.submitPlcOperation",
	"com.atproto.identity.updateHandle",
	"com.atproto.server.activateAccount",
	"com.atproto.server.confirmEmail",
	"com.atproto.server.createAppPassword",
	"com.atproto.server.deactivateAccount",
	"com.atproto.server.deleteAccount",
	"com.atproto.server.getAccountInviteCodes",
	"com.atproto.server.getSession",
	"com.atproto.server.listAppPasswords",
	"com.atproto.server.requestAccountDelete",
	"com.atproto.server.requestEmailConfirmation",
	"com.atproto.server.requestEmailUpdate",
	"com.atproto.server.revokeAppPassword",
	"com.atproto.server.updateEmail",
)

func lowerSet(methods ...string) map[string]bool {
	set := make(map[string]bool, len(methods))
	for _, m := range methods {
		set[strings.ToLower(m)] = true
	}
	return set
}

func sameMethod(a syntax.NSID, b string) bool { return strings.EqualFold(string(a), b) }

// IsProtected tells whether no service token is ever made for the method and no request for it passed on. Letter case does not count.
func IsProtected(method syntax.NSID) bool {
	m := strings.ToLower(string(method))
	return protectedMethods[m] || strings.HasPrefix(m, protectedNamespace)
}
