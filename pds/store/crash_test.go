package store

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/bluesky-social/indigo/api/atproto"
	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/event"
	"perch/repo"
)

const (
	crashAccounts = 3
	crashWriters  = 6
)

// TestCrashChild is the process that TestCrash kills. It writes until then, and says on standard output what has been acknowledged.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv("PERCH_TEST_CRASH_DIR")
	if dir == "" {
		t.Skip("runs as a child of TestCrash")
	}
	s, err := Open(context.Background(), Options{Path: filepath.Join(dir, "perch.db"), OutlineRecords: 64})
	if err != nil {
		t.Fatal(err)
	}
	repos := make([]*testRepo, crashAccounts)
	for i := range repos {
		name := fmt.Sprintf("crash%d", i)
		if a, err := s.AccountByHandle(context.Background(), syntax.Handle(name+".test")); err == nil {
			repos[i] = &testRepo{s: s, id: a.ID, did: a.DID, key: crashKey(t, dir)}
		} else {
			repos[i] = newRepoKey(t, s, name, crashKey(t, dir))
		}
	}
	s.failAt = killAt(os.Getenv("PERCH_TEST_CRASH_STEP"))
	fmt.Println("ready")
	var wg sync.WaitGroup
	for g := range crashWriters {
		wg.Go(func() {
			crashWrites(t, repos[g%crashAccounts], fmt.Sprintf("%s-%d", os.Getenv("PERCH_TEST_CRASH_ROUND"), g))
		})
	}
	wg.Wait()
}

// killAt ends the process at the n-th passing of a step, given as "step n".
func killAt(spec string) func(string) error {
	i := strings.LastIndexByte(spec, ' ')
	if i < 0 {
		return nil
	}
	want, _ := strconv.ParseInt(spec[i+1:], 10, 64)
	var n atomic.Int64
	return func(step string) error {
		if step == spec[:i] && n.Add(1) == want {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}
}

func crashWrites(t *testing.T, r *testRepo, prefix string) {
	for i := 0; ; i++ {
		var writes []repo.Write
		for k := range 1 + i%3 {
			writes = append(writes, create(fmt.Sprintf("%s-%d-%d", prefix, i, k), "text"))
		}
		if _, err := r.commit(writes...); err != nil {
			t.Error(err)
			return
		}
		var said bytes.Buffer
		for _, w := range writes {
			fmt.Fprintf(&said, "%s %s %s\n", r.did, w.Path(), w.CID)
		}
		_, _ = os.Stdout.Write(said.Bytes())
	}
}

func TestCrash(t *testing.T) {
	rounds := []string{"records written 3", "before commit 5", "committed 1", "committed 9", "answered 7", "", ""}
	if n, err := strconv.Atoi(os.Getenv("PERCH_TEST_CRASH_ROUNDS")); err == nil {
		rounds = append(rounds, make([]string, n)...)
	}
	dir := t.TempDir()
	writeCrashKey(t, dir)
	acked := map[string]string{} // "did path" → CID
	for i, step := range rounds {
		crashRound(t, dir, i, step, acked)
		verifyAcked(t, dir, acked)
		if t.Failed() {
			t.Fatalf("after round %d, killed at %q", i, step)
		}
	}
	t.Logf("%d acknowledged writes over %d kills", len(acked), len(rounds))
}

// crashRound runs the child until it is dead: by its own hand at step, or by ours after some number of writes.
func crashRound(t *testing.T, dir string, round int, step string, acked map[string]string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$")
	cmd.Env = append(os.Environ(), "PERCH_TEST_CRASH_DIR="+dir, "PERCH_TEST_CRASH_STEP="+step, fmt.Sprintf("PERCH_TEST_CRASH_ROUND=%d", round))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killAfter, ready := 20+rand.IntN(600), false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		did, rest, ok := strings.Cut(lines.Text(), " ")
		if !ok {
			ready = ready || did == "ready"
			continue
		}
		path, c, _ := strings.Cut(rest, " ")
		acked[did+" "+path] = c
		if killAfter--; killAfter == 0 {
			_ = cmd.Process.Kill()
		}
	}
	if err := cmd.Wait(); err == nil || !ready {
		t.Fatalf("child ended by itself: %v; ready: %v", err, ready)
	}
}

// verifyAcked opens the database anew: each acknowledged write is there, with one event; each record has its one event; and nothing is broken.
func verifyAcked(t *testing.T, dir string, acked map[string]string) {
	t.Helper()
	ctx := context.Background()
	s, err := Open(ctx, Options{Path: filepath.Join(dir, "perch.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mustCheck(t, s)
	told := eventPaths(t, s)
	for key, want := range acked {
		did, path, _ := strings.Cut(key, " ")
		a, err := s.AccountByDID(ctx, syntax.DID(did))
		if err != nil {
			t.Fatal(err)
		}
		if rec, err := s.Record(ctx, a.ID, path); err != nil || rec.CID.String() != want {
			t.Errorf("acknowledged %s: %v, %v", key, rec.CID, err)
		}
		if told[key] != 1 {
			t.Errorf("acknowledged %s has %d events", key, told[key])
		}
	}
	var records int
	if err := s.read.queryRow(ctx, "SELECT count(*) FROM record").Scan(&records); err != nil || records != len(told) {
		t.Errorf("%d records, %d of them told of; %v", records, len(told), err)
	}
}

// eventPaths counts how often the events speak of each "did path".
func eventPaths(t *testing.T, s *Store) map[string]int {
	t.Helper()
	told := map[string]int{}
	for after := int64(0); ; {
		events, err := s.Events(context.Background(), after, 500, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if len(events) == 0 {
			return told
		}
		for i := range events {
			after = events[i].Seq
			if events[i].Kind != event.Commit {
				continue
			}
			var m atproto.SyncSubscribeRepos_Commit
			if err := payload(&events[i], &m); err != nil {
				t.Fatal(err)
			}
			for _, op := range m.Ops {
				told[m.Repo+" "+op.Path]++
			}
		}
	}
}

// The key outlives the processes of a TestCrash.

func writeCrashKey(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "key"), []byte(testKey().Multibase()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func crashKey(t *testing.T, dir string) *atcrypto.PrivateKeyK256 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := atcrypto.ParsePrivateMultibase(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return key.(*atcrypto.PrivateKeyK256)
}
