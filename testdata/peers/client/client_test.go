// Package client runs the tests of the @atproto clients, which are in JavaScript, against a server of their own.
//
//	PERCH_BIN            the program (built from this tree when empty)
//	PERCH_CLIENT_TARGET  "reference" runs the same against the reference PDS
package client

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"perch/testdata/peers/bench/server"
)

// TestClients starts a PLC directory and the server on localhost, in development mode, and runs the JavaScript tests.
func TestClients(t *testing.T) {
	if testing.Short() {
		t.Skip("starts several servers")
	}
	peers, err := server.PeersDir()
	must(t, err)
	dir := t.TempDir()
	plc := start(t, func(port int) server.Spec { return server.PLC(peers, filepath.Join(dir, "plc"), port) })
	target := os.Getenv("PERCH_CLIENT_TARGET")
	pds := start(t, func(port int) server.Spec { return pdsSpec(t, target, peers, dir, port, localURL(plc.Port)) })

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(peers, "node.sh"), "--test", "--test-reporter=spec", "client/client.test.mjs")
	cmd.Dir = peers
	cmd.Env = append(os.Environ(),
		"PEERS_URL="+localURL(pds.Port),
		"PEERS_PLC_URL="+localURL(plc.Port),
		"PEERS_TARGET="+target,
	)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s\nthe server's log ends:\n%s", err, out, pds.LogTail())
	} else {
		t.Logf("%s", out)
	}
	if err := pds.Stop(); err != nil {
		t.Error(err)
	}
}

// localURL names localhost and not its address: the reference takes only the name for a place of development.
func localURL(port int) string { return "http://localhost:" + strconv.Itoa(port) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start starts a server on a free port and ends it with the test.
func start(t *testing.T, spec func(port int) server.Spec) *server.Process {
	t.Helper()
	port, err := server.FreePort()
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := server.Start(ctx, spec(port))
	must(t, err)
	t.Cleanup(p.Kill)
	return p
}

// pdsSpec is the server under test, as a developer would have it: on localhost, in development mode.
func pdsSpec(t *testing.T, target, peers, dir string, port int, plcURL string) server.Spec {
	t.Helper()
	data := filepath.Join(dir, "pds")
	var spec server.Spec
	if target == "reference" {
		spec = server.Reference(peers, data, port, plcURL)
	} else {
		bin, err := server.BuildPerch(dir)
		must(t, err)
		spec = server.Perch(bin, data, port, plcURL)
	}
	spec.Env = append(spec.Env,
		"PDS_HOSTNAME=localhost",
		"PDS_SERVICE_DID=did:web:localhost%3A"+strconv.Itoa(port),
		"PDS_DEV_MODE=true",
		"PDS_INVITE_REQUIRED=true",
	)
	return spec
}
