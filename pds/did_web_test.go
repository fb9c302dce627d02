package pds

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity"
	"perch/pds/auth"
)

func everyoneMayHaveDIDWeb(c *Config) { c.DIDWebAccounts = didWebEveryone }

// signUpWeb makes an account with a did:web of its handle.
func (n *network) signUpWeb(t *testing.T, name string) *client {
	t.Helper()
	c := &client{network: n, t: t, handle: name + ".test", did: "did:web:" + name + ".test"}
	out := c.post(createAccountNSID, map[string]any{
		"handle": c.handle, "did": c.did, "email": name + "@example.com", "password": name + "-password",
	}).ok()
	if out.str("did") != c.did {
		t.Fatalf("the account became %s", out.str("did"))
	}
	c.token, c.fresh = out.str("accessJwt"), out.str("refreshJwt")
	return c
}

// at asks for a page of another host name.
func (n *network) at(t *testing.T, host, path string) *answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	return n.anonymous(t).send(req, path)
}

// wantDocument expects what the document of the client's DID names.
func (c *client) wantDocument(handle, pds, key string) {
	c.t.Helper()
	a := c.at(c.t, c.did[len("did:web:"):], "/.well-known/did.json")
	a.ok()
	doc, err := identity.ParseDocument(syntax.DID(c.did), a.body)
	if err != nil {
		c.t.Fatal(err)
	}
	endpoint, _ := doc.PDSEndpoint()
	named, _ := doc.Handle()
	signing, err := doc.SigningKey()
	if err != nil || named.String() != handle || endpoint != pds || signing.DIDKey() != key {
		c.t.Errorf("the document names %s at %s, want %s at %s with %s: %s", named, endpoint, handle, pds, key, a.body)
	}
	local, err := c.srv.identity.ResolveDID(c.t.Context(), syntax.DID(c.did))
	if err != nil || string(local.Raw) != string(a.body) {
		c.t.Errorf("the server itself sees another document: %v", err)
	}
}

func TestDIDWebAccount(t *testing.T) {
	n := startNetwork(t, everyoneMayHaveDIDWeb)
	n.wantEvents(t, func() { n.signUpWeb(t, "carol") }, "identity", "account active", "commit", "sync")
	c := n.signUpWeb(t, "alice")
	here := n.srv.cfg.PublicURL()
	key := func() string { return c.account().SigningKeyDID }
	c.createPost("hello")
	c.wantDocument("alice.test", here, key())
	if got := n.at(t, "alice.test:2583", "/.well-known/atproto-did"); string(got.body) != c.did {
		t.Errorf("%s", got.body)
	}
	if got := c.get("com.atproto.identity.resolveHandle", "handle", "alice.test").ok().str("did"); got != c.did {
		t.Errorf("the handle resolves to %s", got)
	}
	if got := c.get("com.atproto.identity.resolveIdentity", "identifier", c.did).ok().str("handle"); got != "alice.test" {
		t.Errorf("the DID's handle is %s", got)
	}
	if n.anonymous(t).get("com.atproto.repo.describeRepo", "repo", c.did).ok().at("handleIsCorrect") != true {
		t.Error("the handle is not correct")
	}
	with := &client{network: n, t: t, token: c.get("com.atproto.server.getServiceAuth", "aud", n.srv.serviceDID.String(), "lxm", "com.atproto.repo.uploadBlob").ok().str("token")}
	with.do(http.MethodPost, "com.atproto.repo.uploadBlob", nil, "text/plain", []byte("signed with the DID's key")).ok()
	c.post("com.atproto.identity.requestPlcOperationSignature", nil).fails(400, "InvalidRequest")
	c.rotation(RotationKeyList, "").fails(400, "InvalidRequest")
	if c.get("com.atproto.identity.getRecommendedDidCredentials").ok().at("rotationKeys") != nil {
		t.Error("rotation keys for a did:web")
	}

	n.wantEvents(t, func() { c.post("com.atproto.identity.updateHandle", map[string]any{"handle": "alicia.test"}).ok() }, "identity")
	c.wantDocument("alicia.test", here, key())
	before, reserved := key(), c.post("com.atproto.server.reserveSigningKey", map[string]any{"did": c.did}).ok().str("signingKey")
	c.admin("com.atproto.admin.updateAccountSigningKey", map[string]any{"did": c.did, "signingKey": reserved}).ok()
	if key() == before {
		t.Error("the key is the old one")
	}
	c.wantDocument("alicia.test", here, reserved)
	c.deactivate()
	c.wantDocument("alicia.test", here, reserved)
	c.activate()
	c.createPost("with another key")
	c.check()

	for host, want := range map[string]int{"alice.test": 200, "alicia.test": 200, "nobody.test": 404, n.srv.cfg.Hostname: 200, "example.com": 404, "": 404} {
		if got := n.at(t, "localhost", "/tls-check?domain="+url.QueryEscape(host)).status; got != want {
			t.Errorf("tls-check of %q: %d, want %d", host, got, want)
		}
	}
	if got := n.at(t, "localhost", "/.well-known/did.json"); decode[map[string]any](got)["id"] != n.srv.serviceDID.String() {
		t.Errorf("the server's own document: %s", got.body)
	}
	n.at(t, "alicia.test", "/.well-known/did.json").fails(404, "DidNotFound")
}

func TestDIDWebNamesAreTakenForEver(t *testing.T) {
	n := startNetwork(t, everyoneMayHaveDIDWeb)
	alice := n.signUpWeb(t, "alice")
	bob := n.signUp(t, "bob")
	alice.post("com.atproto.identity.updateHandle", map[string]any{"handle": "alicia.test"}).ok()
	refused := func(when string) {
		t.Helper()
		in := map[string]any{"handle": "alice.test", "email": "mallory@example.com", "password": "mallory-password"}
		n.anonymous(t).post(createAccountNSID, in).fails(400, "InvalidRequest")
		in["did"] = alice.did
		n.anonymous(t).post(createAccountNSID, in).fails(400, "InvalidRequest")
		bob.post("com.atproto.identity.updateHandle", map[string]any{"handle": "alice.test"}).fails(400, "InvalidRequest")
		bob.post("com.atproto.identity.updateHandle", map[string]any{"handle": "ALICE.test"}).fails(400, "InvalidRequest")
		bob.admin("com.atproto.admin.updateAccountHandle", map[string]any{"did": bob.did, "handle": "alice.test"}).fails(400, "InvalidRequest")
		result := n.anonymous(t).get("com.atproto.temp.checkHandleAvailability", "handle", "alice.test").ok().str("result.$type")
		if result != "com.atproto.temp.checkHandleAvailability#resultUnavailable" {
			t.Errorf("%s: %s", when, result)
		}
	}
	refused("after a change of the handle")
	alice.post("com.atproto.identity.updateHandle", map[string]any{"handle": "alice.test"}).ok() // its own
	alice.admin("com.atproto.admin.deleteAccount", map[string]any{"did": alice.did}).ok()
	n.srv.runJobs(t.Context())
	refused("after the deletion")
	n.at(t, "alice.test", "/.well-known/did.json").fails(410, "DidDeactivated")
	n.operate(t, DIDWebPath, DIDWebRequest{Action: DIDWebBack, Account: alice.did}).fails(400, "InvalidRequest")
	n.operate(t, DIDWebPath, DIDWebRequest{Action: DIDWebCreate, Account: "alice.test", Email: "x@example.com", Password: "some-password"}).fails(400, "InvalidRequest")
}

func TestDIDWebIsRefused(t *testing.T) {
	n := startNetwork(t, everyoneMayHaveDIDWeb)
	n.signUp(t, "taken")
	in := func(handle, did string, more ...string) map[string]any {
		out := map[string]any{"handle": handle, "did": did, "email": "x@example.com", "password": "some-password"}
		for i := 0; i < len(more); i += 2 {
			out[more[i]] = more[i+1]
		}
		return out
	}
	c := n.anonymous(t)
	c.post(createAccountNSID, in("bob.test", "did:web:alice.test")).fails(400, "InvalidRequest")
	c.post(createAccountNSID, in("alice.test", "did:web:Alice.test")).fails(400, "InvalidRequest")
	c.post(createAccountNSID, in("taken.test", "did:web:taken.test")).fails(400, "InvalidRequest")
	c.post(createAccountNSID, in("admin.test", "did:web:admin.test")).fails(400, "HandleNotAvailable")
	c.post(createAccountNSID, in("a.b.test", "did:web:a.b.test")).fails(400, "InvalidHandle")
	c.post(createAccountNSID, in("alice.test", "did:web:alice.test", "recoveryKey", newKeyPair(t).did)).fails(400, "InvalidRequest")
	c.post(createAccountNSID, in("alice.test", "did:web:alice.test%3A80")).fails(401, "AuthenticationRequired")
	c.post(createAccountNSID, in("alice.test", "did:web:alice.example.com")).fails(401, "AuthenticationRequired")

	for _, setting := range []string{didWebOff, didWebOperator} {
		n := startNetwork(t, func(c *Config) { c.DIDWebAccounts = setting })
		n.anonymous(t).post(createAccountNSID, in("alice.test", "did:web:alice.test")).fails(401, "AuthenticationRequired")
		a := n.operate(t, DIDWebPath, DIDWebRequest{Action: DIDWebCreate, Account: "alice.test", Email: "x@example.com", Password: "some-password"})
		if setting == didWebOff {
			a.fails(400, "InvalidRequest")
			continue
		}
		if out := decode[DIDWebAnswer](a); out.DID != "did:web:alice.test" || !out.Here {
			t.Errorf("%+v", out)
		}
	}
}

func TestDIDWebMovesAway(t *testing.T) {
	n := startNetwork(t, everyoneMayHaveDIDWeb)
	c := n.signUpWeb(t, "alice")
	elsewhere := newKeyPair(t).did
	point := func(change func(*DIDWebRequest)) *answer {
		in := DIDWebRequest{Action: DIDWebPoint, Account: c.did, PDS: "https://elsewhere.example", SigningKey: elsewhere}
		change(&in)
		return n.operate(t, DIDWebPath, in)
	}
	for what, change := range map[string]func(*DIDWebRequest){
		"no server": func(in *DIDWebRequest) { in.PDS = "" }, "a path": func(in *DIDWebRequest) { in.PDS = "https://elsewhere.example/xrpc" },
		"a script": func(in *DIDWebRequest) { in.PDS = "javascript:alert(1)" }, "a password": func(in *DIDWebRequest) { in.PDS = "https://a:b@elsewhere.example" },
		"itself": func(in *DIDWebRequest) { in.PDS = n.srv.cfg.PublicURL() }, "no key": func(in *DIDWebRequest) { in.SigningKey = "" },
		"another kind of key": func(in *DIDWebRequest) { in.SigningKey = c.did }, "no handle": func(in *DIDWebRequest) { in.NewHandle = "not a handle" },
	} {
		if a := point(change); a.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", what, a.status, a.body)
		}
	}
	point(func(in *DIDWebRequest) { in.Account = n.signUp(t, "bob").did }).fails(400, "AccountNotFound")
	c.wantDocument("alice.test", n.srv.cfg.PublicURL(), c.account().SigningKeyDID)
	n.wantEvents(t, func() { point(func(in *DIDWebRequest) { in.NewHandle = "Alice.example.com" }).ok() }, "identity")
	c.wantDocument("alice.example.com", "https://elsewhere.example", elsewhere)
	c.deactivate()
	c.post("com.atproto.server.activateAccount", nil).fails(400, "InvalidRequest")
	if out := decode[DIDWebAnswer](n.operate(t, DIDWebPath, DIDWebRequest{Action: DIDWebBack, Account: c.handle})); !out.Here {
		t.Errorf("%+v", out)
	}
	c.activate()
	c.wantDocument("alice.test", n.srv.cfg.PublicURL(), c.account().SigningKeyDID)

	// Away for good: the document stays when the account here goes.
	point(func(*DIDWebRequest) {}).ok()
	c.admin("com.atproto.admin.deleteAccount", map[string]any{"did": c.did}).ok()
	n.srv.runJobs(t.Context())
	c.wantDocument("alice.test", "https://elsewhere.example", elsewhere)
	if got := n.at(t, "localhost", "/tls-check?domain=alice.test").status; got != http.StatusOK {
		t.Errorf("tls-check: %d", got)
	}
	if got := n.at(t, "alice.test", "/.well-known/atproto-did"); string(got.body) != c.did {
		t.Errorf("the name that the document claims resolves to %s", got.body)
	}
	var shown DIDWebAnswer
	if err := json.Unmarshal(n.operate(t, DIDWebPath, DIDWebRequest{Action: DIDWebShow, Account: c.did}).body, &shown); err != nil || shown.PDS != "https://elsewhere.example" {
		t.Errorf("%+v %v", shown, err)
	}
}

// A did:web that somebody brings along is fetched by the server like any other account; its owner changes the document.
func TestMigrateOfDIDWeb(t *testing.T) {
	old := startNetwork(t, nil)
	h := newWebHost(t)
	c := h.bring(t, old)
	h.set("alice.test", strings.TrimPrefix(c.account().SigningKeyDID, "did:key:"), old.srv.cfg.PublicURL())
	c.activate()
	c.createPost("before")
	m := &moving{t: t, old: c, password: "alice-password", to: &network{t: t, dir: t.TempDir(), plc: old.plc}}
	m.job = m.to
	m.open()
	m.mustBegin()
	st := m.untilNeeds(MigrationNeedsDocument)
	h.publish(st.Document)
	if _, err := m.ask(MigrateRequest{Action: MigrateAgain}); err != nil {
		t.Fatal(err)
	}
	m.untilDone()
	there := m.there()
	there.createPost("after")
	there.check()
	if c.account().Active() {
		t.Error("the account at the old host is still active")
	}
}

// A DID under this server's domain that has moved away may come back, and nobody else with it.
func TestDIDWebComesBack(t *testing.T) {
	n := startNetwork(t, everyoneMayHaveDIDWeb)
	c := n.signUpWeb(t, "alice")
	elsewhere := newKeyPair(t)
	n.operate(t, DIDWebPath, DIDWebRequest{Action: DIDWebPoint, Account: c.did, PDS: "https://elsewhere.example", SigningKey: elsewhere.did}).ok()
	c.admin("com.atproto.admin.deleteAccount", map[string]any{"did": c.did}).ok()
	n.srv.runJobs(t.Context())
	thief := newWebHost(t)
	thief.did, thief.key = syntax.DID(c.did), newKeyPair(t).PrivateKeyK256
	token, err := auth.ServiceToken(thief.key, auth.ServiceClaims{Issuer: thief.did, Audience: n.srv.serviceDID.String(), Method: createAccountNSID})
	if err != nil {
		t.Fatal(err)
	}
	in := map[string]any{"did": c.did, "handle": c.handle, "email": "mallory@example.com", "password": "some-password"}
	(&client{network: n, t: t, token: token}).post(createAccountNSID, in).fails(401, "BadJwtSignature")

	thief.key = elsewhere.PrivateKeyK256 // the owner
	back := thief.bring(t, n)
	back.post("com.atproto.server.activateAccount", nil).fails(400, "InvalidRequest")
	n.operate(t, DIDWebPath, DIDWebRequest{Action: DIDWebBack, Account: c.did}).ok()
	back.activate()
	back.createPost("back")
	back.wantDocument("alice.test", n.srv.cfg.PublicURL(), back.account().SigningKeyDID)
	back.check()
}

// With the database the row of a DID is lost. The operator makes the document say what it said, so that the archive can be imported.
func TestDIDWebAfterALostDatabase(t *testing.T) {
	n := startNetwork(t, everyoneMayHaveDIDWeb)
	n.signUp(t, "bob")
	key := newKeyPair(t).did
	in := DIDWebRequest{Action: DIDWebPoint, Account: "did:web:alice.test", PDS: n.srv.cfg.PublicURL(), SigningKey: key, NewHandle: "alice.test"}
	n.operate(t, DIDWebPath, in).ok()
	c := &client{network: n, t: t, did: "did:web:alice.test"}
	c.wantDocument("alice.test", n.srv.cfg.PublicURL(), key)
	n.anonymous(t).post(createAccountNSID, map[string]any{"handle": "alice.test", "email": "m@example.com", "password": "some-password"}).fails(400, "InvalidRequest")
	for _, did := range []string{"did:web:bob.test", "did:web:elsewhere.example.com", "did:web:" + n.srv.cfg.Hostname, string(n.srv.serviceDID)} {
		in.Account = did
		if a := n.operate(t, DIDWebPath, in); a.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", did, a.status, a.body)
		}
	}
}
