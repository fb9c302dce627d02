package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"perch/pds"
)

func (p *program) codeCommand() *cli.Command {
	return &cli.Command{
		Name:      "code",
		Usage:     "print a code that would go to an account's e-mail address",
		ArgsUsage: "HANDLE PURPOSE",
		Description: "For people who get no mail. PURPOSE is one of " + strings.Join(pds.PurposeNames(), ", ") + ".\n" +
			"The code is good once, for a quarter of an hour, and takes the place of one that was mailed. Make sure whom you give it to.\n" +
			"Instead of a handle, a DID or an e-mail address will do. If no server runs, its database is used.",
		Flags:  []cli.Flag{serverFlag},
		Action: p.accountCode,
	}
}

func (p *program) accountCode(ctx context.Context, c *cli.Command) error {
	name, word := c.Args().Get(0), c.Args().Get(1)
	purpose, err := pds.ParsePurpose(word)
	if err != nil {
		return usagef("%w", err)
	}
	var out *pds.CodeAnswer
	err = p.runningOrNot(ctx, c, func(server *client) error {
		return server.postTo(ctx, pds.CodePath, pds.CodeRequest{Account: name, Purpose: word}, &out)
	}, func(cfg *pds.Config) (err error) {
		out, err = pds.MakeCode(ctx, cfg, name, purpose)
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(p.stdout, out.Code)
	fmt.Fprintf(p.stderr, "good for %s (%s) until %s\n", out.Handle, out.DID, out.ExpiresAt.Local().Format(time.TimeOnly))
	return nil
}

// runningOrNot asks the running server, or else does without it, unless a server was named.
func (p *program) runningOrNot(ctx context.Context, c *cli.Command, running func(*client) error, stopped func(*pds.Config) error) error {
	server, err := p.client(ctx, c)
	if err != nil {
		return err
	}
	err = running(server)
	if !errors.Is(err, errNoServer) || c.String("server") != "" {
		return err
	}
	cfg, err := p.config(c)
	if err != nil {
		return err
	}
	return stopped(cfg)
}

func (p *program) mailCommand() *cli.Command {
	return &cli.Command{
		Name:        "mail",
		Usage:       "list the mails that were not sent",
		Description: "Lists what waits for its next attempt and what was given up in the last 30 days, the newest first.\nIf no server runs, its database is read.",
		Flags:       []cli.Flag{serverFlag},
		Action:      p.listMail,
		Commands: []*cli.Command{{
			Name:      "test",
			Usage:     "send a mail with the settings as they are",
			ArgsUsage: "ADDRESS",
			Action:    p.testMail,
		}},
	}
}

func (p *program) listMail(ctx context.Context, c *cli.Command) error {
	var mails []pds.UnsentMail
	err := p.runningOrNot(ctx, c, func(server *client) error {
		return server.do(ctx, http.MethodGet, pds.MailPath, nil, &mails)
	}, func(cfg *pds.Config) (err error) {
		mails, err = pds.UnsentMails(ctx, cfg)
		return err
	})
	if err != nil {
		return err
	}
	w := p.table("TIME", "TO", "HANDLE", "SUBJECT", "STATE")
	for _, m := range mails {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", m.CreatedAt.Local().Format("2006-01-02 15:04"), m.To, dash(m.Handle.String()), m.Subject, mailState(&m))
	}
	return w.Flush()
}

func mailState(m *pds.UnsentMail) string {
	switch {
	case m.GivenUp:
		return "given up: " + m.Error
	case m.Error != "":
		return fmt.Sprintf("waits after %d attempts: %s", m.Attempts, m.Error)
	}
	return "waits"
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (p *program) testMail(ctx context.Context, c *cli.Command) error {
	cfg, err := p.config(c)
	if err != nil {
		return err
	}
	if err := pds.SendTestMail(ctx, cfg, c.Args().First()); err != nil {
		return err
	}
	fmt.Fprintln(p.stdout, "the mail server has taken it")
	return nil
}
