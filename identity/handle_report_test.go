package identity

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestInspectHandle(t *testing.T) {
	const one, two, name = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb", "_atproto.alice.example.com"
	serve := func(status int, body string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(status)
			io.WriteString(rw, body)
		}
	}
	missing, notFound := HandleSource{State: HandleMissing}, HandleSource{State: HandleStatus, Found: "404 Not Found"}
	for what, tt := range map[string]struct {
		setup func(w *world)
		want  HandleReport
	}{
		"nothing anywhere":      {func(*world) {}, HandleReport{missing, notFound}},
		"both":                  {func(w *world) { w.dns.txt(name, "x", "did="+one); w.answer = serve(200, two+"\n") }, HandleReport{HandleSource{State: HandleNamed, DID: one}, HandleSource{State: HandleNamed, DID: two}}},
		"backup":                {func(w *world) { w.bak.txt(name, "did="+one) }, HandleReport{HandleSource{State: HandleNamed, DID: one}, notFound}},
		"a DID without did=":    {func(w *world) { w.dns.txt(name, one, "a\tb\x00\x1b") }, HandleReport{HandleSource{State: HandleOther, Found: one + "\na b"}, notFound}},
		"two accounts":          {func(w *world) { w.dns.txt(name, "did="+one, "did="+two) }, HandleReport{HandleSource{State: HandleSeveral, Found: "did=" + one + "\ndid=" + two}, notFound}},
		"very much text":        {func(w *world) { w.dns.txt(name, strings.Repeat("é", 100), "2", "3", "4", "5") }, HandleReport{HandleSource{State: HandleOther, Found: strings.Repeat("é", 60) + "…\n2\n3\n4"}, notFound}},
		"without the prefix":    {func(w *world) { w.dns.txt("alice.example.com", "v=spf1 -all", "did="+one) }, HandleReport{HandleSource{State: HandleElsewhere, Found: "alice.example.com"}, notFound}},
		"with the domain twice": {func(w *world) { w.dns.txt(name+".example.com", "did="+one) }, HandleReport{HandleSource{State: HandleElsewhere, Found: name + ".example.com"}, notFound}},
		"DNS is ill":            {func(w *world) { w.dns.fail(name, 2); w.bak.fail(name, 2) }, HandleReport{HandleSource{State: HandleSilent}, notFound}},
		"a page":                {func(w *world) { w.answer = serve(200, "<!doctype html>\n<title>"+strings.Repeat("x", maxWellKnown)) }, HandleReport{missing, HandleSource{State: HandleOther, Found: "<!doctype html> <title>" + strings.Repeat("x", maxFound-23) + "…"}}},
		"an empty file":         {func(w *world) { w.answer = serve(200, "") }, HandleReport{missing, missing}},
		"an ill host":           {func(w *world) { w.answer = serve(502, "") }, HandleReport{missing, HandleSource{State: HandleStatus, Found: "502 Bad Gateway"}}},
		"a way inside": {func(w *world) {
			w.answer = func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, "https://192.168.0.1/", 302) }
		}, HandleReport{missing, HandleSource{State: HandleSilent}}},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.set(func() { tt.setup(w) })
			if got, err := w.r.InspectHandle(context.Background(), "Alice.Example.com"); err != nil || got != tt.want {
				t.Errorf("%+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func TestInspectHandleTellsOfHostAndCertificate(t *testing.T) {
	for err, want := range map[error]HandleState{
		&net.DNSError{IsNotFound: true}: HandleNoHost, &tls.CertificateVerificationError{}: HandleCertificate, tls.AlertError(80): HandleCertificate,
		context.DeadlineExceeded: HandleSilent,
	} {
		w := newWorld(t)
		w.r.client = &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, err })}
		if got, err := w.r.InspectHandle(context.Background(), "alice.example.com"); err != nil || got.HTTPS.State != want {
			t.Errorf("%+v, %v; want %s", got, err, want)
		}
	}
}
