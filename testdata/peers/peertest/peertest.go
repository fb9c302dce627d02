// Package peertest starts what tests with other people's software have around them.
package peertest

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"perch/identity/plc"
	"perch/testdata/peers/bench/server"
)

// Must ends the test on an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// LocalURL names localhost and not its address: the reference takes only the name for a place of development.
func LocalURL(port int) string { return "http://localhost:" + strconv.Itoa(port) }

// PLC is the URL of a directory in this process, which keeps its operations in dir.
func PLC(t testing.TB, dir string) string {
	t.Helper()
	directory, err := plc.OpenDirectory(filepath.Join(dir, "plc.jsonl"), plc.DirectoryOptions{})
	Must(t, err)
	s := httptest.NewServer(directory)
	t.Cleanup(func() {
		s.Close()
		directory.Close()
	})
	return s.URL
}

// Spec is the server under test on a free port, with its data in a new folder below dir: this tree's, or the reference PDS.
func Spec(t testing.TB, dir, plcURL string, reference bool) server.Spec {
	t.Helper()
	port, err := server.FreePort()
	Must(t, err)
	data := filepath.Join(dir, "data")
	Must(t, os.Mkdir(data, 0o700))
	if reference {
		peers, err := server.PeersDir()
		Must(t, err)
		return server.Reference(peers, data, port, plcURL)
	}
	bin, err := server.BuildPerch(dir)
	Must(t, err)
	return server.Perch(bin, data, port, plcURL)
}

// startTimeout is how long a server may take to answer.
const startTimeout = 2 * time.Minute

// Start starts a server and ends it with the test.
func Start(t testing.TB, spec server.Spec) *server.Process {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	p, err := server.Start(ctx, spec)
	Must(t, err)
	t.Cleanup(p.Kill)
	return p
}
