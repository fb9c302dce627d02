package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity"
)

const (
	alice   = syntax.DID("did:plc:aliceaaaaaaaaaaaaaaaaaaa")
	appView = syntax.DID("did:web:api.example.com")
	service = "did:web:label.example.com"
)

// docs is a DIDResolver that knows what is in the map.
type docs map[syntax.DID]string // DID to the endpoint of its service #atproto_labeler

func (d docs) ResolveDID(_ context.Context, did syntax.DID) (*identity.Document, error) {
	endpoint, ok := d[did]
	if !ok {
		return nil, identity.ErrNotFound
	}
	return &identity.Document{DID: did, Services: []identity.Service{{ID: "#atproto_labeler", Type: "AtprotoLabeler", Endpoint: endpoint}}}, nil
}

func signForTest(_ context.Context, user syntax.DID, aud, lxm string) (string, error) {
	return fmt.Sprintf("token:%s:%s:%s", user, aud, lxm), nil
}

func allowAll(syntax.NSID, string) error { return nil }

// pds is a server that passes everything on, and an upstream for it.
type pds struct {
	t        *testing.T
	url      string
	upstream *httptest.Server
	proxy    *Proxy
	caller   Caller
	errs     chan error // what Serve returned, one for each request
}

func newPDS(t *testing.T, h http.HandlerFunc, change func(*Options)) *pds {
	t.Helper()
	p := &pds{t: t, caller: Caller{DID: alice, Allow: allowAll}, errs: make(chan error, 100)}
	p.upstream = httptest.NewServer(h)
	t.Cleanup(p.upstream.Close)
	o := Options{
		Resolver:     docs{syntax.DID(service): p.upstream.URL},
		Sign:         signForTest,
		AppView:      &Target{DID: appView, Service: "bsky_appview", URL: p.upstream.URL},
		AllowPrivate: true,
	}
	if change != nil {
		change(&o)
	}
	p.proxy = New(o)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := p.proxy.Serve(w, r, p.caller)
		var e *Error
		switch {
		case err == nil, errors.Is(err, ErrAborted):
		case errors.As(err, &e):
			for k, v := range e.Header {
				w.Header()[k] = v
			}
			w.WriteHeader(e.Status)
			fmt.Fprintf(w, `{"error":%q,"message":%q}`, e.Name, e.Message)
		default:
			http.Error(w, err.Error(), 599)
		}
		p.errs <- err
	}))
	t.Cleanup(srv.Close)
	p.url = srv.URL
	return p
}

func (p *pds) do(method, path, body string, headers ...string) *http.Response {
	p.t.Helper()
	req, err := http.NewRequest(method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { res.Body.Close() })
	return res
}

func read(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
