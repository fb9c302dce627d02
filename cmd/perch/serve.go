package main

import (
	"context"

	"github.com/urfave/cli/v3"

	"perch/pds"
)

func (p *program) serveCommand() *cli.Command {
	return &cli.Command{
		Name:        "serve",
		Usage:       "run the server",
		Description: "Runs until SIGTERM or SIGINT, then lets requests under way finish. A second signal ends it at once.\nThe log goes to stderr.",
		Action:      p.serve,
	}
}

func (p *program) serve(ctx context.Context, c *cli.Command) error {
	tuneMemory(p.environ)
	cfg, err := p.config(c)
	if err != nil {
		return err
	}
	server, err := pds.New(ctx, cfg, newLogger(p.stderr, cfg.LogLevel, cfg.LogFormat))
	if err != nil {
		return err
	}
	return server.Run(ctx)
}

// Ports of the development network.
const (
	devPort    = 2583
	devPLCPort = 2582
)

func (p *program) devCommand() *cli.Command {
	return &cli.Command{
		Name:  "dev",
		Usage: "run a whole local network, with accounts to sign in with",
		Description: "Starts a PLC directory and a server with the accounts alice.test and bob.test, for development.\n" +
			"It needs no settings and no other machine, and listens on this machine only.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data", Usage: "keep everything in `DIR`", Value: "./dev-data"},
			&cli.BoolFlag{Name: "fresh", Usage: "begin anew: delete what is in DIR"},
			&cli.IntFlag{Name: "port", Usage: "TCP `PORT` of the server", Value: devPort},
			&cli.IntFlag{Name: "plc-port", Usage: "TCP `PORT` of the PLC directory", Value: devPLCPort},
			&cli.StringFlag{Name: "log-level", Usage: "show log messages from `LEVEL` on: debug, info, warn, error", Value: "warn"},
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			return pds.RunDev(ctx, pds.DevOptions{
				Dir:     c.String("data"),
				Fresh:   c.Bool("fresh"),
				Port:    c.Int("port"),
				PLCPort: c.Int("plc-port"),
				Out:     p.stdout,
				Logger:  newLogger(p.stderr, c.String("log-level"), "text"),
			})
		},
	}
}
