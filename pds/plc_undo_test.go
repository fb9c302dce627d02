package pds

import (
	"bytes"
	"encoding/hex"
	"slices"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/store"
)

func (c *client) undo(in UndoRequest) *answer {
	c.t.Helper()
	in.Account = c.did
	return c.operate(c.t, UndoPath, in)
}

// steal changes everything about the client's DID.
func (c *client) steal(key plc.Signer) {
	c.t.Helper()
	thief := newKeyPair(c.t)
	c.strange(key, func(op *plc.Operation) {
		op.SetHandle("mallory.example")
		op.SetPDS("https://evil.example")
		op.SetSigningKey(thief.did)
		op.RotationKeys = []string{thief.did}
	})
}

// wantHome expects that the DID says what the server knows of the account.
func (c *client) wantHome() {
	c.t.Helper()
	op, acct := c.lastOp(), c.account()
	if op.AlsoKnownAs[0] != "at://"+acct.Handle.String() || op.Services[plc.PDSServiceName].Endpoint != c.srv.cfg.PublicURL() ||
		op.VerificationMethods[plc.SigningKeyName] != acct.SigningKeyDID || !acct.Active() {
		c.t.Errorf("the DID says %+v, the account is %s, %s, %q", op, acct.Handle, acct.SigningKeyDID, acct.Status())
	}
	c.createPost("home again")
}

func TestUndoWithTheServersKey(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	weak := newKeyPair(t)
	if err := n.srv.updateDID(t.Context(), syntax.DID(c.did), func(op *plc.Operation) { op.RotationKeys = append(op.RotationKeys, weak.did) }); err != nil {
		t.Fatal(err)
	}
	c.undo(UndoRequest{}).fails(400, "NothingToUndo")
	c.steal(weak)
	plan := decode[UndoAnswer](c.undo(UndoRequest{DryRun: true}))
	if plan.Done || plan.Signer != weak.did || len(plan.Above) != 1 || plan.Above[0].Holder != HolderServer || time.Until(plan.UndoUntil) < 71*time.Hour {
		t.Errorf("%+v", plan)
	}
	n.wantEvents(t, func() { c.undo(UndoRequest{DropKey: true}).ok() }, "identity")
	c.wantHome()
	if own, _ := n.srv.rotationKeyDID(); !slices.Equal(c.lastOp().RotationKeys, []string{own}) {
		t.Errorf("rotation keys %v", c.lastOp().RotationKeys)
	}
	if got := c.alerts(true); len(got) != 1 || got[0].State != store.AlertNullified {
		t.Errorf("%+v", got)
	}
	c.look()
	c.undo(UndoRequest{}).fails(400, "NothingToUndo")
	if doc, err := n.srv.identity.ResolveDID(t.Context(), syntax.DID(c.did)); err != nil || !bytes.Contains(doc.Raw, []byte(n.srv.cfg.PublicURL())) {
		t.Errorf("%v", err)
	}
}

func TestUndoWithTheOwnersKey(t *testing.T) {
	for _, form := range []string{"multibase", "hex"} {
		n := startNetwork(t, nil)
		c := n.signUp(t, "alice")
		owner, other := c.addKey(), newKeyPair(t)
		text := map[string]string{"multibase": owner.Multibase(), "hex": hex.EncodeToString(owner.Bytes()) + "\n"}[form]
		c.steal(n.srv.rotationKey) // somebody has got at the server's key
		c.deactivate()             // and at a session
		c.undo(UndoRequest{}).fails(400, "UndoNeedsKey")
		c.undo(UndoRequest{RotationKey: "not a key"}).fails(400, "UndoNeedsKey")
		c.undo(UndoRequest{RotationKey: other.Multibase()}).fails(400, "UndoNeedsKey")
		c.undo(UndoRequest{RotationKey: text, DropKey: true}).fails(400, "InvalidRequest") // the server's own
		c.undo(UndoRequest{RotationKey: text, Operation: "bafyreia"}).fails(400, "NothingToUndo")
		n.wantEvents(t, func() { c.undo(UndoRequest{RotationKey: text}).ok() }, "account active", "identity", "sync")
		c.wantHome()
		if !slices.Contains(c.lastOp().RotationKeys, owner.did) {
			t.Error("the owner's key is lost")
		}
		c.check()
	}
}

func TestUndoOfATombstone(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	owner := c.addKey()
	prev, err := c.lastOp().CID()
	if err != nil {
		t.Fatal(err)
	}
	op, err := plc.Sign(plc.Tombstone(prev), n.srv.rotationKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.srv.plc.Submit(t.Context(), syntax.DID(c.did), op); err != nil {
		t.Fatal(err)
	}
	c.look()
	if got := c.alerts(false); len(got) != 1 || got[0].Kind != AlertEnded {
		t.Fatalf("%+v", got)
	}
	c.undo(UndoRequest{RotationKey: owner.Multibase()}).ok()
	c.wantHome()
}

func TestUndoThatIsImpossible(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	c.steal(c.addKey()) // nothing stands above the owner's
	c.undo(UndoRequest{}).fails(400, "UndoImpossible")
	if plan := decode[UndoAnswer](c.undo(UndoRequest{DryRun: true})); len(plan.Above) != 0 {
		t.Errorf("%+v", plan)
	}

	// Exactly the strange operations of the last 72 hours.
	n.plcOffset.Store(int64(-100 * time.Hour))
	bob := n.signUp(t, "bob")
	owner := bob.addKey()
	n.plcOffset.Store(int64(-plc.RecoveryWindow - time.Minute))
	bob.strange(n.srv.rotationKey, func(op *plc.Operation) { op.SetHandle("bobby.example") })
	bob.undo(UndoRequest{RotationKey: owner.Multibase()}).fails(400, "UndoTooLate")
	n.plcOffset.Store(0)
	bob.steal(n.srv.rotationKey)
	decode[UndoAnswer](bob.undo(UndoRequest{RotationKey: owner.Multibase()}))
	bob.wantHome()
	if n := len(bob.alerts(false)); n != 1 {
		t.Errorf("%d alerts are open, want the one that came too late", n)
	}
}

func TestUndoIsTheOperators(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	for _, path := range []string{UndoPath, AlertsPath, DIDWebPath} {
		req := c.jsonRequest("x", map[string]any{"account": c.did})
		req.URL.Path = path
		req.Header.Set("Authorization", "Bearer "+c.token)
		c.send(req, path).fails(401, "AuthenticationRequired")
	}
}
