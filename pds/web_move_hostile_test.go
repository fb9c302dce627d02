package pds

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// Where an invite code is needed, nobody signs in, and nothing is kept, without a good one.
func TestPagesMoveAsksForTheInviteFirst(t *testing.T) {
	var asked atomic.Int32
	m := newMoving(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, ".createSession") || strings.HasPrefix(r.URL.Path, "/oauth/par") {
				asked.Add(1)
			}
			next.ServeHTTP(w, r)
		})
	})
	m.to.change = func(c *Config) { c.InviteRequired = true }
	m.job = m.to
	m.open()
	v := m.to.visitor(t)
	before := asked.Load()
	for _, invite := range []string{"", "made-up"} {
		v.open("/move/from?account="+m.old.did).shows(200, "/move/from")
		v.send("/move/sign-in?account="+m.old.did, "password", m.password, "invite", invite).shows(422, "/move/sign-in", `id="invite-error"`)
		v.open("/move/from?account="+m.old.did).shows(200, "/move/from")
		v.send("/move/browser?account="+m.old.did, "invite", invite).shows(422, "/move/browser", `id="invite-error"`)
	}
	if asked.Load() != before {
		t.Error("the old host was asked to sign somebody in who has no invite code")
	}
	if _, err := m.to.srv.store.Migration(t.Context(), syntax.DID(m.old.did)); err == nil {
		t.Error("a move is kept")
	}
}

// A stranger's sign-in that hangs at the old host does not keep the owner from going on, and a pause that the old host asks a stranger for is the stranger's.
func TestPagesMoveIsNotHeldUpByStrangers(t *testing.T) {
	reached, release := make(chan struct{}), make(chan struct{})
	var hang, busy atomic.Bool
	once := sync.OnceFunc(func() { close(reached) })
	m := startMoving(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, ".createSession") {
				if hang.Load() {
					once()
					<-release
				}
				if busy.Load() {
					w.Header().Set("Retry-After", "3600")
					http.Error(w, `{"error":"RateLimitExceeded","message":"slow"}`, http.StatusTooManyRequests)
					return
				}
			}
			next.ServeHTTP(w, r)
		})
	})
	bob := m.old.network.signUp(t, "bob")
	v := m.to.visitor(t)
	m.enterMove(v)
	v.send("/move/account", "keep", "yes", "password", "new-password")
	v.waits("/move/progress", "Enter the code from the mail")

	hang.Store(true)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		stranger := m.to.visitor(t)
		stranger.open("/account/sign-in").send("/move/sign-in?account="+m.old.did, "password", "guess")
	}()
	<-reached
	v.send("/move/progress", "do", "resend").shows(200, "/move/progress", "A new code is on its way")
	hang.Store(false)
	close(release)
	<-gone

	busy.Store(true)
	stranger := m.to.visitor(t)
	stranger.open("/account/sign-in").send("/move/sign-in?account="+m.old.did, "password", "guess").shows(422, "/move/sign-in", "asks for patience")
	busy.Store(false)
	b := m.to.visitor(t)
	b.open("/move/from?account="+bob.did).send("/move/sign-in?account="+bob.did, "password", "bob-password").shows(200, "/move/account")
	b.open("/move/abandon").send("/move/abandon")
	b.waits("/move/progress", "That move has ended")
}

// Keys that nobody gave out open nothing, whatever they look like; and one account's key does not open another's move.
func TestPagesMoveKeysAreOnesOwn(t *testing.T) {
	m := startMoving(t, nil)
	bob := m.old.network.signUp(t, "bob")
	a, b := m.to.visitor(t), m.to.visitor(t)
	m.enterMove(a).shows(200, "/move/account")
	b.open("/move/from?account="+bob.did).send("/move/sign-in?account="+bob.did, "password", "bob-password").shows(200, "/move/account")
	keyOf := func(v *visitor) string {
		for _, c := range v.client.Jar.Cookies(v.at) {
			if c.Name == "perch-move" {
				key, _, _ := strings.Cut(c.Value, ".")
				return key
			}
		}
		t.Fatal("no key")
		return ""
	}
	key := keyOf(b)
	opens := func(did, key string) bool { return m.to.srv.migrations.Opens(t.Context(), syntax.DID(did), key) }
	if !opens(bob.did, key) || opens(m.old.did, key) || opens(bob.did, "") || opens(bob.did, key[:len(key)-2]) {
		t.Error("keys open what is not theirs")
	}
	b.open("/move/abandon").send("/move/abandon")
	b.waits("/move/progress", "That move has ended")
	if opens(bob.did, key) {
		t.Error("the key of a move that has ended opens another")
	}
}

// The list of what was lost is cut on the page, however long the old host makes it.
func TestPagesMoveListsSomeOfWhatWasLost(t *testing.T) {
	gone := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "sync.getBlob") {
				http.Error(w, `{"error":"BlobNotFound","message":"gone"}`, http.StatusBadRequest)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	m := newMoving(t, gone)
	for i := range 130 {
		m.old.create("app.bsky.feed.post", imagePost(m.old.upload("image/png", png(fmt.Sprint("another ", i)))))
	}
	m.job = m.to
	m.open()
	v := m.to.visitor(t)
	m.enterMove(v)
	v.send("/move/account", "keep", "yes", "password", "new-password")
	v.waits("/move/progress", "Look for them again").shows(200, "/move/progress", "Could not be copied: 140", "and 40 more")
	if n := strings.Count(string(v.page.body), "<code>bafkrei"); n != 100 {
		t.Errorf("%d are listed", n)
	}
	if len(v.page.body) > 60<<10 {
		t.Errorf("the page has %d bytes", len(v.page.body))
	}
}

// What a server says its handles end with is shown beside a field, so it is that and nothing else.
func TestPagesMoveShowsDomainsOnly(t *testing.T) {
	var said []any
	host := &lying{method: "com.atproto.server.describeServer", say: func(out map[string]any) { out["availableUserDomains"] = said }}
	m := startLeaving(t, host.wrap)
	v := m.old.visitor(t).signIn("alice.test", "alice-password")
	to := "/account/move/to?to=" + m.to.srv.cfg.PublicURL()
	for _, bad := range []string{" Call 555 0100 to go on", ".\u202emoc.live", ".a b", "", ".", "..", "." + strings.Repeat("x", 70_000), ".evil.example/x"} {
		said = []any{bad}
		v.open(to).shows(200, "/account/move/to")
		if body := string(v.page.body); len(body) > 60<<10 || strings.Contains(body, `class="suffix"`) {
			t.Errorf("%.30q stands on a page of %d bytes", bad, len(body))
		}
	}
	said = []any{"Good.example", ".good.test"}
	for i := range 10_000 {
		said = append(said, fmt.Sprintf(".d%d.example", i))
	}
	v.open(to).shows(200, "/account/move/to", "<option>.good.example</option>", "<option>.good.test</option>")
	if len(v.page.body) > 60<<10 {
		t.Errorf("the page has %d bytes", len(v.page.body))
	}
}
