package pds

import (
	"encoding/json"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
)

// Of two changes at a time the DID could get one name and the database the other.
func TestOneChangeOfAHandleAtATime(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	_, release, err := n.srv.accounts.HoldHandle(t.Context(), c.account(), "carol.test", false)
	if err != nil {
		t.Fatal(err)
	}
	rename := func(h string) *answer {
		return c.post("com.atproto.identity.updateHandle", map[string]any{"handle": h})
	}
	rename("dave.test").fails(409, "InvalidRequest")
	c.admin("com.atproto.admin.updateAccountHandle", map[string]any{"did": c.did, "handle": "dave.test"}).fails(409, "InvalidRequest")
	payload, _ := json.Marshal(handleJob{Account: c.account().ID, DID: syntax.DID(c.did), Handle: "carol.test"})
	if n.srv.finishHandle(t.Context(), string(payload)) == nil {
		t.Error("the job did not wait for the change that is under way")
	}
	release()
	rename("dave.test").ok()
	c.handle = "dave.test"
	c.check()
}

// The process ended when the DID had the new name already, and before the job came somebody signed up with it.
func TestNameTakenBeforeTheHandleIsFinished(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	payload, _ := json.Marshal(handleJob{Account: c.account().ID, DID: syntax.DID(c.did), Handle: "carol.test"})
	if err := n.srv.updateDID(t.Context(), syntax.DID(c.did), func(op *plc.Operation) { op.SetHandle("carol.test") }); err != nil {
		t.Fatal(err)
	}
	carol := n.signUp(t, "carol")
	n.wantEvents(t, func() {
		if err := n.srv.finishHandle(t.Context(), string(payload)); err != nil {
			t.Fatal(err)
		}
	})
	if op := c.lastOp(); op.AlsoKnownAs[0] != "at://alice.test" {
		t.Errorf("the DID claims %v, which is %s's", op.AlsoKnownAs, carol.did)
	}
	c.check()
}
