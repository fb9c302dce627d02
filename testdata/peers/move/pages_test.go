package move

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"perch/testdata/peers/bench/server"
	"perch/testdata/peers/walked"
)

// unseen are messages of these pages that no walk can bring up, and why.
var unseen = map[string]string{
	"move.line-left":  "pictures would have to be on their way for a while",
	"error.move-full": "more people would have to move at once than the walk can have: crowd_test.go of perch/pds/migrate",
}

// Accounts move here, from the reference PDS and another Perch, and away, through the pages alone and in a real browser, with whatever may come in between. What the
// walk leaves out of the pages of moves fails it, and each message of theirs that it does not see.
func TestMoveByPages(t *testing.T) {
	w := emptyWorld(t)
	long := func(ending string) string { // with names of 18 letters, the longest handles that there are: 244 bytes
		return "." + strings.Repeat("a", 63) + "." + strings.Repeat("b", 63) + "." + strings.Repeat("c", 63) + "." + strings.Repeat("d", 33-len(ending)) + ending
	}
	longFar, longHere := long(".pub"), long(".org")
	door := standBetween(t, w.directory)
	w.old = w.open("reference", filepath.Join(w.dir, "old"), w.directory, 1)
	far := w.open("perch", filepath.Join(w.dir, "far"), w.directory, 3, "PDS_SERVICE_DID=did:web:localhost%3A"+portOf(door.URL), "PDS_INVITE_REQUIRED=true",
		"PDS_SERVICE_HANDLE_DOMAINS=.far.pub,"+longFar)
	door.lead(t, far.origin())
	w.here = w.open("perch", filepath.Join(w.dir, "here"), w.toPLC.URL, 2, "PDS_INVITE_REQUIRED=true", "PDS_SERVICE_HANDLE_DOMAINS=.test,"+longHere)
	_, orders := openStage(t, w, far, door)
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
	args := []string{"--test", "--test-reporter=spec", "--test-concurrency=2", "--test-force-exit", "move/pages.test.mjs", "move/states.test.mjs", "move/here.test.mjs",
		"move/away.test.mjs"}
	only := os.Getenv("PERCH_MOVE_ONLY")
	if only != "" {
		args = slices.Insert(args, 1, "--test-name-pattern="+only)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(peers, "node.sh"), args...)
	cmd.Dir = peers
	seen := filepath.Join(w.dir, "seen")
	cmd.Env = append(os.Environ(), "PEERS_URL="+w.here.origin(), "PEERS_OLD_URL="+w.old.origin(), "PEERS_FULL_URL="+far.origin(), "PEERS_DOOR_URL="+door.URL,
		"PEERS_MAILBOX="+w.mail.HTTP, "PEERS_MOVERS="+string(text), "PEERS_STAGE="+orders, "PEERS_LONG_FAR="+longFar, "PEERS_LONG_HERE="+longHere, "PEERS_SEEN="+seen)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	if only != "" {
		return
	}
	left := append(walked.Left(t, seen, walked.Moves), walked.Unsaid(t, seen, "move", unseen)...)
	if len(left) > 0 {
		t.Errorf("%d were left out:\n%s", len(left), strings.Join(left, "\n"))
	}
	w.here.Kill()
	w.here.spec.Env = append(w.here.spec.Env, "PDS_INVITE_REQUIRED=false") // check makes accounts
	w.here.start(t)
	for _, m := range movers {
		m.check()
	}
}
