package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"perch/pds"
)

func (p *program) accountCommand() *cli.Command {
	return &cli.Command{
		Name:  "account",
		Usage: "make, list and change accounts on the running server",
		Commands: append([]*cli.Command{
			{
				Name:      "create",
				Usage:     "make an account",
				ArgsUsage: "HANDLE EMAIL",
				Description: "Makes an account with a new DID. Without a password, one is made and printed.\n" +
					"Passwords on the command line can be seen by other users of this machine; --password-stdin hides them.",
				Flags: []cli.Flag{
					serverFlag,
					&cli.StringFlag{Name: "password", Usage: "the account's `PASSWORD`"},
					&cli.BoolFlag{Name: "password-stdin", Usage: "read the password from the first line of the input"},
					&cli.BoolFlag{Name: "did-web", Usage: "make it a did:web of the handle instead of a did:plc (see PDS_DID_WEB_ACCOUNTS)"},
				},
				Action: p.createAccount,
			},
			p.codeCommand(),
			{Name: "list", Usage: "list all accounts", Flags: []cli.Flag{serverFlag}, Action: p.listAccounts},
		}, append(append(p.adminCommands(), p.exportCommands()...), p.identityCommands()...)...),
	}
}

func (p *program) createAccount(ctx context.Context, c *cli.Command) error {
	password, err := p.password(c)
	if err != nil {
		return err
	}
	server, err := p.client(ctx, c)
	if err != nil {
		return err
	}
	made := password == ""
	if made {
		password = newPassword()
	}
	if c.Bool("did-web") {
		in := pds.DIDWebRequest{Action: pds.DIDWebCreate, Account: c.Args().Get(0), Email: c.Args().Get(1), Password: password}
		var out pds.DIDWebAnswer
		err := server.postTo(ctx, pds.DIDWebPath, in, &out)
		return p.createdAccount(out.Handle.String(), out.DID.String(), password, made, err)
	}
	var invite struct{ Code string }
	if err := server.post(ctx, "com.atproto.server.createInviteCode", map[string]any{"useCount": 1}, &invite); err != nil {
		return err
	}
	in := map[string]string{"handle": c.Args().Get(0), "email": c.Args().Get(1), "password": password, "inviteCode": invite.Code}
	var out struct{ DID, Handle, RefreshJwt string }
	if err = server.post(ctx, "com.atproto.server.createAccount", in, &out); err == nil {
		err = server.endSession(ctx, out.RefreshJwt) // it would be in the owner's list of what is signed in
	}
	return p.createdAccount(out.Handle, out.DID, password, made, err)
}

// createdAccount shows a new account, with the password if it was made.
func (p *program) createdAccount(handle, did, password string, made bool, err error) error {
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "handle    %s\ndid       %s\n", handle, did)
	if made {
		fmt.Fprintf(p.stdout, "password  %s\n", password)
	}
	return nil
}

// password returns the password that the command line gives, "" for none.
func (p *program) password(c *cli.Command) (string, error) {
	if !c.Bool("password-stdin") {
		return c.String("password"), nil
	}
	if c.String("password") != "" {
		return "", usagef("--password and --password-stdin: give one of them")
	}
	line, err := bufio.NewReader(p.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return "", usagef("--password-stdin: the input has no first line")
	}
	return line, nil
}

// newPassword makes a password of 24 letters and digits, with dashes for the eye.
func newPassword() string {
	s := strings.ToLower(rand.Text())[:24]
	return strings.Join([]string{s[:6], s[6:12], s[12:18], s[18:]}, "-")
}

// repoEntry is one repository of com.atproto.sync.listRepos.
type repoEntry struct {
	DID    string
	Active bool
	Status string
	handle string
}

func (p *program) listAccounts(ctx context.Context, c *cli.Command) error {
	server, err := p.client(ctx, c)
	if err != nil {
		return err
	}
	w := p.table("DID", "STATUS", "HANDLE")
	for cursor := ""; ; {
		var page struct {
			Cursor string
			Repos  []repoEntry
		}
		params := url.Values{"limit": {"500"}}
		if cursor != "" {
			params.Set("cursor", cursor)
		}
		if err := server.get(ctx, "com.atproto.sync.listRepos", params, &page); err != nil {
			return err
		}
		if err := server.handles(ctx, page.Repos); err != nil {
			return err
		}
		for _, r := range page.Repos {
			fmt.Fprintf(w, "%s\t%s\t%s\n", r.DID, r.status(), r.handle)
		}
		if page.Cursor == "" || page.Cursor == cursor {
			return w.Flush()
		}
		cursor = page.Cursor
	}
}

func (r *repoEntry) status() string {
	switch {
	case r.Status != "":
		return r.Status
	case r.Active:
		return "active"
	}
	return "inactive"
}

// infosPerRequest keeps the address of a request short.
const infosPerRequest = 100

// handles asks for the handle of each account; one that has none any more is "-".
func (c *client) handles(ctx context.Context, repos []repoEntry) error {
	for page := range slices.Chunk(repos, infosPerRequest) {
		params := url.Values{}
		for _, r := range page {
			params.Add("dids", r.DID)
		}
		var out struct{ Infos []accountView }
		if err := c.get(ctx, "com.atproto.admin.getAccountInfos", params, &out); err != nil {
			return err
		}
		handles := map[string]string{}
		for _, a := range out.Infos {
			handles[a.DID] = a.Handle
		}
		for i := range page {
			if page[i].handle = handles[page[i].DID]; page[i].handle == "" {
				page[i].handle = "-"
			}
		}
	}
	return nil
}

func (p *program) inviteCommand() *cli.Command {
	return &cli.Command{
		Name:  "invite",
		Usage: "make invite codes on the running server",
		Commands: []*cli.Command{{
			Name:  "create",
			Usage: "make invite codes and print them, one a line",
			Flags: []cli.Flag{
				serverFlag,
				&cli.IntFlag{Name: "count", Usage: "how many codes (`N`)", Value: 1},
				&cli.IntFlag{Name: "uses", Usage: "how many accounts (`N`) can be made with each", Value: 1},
				&cli.StringFlag{Name: "for", Usage: "the `DID` of the account whose codes they are"},
			},
			Action: p.createInvites,
		}},
	}
}

func (p *program) createInvites(ctx context.Context, c *cli.Command) error {
	server, err := p.client(ctx, c)
	if err != nil {
		return err
	}
	in := map[string]any{"codeCount": c.Int("count"), "useCount": c.Int("uses")}
	if owner := c.String("for"); owner != "" {
		in["forAccounts"] = []string{owner}
	}
	var out struct{ Codes []struct{ Codes []string } }
	if err := server.post(ctx, "com.atproto.server.createInviteCodes", in, &out); err != nil {
		return err
	}
	for _, account := range out.Codes {
		for _, code := range account.Codes {
			fmt.Fprintln(p.stdout, code)
		}
	}
	return nil
}
