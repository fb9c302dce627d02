package main

import (
	"context"
	"errors"

	"github.com/urfave/cli/v3"

	"perch/pds"
)

func (p *program) migrateInCommand() *cli.Command {
	return &cli.Command{
		Name:      "in",
		Usage:     "move an account here from the server where it lives",
		ArgsUsage: "ACCOUNT",
		Description: "Asks for the password there, the code of a second factor if there is one, and a new password for here. The running server fetches posts,\n" +
			"pictures and settings, and compares both sides. Then the old server mails a code, and with that the account is moved. Until then --abandon\n" +
			"takes everything back. The server goes on when this command is interrupted; called again, it shows how far it has come.\n" +
			"With --oauth it shows an address for the owner to open, in a browser that can reach this server's address too, and waits for the sign-in there.\n" +
			"Who has a rotation key of the DID (k256 or p256) needs no code: --rotation-key-file signs the change here. The key is not kept.\n" +
			"ACCOUNT is a handle or a DID. Answers may also come from the input, one a line.",
		Flags: []cli.Flag{
			serverFlag,
			&cli.StringFlag{Name: "handle", Usage: "the `HANDLE` that the account will have here (default: the one that it has)"},
			&cli.StringFlag{Name: "email", Usage: "its e-mail `ADDRESS` here (default: the one that the old server knows)"},
			rotationKeyFlag("a mailed code"),
			&cli.BoolFlag{Name: "oauth", Usage: "sign in at the old server in a browser, in place of giving its password here"},
			&cli.BoolFlag{Name: "abandon", Usage: "give the move up"},
			&cli.BoolFlag{Name: "status", Usage: "only show how it stands"},
		},
		Action: p.migrateIn,
	}
}

// inMover leads one move to here through its questions.
type inMover struct{ *mover }

func (p *program) migrateIn(ctx context.Context, c *cli.Command) error {
	m, done, err := p.mover(ctx, c, false)
	if done || err != nil {
		return err
	}
	return m.ended(ctx, (&inMover{m}).run(ctx))
}

func (m *inMover) run(ctx context.Context) error {
	if err := m.announceKey(ctx); err != nil {
		return err
	}
	for {
		out, err := m.send(ctx, pds.MigrateShow, pds.MigrateRequest{})
		if err != nil {
			return err
		}
		st := out.Migration
		switch {
		case m.oauth && (toBegin(st) || st.Needs == pds.MigrationNeedsSignIn && !st.Out):
			err = m.consent(ctx)
		case toBegin(st):
			err = m.begin(ctx)
		case st.Out:
			return errors.New("the account is moving away from here; see perch migrate out")
		case st.Needs == pds.MigrationNeedsAccount:
			err = m.choosePassword(ctx)
		case st.Needs == pds.MigrationNeedsFarewell:
			err = m.farewell(ctx, st)
		case st.Report != nil:
			return m.report(st)
		case st.Needs == pds.MigrationNeedsSignIn:
			m.line("The old server has ended the session.")
			err = m.signIn(ctx, pds.MigrateSignIn, pds.MigrateRequest{})
		case st.Needs == pds.MigrationNeedsCode:
			err = m.mailedCode(ctx, st, "The old server has mailed a code.")
		case st.Needs == pds.MigrationNeedsKey:
			err = m.sign(ctx, st)
		default:
			err = m.wait(ctx, st)
		}
		if err != nil {
			return err
		}
	}
}

// toBegin tells that an account's move to here has not begun. One away from here may have ended.
func toBegin(st *pds.Migration) bool {
	return st == nil || st.Needs == pds.MigrationNeedsBegin || st.Needs == pds.MigrationNeedsConsent || st.Out && st.State.Ended()
}

func (m *inMover) begin(ctx context.Context) error {
	fresh, err := m.secret("New password for the account here:")
	if err != nil {
		return err
	}
	return m.signIn(ctx, pds.MigrateBegin, pds.MigrateRequest{NewPassword: fresh, RotationKey: m.key})
}
