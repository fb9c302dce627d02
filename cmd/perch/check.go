package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v3"
	"golang.org/x/term"

	"perch/pds"
	"perch/pds/adopt"
)

// progressInterval is how often a progress bar is drawn.
const progressInterval = 100 * time.Millisecond

func (p *program) checkCommand() *cli.Command {
	return &cli.Command{
		Name:        "check",
		Usage:       "verify everything that is stored",
		ArgsUsage:   "[DID]",
		Description: "Verifies every account, or the one named: records, tree, signatures, keys, blobs and events belong together.\nEach problem is one line of the output. The server must not run.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "blobs", Usage: "read all blobs and verify their bytes too"},
		},
		Action: p.check,
	}
}

func (p *program) check(ctx context.Context, c *cli.Command) error {
	cfg, err := p.config(c)
	if err != nil {
		return err
	}
	if _, err := os.Stat(cfg.DatabasePath()); err != nil {
		return fmt.Errorf("there is nothing to check, or PDS_DATA_DIRECTORY names another folder: %w", err)
	}
	progress, done := p.progress()
	problems, err := pds.Check(ctx, cfg, pds.CheckOptions{DID: c.Args().First(), Blobs: c.Bool("blobs"), Progress: progress})
	done()
	for _, line := range problems {
		fmt.Fprintln(p.stdout, line)
	}
	switch {
	case err != nil && len(problems) > 0:
		return &exitError{exitProblems, fmt.Errorf("%w; the check went no further", err)}
	case err != nil:
		return err
	case len(problems) == 1:
		return &exitError{exitProblems, fmt.Errorf("1 problem")}
	case len(problems) > 1:
		return &exitError{exitProblems, fmt.Errorf("%d problems", len(problems))}
	}
	fmt.Fprintln(p.stdout, "no problems")
	return nil
}

// progress returns a function that shows how far something is, when somebody can see it, and one that takes it away. Each step has a bar of its own, so that the time
// left is that of the step.
func (p *program) progress() (show func(done, total int, what string), end func()) {
	if !isTerminal(p.stderr) {
		return nil, func() {}
	}
	var mu sync.Mutex
	var bar *progressbar.ProgressBar
	step := ""
	show = func(done, total int, what string) {
		mu.Lock()
		defer mu.Unlock()
		if what != step {
			if bar != nil {
				_ = bar.Clear()
			}
			bar, step = p.bar(what), what
		}
		if total > 0 {
			bar.ChangeMax(total)
		}
		_ = bar.Set(done) // a bar that cannot be drawn is no reason to stop
	}
	return show, func() {
		if bar != nil {
			_ = bar.Clear()
		}
	}
}

func (p *program) bar(what string) *progressbar.ProgressBar {
	return progressbar.NewOptions(1,
		progressbar.OptionSetWriter(p.stderr),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(),
		progressbar.OptionShowBytes(what == adopt.FetchingBlobs),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(progressInterval),
		progressbar.OptionClearOnFinish(),
	)
}

// byteProgress shows how many of about total bytes have come. tell is told of more.
func (p *program) byteProgress(what string, total int64) (tell func(n int), end func()) {
	show, end := p.progress()
	if show == nil {
		return func(int) {}, end
	}
	done := int64(0)
	return func(n int) {
		done += int64(n)
		show(int(done/1000), int(max(total, done)/1000), what+" (kB)")
	}, end
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
