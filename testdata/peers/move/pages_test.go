package move

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"perch/testdata/peers/bench/server"
)

// A newcomer moves an account from the reference PDS to Perch through the pages alone, in a real browser: on a phone with the sign-in at the old server, on a
// desktop with its password.
func TestMoveByPages(t *testing.T) {
	w := newWorld(t, "reference")
	movers := map[string]*mover{"phone": w.join(t), "desktop": w.join(t)}
	dids := map[string]string{}
	for size, m := range movers {
		dids[size] = m.did
	}
	text, err := json.Marshal(dids)
	must(t, err)
	peers, err := server.PeersDir()
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(peers, "node.sh"), "--test", "--test-reporter=spec", "move/pages.test.mjs")
	cmd.Dir = peers
	cmd.Env = append(os.Environ(), "PEERS_URL="+w.here.origin(), "PEERS_OLD_URL="+w.old.origin(), "PEERS_MAILBOX="+w.mail.HTTP, "PEERS_MOVERS="+string(text))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	for _, m := range movers {
		m.check()
	}
}
