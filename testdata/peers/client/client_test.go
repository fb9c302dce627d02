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
	"perch/testdata/peers/peertest"
)

// TestClients starts a PLC directory and the server on localhost, in development mode, and runs the JavaScript tests.
func TestClients(t *testing.T) {
	if testing.Short() {
		t.Skip("starts several servers")
	}
	peers, err := server.PeersDir()
	peertest.Must(t, err)
	dir := t.TempDir()
	port, err := server.FreePort()
	peertest.Must(t, err)
	plcURL := peertest.LocalURL(peertest.Start(t, server.PLC(peers, filepath.Join(dir, "plc"), port)).Port)
	target := os.Getenv("PERCH_CLIENT_TARGET")
	pds := peertest.Start(t, pdsSpec(t, dir, plcURL, target == "reference"))

	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(peers, "node.sh"), "--test", "--test-reporter=spec", "client/client.test.mjs")
	cmd.Dir = peers
	cmd.Env = append(os.Environ(),
		"PEERS_URL="+peertest.LocalURL(pds.Port),
		"PEERS_PLC_URL="+plcURL,
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

// pdsSpec is the server under test, as a developer would have it: on localhost, in development mode.
func pdsSpec(t *testing.T, dir, plcURL string, reference bool) server.Spec {
	t.Helper()
	spec := peertest.Spec(t, dir, plcURL, reference)
	spec.Env = append(spec.Env,
		"PDS_HOSTNAME=localhost",
		"PDS_SERVICE_DID=did:web:localhost%3A"+strconv.Itoa(spec.Port),
		"PDS_DEV_MODE=true",
		"PDS_INVITE_REQUIRED=true",
	)
	return spec
}
