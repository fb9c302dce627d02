package pds

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/account"
	"perch/pds/auth"
	"perch/pds/oauthclient"
	"perch/pds/readafter"
	"perch/xrpc"
)

// routes registers every method and page. Methods that stand here nowhere go to the proxy.
func (s *Server) routes() {
	s.serverRoutes()
	s.repoRoutes()
	s.syncRoutes()
	s.identityRoutes()
	s.adminRoutes()
	s.appViewRoutes()
	s.pages()
	s.webPages()
	s.oauthEndpoints()
	s.operatorPages()
}

func (s *Server) serverRoutes() {
	m, a := s.mux, s.auth
	xrpc.Query(m, "com.atproto.server.describeServer", nil, s.describeServer)
	xrpc.Procedure(m, createAccountNSID, a.OptionalService(createAccountNSID), s.createAccount, limit(100, 5*time.Minute))
	xrpc.Procedure(m, "com.atproto.server.createSession", nil, s.createSession, signInLimits())
	xrpc.Procedure(m, "com.atproto.server.refreshSession", a.Refresh(), s.refreshSession)
	xrpc.Query(m, "com.atproto.server.getSession", a.Standard(auth.Deactivated), s.getSession)
	xrpc.Procedure(m, "com.atproto.server.deleteSession", a.RefreshExpired(), s.deleteSession)
	xrpc.Procedure(m, "com.atproto.server.createAppPassword", a.Full(auth.Deactivated), s.createAppPassword)
	xrpc.Query(m, "com.atproto.server.listAppPasswords", a.Full(auth.Deactivated), s.listAppPasswords)
	xrpc.Procedure(m, "com.atproto.server.revokeAppPassword", a.Full(auth.Deactivated), s.revokeAppPassword)
	xrpc.Procedure(m, "com.atproto.server.createInviteCode", a.Admin(), audited(s, s.createInviteCode))
	xrpc.Procedure(m, "com.atproto.server.createInviteCodes", a.Admin(), audited(s, s.createInviteCodes))
	xrpc.Query(m, "com.atproto.server.getAccountInviteCodes", a.Full(auth.Deactivated), s.getAccountInviteCodes)
	xrpc.Query(m, "com.atproto.server.getServiceAuth", a.Standard(auth.Takendown, auth.Deactivated), s.getServiceAuth)
	xrpc.Query(m, "com.atproto.server.checkAccountStatus", a.Standard(auth.Deactivated), s.checkAccountStatus)
	xrpc.Procedure(m, "com.atproto.server.requestPasswordReset", nil, s.requestPasswordReset, limit(15, time.Hour), limit(50, 24*time.Hour), addressLimit())
	xrpc.Procedure(m, "com.atproto.server.resetPassword", nil, s.resetPassword, limit(50, 5*time.Minute))
	xrpc.Procedure(m, "com.atproto.server.requestEmailConfirmation", a.With(auth.ConfirmEmail, auth.Deactivated), s.requestEmailConfirmation, mailLimits())
	xrpc.Procedure(m, "com.atproto.server.confirmEmail", a.With(auth.ConfirmEmail, auth.Deactivated), s.confirmEmail, codeLimit())
	xrpc.Procedure(m, "com.atproto.server.requestEmailUpdate", a.Full(auth.Deactivated), s.requestEmailUpdate, mailLimits())
	xrpc.Procedure(m, "com.atproto.server.updateEmail", a.Full(auth.Deactivated), s.updateEmail, codeLimit())
	xrpc.Procedure(m, "com.atproto.server.requestAccountDelete", a.Full(auth.Deactivated), s.requestAccountDelete, mailLimits())
	xrpc.Procedure(m, "com.atproto.server.deleteAccount", nil, s.deleteAccount, limit(50, 5*time.Minute), deletionLimits())
	xrpc.Procedure(m, "com.atproto.server.deactivateAccount", a.With(auth.ChangeStatus, auth.Takendown, auth.Deactivated), s.deactivateAccount, statusLimit())
	xrpc.Procedure(m, "com.atproto.server.activateAccount", a.With(auth.ChangeStatus, auth.Deactivated), s.activateAccount, statusLimit())
	xrpc.Procedure(m, "com.atproto.server.reserveSigningKey", nil, s.reserveSigningKey, limit(100, 5*time.Minute))
	xrpc.Query(m, "app.bsky.actor.getPreferences", a.Standard(auth.Takendown, auth.Deactivated), s.getPreferences)
	xrpc.Procedure(m, "app.bsky.actor.putPreferences", a.Standard(auth.Deactivated), s.putPreferences)
}

func (s *Server) repoRoutes() {
	m, a := s.mux, s.auth
	body := xrpc.WithBodyLimit(maxRecordJSON)
	xrpc.Procedure(m, "com.atproto.repo.createRecord", a.Standard(), s.createRecord, body, writeLimits(costCreate))
	xrpc.Procedure(m, "com.atproto.repo.putRecord", a.Standard(), s.putRecord, body, writeLimits(costUpdate))
	xrpc.Procedure(m, "com.atproto.repo.deleteRecord", a.Standard(), s.deleteRecord, writeLimits(costDelete))
	xrpc.Procedure(m, applyWritesNSID, a.Standard(), s.applyWrites, body, batchLimits())
	xrpc.Stream(m, "com.atproto.repo.uploadBlob", a.StandardOrService("com.atproto.repo.uploadBlob", auth.Deactivated, auth.Reusable), s.uploadBlob,
		uploadLimits(), xrpc.WithBodyLimit(-1))
	xrpc.Stream(m, "com.atproto.repo.importRepo", a.With(auth.ImportRepo, auth.Deactivated), s.importRepo, xrpc.WithBodyLimit(s.cfg.MaxRepoImportSize),
		limit(100, time.Hour))
	xrpc.Query(m, "com.atproto.repo.listMissingBlobs", a.Standard(auth.Deactivated), s.listMissingBlobs)
	xrpc.Query(m, "com.atproto.repo.getRecord", nil, s.getRecord)
	xrpc.Query(m, "com.atproto.repo.listRecords", nil, s.listRecords)
	xrpc.Query(m, "com.atproto.repo.describeRepo", nil, s.describeRepo)
}

func (s *Server) syncRoutes() {
	m, a := s.mux, s.auth
	xrpc.Stream(m, "com.atproto.sync.getRepo", a.Optional(), s.getRepo, limit(6000, 5*time.Minute), xrpc.WithoutGlobalLimit())
	xrpc.Stream(m, "com.atproto.sync.getCheckout", a.Optional(), s.getRepo, limit(6000, 5*time.Minute))
	xrpc.Stream(m, "com.atproto.sync.getRecord", a.Optional(), s.getSyncRecord)
	xrpc.Stream(m, "com.atproto.sync.getBlocks", a.Optional(), s.getBlocks, limit(300, 5*time.Minute))
	xrpc.Query(m, "com.atproto.sync.getLatestCommit", a.Optional(), s.getLatestCommit)
	xrpc.Query(m, "com.atproto.sync.getHead", a.Optional(), s.getHead)
	xrpc.Query(m, "com.atproto.sync.getRepoStatus", nil, s.getRepoStatus)
	xrpc.Query(m, "com.atproto.sync.listRepos", nil, s.listRepos)
	xrpc.Query(m, "com.atproto.sync.listReposByCollection", nil, s.listReposByCollection)
	xrpc.Stream(m, "com.atproto.sync.getBlob", a.Optional(), s.getBlob)
	xrpc.Query(m, "com.atproto.sync.listBlobs", a.Optional(), s.listBlobs)
	xrpc.Stream(m, "com.atproto.sync.subscribeRepos", nil, s.firehose.Subscribe)
}

func (s *Server) identityRoutes() {
	m, a := s.mux, s.auth
	xrpc.Query(m, "com.atproto.identity.resolveHandle", nil, s.resolveHandle)
	xrpc.Query(m, "com.atproto.identity.resolveDid", nil, s.resolveDID)
	xrpc.Query(m, "com.atproto.identity.resolveIdentity", nil, s.resolveIdentity)
	xrpc.Procedure(m, "com.atproto.identity.refreshIdentity", a.Standard(auth.Deactivated), s.refreshIdentity, limit(100, 5*time.Minute))
	xrpc.Procedure(m, "com.atproto.identity.updateHandle", a.With(auth.ChangeHandle, auth.Deactivated), s.updateHandle, xrpc.WithRateLimit(
		xrpc.RateLimit{Points: 10, Window: 5 * time.Minute, Key: byAccount}, xrpc.RateLimit{Points: 50, Window: 24 * time.Hour, Key: byAccount}))
	xrpc.Query(m, "com.atproto.identity.getRecommendedDidCredentials", a.Standard(auth.Takendown, auth.Deactivated), s.getRecommendedDidCredentials)
	xrpc.Procedure(m, "com.atproto.identity.requestPlcOperationSignature", a.With(auth.ChangeDID, auth.Takendown, auth.Deactivated), s.requestPLCOperationSignature, mailLimits())
	xrpc.Procedure(m, "com.atproto.identity.signPlcOperation", a.With(auth.ChangeDID, auth.Takendown, auth.Deactivated), s.signPLCOperation, codeLimit())
	xrpc.Procedure(m, "com.atproto.identity.submitPlcOperation", a.With(auth.SubmitDID, auth.Deactivated), s.submitPLCOperation)
}

// adminRoutes are the methods of the operator, and those that the moderation service may call too.
func (s *Server) adminRoutes() {
	m, admin := s.mux, s.auth.Admin()
	mod := func(method string) auth.Access { return s.auth.Moderator(syntax.NSID(method)) }
	xrpc.Query(m, "com.atproto.admin.getAccountInfo", mod("com.atproto.admin.getAccountInfo"), s.getAccountInfo)
	xrpc.Query(m, "com.atproto.admin.getAccountInfos", mod("com.atproto.admin.getAccountInfos"), s.getAccountInfos)
	xrpc.Query(m, "com.atproto.admin.searchAccounts", mod("com.atproto.admin.searchAccounts"), s.searchAccounts)
	xrpc.Query(m, "com.atproto.admin.getSubjectStatus", mod("com.atproto.admin.getSubjectStatus"), s.getSubjectStatus)
	xrpc.Procedure(m, "com.atproto.admin.updateSubjectStatus", mod("com.atproto.admin.updateSubjectStatus"), audited(s, s.updateSubjectStatus))
	xrpc.Query(m, "com.atproto.admin.getInviteCodes", mod("com.atproto.admin.getInviteCodes"), s.getInviteCodes)
	xrpc.Procedure(m, "com.atproto.admin.disableInviteCodes", mod("com.atproto.admin.disableInviteCodes"), audited(s, s.disableInviteCodes))
	xrpc.Procedure(m, "com.atproto.admin.enableAccountInvites", mod("com.atproto.admin.enableAccountInvites"), s.enableAccountInvites)
	xrpc.Procedure(m, "com.atproto.admin.disableAccountInvites", mod("com.atproto.admin.disableAccountInvites"), audited(s, s.disableAccountInvites))
	xrpc.Procedure(m, "com.atproto.admin.sendEmail", mod("com.atproto.admin.sendEmail"), audited(s, s.sendEmail))
	xrpc.Procedure(m, "com.atproto.admin.updateAccountEmail", admin, audited(s, s.updateAccountEmail))
	xrpc.Procedure(m, "com.atproto.admin.updateAccountHandle", admin, audited(s, s.updateAccountHandle))
	xrpc.Procedure(m, "com.atproto.admin.updateAccountPassword", admin, audited(s, s.updateAccountPassword))
	xrpc.Procedure(m, "com.atproto.admin.updateAccountSigningKey", admin, audited(s, s.updateAccountSigningKey))
	xrpc.Procedure(m, "com.atproto.admin.deleteAccount", admin, audited(s, s.adminDeleteAccount))
	xrpc.Query(m, "com.atproto.temp.checkHandleAvailability", nil, s.checkHandleAvailability, limit(100, 5*time.Minute))
}

// appViewRoutes are the methods of other services that need something done here; all others are passed on as they are. Without an
// AppView there is nothing to do for its methods.
func (s *Server) appViewRoutes() {
	m, a := s.mux, s.auth
	xrpc.Stream(m, createReportNSID, a.Standard(auth.Takendown), s.createReport)
	if s.cfg.AppViewURL == "" {
		return
	}
	xrpc.Stream(m, "app.bsky.actor.getProfile", a.Standard(), s.overlaid(overProfile))
	xrpc.Stream(m, "app.bsky.actor.getProfiles", a.Standard(), s.overlaid(overProfiles))
	xrpc.Stream(m, "app.bsky.feed.getTimeline", a.Standard(), s.overlaid((*readafter.Overlay).Timeline))
	xrpc.Stream(m, "app.bsky.feed.getAuthorFeed", a.Standard(), s.overlaid((*readafter.Overlay).AuthorFeed))
	xrpc.Stream(m, "app.bsky.feed.getActorLikes", a.Standard(), s.overlaid(overLikes))
	xrpc.Stream(m, "app.bsky.feed.getPostThread", a.Standard(), s.overlaid((*readafter.Overlay).Thread))
	xrpc.Stream(m, "app.bsky.feed.getFeed", a.Standard(), s.getFeed)
	xrpc.Procedure(m, "app.bsky.notification.registerPush", a.Standard(), s.registerPush)
	xrpc.Procedure(m, "app.bsky.notification.unregisterPush", a.Standard(), s.registerPush)
}

func (s *Server) pages() {
	m := s.mux
	m.PageFunc(http.MethodGet, "/robots.txt", s.robots)
	m.PageFunc(http.MethodGet, "/xrpc/_health", s.health, xrpc.WithCORS())
	m.PageFunc(http.MethodGet, "/tls-check", s.tlsCheck)
	m.PageFunc(http.MethodGet, "/.well-known/did.json", s.didDocument, xrpc.WithCORS())
	m.PageFunc(http.MethodGet, "/.well-known/atproto-did", s.atprotoDID, xrpc.WithCORS())
	m.PageFunc(http.MethodGet, oauthclient.MetadataPath, s.clientMetadata, xrpc.WithCORS())
}

// Points that a write costs of those that an account has, as in the reference.
const (
	costCreate = 3
	costUpdate = 2
	costDelete = 1

	writesPerHour = 5000
	writesPerDay  = 35_000
)

// limit allows so many requests of a method in a window to each address.
func limit(points int, window time.Duration) xrpc.Option {
	return xrpc.WithRateLimit(xrpc.RateLimit{Points: points, Window: window})
}

// signInLimits bound how fast passwords of one account can be tried from one address.
func signInLimits() xrpc.Option {
	return guessLimits(func(input any) string { return input.(*createSessionInput).Identifier })
}

// deletionLimits are signInLimits for the other door at which a password can be tried.
func deletionLimits() xrpc.Option {
	return guessLimits(func(input any) string { return input.(*deleteAccountInput).DID.String() })
}

func guessLimits(identifier func(input any) string) xrpc.Option {
	key := func(ctx context.Context, _ *http.Request, input any) string {
		return account.Identifier(identifier(input)) + " " + xrpc.ClientNetwork(ctx).String()
	}
	// The pages count in these buckets, too.
	return xrpc.WithInputRateLimit(guessBuckets("com.atproto.server.createSession", key)...)
}

// guessBuckets are how many passwords can be tried.
func guessBuckets(name string, key func(context.Context, *http.Request, any) string) []xrpc.RateLimit {
	return []xrpc.RateLimit{
		{Name: name + " 30/5m0s", Points: 30, Window: 5 * time.Minute, Key: key},
		{Name: name + " 300/24h0m0s", Points: 300, Window: 24 * time.Hour, Key: key},
	}
}

// countGuess implements account.Options.Guess: handle, DID and e-mail address of an account share what guessLimits gives to each of them. These buckets say nothing when
// they are used up. An error would tell that an address is the one of a handle, to whoever has used up one of them and tries the other.
func (s *Server) countGuess(ctx context.Context, did syntax.DID) (right func(), ok bool) {
	buckets := guessBuckets("passwords of an account", func(ctx context.Context, _ *http.Request, _ any) string {
		return did.String() + " " + xrpc.ClientNetwork(ctx).String()
	})
	for i, b := range buckets {
		if s.mux.Spend(ctx, b, 1) {
			continue
		}
		for _, before := range buckets[:i] {
			s.mux.Spend(ctx, before, -1)
		}
		s.log.InfoContext(ctx, "too many wrong passwords for an account from one address: no more are looked at for a while", "did", did, "network", xrpc.ClientNetwork(ctx))
		return nil, false
	}
	return func() {
		for _, b := range buckets {
			s.mux.Spend(ctx, b, -1)
		}
	}, true
}

// byAccount is the key of limits that count for each account.
func byAccount(ctx context.Context, _ *http.Request, _ any) string {
	return auth.From(ctx).DID.String()
}

// mailLimits bound how many mails of one kind an account can have sent to itself.
func mailLimits() xrpc.Option {
	return xrpc.WithRateLimit(
		xrpc.RateLimit{Points: 5, Window: time.Hour, Key: byAccount},
		xrpc.RateLimit{Points: 15, Window: 24 * time.Hour, Key: byAccount},
	)
}

// addressLimit bounds how much mail everybody together can have sent to one address. It counts for addresses of no account too.
func addressLimit() xrpc.Option {
	key := func(_ context.Context, _ *http.Request, input any) string {
		return strings.ToLower(strings.TrimSpace(input.(*emailInput).Email))
	}
	return xrpc.WithInputRateLimit(xrpc.RateLimit{Points: 20, Window: time.Hour, Key: key})
}

// codeLimit bounds the codes that can be tried by somebody who is signed in.
func codeLimit() xrpc.Option {
	return xrpc.WithRateLimit(xrpc.RateLimit{Points: 50, Window: 5 * time.Minute, Key: byAccount})
}

// statusLimit bounds how often an account can come and go, which costs all who follow the network.
func statusLimit() xrpc.Option {
	return xrpc.WithRateLimit(xrpc.RateLimit{Points: 30, Window: time.Hour, Key: byAccount})
}

// uploadLimits bound the uploads from one address. Accounts that move here bring all their blobs, many of them perhaps from one address: they count by
// themselves.
func uploadLimits() xrpc.Option {
	moving := func(ctx context.Context) bool { a := auth.From(ctx).Account; return a != nil && !a.Active() }
	return xrpc.WithRateLimit(
		xrpc.RateLimit{Points: 1000, Window: 24 * time.Hour, Key: func(ctx context.Context, _ *http.Request, _ any) string {
			if moving(ctx) {
				return ""
			}
			return xrpc.ClientNetwork(ctx).String()
		}},
		xrpc.RateLimit{Name: "blobs-moved", Points: 100_000, Window: 24 * time.Hour, Key: func(ctx context.Context, r *http.Request, in any) string {
			if !moving(ctx) {
				return ""
			}
			return byAccount(ctx, r, in)
		}})
}

// writeLimits make a write count, for cost points, against what the account may write in an hour and a day.
func writeLimits(cost int) xrpc.Option {
	return xrpc.WithRateLimit(accountBuckets(func(context.Context, *http.Request, any) int { return cost })...)
}

// batchLimits are writeLimits for applyWrites, which costs what its writes would cost one by one.
func batchLimits() xrpc.Option {
	return xrpc.WithInputRateLimit(accountBuckets(func(_ context.Context, _ *http.Request, input any) int {
		points := 0
		for i := range input.(*applyWritesInput).Writes {
			points += input.(*applyWritesInput).Writes[i].cost()
		}
		return points
	})...)
}

func accountBuckets(cost func(context.Context, *http.Request, any) int) []xrpc.RateLimit {
	return []xrpc.RateLimit{
		{Name: "repo-write-hour", Points: writesPerHour, Window: time.Hour, Key: byAccount, Cost: cost},
		{Name: "repo-write-day", Points: writesPerDay, Window: 24 * time.Hour, Key: byAccount, Cost: cost},
	}
}

// muxOptions are the settings of everything that comes before a handler.
func (s *Server) muxOptions() xrpc.Options {
	return xrpc.Options{
		Catalog:         s.lexicons,
		Logger:          s.log,
		MapError:        wireError,
		Fallback:        s.proxied,
		Again:           auth.Again,
		Answered:        s.meter.Answered,
		TrustedProxies:  s.cfg.TrustedProxies,
		DistrustPrivate: !s.cfg.TrustPrivateProxies,
		RateLimits: xrpc.RateLimits{
			Disabled:  !s.cfg.RateLimitsEnabled,
			Global:    &xrpc.RateLimit{Points: 3000, Window: 5 * time.Minute},
			BypassKey: s.cfg.RateLimitBypassKey,
			BypassIPs: s.cfg.RateLimitBypassIPs,
		},
	}
}
