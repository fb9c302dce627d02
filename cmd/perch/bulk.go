package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v3"
	"golang.org/x/sync/errgroup"

	"perch/pds"
	"perch/pds/migrate/batch"
)

const maxConcurrency = 64

func (p *program) bulkCommand() *cli.Command {
	return &cli.Command{
		Name:      "bulk",
		Usage:     "move the accounts of a list here",
		ArgsUsage: "FILE.csv",
		Description: "The first line of the list names its columns: " + strings.Join(batch.Columns, ", ") + ".\n" +
			"\"handle\" or \"did\" may stand for \"account\". All else may be empty. Without \"new-password\" the account gets a random one, and at the end its owner\n" +
			"is mailed a code with which to choose another. Commas, semicolons and tabs are taken. All mistakes are told before anything begins.\n" +
			"Interrupted, or when accounts wait for their owners, call it again with the same list: it goes on where it was, with the codes filled in since.\n" +
			"What became of each account is written to a file. Exit code 0: all are done; 3: not yet.",
		Flags: []cli.Flag{
			serverFlag,
			&cli.IntFlag{Name: "concurrency", Value: 4, Usage: "how `MANY` accounts move at a time"},
			rotationKeyFlag("a mailed code"),
			&cli.StringFlag{Name: "host", Usage: "the old server's `URL`; accounts that live elsewhere are left out"},
			&cli.StringFlag{Name: "results", TakesFile: true, Usage: "`FILE` for the results (default: the list's name with .results.csv)"},
			&cli.BoolFlag{Name: "dry-run", Usage: "only look at the list and where its accounts live"},
		},
		Action: p.migrateBulk,
	}
}

// bulk leads the moves of a list.
type bulk struct {
	p       *program
	server  *client
	key     string // private rotation key, or ""
	host    string // origin of the old server, or ""
	rows    []*bulkRow
	results string // file
	every   time.Duration

	mu sync.Mutex // guards what rows have come to
}

// bulkRow is an account of the list.
type bulkRow struct {
	batch.Row
	st    pds.Migration // how it stands
	waits string        // what for, when the row is at rest
	err   string        // why it is at rest, or what is tried again
	done  bool
	busy  bool // is led just now
	shown string
}

func (p *program) migrateBulk(ctx context.Context, c *cli.Command) error {
	b, err := p.newBulk(ctx, c)
	if err != nil {
		return err
	}
	limit := c.Int("concurrency")
	if limit < 1 || limit > maxConcurrency {
		return usagef("--concurrency: from 1 to %d", maxConcurrency)
	}
	b.every = migratePoll * time.Duration(max(1, limit/4)) // with regard to the server's rate limit
	if err := b.each(ctx, limit, b.plan); err != nil && ctx.Err() == nil {
		return err
	} else if err != nil {
		return errors.New("interrupted before anything began")
	}
	if err := b.twins(); err != nil {
		return err
	}
	if c.Bool("dry-run") {
		if err := b.showPlan(); err != nil {
			return err
		}
		return b.unfinished(func(r *bulkRow) bool { return r.err == "" })
	}
	stop := b.watch()
	err = b.each(ctx, limit, func(ctx context.Context, r *bulkRow) error {
		if r.err != "" {
			return nil // plan says why not
		}
		return b.lead(ctx, r)
	})
	stop()
	if err := errors.Join(b.write(), b.showResults()); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted; the server goes on with what has begun. Call this again to see how it stands")
	case err != nil:
		return err
	}
	b.advise()
	return b.unfinished(func(r *bulkRow) bool { return r.done })
}

func (p *program) newBulk(ctx context.Context, c *cli.Command) (*bulk, error) {
	server, err := p.client(ctx, c)
	if err != nil {
		return nil, err
	}
	name := c.Args().First()
	f, err := os.Open(name)
	if err != nil {
		return nil, usagef("%w", err)
	}
	defer f.Close()
	rows, err := batch.Read(f)
	if err != nil {
		return nil, &exitError{exitUsage, fmt.Errorf("%s: nothing has begun, because the list has mistakes:\n%w", name, err)}
	}
	b := &bulk{p: p, server: server, host: strings.TrimSuffix(c.String("host"), "/"), results: c.String("results")}
	if b.host != "" && !strings.Contains(b.host, "://") {
		b.host = "https://" + b.host
	}
	if b.results == "" {
		b.results = strings.TrimSuffix(name, filepath.Ext(name)) + ".results.csv"
	}
	if list, err := f.Stat(); err != nil {
		return nil, err
	} else if there, err := os.Stat(b.results); err == nil && os.SameFile(list, there) {
		return nil, usagef("--results: %s is the list itself", b.results)
	}
	if b.key, err = rotationKey(p.prompter(), c); err != nil {
		return nil, err
	}
	for _, r := range rows {
		row := &bulkRow{Row: r}
		row.st.DID, _ = r.Account.AsDID()
		b.rows = append(b.rows, row)
	}
	return b, nil
}

// each does something with all rows, limit at a time.
func (b *bulk) each(ctx context.Context, limit int, do func(context.Context, *bulkRow) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(limit)
	for _, r := range b.rows {
		g.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			b.note(func() { r.busy = true })
			defer b.note(func() { r.busy = false })
			return do(ctx, r)
		})
	}
	return g.Wait()
}

func (b *bulk) note(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

// send asks the server for an action on a row's account.
func (b *bulk) send(ctx context.Context, r *bulkRow, in pds.MigrateRequest) (*pds.Migration, error) {
	in.Account = r.Account.String()
	if r.st.DID != "" {
		in.Account = r.st.DID.String() // its handle may not resolve any more
	}
	var out pds.MigrateAnswer
	if err := b.server.postTo(ctx, pds.MigratePath, in, &out); err != nil {
		return nil, err
	}
	if out.Migration != nil {
		b.note(func() { r.st = *out.Migration })
	}
	return out.Migration, nil
}

// begin is what the row's move begins with.
func (b *bulk) begin(r *bulkRow, action string) pds.MigrateRequest {
	return pds.MigrateRequest{
		Action: action, Password: r.Password, Code: r.Factor, NewPassword: r.NewPassword, MailReset: r.NewPassword == "",
		Handle: r.NewHandle, Email: r.Email, RotationKey: b.key,
	}
}

// plan finds out where a row's account lives and how its move stands. What is wrong with one account holds up no other.
func (b *bulk) plan(ctx context.Context, r *bulkRow) error {
	st, err := b.send(ctx, r, pds.MigrateRequest{Action: pds.MigrateShow})
	if refused := (*serverError)(nil); errors.As(err, &refused) && refused.Name == "AccountNotFound" ||
		err == nil && toBegin(st) {
		in := b.begin(r, pds.MigratePlan)
		in.Password, in.Code, in.NewPassword = "", "", ""
		st, err = b.send(ctx, r, in)
	}
	refused := (*serverError)(nil)
	switch {
	case errors.As(err, &refused) && refused.Status != 401:
		b.note(func() { r.err = printable(refused.Name + ": " + refused.Message) })
	case err != nil:
		return err
	case b.host != "" && st.Host != b.host && st.Report == nil:
		b.note(func() { r.err = fmt.Sprintf("lives at %s, not at %s", st.Host, b.host) })
	}
	return nil
}

// twins refuses a list that names an account twice, by handle and by DID.
func (b *bulk) twins() error {
	lines, wrong := map[string]int{}, []error(nil)
	for _, r := range b.rows {
		did := r.st.DID.String()
		if first, twice := lines[did]; twice && did != "" {
			wrong = append(wrong, fmt.Errorf("line %d: %s is the account of line %d", r.Line, r.Account, first))
		}
		lines[did] = r.Line
	}
	if len(wrong) > 0 {
		return &exitError{exitUsage, fmt.Errorf("nothing has begun, because the list has mistakes:\n%w", errors.Join(wrong...))}
	}
	return nil
}

// unfinished is the error of a list of which not all rows are as they should be.
func (b *bulk) unfinished(ok func(*bulkRow) bool) error {
	good := 0
	for _, r := range b.rows {
		if ok(r) {
			good++
		}
	}
	if good == len(b.rows) {
		return nil
	}
	return &exitError{exitProblems, fmt.Errorf("%d of %d accounts: not yet", len(b.rows)-good, len(b.rows))}
}
