package relay

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const (
	publicAddress = "44.10.0.1" // looks public to every guard
	pdsName       = "alpha-pds.net"
	plcName       = "plc.directory"
	relayName     = "bsky.network"
	ownName       = "mover-own.net" // domain of those who have handles of their own
	insideEnv     = "PERCH_RELAY_INSIDE"
)

// ownUsers have handles under ownName.
var ownUsers = []string{"calls", "job"}

// hostNames are servers that accounts move between; pdsName is the first.
var hostNames = []string{pdsName, "beta-pds.net", "gamma-pds.net", "delta-pds.net"}

// enterScript makes the namespace a small internet and goes on as the test.
const enterScript = `set -e
ip link set lo up
ip addr add ` + publicAddress + `/32 dev lo
mount --bind "$0/hosts" /etc/hosts
[ ! -e /etc/resolv.conf ] || mount --bind "$0/resolv.conf" /etc/resolv.conf
exec "$@"`

func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) != "" {
		os.Exit(m.Run())
	}
	code, err := enter()
	if err != nil {
		fmt.Fprintln(os.Stderr, "relay: cannot make a network namespace (root or user namespaces are needed):", err)
		code = 1
	}
	os.Exit(code)
}

// enter runs this program again inside a network namespace and returns its exit code.
func enter() (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "perch-relay-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := writeNames(dir); err != nil {
		return 0, err
	}
	args := []string{"--net", "--mount"}
	if os.Geteuid() != 0 {
		args = append(args, "--user", "--map-root-user")
	}
	args = append(args, "sh", "-c", enterScript, dir, self)
	cmd := exec.Command("unshare", append(args, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// writeNames writes the files that stand in for the machine's own in /etc. No DNS server answers.
func writeNames(dir string) error {
	var hosts strings.Builder
	names := append([]string{plcName, relayName}, hostNames...)
	for _, user := range ownUsers {
		names = append(names, user+"."+ownName)
	}
	fmt.Fprintf(&hosts, "127.0.0.1 localhost\n::1 localhost\n%s %s\n", publicAddress, strings.Join(names, " "))
	if err := os.WriteFile(filepath.Join(dir, "hosts"), []byte(hosts.String()), 0o644); err != nil {
		return err
	}
	resolv := "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"
	return os.WriteFile(filepath.Join(dir, "resolv.conf"), []byte(resolv), 0o644)
}
