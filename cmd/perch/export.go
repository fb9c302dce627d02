package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v3"

	"perch/pds"
)

func (p *program) exportCommands() []*cli.Command {
	return []*cli.Command{
		{
			Name:      "export",
			Usage:     "write all of an account into one file",
			ArgsUsage: "ACCOUNT FILE",
			Description: "Writes a ZIP file with the repository (repo.car), the blobs, the preferences and a manifest, and reads it back to see that it is whole.\n" +
				"It holds what its owner shows to nobody, such as the preferences, but no keys and no passwords. ACCOUNT is a handle, a DID or an e-mail address.",
			Flags:  []cli.Flag{serverFlag},
			Action: p.exportAccount,
		},
		{Name: "verify-export", Usage: "check that a file of `perch account export` is whole", ArgsUsage: "FILE", Action: p.verifyExport},
	}
}

func (p *program) exportAccount(ctx context.Context, c *cli.Command) (err error) {
	account, file := c.Args().Get(0), c.Args().Get(1)
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return usagef("%s exists already", file)
	}
	server, err := p.client(ctx, c)
	if err != nil {
		return err
	}
	part, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".part-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(part.Name())
	err = server.download(ctx, pds.ExportPath+"?"+url.Values{"account": {account}}.Encode(), part)
	if err == nil {
		err = part.Sync()
	}
	if err = errors.Join(err, part.Close()); err != nil {
		return err
	}
	m, err := pds.VerifyExport(part.Name())
	if err != nil {
		return err
	}
	if err := os.Link(part.Name(), file); err != nil { // unlike Rename it never replaces a file
		if err = os.Rename(part.Name(), file); err != nil {
			return err
		}
	}
	p.showExport(m)
	return nil
}

func (p *program) verifyExport(_ context.Context, c *cli.Command) error {
	m, err := pds.VerifyExport(c.Args().First())
	if err != nil {
		return &exitError{exitProblems, err}
	}
	p.showExport(m)
	return nil
}

func (p *program) showExport(m *pds.ExportManifest) {
	fmt.Fprintf(p.stdout, "handle   %s\ndid      %s\nrecords  %d\nblobs    %d (%s)\n", m.Handle, m.DID, m.Records, m.Blobs, size(m.BlobBytes))
	for _, c := range m.Missing {
		fmt.Fprintf(p.stdout, "missing  blob %s, which the server does not have\n", c)
	}
}

// download fetches a page as the administrator, however large.
func (c *client) download(ctx context.Context, path string, w io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.origin+path, nil)
	if err != nil {
		return usagef("--server: %w", err)
	}
	req.SetBasicAuth("admin", c.password)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusOK {
		_, err = io.Copy(w, res.Body)
		return err
	}
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return err
	}
	return c.fault(res, answer)
}
