package adopt

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"perch/testdata/peers/peertest"
)

// kills is how often a take-over is ended with SIGKILL, at moments spread over its whole length.
const kills = 12

// killed: a take-over that is killed, again and again, leaves nothing that the next one does not make good. The reference's directory is as before, and the server has all.
func (w *world) killed() {
	t := w.t
	t.Helper()
	into := w.ours + "-killed"
	begin := time.Now()
	w.perch(0, "adopt", w.theirs, "--into", w.ours+"-whole")
	whole := time.Since(begin)
	ended := 0
	for n := range kills {
		if n%3 == 0 { // from the beginning, and then on what is left
			peertest.Must(t, os.RemoveAll(into))
		}
		cmd := exec.Command(w.bin, "adopt", w.theirs, "--into", into)
		peertest.Must(t, cmd.Start())
		timer := time.AfterFunc(whole*time.Duration(n+1)/kills, func() { _ = cmd.Process.Kill() })
		if cmd.Wait() != nil {
			ended++
		}
		timer.Stop()
	}
	t.Logf("%d of %d runs of up to %s were killed", ended, kills, whole)
	w.killedAtFiles(into)
	w.perch(0, "adopt", w.theirs, "--into", into)
	cmd := exec.Command(w.bin, "check", "--blobs")
	cmd.Env = append(os.Environ(), "PDS_DATA_DIRECTORY="+into)
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "no problems" {
		t.Errorf("check: %v\n%s", err, out)
	}
	once, twice := w.dump(w.ours+"-whole"), w.dump(into)
	for _, table := range []string{"account", "record", "blob", "event", "session", "app_password", "invite_code", "invite_use", "preference"} {
		if rows(once[table]) != rows(twice[table]) {
			t.Errorf("%s: %s after kills, %s in one go", table, twice[table], once[table])
		}
	}
	if left := leftovers(t, into); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// killedAtFiles kills take-overs, each from the beginning, once so many files are in the target folder: the same moments however fast the machine is.
func (w *world) killedAtFiles(into string) {
	t := w.t
	t.Helper()
	all := countFiles(w.ours + "-whole")
	for n := 1; n < all; n += max(1, all/fileKills) {
		peertest.Must(t, os.RemoveAll(into))
		cmd := exec.Command(w.bin, "adopt", w.theirs, "--into", into)
		peertest.Must(t, cmd.Start())
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait()
			close(ended)
		}()
		for over := false; !over; {
			select {
			case <-ended:
				over = true
			default:
				if over = countFiles(into) >= n; over {
					_ = cmd.Process.Kill()
					<-ended
				}
			}
		}
		w.perch(0, "adopt", w.theirs, "--into", into, "--dry-run") // what is left stands in nobody's way
	}
}

// fileKills is about how often.
const fileKills = 6

func countFiles(dir string) (n int) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return nil // files come and go meanwhile
	})
	return n
}

func rows(dump string) string { return strings.SplitN(dump, ",", 2)[0] }

// leftovers are files of ours that no run has cleaned up.
func leftovers(t *testing.T, dir string) (left []string) {
	t.Helper()
	for path := range files(t, dir) {
		if strings.Contains(path, "perch-adopt-") || strings.Contains(path, ".pds.env-") {
			left = append(left, fmt.Sprint(path))
		}
	}
	return left
}
