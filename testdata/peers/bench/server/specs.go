package server

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// ErrNoPeers is returned by PeersDir outside the repository.
var ErrNoPeers = errors.New("cannot find testdata/peers: run inside the repository")

// PeersDir finds the folder testdata/peers from the working directory upwards.
func PeersDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		for _, candidate := range []string{dir, filepath.Join(dir, "testdata", "peers")} {
			if _, err := os.Stat(filepath.Join(candidate, "node.sh")); err == nil {
				return candidate, nil
			}
		}
		if dir == filepath.Dir(dir) {
			return "", ErrNoPeers
		}
		dir = filepath.Dir(dir)
	}
}

// BuildPerch compiles cmd/perch into dir and returns the program's path. With PERCH_BIN set, that one is used instead.
func BuildPerch(dir string) (string, error) {
	if bin := os.Getenv("PERCH_BIN"); bin != "" {
		return filepath.Abs(bin)
	}
	peers, err := PeersDir()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "perch")
	cmd := exec.Command("go", "build", "-o", bin, "./cmd/perch")
	cmd.Dir = filepath.Join(peers, "..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build perch: %w\n%s", err, out)
	}
	return bin, nil
}

// Hostname is the servers' public name. Not localhost: the reference wants its development mode there, in which it checks
// its own answers against the lexicons, and that would slow it down.
const Hostname = "pds.test"

// common are the settings that both servers understand and get alike.
func common(dir string, port int, plcURL string) []string {
	return []string{
		"PDS_HOSTNAME=" + Hostname,
		"PDS_SERVICE_DID=did:web:" + Hostname,
		"PDS_PORT=" + strconv.Itoa(port),
		"PDS_SERVICE_HANDLE_DOMAINS=.test",
		"PDS_DATA_DIRECTORY=" + dir,
		"PDS_BLOBSTORE_DISK_LOCATION=" + filepath.Join(dir, "blobs"),
		"PDS_DID_PLC_URL=" + plcURL,
		"PDS_DISABLE_SSRF_PROTECTION=true",
		"PDS_DEV_MODE=false",
		"PDS_INVITE_REQUIRED=false",
		"PDS_BLOB_UPLOAD_LIMIT=5242880",
		"PDS_RATE_LIMITS_ENABLED=false",
		"PDS_ADMIN_PASSWORD=admin",
		"PDS_JWT_SECRET=0123456789abcdef0123456789abcdef",
		"PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX=2222222222222222222222222222222222222222222222222222222222222222",
		"LOG_ENABLED=false",
	}
}

// Perch is `perch serve` with its data in dir, configured as the reference is.
func Perch(bin, dir string, port int, plcURL string) Spec {
	return Spec{
		Name:    "perch",
		Command: []string{bin, "serve"},
		Env:     append(common(dir, port, plcURL), "PDS_LOG_LEVEL=error"),
		Dir:     filepath.Dir(bin),
		Log:     dir + ".log",
		Port:    port,
	}
}

// Reference is @atproto/pds with its data in dir.
func Reference(peers, dir string, port int, plcURL string) Spec {
	return Spec{
		Name:    "reference",
		Command: []string{"./node.sh", "reference/pds.mjs", "--port", strconv.Itoa(port), "--plc", plcURL, "--data", dir},
		Env:     common(dir, port, plcURL),
		Dir:     peers,
		Log:     dir + ".log",
		Port:    port,
	}
}

// PLC is a PLC directory that keeps everything in memory.
func PLC(peers, dir string, port int) Spec {
	return Spec{
		Name:    "plc",
		Command: []string{"./node.sh", "reference/plc.mjs", "--port", strconv.Itoa(port)},
		Dir:     peers,
		Log:     dir + ".log",
		Port:    port,
		Health:  "/_health",
	}
}
