package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"perch/testdata/peers/bench/server"
	"perch/testdata/peers/bench/wire"
	"perch/testdata/peers/peertest"
)

const (
	defaultRounds  = 5
	accounts       = 4
	clientsEach    = 3
	minLoad        = 20 * time.Millisecond
	maxLoad        = 1500 * time.Millisecond
	startTimeout   = 2 * time.Minute
	earlyKillShare = 6 // one start in so many is killed as well
	maxEarlyKill   = 150 * time.Millisecond
)

// world is the server, its accounts and what is known of them.
type world struct {
	spec      server.Spec
	server    *server.Process
	reference bool
	plc       string
	rng       *rand.Rand
	conn      *wire.Conn
	marker    *wire.Account
	accounts  []*account
	replicas  map[string]*replica
	fresh     []string // accounts that the firehose told of for the first time, in this round
	cursor    int64    // the last event that was checked
	events    int
	newcomer  string
	welcomed  bool // its creation was acknowledged
}

func TestKilledAtRandom(t *testing.T) {
	slog.SetLogLoggerLevel(slog.LevelWarn) // indigo tells of every first commit
	rounds := envInt("PERCH_CRASH_ROUNDS", defaultRounds)
	seed := uint64(envInt("PERCH_CRASH_SEED", int(time.Now().UnixNano()%1e9)))
	t.Logf("%d kills, PERCH_CRASH_SEED=%d", rounds, seed)
	ctx := t.Context()
	w := newWorld(t, seed)
	w.start(t)
	w.populate(t, seed)
	acked := 0
	for round := range rounds {
		live, n := w.round(t, round)
		acked += n
		if err := w.check(ctx); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		w.start(t)
		if err := w.verify(ctx, live); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	t.Logf("%d acknowledged changes, %d events", acked, w.events)
	if err := w.server.Stop(); err != nil {
		t.Error(err)
	}
	if err := w.check(ctx); err != nil {
		t.Error(err)
	}
}

func newWorld(t *testing.T, seed uint64) *world {
	dir := t.TempDir()
	w := &world{
		reference: os.Getenv("PERCH_CRASH_TARGET") == "reference", plc: peertest.PLC(t, dir),
		rng: rand.New(rand.NewPCG(seed, 0)), replicas: map[string]*replica{},
	}
	w.spec = peertest.Spec(t, dir, w.plc, w.reference)
	w.conn = wire.NewConn("127.0.0.1:" + strconv.Itoa(w.spec.Port))
	t.Cleanup(func() {
		if w.server != nil {
			w.server.Kill()
			if t.Failed() {
				t.Log(w.server.LogTail())
			}
		}
	})
	return w
}

// start starts the server; now and then it is killed once more while it starts.
func (w *world) start(t *testing.T) {
	t.Helper()
	w.conn.Close()
	if w.server != nil && w.rng.IntN(earlyKillShare) == 0 {
		p, err := server.Launch(w.spec)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(w.rng.Int64N(int64(maxEarlyKill)))) // a random moment is what is wanted
		p.Kill()
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	p, err := server.Start(ctx, w.spec)
	if err != nil {
		t.Fatal(err)
	}
	w.server = p
}

func (w *world) populate(t *testing.T, random uint64) {
	t.Helper()
	var err error
	if w.marker, err = wire.CreateAccount(w.conn, "marker"); err != nil {
		t.Fatal(err)
	}
	for i := range accounts {
		made, err := wire.CreateAccount(w.conn, fmt.Sprintf("writer%d", i))
		if err != nil {
			t.Fatal(err)
		}
		a := &account{Account: made, images: map[cid.Cid]seed{}}
		for j := range clientsEach {
			a.clients = append(a.clients, newClient(uint(1+i*clientsEach+j), a, w.server.Addr, random))
		}
		w.accounts = append(w.accounts, a)
	}
	// The commits of the accounts' creation are on the firehose before any client's.
	if err := w.replay(t.Context(), map[int64][32]byte{}); err != nil {
		t.Fatal(err)
	}
}

// round lets the clients write and kills the server at a random moment. It returns what a live consumer saw and how many
// changes were acknowledged.
func (w *world) round(t *testing.T, n int) (live map[int64][32]byte, acked int) {
	t.Helper()
	tap, err := listen(w.server.Addr, fmt.Sprint(w.cursor))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, a := range w.accounts {
		for _, c := range a.clients {
			wg.Go(func() {
				if err := c.write(); err != nil {
					t.Error(err)
				}
			})
		}
	}
	// The moments are spread evenly over the orders of magnitude.
	span := math.Log(float64(maxLoad) / float64(minLoad))
	load := time.Duration(float64(minLoad) * math.Exp(span*w.rng.Float64()))
	w.newcomer, w.welcomed = fmt.Sprintf("newcomer%d", n), false
	arrive := time.Duration(w.rng.Int64N(int64(load)))
	wg.Go(func() {
		time.Sleep(arrive)
		_, err := wire.CreateAccount(wire.NewConn(w.server.Addr), w.newcomer)
		w.welcomed = err == nil
	})
	time.Sleep(load)
	w.server.Kill()
	wg.Wait()
	if err := <-tap.done; err != nil {
		t.Fatal(err)
	}
	for _, a := range w.accounts {
		for _, c := range a.clients {
			acked += len(c.acks)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	return tap.seen, acked
}

func getJSON(url string, out any) error {
	res, err := http.Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, res.Status)
	}
	return json.NewDecoder(res.Body).Decode(out)
}

func envInt(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}
