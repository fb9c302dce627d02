package pds

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"perch/pds/blob"
	"perch/pds/migrate"
	"perch/repo"
)

// endless writes a CAR whose blocks are all in order, and which has no end.
type endless struct {
	sent atomic.Int64
	asks atomic.Int64
}

func (e *endless) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	e.asks.Add(1)
	block := make([]byte, 1<<10)
	car, err := repo.NewCARWriter(&countingWriter{w, &e.sent}, repo.CIDOf(block))
	for n := 0; err == nil; n++ {
		block[n%len(block)]++
		err = car.Put(repo.CIDOf(block), block)
	}
}

type countingWriter struct {
	io.Writer
	n *atomic.Int64
}

func (w *countingWriter) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	w.n.Add(int64(n))
	return n, err
}

// imported are the files in the folder of imports.
func (n *network) imported() []string {
	n.t.Helper()
	names, err := filepath.Glob(filepath.Join(n.srv.imports.dir, "*"))
	if err != nil {
		n.t.Fatal(err)
	}
	return names
}

// A repository without end does not fill the disk, and is not fetched again and again.
func TestMigrateFromAHostThatSendsWithoutEnd(t *testing.T) {
	evil := &endless{}
	m := newMoving(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "sync.getRepo") {
				evil.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	const most = 2 << 20
	m.to.change = func(c *Config) { c.MaxRepoImportSize = most }
	m.job = m.to
	m.open()
	v := m.to.visitor(t)
	m.enterMove(v).shows(200, "/move/account")
	v.send("/move/account", "keep", "yes", "password", "new-password").shows(200, "/move/progress")
	m.until("the refusal", func(st *Migration) bool {
		return st.Trouble == migrate.TroubleLarge && strings.Contains(st.Error, "PDS_MAX_REPO_IMPORT_SIZE")
	})
	v.open("/move/progress").shows(200, "/move/progress", "more than this server takes")
	v.open("/move/abandon").send("/move/abandon")
	v.waits("/move/progress", "That move has ended")
	m.halt()
	if sent, asks := evil.sent.Load(), evil.asks.Load(); sent > asks*(most+8<<20) { // and what lies between the two in buffers
		t.Errorf("%d bytes were taken in %d attempts", sent, asks)
	}
	if files := m.to.imported(); len(files) != 0 {
		t.Errorf("left behind: %v", files)
	}
}

// An import looks at the disk while it grows, and not only before.
func TestImportStopsBeforeTheDiskIsFull(t *testing.T) {
	old := startNetwork(t, nil)
	c := old.signUp(t, "alice")
	c.fill(1)
	there := c.arrive(old.neighbour(t))
	looks := 0
	there.srv.imports.room = func() error {
		looks++
		return blob.ErrDiskFull
	}
	there.importCAR(c.exportCAR()).ok() // a small one
	if looks != 0 {
		t.Errorf("%d looks at the disk for a small repository", looks)
	}
	there.importCAR(c.bigCAR(40_000)).fails(503, "NotEnoughResources")
	if looks == 0 {
		t.Error("nobody looked at the disk")
	}
	if files := there.imported(); len(files) != 0 {
		t.Errorf("left behind: %v", files)
	}
	if _, err := os.Stat(there.srv.imports.dir); err != nil {
		t.Error(err)
	}
}

// What an old host says at great length is neither kept nor shown.
func TestMigrateFromAHostThatTalksTooMuch(t *testing.T) {
	long := strings.Repeat("x", 900<<10)
	for name, host := range map[string]*lying{
		"commit": {method: "com.atproto.sync.getLatestCommit", say: func(out map[string]any) { out["cid"] = long }},
		"preferences": {method: "app.bsky.actor.getPreferences", say: func(out map[string]any) {
			out["preferences"] = []any{map[string]any{"$type": "app.bsky.x", "x": long + long + long}}
		}},
		"many": {method: "app.bsky.actor.getPreferences", say: func(out map[string]any) { out["preferences"] = make([]struct{}, 500_000) }},
		"name": {method: "app.bsky.actor.getPreferences", say: func(out map[string]any) { out["preferences"] = long }},
	} {
		t.Run(name, func(t *testing.T) {
			m := startMoving(t, host.wrap)
			m.mustBegin()
			st := m.until("trouble", func(st *Migration) bool { return st.Error != "" })
			row, err := m.to.srv.store.Migration(t.Context(), st.DID)
			if err != nil || len(row.Data) > 10_000 || len(st.Error) > 1100 {
				t.Errorf("%d bytes are kept, the error has %d, %v", len(row.Data), len(st.Error), err)
			}
			if _, err := m.ask(MigrateRequest{Action: MigrateAbandon}); err != nil {
				t.Error(err)
			}
		})
	}
}

// A new host that answers at great length.
func TestMigrateOutToAHostThatTalksTooMuch(t *testing.T) {
	long := strings.Repeat("x", 900<<10)
	for name, host := range map[string]*lying{
		"missing blobs": {method: "com.atproto.repo.listMissingBlobs", say: func(out map[string]any) { out["blobs"] = []any{map[string]any{"cid": long}} }},
		"commit":        {method: "com.atproto.server.checkAccountStatus", say: func(out map[string]any) { out["repoCommit"] = long }},
	} {
		t.Run(name, func(t *testing.T) {
			m := startLeaving(t, host.wrap)
			m.mustBegin()
			st := m.until("trouble", func(st *Migration) bool { return st.Error != "" })
			if text, err := json.Marshal(st); err != nil || len(text) > 5000 {
				t.Errorf("%d bytes are told, %v", len(text), err)
			}
			if _, err := m.ask(MigrateRequest{Action: MigrateAbandon}); err != nil && !errors.Is(err, io.EOF) {
				t.Error(err)
			}
		})
	}
}
