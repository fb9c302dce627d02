package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v3"

	"perch/pds"
)

func (p *program) totpCommand() *cli.Command {
	return &cli.Command{
		Name:      "totp",
		Usage:     "set up an authenticator app as second factor of an account, or take it away",
		ArgsUsage: "ACCOUNT",
		Description: "Draws a QR code for the app, reads a code that the app shows from the input, and prints recovery codes.\n" +
			"Whoever sees the QR code can make the same codes: clear the screen afterwards. ACCOUNT is a handle, a DID or an e-mail address.",
		Flags: []cli.Flag{
			serverFlag,
			&cli.BoolFlag{Name: "status", Usage: "only show which second factors and passkeys the account has"},
			&cli.BoolFlag{Name: "recovery", Usage: "print new recovery codes; those before work no more"},
			&cli.BoolFlag{Name: "remove-passkeys", Usage: "remove all passkeys, for an owner who has lost them or does not know of them"},
			&cli.BoolFlag{Name: "remove", Usage: "remove all second factors, codes by e-mail too"},
		},
		Action: p.totp,
	}
}

func (p *program) totp(ctx context.Context, c *cli.Command) error {
	server, err := p.client(ctx, c)
	if err != nil {
		return err
	}
	do := func(action, code string) (out pds.FactorAnswer, err error) {
		in := pds.FactorRequest{Account: c.Args().First(), Action: action, Code: code}
		return out, server.postTo(ctx, pds.FactorPath, in, &out)
	}
	actions := map[string]string{"status": pds.FactorShow, "recovery": pds.FactorRecover, "remove": pds.FactorRemove, "remove-passkeys": pds.FactorRemovePasskeys}
	given := ""
	for flag := range actions {
		if !c.Bool(flag) {
			continue
		}
		if given != "" {
			return usagef("--status, --recovery, --remove and --remove-passkeys: give one of them")
		}
		given = flag
	}
	if given != "" {
		return p.showFactors(do(actions[given], ""))
	}
	setup, err := do(pds.FactorBegin, "")
	if err != nil {
		return err
	}
	drawn, err := qrText(setup.URL)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "%s\n%s\n\n", drawn, setup.URL)
	fmt.Fprint(p.stderr, "The code that the app shows now: ")
	code, err := bufio.NewReader(p.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if code = strings.TrimSpace(code); code == "" {
		return errors.New("no code was given: nothing has changed")
	}
	return p.showFactors(do(pds.FactorConfirm, code))
}

func (p *program) showFactors(f pds.FactorAnswer, err error) error {
	if err != nil {
		return err
	}
	yes := map[bool]string{true: "on", false: "off"}
	fmt.Fprintf(p.stdout, "authenticator app  %s\ncodes by e-mail    %s\nrecovery codes     %d left\npasskeys           %d\n", yes[f.TOTP], yes[f.Email], f.CodesLeft, f.Passkeys)
	if f.RoleEnded {
		fmt.Fprintf(p.stderr, "%s has no second factor left and is no administrator any more\n", f.Handle)
	}
	for _, code := range f.RecoveryCodes {
		fmt.Fprintf(p.stdout, "%s\n", code)
	}
	return nil
}
