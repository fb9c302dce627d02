package pds

import (
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/store"
)

func TestDeactivateAndComeBack(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	post := alice.createPost("hello")
	n.wantEvents(t, func() { alice.post(deactivateNSID, map[string]any{}).ok() }, "account deactivated")
	n.wantEvents(t, func() { alice.post(deactivateNSID, map[string]any{}).ok() }) // nothing new
	if out := alice.get(getSession).ok(); out.at("active") != false || out.str("status") != "deactivated" {
		t.Errorf("%v", out)
	}
	alice.post("com.atproto.repo.createRecord", map[string]any{"repo": alice.did, "collection": postCollection, "record": postRecord("x")}).fails(401, "AccountDeactivated")
	n.anonymous(t).get("com.atproto.sync.getRepo", "did", alice.did).fails(400, "RepoDeactivated")
	if alice.get("com.atproto.sync.getRepo", "did", alice.did).status != 200 {
		t.Error("the owner cannot take the repository along")
	}
	signIn(n.anonymous(t), alice.handle, "alice-password").ok()
	n.wantEvents(t, func() { alice.post(activateNSID, nil).ok() }, "account active", "identity", "sync")
	if head := alice.get("com.atproto.sync.getLatestCommit", "did", alice.did).ok(); head.str("rev") != post.str("commit.rev") {
		t.Errorf("head %v after coming back, want the one of the last post %v", head, post.str("commit.rev"))
	}
	n.wantEvents(t, func() { alice.post(activateNSID, nil).ok() }, "account active", "identity", "sync") // tells relays once more
	alice.createPost("back")
	n.checkAll(t)
}

// checkAll verifies everything that is stored.
func (n *network) checkAll(t *testing.T) {
	t.Helper()
	if problems, err := n.srv.store.Check(t.Context(), 0, nil); err != nil || len(problems) > 0 {
		t.Errorf("check: %v %v", problems, err)
	}
}

func TestActivationLooksAtTheDIDDocument(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	alice.post(deactivateNSID, map[string]any{}).ok()
	good := alice.account().SigningKeyDID
	elsewhere, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		t.Fatal(err)
	}
	other, err := elsewhere.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	change := func(fn func(*plc.Operation)) {
		t.Helper()
		if err := n.srv.updateDID(t.Context(), syntax.DID(alice.did), fn); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(what string) {
		t.Helper()
		n.wantEvents(t, func() { alice.post(activateNSID, nil).fails(400, "InvalidRequest") })
		if alice.account().Active() {
			t.Errorf("activated with %s", what)
		}
	}
	change(func(op *plc.Operation) { op.SetPDS("https://other.example.com") })
	refused("another server in the document")
	change(func(op *plc.Operation) { op.SetPDS(n.srv.cfg.PublicURL()); op.SetSigningKey(other.DIDKey()) })
	refused("another key in the document")
	change(func(op *plc.Operation) { op.SetSigningKey(good) })
	alice.post(activateNSID, nil).ok()
}

func TestActivationSignsAnew(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	old := alice.createPost("before")
	alice.post(deactivateNSID, map[string]any{}).ok()

	// As after a move: the account has a new key, in the document too, and the head is signed with the old one.
	key, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		t.Fatal(err)
	}
	acct := alice.account()
	err = n.srv.store.Update(t.Context(), func(tx *store.Tx) error { return n.srv.accounts.SetSigningKey(t.Context(), tx, acct, key) })
	if err != nil {
		t.Fatal(err)
	}
	public := alice.account().SigningKeyDID
	if err := n.srv.updateDID(t.Context(), syntax.DID(alice.did), func(op *plc.Operation) { op.SetSigningKey(public) }); err != nil {
		t.Fatal(err)
	}
	n.wantEvents(t, func() { alice.post(activateNSID, nil).ok() }, "account active", "identity", "sync")
	head, _, err := n.srv.store.Head(t.Context(), acct.ID)
	if err != nil || head.Commit.Verify(alice.signingKey()) != nil || head.Commit.Rev.String() <= old.str("commit.rev") {
		t.Errorf("head %+v is not one of the new key (%v)", head.Commit, err)
	}
	alice.createPost("after")
	n.checkAll(t)
}

func TestActivationWithoutARepository(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	alice.post(deactivateNSID, map[string]any{}).ok()
	if err := n.srv.store.DeleteRepo(t.Context(), alice.account().ID); err != nil {
		t.Fatal(err)
	}
	alice.post(activateNSID, nil).fails(400, "RepoNotFound")
	if alice.account().Active() {
		t.Error("activated without a repository")
	}
}

func TestReserveSigningKey(t *testing.T) {
	n := startNetwork(t, nil)
	anyone := n.anonymous(t)
	reserve := func(in map[string]any) string {
		t.Helper()
		key := anyone.post("com.atproto.server.reserveSigningKey", in).ok().str("signingKey")
		if _, err := atcrypto.ParsePublicDIDKey(key); err != nil {
			t.Errorf("%q: %v", key, err)
		}
		return key
	}
	const did = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
	if reserve(map[string]any{}) == reserve(map[string]any{}) {
		t.Error("two people get the same key")
	}
	if reserve(map[string]any{"did": did}) != reserve(map[string]any{"did": did}) {
		t.Error("a DID gets another key each time")
	}
	anyone.post("com.atproto.server.reserveSigningKey", map[string]any{"did": "nonsense"}).fails(400, "InvalidRequest")
}
