package oauth

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"perch/testdata/peers/internet"
	"perch/testdata/peers/peertest"
)

func TestClientsOfOthers(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a browser")
	}
	w := newWorld(t)
	w.publishSet(t)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	args := []string{"--test-reporter=spec", "--test-force-exit"}
	if only := os.Getenv("PERCH_OAUTH_ONLY"); only != "" {
		args = append(args, "--test-name-pattern="+only)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(w.peers, "node.sh"), append(args, "oauth/oauth.test.mjs")...)
	cmd.Dir = w.peers
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // so that the browser ends with it
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(), internet.Trust(w.caFile)...)
	cmd.Env = append(cmd.Env, "PEERS_URL=https://"+pdsName, "PEERS_APP_PORT="+strconv.Itoa(w.nodePort), "PEERS_SET="+setName, "NODE_NO_WARNINGS=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s\nthe server's log ends:\n%s", err, out, w.pds.LogTail())
	} else if t.Logf("%s", out); bytes.Contains(out, []byte("tests 0\n")) {
		t.Error("no test has run")
	}
	if err := w.pds.Stop(); err != nil {
		t.Error(err)
	}
	w.searchLog(t)
}

// searchLog looks for errors, and for what no log may hold.
func (w *world) searchLog(t *testing.T) {
	t.Helper()
	log, err := os.ReadFile(w.pds.Log)
	peertest.Must(t, err)
	for _, line := range strings.Split(string(log), "\n") {
		for _, bad := range []string{"level=ERROR", "acc-", "ref-", "cod-", "panic"} {
			if strings.Contains(line, bad) {
				t.Errorf("the server has logged %q:\n%s", bad, line)
			}
		}
	}
}
