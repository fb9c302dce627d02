package pds

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/meter"
	"perch/pds/store"
	"perch/pds/web"
)

// Load implements web.AdminHost.
func (h pageHost) Load(ctx context.Context) (l web.AdminLoad, err error) {
	if l.Accounts, err = h.s.store.CountAccounts(ctx); err != nil {
		return l, err
	}
	mails, err := h.s.store.Mails(ctx, maxMailsListed)
	if err != nil {
		return l, err
	}
	for i := range mails {
		if mails[i].GivenUp() {
			l.MailsGivenUp++
		} else {
			l.Mails++
		}
	}
	if l.Jobs, l.JobsFailed, err = h.s.store.CountJobs(ctx); err != nil {
		return l, err
	}
	moves, err := h.ListMoves(ctx)
	l.Moves = len(moves)
	return l, err
}

// Samples implements web.AdminHost.
func (h pageHost) Samples(within time.Duration) []meter.Sample {
	now := time.Now()
	return h.s.meter.Samples(now.Add(-within), now, h.s.gauges())
}

// ListAccounts implements web.AdminHost.
func (h pageHost) ListAccounts(ctx context.Context, q store.AccountQuery) ([]store.ListedAccount, error) {
	return h.s.store.ListAccounts(ctx, q)
}

// AdminAccount implements web.AdminHost. The error is store.ErrNotFound.
func (h pageHost) AdminAccount(ctx context.Context, did syntax.DID) (*web.AdminAccount, error) {
	s := h.s
	acct, err := s.store.AccountByDID(ctx, did)
	if err == nil && !acct.DeletedAt.IsZero() {
		err = store.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	out := &web.AdminAccount{}
	if attr := accountTakedown(acct); attr.Applied {
		out.Takedown = attr.Ref
	}
	if out.ListedAccount, err = s.store.AccountUsage(ctx, acct); err != nil {
		return nil, err
	}
	if err := s.addSignIns(ctx, out); err != nil {
		return nil, err
	}
	if out.Invites, err = s.store.InvitesOf(ctx, did.String()); err != nil {
		return nil, err
	}
	by, err := s.store.InviteUsedBy(ctx, did)
	if errors.Is(err, store.ErrNotFound) {
		return out, nil
	}
	out.InvitedBy, out.Inviter = by.Code, by.ForAccount
	return out, err
}

// addSignIns adds how and where an account is signed in.
func (s *Server) addSignIns(ctx context.Context, out *web.AdminAccount) error {
	sessions, err := s.store.Sessions(ctx, out.ID)
	if err != nil {
		return err
	}
	for i := range sessions {
		if sessions[i].NextID == "" && sessions[i].ExpiresAt.After(time.Now()) {
			out.Sessions++
		}
	}
	devices, err := s.accounts.Devices(ctx, out.ID)
	if err != nil {
		return err
	}
	out.Browsers = len(devices)
	apps, err := s.store.OAuthSessions(ctx, out.ID)
	if err != nil {
		return err
	}
	out.Apps = len(apps)
	f, err := s.accounts.Factors(ctx, out.ID)
	out.TOTP, out.EmailCode, out.Passkeys = f.TOTP, f.Email, f.Passkeys
	return err
}

// ListInvites implements web.AdminHost.
func (h pageHost) ListInvites(ctx context.Context, after string, limit int) ([]store.Invite, error) {
	return h.s.store.InvitesBy(ctx, store.InvitesRecent, after, limit)
}

// Handles implements web.AdminHost.
func (h pageHost) Handles(ctx context.Context, dids []syntax.DID) map[syntax.DID]syntax.Handle {
	out := make(map[syntax.DID]syntax.Handle)
	for _, did := range dids {
		if acct, err := h.s.store.AccountByDID(ctx, did); err == nil && acct.DeletedAt.IsZero() {
			out[did] = acct.Handle
		}
	}
	return out
}

// ListMails implements web.AdminHost.
func (h pageHost) ListMails(ctx context.Context) ([]web.AdminMail, error) {
	mails, err := unsentMails(ctx, h.s.store)
	return adminMails(mails), err
}

// SentMails implements web.AdminHost.
func (h pageHost) SentMails(ctx context.Context, to string, before int64, limit int) ([]web.AdminMail, error) {
	if before <= 0 {
		before = math.MaxInt64
	}
	mails, err := h.s.store.SentMails(ctx, to, before, limit)
	return adminMails(listedMails(ctx, h.s.store, mails)), err
}

func adminMails(mails []UnsentMail) []web.AdminMail {
	out := make([]web.AdminMail, len(mails))
	for i, m := range mails {
		out[i] = web.AdminMail{
			ID: m.id, To: m.To, Subject: m.Subject, Error: m.Error, DID: m.DID.String(), Handle: m.Handle.String(), CreatedAt: m.CreatedAt,
			TriedAt: m.triedAt, SentAt: m.sentAt, Attempts: m.Attempts, GivenUp: m.GivenUp,
		}
	}
	return out
}

// ListJobs implements web.AdminHost.
func (h pageHost) ListJobs(ctx context.Context, limit int) ([]store.Job, error) {
	return h.s.store.Jobs(ctx, limit)
}

// ListMoves implements web.AdminHost.
func (h pageHost) ListMoves(ctx context.Context) ([]web.AdminMove, error) {
	all, err := h.s.migrations.All(ctx)
	var out []web.AdminMove
	for _, m := range all {
		if m.State.Ended() {
			continue
		}
		handle := m.Handle.String()
		if handle == "" || m.Out {
			handle = given(m.OldHandle, func() string { return handle })
		}
		out = append(out, web.AdminMove{
			DID: m.DID.String(), Handle: handle, Host: strings.TrimPrefix(m.Host, "https://"), State: string(m.State), Needs: m.Needs, Error: m.Error, Out: m.Out,
		})
	}
	return out, err
}

// Relays implements web.AdminHost.
func (h pageHost) Relays() []web.AdminRelay {
	var out []web.AdminRelay
	for _, r := range h.s.relay.Status() {
		out = append(out, web.AdminRelay{Host: r.Host, Error: r.Error, Accepted: r.Accepted, AskedAt: r.AskedAt, NextAt: r.NextAt})
	}
	return out
}

// Consumers implements web.AdminHost.
func (h pageHost) Consumers() []web.AdminConsumer {
	var out []web.AdminConsumer
	for _, c := range h.s.firehose.Stats().Consumers {
		out = append(out, web.AdminConsumer{IP: c.IP, UserAgent: c.UserAgent, Since: c.Since, Frames: c.Frames, Lag: c.Lag})
	}
	slices.SortFunc(out, func(a, b web.AdminConsumer) int { return a.Since.Compare(b.Since) })
	return out
}

// Audit implements web.AdminHost.
func (h pageHost) Audit(ctx context.Context, subject, actor string, before int64, limit int) ([]web.AuditEntry, error) {
	lines, err := auditLines(ctx, h.s.store, h.s.accounts, &AuditRequest{Subject: subject, Actor: actor, Before: before, Limit: limit})
	out := make([]web.AuditEntry, len(lines))
	for i, l := range lines {
		out[i] = web.AuditEntry(l)
	}
	return out, err
}
