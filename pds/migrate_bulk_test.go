package pds

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/migrate"
)

// gauge stands before a host and looks how many requests for repositories and blobs come at a time, and whether a method is left alone when it asks for it.
type gauge struct {
	mu       sync.Mutex
	now, max int       // guarded by mu
	until    time.Time // no getRepo before; guarded by mu
	early    int       // that came all the same; guarded by mu
}

const gaugePause = time.Second

func (g *gauge) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repo := strings.HasSuffix(r.URL.Path, "sync.getRepo")
		if !repo && !strings.HasSuffix(r.URL.Path, "sync.getBlob") {
			next.ServeHTTP(w, r)
			return
		}
		g.mu.Lock()
		g.now++
		g.max = max(g.max, g.now)
		first := repo && g.until.IsZero()
		if first {
			g.until = time.Now().Add(gaugePause)
		} else if repo && time.Now().Before(g.until) {
			g.early++
		}
		g.mu.Unlock()
		if first {
			w.Header().Set("Retry-After", fmt.Sprint(int(gaugePause/time.Second)))
			http.Error(w, `{"error":"RateLimitExceeded","message":"slow down"}`, http.StatusTooManyRequests)
		} else {
			time.Sleep(2 * time.Millisecond) // so that they meet
			next.ServeHTTP(w, r)
		}
		g.mu.Lock()
		g.now--
		g.mu.Unlock()
	})
}

// Accounts that leave one host together keep to what it allows together.
func TestMigrateManyFromOneHost(t *testing.T) {
	g := &gauge{}
	m := startMoving(t, g.wrap)
	leavers := []*client{m.old}
	for i := range 7 {
		c := m.old.network.signUp(t, fmt.Sprint("leaver", i))
		for j := range 5 {
			c.create("app.bsky.feed.post", imagePost(c.upload("image/png", png(fmt.Sprint(i, j)))))
		}
		leavers = append(leavers, c)
	}
	// The first is told to wait, before the others begin.
	m.mustBegin()
	eventually(t, "the first answer", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return !g.until.IsZero()
	})
	for _, c := range leavers[1:] {
		in := MigrateRequest{Action: MigrateBegin, Account: c.did, Password: strings.TrimSuffix(c.handle, ".test") + "-password", NewPassword: "new-password"}
		if a := m.operator(in); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	for _, c := range leavers {
		mm := *m
		mm.old = c
		mm.untilNeeds(migrate.NeedsCode)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.early > 0 {
		t.Errorf("%d requests came while the host wanted none", g.early)
	}
	if g.max > 4 || g.max < 2 {
		t.Errorf("%d requests at a time", g.max)
	}
}

// An account without a password that anybody knows ends with a mail to its owner.
func TestMigrateMailsACodeForThePassword(t *testing.T) {
	m := startMoving(t, nil)
	if _, err := m.ask(MigrateRequest{Action: MigrateBegin, Password: m.password, MailReset: true}); err != nil {
		t.Fatal(err)
	}
	m.untilNeeds(migrate.NeedsCode)
	if err := m.confirm(); err != nil {
		t.Fatal(err)
	}
	if st := m.untilDone(); len(st.Report.Notes) != 0 {
		t.Errorf("%+v", st.Report)
	}
	mails, err := m.to.srv.store.Mails(t.Context(), 10)
	if err != nil || len(mails) != 1 || mails[0].To != "alice@example.com" {
		t.Errorf("mails %+v, %v", mails, err)
	}
}

// Planning signs in nowhere and leaves nothing behind.
func TestMigratePlan(t *testing.T) {
	m := startMoving(t, nil)
	st, err := m.ask(MigrateRequest{Action: MigratePlan})
	if err != nil || st.Host != m.old.srv.cfg.PublicURL() || st.Needs != migrate.NeedsBegin || st.DID.String() != m.old.did || st.Handle.String() != m.old.handle {
		t.Errorf("%+v, %v", st, err)
	}
	if _, err := m.to.srv.store.Migration(t.Context(), syntax.DID(m.old.did)); err == nil || m.sessions() != 0 {
		t.Errorf("left behind: %v, %d sessions", err, m.sessions())
	}
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	if st, err := m.ask(MigrateRequest{Action: MigratePlan}); err != nil || st.Needs != migrate.NeedsCode {
		t.Errorf("under way: %+v, %v", st, err)
	}
	if err := m.confirm(); err != nil {
		t.Fatal(err)
	}
	m.untilDone()
	if _, err := m.ask(MigrateRequest{Action: MigratePlan}); err == nil || !strings.HasPrefix(err.Error(), "LivesHere") {
		t.Errorf("after the end: %v", err)
	}
}
