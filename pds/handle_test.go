package pds

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
)

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
