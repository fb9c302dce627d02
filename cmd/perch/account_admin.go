package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
)

const subjectStatus = "com.atproto.admin.updateSubjectStatus"

// adminCommands change accounts on the running server. ACCOUNT is a handle or a DID.
func (p *program) adminCommands() []*cli.Command {
	one := func(name, usage string, do func(context.Context, *cli.Command, *client, accountView) error, flags ...cli.Flag) *cli.Command {
		return &cli.Command{
			Name: name, Usage: usage, ArgsUsage: "ACCOUNT", Flags: append([]cli.Flag{serverFlag}, flags...), Action: p.onAccount(do),
		}
	}
	with := func(c *cli.Command, arg string) *cli.Command {
		c.ArgsUsage += " " + arg
		return c
	}
	ref := &cli.StringFlag{Name: "ref", Usage: "a `REFERENCE` for the moderators, such as the number of a case"}
	passwordFlags := []cli.Flag{
		&cli.StringFlag{Name: "password", Usage: "the new `PASSWORD`; without one, one is made and printed"},
		&cli.BoolFlag{Name: "password-stdin", Usage: "read the password from the first line of the input"},
	}
	return []*cli.Command{
		one("info", "show an account", p.accountInfo),
		one("takedown", "shut an account out, and hide all of it", p.takedown(""), ref),
		one("suspend", "shut an account out for a while", p.takedown("SUSPEND-"), ref),
		one("restore", "end a takedown or suspension", p.setStatus(map[string]any{"takedown": map[string]any{"applied": false}})),
		one("deactivate", "hide an account as its owner could", p.setStatus(map[string]any{"deactivated": map[string]any{"applied": true}})),
		one("activate", "end a deactivation", p.setStatus(map[string]any{"deactivated": map[string]any{"applied": false}})),
		one("password", "set a new password, and end all sessions and app passwords", p.resetPassword, passwordFlags...),
		with(one("email", "set another e-mail address", p.setEmail), "EMAIL"),
		with(one("handle", "set another handle", p.setHandle), "HANDLE"),
		p.totpCommand(),
		p.roleCommand(),
		one("delete", "delete an account with all it has, for ever", p.deleteAccount, &cli.BoolFlag{Name: "yes", Usage: "really do it"}),
	}
}

// accountView is what the commands need of com.atproto.admin.defs#accountView.
type accountView struct {
	DID              string
	Handle           string
	Email            string
	EmailConfirmedAt string
	IndexedAt        string
	DeactivatedAt    string
	InvitesDisabled  bool
	InvitedBy        struct{ Code string }
}

// onAccount finds the account that the first argument names.
func (p *program) onAccount(do func(context.Context, *cli.Command, *client, accountView) error) cli.ActionFunc {
	return func(ctx context.Context, c *cli.Command) error {
		server, err := p.client(ctx, c)
		if err != nil {
			return err
		}
		acct, err := server.account(ctx, c.Args().First())
		if err != nil {
			return err
		}
		return do(ctx, c, server, acct)
	}
}

// account finds an account by DID or handle, in whatever state it is.
func (c *client) account(ctx context.Context, name string) (accountView, error) {
	var acct accountView
	if strings.HasPrefix(name, "did:") {
		return acct, c.get(ctx, "com.atproto.admin.getAccountInfo", url.Values{"did": {name}}, &acct)
	}
	handle := strings.ToLower(strings.TrimPrefix(name, "@"))
	var who struct{ DID string }
	if c.get(ctx, "com.atproto.identity.resolveHandle", url.Values{"handle": {handle}}, &who) == nil {
		if err := c.get(ctx, "com.atproto.admin.getAccountInfo", url.Values{"did": {who.DID}}, &acct); err == nil && acct.Handle == handle {
			return acct, nil
		}
	}
	return c.searchHandle(ctx, handle) // the handle of an account that is not active does not resolve
}

func (c *client) searchHandle(ctx context.Context, handle string) (accountView, error) {
	for cursor := ""; ; {
		var page struct {
			Cursor   string
			Accounts []accountView
		}
		params := url.Values{"limit": {"100"}}
		if cursor != "" {
			params.Set("cursor", cursor)
		}
		if err := c.get(ctx, "com.atproto.admin.searchAccounts", params, &page); err != nil {
			return accountView{}, err
		}
		for _, a := range page.Accounts {
			if a.Handle == handle {
				return a, nil
			}
		}
		if page.Cursor == "" || page.Cursor == cursor {
			return accountView{}, fmt.Errorf("the server has no account %s", handle)
		}
		cursor = page.Cursor
	}
}

func (p *program) accountInfo(ctx context.Context, _ *cli.Command, server *client, acct accountView) error {
	var status struct {
		Active bool
		Status string
	}
	if err := server.get(ctx, "com.atproto.sync.getRepoStatus", url.Values{"did": {acct.DID}}, &status); err != nil {
		return err
	}
	var subject struct{ Takedown struct{ Ref string } }
	if err := server.get(ctx, "com.atproto.admin.getSubjectStatus", url.Values{"did": {acct.DID}}, &subject); err != nil {
		return err
	}
	state := (&repoEntry{Active: status.Active, Status: status.Status}).status()
	w := p.table()
	for _, line := range [][2]string{
		{"handle", acct.Handle}, {"did", acct.DID}, {"status", state}, {"takedown", subject.Takedown.Ref}, {"deactivated", acct.DeactivatedAt},
		{"email", acct.Email}, {"confirmed", acct.EmailConfirmedAt}, {"created", acct.IndexedAt}, {"invited by", acct.InvitedBy.Code},
	} {
		if line[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", line[0], line[1])
		}
	}
	if acct.InvitesDisabled {
		fmt.Fprintf(w, "invites\tdisabled\n")
	}
	return w.Flush()
}

// takedown shuts an account out; what its reference begins with makes it a suspension.
func (p *program) takedown(prefix string) func(context.Context, *cli.Command, *client, accountView) error {
	return func(ctx context.Context, c *cli.Command, server *client, acct accountView) error {
		ref := c.String("ref")
		if ref == "" {
			ref = time.Now().UTC().Format(time.RFC3339)
		}
		change := map[string]any{"takedown": map[string]any{"applied": true, "ref": prefix + ref}}
		return p.setStatus(change)(ctx, c, server, acct)
	}
}

func (p *program) setStatus(change map[string]any) func(context.Context, *cli.Command, *client, accountView) error {
	return func(ctx context.Context, c *cli.Command, server *client, acct accountView) error {
		in := map[string]any{"subject": map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": acct.DID}}
		for name, value := range change {
			in[name] = value
		}
		if err := server.post(ctx, subjectStatus, in, nil); err != nil {
			return err
		}
		return p.accountInfo(ctx, c, server, acct)
	}
}

func (p *program) resetPassword(ctx context.Context, c *cli.Command, server *client, acct accountView) error {
	password, err := p.password(c)
	if err != nil {
		return err
	}
	made := password == ""
	if made {
		password = newPassword()
	}
	if err := server.post(ctx, "com.atproto.admin.updateAccountPassword", map[string]string{"did": acct.DID, "password": password}, nil); err != nil {
		return err
	}
	if made {
		fmt.Fprintf(p.stdout, "password  %s\n", password)
	}
	return nil
}

func (p *program) setEmail(ctx context.Context, c *cli.Command, server *client, acct accountView) error {
	return server.post(ctx, "com.atproto.admin.updateAccountEmail", map[string]string{"account": acct.DID, "email": c.Args().Get(1)}, nil)
}

func (p *program) setHandle(ctx context.Context, c *cli.Command, server *client, acct accountView) error {
	return server.post(ctx, "com.atproto.admin.updateAccountHandle", map[string]string{"did": acct.DID, "handle": c.Args().Get(1)}, nil)
}

func (p *program) deleteAccount(ctx context.Context, c *cli.Command, server *client, acct accountView) error {
	if !c.Bool("yes") {
		return usagef("this deletes %s (%s) with all posts, pictures and settings, for ever; say --yes to do it", acct.Handle, acct.DID)
	}
	return server.post(ctx, "com.atproto.admin.deleteAccount", map[string]string{"did": acct.DID}, nil)
}
