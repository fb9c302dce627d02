package pds

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/account"
	"perch/pds/store"
	"perch/repo"
)

// neighbour starts a second PDS on the same PLC directory.
func (n *network) neighbour(t *testing.T) *network {
	t.Helper()
	other := &network{t: t, dir: t.TempDir(), plc: n.plc}
	other.start(nil)
	return other
}

// serviceToken is what the account's host gives it to make an account at another.
func (c *client) serviceToken(aud syntax.DID) string {
	c.t.Helper()
	return c.get("com.atproto.server.getServiceAuth", "aud", aud.String(), "lxm", createAccountNSID).ok().str("token")
}

// arrive makes an account for c at another host, which stays deactivated.
func (c *client) arrive(to *network) *client {
	c.t.Helper()
	in := map[string]any{"did": c.did, "handle": c.handle, "email": "moved@example.com", "password": "moved-password"}
	there := &client{network: to, t: c.t, did: c.did, handle: c.handle, token: c.serviceToken(to.srv.serviceDID)}
	out := there.post(createAccountNSID, in).ok()
	if out.str("did") != c.did {
		c.t.Fatalf("the account that moves became %s", out.str("did"))
	}
	there.token, there.fresh = out.str("accessJwt"), out.str("refreshJwt")
	return there
}

func (c *client) importCAR(car []byte) *answer {
	return c.do(http.MethodPost, "com.atproto.repo.importRepo", nil, carType, car)
}

func (c *client) exportCAR() []byte {
	c.t.Helper()
	a := c.get("com.atproto.sync.getRepo", "did", c.did)
	a.ok()
	return a.body
}

// plcCode is the code that the mail for a PLC operation would carry.
func (c *client) plcCode() string {
	c.t.Helper()
	code, err := c.srv.accounts.NewCode(c.t.Context(), c.account().ID, account.ForPLCOperation, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return code.Text
}

// takeDID has the old host sign and the new one submit the operation that moves the DID.
func (c *client) takeDID(there *client) {
	c.t.Helper()
	in := there.get("com.atproto.identity.getRecommendedDidCredentials").ok()
	in["token"] = c.plcCode()
	op := c.post("com.atproto.identity.signPlcOperation", in).ok().at("operation")
	there.post("com.atproto.identity.submitPlcOperation", map[string]any{"operation": op}).ok()
}

func (c *client) activate() {
	c.t.Helper()
	c.post("com.atproto.server.activateAccount", nil).ok()
}

func (c *client) deactivate() {
	c.t.Helper()
	c.post("com.atproto.server.deactivateAccount", map[string]any{}).ok()
}

func (c *client) check() {
	c.t.Helper()
	problems, err := c.srv.store.Check(c.t.Context(), 0, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, p := range problems {
		c.t.Error(p)
	}
}

// fill writes posts, and one with a picture.
func (c *client) fill(n int) (picture []byte, ref map[string]any) {
	c.t.Helper()
	for i := range n {
		c.createPost(fmt.Sprint("post ", i))
	}
	picture = png("moves along")
	ref = c.upload("image/png", picture)
	c.create("app.bsky.feed.post", imagePost(ref))
	return picture, ref
}

func recordCIDs(t *testing.T, car []byte) map[string]string {
	t.Helper()
	a, err := repo.ReadArchive(bytes.NewReader(car), bytes.NewReader(car), nil, importLimits())
	if err != nil {
		t.Fatal(err)
	}
	head, err := a.Head()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	err = a.Records(head.Commit.Data, func(r repo.ArchiveRecord) error { all[r.Path] = r.CID.String(); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestMove(t *testing.T) {
	old := startNetwork(t, nil)
	c := old.signUp(t, "alice")
	picture, ref := c.fill(30)
	car := c.exportCAR()
	there := c.arrive(old.neighbour(t))
	seq := there.srv.store.LastSeq()

	if acct := there.account(); acct.Status() != store.StatusDeactivated || acct.DeleteAfter.IsZero() {
		t.Errorf("an account on its way here is %q, to be deleted after %v", acct.Status(), acct.DeleteAfter)
	}
	there.importCAR(car).ok()
	status := there.get("com.atproto.server.checkAccountStatus").ok()
	if status.at("indexedRecords") != 31.0 || status.at("expectedBlobs") != 1.0 || status.at("importedBlobs") != 0.0 || status.at("validDid") != false {
		t.Errorf("status after import: %v", status)
	}
	missing := there.get("com.atproto.repo.listMissingBlobs").ok()
	if missing.str("blobs.0.cid") != object(ref).str("ref.$link") {
		t.Errorf("missing blobs: %v", missing)
	}
	there.upload("image/png", picture)
	if got := there.get("com.atproto.repo.listMissingBlobs").ok(); len(got.at("blobs").([]any)) != 0 {
		t.Errorf("missing blobs after the upload: %v", got)
	}
	rev := there.get("com.atproto.sync.getLatestCommit", "did", c.did).ok().str("rev")
	there.importCAR(car).ok()
	if again := there.get("com.atproto.sync.getLatestCommit", "did", c.did).ok().str("rev"); again != rev {
		t.Errorf("the same import again made rev %s of %s", again, rev)
	}
	if got := there.srv.store.LastSeq(); got != seq {
		t.Error("the network was told of an account that is not here yet")
	}

	c.takeDID(there)
	if there.get("com.atproto.server.checkAccountStatus").ok().at("validDid") != true {
		t.Error("the DID is not that of the new host")
	}
	there.wantEvents(t, there.activate, "account active", "identity", "sync")
	c.deactivate()
	if there.signingKey().DIDKey() != there.account().SigningKeyDID {
		t.Error("the DID document does not have the account's key")
	}
	there.wantEvents(t, func() { there.createPost("first at the new host") }, "commit")

	want, got := recordCIDs(t, car), recordCIDs(t, there.exportCAR())
	if len(got) != len(want)+1 {
		t.Errorf("%d records, want %d", len(got), len(want)+1)
	}
	for path, c := range want {
		if got[path] != c {
			t.Errorf("%s: %s, want %s", path, got[path], c)
		}
	}
	if a := there.get("com.atproto.sync.getBlob", "did", c.did, "cid", object(ref).str("ref.$link")); !bytes.Equal(a.body, picture) {
		t.Errorf("blob: %d %q", a.status, a.body)
	}
	there.check()
	c.check()
	if left, _ := os.ReadDir(there.srv.imports.dir); len(left) != 0 {
		t.Errorf("files left: %v", left)
	}
}

// Who comes back to a host finds the old account there, signs in to it, and brings what is new.
func TestMoveBack(t *testing.T) {
	old := startNetwork(t, nil)
	c := old.signUp(t, "alice")
	c.fill(5)
	there := c.arrive(old.neighbour(t))
	there.importCAR(c.exportCAR()).ok()
	c.takeDID(there)
	there.activate()
	c.deactivate()
	there.createPost("written while away")

	c.importCAR(there.exportCAR()).ok()
	there.takeDID(c)
	c.wantEvents(t, c.activate, "account active", "identity", "sync")
	there.deactivate()
	c.createPost("home again")
	if got := recordCIDs(t, c.exportCAR()); len(got) != 8 {
		t.Errorf("%d records, want 8", len(got))
	}
	c.check()
	there.check()
}

func TestCreateMovingAccountRefusals(t *testing.T) {
	old := startNetwork(t, nil)
	alice, bob := old.signUp(t, "alice"), old.signUp(t, "bob")
	to := old.neighbour(t)
	in := func(did string) map[string]any {
		return map[string]any{"did": did, "handle": "alice.test", "email": "a@example.com", "password": "some-password"}
	}
	with := func(token string, in map[string]any) *answer {
		return (&client{network: to, t: t, token: token}).post(createAccountNSID, in)
	}
	with("", in(alice.did)).fails(401, "AuthenticationRequired")
	with(bob.serviceToken(to.srv.serviceDID), in(alice.did)).fails(401, "AuthenticationRequired")
	with(alice.token, in(alice.did)).fails(401, "BadJwtType")
	with(alice.get("com.atproto.server.getServiceAuth", "aud", "did:web:localhost", "lxm", "com.atproto.repo.uploadBlob").ok().str("token"), in(alice.did)).fails(401, "BadJwtLexiconMethod")
	with(alice.serviceToken("did:web:elsewhere.example"), in(alice.did)).fails(401, "BadJwtAudience")
	noPassword := in(alice.did)
	noPassword["password"] = "short"
	with(alice.serviceToken(to.srv.serviceDID), noPassword).fails(400, "InvalidPassword")
	foreign := in(alice.did)
	foreign["handle"] = "alice.example.com"
	with(alice.serviceToken(to.srv.serviceDID), foreign).fails(400, "InvalidHandle")
	op := in(alice.did)
	op["plcOp"] = map[string]any{}
	with(alice.serviceToken(to.srv.serviceDID), op).fails(400, "InvalidRequest")
	token := alice.serviceToken(to.srv.serviceDID)
	with(token, in(alice.did)).ok()
	with(token, in(alice.did)).fails(401, "BadJwt") // used
	with(alice.serviceToken(to.srv.serviceDID), in(alice.did)).fails(400, "InvalidRequest")
}

func TestReservedSigningKeyIsUsed(t *testing.T) {
	old := startNetwork(t, nil)
	c := old.signUp(t, "alice")
	to := old.neighbour(t)
	key := to.anonymous(t).post("com.atproto.server.reserveSigningKey", map[string]any{"did": c.did}).ok().str("signingKey")
	there := c.arrive(to)
	if got := there.account().SigningKeyDID; got != key {
		t.Errorf("the account has %s, reserved was %s", got, key)
	}
}
