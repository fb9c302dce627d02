package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v3"

	"perch/pds"
	"perch/pds/store"
)

func (p *program) configCommand() *cli.Command {
	return &cli.Command{
		Name:  "config",
		Usage: "show every setting: its value, where that comes from, and what it means",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "set", Usage: "show only what is not a default"},
			&cli.BoolFlag{Name: "json", Usage: "write a JSON array"},
		},
		Action: p.showConfig,
	}
}

func (p *program) showConfig(_ context.Context, c *cli.Command) error {
	cfg, err := p.config(c)
	settings := cfg.Settings()
	if c.Bool("set") {
		settings = nil
		for _, s := range cfg.Settings() {
			if s.Origin != "default" && s.Origin != "generated" {
				settings = append(settings, s)
			}
		}
	}
	if c.Bool("json") {
		return errors.Join(json.NewEncoder(p.stdout).Encode(settings), err)
	}
	group := ""
	for _, s := range settings {
		if s.Group != group {
			group = s.Group
			fmt.Fprintf(p.stdout, "# %s\n\n", group)
		}
		fmt.Fprintf(p.stdout, "%s=%s\n    (%s)\n%s\n", s.Name, s.Value, s.Origin, indent(s.Help))
	}
	if err == nil { // which has them
		for _, w := range cfg.Warnings {
			fmt.Fprintln(p.stderr, "warning:", w)
		}
	}
	return err
}

// lineWidth is how long a line of help may be.
const lineWidth = 90

// indent breaks text into indented lines.
func indent(text string) string {
	var b strings.Builder
	line := "   "
	for _, word := range strings.Fields(text) {
		if len(line)+1+len(word) > lineWidth {
			b.WriteString(line + "\n")
			line = "   "
		}
		line += " " + word
	}
	b.WriteString(line + "\n")
	return b.String()
}

func (p *program) secretCommand() *cli.Command {
	return &cli.Command{
		Name:  "secret",
		Usage: "show the secrets that the server has made for itself",
		Commands: []*cli.Command{{
			Name:      "show",
			Usage:     "print one secret",
			ArgsUsage: "NAME",
			Description: "NAME is one of\n  " + strings.Join(pds.SecretNames(), "\n  ") +
				"\nor its beginning, also without PDS_ and in small letters: admin-password.",
			Action: p.showSecret,
		}},
	}
}

func (p *program) showSecret(ctx context.Context, c *cli.Command) error {
	name, err := secretName(c.Args().First())
	if err != nil {
		return err
	}
	cfg, err := p.config(c)
	if err != nil {
		return err
	}
	value, err := pds.ShowSecret(ctx, cfg, name)
	switch {
	case errors.Is(err, store.ErrLocked):
		return fmt.Errorf("%s is kept in the database, which the running server uses: stop it first", name)
	case err != nil:
		return err
	}
	fmt.Fprintln(p.stdout, value)
	return nil
}

// secretName completes the name of a secret.
func secretName(s string) (string, error) {
	want := strings.TrimPrefix(strings.ToUpper(strings.ReplaceAll(s, "-", "_")), "PDS_")
	found := ""
	for _, name := range pds.SecretNames() {
		if want != "" && strings.HasPrefix(strings.TrimPrefix(name, "PDS_"), want) {
			if found != "" {
				return "", usagef("%q may be %s or %s", s, found, name)
			}
			found = name
		}
	}
	if found == "" {
		return "", usagef("there is no secret %q; there are %s", s, strings.Join(pds.SecretNames(), ", "))
	}
	return found, nil
}
