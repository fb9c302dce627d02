package web

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/meter"
	"perch/pds/store"
)

// AdminHost is what the administration pages ask of the server.
type AdminHost interface {
	// Administer does what an administrator wants, and logs it. Errors: store.ErrNotFound, and those of the deed.
	Administer(ctx context.Context, by *store.Account, d Deed) error
	// CreateInvites makes codes that belong to no account, and logs it.
	CreateInvites(ctx context.Context, by *store.Account, count int, uses int64) ([]string, error)

	Load(ctx context.Context) (AdminLoad, error)
	// Samples are those of the time given, the last of them of now.
	Samples(within time.Duration) []meter.Sample
	ListAccounts(ctx context.Context, q store.AccountQuery) ([]store.ListedAccount, error)
	AdminAccount(ctx context.Context, did syntax.DID) (*AdminAccount, error)
	ListInvites(ctx context.Context, after string, limit int) ([]store.Invite, error)
	// Handles returns the handles of those of the accounts that are here.
	Handles(ctx context.Context, dids []syntax.DID) map[syntax.DID]syntax.Handle
	ListMails(ctx context.Context) ([]AdminMail, error)
	// SentMails lists mails that were sent, the newest first, from below an id on (0: from the newest); with to only those to that address.
	SentMails(ctx context.Context, to string, before int64, limit int) ([]AdminMail, error)
	ListJobs(ctx context.Context, limit int) ([]store.Job, error)
	ListMoves(ctx context.Context) ([]AdminMove, error)
	Relays() []AdminRelay
	Consumers() []AdminConsumer
	Audit(ctx context.Context, subject, actor string, before int64, limit int) ([]AuditEntry, error)
}

// Things that an administrator does on the pages.
const (
	DeedTakedown      = "takedown"
	DeedSuspend       = "suspend"
	DeedRestore       = "restore"
	DeedForbidInvites = "invites-forbid"
	DeedAllowInvites  = "invites-allow"
	DeedMail          = "mail"
	DeedReset         = "reset"
	DeedFactor        = "factor-remove"
	DeedPasskeys      = "passkeys-remove"
	DeedDelete        = "delete"
	DeedDisableInvite = "invite-disable"
	DeedRetryMail     = "mail-retry"
	DeedRetryJob      = "job-retry"
	DeedCrawl         = "crawl"
)

// ErrChanged: the account is not any more as the page showed it, so that the deed is not what was meant.
var ErrChanged = errors.New("the account has changed meanwhile")

// Deed is one of them.
type Deed struct {
	Name          string
	DID           syntax.DID // of the account that it is about
	Reason        string
	Subject, Text string // of a mail
	Object        string // an invite code or a relay
	ID            int64  // of a mail or a job
}

// AdminLoad is what waits for the administrators.
type AdminLoad struct {
	Accounts            store.AccountCounts
	Mails, MailsGivenUp int
	Jobs, JobsFailed    int
	Moves               int
}

// AdminAccount is all that administrators see of an account.
type AdminAccount struct {
	store.ListedAccount
	Takedown  string // the moderators' reference
	Sessions  int
	Apps      int // with access
	Browsers  int
	TOTP      bool
	EmailCode bool
	Passkeys  int
	Invites   []store.Invite
	InvitedBy string // code
	Inviter   string // DID, or "admin"
}

// AdminMail is a message that waits, was given up, or was sent.
type AdminMail struct {
	ID                 int64
	To, Subject, Error string
	DID, Handle        string
	CreatedAt, TriedAt time.Time
	SentAt             time.Time // zero: not sent
	Attempts           int
	GivenUp            bool
}

// AdminMove is the move of an account to this server or from it that is not over.
type AdminMove struct {
	DID, Handle, Host, State, Needs, Error string
	Out                                    bool
}

// AdminRelay is a relay that is asked to read this server.
type AdminRelay struct {
	Host, Error     string
	Accepted        bool
	AskedAt, NextAt time.Time
}

// AdminConsumer reads the firehose.
type AdminConsumer struct {
	IP, UserAgent string
	Since         time.Time
	Frames        int64
	Lag           time.Duration
}

// AuditEntry is a line of the audit log.
type AuditEntry struct {
	ID            int64
	At            time.Time
	Kind          string // of the actor
	Actor         string // DID
	ActorHandle   string
	Address       string
	Action        string
	Subject       string // DID
	SubjectHandle string
	Detail        string
	Reason        string
	Result        string
}

const (
	adminPath = "/admin"
	// maxDeedReason and maxSubject bound what an administrator writes, in characters, and maxLetter in bytes.
	maxDeedReason = 500
	maxSubject    = 500
	maxLetter     = 20 << 10
)

// adminRoutes are the pages of administrators. What others may know of them is that there is nothing.
func (s *Site) adminRoutes() {
	writes := limit("admin", 300, 5*time.Minute)
	s.page("GET /admin", s.adminOverview, administrator, sudo)
	s.page("GET /admin/charts", s.adminCharts, administrator) // asked for by the open page, again and again
	s.page("GET /admin/accounts", s.adminAccounts, administrator, sudo)
	s.page("GET /admin/accounts/{did}", s.adminAccount, administrator, sudo)
	s.page("POST /admin/accounts/{did}", s.adminAccountDo, administrator, sudo, writes)
	s.page("GET /admin/invites", s.adminInvites, administrator, sudo)
	s.page("POST /admin/invites", s.adminInvitesDo, administrator, sudo, writes)
	s.page("GET /admin/mail", s.adminMails, administrator, sudo)
	s.page("POST /admin/mail", s.adminRetry(DeedRetryMail, "/admin/mail"), administrator, sudo, writes)
	s.page("GET /admin/jobs", s.adminJobs, administrator, sudo)
	s.page("POST /admin/jobs", s.adminRetry(DeedRetryJob, "/admin/jobs"), administrator, sudo, writes)
	s.page("GET /admin/relays", s.adminRelays, administrator, sudo)
	s.page("POST /admin/relays", s.adminCrawl, administrator, sudo, writes)
	s.page("GET /admin/audit", s.adminAudit, administrator, sudo)
}

// adminPages is their menu, in its order.
var adminPages = []navItem{
	{Path: "/admin", Key: "nav.admin-overview", Icon: "chart"},
	{Path: "/admin/accounts", Key: "nav.admin-accounts", Icon: "account"},
	{Path: "/admin/invites", Key: "nav.admin-invites", Icon: "ticket"},
	{Path: "/admin/mail", Key: "nav.admin-mail", Icon: "mail"},
	{Path: "/admin/jobs", Key: "nav.admin-jobs", Icon: "clock"},
	{Path: "/admin/relays", Key: "nav.admin-relays", Icon: "relay"},
	{Path: "/admin/audit", Key: "nav.admin-audit", Icon: "shield"},
}

// adminNavigation is the menu of administrators; ok is false on the pages of everybody, and for everybody else.
func (r *request) adminNavigation() (items []navItem, ok bool) {
	if r.URL.Path != adminPath && !strings.HasPrefix(r.URL.Path, adminPath+"/") || !r.isAdministrator() {
		return nil, false
	}
	items = make([]navItem, len(adminPages))
	for i, item := range adminPages {
		item.Here = item.Path == r.URL.Path || item.Path != adminPath && strings.HasPrefix(r.URL.Path, item.Path+"/")
		items[i] = item
	}
	return items, true
}

func (r *request) isAdministrator() bool {
	a := r.current()
	return a != nil && a.Account.Role == store.RoleAdmin
}

// administrator lets in accounts that have the role, in browsers in which they have shown the second factor today.
func administrator(r *request) (bool, error) {
	if ok, err := signedIn(r); !ok {
		return false, err
	}
	if !r.isAdministrator() || !r.current().Account.Active() {
		return false, problem(http.StatusNotFound, "missing")
	}
	if r.shownFactor(factorAge) {
		return true, nil
	}
	return false, r.askFactorAgain()
}

// administer does something for the administrator who is signed in, and leads on to a page that says so.
func (r *request) administer(d Deed, to string) error {
	err := r.site.opts.Host.Administer(r.Context(), r.current().Account, d)
	if errors.Is(err, store.ErrNotFound) && d.ID != 0 {
		r.tell("warning", "admin-gone")
		return r.redirect(to)
	}
	if err != nil {
		return err
	}
	r.tell("success", "admin-"+d.Name)
	return r.redirect(to)
}

// action is what the audit log calls an action, in words. A name that has none is shown as it is.
func (w *words) action(name string) string {
	const family = "admin.action-"
	if w.has(family + name) {
		return w.text(family + name)
	}
	if i := strings.LastIndex(name, "-"); i > 0 && w.has(family+name[:i]) && w.has(family+name[i+1:]) { // two at once
		return w.text(family+name[:i]) + ", " + w.text(family+name[i+1:])
	}
	return name
}
