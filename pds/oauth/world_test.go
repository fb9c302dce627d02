package oauth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/account"
	"perch/pds/auth"
	"perch/pds/oauth"
	"perch/pds/oauth/dpop"
	"perch/pds/oauth/oauthtest"
	"perch/pds/seal"
	"perch/pds/store"
)

const (
	clientHost = "https://app.example.com"
	clientID   = clientHost + "/oauth-client-metadata.json"
	redirect   = "https://app.example.com/callback"
	device     = "dev-of-a-person"
	resource   = "/xrpc/com.example.resource"
)

// world is an authorization server on a loopback port with one resource, the host of clients, and a clock that tests move.
type world struct {
	t         testing.TB
	url       string
	svc       *oauth.Service
	st        *store.Store
	acct      *store.Account
	accounts  *account.Service
	now       atomic.Pointer[time.Time]
	path      string // of the database
	mux       atomic.Pointer[http.ServeMux]
	docs      map[string]http.HandlerFunc // of the clients' host, by path
	client    *http.Client                // that fetches them
	fetched   atomic.Int64
	lexicons  map[string]string
	askedSets atomic.Int64
	lexErr    error
	verifier  *auth.Verifier
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, docs: map[string]http.HandlerFunc{}, lexicons: map[string]string{}}
	w.at(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC))
	w.path = filepath.Join(t.TempDir(), "perch.db")
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.mux.Load().ServeHTTP(rw, r) }))
	t.Cleanup(server.Close)
	w.url = server.URL
	w.start()
	t.Cleanup(func() { w.st.Close() })
	w.acct = w.person("alice", "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")
	return w
}

// restart ends the server and starts another on the same database.
func (w *world) restart() {
	w.t.Helper()
	if err := w.st.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.start()
}

func (w *world) openStore() {
	w.t.Helper()
	var err error
	if w.st, err = store.Open(context.Background(), store.Options{Path: w.path, Now: w.clock}); err != nil {
		w.t.Fatal(err)
	}
	box, err := seal.New(make([]byte, seal.KeySize))
	if err != nil {
		w.t.Fatal(err)
	}
	w.accounts = account.New(account.Options{Store: w.st, Seal: box, Hostname: "pds.example.com", ServiceDomains: []string{".example.com"}, Now: w.clock})
}

func (w *world) at(t time.Time)       { w.now.Store(&t) }
func (w *world) clock() time.Time     { return *w.now.Load() }
func (w *world) pass(d time.Duration) { w.at(w.clock().Add(d)) }

func (w *world) person(name, did string) *store.Account {
	w.t.Helper()
	r, err := w.accounts.Reserve(context.Background(), account.NewAccount{Handle: name + ".example.com", Email: name + "@mail.example.org", Password: "a good password"})
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Release()
	ses, err := r.Commit(context.Background(), syntax.DID(did), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return ses.Account
}

func (w *world) newProofs() *dpop.Verifier { return dpop.New([]byte("secret of the nonces"), w.clock) }

// start builds the server on its database.
func (w *world) start() {
	w.t.Helper()
	w.openStore()
	mux := http.NewServeMux()
	w.mux.Store(mux)
	proofs := w.newProofs()
	w.client = w.clientHost()
	w.svc = oauth.New(oauth.Options{
		Store: w.st, Issuer: w.url, TokenSecret: []byte("secret of the tokens"), DPoP: proofs, Client: w.client, Now: w.clock,
		TrustedClients: []string{clientHost + "/trusted.json"},
		Lexicon: func(_ context.Context, nsid string) ([]byte, error) {
			w.askedSets.Add(1)
			if w.lexErr != nil {
				return nil, w.lexErr
			}
			if l, ok := w.lexicons[nsid]; ok {
				return []byte(l), nil
			}
			return nil, oauth.ErrNoLexicon
		},
	})
	for path, h := range w.svc.Documents() {
		mux.HandleFunc(path, h)
	}
	for path, h := range w.svc.Endpoints() {
		mux.HandleFunc(path, h)
	}
	w.verifier = w.newVerifier(proofs)
	access := w.verifier.Standard(auth.Deactivated)
	mux.Handle(resource, proofs.Tell(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, err := access(r.Context(), r)
		var e *auth.Error
		if errors.As(err, &e) {
			rw.Header().Set("WWW-Authenticate", e.Challenge)
			rw.WriteHeader(e.Status)
			_ = json.NewEncoder(rw).Encode(map[string]string{"error": e.Name, "message": e.Message})
			return
		}
		if err != nil {
			rw.WriteHeader(500)
		}
	})))
}

func (w *world) newVerifier(proofs *dpop.Verifier) *auth.Verifier {
	w.t.Helper()
	v, err := auth.New(auth.Options{
		Accounts: auth.NewAccounts(w.st, w.accounts), ServiceDID: "did:web:pds.example.com", JWTSecret: make([]byte, 32), OAuth: w.svc, DPoP: proofs,
		PublicURL: w.url, Now: w.clock,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// clientHost is a client for which every https host is one server: the documents of w.docs.
func (w *world) clientHost() *http.Client {
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.fetched.Add(1)
		if h := w.docs[r.URL.Path]; h != nil {
			h(rw, r)
			return
		}
		http.NotFound(rw, r)
	}))
	w.t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("redirect") },
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, network, server.Listener.Addr().String())
			},
			TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"},
		},
	}
}

// serve has a client document served, with changes; nil removes a member.
func (w *world) serve(path string, doc oauthtest.JSON) {
	body, err := json.Marshal(doc)
	if err != nil {
		w.t.Fatal(err)
	}
	w.docs[path] = func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_, _ = rw.Write(body)
	}
}

func with(base, more oauthtest.JSON) oauthtest.JSON {
	out := oauthtest.JSON{}
	for _, m := range []oauthtest.JSON{base, more} {
		for k, v := range m {
			if out[k] = v; v == nil {
				delete(out, k)
			}
		}
	}
	return out
}

func publicDoc() oauthtest.JSON {
	return oauthtest.JSON{
		"client_id": clientID, "application_type": "web", "redirect_uris": []string{redirect}, "grant_types": []string{"authorization_code", "refresh_token"},
		"response_types": []string{"code"}, "scope": "atproto transition:generic repo:app.bsky.feed.post", "token_endpoint_auth_method": "none",
		"dpop_bound_access_tokens": true, "client_name": "An app", "client_uri": clientHost,
	}
}

// app is a public client with a document.
func (w *world) app() *oauthtest.App {
	w.serve("/oauth-client-metadata.json", publicDoc())
	a := oauthtest.New(w.t, w.url, "atproto transition:generic")
	a.ClientID, a.Redirect, a.Now = clientID, redirect, w.clock
	return a
}

func confidentialDoc(keys ...*oauthtest.Key) oauthtest.JSON {
	var jwks []oauthtest.JSON
	for _, k := range keys {
		jwks = append(jwks, k.JWK())
	}
	return with(publicDoc(), oauthtest.JSON{
		"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "ES256", "jwks": oauthtest.JSON{"keys": jwks},
	})
}

// confidential is a client with a key of its own.
func (w *world) confidential() *oauthtest.App {
	a := w.app()
	a.Auth = oauthtest.NewKey("key-1")
	w.serve("/oauth-client-metadata.json", confidentialDoc(a.Auth))
	return a
}

// open does what the page does first.
func (w *world) open(a *oauthtest.App, pushed oauthtest.Answer) *oauth.Request {
	w.t.Helper()
	uri, _ := pushed.OK()["request_uri"].(string)
	r, err := w.svc.Open(w.t.Context(), a.ClientID, uri, device)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// code signs alice in as far as the code.
func (w *world) code(a *oauthtest.App, c oauthtest.Change) string {
	w.t.Helper()
	r := w.open(a, a.Push(c))
	acct, err := w.st.AccountByID(w.t.Context(), w.acct.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := w.svc.Grant(w.t.Context(), r, acct, device, strings.Fields(a.Scope))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range resp.Params {
		if p.Name == "code" {
			return p.Value
		}
	}
	w.t.Fatalf("no code: %+v", resp)
	return ""
}

// signIn signs alice in to the app.
func (w *world) signIn(a *oauthtest.App) *oauthtest.App {
	w.t.Helper()
	a.Redeem(w.code(a, oauthtest.Change{}), oauthtest.Change{}).OK()
	return a
}

// use calls the resource.
func use(a *oauthtest.App, c oauthtest.Change) oauthtest.Answer {
	a.T.Helper()
	return a.Call(http.MethodGet, resource, "", "", c)
}
