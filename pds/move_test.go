package pds

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/account"
	"perch/pds/auth"
	"perch/pds/store"
	"perch/repo"
	"perch/repo/mst"
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

// resigned is the account's repository with another commit on top, signed by key, with its blocks as change leaves them.
func resigned(t *testing.T, car []byte, key repo.Signer, change func(c *repo.Commit, blocks map[string][]byte)) []byte {
	t.Helper()
	blocks := map[string][]byte{}
	roots, err := repo.ReadCAR(bytes.NewReader(car), repo.CARLimits{Header: 4096, Block: 1 << 20, Blocks: 1 << 20, Total: 1 << 30}, func(b repo.Block) error {
		blocks[b.CID.String()] = b.Data
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	commit, err := repo.ParseCommit(blocks[roots[0].String()])
	if err != nil {
		t.Fatal(err)
	}
	change(&commit, blocks)
	head, err := repo.SignCommit(commit, key)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := repo.NewCARWriter(&out, head.CID)
	if err == nil {
		err = w.Put(head.CID, head.Block)
	}
	for _, data := range blocks {
		if err == nil {
			err = w.Put(repo.CIDOf(data), data)
		}
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// manyPaths puts one record at n paths in the place of what a repository has.
func manyPaths(t *testing.T, n int, body []byte) func(*repo.Commit, map[string][]byte) {
	return func(commit *repo.Commit, blocks map[string][]byte) {
		t.Helper()
		clear(blocks)
		tree, err := mst.Empty(), error(nil)
		for i := range n {
			if tree, _, err = tree.Put(nil, fmt.Sprintf("app.bsky.feed.post/%04d", i), repo.CIDOf(body)); err != nil {
				t.Fatal(err)
			}
		}
		commit.Data = tree.Root()
		blocks["record"] = body
		for _, b := range tree.NewBlocks() {
			blocks[b.CID.String()] = b.Data
		}
	}
}

func TestImportRefusals(t *testing.T) {
	old := startNetwork(t, nil)
	c := old.signUp(t, "alice")
	c.fill(20)
	bob := old.signUp(t, "bob")
	bob.fill(2)
	there := c.arrive(old.neighbour(t))
	car := c.exportCAR()
	there.importCAR(car).ok()
	before := there.exportCAR()
	key, err := c.srv.accounts.SigningKey(c.account())
	if err != nil {
		t.Fatal(err)
	}
	stranger, _ := atcrypto.GeneratePrivateKeyK256()
	same := func(*repo.Commit, map[string][]byte) {}
	oneRecord := func(path string, body []byte) func(*repo.Commit, map[string][]byte) {
		return func(commit *repo.Commit, blocks map[string][]byte) {
			tree, _, err := mst.Empty().Put(nil, path, repo.CIDOf(body))
			if err != nil {
				t.Fatal(err)
			}
			commit.Data = tree.Root()
			blocks["record"] = body
			for _, b := range tree.NewBlocks() {
				blocks[b.CID.String()] = b.Data
			}
		}
	}
	for _, tt := range []struct {
		what string
		car  []byte
		name string
	}{
		{"another account's", bob.exportCAR(), "InvalidCommit"},
		{"a stranger's signature", resigned(t, car, stranger, same), "InvalidSignature"},
		{"cut short", car[:len(car)-5], "InvalidCar"},
		{"HTML", []byte("<html>"), "InvalidCar"},
		{"no tree", resigned(t, car, key, func(commit *repo.Commit, blocks map[string][]byte) {
			oneRecord("app.bsky.feed.post/a", []byte{0xa0})(commit, blocks)
			delete(blocks, commit.Data.String())
		}), "MissingBlock"},
		{"a commit as tree", resigned(t, car, key, func(commit *repo.Commit, blocks map[string][]byte) {
			commit.Data = repo.CIDOf([]byte{0xa0})
			blocks["x"] = []byte{0xa0}
		}), "InvalidTree"},
		{"a float", resigned(t, car, key, oneRecord("app.bsky.feed.post/a", []byte{0xa1, 0x61, 'a', 0xfb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0})), "InvalidRecord"},
		{"one large record at many paths", resigned(t, car, key, manyPaths(t, 40, append([]byte{0xa1, 0x61, 'a', 0x5a, 0, 0x0e, 0, 0}, make([]byte, 0x0e0000)...))), "InvalidTree"},
		{"a bad path", resigned(t, car, key, oneRecord("nothing/a", []byte{0xa0})), "InvalidRecord"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			there := *there
			there.t = t
			there.importCAR(tt.car).fails(400, tt.name)
			if after := there.exportCAR(); !bytes.Equal(before, after) {
				t.Error("the account is not as it was")
			}
		})
	}
	there.importCAR(resigned(t, car, key, oneRecord("app.bsky.feed.post/a", []byte{0xa0}))).ok() // the helper makes good files too
	if got := recordCIDs(t, there.exportCAR()); len(got) != 1 {
		t.Errorf("records after another import: %v", got)
	}
	there.importCAR(resigned(t, car, key, manyPaths(t, 100, []byte{0xa0}))).ok()
	app := there.post("com.atproto.server.createAppPassword", map[string]any{"name": "x"}).ok().str("password")
	appToken := there.anonymous(t).post("com.atproto.server.createSession", map[string]any{"identifier": c.did, "password": app}).ok().str("accessJwt")
	(&client{network: there.network, t: t, did: c.did, token: appToken}).importCAR(car).fails(400, "InvalidToken")
	there.anonymous(t).importCAR(car).fails(401, "AuthMissing")
	there.do(http.MethodPost, "com.atproto.repo.importRepo", nil, "application/json", car).fails(400, "InvalidRequest")
	there.check()
	if left, _ := os.ReadDir(there.srv.imports.dir); len(left) != 0 {
		t.Errorf("files left: %v", left)
	}
	c.importCAR(car).fails(400, "AccountActive")
}

func TestImportSettings(t *testing.T) {
	old := startNetwork(t, nil)
	c := old.signUp(t, "alice")
	c.fill(3)
	car := c.exportCAR()
	small := &network{t: t, dir: t.TempDir(), plc: old.plc}
	small.start(func(cfg *Config) { cfg.MaxRepoImportSize = int64(len(car)) - 1 })
	c.arrive(small).importCAR(car).fails(413, "PayloadTooLarge")
	closed := &network{t: t, dir: t.TempDir(), plc: old.plc}
	closed.start(func(cfg *Config) { cfg.AcceptingRepoImports = false })
	c.arrive(closed).importCAR(car).fails(400, "InvalidRequest")
}

// A repository that was signed long ago, by a key that the DID has no more, may still come; revs go on rising.
func TestImportOldKey(t *testing.T) {
	old := startNetwork(t, nil)
	c := old.signUp(t, "alice")
	c.fill(3)
	car := c.exportCAR()
	there := c.arrive(old.neighbour(t))
	c.takeDID(there) // the DID has the new host's key now, the file the old host's
	ahead := resigned(t, car, mustKey(t, c), func(commit *repo.Commit, _ map[string][]byte) {
		commit.Rev = repo.NextRev("", time.Now().Add(time.Hour), 5)
	})
	there.importCAR(ahead).ok()
	rev := there.get("com.atproto.sync.getLatestCommit", "did", c.did).ok().str("rev")
	if want := repo.NextRev("", time.Now().Add(59*time.Minute), 5).String(); rev <= want {
		t.Errorf("rev %s is not after that of the import", rev)
	}
	there.activate()
	there.createPost("later")
	there.check()
}

func mustKey(t *testing.T, c *client) atcrypto.PrivateKeyExportable {
	t.Helper()
	key, err := c.srv.accounts.SigningKey(c.account())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// An import that the end of the process cut off goes on by its job.
func TestImportIsFinishedLater(t *testing.T) {
	old := startNetwork(t, nil)
	c := old.signUp(t, "alice")
	c.fill(20)
	car := c.exportCAR()
	there := c.arrive(old.neighbour(t))
	acct := there.account()

	f, err := there.srv.imports.create(acct.ID)
	if err != nil {
		t.Fatal(err)
	}
	archive, err := repo.ReadArchive(io.TeeReader(bytes.NewReader(car), f), f, f.spool, importLimits())
	if err != nil {
		t.Fatal(err)
	}
	imported, err := there.srv.verifyImport(t.Context(), acct, f, archive)
	if err != nil {
		t.Fatal(err)
	}
	head, err := there.srv.headAfterImport(t.Context(), acct, imported.Commit)
	if err != nil {
		t.Fatal(err)
	}
	payload, _ := json.Marshal(importJob{Account: acct.ID, DID: acct.DID, File: f.name, Head: head.Block})
	_, err = there.srv.store.Replace(t.Context(), store.Replacement{
		Name: f.name, Account: acct.ID, DID: acct.DID, Head: *head, JobKind: jobFinishImport, JobPayload: string(payload),
		Records: func(func(store.NewRecord) error) error { return io.ErrClosedPipe },
	})
	if err == nil {
		t.Fatal("half an import succeeded")
	}
	f.close()
	there.get("com.atproto.sync.getRepo", "did", c.did).fails(400, "ImportInProgress")
	if err := there.srv.sweepImportsBefore(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := there.srv.finishImport(t.Context(), string(payload)); err != nil {
		t.Fatal(err)
	}
	if got, want := recordCIDs(t, there.exportCAR()), recordCIDs(t, car); len(got) != len(want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
	there.check()
	if left, _ := os.ReadDir(there.srv.imports.dir); len(left) != 0 {
		t.Errorf("files left: %v", left)
	}
	if err := there.srv.finishImport(t.Context(), string(payload)); err != nil { // once more does nothing
		t.Error(err)
	}
}

func (c *client) lastOp() plc.Operation {
	c.t.Helper()
	op, err := c.srv.plc.Last(c.t.Context(), syntax.DID(c.did))
	if err != nil {
		c.t.Fatal(err)
	}
	return op
}

// ownKey gives the DID a rotation key of its owner's, another alias, and another service, as a labeler has.
func (c *client) ownKey() string {
	c.t.Helper()
	key, _ := atcrypto.GeneratePrivateKeyK256()
	pub, _ := key.PublicKey()
	err := c.srv.updateDID(c.t.Context(), syntax.DID(c.did), func(op *plc.Operation) {
		op.RotationKeys = append([]string{pub.DIDKey()}, op.RotationKeys...)
		op.AlsoKnownAs = append(op.AlsoKnownAs, "https://alice.example.com")
		op.Services["atproto_labeler"] = plc.Service{Type: "AtprotoLabeler", Endpoint: "https://labels.example.com"}
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return pub.DIDKey()
}

func TestMoveKeepsWhatIsTheOwners(t *testing.T) {
	old := startNetwork(t, nil)
	c := old.signUp(t, "alice")
	own := c.ownKey()
	there := c.arrive(old.neighbour(t))
	c.takeDID(there)
	op := there.lastOp()
	server, _ := there.srv.rotationKeyDID()
	if !slices.Equal(op.RotationKeys, []string{own, server}) {
		t.Errorf("rotation keys %v, want the owner's and the new host's", op.RotationKeys)
	}
	if !slices.Contains(op.AlsoKnownAs, "https://alice.example.com") || op.Services["atproto_labeler"].Endpoint == "" {
		t.Errorf("what the owner had put into the DID is gone: %v %v", op.AlsoKnownAs, op.Services)
	}
	creds := there.get("com.atproto.identity.getRecommendedDidCredentials").ok()
	if keys := creds.at("rotationKeys").([]any); len(keys) != 2 || keys[0] != own {
		t.Errorf("recommended keys %v", keys)
	}
}

func TestSignPLCOperationRefusals(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	bob := n.signUp(t, "bob")
	const method = "com.atproto.identity.signPlcOperation"
	c.post(method, map[string]any{}).fails(400, "InvalidRequest")
	c.post(method, map[string]any{"token": "AAAAA-AAAAA"}).fails(400, "InvalidToken")
	c.post(method, map[string]any{"token": bob.plcCode()}).fails(400, "InvalidToken")
	code := c.plcCode()
	c.post(method, map[string]any{"token": code, "rotationKeys": []string{}}).fails(400, "InvalidRequest") // and the code is still good
	c.post(method, map[string]any{"token": code, "rotationKeys": []string{"did:key:nonsense"}}).fails(400, "InvalidRequest")
	c.post(method, map[string]any{"token": code, "alsoKnownAs": []string{"at://new.example.com"}}).ok()
	c.post(method, map[string]any{"token": code}).fails(400, "InvalidToken")
	app := c.post("com.atproto.server.createAppPassword", map[string]any{"name": "x", "privileged": true}).ok().str("password")
	session := n.anonymous(t).post("com.atproto.server.createSession", map[string]any{"identifier": c.handle, "password": app}).ok()
	(&client{network: n, t: t, did: c.did, token: session.str("accessJwt")}).post(method, map[string]any{"token": c.plcCode()}).fails(400, "InvalidToken")
	n.anonymous(t).post(method, map[string]any{"token": code}).fails(401, "AuthMissing")
}

func TestSubmitPLCOperationRefusals(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	const method = "com.atproto.identity.submitPlcOperation"
	last := c.lastOp()
	server, _ := c.srv.rotationKeyDID()
	for name, change := range map[string]func(*plc.Operation){
		"rotation keys": func(op *plc.Operation) {
			op.RotationKeys = []string{"did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme"}
		},
		"endpoint":   func(op *plc.Operation) { op.SetPDS("https://elsewhere.example") },
		"no service": func(op *plc.Operation) { op.Services = nil },
		"service type": func(op *plc.Operation) {
			op.Services[plc.PDSServiceName] = plc.Service{Type: "Other", Endpoint: c.srv.cfg.PublicURL()}
		},
		"signing key": func(op *plc.Operation) { op.SetSigningKey(server) },
		"handle":      func(op *plc.Operation) { op.AlsoKnownAs = []string{"at://other.test"} },
		"no alias":    func(op *plc.Operation) { op.AlsoKnownAs = nil },
		"six keys": func(op *plc.Operation) {
			for range 5 {
				k, _ := atcrypto.GeneratePrivateKeyK256()
				pub, _ := k.PublicKey()
				op.RotationKeys = append(op.RotationKeys, pub.DIDKey())
			}
		},
	} {
		op, err := plc.Update(last, change)
		if err == nil {
			op, err = plc.Sign(op, c.srv.rotationKey)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			(&client{network: n, t: t, token: c.token}).post(method, map[string]any{"operation": op}).fails(400, "InvalidRequest")
		})
	}
	prev, _ := last.CID()
	stone, _ := plc.Sign(plc.Tombstone(prev), c.srv.rotationKey)
	c.post(method, map[string]any{"operation": stone}).fails(400, "InvalidRequest")
	c.post(method, map[string]any{"operation": map[string]any{"type": "nonsense"}}).fails(400, "InvalidRequest")
	stranger, _ := atcrypto.GeneratePrivateKeyK256()
	op, _ := plc.Update(last, func(op *plc.Operation) { op.AlsoKnownAs = append(op.AlsoKnownAs, "https://x.example") })
	forged, _ := plc.Sign(op, stranger)
	c.post(method, map[string]any{"operation": forged}).fails(400, "InvalidRequest")
	if got, _ := c.lastOp().CID(); got != prev {
		t.Error("a refused operation is in the directory")
	}
	good, _ := plc.Sign(op, c.srv.rotationKey)
	n.wantEvents(t, func() { c.post(method, map[string]any{"operation": good}).ok() }, "identity")
}

func TestUpdateHandle(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	bob := n.signUp(t, "bob")
	own := c.ownKey()
	const method = "com.atproto.identity.updateHandle"
	update := func(h string) *answer { return c.post(method, map[string]any{"handle": h}) }
	for h, name := range map[string]string{
		bob.handle: "InvalidRequest", "admin.test": "HandleNotAvailable", "a.test": "InvalidHandle", "too.deep.test": "InvalidHandle",
		"alice.example.com": "InvalidHandle", "handle.invalid": "InvalidHandle", "no handle": "InvalidRequest",
	} {
		update(h).fails(400, name)
	}
	n.wantEvents(t, func() { update("Carol.test").ok() }, "identity")
	op := c.lastOp()
	if op.AlsoKnownAs[0] != "at://carol.test" || !slices.Contains(op.AlsoKnownAs, "https://alice.example.com") || op.RotationKeys[0] != own {
		t.Errorf("the DID after the change: %+v", op)
	}
	if got := c.account().Handle; got != "carol.test" {
		t.Errorf("handle %s", got)
	}
	n.anonymous(t).get("com.atproto.identity.resolveHandle", "handle", "alice.test").fails(400, "HandleNotFound")
	n.wantEvents(t, func() { update("carol.test").ok() }, "identity") // and no operation
	if again := c.lastOp(); again.Prev != op.Prev {
		t.Error("an operation that changes nothing was made")
	}
	bob.post(method, map[string]any{"handle": "alice.test"}).ok() // free at once
	n.anonymous(t).post(method, map[string]any{"handle": "dave.test"}).fails(401, "AuthMissing")
	c.check()

	// The account is deactivated and its DID names another host: it only chooses a name.
	there := c.didMovesTo(n.neighbour(t))
	update("dave.test").fails(400, "InvalidRequest")
	there.post(method, map[string]any{"handle": "erin.test"}).ok()
}

// didMovesTo moves the DID and leaves the account active where it was, as when somebody forgets to deactivate it.
func (c *client) didMovesTo(to *network) *client {
	c.t.Helper()
	c.handle = c.account().Handle.String()
	there := c.arrive(to)
	c.takeDID(there)
	return there
}

func TestMovingAccountChoosesHandle(t *testing.T) {
	old := startNetwork(t, nil)
	c := old.signUp(t, "alice")
	there := c.arrive(old.neighbour(t))
	before, _ := c.lastOp().CID()
	there.wantEvents(t, func() { there.post("com.atproto.identity.updateHandle", map[string]any{"handle": "erin.test"}).ok() })
	if after, _ := c.lastOp().CID(); after != before {
		t.Error("a host that the account is not at yet changed the DID")
	}
	creds := there.get("com.atproto.identity.getRecommendedDidCredentials").ok()
	if creds.str("alsoKnownAs.0") != "at://erin.test" {
		t.Errorf("recommended: %v", creds)
	}
}

// The DID names the new handle and the database does not: the process ended in between. The job mends it.
func TestHandleIsFinishedLater(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	payload, _ := json.Marshal(handleJob{Account: c.account().ID, DID: syntax.DID(c.did), Handle: "carol.test"})
	n.wantEvents(t, func() {
		if err := n.srv.finishHandle(t.Context(), string(payload)); err != nil {
			t.Fatal(err)
		}
	})
	if err := n.srv.updateDID(t.Context(), syntax.DID(c.did), func(op *plc.Operation) { op.SetHandle("carol.test") }); err != nil {
		t.Fatal(err)
	}
	n.wantEvents(t, func() {
		if err := n.srv.finishHandle(t.Context(), string(payload)); err != nil {
			t.Fatal(err)
		}
	}, "identity")
	if got := c.account().Handle; got != "carol.test" {
		t.Errorf("handle %s", got)
	}
}

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
