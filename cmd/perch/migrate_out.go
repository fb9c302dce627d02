package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/urfave/cli/v3"

	"perch/pds"
)

func (p *program) migrateOutCommand() *cli.Command {
	return &cli.Command{
		Name:      "out",
		Usage:     "move an account from here to another server",
		ArgsUsage: "ACCOUNT",
		Description: "Asks for what the new server wants: a new password, and where needed a handle, an e-mail address, an invite code. The running server makes the\n" +
			"account there, sends posts, pictures and settings, and compares both sides. Then it mails its owner a code (\"perch account code ACCOUNT\n" +
			"plc-operation\" prints one), and with that the account is moved: it is deactivated here, what was written last is sent, the DID is changed, and the\n" +
			"account is activated there. Until the DID is changed --abandon takes everything back. The server goes on when this command is interrupted; called\n" +
			"again, it shows how far it has come. ACCOUNT is a handle or a DID. Answers may also come from the input, one a line.",
		Flags: []cli.Flag{
			serverFlag,
			&cli.StringFlag{Name: "to", Usage: "the new server's `URL`, such as https://pds.example.com"},
			&cli.StringFlag{Name: "handle", Usage: "the `HANDLE` that the account will have there (default: the one that it has, if that is not this server's)"},
			&cli.StringFlag{Name: "email", Usage: "its e-mail `ADDRESS` there (default: the one that it has here)"},
			&cli.StringFlag{Name: "invite", Usage: "the new server's invite `CODE`"},
			&cli.IntFlag{Name: "delete-after", HideDefault: true, Usage: "delete the account here so many `DAYS` after the move, at least 3 (default: it stays, deactivated)"},
			rotationKeyFlag("a mailed code"),
			&cli.BoolFlag{Name: "abandon", Usage: "give the move up"},
			&cli.BoolFlag{Name: "status", Usage: "only show how it stands"},
		},
		Action: p.migrateOut,
	}
}

// outMover leads one move to another server through its questions.
type outMover struct{ *mover }

func (p *program) migrateOut(ctx context.Context, c *cli.Command) error {
	m, done, err := p.mover(ctx, c, true)
	if done || err != nil {
		return err
	}
	m.base.To, m.base.Invite, m.base.DeleteDays = c.String("to"), c.String("invite"), c.Int("delete-after")
	return m.ended(ctx, (&outMover{m}).run(ctx))
}

func (m *outMover) run(ctx context.Context) error {
	for {
		out, err := m.send(ctx, pds.MigrateShow, pds.MigrateRequest{})
		if err != nil {
			return err
		}
		if !out.Found || out.Migration.Needs == pds.MigrationNeedsBegin || !out.Migration.Out || m.anew(out.Migration) {
			if err := m.begin(ctx); err != nil {
				return err
			}
			continue
		}
		st := out.Migration
		m.base.Account = st.DID.String() // its handle may change
		switch {
		case st.Report != nil:
			return m.report(st)
		case st.Needs == pds.MigrationNeedsSignIn:
			m.line("The new server has ended the session.")
			err = m.signIn(ctx, pds.MigrateSignIn, pds.MigrateRequest{})
		case st.Needs == pds.MigrationNeedsCode && m.key == "":
			err = m.mailedCode(ctx, st, "This server has mailed a code to the account's owner.")
		case st.Needs == pds.MigrationNeedsCode, st.Needs == pds.MigrationNeedsSignature:
			err = m.signature(ctx, st)
		default:
			err = m.wait(ctx, st)
		}
		if err != nil {
			return err
		}
	}
}

// anew tells whether what is known is a move that was given up, and another one is wanted.
func (m *outMover) anew(st *pds.Migration) bool {
	return st.State == pds.MigrationAbandoned && m.base.To != ""
}

// begin asks for what the new server wants until nothing is missing.
func (m *outMover) begin(ctx context.Context) error {
	if m.base.To == "" {
		return usagef("--to says which server the account moves to, such as https://pds.example.com")
	}
	fresh := ""
	for {
		out, err := m.send(ctx, pds.MigrateOut, pds.MigrateRequest{NewPassword: fresh})
		if err != nil {
			return err
		}
		st := out.Migration
		switch st.Needs {
		case pds.MigrationNeedsHandle:
			m.line(fmt.Sprintf("%s belongs to this server. Handles at the new one end in %s; one under an own domain is good too.", st.OldHandle, strings.Join(st.Domains, " or ")))
			m.base.Handle, err = m.ask("Handle there:")
		case pds.MigrationNeedsEmail:
			m.base.Email, err = m.ask("E-mail address there:")
		case pds.MigrationNeedsInvite:
			m.base.Invite, err = m.ask("Invite code of the new server:")
		case pds.MigrationNeedsPassword:
			fresh, err = m.secret("New password for the account there:")
		default:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// signature has the operation signed with the rotation key that was given, or by its owner elsewhere.
func (m *outMover) signature(ctx context.Context, st *pds.Migration) error {
	m.complete(st)
	if m.key != "" {
		_, err := m.send(ctx, pds.MigrateCode, pds.MigrateRequest{RotationKey: m.key})
		return err
	}
	text, err := json.Marshal(st.Operation)
	if err != nil {
		return err
	}
	m.line("The DID does not list this server's rotation key, so one of its owner's has to sign this operation (or give it with --rotation-key-file):")
	fmt.Fprintln(m.p.stdout, string(text))
	return m.untilTaken(func() error {
		signed, err := m.ask("The signed operation, in one line:")
		if err != nil {
			return err
		}
		in := m.base
		in.Action = pds.MigrateSigned
		if err := json.Unmarshal([]byte(signed), &in.Operation); err != nil {
			m.line("That is no operation: " + err.Error())
			return errAskAgain
		}
		return m.server.postTo(ctx, pds.MigratePath, in, &pds.MigrateAnswer{})
	})
}
