package relay

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"perch/testdata/peers/bench/server"
	"perch/testdata/peers/mailbox"
	"perch/testdata/peers/peertest"
)

// kindsOfHosts are the servers under hostNames.
func kindsOfHosts() []string {
	if kinds := os.Getenv("PERCH_MOVE_KINDS"); kinds != "" {
		return strings.Split(kinds, ",")
	}
	return []string{"reference", "perch", "perch", "reference"}
}

// TestRelayFollowsMoves moves an account out of the reference, from Perch to Perch and back to a reference, and then another with the job of the servers that have
// one, while the relay follows all of them. move/move.test.mjs compares.
func TestRelayFollowsMoves(t *testing.T) {
	if testing.Short() {
		t.Skip("starts several servers")
	}
	site := httptest.NewServer(&ownDomains{})
	t.Cleanup(site.Close)
	u, err := url.Parse(site.URL)
	peertest.Must(t, err)
	sitePort, err := strconv.Atoi(u.Port())
	peertest.Must(t, err)
	names := map[string]int{plcName: plcPort, relayName: relayPort, ownName: sitePort}
	var urls []string
	kinds := kindsOfHosts()
	for i, name := range hostNames[:len(kinds)] {
		names[name] = pdsPort + i
		urls = append(urls, "https://"+name)
	}
	w := newInternet(t, names)
	mail := mailbox.Open(t)
	peertest.Must(t, w.startRelay())
	hosts := w.startHosts(t, kinds, mail)
	for _, by := range ownUsers {
		t.Run(by, func(t *testing.T) {
			for _, h := range hosts {
				h.ResetPeak()
			}
			ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, filepath.Join(w.peers, "node.sh"), "--test", "--test-reporter=spec", "move/move.test.mjs")
			cmd.Dir = w.peers
			cmd.Env = append(os.Environ(), "PEERS_PLC_URL=https://"+plcName, "PEERS_MAIL_URL="+mail.HTTP, "PEERS_HOSTS="+strings.Join(urls, ","),
				"PEERS_KINDS="+strings.Join(kinds, ","), "PEERS_MOVE_BY="+by, "PEERS_RELAY_URL=http://"+localAddress(relayPort),
				"PEERS_HANDLE_DOMAIN=."+pdsName, "PEERS_OWN_HANDLE="+by+"."+ownName, "PEERS_OWN_HANDLE_URL="+site.URL)
			cmd.Env = append(cmd.Env, w.ca...)
			out, err := cmd.CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Error(err)
			}
			for i, h := range hosts {
				usage, err := h.Usage()
				peertest.Must(t, err)
				t.Logf("%s %s: at most %d MB of memory, %v of CPU", h.Name, hostNames[i], usage.Peak>>20, usage.CPU)
				if t.Failed() {
					t.Log(h.LogTail())
				}
			}
		})
	}
	var bad []string
	for _, line := range w.relayComplaints(t) {
		if !harmlessInMoves(line, kinds) {
			bad = append(bad, line)
		}
	}
	if len(bad) > 0 {
		t.Errorf("the relay complains %d times:\n%s", len(bad), strings.Join(bad[:min(len(bad), 10)], "\n"))
	}
	for _, h := range hosts {
		peertest.Must(t, h.Stop())
		if h.Name == "perch" {
			check := exec.Command(h.Command[0], "check")
			check.Env = append(os.Environ(), h.Env...)
			if out, err := check.CombinedOutput(); err != nil {
				t.Errorf("perch check: %v\n%s", err, out)
			}
		}
	}
}

// startHosts starts all servers and has the relay follow them.
func (w *world) startHosts(t *testing.T, kinds []string, mail *mailbox.Mailbox) (hosts []*server.Process) {
	t.Helper()
	for i, name := range hostNames[:len(kinds)] {
		spec := w.hostSpec(t, kinds[i], name, pdsPort+i)
		spec.Env = append(spec.Env,
			"PDS_EMAIL_SMTP_URL="+mail.SMTP, "PDS_EMAIL_FROM_ADDRESS=pds@example.com",
			"PDS_MAX_REPO_IMPORT_SIZE=1073741824",                                              // the reference takes no more than a blob's size otherwise
			"PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX="+strings.Repeat(strconv.Itoa(i+1), 64), // each host has its own
		)
		h, err := start(spec)
		peertest.Must(t, err)
		t.Cleanup(h.Kill)
		hosts = append(hosts, h)
		if kinds[i] == "perch" { // asks for it by itself
			waitFor(t, "the relay to follow "+name, func() bool { return w.front.FollowersOf(name) > 0 })
		} else {
			w.crawl(t, name)
		}
	}
	return hosts
}

// harmlessInMoves: the relay does not heed a host that tells of an account which lives elsewhere by now; the reference sends a #sync with the head that the old
// key signed; and followers go.
func harmlessInMoves(text string, kinds []string) bool {
	var line struct{ Msg, Err, Host, EventType string }
	if json.Unmarshal([]byte(text), &line) != nil {
		return false
	}
	from := slices.Index(hostNames, line.Host)
	reference := from >= 0 && kinds[from] == "reference"
	return line.Msg == "failed to read message from client" ||
		strings.Contains(line.Err, "already subscribed") ||
		strings.Contains(line.Err, "identity not found in cache after coalesce returned") || // two events of one account at a time, from two hosts
		line.EventType == "account" && strings.HasPrefix(line.Err, "new account from a different host") ||
		line.EventType == "sync" && reference && strings.Contains(line.Err, "signature invalid")
}

// ownDomains are the sites of people whose handles are their own domains. POST /HANDLE tells the DID.
type ownDomains struct{ dids sync.Map }

func (o *ownDomains) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	did, known := o.dids.Load(r.Host)
	switch {
	case r.Method == http.MethodPost:
		body, err := io.ReadAll(r.Body)
		if err == nil {
			o.dids.Store(strings.TrimPrefix(r.URL.Path, "/"), string(body))
		}
	case r.URL.Path == "/.well-known/atproto-did" && known:
		_, _ = io.WriteString(w, did.(string))
	default:
		http.NotFound(w, r)
	}
}
