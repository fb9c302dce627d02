package relay

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"perch/testdata/peers/peertest"
)

func setting(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is not a positive number", name, text)
	}
	return n
}

// TestRelayFollows is the scenario of the package's comment.
func TestRelayFollows(t *testing.T) {
	if testing.Short() {
		t.Skip("starts several servers")
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil))) // indigo tells of every first commit
	commits := setting(t, "PERCH_RELAY_COMMITS", 1000)
	accounts := setting(t, "PERCH_RELAY_ACCOUNTS", 20)
	workers := setting(t, "PERCH_RELAY_WORKERS", 8)
	seed := setting(t, "PERCH_RELAY_SEED", 1)

	w := newWorld(t)
	w.crawl(t, pdsName)
	direct := follow(t, localAddress(pdsPort), newHistory(w.directory()), fromNow)
	relayed := follow(t, localAddress(relayPort), newHistory(nil), fromNow)
	waitFor(t, "both followers", func() bool { return direct.live() && relayed.live() })

	began := time.Now()
	l, err := newLoad(accounts, workers, uint64(seed))
	peertest.Must(t, err)
	t.Logf("%d accounts in %v", accounts, time.Since(began).Round(time.Millisecond))
	began = time.Now()
	peertest.Must(t, l.run(t.Context(), commits*4/10, nil))
	w.restartPDS(t)
	peertest.Must(t, l.run(t.Context(), commits*2/10, nil))
	// When it ends, this relay forgets what it has taken in and not yet passed on, so it has to be done with that first.
	relayed.caughtUp(t, "the relay's firehose", l)
	if err := w.relay.Stop(); err != nil {
		t.Error(err)
	}
	peertest.Must(t, l.run(t.Context(), commits-commits*6/10, w.startRelay))
	t.Logf("%d commits in %v", commits, time.Since(began).Round(time.Millisecond))

	direct.caughtUp(t, "the server's firehose", l)
	relayed.caughtUp(t, "the relay's firehose", l)
	checkJudge(t, direct.history)
	checkDirect(t, direct.history, l)
	checkRelayed(t, w, relayed.history, direct.history)
	checkBackfill(t, direct.history)
	checkGoat(t, w, direct.history, len(l.writers))
	checkHeads(t, l, direct.history)
	if w.front.Crawls.Load() == 0 {
		t.Error("the server has never asked the relay to crawl it")
	}
}

// following is a follower at work with its history.
type following struct {
	*follower
	history *history
}

// follow starts to read a firehose from a cursor; fromNow is none.
func follow(t *testing.T, addr string, h *history, cursor int64) *following {
	f := &following{&follower{addr: addr, cursor: cursor, take: h.take}, h}
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		f.run(ctx)
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return f
}

// caughtUp waits until the last acknowledged commit of every account has come.
func (f *following) caughtUp(t *testing.T, what string, l *load) {
	t.Helper()
	waitFor(t, what+" to show the last commit of every account", func() bool {
		if err := f.failed(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return !slices.ContainsFunc(l.writers, func(w *writer) bool {
			return len(w.commits) > 0 && f.history.last(w.DID) != w.commits[len(w.commits)-1]
		})
	})
}

// checkDirect wants the server's firehose to show every acknowledged commit once and in order, and no other but the first of an
// account; and its operations to lead to the records that the writers know.
func checkDirect(t *testing.T, h *history, l *load) {
	t.Helper()
	if len(h.stories) != len(l.writers) {
		t.Errorf("the firehose tells of %d accounts, there are %d", len(h.stories), len(l.writers))
	}
	for _, w := range l.writers {
		s := h.stories[w.DID]
		if s == nil || len(s.commits) == 0 {
			t.Errorf("%s: nothing on the firehose", w.DID)
			continue
		}
		if !slices.Equal(s.commits[1:], w.commits) {
			t.Errorf("%s: %d commits on the firehose, %d acknowledged", w.DID, len(s.commits)-1, len(w.commits))
		}
		if !maps.Equal(s.records, w.records) {
			t.Errorf("%s: %d records on the firehose, %d acknowledged", w.DID, len(s.records), len(w.records))
		}
		if !slices.Contains(s.kinds, "identity") || !slices.Contains(s.kinds, "account") {
			t.Errorf("%s: announced only by %v before its first commit", w.DID, s.kinds)
		}
	}
}

// checkRelayed wants the relay to have passed on all of it and to have found nothing wrong.
func checkRelayed(t *testing.T, w *world, relayed, direct *history) {
	t.Helper()
	for did, s := range direct.stories {
		r := relayed.stories[did]
		if r == nil || !slices.Equal(r.commits, s.commits) {
			t.Errorf("%s: the relay's commits are not the server's", did)
		}
	}
	got, _ := relayed.count()
	want, _ := direct.count()
	if got != want {
		t.Errorf("the relay passed on %d commits of %d", got, want)
	}
	t.Logf("the relay passed on %d commits of %d; its second run received %.0f", got, want, w.relayMetric(t, "repo_commits_received_counter"))
	if n := w.relayMetric(t, "events_warn_counter"); n != 0 {
		t.Errorf("the relay counts %.0f events with warnings", n)
	}
	if bad := w.relayComplaints(t); len(bad) > 0 {
		t.Errorf("the relay complains %d times:\n%s", len(bad), strings.Join(bad[:min(len(bad), 10)], "\n"))
	}
}

// checkBackfill wants the whole stream again, to the byte, from cursor 0.
func checkBackfill(t *testing.T, live *history) {
	t.Helper()
	again := newHistory(nil)
	f := follow(t, localAddress(pdsPort), again, 0)
	waitFor(t, "the backfill", func() bool {
		peertest.Must(t, f.failed())
		commits, other := again.count()
		return commits+other >= len(live.sums)
	})
	again.mu.Lock()
	defer again.mu.Unlock()
	if !slices.Equal(again.sums, live.sums) {
		t.Error("the backfill differs from what was sent live")
	}
}

// checkGoat reads the stream with goat, which verifies it all, until it has printed the last commit. goat says once for every account that the
// first commit has no prevData.
func checkGoat(t *testing.T, w *world, live *history, accounts int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	goat := exec.CommandContext(ctx, filepath.Join(w.peers, ".cache", "bin", "goat"), "firehose",
		"--relay-host", "http://"+localAddress(pdsPort), "--cursor", "0", "--verify-basic", "--verify-sig", "--verify-mst")
	goat.Env = append(os.Environ(), w.ca...)
	var complaints strings.Builder
	goat.Stderr = &complaints
	out, err := goat.StdoutPipe()
	peertest.Must(t, err)
	peertest.Must(t, goat.Start())
	want, _ := live.count()
	seen := 0
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 64<<20)
	for seen < want && lines.Scan() {
		if strings.Contains(lines.Text(), `"type":"commit"`) {
			seen++
		}
	}
	cancel()
	goat.Wait()
	if seen != want {
		t.Errorf("goat saw %d commits of %d", seen, want)
	}
	first := 0
	for _, line := range strings.Split(strings.TrimSpace(complaints.String()), "\n") {
		switch {
		case strings.Contains(line, "prevData is nil, skipping MST check"):
			first++
		case strings.Contains(line, "starting firehose consumer"), strings.Contains(line, "INFO"), line == "":
		default:
			t.Errorf("goat: %s", line)
		}
	}
	if first != accounts {
		t.Errorf("goat found %d commits without prevData, one for each of %d accounts is right", first, accounts)
	}
}

// checkHeads wants every repository to stand where its commits led to.
func checkHeads(t *testing.T, l *load, h *history) {
	t.Helper()
	for _, w := range l.writers {
		head, err := w.latest()
		peertest.Must(t, err)
		if head != h.last(w.DID) {
			t.Errorf("%s: the repository is at %v, its commits led to %v", w.DID, head, h.last(w.DID))
		}
	}
}
