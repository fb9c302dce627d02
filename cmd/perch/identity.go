package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v3"

	"perch/pds"
)

// identityCommands are about what an account is in the network: its DID and who may change it.
func (p *program) identityCommands() []*cli.Command {
	return []*cli.Command{p.rotationKeyCommand(), p.alertsCommand(), p.undoCommand(), p.didWebCommand()}
}

func (p *program) rotationKeyCommand() *cli.Command {
	return &cli.Command{
		Name:  "rotation-key",
		Usage: "list, add and remove the keys that may change an account's did:plc",
		Description: "A recovery key of the owner's stands above the server's: within 72 hours it undoes whatever the server's key has done, and its owner can\n" +
			"move away even when the server is gone. The owner is told by mail of every change here.",
		Commands: []*cli.Command{
			{Name: "list", Usage: "list the keys, highest authority first", ArgsUsage: "ACCOUNT", Flags: []cli.Flag{serverFlag}, Action: p.listRotationKeys},
			{
				Name: "add", Usage: "add a key of the owner's", ArgsUsage: "ACCOUNT [KEY]",
				Description: "KEY is the did:key of a key that the owner has. With --create one is made, and its private half shown this once.",
				Flags:       []cli.Flag{serverFlag, &cli.BoolFlag{Name: "create", Usage: "make a key, and print its private half"}},
				Action:      p.addRotationKey,
			},
			{
				Name: "remove", Usage: "remove a key", ArgsUsage: "ACCOUNT KEY",
				Flags: []cli.Flag{serverFlag, &cli.BoolFlag{
					Name: "give-up-server-key", Usage: "KEY may be the server's, which then can change nothing about the DID any more",
				}},
				Action: p.removeRotationKey,
			},
		},
	}
}

func (p *program) rotationKey(ctx context.Context, c *cli.Command, in pds.RotationKeyRequest) (out pds.RotationKeyAnswer, err error) {
	server, err := p.client(ctx, c)
	if err != nil {
		return out, err
	}
	in.Account, in.Key = c.Args().Get(0), c.Args().Get(1)
	if err := server.postTo(ctx, pds.RotationKeyPath, in, &out); err != nil {
		return out, err
	}
	w := p.table("HOLDER", "TYPE", "KEY")
	for _, k := range out.Keys {
		fmt.Fprintf(w, "%s\t%s\t%s\n", k.Holder, k.Type, k.Key)
	}
	return out, w.Flush()
}

func (p *program) listRotationKeys(ctx context.Context, c *cli.Command) error {
	_, err := p.rotationKey(ctx, c, pds.RotationKeyRequest{Action: pds.RotationKeyList})
	return err
}

func (p *program) addRotationKey(ctx context.Context, c *cli.Command) error {
	in := pds.RotationKeyRequest{Action: pds.RotationKeyAdd}
	switch create := c.Bool("create"); {
	case create == (c.Args().Len() == 2):
		return usagef("%s: give either KEY or --create", c.FullName())
	case create:
		in.Action = pds.RotationKeyCreate
	}
	out, err := p.rotationKey(ctx, c, in)
	if err != nil || out.PrivateKey == "" {
		return err
	}
	fmt.Fprintf(p.stdout, "\nprivate key  %s\n", out.PrivateKey)
	fmt.Fprintln(p.stderr, "This is the only time that the private key is shown; the server does not keep it. The owner should store it offline: whoever has it can take the account.")
	return nil
}

func (p *program) removeRotationKey(ctx context.Context, c *cli.Command) error {
	_, err := p.rotationKey(ctx, c, pds.RotationKeyRequest{Action: pds.RotationKeyRemove, GiveUp: c.Bool("give-up-server-key")})
	return err
}

func (p *program) alertsCommand() *cli.Command {
	return &cli.Command{
		Name:      "plc-alerts",
		Usage:     "list changes of accounts' DIDs that this server did not make",
		ArgsUsage: "[ACCOUNT]",
		Description: "The server asks the PLC directory about each account every now and then (PDS_PLC_WATCH_INTERVAL), and mails the owners.\n" +
			"With ACCOUNT it asks now. \"perch account plc-undo\" takes such a change back.",
		Flags: []cli.Flag{
			serverFlag,
			&cli.BoolFlag{Name: "all", Usage: "list those that are dealt with, too"},
			&cli.BoolFlag{Name: "dismiss", Usage: "those of ACCOUNT are in order: list them no more"},
		},
		Action: p.listAlerts,
	}
}

func (p *program) listAlerts(ctx context.Context, c *cli.Command) error {
	server, err := p.client(ctx, c)
	if err != nil {
		return err
	}
	in := pds.AlertsRequest{Account: c.Args().First(), All: c.Bool("all"), Dismiss: c.Bool("dismiss")}
	if in.Dismiss && in.Account == "" {
		return usagef("--dismiss: ACCOUNT is missing")
	}
	var out []pds.Alert
	if err := server.postTo(ctx, pds.AlertsPath, in, &out); err != nil {
		return err
	}
	if len(out) == 0 {
		fmt.Fprintln(p.stderr, "There are no alerts.")
	}
	for i := range out {
		p.showAlert(&out[i])
	}
	return nil
}

func (p *program) showAlert(a *pds.Alert) {
	left := "it is too late to undo it"
	if d := time.Until(a.UndoUntil); d > 0 {
		left = fmt.Sprintf("can be undone until %s (%s left)", a.UndoUntil.UTC().Format(time.RFC3339), d.Round(time.Minute))
	}
	if a.State != "open" {
		left = a.State
	}
	asked := ""
	if a.Asked {
		asked = ", with a code that the owner had"
	}
	fmt.Fprintf(p.stdout, "%s (%s): %s on %s, %s\n", a.Handle, a.DID, a.Kind, a.MadeAt.UTC().Format(time.RFC3339), left)
	fmt.Fprintf(p.stdout, "  operation %s\n  signed by %s (%s%s)\n", a.Operation, a.Signer, a.Holder, asked)
	for _, line := range a.Changes {
		fmt.Fprintf(p.stdout, "  * %s\n", line)
	}
}

func (p *program) undoCommand() *cli.Command {
	return &cli.Command{
		Name:      "plc-undo",
		Usage:     "take back a change of an account's DID that this server did not make",
		ArgsUsage: "ACCOUNT",
		Description: "Within 72 hours a rotation key of higher authority than the one that made the change takes it back, with all that came after it. That is\n" +
			"the server's key where it stands above; otherwise the owner's, which is used for this one request and not kept. The DID then names\n" +
			"this server, and the account's handle and key here, again.",
		Flags: []cli.Flag{
			serverFlag,
			rotationKeyFlag("the server's"),
			&cli.StringFlag{Name: "operation", Usage: "the `CID` of the operation; without it the oldest that can still be undone"},
			&cli.BoolFlag{Name: "drop-key", Usage: "remove the key that made the change, so that it cannot do it again"},
			&cli.BoolFlag{Name: "dry-run", Usage: "only show what would be undone, and which keys could do it"},
		},
		Action: p.undo,
	}
}

func (p *program) undo(ctx context.Context, c *cli.Command) error {
	key, err := rotationKey(p.prompter(), c)
	if err != nil {
		return err
	}
	server, err := p.client(ctx, c)
	if err != nil {
		return err
	}
	var out pds.UndoAnswer
	in := pds.UndoRequest{Account: c.Args().First(), Operation: c.String("operation"), RotationKey: key, DropKey: c.Bool("drop-key"), DryRun: c.Bool("dry-run")}
	if err := server.postTo(ctx, pds.UndoPath, in, &out); err != nil {
		return err
	}
	what := "undone    "
	if !out.Done {
		what = "would undo"
	}
	fmt.Fprintf(p.stdout, "account     %s (%s)\n%s  %s of %s\nback to     %s\n", out.Handle, out.DID, what, out.Operation, out.MadeAt.UTC().Format(time.RFC3339), out.Restored)
	fmt.Fprintf(p.stdout, "signed by   %s (%s)\n", out.Signer, out.Holder)
	switch {
	case out.Done && out.Holder == pds.HolderServer:
		fmt.Fprintln(p.stderr, "The change was made with this server's own rotation key. Unless a backup was restored, somebody else has it.")
	case out.Done && !in.DropKey:
		fmt.Fprintln(p.stderr, "The key that made the change is still one of the account's. If a thief has it: `perch account rotation-key remove`.")
	}
	if !out.Done {
		fmt.Fprintf(p.stdout, "until       %s (%s left)\n", out.UndoUntil.UTC().Format(time.RFC3339), time.Until(out.UndoUntil).Round(time.Minute))
		for _, k := range out.Above {
			fmt.Fprintf(p.stdout, "by          %s (%s)\n", k.Key, k.Holder)
		}
		if len(out.Above) == 0 {
			fmt.Fprintln(p.stdout, "by          no key: the one that signed has the highest authority")
		}
	}
	return nil
}

func (p *program) didWebCommand() *cli.Command {
	return &cli.Command{
		Name:      "did-web",
		Usage:     "show or change what the did:web of an account under this server's domain names",
		ArgsUsage: "ACCOUNT",
		Description: "The server serves the document of such a DID for ever. When the account moves away, --pds and --signing-key make it name the other\n" +
			"server. ACCOUNT is its handle, or its DID, which works after its deletion here, too. After the loss of the database they bring the\n" +
			"document of a DID back, with the signing key that the archive of the account names, so that \"perch account import\" can be used.",
		Flags: []cli.Flag{
			serverFlag,
			&cli.StringFlag{Name: "pds", Usage: "the other server's `URL`"},
			&cli.StringFlag{Name: "signing-key", Usage: "the `did:key` that the other server has for the account (its getRecommendedDidCredentials)"},
			&cli.StringFlag{Name: "handle", Usage: "the `HANDLE` that the account has there (default: as here)"},
			&cli.BoolFlag{Name: "back", Usage: "name this server again"},
		},
		Action: p.didWeb,
	}
}

func (p *program) didWeb(ctx context.Context, c *cli.Command) error {
	in := pds.DIDWebRequest{Action: pds.DIDWebShow, Account: c.Args().First(), PDS: c.String("pds"), SigningKey: c.String("signing-key"), NewHandle: c.String("handle")}
	point := in.PDS != "" || in.SigningKey != "" || in.NewHandle != ""
	switch {
	case point && c.Bool("back"):
		return usagef("--back goes alone")
	case point && (in.PDS == "" || in.SigningKey == ""):
		return usagef("--pds and --signing-key: give both")
	case point:
		in.Action = pds.DIDWebPoint
	case c.Bool("back"):
		in.Action = pds.DIDWebBack
	}
	server, err := p.client(ctx, c)
	if err != nil {
		return err
	}
	var out pds.DIDWebAnswer
	if err := server.postTo(ctx, pds.DIDWebPath, in, &out); err != nil {
		return err
	}
	here := "another server"
	switch {
	case out.Here:
		here = "this server"
	case out.PDS == "":
		here = "nothing: the account is deleted, and nobody can have its name again"
	}
	fmt.Fprintf(p.stdout, "did          %s\nnames        %s\n", out.DID, here)
	if out.PDS != "" {
		fmt.Fprintf(p.stdout, "pds          %s\nhandle       %s\nsigning key  %s\n", out.PDS, out.Handle, out.SigningKey)
	}
	return nil
}
