package pds

import (
	"context"
	"html"
	"regexp"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/mail"
	"perch/pds/store"
	"perch/xrpc"
)

const (
	defaultModeratorSubject = "Message via your PDS" // the reference's
	maxModeratorSubject     = 512                    // bytes
)

type sendEmailInput struct {
	RecipientDID syntax.DID `json:"recipientDid"`
	SenderDID    syntax.DID `json:"senderDid"`
	Subject      string     `json:"subject"`
	Content      string     `json:"content"`
	Comment      string     `json:"comment"` // for the log
}

type sendEmailOutput struct {
	Sent bool `json:"sent"`
}

// sendEmail sends the moderators' HTML to an account's address, in whatever state the account is: they may have to say why it was taken down. "Sent"
// means that it waits in the database, and will be tried for days.
func (s *Server) sendEmail(ctx context.Context, in *sendEmailInput) (*sendEmailOutput, error) {
	acct, err := s.administered(ctx, in.RecipientDID.AtIdentifier())
	if err != nil {
		return nil, err
	}
	if acct.Email == "" {
		return nil, xrpc.InvalidRequest("account does not have an email address")
	}
	if len(in.Subject) > maxModeratorSubject {
		return nil, xrpc.InvalidRequest("subject is too long: at most %d bytes", maxModeratorSubject)
	}
	subject := in.Subject
	if strings.TrimSpace(subject) == "" {
		subject = defaultModeratorSubject
	}
	m := s.letters.Plain(acct.Email, subject, plainText(in.Content))
	m.HTML = in.Content
	if err := s.postModeratorMail(ctx, acct, m); err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "mail of the moderators", "did", acct.DID, "sender", in.SenderDID, "subject", subject, "comment", in.Comment)
	return &sendEmailOutput{Sent: true}, nil
}

func (s *Server) postModeratorMail(ctx context.Context, acct *store.Account, m mail.Message) error {
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		return s.postMail(ctx, tx, acct, fromModerators, m, tx.Now().Add(plainMailLifetime))
	})
	s.wake(store.JobMail)
	return err
}

var (
	htmlHidden = regexp.MustCompile(`(?is)<(style|script|head)\b.*?</(style|script|head)>|<!--.*?-->`)
	htmlBreak  = regexp.MustCompile(`(?i)<(br|/p|/div|/h[1-6]|/li|/tr)\b[^>]*>`)
	htmlTag    = regexp.MustCompile(`(?s)<[^>]*>`)
	blankLines = regexp.MustCompile(`\n\s*\n\s*`)
)

// plainText is the text of a message in HTML, for readers that show none.
func plainText(content string) string {
	s := htmlHidden.ReplaceAllString(content, "")
	s = htmlBreak.ReplaceAllString(s, "\n")
	s = htmlTag.ReplaceAllString(s, "")
	return strings.TrimSpace(blankLines.ReplaceAllString(html.UnescapeString(s), "\n\n"))
}
