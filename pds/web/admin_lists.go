package web

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/store"
)

const (
	maxInvitesMade = 100 // codes at once
	maxInviteUses  = 10_000
	maxUsesShown   = 6 // of a code
	maxJobsShown   = 25
	maxMailsShown  = 15 // that wait
)

// adminInviteList is a page of invite codes.
type adminInviteList struct {
	Invites []store.Invite
	Made    []string // just now
	Next    string
	MaxUses int // shown of a code

	handles map[syntax.DID]syntax.Handle
}

// Who is what an account is called: its handle, or its DID when it is not here any more.
func (l adminInviteList) Who(did string) string {
	if h, ok := l.handles[syntax.DID(did)]; ok {
		return h.String()
	}
	return did
}

// people are the accounts that the list shows.
func (l adminInviteList) people() []syntax.DID {
	var dids []syntax.DID
	for i := range l.Invites {
		dids = append(dids, syntax.DID(l.Invites[i].ForAccount))
		for _, use := range l.Invites[i].Uses[:min(l.MaxUses, len(l.Invites[i].Uses))] {
			dids = append(dids, use.UsedBy)
		}
	}
	return dids
}

func (r *request) showInvites(f *Form, made []string) error {
	invites, err := r.site.opts.Host.ListInvites(r.Context(), r.FormValue("after"), adminPageSize+1)
	if err != nil {
		return err
	}
	list := adminInviteList{Invites: invites, Made: made, MaxUses: maxUsesShown}
	if len(invites) > adminPageSize {
		list.Invites = invites[:adminPageSize]
		list.Next = "/admin/invites?" + url.Values{"after": {invites[adminPageSize-1].Code}}.Encode()
	}
	list.handles = r.site.opts.Host.Handles(r.Context(), list.people())
	return r.renderForm("admin-invites", f, list)
}

func (s *Site) adminInvites(r *request) error { return r.showInvites(&Form{}, nil) }

// adminInvitesDo makes codes, or disables one. Codes that were made are shown at once: they are not in the log.
func (s *Site) adminInvitesDo(r *request) error {
	f := r.form()
	if f.Value("do") == DeedDisableInvite {
		return r.administer(Deed{Name: DeedDisableInvite, Object: f.Value("code")}, "/admin/invites")
	}
	count, countErr := strconv.Atoi(f.Value("count"))
	uses, usesErr := strconv.Atoi(f.Value("uses"))
	if countErr != nil || count < 1 || count > maxInvitesMade {
		f.add("count", r.t("admin.error-number", "max", maxInvitesMade))
	}
	if usesErr != nil || uses < 1 || uses > maxInviteUses {
		f.add("uses", r.t("admin.error-number", "max", maxInviteUses))
	}
	if !f.ok() {
		return r.showInvites(f, nil)
	}
	made, err := s.opts.Host.CreateInvites(r.Context(), r.current().Account, count, int64(uses))
	if err != nil {
		return err
	}
	return r.showInvites(&Form{}, made)
}

// adminMailList is what is to be sent, and a page of what was.
type adminMailList struct {
	Waiting, Sent []AdminMail
	More          int // that wait, and are not in the list
	To, Next      string
	First         bool
}

func (s *Site) adminMails(r *request) (err error) {
	before, _ := strconv.ParseInt(r.FormValue("before"), 10, 64)
	list := adminMailList{To: strings.ToLower(strings.TrimSpace(r.FormValue("to"))), First: before == 0}
	if list.Waiting, err = s.opts.Host.ListMails(r.Context()); err != nil {
		return err
	}
	if n := len(list.Waiting) - maxMailsShown; n > 0 {
		list.Waiting, list.More = list.Waiting[:maxMailsShown], n
	}
	if list.Sent, err = s.opts.Host.SentMails(r.Context(), list.To, before, adminPageSize+1); err != nil {
		return err
	}
	if len(list.Sent) > adminPageSize {
		list.Sent = list.Sent[:adminPageSize]
		list.Next = "/admin/mail?" + url.Values{"to": {list.To}, "before": {strconv.FormatInt(list.Sent[adminPageSize-1].ID, 10)}}.Encode()
	}
	return r.render("admin-mail", list)
}

// adminJobList is what is to be done.
type adminJobList struct {
	Jobs  []store.Job
	Moves []AdminMove
}

func (s *Site) adminJobs(r *request) error {
	jobs, err := s.opts.Host.ListJobs(r.Context(), maxJobsShown)
	if err != nil {
		return err
	}
	moves, err := s.opts.Host.ListMoves(r.Context())
	if err != nil {
		return err
	}
	return r.render("admin-jobs", adminJobList{jobs, moves})
}

// adminRetry has a mail or a job tried now. One that is gone has been done meanwhile.
func (s *Site) adminRetry(name, back string) handler {
	return func(r *request) error {
		id, err := strconv.ParseInt(r.FormValue("id"), 10, 64)
		if err != nil {
			return problem(http.StatusBadRequest, "form")
		}
		return r.administer(Deed{Name: name, ID: id}, back)
	}
}

// adminStream is who is told of this server, and who reads it.
type adminStream struct {
	Relays    []AdminRelay
	Consumers []AdminConsumer
}

func (s *Site) adminRelays(r *request) error {
	return r.render("admin-relays", adminStream{s.opts.Host.Relays(), s.opts.Host.Consumers()})
}

func (s *Site) adminCrawl(r *request) error {
	return r.administer(Deed{Name: DeedCrawl, Object: r.FormValue("host")}, "/admin/relays")
}

// adminLog is a page of the audit log.
type adminLog struct {
	Subject, Actor string
	Lines          []AuditEntry
	First          bool
	Next           string
}

func (s *Site) adminAudit(r *request) error {
	before, _ := strconv.ParseInt(r.FormValue("before"), 10, 64)
	log := adminLog{Subject: strings.TrimSpace(r.FormValue("subject")), Actor: strings.TrimSpace(r.FormValue("actor")), First: before == 0}
	lines, err := s.opts.Host.Audit(r.Context(), log.Subject, log.Actor, before, adminPageSize+1)
	if err != nil {
		return err
	}
	if len(lines) > adminPageSize {
		lines = lines[:adminPageSize]
		log.Next = "/admin/audit?" + url.Values{"subject": {log.Subject}, "actor": {log.Actor}, "before": {strconv.FormatInt(lines[adminPageSize-1].ID, 10)}}.Encode()
	}
	log.Lines = lines
	return r.render("admin-audit", log)
}
