package internet

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

const insideEnv = "PERCH_PEERS_INSIDE"

// enterScript makes the namespace a small internet and goes on as the test.
const enterScript = `set -e
ip link set lo up
ip addr add ` + Address + `/32 dev lo
mount --bind "$0/hosts" /etc/hosts
[ ! -e /etc/resolv.conf ] || mount --bind "$0/resolv.conf" /etc/resolv.conf
exec "$@"`

// Main runs the tests inside the namespace, in which the names lead to Address, and returns the exit code. It is for TestMain.
func Main(m *testing.M, names ...string) int {
	if os.Getenv(insideEnv) != "" {
		return m.Run()
	}
	code, err := enter(names)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot make a network namespace (root or user namespaces are needed):", err)
		return 1
	}
	return code
}

// enter runs this program again inside a network namespace and returns its exit code.
func enter(names []string) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "perch-internet-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := writeNames(dir, names); err != nil {
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

// writeNames writes the files that stand in for the machine's own in /etc. A DNS server answers only if the test starts one (ServeTXT).
func writeNames(dir string, names []string) error {
	hosts := fmt.Sprintf("127.0.0.1 localhost\n::1 localhost\n%s %s\n", Address, strings.Join(names, " "))
	if err := os.WriteFile(filepath.Join(dir, "hosts"), []byte(hosts), 0o644); err != nil {
		return err
	}
	resolv := "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"
	return os.WriteFile(filepath.Join(dir, "resolv.conf"), []byte(resolv), 0o644)
}
