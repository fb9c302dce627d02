// Package server starts and stops the servers that the measuring, crash and hostile-input programs work on, and reads what
// they cost from /proc: CPU, memory and bytes written, for the whole process tree.
package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Spec says how to start a server. It listens on 127.0.0.1:Port.
type Spec struct {
	Name    string
	Command []string
	Env     []string // added to PATH, HOME and TMPDIR of this process
	Dir     string   // working directory
	Log     string   // file that takes its output, appended to
	Port    int
	Health  string // path that answers 200 when the server is ready; /xrpc/_health when empty
}

// Process is a running server.
type Process struct {
	Spec
	Addr string // host:port
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// ErrExited is wrapped by Start when the process ends before it answers.
var ErrExited = errors.New("server ended")

// Launch starts the process and returns at once.
func Launch(spec Spec) (*Process, error) {
	if err := os.MkdirAll(filepath.Dir(spec.Log), 0o755); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(spec.Command[0], spec.Command[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = spec.Dir, log, log
	cmd.Env = append(baseEnv(), spec.Env...)
	// A group of its own, so that a wrapper's children end with it; and the kernel ends it when this process dies.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	p := &Process{Spec: spec, Addr: "127.0.0.1:" + strconv.Itoa(spec.Port), cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Start launches the server and waits until it answers.
func Start(ctx context.Context, spec Spec) (*Process, error) {
	p, err := Launch(spec)
	if err != nil {
		return nil, err
	}
	if err := p.Ready(ctx); err != nil {
		p.Kill()
		return nil, err
	}
	return p, nil
}

func baseEnv() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GOCOVERDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// PID is the id of the process that Launch started.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// URL is the server's base URL.
func (p *Process) URL() string { return "http://" + p.Addr }

// Running tells whether the process still lives.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Ready waits for the first answer with status 200.
func (p *Process) Ready(ctx context.Context) error {
	path := p.Health
	if path == "" {
		path = "/xrpc/_health"
	}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if res, err := client.Get(p.URL() + path); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w\n%s", p.Name, ctx.Err(), p.LogTail())
		case <-p.done:
			return fmt.Errorf("%w: %s: %v\n%s", ErrExited, p.Name, p.err, p.LogTail())
		case <-tick.C:
		}
	}
}

// stopTimeout is how long a server may take to end, on however busy a machine.
const stopTimeout = time.Minute

// Stop asks the server to end, and kills it when it has not in time.
func (p *Process) Stop() error {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTimeout):
		p.Kill()
		return fmt.Errorf("%s did not end within %v of SIGTERM", p.Name, stopTimeout)
	}
}

// Kill ends the whole group with SIGKILL and waits until it is gone.
func (p *Process) Kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

func (p *Process) signal(sig syscall.Signal) {
	if p.Running() {
		syscall.Kill(-p.PID(), sig)
	}
}

// LogTail returns the last lines of the server's output, for a report.
func (p *Process) LogTail() string {
	b, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// Servers get ports below those that Linux gives to whoever asks for any (32768 and up), so that nobody takes one while its server is starting or down.
// 10080 is not among them: browsers and Node refuse it.
const (
	firstPort = 12_000
	ports     = 20_000
	portTries = 1000
)

var taken sync.Map // ports that this process has had

// FreePort returns a TCP port that nobody listens on, another one at each call.
func FreePort() (port int, err error) {
	for range portTries {
		port = firstPort + rand.IntN(ports)
		if _, twice := taken.LoadOrStore(port, true); twice {
			continue
		}
		var l net.Listener
		if l, err = net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("no free port: %w", err)
}
