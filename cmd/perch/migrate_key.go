package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v3"

	"perch/pds"
)

const rotationKeyFile = "rotation-key-file"

// rotationKeyFlag names a file, because a command line can be seen by others and stays in a history. inPlace is what the key does not need.
func rotationKeyFlag(inPlace string) cli.Flag {
	return &cli.StringFlag{
		Name: rotationKeyFile, TakesFile: true,
		Usage: "sign with the private rotation key in `FILE` (64 hexadecimal digits, or multibase), in place of " + inPlace + "; - asks for it",
	}
}

const maxKeyFile = 4 << 10 // bytes

// rotationKey is the private key that the flag names; "" without the flag.
func rotationKey(q *prompter, c *cli.Command) (string, error) {
	switch name := c.String(rotationKeyFile); name {
	case "":
		return "", nil
	case "-":
		return q.secret("Rotation key:")
	default:
		f, err := os.Open(name)
		if err != nil {
			return "", usagef("--rotation-key-file: %w", err)
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
		if err != nil {
			return "", err
		}
		if key := strings.TrimSpace(string(b)); key != "" {
			return key, nil
		}
		return "", usagef("--rotation-key-file: %s is empty", name)
	}
}

// announceKey tells the server that no code needs to be mailed, if a move is under way already.
func (m *inMover) announceKey(ctx context.Context) error {
	if m.key == "" {
		return nil
	}
	out, err := m.send(ctx, pds.MigrateShow, pds.MigrateRequest{})
	if err != nil || !out.Found || out.Migration.Changed || out.Migration.Needs == pds.MigrationNeedsBegin {
		return err
	}
	_, err = m.send(ctx, pds.MigrateBegin, pds.MigrateRequest{RotationKey: m.key})
	return err
}

// sign has the change of the DID signed with a rotation key: the one of the file once, and then, or without a file, one that is asked for.
func (m *inMover) sign(ctx context.Context, st *pds.Migration) error {
	m.complete(st)
	if st.Error == "" && m.key != "" {
		_, err := m.send(ctx, pds.MigrateCode, pds.MigrateRequest{RotationKey: m.key})
		return err
	}
	answer, err := m.secret("Rotation key, which moves the account for good (\"resend\" has the old server mail a code instead, --abandon gives up):")
	if err != nil {
		return err
	}
	if answer == "resend" {
		_, err = m.send(ctx, pds.MigrateResend, pds.MigrateRequest{})
		return err
	}
	_, err = m.send(ctx, pds.MigrateCode, pds.MigrateRequest{RotationKey: answer})
	if err != nil {
		return fmt.Errorf("%w; nothing has changed, call this again", err)
	}
	return nil
}
