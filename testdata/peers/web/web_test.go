// Package web walks the server's pages in a real browser: on a phone and a desktop, dark and light, from the keyboard, without script. Each page is
// held against the rules of axe-core.
//
//	PERCH_BIN        the program (built from this tree when empty)
//	PERCH_WEB_SHOTS  a folder for pictures of all pages
//	PERCH_WEB_ONLY   a pattern: only tests whose names fit
//	PERCH_CHROMIUM   the browser (/usr/bin/chromium when empty)
package web

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"perch/testdata/peers/bench/server"
)

func TestPages(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	peers, err := server.PeersDir()
	must(t, err)
	dir := t.TempDir()
	bin, err := server.BuildPerch(dir)
	must(t, err)
	plc := start(t, func(port int) server.Spec { return server.PLC(peers, filepath.Join(dir, "plc"), port) })
	pds := start(t, func(port int) server.Spec {
		spec := server.Perch(bin, filepath.Join(dir, "pds"), port, localURL(plc.Port))
		spec.Env = append(spec.Env, "PDS_HOSTNAME=localhost", "PDS_DEV_MODE=true", "PDS_INVITE_REQUIRED=true", "PDS_SERVICE_NAME=Example PDS",
			"PDS_TERMS_OF_SERVICE_URL=https://example.com/terms", "PDS_PRIVACY_POLICY_URL=https://example.com/privacy",
			"PDS_CONTACT_EMAIL_ADDRESS=help@example.com")
		return spec
	})
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	args := []string{"--test", "--test-reporter=spec", "--test-concurrency=1", "--test-force-exit", "web/web.test.mjs", "web/account.test.mjs", "web/passkey.test.mjs", "web/admin.test.mjs"}
	if only := os.Getenv("PERCH_WEB_ONLY"); only != "" {
		args = slices.Insert(args, 1, "--test-name-pattern="+only)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(peers, "node.sh"), args...)
	cmd.Dir = peers
	cmd.Env = append(os.Environ(), "PEERS_URL="+localURL(pds.Port), "PEERS_PROFILE="+filepath.Join(dir, "browser"))
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
