package relay

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/identity"

	"perch/testdata/peers/bench/server"
	"perch/testdata/peers/internet"
	"perch/testdata/peers/peertest"
)

// Ports of the programs. The namespace is ours alone.
const (
	plcPort          = 2582
	pdsPort          = 2583
	relayPort        = 2470
	relayMetricsPort = 2471
	startTimeout     = time.Minute
)

func localAddress(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// world is the small internet: a PLC directory, the server under test, a relay, and TLS before them.
type world struct {
	dir   string
	peers string
	front *internet.Front
	ca    []string // environment by which programs trust the front

	plc, pds, relay *server.Process
	pdsSpec         server.Spec
	relayRuns       int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := newInternet(t, map[string]int{plcName: plcPort, pdsName: pdsPort, relayName: relayPort})
	w.pdsSpec = w.pdsTarget(t)
	var err error
	w.pds, err = start(w.pdsSpec)
	peertest.Must(t, err)
	peertest.Must(t, w.startRelay())
	return w
}

// newInternet is a world without servers but the PLC directory. names lead to local ports.
func newInternet(t *testing.T, names map[string]int) *world {
	t.Helper()
	peers, err := server.PeersDir()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{dir: runDir(t), peers: peers}
	caFile := filepath.Join(w.dir, "ca.pem")
	w.front = internet.StartFront(t, names, caFile)
	w.ca = internet.Trust(caFile)

	t.Cleanup(func() {
		for _, p := range []*server.Process{w.relay, w.pds, w.plc} {
			if p != nil {
				p.Kill()
			}
		}
	})
	w.plc, err = start(server.PLC(peers, filepath.Join(w.dir, "plc"), plcPort))
	peertest.Must(t, err)
	return w
}

// runDir is where logs and data go.
func runDir(t *testing.T) string {
	keep := os.Getenv("PERCH_RELAY_KEEP")
	if keep == "" {
		return t.TempDir()
	}
	if err := os.MkdirAll(keep, 0o755); err != nil {
		t.Fatal(err)
	}
	return keep
}

func start(spec server.Spec) (*server.Process, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return server.Start(ctx, spec)
}

// pdsTarget says how to start the server under test, as in production.
func (w *world) pdsTarget(t *testing.T) server.Spec {
	t.Helper()
	return w.hostSpec(t, os.Getenv("PERCH_RELAY_TARGET"), pdsName, pdsPort)
}

// hostSpec says how to start a server under a name: "reference", or Perch.
func (w *world) hostSpec(t *testing.T, kind, name string, port int) server.Spec {
	t.Helper()
	data := filepath.Join(w.dir, strings.TrimSuffix(name, ".net"))
	plcURL := "https://" + plcName
	var spec server.Spec
	if kind == "reference" {
		spec = server.Reference(w.peers, data, port, plcURL)
	} else {
		bin, err := server.BuildPerch(w.dir)
		peertest.Must(t, err)
		spec = server.Perch(bin, data, port, plcURL)
	}
	spec.Env = append(spec.Env,
		"PDS_HOSTNAME="+name,
		"PDS_SERVICE_DID=did:web:"+name,
		"PDS_SERVICE_HANDLE_DOMAINS=."+name,
		"PDS_DISABLE_SSRF_PROTECTION=false",
		"PDS_CRAWLERS=https://"+relayName,
	)
	spec.Env = append(spec.Env, w.ca...)
	return spec
}

// startRelay starts the relay on its folder, with a log of its own for each run.
func (w *world) startRelay() (err error) {
	data := filepath.Join(w.dir, "relay")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return err
	}
	w.relayRuns++
	w.relay, err = start(server.Spec{
		Name:    "relay",
		Command: []string{filepath.Join(w.peers, ".cache", "bin", "relay"), "serve"},
		Env: append([]string{
			"DATABASE_URL=sqlite://" + filepath.Join(data, "relay.sqlite"),
			"RELAY_PERSIST_DIR=" + filepath.Join(data, "persist"),
			"RELAY_API_BIND=" + localAddress(relayPort),
			"RELAY_METRICS_LISTEN=" + localAddress(relayMetricsPort),
			"RELAY_PLC_HOST=https://" + plcName,
			"RELAY_ADMIN_PASSWORD=admin",
			"RELAY_IDENT_CACHE_SIZE=10000",
			"RELAY_TRUSTED_DOMAINS=" + strings.Join(hostNames, ","), // only lifts its limits of events per second
			"RELAY_LOG_LEVEL=info",
		}, w.ca...),
		Dir:  data,
		Log:  w.relayLogFile(w.relayRuns),
		Port: relayPort,
	})
	return err
}

func (w *world) relayLogFile(run int) string {
	return filepath.Join(w.dir, fmt.Sprintf("relay-%d.log", run))
}

// crawl makes the relay follow the server, and waits until it does. A relay reads a new host from now on, so this comes first.
func (w *world) crawl(t *testing.T, name string) {
	t.Helper()
	body := strings.NewReader(`{"hostname":"https://` + name + `"}`)
	req, err := http.NewRequest("POST", "http://"+localAddress(relayPort)+"/admin/pds/requestCrawl", body)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("admin", "admin")
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	peertest.Must(t, err)
	if res.StatusCode != http.StatusOK && !strings.Contains(string(b), "already subscribed") && !strings.Contains(string(b), "duplicated key") { // Perch asks for it, too
		t.Fatalf("the relay does not crawl: %s: %s\n%s", res.Status, b, w.relay.LogTail())
	}
	waitFor(t, "the relay to follow the server", func() bool { return w.front.FollowersOf(name) > 0 })
}

// restartPDS ends the server with SIGTERM and starts it on the same data.
func (w *world) restartPDS(t *testing.T) {
	t.Helper()
	if err := w.pds.Stop(); err != nil {
		t.Error(err)
	}
	var err error
	w.pds, err = start(w.pdsSpec)
	peertest.Must(t, err)
}

// directory resolves identities for indigo's verification.
func (w *world) directory() identity.Directory {
	base := identity.BaseDirectory{PLCURL: "http://" + localAddress(plcPort), SkipHandleVerification: true}
	cached := identity.NewCacheDirectory(&base, 10_000, time.Hour, time.Minute, time.Hour)
	return cached
}

// waitFor polls for a condition of another process; it fails the test after five minutes.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.After(5 * time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}

// relayLine is a line of the relay's log.
type relayLine struct {
	Level string `json:"level"`
	Msg   string `json:"msg"`
	Err   string `json:"err"`
}

// relayComplaints returns the lines of the relay's logs that are not in order. Connections are lost when a side is restarted, and
// then the relay, which marks events as read a little late, asks for some again; that it passes on each commit once is checked apart.
func (w *world) relayComplaints(t *testing.T) []string {
	t.Helper()
	var bad []string
	for run := 1; run <= w.relayRuns; run++ {
		b, err := os.ReadFile(w.relayLogFile(run))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range strings.Split(strings.TrimSpace(string(b)), "\n") {
			var line relayLine
			if json.Unmarshal([]byte(text), &line) != nil || line.Msg == "" {
				continue // the web framework's banner and its list of requests
			}
			if !harmless(line) {
				bad = append(bad, text)
			}
		}
	}
	return bad
}

func harmless(line relayLine) bool {
	switch line.Msg {
	case "dialing failed", "host connection failed", "dropping commit with old rev":
		return true
	case "dropping message for inactive account":
		return false
	}
	return line.Level == "INFO" || line.Level == "DEBUG"
}

// relayMetric sums a metric of the running relay over its labels.
func (w *world) relayMetric(t *testing.T, name string) float64 {
	t.Helper()
	res, err := http.Get("http://" + localAddress(relayMetricsPort) + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for _, line := range strings.Split(string(b), "\n") {
		key, value, ok := strings.Cut(line, " ")
		if ok && (key == name || strings.HasPrefix(key, name+"{")) {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}
