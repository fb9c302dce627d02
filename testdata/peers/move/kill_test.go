package move

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"perch/testdata/peers/bench/server"
	"perch/testdata/peers/bench/wire"
)

// point is a request at which a process is killed.
type point struct {
	method string
	n      int
	how    func(func()) fault
	when   string // for the name of the test
}

// points are all requests of a move to the old host, and those to the PLC directory that matter, in their order.
var points = []point{
	{"com.atproto.server.describeServer", 1, after, "after"},
	{"com.atproto.server.createSession", 1, after, "after"},
	{"com.atproto.server.getServiceAuth", 1, after, "after"},
	{"com.atproto.sync.getRepo", 1, before, "before"},
	{"com.atproto.sync.getRepo", 1, within, "within"},
	{"com.atproto.sync.getBlob", 1, before, "before"},
	{"com.atproto.sync.getBlob", moverBlobs / 2, within, "within"},
	{"com.atproto.sync.getBlob", moverBlobs, after, "after"},
	{"app.bsky.actor.getPreferences", 1, within, "within"},
	{"app.bsky.actor.getPreferences", 2, after, "verify"},
	{"com.atproto.sync.getLatestCommit", 1, after, "verify"},
	{"com.atproto.identity.requestPlcOperationSignature", 1, before, "before"},
	{"com.atproto.identity.requestPlcOperationSignature", 1, after, "after"},
	{"com.atproto.identity.getRecommendedDidCredentials", 1, after, "after"},
	{"com.atproto.identity.signPlcOperation", 1, before, "before"},
	{"com.atproto.identity.signPlcOperation", 1, after, "after"},
	{"com.atproto.sync.getLatestCommit", 2, after, "last look"},
	{"com.atproto.sync.getLatestCommit", 3, before, "after the DID"},
	{"com.atproto.server.deactivateAccount", 1, before, "before"},
	{"com.atproto.server.deactivateAccount", 1, after, "after"},
	{"com.atproto.server.deleteSession", 1, before, "before"},
	{"com.atproto.server.deleteSession", 1, after, "after"},
}

// TestKilled kills the receiving server with SIGKILL at each request that a move makes, around the submission to the PLC directory and around the activation, and
// starts it again. The move comes to the same end every time, and nothing is there twice.
func TestKilled(t *testing.T) {
	w := newWorld(t, "perch")
	for _, p := range points {
		t.Run(p.method+" "+p.when, func(t *testing.T) {
			w.moveKilled(t, w.here, func(m *mover, kill func()) { m.door.set(at(p.method, p.n, p.how(kill))) })
		})
	}
	for when, how := range map[string]func(func()) fault{"before": before, "after": after} {
		t.Run("PLC "+when, func(t *testing.T) {
			w.moveKilled(t, w.here, func(_ *mover, kill func()) { w.toPLC.set(at("POST", 1, how(kill))) })
		})
	}
	t.Run("activation", func(t *testing.T) {
		w.moveKilled(t, w.here, func(m *mover, kill func()) {
			stream, err := wire.Subscribe(w.here.Addr, "")
			must(t, err)
			t.Cleanup(stream.Close)
			go func() {
				for {
					frame, err := stream.Next()
					if err != nil {
						return
					}
					if kind, did := parseEvent(t, frame); did == m.did && kind == "account active" {
						kill() // between the activation and its note, or right behind
						return
					}
				}
			}()
		})
	})
	w.finish()
}

// TestKilledWhileStoring kills the receiving server again and again at some time after it has received the whole of a larger repository, which it stores in many
// small transactions.
func TestKilledWhileStoring(t *testing.T) {
	w := newWorld(t, "perch")
	m := w.settle(t)
	for m.records < storedRecords {
		writes := make([]any, 200)
		for i := range writes {
			value := map[string]any{"$type": "app.bsky.feed.post", "text": strconv.Itoa(i), "createdAt": "2026-11-23T12:00:00.000Z"}
			writes[i] = map[string]any{"$type": "com.atproto.repo.applyWrites#create", "collection": "app.bsky.feed.post", "value": value}
		}
		m.from.post("com.atproto.repo.applyWrites", map[string]any{"repo": m.did, "writes": writes})
		m.records += len(writes)
	}
	delays := []time.Duration{0, 40, 80, 120, 160, 240, 320}
	kills, ended := 0, make(chan struct{})
	var pending sync.WaitGroup
	m.door.set(func(method, _ string, n int) fault {
		if method != "com.atproto.sync.getRepo" || n > len(delays) {
			return nil
		}
		return func(rw http.ResponseWriter, r *http.Request, pass http.Handler) {
			pass.ServeHTTP(rw, r)
			here := w.here.Process
			pending.Go(func() {
				select {
				case <-time.After(delays[n-1] * time.Millisecond): // a moment in the middle is what is wanted
					here.Kill()
				case <-ended: // all was stored sooner
				}
			})
		}
	})
	m.lead(func() {
		<-w.here.Done()
		kills++
		w.here.start(t)
	})
	close(ended)
	pending.Wait()
	if !w.here.Running() { // it had told of the end first
		w.here.start(t)
	}
	t.Logf("killed %d times", kills)
	m.door.set(nil)
	m.check()
	w.finish()
}

const storedRecords = 4000

// TestOldHostKilled does it to the old host. With PERCH_MOVE_KILLS=all it is every point, else one in four.
func TestOldHostKilled(t *testing.T) {
	w := newWorld(t, "perch")
	for i, p := range points[3:] {
		if os.Getenv("PERCH_MOVE_KILLS") != "all" && i%4 != 1 {
			continue
		}
		t.Run(p.method+" "+p.when, func(t *testing.T) {
			w.moveKilled(t, w.old, func(m *mover, kill func()) {
				m.door.set(at(p.method, p.n, p.how(func() {
					kill()
					w.old.start(t)
				})))
			})
		})
	}
	w.finish()
}

// TestReferenceKilled does it to the reference PDS once.
func TestReferenceKilled(t *testing.T) {
	w := newWorld(t, "reference")
	w.moveKilled(t, w.old, func(m *mover, kill func()) {
		m.door.set(at("com.atproto.sync.getBlob", moverBlobs/2, within(func() {
			kill()
			w.old.start(t)
		})))
	})
	w.finish()
}

// moveKilled moves an account while set has victim killed on the way. The new host is started again when it is found dead.
func (w *world) moveKilled(t *testing.T, victim *host, set func(m *mover, kill func())) {
	t.Helper()
	m := w.settle(t)
	killed := make(chan struct{})
	set(m, sync.OnceFunc(func() {
		victim.Kill()
		close(killed)
	}))
	m.lead(func() {
		if !w.here.Running() {
			w.here.start(t)
		}
	})
	select {
	case <-killed:
	default:
		t.Fatal("nobody was killed")
	}
	if !w.here.Running() { // it had told of the end first
		w.here.start(t)
	}
	w.toPLC.set(nil)
	m.check()
}

// finish stops the servers and has their data looked over.
func (w *world) finish() {
	w.t.Helper()
	for _, h := range []*host{w.old, w.here} {
		must(w.t, h.Stop())
		if h.Name == "perch" {
			checkData(w.t, w.bin, dataOf(h.spec))
		}
	}
}

func dataOf(s server.Spec) string {
	return filepath.Join(filepath.Dir(s.Log), filepath.Base(s.Log[:len(s.Log)-len(".log")]))
}
