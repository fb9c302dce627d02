package proxy

import (
	"net/http"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// protected are the methods by which an account is managed. They are never
// passed on, nor are tokens made for them. Lower case: a name is compared
// without regard to case, or another spelling would slip through.
var protected = lowerSet(
	"com.atproto.admin.sendEmail",
	"com.atproto.identity.requestPlcOperationSignature",
	"com.atproto.identity.signPlcOperation",
	"com.atproto.identity.updateHandle",
	"com.atproto.server.activateAccount",
	"com.atproto.server.confirmEmail",
	"com.atproto.server.createAppPassword",
	"com.atproto.server.deactivateAccount",
	"com.atproto.server.getAccountInviteCodes",
	"com.atproto.server.getSession",
	"com.atproto.server.listAppPasswords",
	"com.atproto.server.requestAccountDelete",
	"com.atproto.server.requestEmailConfirmation",
	"com.atproto.server.requestEmailUpdate",
	"com.atproto.server.revokeAppPassword",
	"com.atproto.server.updateEmail",
)

const (
	createAccount = "com.atproto.server.createaccount"
	chatPrefix    = "chat.bsky."
	ozonePrefix   = "tools.ozone."
	createReport  = "com.atproto.moderation.createreport"
)

func lowerSet(names ...string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, n := range names {
		set[strings.ToLower(n)] = true
	}
	return set
}

// Protected says whether method is one that is never passed on and for which no
// service token is made.
func Protected(method string) bool {
	return protected[strings.ToLower(method)]
}

// Privileged says whether method needs a full session or an app password with
// access to private messages: all of chat, and moving the account elsewhere.
func Privileged(method string) bool {
	m := strings.ToLower(method)
	return m == createAccount || strings.HasPrefix(m, chatPrefix)
}

// CheckMethod returns the error for a protected method, or for a privileged one
// when the caller is not. It holds for proxying and for getServiceAuth alike.
func CheckMethod(method string, privileged bool) error {
	if Protected(method) || (!privileged && Privileged(method)) {
		return &Error{Status: http.StatusBadRequest, Name: "InvalidToken", Message: "Bad token method"}
	}
	return nil
}

// methodOf reads the NSID out of a path, which must be /xrpc/<NSID> exactly.
func methodOf(path string) (syntax.NSID, error) {
	name, ok := strings.CutPrefix(path, "/xrpc/")
	if !ok {
		return "", badRequest("invalid xrpc path")
	}
	nsid, err := syntax.ParseNSID(name)
	if err != nil {
		return "", badRequest("invalid xrpc path")
	}
	return nsid, nil
}
