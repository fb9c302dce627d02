// Command perch is an AT Protocol personal data server. This package holds flags, signals, exit codes and progress bars;
// all else is in package pds.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills
	os.Exit(exitCode(run(ctx, os.Args, os.Environ(), os.Stdin, os.Stdout, os.Stderr), os.Stderr))
}

// Exit codes.
const (
	exitFailure  = 1 // it did not work
	exitUsage    = 2 // the command line or the settings are wrong
	exitProblems = 3 // something is wrong with what was looked at, or a list of moves is not done
)

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usagef is an error about the command line.
func usagef(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// exitCode prints err and returns the code to exit with.
func exitCode(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "perch:", err)
	if e := (*exitError)(nil); errors.As(err, &e) {
		return e.code
	}
	return exitFailure
}

// program is what a command works with.
type program struct {
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// run is the program: args[0] is its name, environ holds KEY=value.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) error {
	p := &program{environ: environ, stdin: stdin, stdout: stdout, stderr: stderr}
	return p.command().Run(ctx, args)
}
