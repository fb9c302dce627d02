package web

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/store"
)

// adminPageSize is how many rows a page of a list has. With the longest names they are still a page of 60 KB.
const adminPageSize = 18

// adminList is a page of accounts.
type adminList struct {
	Text, Status, Order string
	Statuses, Orders    []string
	Accounts            []store.ListedAccount
	First               bool
	Next                string // address of the next page
}

var (
	adminStatuses = []string{"", "active", store.StatusTakendown, store.StatusSuspended, store.StatusDeactivated, store.RoleAdmin}
	adminOrders   = []string{string(store.ByCreated), string(store.ByHandle), string(store.ByWritten), string(store.BySeen), string(store.ByRecords), string(store.ByBlobs)}
)

func (s *Site) adminAccounts(r *request) error {
	after, _ := strconv.ParseInt(r.FormValue("after"), 10, 64)
	list := adminList{
		Text: r.FormValue("q"), Status: r.FormValue("status"), Order: r.FormValue("order"), Statuses: adminStatuses, Orders: adminOrders, First: after == 0,
	}
	found, err := s.opts.Host.ListAccounts(r.Context(), store.AccountQuery{
		Text: list.Text, Status: list.Status, Order: store.AccountOrder(list.Order), After: store.AccountID(after), Limit: adminPageSize + 1,
	})
	if err != nil {
		return err
	}
	if len(found) > adminPageSize {
		found = found[:adminPageSize]
		list.Next = "/admin/accounts?" + url.Values{
			"q": {list.Text}, "status": {list.Status}, "order": {list.Order}, "after": {strconv.FormatInt(int64(found[adminPageSize-1].ID), 10)},
		}.Encode()
	}
	list.Accounts = found
	return r.render("admin-accounts", list)
}

// adminSubject is the account that the address of the page names.
func (r *request) adminSubject() (*AdminAccount, error) {
	did, err := syntax.ParseDID(r.PathValue("did"))
	if err != nil {
		return nil, problem(http.StatusNotFound, "missing")
	}
	return r.site.opts.Host.AdminAccount(r.Context(), did)
}

// adminAccountPage is what the page of an account shows.
type adminAccountPage struct {
	*AdminAccount
	Self bool // it is the administrator's own
	Log  []AuditEntry
}

func (r *request) showAdminAccount(f *Form, a *AdminAccount) error {
	const shown = 10
	log, err := r.site.opts.Host.Audit(r.Context(), string(a.DID), "", 0, shown)
	if err != nil {
		return err
	}
	return r.renderForm("admin-account", f, adminAccountPage{a, a.ID == r.current().Account.ID, log})
}

func (s *Site) adminAccount(r *request) error {
	a, err := r.adminSubject()
	if err != nil {
		return err
	}
	return r.showAdminAccount(&Form{}, a)
}

// adminAccountDo does something to the account.
func (s *Site) adminAccountDo(r *request) error {
	a, err := r.adminSubject()
	if err != nil {
		return err
	}
	f := r.form()
	d := Deed{Name: f.Value("do"), DID: a.DID, Reason: strings.TrimSpace(f.Value("reason")), Subject: strings.TrimSpace(f.Value("subject")), Text: f.Value("text")}
	if !r.checkDeed(f, &d, a) {
		return r.showAdminAccount(f, a)
	}
	to := "/admin/accounts/" + string(a.DID)
	if d.Name == DeedDelete {
		to = "/admin/accounts"
	}
	err = r.administer(d, to)
	if err == nil || errors.Is(err, store.ErrNotFound) {
		return err
	}
	switch {
	case errors.Is(err, store.ErrHeld):
		f.add("", r.t("admin.error-held"))
	case errors.Is(err, ErrChanged):
		f.add("", r.t("admin.error-changed"))
	case !r.refusal(f, err):
		return err
	}
	if a, err = r.adminSubject(); err != nil { // as it is now
		return err
	}
	return r.showAdminAccount(f, a)
}

// checkDeed adds to the form what is missing, or wrong. What would shut out the administrator who does it is refused, and what would shut out another: that is the operator's,
// or one who was robbed of his browser would take all the others with him.
func (r *request) checkDeed(f *Form, d *Deed, a *AdminAccount) bool {
	self := a.ID == r.current().Account.ID
	switch d.Name {
	case DeedTakedown, DeedSuspend, DeedDelete, DeedFactor, DeedPasskeys:
		if self {
			f.add("", r.t("admin.error-self"))
		} else if a.Role == store.RoleAdmin {
			f.add("", r.t("admin.error-peer"))
		}
	case DeedMail:
		if d.Subject == "" {
			f.add("subject", r.t("admin.error-empty"))
		}
		if utf8.RuneCountInString(d.Subject) > maxSubject {
			f.add("subject", r.t("admin.error-long", "max", maxSubject))
		}
		if strings.TrimSpace(d.Text) == "" || len(d.Text) > maxLetter {
			f.add("text", r.t("admin.error-text"))
		}
	case DeedRestore, DeedForbidInvites, DeedAllowInvites, DeedReset:
	default:
		f.add("", r.t("admin.error-deed"))
	}
	if (d.Name == DeedMail || d.Name == DeedReset) && a.Email == "" {
		f.add("", r.t("admin.error-email"))
	}
	if (d.Name == DeedTakedown || d.Name == DeedSuspend) && d.Reason == "" {
		f.add("reason", r.t("admin.error-reason"))
	}
	if utf8.RuneCountInString(d.Reason) > maxDeedReason {
		f.add("reason", r.t("admin.error-long", "max", maxDeedReason))
	}
	if d.Name == DeedDelete && !strings.EqualFold(strings.TrimPrefix(strings.TrimSpace(f.Value("confirm")), "@"), confirmName(a)) {
		f.add("confirm", r.t("admin.error-confirm"))
	}
	return f.ok()
}

// confirmName is what must be typed to delete the account.
func confirmName(a *AdminAccount) string {
	if a.Handle == "" {
		return string(a.DID)
	}
	return a.Handle.String()
}

// ConfirmName is the name for the page.
func (p adminAccountPage) ConfirmName() string { return confirmName(p.AdminAccount) }
