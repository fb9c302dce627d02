package identity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
)

// world is a small internet on loopback: a PLC directory, name servers, and one
// HTTPS server that is every host.
type world struct {
	t   *testing.T
	r   *Resolver
	plc *plc.Directory
	dns *dnsServer
	bak *dnsServer
	key *atcrypto.PrivateKeyK256

	mu      sync.Mutex
	now     time.Time
	local   map[syntax.Handle]syntax.DID
	answer  http.HandlerFunc // of every host on HTTPS; nil: 404
	plcDown bool
	hold    chan struct{} // the PLC directory waits for it when not nil
	plcHits atomic.Int32
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), local: map[syntax.Handle]syntax.DID{}, dns: newDNS(t), bak: newDNS(t)}
	var err error
	if w.key, err = atcrypto.GeneratePrivateKeyK256(); err != nil {
		t.Fatal(err)
	}
	if w.plc, err = plc.OpenDirectory("", plc.DirectoryOptions{}); err != nil {
		t.Fatal(err)
	}
	directory := httptest.NewServer(http.HandlerFunc(w.servePLC))
	t.Cleanup(directory.Close)
	web := httptest.NewUnstartedServer(http.HandlerFunc(w.serveWeb))
	web.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that hang up are part of the game
	web.StartTLS()
	t.Cleanup(web.Close)
	port := web.URL[strings.LastIndex(web.URL, ":")+1:]
	client := outside(t, ClientOptions{}, web)
	w.r = New(Options{
		PLCURL: directory.URL, Client: rewritePort(client, port), Nameservers: []string{w.dns.addr}, BackupNameservers: []string{w.bak.addr},
		Timeout: 5 * time.Second,
		Local: func(_ context.Context, h syntax.Handle) (syntax.DID, bool) {
			w.mu.Lock()
			defer w.mu.Unlock()
			did, ok := w.local[h]
			return did, ok
		},
		Now: func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now },
	})
	return w
}

// rewritePort sends https://host/ to the port where the test's server is; the
// host is kept in a header, because httptest's certificate is for example.com.
func rewritePort(c *http.Client, port string) *http.Client {
	next := c.Transport
	c.Transport = roundTrip(func(req *http.Request) (*http.Response, error) {
		req = req.Clone(req.Context())
		if req.URL.Scheme == "https" && req.URL.Port() == "" && net.ParseIP(req.URL.Host) == nil {
			req.Header.Set("X-Host", req.URL.Host)
			req.URL.Host = "example.com:" + port
		}
		return next.RoundTrip(req)
	})
	return c
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (w *world) servePLC(rw http.ResponseWriter, r *http.Request) {
	w.plcHits.Add(1)
	w.mu.Lock()
	down, hold := w.plcDown, w.hold
	w.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if down {
		http.Error(rw, "down", http.StatusBadGateway)
		return
	}
	w.plc.ServeHTTP(rw, r)
}

func (w *world) serveWeb(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	answer := w.answer
	w.mu.Unlock()
	if answer == nil {
		http.NotFound(rw, r)
		return
	}
	r.Host = r.Header.Get("X-Host")
	answer(rw, r)
}

func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) pass(d time.Duration) { w.set(func() { w.now = w.now.Add(d) }) }

// account makes a did:plc that claims handle.
func (w *world) account(handle string) syntax.DID {
	w.t.Helper()
	pub, _ := w.key.PublicKey()
	op, err := plc.Sign(plc.Genesis([]string{pub.DIDKey()}, pub.DIDKey(), syntax.Handle(handle), "https://pds.example.com"), w.key)
	if err != nil {
		w.t.Fatal(err)
	}
	did, err := plc.DIDOf(op)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.plc.Submit(did, op); err != nil {
		w.t.Fatal(err)
	}
	return did
}

func (w *world) rename(did syntax.DID, handle string) {
	w.t.Helper()
	entries, _ := w.plc.Audit(did)
	last, _ := plc.Last(entries)
	op, _ := plc.Update(last.Operation, func(op *plc.Operation) { op.SetHandle(syntax.Handle(handle)) })
	w.submit(did, op)
}

func (w *world) submit(did syntax.DID, op plc.Operation) {
	w.t.Helper()
	signed, err := plc.Sign(op, w.key)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.plc.Submit(did, signed); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) handleOf(did syntax.DID) string {
	w.t.Helper()
	doc, err := w.r.ResolveDID(context.Background(), did)
	if err != nil {
		w.t.Fatal(err)
	}
	h, _ := doc.Handle()
	return h.String()
}

func TestResolveDIDRefuses(t *testing.T) {
	w := newWorld(t)
	for did, want := range map[syntax.DID]error{
		"":                                      ErrSyntax,
		"did:plc:short":                         ErrSyntax,
		"did:plc:EWVI7NXZYOUN6ZHXRHS64OIZ":      ErrSyntax,
		"did:plc:ewvi7nxzyoun6zhxrhs64oiz/../x": ErrSyntax,
		"did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme": ErrUnsupportedMethod,
		"did:web:example.com:user:alice":                            ErrSyntax,
		"did:web:example.com%3A8443":                                ErrSyntax,
		"did:web:example.com%2Fx":                                   ErrSyntax,
		"did:web:user%40example.com":                                ErrSyntax,
		"did:web:Example.com":                                       ErrSyntax,
		"did:web:127.0.0.1":                                         ErrSyntax,
		"did:web:localhost":                                         ErrSyntax,
		"did:web:localhost%3A2583":                                  ErrSyntax,
		"did:web:2130706433":                                        ErrSyntax,
		"did:web:pds.internal":                                      ErrReserved,
		"did:web:pds.local":                                         ErrReserved,
		"did:web:pds.test":                                          ErrReserved,
		"did:plc:aaaaaaaaaaaaaaaaaaaaaaaa":                          ErrNotFound,
		"did:web:nothing.example.com":                               ErrNotFound,
	} {
		if _, err := w.r.ResolveDID(context.Background(), did); !errors.Is(err, want) {
			t.Errorf("%s: err = %v, want %v", did, err, want)
		}
	}
}

func TestResolveWeb(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	w.set(func() {
		w.answer = func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/.well-known/did.json" {
				http.NotFound(rw, r)
				return
			}
			switch r.Host {
			case "good.example.com":
				io.WriteString(rw, `{"id":"did:web:good.example.com","alsoKnownAs":["at://good.example.com"]}`)
			case "liar.example.com":
				io.WriteString(rw, `{"id":"did:web:good.example.com"}`)
			case "page.example.com":
				io.WriteString(rw, `<html>hello</html>`)
			case "huge.example.com":
				io.WriteString(rw, strings.Repeat(" ", maxDocument)+`{"id":"did:web:huge.example.com"}`)
			case "ill.example.com":
				http.Error(rw, "ill", 500)
			case "inside.example.com":
				http.Redirect(rw, r, "https://10.0.0.1/.well-known/did.json", http.StatusFound)
			}
		}
	})
	doc, err := w.r.ResolveDID(ctx, "did:web:good.example.com")
	if err != nil {
		t.Fatal(err)
	}
	if h, _ := doc.Handle(); h != "good.example.com" {
		t.Errorf("handle %s", h)
	}
	for host, want := range map[string]error{"liar": ErrMismatch, "page": ErrInvalidDocument, "huge": ErrTooLarge, "ill": ErrNetwork, "inside": ErrBlocked} {
		if _, err := w.r.ResolveDID(ctx, syntax.DID("did:web:"+host+".example.com")); !errors.Is(err, want) {
			t.Errorf("%s: err = %v, want %v", host, err, want)
		}
	}
}

func TestResolveWebOnLocalhostInDevelopment(t *testing.T) {
	var did syntax.DID
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprintf(rw, `{"id":%q}`, did) }))
	defer srv.Close()
	did = syntax.DID("did:web:localhost%3A" + srv.URL[strings.LastIndex(srv.URL, ":")+1:])
	r := New(Options{AllowPrivate: true})
	if _, err := r.ResolveDID(context.Background(), did); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []syntax.DID{"did:web:localhost%3A0", "did:web:localhost%3A65536", "did:web:localhost%3A80%2Fx", "did:web:localhost%3A", "did:web:localhost%3a80",
		"did:web:localhost:x", "did:web:127.0.0.1%3A80", "did:web:example.com%3A80"} {
		if _, err := r.ResolveDID(context.Background(), bad); !errors.Is(err, ErrSyntax) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestTombstone(t *testing.T) {
	w := newWorld(t)
	did := w.account("alice.example.com")
	entries, _ := w.plc.Audit(did)
	w.submit(did, plc.Tombstone(entries[0].CID))
	if _, err := w.r.ResolveDID(context.Background(), did); !errors.Is(err, ErrTombstoned) {
		t.Errorf("err = %v", err)
	}
}

func TestResolveHandle(t *testing.T) {
	const one, two = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb"
	serve := func(status int, body string) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/.well-known/atproto-did" || r.Host != "alice.example.com" {
				http.NotFound(rw, r)
				return
			}
			rw.WriteHeader(status)
			io.WriteString(rw, body)
		}
	}
	const name = "_atproto.alice.example.com"
	for _, tt := range []struct {
		name  string
		setup func(w *world)
		want  syntax.DID
		err   error
	}{
		{"DNS", func(w *world) { w.dns.txt(name, "did="+one) }, one, nil},
		{"DNS among other records", func(w *world) { w.dns.txt(name, "v=spf1 -all", "did=", "did=nonsense", "did="+one, "DID="+two) }, one, nil},
		{"DNS twice the same", func(w *world) { w.dns.txt(name, "did="+one, "did="+one) }, one, nil},
		{"DNS with two DIDs", func(w *world) { w.dns.txt(name, "did="+one, "did="+two); w.answer = serve(200, one) }, "", ErrHandleAmbiguous},
		{"HTTPS", func(w *world) { w.answer = serve(200, one) }, one, nil},
		{"HTTPS with white space", func(w *world) { w.answer = serve(200, "\n "+one+"\r\n") }, one, nil},
		{"DNS wins", func(w *world) { w.dns.txt(name, "did="+one); w.answer = serve(200, two) }, one, nil},
		{"HTTPS when DNS has other records", func(w *world) { w.dns.txt(name, "hello"); w.answer = serve(200, two) }, two, nil},
		{"HTTPS when DNS fails", func(w *world) { w.dns.fail(name, 2); w.answer = serve(200, two) }, two, nil},
		{"backup nameserver", func(w *world) { w.bak.txt(name, "did="+two) }, two, nil},
		{"backup nameserver with two DIDs", func(w *world) { w.bak.txt(name, "did="+one, "did="+two) }, "", ErrHandleAmbiguous},
		{"nobody knows", func(*world) {}, "", ErrHandleNotFound},
		{"a page instead of a DID", func(w *world) { w.answer = serve(200, "<html>") }, "", ErrHandleNotFound},
		{"two DIDs on HTTPS", func(w *world) { w.answer = serve(200, one+"\n"+two) }, "", ErrHandleNotFound},
		{"status 403 with a DID", func(w *world) { w.answer = serve(403, one) }, "", ErrHandleNotFound},
		{"host is ill", func(w *world) { w.answer = serve(500, one) }, "", ErrNetwork},
		{"DNS is ill", func(w *world) { w.dns.fail(name, 2) }, "", ErrNetwork},
		{"huge answer", func(w *world) { w.answer = serve(200, one+strings.Repeat(" ", maxWellKnown)) }, "", ErrTooLarge},
		{"redirect inside", func(w *world) {
			w.answer = func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, "https://192.168.0.1/", 302) }
		}, "", ErrBlocked},
		{"account of this server", func(w *world) { w.local["alice.example.com"] = two; w.dns.txt(name, "did="+one) }, two, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.set(func() { tt.setup(w) })
			did, err := w.r.ResolveHandle(context.Background(), "Alice.Example.com")
			if did != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%q, %v; want %q, %v", did, err, tt.want, tt.err)
			}
		})
	}
}

func TestResolveHandleRefusesNames(t *testing.T) {
	w := newWorld(t)
	for h, want := range map[syntax.Handle]error{
		"handle.invalid": ErrReserved, "alice.test": ErrReserved, "alice.local": ErrReserved, "alice.internal": ErrReserved, "alice.onion": ErrReserved,
		"alice.example": ErrReserved, "alice.arpa": ErrReserved, "alice.alt": ErrReserved, "alice.LOCALHOST": ErrReserved,
		"alice": ErrSyntax, "": ErrSyntax, "10.0.0.1": ErrSyntax, "a_b.example.com": ErrSyntax, "alice.example.com:443": ErrSyntax, "alice.example.com/x": ErrSyntax,
	} {
		if _, err := w.r.ResolveHandle(context.Background(), h); !errors.Is(err, want) {
			t.Errorf("%q: err = %v, want %v", h, err, want)
		}
	}
	dev := New(Options{AllowPrivate: true, Local: func(context.Context, syntax.Handle) (syntax.DID, bool) { return testDID, true }})
	if did, err := dev.ResolveHandle(context.Background(), "alice.test"); err != nil || did != testDID {
		t.Errorf("alice.test in development: %s, %v", did, err)
	}
}

func TestLookupBothWays(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	alice := w.account("alice.example.com")
	mallory := w.account("alice.example.com.evil.example.com")
	thief := w.account("Stolen.example.com")
	w.dns.txt("_atproto.alice.example.com", "did="+alice.String())
	w.dns.txt("_atproto.other.example.com", "did="+alice.String())
	w.dns.txt("_atproto.stolen.example.com", "did="+alice.String())

	for _, id := range []syntax.AtIdentifier{alice.AtIdentifier(), "alice.example.com", "ALICE.example.com"} {
		got, err := w.r.Lookup(ctx, id)
		if err != nil || got.DID != alice || got.Handle != "alice.example.com" || got.Doc.DID != alice {
			t.Errorf("%s: %+v, %v", id, got, err)
		}
	}
	// Handles that name a DID which does not claim them, and DIDs that claim
	// handles which are not theirs.
	for _, id := range []syntax.AtIdentifier{"other.example.com", "stolen.example.com", "nobody.example.com"} {
		if got, err := w.r.Lookup(ctx, id); !errors.Is(err, ErrHandleNotFound) {
			t.Errorf("%s: %+v, %v", id, got, err)
		}
	}
	for _, did := range []syntax.DID{mallory, thief} {
		if got, err := w.r.Lookup(ctx, did.AtIdentifier()); err != nil || got.Handle != InvalidHandle {
			t.Errorf("%s: %+v, %v", did, got, err)
		}
	}
}

func TestCacheLives(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	did := w.account("one.example.com")
	if h := w.handleOf(did); h != "one.example.com" {
		t.Fatal(h)
	}
	w.rename(did, "two.example.com")
	w.pass(DefaultCacheStale)
	if h := w.handleOf(did); h != "one.example.com" || w.plcHits.Load() != 1 {
		t.Errorf("a fresh answer was not used: %s, %d requests", h, w.plcHits.Load())
	}
	w.pass(time.Second)
	if h := w.handleOf(did); h != "one.example.com" {
		t.Errorf("a stale answer was not used: %s", h)
	}
	if _, err := wait[*Document](ctx, w.r.startDID(did)); err != nil { // joins or follows the renewal
		t.Fatal(err)
	}
	if h := w.handleOf(did); h != "two.example.com" {
		t.Errorf("not renewed in the background: %s", h)
	}
	// A directory that is down does no harm until the answer is too old.
	w.set(func() { w.plcDown = true })
	if _, err := w.r.Refresh(ctx, did); !errors.Is(err, ErrNetwork) {
		t.Errorf("refresh: %v", err)
	}
	if h := w.handleOf(did); h != "two.example.com" {
		t.Errorf("lost by a failed refresh: %s", h)
	}
	w.pass(DefaultCacheMax + time.Second)
	if _, err := w.r.ResolveDID(ctx, did); !errors.Is(err, ErrNetwork) {
		t.Errorf("too old: %v", err)
	}
	// The failure is remembered for a moment only.
	w.set(func() { w.plcDown = false })
	if _, err := w.r.ResolveDID(ctx, did); !errors.Is(err, ErrNetwork) {
		t.Errorf("failure not remembered: %v", err)
	}
	w.pass(failureTTL + time.Second)
	if h := w.handleOf(did); h != "two.example.com" {
		t.Errorf("after the failure: %s", h)
	}
}

func TestCacheOfAbsence(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	for range 3 {
		if _, err := w.r.ResolveHandle(ctx, "new.example.com"); !errors.Is(err, ErrHandleNotFound) {
			t.Fatal(err)
		}
	}
	if n := w.dns.questions("_atproto.new.example.com"); n != 1 {
		t.Errorf("asked %d times", n)
	}
	w.dns.txt("_atproto.new.example.com", "did="+testDID.String())
	w.pass(notFoundTTL + time.Second)
	if did, err := w.r.ResolveHandle(ctx, "new.example.com"); err != nil || did != testDID {
		t.Errorf("after a minute: %s, %v", did, err)
	}
	w.dns.txt("_atproto.new.example.com", "did=did:plc:bbbbbbbbbbbbbbbbbbbbbbbb")
	if did, _ := w.r.ResolveHandle(ctx, "new.example.com"); did != testDID {
		t.Errorf("not cached: %s", did)
	}
	w.r.Purge("New.example.com")
	if did, _ := w.r.ResolveHandle(ctx, "new.example.com"); did != "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb" {
		t.Errorf("after Purge: %s", did)
	}
	w.dns.txt("_atproto.new.example.com")
	if did, err := w.r.RefreshHandle(ctx, "new.example.com"); !errors.Is(err, ErrHandleNotFound) {
		t.Errorf("RefreshHandle: %s, %v", did, err)
	}
	if _, err := w.r.ResolveHandle(ctx, "new.example.com"); !errors.Is(err, ErrHandleNotFound) {
		t.Errorf("a surely absent handle still in the cache: %v", err)
	}
}

// Many callers cause one request, and one that gives up leaves the others alone.
func TestLookupsAreShared(t *testing.T) {
	w := newWorld(t)
	did := w.account("alice.example.com")
	hold := make(chan struct{})
	w.set(func() { w.hold = hold })
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan error, 1)
	go func() {
		_, err := w.r.ResolveDID(ctx, did)
		gone <- err
	}()
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled caller: %v", err)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := w.r.ResolveDID(context.Background(), did); err != nil {
				t.Error(err)
			}
		})
	}
	close(hold)
	wg.Wait()
	if n := w.plcHits.Load(); n != 1 {
		t.Errorf("%d requests for one DID", n)
	}
}

// An answer to a question asked before a refresh or purge must not be kept.
func TestLateAnswersAreDropped(t *testing.T) {
	now := time.Unix(0, 0)
	c := newCache[string](10, func(int) int { return 0 }, lifetimes{time.Hour, time.Hour, time.Hour, time.Hour}, func() time.Time { return now })
	early, late := c.begin(), c.begin()
	c.put("k", late, 2, nil)
	c.put("k", early, 1, nil)
	if v, _, _ := c.get("k"); v != 2 {
		t.Errorf("late answer kept: %d", v)
	}
	before := c.begin()
	c.purge("k")
	c.put("k", before, 3, nil)
	if _, _, state := c.get("k"); state != missing {
		t.Error("an answer from before the purge was kept")
	}
	c.put("k", c.begin(), 4, nil)
	if v, _, state := c.get("k"); v != 4 || state != fresh {
		t.Errorf("after the purge: %d", v)
	}
}

func TestCacheIsBounded(t *testing.T) {
	now := time.Unix(0, 0)
	c := newCache[int](3, func(n int) int { return n }, lifetimes{time.Hour, time.Hour, time.Hour, time.Hour}, func() time.Time { return now })
	for i := range 10 {
		c.put(i, c.begin(), i, nil)
		c.get(0) // in use
	}
	if len(c.entries) != 3 || c.order.Len() != 3 {
		t.Errorf("%d entries", len(c.entries))
	}
	if _, _, state := c.get(0); state != fresh {
		t.Error("the one in use was dropped")
	}
	c.most = 10_000
	for range 3 { // also what takes the place of another counts
		c.put(5000, c.begin(), 5000, nil)
		c.put(4500, c.begin(), 4500, nil)
	}
	if len(c.entries) != 1 || c.weight != 4500+entryOverhead {
		t.Errorf("%d entries of %d bytes", len(c.entries), c.weight)
	}
	c.put(20_000, c.begin(), 20_000, nil)
	if len(c.entries) != 0 || c.weight != 0 || c.order.Len() != 0 {
		t.Errorf("%d entries of %d bytes after one that does not fit", len(c.entries), c.weight)
	}
}

func BenchmarkResolveDIDCached(b *testing.B) {
	r := New(Options{})
	r.docs.put(testDID, r.docs.begin(), &Document{DID: testDID}, nil)
	for b.Loop() {
		if _, err := r.ResolveDID(context.Background(), testDID); err != nil {
			b.Fatal(err)
		}
	}
}
