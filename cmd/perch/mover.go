package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"perch/pds"
)

// migratePoll is how often the server is asked how a move stands.
const migratePoll = time.Second

// mover leads one move through its questions, to here or from here.
type mover struct {
	*prompter
	server *client
	base   pds.MigrateRequest
	key    string // private rotation key; "" of somebody who enters a code
	out    bool   // to another server
	oauth  bool   // sign in with a browser
	from   progressMark
	shown  string
	told   string // the document that its owner was shown
}

// progressMark is what progress is measured from.
type progressMark struct {
	at    time.Time
	blobs int64
}

// mover makes what leads a move, unless the command line asks for less.
func (p *program) mover(ctx context.Context, c *cli.Command, out bool) (m *mover, done bool, err error) {
	server, err := p.client(ctx, c)
	if err != nil {
		return nil, false, err
	}
	m = &mover{prompter: p.prompter(), server: server, out: out, oauth: c.Bool("oauth")}
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

// other is what the other server is called.
func (m *mover) other() string {
	if m.out {
		return "new"
	}
	return "old"
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
	case m.out:
		fmt.Fprintln(m.p.stdout, "given up: the account here is as it was")
		if out.Found {
			for _, n := range out.Migration.Notes {
				fmt.Fprintln(m.p.stdout, n.Text)
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

// signIn asks for the password at the old server, and for the code of a second factor if it wants one.
func (m *mover) signIn(ctx context.Context, action string, in pds.MigrateRequest) (err error) {
	if in.Password, err = m.secret("Password of " + m.base.Account + " at the " + m.other() + " server:"); err != nil {
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
	where := "here, the same as at " + st.Host
	if st.Out {
		where = "at " + st.Host + ", the same as here"
	}
	m.line(fmt.Sprintf("%d records and %d of %d blobs are %s.", st.Records, carried(st), st.Blobs, where))
	for _, l := range st.Lost {
		m.line(fmt.Sprintf("Not to be had: blob %s: %s", l.CID, l.Reason))
	}
	for _, n := range st.Notes {
		m.line(n.Text)
	}
	if st.Error != "" {
		m.line(st.Error)
	}
}

// mailedCode asks for the code that was mailed until the server takes one.
func (m *mover) mailedCode(ctx context.Context, st *pds.Migration, mailed string) error {
	m.complete(st)
	m.line(mailed + " With it the account is moved, for good. (\"resend\" asks for another, --abandon gives up.)")
	return m.untilTaken(func() error {
		code, err := m.ask("Code from the mail:")
		if err != nil {
			return err
		}
		if code != "resend" {
			_, err = m.send(ctx, pds.MigrateCode, pds.MigrateRequest{Code: code})
		} else if _, err = m.send(ctx, pds.MigrateResend, pds.MigrateRequest{}); err == nil {
			err = errAskAgain
		}
		return err
	})
}

var errAskAgain = errors.New("ask again")

// untilTaken repeats a question until the server takes the answer.
func (m *mover) untilTaken(try func() error) error {
	for {
		err := try()
		var refused *serverError
		switch {
		case errors.Is(err, errAskAgain):
		case errors.As(err, &refused) && refused.Status < 500:
			m.line(refused.Message)
		default:
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

// tellDocument shows, once, what the owner of a did:web should publish.
func (m *mover) tellDocument(st *pds.Migration) {
	text := printable(string(st.Document))
	var lines bytes.Buffer
	if text == m.told || json.Indent(&lines, []byte(text), "", "  ") != nil {
		return
	}
	m.told = text
	fmt.Fprintf(m.p.stderr, "\nPublish this as the DID document of %s, with whatever else stands in yours:\n\n%s\n\n", st.DID, lines.Bytes())
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
		m.tellDocument(st)
		text = "waiting for the DID document to name the server that the account moves to"
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

// report shows what is left of a move that is done, and what did not go as it should.
func (m *mover) report(st *pds.Migration) error {
	m.line("Done.")
	r, w := st.Report, m.p.table()
	way, records := "from", fmt.Sprint(r.Records)
	if st.Out {
		way, records = "to", fmt.Sprintf("%d, of which follows %d", r.Records, r.Follows)
	}
	fmt.Fprintf(w, "handle\t%s\ndid\t%s\n%s\t%s\nrecords\t%s\nblobs\t%d (%s)\ntook\t%s\n",
		st.Handle, st.DID, way, st.Host, records, r.Blobs, size(r.BlobBytes), time.Duration(r.Seconds)*time.Second)
	for _, l := range r.Lost {
		fmt.Fprintf(w, "lost\tblob %s: %s\n", l.CID, l.Reason)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "note\t%s\n", n.Text)
	}
	return w.Flush()
}
