package pds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"perch/pds/account"
	"perch/pds/mail"
	"perch/pds/seal"
	"perch/pds/store"
)

const (
	// mailRetryMax is the longest pause between two attempts to send a mail: a code is of no use after a quarter of an hour.
	mailRetryMax = 4 * time.Minute
	// plainMailLifetime is how long it is tried to send a mail that carries no code.
	plainMailLifetime = 3 * 24 * time.Hour
	// mailLogLifetime is how long a mail that was sent or given up is listed.
	mailLogLifetime = 30 * 24 * time.Hour

	// jobPasswordReset is the kind of jobs that send a code to an address, if it is an account's. The payload is a passwordResetJob.
	jobPasswordReset = "password-reset"

	// mailSeal is the name under which messages are sealed: they carry codes, and wait in the database.
	mailSeal = "mail"
)

// outbox takes mail. *mail.Server is one.
type outbox interface {
	Send(ctx context.Context, m mail.Message) error
}

// sender says in whose name a mail goes.
type sender string

const (
	fromServer     sender = ""
	fromModerators sender = "moderation"
)

// errNoMailServer is why nothing was sent.
var errNoMailServer = errors.New("no mail server: set PDS_EMAIL_SMTP_URL and PDS_EMAIL_FROM_ADDRESS")

func (s *Server) buildMail(box *seal.Box) error {
	s.box = box
	s.letters = mail.Letters{Service: s.cfg.DisplayName(), URL: s.cfg.PublicURL(), Contact: s.cfg.ContactEmailAddress}
	main, err := newMailServer(s.cfg, s.cfg.EmailSMTPURL, s.cfg.EmailFromAddress)
	if err != nil || main == nil {
		return err
	}
	moderation, err := newMailServer(s.cfg, given(s.cfg.ModerationEmailSMTPURL, func() string { return s.cfg.EmailSMTPURL }),
		given(s.cfg.ModerationEmailAddress, func() string { return s.cfg.EmailFromAddress }))
	s.mailer, s.moderation = main, moderation
	return err
}

// newMailServer returns nil when there is no URL.
func newMailServer(cfg *Config, url, from string) (*mail.Server, error) {
	if url == "" {
		return nil, nil
	}
	server, err := mail.NewServer(mail.Options{URL: url, From: from, Name: cfg.DisplayName(), Hostname: cfg.Hostname})
	if err != nil {
		return nil, fmt.Errorf("mail settings: %w", err)
	}
	return server, nil
}

// waitingMail is a message as it waits in the database, sealed.
type waitingMail struct {
	Sender  sender       `json:"sender,omitempty"`
	Message mail.Message `json:"message"`
}

// postMail stores a message to an account with the job that sends it, as part of the transaction. It is tried until expires. The caller wakes
// store.JobMail once the transaction is done.
func (s *Server) postMail(ctx context.Context, tx *store.Tx, acct *store.Account, from sender, m mail.Message, expires time.Time) error {
	text, err := json.Marshal(waitingMail{from, m})
	if err != nil {
		return err
	}
	return tx.AddMail(ctx, store.Mail{
		Account: acct.ID, To: m.To, Subject: m.Subject, Sealed: s.box.Seal(mailSeal, text), CreatedAt: tx.Now(), ExpiresAt: expires,
	})
}

// mailCode makes a code for the account and sends it to its address. The error is errNoEmail when there is none.
func (s *Server) mailCode(ctx context.Context, acct *store.Account, purpose account.Purpose) error {
	_, err := s.accounts.NewCode(ctx, acct.ID, purpose, func(tx *store.Tx, now *store.Account, code account.Code) error {
		return s.postCode(ctx, tx, now, code)
	})
	s.wake(store.JobMail)
	return err
}

// postCode stores the mail that carries a code, as part of the transaction that makes it. The error is errNoEmail when the account has no address.
func (s *Server) postCode(ctx context.Context, tx *store.Tx, acct *store.Account, code account.Code) error {
	if acct.Email == "" {
		return errNoEmail
	}
	m, ok := s.letters.Code(string(code.Purpose), acct.Email, addressee(acct), code.Text, account.CodeLifetime)
	if !ok {
		return fmt.Errorf("no letter for %s", code.Purpose)
	}
	return s.postMail(ctx, tx, acct, fromServer, m, code.ExpiresAt)
}

// addressee is what an account is called in a letter.
func addressee(a *store.Account) string {
	if a.Handle != "" {
		return a.Handle.String()
	}
	return a.DID.String()
}

type passwordResetJob struct {
	Email string `json:"email"`
}

// mailPasswordReset sends a code to the address if an account has it. It is a job, so that neither the answer to the request nor its time tells whether
// there is such an account.
func (s *Server) mailPasswordReset(ctx context.Context, payload string) error {
	var job passwordResetJob
	if err := json.Unmarshal([]byte(payload), &job); err != nil {
		return err
	}
	acct, err := s.store.AccountByEmail(ctx, job.Email)
	if err == nil {
		err = s.mailCode(ctx, acct, account.ForResetPassword)
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// deliver sends a message that waits. It is done with it when it was sent, and when it never will be.
func (s *Server) deliver(ctx context.Context, payload string) error {
	id, err := strconv.ParseInt(payload, 10, 64)
	if err != nil {
		return err
	}
	m, err := s.store.Mail(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && !m.Waits() {
		return nil // its account is gone, or a crash came between this end and the job's
	}
	if err != nil {
		return err
	}
	if !time.Now().Before(m.ExpiresAt) {
		return s.giveUpMail(ctx, &m, fmt.Errorf("not sent while it was of use; last attempt: %s", given(m.Error, func() string { return "none" })))
	}
	err = s.sendWaiting(ctx, &m)
	switch {
	case err == nil:
		return s.store.MailSent(context.WithoutCancel(ctx), id) // or it would be sent again
	case ctx.Err() != nil:
		return err // the server is stopping, and will try again
	case errors.Is(err, mail.ErrRefused), errors.Is(err, errNoMailServer), errors.Is(err, seal.ErrOpen):
		return s.giveUpMail(ctx, &m, err)
	}
	return errors.Join(err, s.store.MailFailed(ctx, id, err, false))
}

func (s *Server) sendWaiting(ctx context.Context, m *store.Mail) error {
	text, err := s.box.Open(mailSeal, m.Sealed)
	if err != nil {
		return err
	}
	var w waitingMail
	if err := json.Unmarshal(text, &w); err != nil {
		return err
	}
	out := s.mailer
	if w.Sender == fromModerators {
		out = s.moderation
	}
	if out == nil {
		return errNoMailServer
	}
	w.Message.ID = fmt.Sprintf("%d.%d", m.CreatedAt.UnixMicro(), m.ID) // the same at the next attempt, should this one be taken and its answer be lost
	return out.Send(ctx, w.Message)
}

// giveUpMail tells the operator, who can help with `perch account code`. Nothing in the log opens an account.
func (s *Server) giveUpMail(ctx context.Context, m *store.Mail, cause error) error {
	did := "-"
	if acct, err := s.store.AccountByID(ctx, m.Account); err == nil {
		did = acct.DID.String()
	}
	s.log.WarnContext(ctx, "a mail was not sent; `perch mail` lists it, `perch account code` prints the code that somebody may wait for",
		"did", did, "subject", m.Subject, "err", cause)
	return s.store.MailFailed(ctx, m.ID, cause, true)
}

func (s *Server) sweepMails(ctx context.Context) error {
	return s.store.Update(ctx, func(tx *store.Tx) error { return tx.SweepMails(ctx, time.Now().Add(-mailLogLifetime)) })
}

// SendTestMail sends a mail to the address with the settings as they are, and returns what the mail server says.
func SendTestMail(ctx context.Context, cfg *Config, to string) error {
	server, err := newMailServer(cfg, cfg.EmailSMTPURL, cfg.EmailFromAddress)
	if err != nil {
		return err
	}
	if server == nil {
		return errNoMailServer
	}
	letters := mail.Letters{Service: cfg.DisplayName(), URL: cfg.PublicURL()}
	return server.Send(ctx, letters.Test(to))
}
