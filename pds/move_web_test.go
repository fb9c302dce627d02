package pds

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/auth"
	"perch/repo"
)

// webHost serves the document of a did:web.
type webHost struct {
	did syntax.DID
	key *atcrypto.PrivateKeyK256
	doc func() any
}

func newWebHost(t *testing.T) *webHost {
	t.Helper()
	key, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		t.Fatal(err)
	}
	h := &webHost{key: key}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/did.json" {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(h.doc())
	}))
	t.Cleanup(srv.Close)
	u, _ := url.Parse(srv.URL)
	h.did = syntax.DID("did:web:localhost%3A" + u.Port())
	pub, _ := key.PublicKey()
	h.set("alice.test", pub.Multibase(), "https://elsewhere.example")
	return h
}

func (h *webHost) set(handle, key, endpoint string) {
	h.doc = func() any {
		return map[string]any{
			"id": h.did, "alsoKnownAs": []string{"at://" + handle},
			"verificationMethod": []any{map[string]any{"id": "#atproto", "type": "Multikey", "controller": h.did, "publicKeyMultibase": key}},
			"service":            []any{map[string]any{"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": endpoint}},
		}
	}
}

// publish has the host serve a document as it is.
func (h *webHost) publish(doc json.RawMessage) { h.doc = func() any { return doc } }

// bring makes an account for the host's DID, with a repository that the DID's key has signed. It stays deactivated.
func (h *webHost) bring(t *testing.T, n *network) *client {
	t.Helper()
	token, err := auth.ServiceToken(h.key, auth.ServiceClaims{Issuer: h.did, Audience: n.srv.serviceDID.String(), Method: createAccountNSID})
	if err != nil {
		t.Fatal(err)
	}
	c := &client{network: n, t: t, did: h.did.String(), handle: "alice.test", token: token}
	out := c.post(createAccountNSID, map[string]any{"did": c.did, "handle": c.handle, "email": "alice@example.com", "password": "alice-password"}).ok()
	c.token = out.str("accessJwt")

	first, err := repo.Start(h.did, repo.NextRev("", time.Now(), 9), h.key)
	if err != nil {
		t.Fatal(err)
	}
	var car bytes.Buffer
	w, _ := repo.NewCARWriter(&car, first.Head.CID)
	_ = w.Put(first.Head.CID, first.Head.Block)
	_ = w.Flush()
	c.importCAR(car.Bytes()).ok()
	return c
}

func TestMoveOfDIDWeb(t *testing.T) {
	n := startNetwork(t, nil)
	h := newWebHost(t)
	c := h.bring(t, n)
	creds := c.get("com.atproto.identity.getRecommendedDidCredentials").ok()
	if creds.at("rotationKeys") != nil {
		t.Errorf("rotation keys for a did:web: %v", creds)
	}
	c.post("com.atproto.identity.signPlcOperation", map[string]any{"token": "AAAAA-AAAAA"}).fails(400, "InvalidRequest")
	c.post("com.atproto.identity.submitPlcOperation", map[string]any{"operation": map[string]any{}}).fails(400, "InvalidRequest")
	key := strings.TrimPrefix(creds.str("verificationMethods.atproto"), "did:key:")
	h.set("alice.test", key, n.srv.cfg.PublicURL())
	if c.get("com.atproto.server.checkAccountStatus").ok().at("validDid") != true {
		t.Error("the document names this server and key, and that is not seen")
	}
	c.activate()
	c.createPost("at last")
	c.post("com.atproto.identity.updateHandle", map[string]any{"handle": "carol.test"}).fails(400, "InvalidRequest")
	h.set("carol.test", key, n.srv.cfg.PublicURL())
	n.wantEvents(t, func() { c.post("com.atproto.identity.updateHandle", map[string]any{"handle": "carol.test"}).ok() }, "identity")
	c.check()
}
