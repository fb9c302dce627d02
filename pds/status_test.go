package pds

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/account"
	"perch/pds/store"
)

// What a method answers, by the status of the account that it is about, to each kind of caller. "ok" is anything that is not a refusal on account
// of who calls or of the status: the inputs here are mostly no good, so that nothing happens.
type byStatus struct{ active, deactivated, suspended, takendown, deleted string }

func (b byStatus) of(status string) string {
	switch status {
	case store.StatusDeactivated:
		return b.deactivated
	case store.StatusSuspended:
		return b.suspended
	case store.StatusTakendown:
		return b.takendown
	case store.StatusDeleted:
		return b.deleted
	}
	return b.active
}

func always(outcome string) byStatus { return byStatus{outcome, outcome, outcome, outcome, outcome} }

// class is how a method treats callers: the account's owner, signed in before its status changed; the owner of an account that is shut out, signed
// in to leave; somebody else, signed in; nobody; and the admin.
type class struct{ owner, leaving, other, nobody, admin byStatus }

const (
	none  = "AuthMissing"
	basic = "AuthenticationRequired"
	scope = "InvalidToken"
	ended = "ExpiredToken"
	taken = "AccountTakedown"
	off   = "AccountDeactivated"
	gone  = "AccountNotFound"
)

var (
	ok = always("ok")

	open = class{ok, ok, ok, ok, ok}
	// asSession wants an access token: of an active account; of a deactivated one too; of one that is shut out too.
	asSession     = class{byStatus{"ok", off, taken, taken, gone}, always(scope), ok, always(none), always(scope)}
	whenOff       = class{byStatus{"ok", "ok", taken, taken, gone}, always(scope), ok, always(none), always(scope)}
	whenLeaving   = class{byStatus{"ok", "ok", ended, ended, gone}, ok, ok, always(none), always(scope)}
	toReport      = class{byStatus{"ok", off, ended, ended, gone}, ok, ok, always(none), always(scope)}
	asRefresh     = class{always(scope), always(scope), always(scope), always(none), always(scope)}
	asAdmin       = class{always(basic), always(basic), always(basic), always(basic), ok}
	asModerator   = class{always("UntrustedIss"), always("UntrustedIss"), always("UntrustedIss"), always(basic), ok}
	shownActive   = byStatus{"ok", "RepoDeactivated", "RepoSuspended", "RepoTakendown", "RepoNotFound"}
	publicRecords = class{shownActive, shownActive, shownActive, shownActive, shownActive}
	// repository is shown to all while the account is active, and always to its owner and the admin.
	repository = class{
		byStatus{"ok", "ok", ended, ended, gone}, ok, shownActive, shownActive, byStatus{"ok", "ok", "ok", "ok", "RepoNotFound"},
	}
	oneRecord = byStatus{"ok", "RecordNotFound", "RecordNotFound", "RecordNotFound", "RecordNotFound"}
	byHandle  = byStatus{"ok", "HandleNotFound", "HandleNotFound", "HandleNotFound", "HandleNotFound"}
)

// methodClasses is every method of this server. One that is not here fails the test: say how it treats whom.
var methodClasses = map[string]class{
	"com.atproto.server.describeServer":           open,
	"com.atproto.server.createAccount":            open,
	"com.atproto.server.createSession":            open,
	"com.atproto.server.refreshSession":           asRefresh,
	"com.atproto.server.deleteSession":            asRefresh,
	"com.atproto.server.getSession":               whenOff,
	"com.atproto.server.createAppPassword":        whenOff,
	"com.atproto.server.listAppPasswords":         whenOff,
	"com.atproto.server.revokeAppPassword":        whenOff,
	"com.atproto.server.createInviteCode":         asAdmin,
	"com.atproto.server.createInviteCodes":        asAdmin,
	"com.atproto.server.getAccountInviteCodes":    whenOff,
	"com.atproto.server.getServiceAuth":           whenLeaving,
	"com.atproto.server.checkAccountStatus":       whenOff,
	"com.atproto.server.requestPasswordReset":     open,
	"com.atproto.server.resetPassword":            open,
	"com.atproto.server.requestEmailConfirmation": whenOff,
	"com.atproto.server.confirmEmail":             whenOff,
	"com.atproto.server.requestEmailUpdate":       whenOff,
	"com.atproto.server.updateEmail":              whenOff,
	"com.atproto.server.requestAccountDelete":     whenOff,
	"com.atproto.server.deleteAccount":            open,
	"com.atproto.server.deactivateAccount":        whenLeaving,
	"com.atproto.server.activateAccount":          whenOff,
	"com.atproto.server.reserveSigningKey":        open,
	"app.bsky.actor.getPreferences":               whenLeaving,
	"app.bsky.actor.putPreferences":               whenOff,

	"com.atproto.repo.createRecord":     asSession,
	"com.atproto.repo.putRecord":        asSession,
	"com.atproto.repo.deleteRecord":     asSession,
	"com.atproto.repo.applyWrites":      asSession,
	"com.atproto.repo.uploadBlob":       whenOff,
	"com.atproto.repo.listMissingBlobs": whenOff,
	"com.atproto.repo.getRecord":        {oneRecord, oneRecord, oneRecord, oneRecord, oneRecord},
	"com.atproto.repo.listRecords":      publicRecords,
	"com.atproto.repo.describeRepo":     publicRecords,

	"com.atproto.sync.getRepo":               repository,
	"com.atproto.sync.getCheckout":           repository,
	"com.atproto.sync.getRecord":             repository,
	"com.atproto.sync.getBlocks":             repository,
	"com.atproto.sync.getLatestCommit":       repository,
	"com.atproto.sync.getHead":               repository,
	"com.atproto.sync.getBlob":               repository,
	"com.atproto.sync.listBlobs":             repository,
	"com.atproto.sync.getRepoStatus":         open, // status and identity may be told
	"com.atproto.sync.listRepos":             open,
	"com.atproto.sync.listReposByCollection": open,
	"com.atproto.sync.subscribeRepos":        open,

	"com.atproto.identity.resolveHandle":   {byHandle, byHandle, byHandle, byHandle, byHandle},
	"com.atproto.identity.resolveDid":      open,
	"com.atproto.identity.resolveIdentity": open,
	"com.atproto.identity.refreshIdentity": whenOff,

	"com.atproto.repo.importRepo":                       whenOff,
	"com.atproto.identity.updateHandle":                 whenOff,
	"com.atproto.identity.getRecommendedDidCredentials": whenLeaving,
	"com.atproto.identity.requestPlcOperationSignature": whenLeaving,
	"com.atproto.identity.signPlcOperation":             whenLeaving,
	"com.atproto.identity.submitPlcOperation":           whenOff,

	"com.atproto.admin.getAccountInfo":          asModerator,
	"com.atproto.admin.getAccountInfos":         asModerator,
	"com.atproto.admin.searchAccounts":          asModerator,
	"com.atproto.admin.getSubjectStatus":        asModerator,
	"com.atproto.admin.updateSubjectStatus":     asModerator,
	"com.atproto.admin.getInviteCodes":          asModerator,
	"com.atproto.admin.disableInviteCodes":      asModerator,
	"com.atproto.admin.enableAccountInvites":    asModerator,
	"com.atproto.admin.disableAccountInvites":   asModerator,
	"com.atproto.admin.sendEmail":               asModerator,
	"com.atproto.admin.updateAccountEmail":      asAdmin,
	"com.atproto.admin.updateAccountHandle":     asAdmin,
	"com.atproto.admin.updateAccountPassword":   asAdmin,
	"com.atproto.admin.updateAccountSigningKey": asAdmin,
	"com.atproto.admin.deleteAccount":           asAdmin,
	"com.atproto.temp.checkHandleAvailability":  open,

	"com.atproto.moderation.createReport":  toReport,
	"app.bsky.actor.getProfile":            asSession,
	"app.bsky.actor.getProfiles":           asSession,
	"app.bsky.feed.getTimeline":            asSession,
	"app.bsky.feed.getAuthorFeed":          asSession,
	"app.bsky.feed.getActorLikes":          asSession,
	"app.bsky.feed.getPostThread":          asSession,
	"app.bsky.feed.getFeed":                asSession,
	"app.bsky.notification.registerPush":   asSession,
	"app.bsky.notification.unregisterPush": asSession,
}

// refusals are the names of errors that say who may not, or that the account is not shown.
var refusals = map[string]bool{
	none: true, basic: true, scope: true, ended: true, taken: true, off: true, gone: true, "UntrustedIss": true,
	"RepoDeactivated": true, "RepoSuspended": true, "RepoTakendown": true, "RepoNotFound": true, "HandleNotFound": true, "RecordNotFound": true,
}

// statusWorld has an account that goes through all statuses.
type statusWorld struct {
	*network
	t       *testing.T
	subject *client
	other   *client
	params  url.Values // for every query; those that it does not know it ignores
	calls   int
}

func TestEveryMethodInEveryStatus(t *testing.T) {
	n := startNetwork(t, func(c *Config) {
		c.AppViewURL, c.AppViewDID = "http://127.0.0.1:1", "did:web:appview.test"
		c.ModServiceURL, c.ModServiceDID = "http://127.0.0.1:1", "did:web:mod.test"
	})
	w := &statusWorld{network: n, t: t, subject: n.signUp(t, "alice"), other: n.signUp(t, "bob")}
	ref := w.subject.upload("image/png", png("x"))
	post := w.subject.post("com.atproto.repo.createRecord", map[string]any{
		"repo": w.subject.did, "collection": postCollection, "record": imagePost(ref),
	}).ok()
	w.params = url.Values{
		"did": {w.subject.did}, "dids": {w.subject.did}, "repo": {w.subject.did}, "identifier": {w.subject.did}, "handle": {w.subject.handle},
		"collection": {postCollection}, "rkey": {syntax.ATURI(post.str("uri")).RecordKey().String()}, "cid": {object(ref).str("ref.$link")},
		"cids": {post.str("cid")}, "aud": {"did:web:x.example.com"}, "lxm": {createAccountNSID},
		"actor": {w.subject.did}, "actors": {w.subject.did}, "uri": {post.str("uri")}, "feed": {"at://" + w.subject.did + "/app.bsky.feed.generator/x"},
	}
	methods := n.srv.mux.Methods()
	for _, status := range []string{"", store.StatusDeactivated, store.StatusSuspended, store.StatusTakendown, store.StatusDeleted} {
		for _, method := range methods {
			c, known := methodClasses[method]
			if !known {
				if status == "" {
					t.Errorf("%s is not in the table of what methods do in each status", method)
				}
				continue
			}
			w.check(method, status, c)
		}
	}
	for method := range methodClasses {
		if !slices.Contains(methods, method) {
			t.Errorf("%s is in the table and not a method", method)
		}
	}
}

func (w *statusWorld) check(method, status string, c class) {
	w.t.Helper()
	own, leaving := w.enter(status)
	other := w.session(w.other.account(), false)
	callers := []struct {
		name, header string
		want         byStatus
	}{
		{"owner", own, c.owner}, {"leaving owner", leaving, c.leaving}, {"another", other, c.other}, {"nobody", "", c.nobody},
		{"admin", "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:admin-pass")), c.admin},
	}
	for _, caller := range callers {
		if caller.name == "leaving owner" && leaving == "" {
			continue
		}
		if got := w.outcome(method, caller.header); got != caller.want.of(status) {
			w.t.Errorf("%s of a %q account, asked by %s: %s, want %s", method, status, caller.name, got, caller.want.of(status))
		}
	}
}

// enter brings the account into the status. It returns a token of a session from before, and, for an account that is shut out, one to leave with.
func (w *statusWorld) enter(status string) (own, leaving string) {
	w.t.Helper()
	ctx, svc := w.t.Context(), w.srv.accounts
	acct, err := w.srv.store.AccountByDID(ctx, syntax.DID(w.subject.did))
	if err != nil {
		w.t.Fatal(err)
	}
	if status == store.StatusDeleted && !acct.DeletedAt.IsZero() {
		return w.subject.token, ""
	}
	if !acct.Active() {
		w.must(svc.Restore(ctx, acct.ID, nil))
		w.must(svc.Activate(ctx, acct.ID, nil))
		acct, _ = w.srv.store.AccountByID(ctx, acct.ID)
	}
	own = w.session(acct, false)
	switch status {
	case store.StatusDeactivated:
		w.must(svc.Deactivate(ctx, acct.ID, time.Time{}, nil))
	case store.StatusSuspended:
		w.must(svc.Suspend(ctx, acct.ID, true, nil))
	case store.StatusTakendown:
		w.must(svc.Takedown(ctx, acct.ID, "mod-1", nil))
	case store.StatusDeleted:
		w.must(svc.Delete(ctx, acct.ID, nil))
		w.subject.token = own
	}
	if status == store.StatusSuspended || status == store.StatusTakendown {
		acct, _ = w.srv.store.AccountByID(ctx, acct.ID)
		leaving = w.session(acct, true)
	}
	return own, leaving
}

func (w *statusWorld) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *statusWorld) session(acct *store.Account, leaving bool) string {
	w.t.Helper()
	ses, err := w.srv.accounts.StartSession(w.t.Context(), account.Login{Account: acct}, leaving)
	w.must(err)
	tokens, err := w.srv.auth.Tokens(ses)
	w.must(err)
	return "Bearer " + tokens.Access
}

// outcome calls a method and says whether it was refused, by what name.
func (w *statusWorld) outcome(method, authorization string) string {
	w.t.Helper()
	lex, err := w.srv.lexicons.Method(method)
	w.must(err)
	var req *http.Request
	if lex.InputEncoding() == "" && !strings.Contains(string(lex.Kind), "procedure") {
		q := maps.Clone(w.params)
		if method == "com.atproto.repo.getRecord" {
			q.Del("cid") // which is a blob's
		}
		req, err = http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.url+"/xrpc/"+method+"?"+q.Encode(), nil)
	} else {
		req, err = http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.url+"/xrpc/"+method, bytes.NewReader(nil))
	}
	w.must(err)
	w.calls++ // each from another address, because guessing at the admin password has a limit
	req.Header.Set("X-Forwarded-For", fmt.Sprintf("198.51.%d.%d", w.calls>>8, w.calls&0xff))
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := http.DefaultClient.Do(req)
	w.must(err)
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return "ok"
	}
	var fault struct{ Error, Message string }
	if err := json.NewDecoder(resp.Body).Decode(&fault); err != nil {
		w.t.Fatalf("%s: status %d, no error in JSON: %v", method, resp.StatusCode, err)
	}
	if method == "com.atproto.repo.getRecord" && fault.Error == "UpstreamFailure" {
		return "RecordNotFound" // not here: the AppView was asked
	}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500 && fault.Error != "UpstreamFailure" {
		w.t.Errorf("%s: %d %s: %s", method, resp.StatusCode, fault.Error, fault.Message)
	}
	if refusals[fault.Error] {
		return fault.Error
	}
	return "ok"
}
