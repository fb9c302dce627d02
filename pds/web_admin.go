package pds

import (
	"context"
	"errors"
	"fmt"
	"html"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/account"
	"perch/pds/auth"
	"perch/pds/store"
	"perch/pds/web"
	"perch/xrpc"
)

// byAdministrator is a context in which what is done is done by an administrator on the pages.
func byAdministrator(ctx context.Context, by *store.Account, reason string) context.Context {
	ctx = auth.NewContext(ctx, auth.Principal{Kind: auth.Administrator, DID: by.DID, Account: by})
	return withReason(ctx, reason)
}

// Administer implements web.AdminHost, by the functions of the methods of com.atproto.admin as far as there is one.
func (h pageHost) Administer(ctx context.Context, by *store.Account, d web.Deed) error {
	return forPage(h.s.administer(byAdministrator(ctx, by, d.Reason), by, d))
}

func (s *Server) administer(ctx context.Context, by *store.Account, d web.Deed) (err error) {
	switch d.Name {
	case web.DeedTakedown, web.DeedSuspend, web.DeedRestore:
		_, err = audited(s, s.shutOrOpen)(ctx, &updateSubjectStatusInput{
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
	case web.DeedPasskeys:
		_, err = audited(s, s.operatorFactor)(ctx, &FactorRequest{Account: d.DID.String(), Action: FactorRemovePasskeys})
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

// shutOrOpen is updateSubjectStatus for people who look at a page that may be old by now: a takedown does not become a suspension by that, nor lose its reference, and
// nobody restores what somebody else has just taken down again.
func (s *Server) shutOrOpen(ctx context.Context, in *updateSubjectStatusInput) (*subjectStatus, error) {
	s.moderating.Lock()
	defer s.moderating.Unlock()
	acct, err := s.administered(ctx, in.Subject.DID.AtIdentifier())
	if err != nil {
		return nil, err
	}
	if accountTakedown(acct).Applied == in.Takedown.Applied {
		return nil, &xrpc.Error{Status: 400, Name: "StatusChanged", Message: "The account's status has changed meanwhile", Err: web.ErrChanged}
	}
	return s.updateSubjectStatus(ctx, in)
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
		line, err := s.mailDeed(ctx, d)
		if err != nil {
			return err
		}
		err = s.audit(ctx, line, func(ctx context.Context) error {
			return s.store.Update(ctx, func(tx *store.Tx) error { return tx.RunMailNow(ctx, d.ID) })
		})
		s.wake(store.JobMail)
		return err
	case web.DeedRetryJob:
		kind, err := s.store.JobKind(ctx, d.ID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		err = s.audit(ctx, deed{action: d.Name, detail: strings.TrimSpace(fmt.Sprint(d.ID, " ", kind))}, func(ctx context.Context) error {
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

// mailDeed says whose mail is tried, and which: once it is sent, its number says nothing.
func (s *Server) mailDeed(ctx context.Context, d web.Deed) (deed, error) {
	out := deed{action: d.Name, detail: fmt.Sprint(d.ID)}
	m, err := s.store.Mail(ctx, d.ID)
	if errors.Is(err, store.ErrNotFound) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	out.detail += " " + m.Subject
	acct, err := s.store.AccountByID(ctx, m.Account)
	if errors.Is(err, store.ErrNotFound) {
		return out, nil
	}
	if err == nil {
		out.subject = acct.DID.String()
	}
	return out, err
}

// CreateInvites implements web.AdminHost.
func (h pageHost) CreateInvites(ctx context.Context, by *store.Account, count int, uses int64) ([]string, error) {
	out, err := audited(h.s, h.s.createInviteCodes)(byAdministrator(ctx, by, ""), &createInviteCodesInput{CodeCount: int64(count), UseCount: uses})
	if err != nil {
		return nil, forPage(err)
	}
	return out.Codes[0].Codes, nil
}
