package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v3"

	"perch/pds"
)

func (p *program) migrateCommand() *cli.Command {
	return &cli.Command{
		Name:  "migrate",
		Usage: "move accounts to the running server, or from it to another",
		Commands: []*cli.Command{
			p.migrateInCommand(),
			p.migrateOutCommand(),
			p.bulkCommand(),
			{Name: "list", Usage: "list all moves, those to here and those from here", Flags: []cli.Flag{serverFlag}, Action: p.migrateList},
		},
	}
}

func (p *program) migrateList(ctx context.Context, c *cli.Command) error {
	server, err := p.client(ctx, c)
	if err != nil {
		return err
	}
	var out pds.MigrateAnswer
	if err := server.postTo(ctx, pds.MigratePath, pds.MigrateRequest{Action: pds.MigrateList}, &out); err != nil {
		return err
	}
	return p.showMoves(out.Migrations...)
}

// showMoves lists how moves stand.
func (p *program) showMoves(all ...*pds.Migration) error {
	w := p.table("HANDLE", "DID", "STATE", "RECORDS", "BLOBS", "OTHER SERVER", "REMARKS")
	for _, st := range all {
		remarks := st.Error
		if st.Needs != "" {
			remarks = "needs " + st.Needs
		}
		way, name := "from", st.Handle.String()
		if st.Out {
			way = "to"
		}
		if name == "" {
			name = st.OldHandle
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d of %d\t%s %s\t%s\n", name, st.DID, st.State, st.Records, carried(st), st.Blobs, way, st.Host, dash(printable(remarks)))
	}
	return w.Flush()
}
