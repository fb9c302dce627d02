package identity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
)

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

// A name server that never answers leaves time for the next, and for the backup.
func TestSilentNameserver(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	addr := silent.LocalAddr().String()
	known := newDNS(t)
	known.txt("_atproto.alice.example.com", "did="+testDID.String())
	closed := NewClient(ClientOptions{Resolver: newDNS(t).resolver()}) // no host exists
	for name, o := range map[string]Options{
		"first of two": {Nameservers: []string{addr, known.addr}},
		"backup":       {Nameservers: []string{addr}, BackupNameservers: []string{known.addr}},
	} {
		o.Client, o.Timeout = closed, 3*time.Second
		if did, err := New(o).ResolveHandle(context.Background(), "alice.example.com"); err != nil || did != testDID {
			t.Errorf("%s: %s, %v", name, did, err)
		}
	}
}
