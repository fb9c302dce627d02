package proxy

import (
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// Methods that have a default service of their own, in lower case: names are
// compared without regard to case.
const (
	ozonePrefix  = "tools.ozone."
	createReport = "com.atproto.moderation.createreport"
)

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
