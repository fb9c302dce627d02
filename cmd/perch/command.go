package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v3"

	"perch/pds"
)

const description = `Settings come from PDS_* environment variables and from a file of them: the one
that --env-file names, else pds.env in the data folder, else /pds/pds.env.
The variables win. "perch config" shows what is in force and what it means.

Exit codes: 0 done, 1 it did not work, 2 the command line or the settings are
wrong, 3 something is wrong with what was looked at ("perch check",
"perch adopt", "perch account verify-export"), or not all accounts of
"perch migrate bulk" are done.`

// command is the root of the command line.
func (p *program) command() *cli.Command {
	root := &cli.Command{
		Name:           "perch",
		Version:        pds.Version + revision(),
		Usage:          "an AT Protocol personal data server",
		Description:    description,
		Writer:         p.stdout,
		ErrWriter:      p.stderr,
		ExitErrHandler: func(context.Context, *cli.Command, error) {}, // main decides
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "env-file", Usage: "read settings from `FILE`", TakesFile: true},
		},
		Commands: []*cli.Command{
			p.serveCommand(), p.devCommand(), p.adoptCommand(), p.checkCommand(), p.configCommand(), p.secretCommand(),
			p.accountCommand(), p.migrateCommand(), p.inviteCommand(), p.mailCommand(), p.auditCommand(), p.versionCommand(),
		},
	}
	tame(root)
	return root
}

// tame gives a command and those below it our way with mistakes: one line, no page of help, exit code 2.
func tame(c *cli.Command) {
	c.HideHelpCommand = true
	c.OnUsageError = func(_ context.Context, c *cli.Command, err error, _ bool) error {
		return usagef("%s: %w; see `%s --help`", c.FullName(), err, c.FullName())
	}
	if c.Action == nil {
		c.Action = func(_ context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return usagef("%s has no command %q; see `%s --help`", c.FullName(), c.Args().First(), c.FullName())
			}
			return cli.ShowSubcommandHelp(c)
		}
	} else {
		c.Action = withArgs(c.Action, c.ArgsUsage)
	}
	for _, sub := range c.Commands {
		tame(sub)
	}
}

// withArgs checks the number of arguments: one for each word of usage, which is optional in brackets.
func withArgs(action cli.ActionFunc, usage string) cli.ActionFunc {
	words := strings.Fields(usage)
	least := 0
	for _, w := range words {
		if !strings.HasPrefix(w, "[") {
			least++
		}
	}
	return func(ctx context.Context, c *cli.Command) error {
		switch n := c.Args().Len(); {
		case n > len(words):
			return usagef("%s: %q is too much; see `%s --help`", c.FullName(), c.Args().Get(len(words)), c.FullName())
		case n < least:
			return usagef("%s: %s is missing; see `%s --help`", c.FullName(), words[n], c.FullName())
		}
		return action(ctx, c)
	}
}

// config loads the settings for a command. Its error has the mistakes, one a line, and says what else looks odd.
func (p *program) config(c *cli.Command) (*pds.Config, error) {
	cfg, err := pds.LoadConfig(p.environ, c.String("env-file"))
	if err != nil {
		err = fmt.Errorf("the settings cannot work:\n%w", err)
		for _, w := range cfg.Warnings {
			err = fmt.Errorf("%w\nwarning: %s", err, w)
		}
		return cfg, &exitError{exitUsage, err}
	}
	return cfg, nil
}

// newLogger writes to w at level and in format as the settings name them.
func newLogger(w io.Writer, level, format string) *slog.Logger {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		l = slog.LevelInfo
	}
	opt := &slog.HandlerOptions{Level: l}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, opt))
	}
	return slog.New(slog.NewTextHandler(w, opt))
}

func (p *program) versionCommand() *cli.Command {
	return &cli.Command{Name: "version", Usage: "show the version", Action: func(context.Context, *cli.Command) error {
		fmt.Fprintln(p.stdout, "perch", pds.Version+revision(), runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH)
		return nil
	}}
}

// revision is the commit that the program was built from, as far as the build has noted it.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	rev, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			rev = " " + s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	return rev + dirty
}
