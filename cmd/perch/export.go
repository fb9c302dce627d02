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
	"strconv"

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
		p.importAccountCommand(),
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
	err = p.download(ctx, server, account, part)
	if err == nil {
		err = part.Sync()
	}
	if err = errors.Join(err, part.Close()); err != nil {
		return err
	}
	m, err := p.verify(ctx, part.Name())
	if err != nil {
		return err
	}
	if err := os.Link(part.Name(), file); err != nil { // unlike Rename it never replaces a file
		if err = os.Rename(part.Name(), file); err != nil {
			return err
		}
	}
	if err := syncFolder(filepath.Dir(file)); err != nil {
		return err
	}
	p.showExport(m)
	return nil
}

// syncFolder brings the names of the files in a folder to the disk.
func syncFolder(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	_ = dir.Sync() // not every system can
	return nil
}

// verify reads an export, and shows how far that is.
func (p *program) verify(ctx context.Context, file string) (*pds.ExportManifest, error) {
	show, done := p.progress()
	defer done()
	return pds.VerifyExport(ctx, file, show)
}

func (p *program) verifyExport(ctx context.Context, c *cli.Command) error {
	m, err := p.verify(ctx, c.Args().First())
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

// download fetches all of an account.
func (p *program) download(ctx context.Context, server *client, account string, w io.Writer) error {
	req, err := server.request(ctx, http.MethodGet, pds.ExportPath+"?"+url.Values{"account": {account}}.Encode(), nil)
	if err != nil {
		return err
	}
	return server.answer(req, func(res *http.Response) error {
		about, _ := strconv.ParseInt(res.Header.Get(pds.ExportSizeHeader), 10, 64)
		show, done := p.byteProgress("exporting", about)
		defer done()
		_, err := io.Copy(w, &watched{res.Body, show})
		return err
	})
}
