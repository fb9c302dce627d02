package pds

import (
	"slices"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/store"
	"perch/repo"
)

func TestAdminChangesSigningKey(t *testing.T) {
	n := startNetwork(t, nil)
	c, admin := n.signUp(t, "alice"), n.anonymous(t)
	c.createPost("before")
	did := syntax.DID(c.did)
	rekey := func(key string) *answer {
		return admin.admin("com.atproto.admin.updateAccountSigningKey", map[string]any{"did": c.did, "signingKey": key})
	}
	rekey("did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme").fails(400, "InvalidRequest") // whose private half is elsewhere
	rekey("did:key:nonsense").fails(400, "InvalidRequest")
	rekey("did:web:example.com").fails(400, "InvalidRequest")
	if c.signingKey().DIDKey() != c.account().SigningKeyDID {
		t.Fatal("a refused key came into the DID document")
	}
	for _, reservedFor := range []syntax.DID{did, ""} {
		key, err := n.srv.accounts.ReserveSigningKey(reservedFor)
		if err != nil {
			t.Fatal(err)
		}
		before, err := n.srv.plc.Last(t.Context(), did)
		if err != nil {
			t.Fatal(err)
		}
		n.wantEvents(t, func() { rekey(key).ok() }, "identity", "sync")
		after, err := n.srv.plc.Last(t.Context(), did)
		if err != nil || !slices.Equal(after.RotationKeys, before.RotationKeys) || !slices.Equal(after.AlsoKnownAs, before.AlsoKnownAs) {
			t.Errorf("the DID lost something: %+v, %v", after, err)
		}
		if got := c.signingKey().DIDKey(); got != key || c.account().SigningKeyDID != key {
			t.Errorf("the document has %s, the account %s, want %s", got, c.account().SigningKeyDID, key)
		}
		head, _, err := n.srv.store.Head(t.Context(), c.account().ID)
		if err != nil || head.Commit.Verify(c.signingKey()) != nil {
			t.Errorf("the head is not signed with the new key (%v)", err)
		}
		c.createPost("after")
		if proof := c.get("com.atproto.sync.getRepo", "did", c.did); proof.status != 200 {
			t.Errorf("getRepo: %s", proof.body)
		}
		rekey(key).ok() // may be repeated
	}
	if problems, err := n.srv.store.Check(t.Context(), 0, nil); err != nil || len(problems) != 0 {
		t.Errorf("check: %v, %v", problems, err)
	}
}

// A request that took the old key before the change must not put a commit of it on top.
func TestOldKeyIsRefused(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	old := c.account()
	key, err := n.srv.accounts.ReserveSigningKey("")
	if err != nil {
		t.Fatal(err)
	}
	c.admin("com.atproto.admin.updateAccountSigningKey", map[string]any{"did": c.did, "signingKey": key}).ok()
	w := repo.Write{Action: repo.Create, Collection: postCollection, RKey: "3jzfcijpj2z2a", CID: repo.CIDOf([]byte{0xa0}), Record: []byte{0xa0}}
	if _, err := n.srv.commitOnce(t.Context(), old, nil, []repo.Write{w}); err == nil || !strings.Contains(err.Error(), store.ErrKeyChanged.Error()) {
		t.Errorf("commit with the old key: %v", err)
	}
	if _, err := n.srv.commit(t.Context(), old, nil, w); err != nil {
		t.Error(err)
	}
	head, _, err := n.srv.store.Head(t.Context(), old.ID)
	if err != nil || head.Commit.Verify(c.signingKey()) != nil {
		t.Errorf("the head is not signed with the new key (%v)", err)
	}
}
