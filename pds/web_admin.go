package pds

import (
	"context"
	"fmt"
	"html"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/account"
	"perch/pds/auth"
	"perch/pds/store"
	"perch/pds/web"
)

// byAdministrator is a context in which what is done is done by an administrator on the pages.
func byAdministrator(ctx context.Context, by *store.Account, reason string) context.Context {
	ctx = auth.NewContext(ctx, auth.Principal{Kind: auth.Administrator, DID: by.DID, Account: by})
	return withReason(ctx, reason)
}

// Administer implements web.AdminHost, by the functions of the methods of com.atproto.admin as far as there is one.
func (h pageHost) Administer(ctx context.Context, by *store.Account, d web.Deed) (err error) {
	s, ctx := h.s, byAdministrator(ctx, by, d.Reason)
	switch d.Name {
	case web.DeedTakedown, web.DeedSuspend, web.DeedRestore:
		_, err = audited(s, s.updateSubjectStatus)(ctx, &updateSubjectStatusInput{
			Subject: subjectJSON{Type: subjectRepo, DID: d.DID}, Takedown: takedownOf(d.Name),
		})
	case web.DeedForbidInvites:
		_, err = audited(s, s.disableAccountInvites)(ctx, &accountInvitesInput{Account: d.DID, Note: d.Reason})
	case web.DeedAllowInvites:
		_, err = s.enableAccountInvites(ctx, &accountInvitesInput{Account: d.DID, Note: d.Reason})
	case web.DeedMail:
		_, err = audited(s, s.sendEmail)(ctx, &sendEmailInput{RecipientDID: d.DID, SenderDID: by.DID, Subject: d.Subject, Content: asHTML(d.Text), Comment: d.Reason})
	case web.DeedDelete:
		_, err = audited(s, s.adminDeleteAccount)(ctx, &didInput{DID: d.DID})
	case web.DeedFactor:
		_, err = audited(s, s.operatorFactor)(ctx, &FactorRequest{Account: d.DID.String(), Action: FactorRemove})
	case web.DeedDisableInvite:
		if _, err = s.store.Invite(ctx, d.Object); err == nil {
			_, err = audited(s, s.disableInviteCodes)(ctx, &disableInviteCodesInput{Codes: []string{d.Object}})
		}
	case web.DeedReset:
		err = s.audit(ctx, deed{action: "reset-mail", subject: d.DID.String()}, func(ctx context.Context) error { return s.mailReset(ctx, d.DID) })
	default:
		err = s.runNow(ctx, d)
	}
	return err
}

func takedownOf(name string) *statusAttr {
	switch name {
	case web.DeedRestore:
		return &statusAttr{}
	case web.DeedSuspend:
		return &statusAttr{Applied: true, Ref: suspensionMark + "-" + datetime(time.Now())}
	}
	return &statusAttr{Applied: true, Ref: datetime(time.Now())}
}

// asHTML is a text as moderators' mails want it.
func asHTML(text string) string {
	return "<p>" + strings.ReplaceAll(html.EscapeString(strings.ReplaceAll(strings.TrimSpace(text), "\r\n", "\n")), "\n", "<br>") + "</p>"
}

func (s *Server) mailReset(ctx context.Context, did syntax.DID) error {
	acct, err := s.administered(ctx, did.AtIdentifier())
	if err != nil {
		return err
	}
	return s.mailCode(ctx, acct, account.ForResetPassword)
}

// runNow does what waits for its time.
func (s *Server) runNow(ctx context.Context, d web.Deed) error {
	switch d.Name {
	case web.DeedRetryMail:
		err := s.audit(ctx, deed{action: d.Name, detail: fmt.Sprint(d.ID)}, func(ctx context.Context) error {
			return s.store.Update(ctx, func(tx *store.Tx) error { return tx.RunMailNow(ctx, d.ID) })
		})
		s.wake(store.JobMail)
		return err
	case web.DeedRetryJob:
		var kind string
		err := s.audit(ctx, deed{action: d.Name, detail: fmt.Sprint(d.ID)}, func(ctx context.Context) error {
			return s.store.Update(ctx, func(tx *store.Tx) (err error) {
				kind, err = tx.RunJobNow(ctx, d.ID)
				return err
			})
		})
		s.wake(kind)
		return err
	case web.DeedCrawl:
		return s.audit(ctx, deed{action: d.Name, detail: d.Object, steps: true}, func(context.Context) error {
			if !s.relay.Ask(d.Object) {
				return store.ErrNotFound
			}
			return nil
		})
	}
	return fmt.Errorf("administrators cannot %q", d.Name)
}

// CreateInvites implements web.AdminHost.
func (h pageHost) CreateInvites(ctx context.Context, by *store.Account, count int, uses int64) ([]string, error) {
	out, err := audited(h.s, h.s.createInviteCodes)(byAdministrator(ctx, by, ""), &createInviteCodesInput{CodeCount: int64(count), UseCount: uses})
	if err != nil {
		return nil, err
	}
	return out.Codes[0].Codes, nil
}
