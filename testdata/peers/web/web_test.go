// Package web walks the server's pages in a real browser: on a phone with fingers, on a desktop with the keyboard alone, dark and light, without script. Each
// page is held against the rules of axe-core. What the walk leaves out fails it.
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
	"strings"
	"testing"
	"time"

	"perch/testdata/peers/bench/server"
	"perch/testdata/peers/peertest"
	"perch/testdata/peers/walked"
)

func TestPages(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	peers, err := server.PeersDir()
	peertest.Must(t, err)
	dir := t.TempDir()
	bin, err := server.BuildPerch(dir)
	peertest.Must(t, err)
	plc := start(t, func(port int) server.Spec { return server.PLC(peers, filepath.Join(dir, "plc"), port) })
	pds := start(t, func(port int) server.Spec {
		spec := server.Perch(bin, filepath.Join(dir, "pds"), port, peertest.LocalURL(plc.Port))
		spec.Env = append(spec.Env, "PDS_HOSTNAME=localhost", "PDS_DEV_MODE=true", "PDS_INVITE_REQUIRED=true", "PDS_SERVICE_NAME=Example PDS",
			"PDS_TERMS_OF_SERVICE_URL=https://example.com/terms", "PDS_PRIVACY_POLICY_URL=https://example.com/privacy",
			"PDS_CONTACT_EMAIL_ADDRESS=help@example.com", "PDS_EMAIL_FROM_ADDRESS=pds@example.com",
			"PDS_EMAIL_SMTP_URL=smtp://127.0.0.1:1", "PDS_CRAWLERS=http://127.0.0.1:1") // nobody listens: mails wait, and relays have errors
		return spec
	})
	long := "." + strings.Repeat("a", 63) + "." + strings.Repeat("b", 63) + "." + strings.Repeat("c", 63) + "." + strings.Repeat("d", 28) + ".test"
	full := start(t, func(port int) server.Spec {
		spec := server.Perch(bin, filepath.Join(dir, "full"), port, peertest.LocalURL(plc.Port))
		spec.Env = append(spec.Env, "PDS_HOSTNAME=localhost", "PDS_DEV_MODE=true", "PDS_PUBLIC_ACCOUNTS=true", "PDS_SERVICE_HANDLE_DOMAINS="+long+",.test",
			"PDS_SERVICE_NAME=Verein zur Förderung der Kleinkunstbühnenveranstaltungen", "PDS_RATE_LIMITS_ENABLED=true", "PDS_RATE_LIMIT_BYPASS_KEY=sesame",
			"PDS_EMAIL_SMTP_URL=smtp://127.0.0.1:1", "PDS_EMAIL_FROM_ADDRESS=pds@example.com")
		return spec
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	args := []string{"--test", "--test-reporter=spec", "--test-concurrency=2", "--test-force-exit", "web/account.test.mjs", "web/languages.test.mjs",
		"web/web.test.mjs", "web/passkey.test.mjs", "web/admin.test.mjs", "web/full.test.mjs"}
	only := os.Getenv("PERCH_WEB_ONLY")
	if only != "" {
		args = slices.Insert(args, 1, "--test-name-pattern="+only)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(peers, "node.sh"), args...)
	cmd.Dir = peers
	seen := filepath.Join(dir, "seen")
	cmd.Env = append(os.Environ(), "PEERS_URL="+peertest.LocalURL(pds.Port), "PEERS_FULL_URL="+peertest.LocalURL(full.Port), "PEERS_FULL_DOMAIN="+long,
		"PEERS_PAGES="+walked.Pages(t), "PEERS_SEEN="+seen)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s\nthe server's log ends:\n%s", err, out, pds.LogTail())
	} else {
		t.Logf("%s", out)
	}
	if left := walked.Left(t, seen, func(name string) bool { return !walked.Moves(name) }); only == "" && len(left) > 0 {
		t.Errorf("%d were left out:\n%s", len(left), strings.Join(left, "\n"))
	}
	if err := pds.Stop(); err != nil {
		t.Error(err)
	}
}

// start starts a server on a free port and ends it with the test.
func start(t *testing.T, spec func(port int) server.Spec) *server.Process {
	t.Helper()
	port, err := server.FreePort()
	peertest.Must(t, err)
	return peertest.Start(t, spec(port))
}
