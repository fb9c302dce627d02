package move

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"perch/testdata/peers/bench/server"
)

// TestMove starts a PLC directory, two of each server, and an SMTP server for the codes, and moves accounts between them.
func TestMove(t *testing.T) {
	if testing.Short() {
		t.Skip("starts several servers")
	}
	peers, err := server.PeersDir()
	must(t, err)
	dir := t.TempDir()
	bin, err := server.BuildPerch(dir)
	must(t, err)
	mail := openMailbox(t)
	plc := start(t, func(port int) server.Spec { return server.PLC(peers, filepath.Join(dir, "plc"), port) })
	var hosts []*server.Process
	for i, kind := range []string{"reference", "perch", "perch", "reference"} {
		hosts = append(hosts, start(t, func(port int) server.Spec {
			data := filepath.Join(dir, kind+strconv.Itoa(i))
			spec := server.Perch(bin, data, port, localURL(plc.Port))
			if kind == "reference" {
				spec = server.Reference(peers, data, port, localURL(plc.Port))
			}
			spec.Env = append(spec.Env,
				"PDS_HOSTNAME=localhost",
				"PDS_SERVICE_DID=did:web:localhost%3A"+strconv.Itoa(port),
				"PDS_DEV_MODE=true",
				"PDS_EMAIL_SMTP_URL="+mail.smtp,
				"PDS_EMAIL_FROM_ADDRESS=pds@example.com",
				"PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX="+strings.Repeat(strconv.Itoa(i+1), 64), // each host has its own
			)
			return spec
		}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(peers, "node.sh"), "--test", "--test-reporter=spec", "move/move.test.mjs")
	cmd.Dir = peers
	cmd.Env = append(os.Environ(), "PEERS_PLC_URL="+localURL(plc.Port), "PEERS_MAIL_URL="+mail.http, "PEERS_HOSTS="+urls(hosts))
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("%v", err)
		for _, h := range hosts {
			t.Logf("the log of %s on %s ends:\n%s", h.Name, h.URL(), h.LogTail())
		}
	}
	for i, h := range hosts {
		must(t, h.Stop())
		if h.Name == "perch" {
			checkData(t, bin, filepath.Join(dir, "perch"+strconv.Itoa(i)))
		}
	}
}

// checkData has `perch check` look over a data folder.
func checkData(t *testing.T, bin, data string) {
	t.Helper()
	cmd := exec.Command(bin, "check")
	cmd.Env = append(os.Environ(), "PDS_DATA_DIRECTORY="+data, "PDS_HOSTNAME=localhost", "PDS_BLOBSTORE_DISK_LOCATION="+filepath.Join(data, "blobs"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("perch check of %s: %v\n%s", data, err, out)
	}
}

func urls(hosts []*server.Process) string {
	var all []string
	for _, h := range hosts {
		all = append(all, localURL(h.Port))
	}
	return strings.Join(all, ",")
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
