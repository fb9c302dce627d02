package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v3"

	"perch/pds"
)

// migratePoll is how often the server is asked how a move stands.
const migratePoll = time.Second

func (p *program) migrateCommand() *cli.Command {
	return &cli.Command{
		Name:  "migrate",
		Usage: "move accounts to the running server, or from it to another",
		Commands: []*cli.Command{
			{
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
					rotationKeyFlag,
					&cli.BoolFlag{Name: "oauth", Usage: "sign in at the old server in a browser, in place of giving its password here"},
					&cli.BoolFlag{Name: "abandon", Usage: "give the move up"},
					&cli.BoolFlag{Name: "status", Usage: "only show how it stands"},
				},
				Action: p.migrateIn,
			},
			p.migrateOutCommand(),
			p.bulkCommand(),
			{Name: "list", Usage: "list all moves, those to here and those from here", Flags: []cli.Flag{serverFlag}, Action: p.migrateList},
		},
	}
}

// mover leads one move through its questions.
type mover struct {
	*prompter
	server *client
	base   pds.MigrateRequest
	key    string // private rotation key; "" of somebody who enters a code
	other  string // what the other server is called: "old" or "new"
	oauth  bool   // sign in with a browser
	from   progressMark
	shown  string
}

// progressMark is what progress is measured from.
type progressMark struct {
	at    time.Time
	blobs int64
}

func (p *program) migrateIn(ctx context.Context, c *cli.Command) error {
	m, done, err := p.mover(ctx, c)
	if done || err != nil {
		return err
	}
	return m.ended(ctx, m.run(ctx))
}

// mover makes what leads a move, unless the command line asks for less.
func (p *program) mover(ctx context.Context, c *cli.Command) (m *mover, done bool, err error) {
	server, err := p.client(ctx, c)
	if err != nil {
		return nil, false, err
	}
	m = &mover{prompter: p.prompter(), server: server, other: "old", oauth: c.Bool("oauth")}
	if c.Name == "out" {
		m.other = "new"
	}
	m.base = pds.MigrateRequest{Account: strings.TrimPrefix(c.Args().First(), "@"), Handle: c.String("handle"), Email: c.String("email")}
	switch {
	case c.Bool("abandon"):
		return nil, true, m.abandon(ctx)
	case c.Bool("status"):
		out, err := m.send(ctx, pds.MigrateShow, pds.MigrateRequest{})
		if err == nil && !out.Found {
			err = fmt.Errorf("no move of %s has begun", m.base.Account)
		}
		if err != nil {
			return nil, true, err
		}
		return nil, true, p.showMoves(out.Migration)
	}
	m.key, err = rotationKey(m.prompter, c)
	return m, false, err
}

// ended says what the end of a command means for the move.
func (m *mover) ended(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, errNoAnswer):
		return fmt.Errorf("%w: nothing is lost; call this again to go on", err)
	case ctx.Err() != nil:
		return errors.New("interrupted; the server goes on. Call this again to see how it stands")
	}
	return err
}

// abandon returns when nothing is left of the move.
func (m *mover) abandon(ctx context.Context) error {
	out, err := m.send(ctx, pds.MigrateAbandon, pds.MigrateRequest{})
	if err == nil && out.Migration != nil {
		m.base.Account = out.Migration.DID.String() // its handle may not resolve
	}
	for err == nil && out.Found && out.Migration.State != pds.MigrationAbandoned {
		select {
		case <-ctx.Done():
			return errors.New("interrupted; the server goes on with giving up")
		case <-time.After(migratePoll / 4):
			out, err = m.send(ctx, pds.MigrateShow, pds.MigrateRequest{})
		}
	}
	switch {
	case err != nil:
		return err
	case m.other == "new":
		fmt.Fprintln(m.p.stdout, "given up: the account here is as it was")
		if out.Found {
			for _, n := range out.Migration.Notes {
				fmt.Fprintln(m.p.stdout, n)
			}
		}
		return nil
	}
	fmt.Fprintln(m.p.stdout, "given up: the account and its data here are deleted, unless it was here before, and nothing has changed at the old server")
	return nil
}

// send asks the server for an action, with what more holds.
func (m *mover) send(ctx context.Context, action string, more pds.MigrateRequest) (out pds.MigrateAnswer, err error) {
	in := m.base
	in.Action, in.Password, in.Code, in.NewPassword, in.RotationKey = action, more.Password, more.Code, more.NewPassword, more.RotationKey
	return out, m.server.postTo(ctx, pds.MigratePath, in, &out)
}

func (m *mover) run(ctx context.Context) error {
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
			err = m.code(ctx, st)
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

func (m *mover) begin(ctx context.Context) error {
	fresh, err := m.secret("New password for the account here:")
	if err != nil {
		return err
	}
	return m.signIn(ctx, pds.MigrateBegin, pds.MigrateRequest{NewPassword: fresh, RotationKey: m.key})
}

// signIn asks for the password at the old server, and for the code of a second factor if it wants one.
func (m *mover) signIn(ctx context.Context, action string, in pds.MigrateRequest) (err error) {
	if in.Password, err = m.secret("Password of " + m.base.Account + " at the " + m.other + " server:"); err != nil {
		return err
	}
	return m.signInWith(ctx, action, in)
}

func (m *mover) signInWith(ctx context.Context, action string, in pds.MigrateRequest) error {
	out, err := m.send(ctx, action, in)
	if err != nil || out.Migration == nil || out.Migration.Needs != pds.MigrationNeedsFactor {
		return err
	}
	if in.Code, err = m.ask("Code of the second factor (by e-mail or from the app):"); err != nil {
		return err
	}
	_, err = m.send(ctx, action, in)
	return err
}

// complete says that both sides hold the same, or what is missing.
func (m *mover) complete(st *pds.Migration) {
	m.line(fmt.Sprintf("%d records and %d of %d blobs are here, the same as at %s.", st.Records, st.BlobsHere, st.Blobs, st.Host))
	for _, l := range st.Lost {
		m.line(fmt.Sprintf("Not to be had: blob %s: %s", l.CID, l.Reason))
	}
	if st.Error != "" {
		m.line(st.Error)
	}
}

// code asks for the mailed code until the old server takes one.
func (m *mover) code(ctx context.Context, st *pds.Migration) error {
	m.complete(st)
	m.line("The old server has mailed a code. With it the account is moved, for good. (\"resend\" asks for another, --abandon gives up.)")
	for {
		code, err := m.ask("Code from the mail:")
		if err != nil {
			return err
		}
		action := pds.MigrateCode
		if code == "resend" {
			action = pds.MigrateResend
		}
		_, err = m.send(ctx, action, pds.MigrateRequest{Code: code})
		var refused *serverError
		if errors.As(err, &refused) && refused.Status < 500 {
			m.line(refused.Message)
			continue
		}
		if err != nil || action == pds.MigrateCode {
			return err
		}
	}
}

// wait shows how far the move has come, and lets some time pass.
func (m *mover) wait(ctx context.Context, st *pds.Migration) error {
	m.progress(st)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(migratePoll):
		return nil
	}
}

// carried is how many blobs are at the new host.
func carried(st *pds.Migration) int64 {
	if st.Out {
		return st.BlobsThere
	}
	return st.BlobsHere
}

// progress shows how far the move has come: on a terminal in one line, else whenever there is something new.
func (m *mover) progress(st *pds.Migration) {
	bytes := st.RepoBytes
	if !st.Out {
		bytes += st.BlobBytes
	}
	text := fmt.Sprintf("%s: %d records, %d of %d blobs, %s", st.State, st.Records, carried(st), st.Blobs, size(bytes))
	if left := m.left(st); left > 0 {
		text += ", " + left.String() + " left"
	}
	if st.Needs == pds.MigrationNeedsDocument {
		text = fmt.Sprintf("waiting for the DID document to name the server that the account moves to: %v", st.Document)
	}
	if st.Error != "" {
		text += "; tries again: " + printable(st.Error)
	}
	if m.p.onTerminal() {
		fmt.Fprintf(m.p.stderr, "\r\033[K%s", text)
	} else if text != m.shown {
		fmt.Fprintln(m.p.stderr, text)
	}
	m.shown = text
}

// left is how long the blobs will take that are not here yet, at the pace so far.
func (m *mover) left(st *pds.Migration) time.Duration {
	now := carried(st)
	if m.from.at.IsZero() || now < m.from.blobs {
		m.from = progressMark{time.Now(), now}
	}
	done, todo := now-m.from.blobs, st.Blobs-now
	if done == 0 || todo <= 0 {
		return 0
	}
	return (time.Since(m.from.at) / time.Duration(done) * time.Duration(todo)).Round(time.Second)
}

func (m *mover) line(text string) {
	if m.shown != "" && m.p.onTerminal() {
		fmt.Fprintln(m.p.stderr)
	}
	m.shown = ""
	fmt.Fprintln(m.p.stderr, printable(text))
}

func (m *mover) report(st *pds.Migration) error {
	m.line("Done.")
	r, w := st.Report, tabwriter.NewWriter(m.p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "handle\t%s\ndid\t%s\nfrom\t%s\nrecords\t%d\nblobs\t%d (%s)\ntook\t%s\n",
		st.Handle, st.DID, st.Host, r.Records, r.Blobs, size(r.BlobBytes), time.Duration(r.Seconds)*time.Second)
	return m.remarks(w, r)
}

// remarks ends a report with what did not go as it should.
func (m *mover) remarks(w *tabwriter.Writer, r *pds.MigrationReport) error {
	for _, l := range r.Lost {
		fmt.Fprintf(w, "lost\tblob %s: %s\n", l.CID, l.Reason)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "note\t%s\n", n)
	}
	return w.Flush()
}

func (p *program) migrateList(ctx context.Context, c *cli.Command) error {
	server, err := p.client(ctx, c)
	if err != nil {
		return err
	}
	var out pds.MigrateAnswer
	if err := server.postTo(ctx, pds.MigratePath, pds.MigrateRequest{Action: pds.MigrateList}, &out); err != nil {
		return err
	}
	return p.showMoves(out.Migrations...)
}

func (p *program) showMoves(all ...*pds.Migration) error {
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	for _, st := range all {
		waits := st.Error
		if st.Needs != "" {
			waits = "needs " + st.Needs
		}
		way, name := "from", st.Handle.String()
		if st.Out {
			way = "to"
		}
		if name == "" {
			name = st.OldHandle
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d records\t%d/%d blobs\t%s %s\t%s\n", name, st.DID, st.State, st.Records, carried(st), st.Blobs, way, st.Host, waits)
	}
	return w.Flush()
}
