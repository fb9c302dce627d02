package identity

import (
	"context"
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
		Timeout: time.Minute,
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
