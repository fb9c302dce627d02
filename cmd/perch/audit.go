package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v3"

	"perch/pds"
)

func (p *program) roleCommand() *cli.Command {
	return &cli.Command{
		Name:      "admin",
		Usage:     "let an account use the administration pages, or end that",
		ArgsUsage: "[ACCOUNT] [on|off]",
		Description: "The account needs an authenticator app (`perch account totp`) or a passkey first, and loses the role with the last of them.\n" +
			"The pages are at /admin of the server's address. Without \"on\" or \"off\" it is shown whether ACCOUNT is one; without ACCOUNT, all are. ACCOUNT is a handle, a DID or an e-mail address.",
		Flags:  []cli.Flag{serverFlag},
		Action: p.setRole,
	}
}

func (p *program) setRole(ctx context.Context, c *cli.Command) error {
	in := pds.RoleRequest{Account: c.Args().Get(0)}
	switch word := c.Args().Get(1); word {
	case "":
	case "on", "off":
		on := word == "on"
		in.Role = &on
	default:
		return usagef("%q: write on or off", word)
	}
	server, err := p.client(ctx, c)
	if err != nil {
		return err
	}
	var out []pds.Administrator
	if err := server.postTo(ctx, pds.RolePath, in, &out); err != nil {
		return err
	}
	yes := map[bool]string{true: "yes", false: "no"}
	w := p.table("HANDLE", "DID", "ADMINISTRATOR", "SECOND FACTOR")
	for _, a := range out {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", dash(a.Handle.String()), a.DID, yes[a.Admin], yes[a.Factor])
	}
	return w.Flush()
}

func (p *program) auditCommand() *cli.Command {
	return &cli.Command{
		Name:  "audit",
		Usage: "show what administrators have done, the newest first",
		Description: "Each action is in this log, whatever way it came by: the administration pages, the com.atproto.admin methods, or this program.\n" +
			"Nothing is ever removed from it. If no server runs, its database is read.",
		Flags: []cli.Flag{
			serverFlag,
			&cli.StringFlag{Name: "subject", Usage: "only what was done to `ACCOUNT` (a handle, a DID or an e-mail address)"},
			&cli.StringFlag{Name: "actor", Usage: "only what was done by `ACTOR`: an account or service, or password, moderator, command-line, account"},
			&cli.IntFlag{Name: "limit", Usage: "at most `N` lines", Value: 100},
			&cli.Int64Flag{Name: "before", HideDefault: true, Usage: "only lines older than the one numbered `ID`"},
		},
		Action: p.showAudit,
	}
}

func (p *program) showAudit(ctx context.Context, c *cli.Command) error {
	in := pds.AuditRequest{Subject: c.String("subject"), Actor: c.String("actor"), Before: c.Int64("before"), Limit: c.Int("limit")}
	var lines []pds.AuditLine
	err := p.runningOrNot(ctx, c, func(server *client) error {
		return server.postTo(ctx, pds.AuditPath, in, &lines)
	}, func(cfg *pds.Config) (err error) {
		lines, err = pds.AuditLog(ctx, cfg, in)
		return err
	})
	if err != nil {
		return err
	}
	w := p.table("ID", "TIME", "ACTOR", "ADDRESS", "ACTION", "SUBJECT", "DETAIL", "REASON", "RESULT")
	for _, l := range lines {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.ID, l.At.Local().Format("2006-01-02 15:04:05"), name(l.ActorHandle, l.Actor, l.Kind),
			dash(l.Address), printable(l.Action), name(l.SubjectHandle, l.Subject, "-"), dash(printable(l.Detail)), dash(printable(l.Reason)), printable(l.Result))
	}
	return w.Flush()
}

// name is the first of the names that there is.
func name(names ...string) string {
	for _, n := range names {
		if n != "" {
			return n
		}
	}
	return ""
}
