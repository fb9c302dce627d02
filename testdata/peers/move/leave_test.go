package move

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// newLeavingWorld is a world in which the old host, a Perch, brings accounts to the new one, past door.
func newLeavingWorld(t *testing.T) (w *world, door *between) {
	t.Helper()
	w = emptyWorld(t)
	door = standBetween(t, w.directory)
	w.old = w.open("perch", filepath.Join(w.dir, "old"), w.toPLC.URL, 1)
	w.here = w.open("perch", filepath.Join(w.dir, "here"), w.directory, 2, // a host is called by the name that it says it has
		"PDS_SERVICE_DID=did:web:localhost%3A"+door.URL[strings.LastIndexByte(door.URL, ':')+1:])
	door.lead(t, w.here.origin())
	return w, door
}

// stay makes an account that will leave the old host.
func (w *world) stay(t *testing.T, door *between) *mover {
	t.Helper()
	m := w.join(t)
	m.worker, m.door, m.other = w.old, door, "next-password"
	m.begin, m.begins = "out", map[string]any{"to": door.URL, "newPassword": m.other}
	return m
}

// checkOut wants everything to be at the new host, once, and the old one left.
func (m *mover) checkOut() {
	m.t.Helper()
	m.arrivedAt(m.here, float64(m.records))
	if got, want := m.events(m.here), []string{"account active", "identity", "sync", "commit"}; !slices.Equal(got, want) {
		m.t.Errorf("events at the new host: %v, want %v", got, want)
	}
	if got := m.events(m.old); got[len(got)-1] != "account deactivated" || count(got, "account deactivated") != 1 {
		m.t.Errorf("events at the old host: %v", got)
	}
}

// leavingPoints are the requests of a move out to the new host that do or tell something, in their order.
var leavingPoints = []point{
	{"com.atproto.server.createAccount", 1, before, "before"},
	{"com.atproto.server.createAccount", 1, after, "after"},
	{"com.atproto.repo.importRepo", 1, before, "before"},
	{"com.atproto.repo.importRepo", 1, after, "after"},
	{"com.atproto.repo.listMissingBlobs", 1, after, "after"},
	{"com.atproto.repo.uploadBlob", 1, before, "before"},
	{"com.atproto.repo.uploadBlob", moverBlobs / 2, after, "after"},
	{"app.bsky.actor.putPreferences", 1, after, "after"},
	{"com.atproto.sync.getRecord", 1, within, "verify"},
	{"com.atproto.identity.getRecommendedDidCredentials", 1, after, "plan"},
	{"com.atproto.identity.getRecommendedDidCredentials", 2, after, "code"},
	{"com.atproto.sync.getRecord", 2, before, "held"},
	{"com.atproto.server.activateAccount", 1, before, "before"},
	{"com.atproto.server.activateAccount", 1, after, "after"},
	{"com.atproto.server.deleteSession", 1, before, "before"},
	{"com.atproto.server.deleteSession", 1, after, "after"},
}

// leaveKilled has an account leave while set has victim killed on the way. Whoever is found dead is started again.
func (w *world) leaveKilled(t *testing.T, door *between, victim *host, set func(kill func())) {
	t.Helper()
	m := w.stay(t, door)
	killed := make(chan struct{})
	set(sync.OnceFunc(func() {
		victim.Kill()
		close(killed)
	}))
	m.lead(func() {
		if !w.old.Running() {
			w.old.start(t)
		}
	})
	select {
	case <-killed:
	default:
		t.Fatal("nobody was killed")
	}
	if !w.old.Running() {
		w.old.start(t)
	}
	door.set(nil)
	w.toPLC.set(nil)
	m.checkOut()
}

// TestLeavingKilled kills the Perch that an account leaves with SIGKILL at each request to the new host, and around the submission to the PLC directory.
func TestLeavingKilled(t *testing.T) {
	w, door := newLeavingWorld(t)
	for _, p := range leavingPoints {
		t.Run(p.method+" "+p.when, func(t *testing.T) {
			w.leaveKilled(t, door, w.old, func(kill func()) { door.set(at(p.method, p.n, p.how(kill))) })
		})
	}
	for when, how := range map[string]func(func()) fault{"before": before, "after": after} {
		t.Run("PLC "+when, func(t *testing.T) {
			w.leaveKilled(t, door, w.old, func(kill func()) { w.toPLC.set(at(http.MethodPost, 1, how(kill))) })
		})
	}
	w.finish()
}

// TestNewHostKilled does it to the new host. With PERCH_MOVE_KILLS=all it is every point, else one in four.
func TestNewHostKilled(t *testing.T) {
	w, door := newLeavingWorld(t)
	for i, p := range leavingPoints {
		if os.Getenv("PERCH_MOVE_KILLS") != "all" && i%4 != 1 {
			continue
		}
		t.Run(p.method+" "+p.when, func(t *testing.T) {
			w.leaveKilled(t, door, w.here, func(kill func()) {
				door.set(at(p.method, p.n, p.how(func() {
					kill()
					w.here.start(t)
				})))
			})
		})
	}
	w.finish()
}

// askedThere are the methods that a move out calls at the new host with the account's tokens.
var askedThere = []string{
	"com.atproto.server.createAccount", "com.atproto.server.getSession", "com.atproto.repo.importRepo", "com.atproto.repo.listMissingBlobs",
	"com.atproto.repo.uploadBlob", "app.bsky.actor.getPreferences", "app.bsky.actor.putPreferences", "com.atproto.server.checkAccountStatus",
	"com.atproto.sync.getRecord", "com.atproto.identity.getRecommendedDidCredentials", "com.atproto.server.activateAccount", "com.atproto.server.deleteSession",
}

// TestLeavingBadNetwork has every request of a move out go wrong once, in every way, and the submission to the PLC directory too.
func TestLeavingBadNetwork(t *testing.T) {
	w, door := newLeavingWorld(t)
	var spoiled, plcSpoiled sync.Map // DID to fault
	door.set(func(method, did string, n int) fault {
		if f, ok := spoiled.Load(did); ok && n == 1 && slices.Contains(askedThere, method) {
			return f.(fault)
		}
		return nil
	})
	w.toPLC.set(func(method, path string, _ int) fault {
		if f, ok := plcSpoiled.Load(strings.TrimPrefix(path, "/")); ok && method == http.MethodPost {
			plcSpoiled.Delete(strings.TrimPrefix(path, "/"))
			return f.(fault)
		}
		return nil
	})
	var all sync.WaitGroup // they wait more than they work, so all at once
	for name, f := range faults {
		all.Go(func() {
			t.Run(name, func(t *testing.T) {
				m := w.stay(t, door)
				spoiled.Store(m.did, f)
				if name != "other bytes" && name != "shortened" && name != "empty" && name != "HTML" && name != "redirect" && name != "trickle" {
					plcSpoiled.Store(m.did, f)
				}
				m.lead(func() { t.Fatal("the server is gone") })
				spoiled.Delete(m.did)
				m.checkOut()
			})
		})
	}
	all.Wait()
	w.finish()
}
