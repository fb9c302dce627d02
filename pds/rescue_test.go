package pds

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/store"
)

// operatorCall is a request with the admin password.
func (n *network) operatorCall(t *testing.T, path, kind string, body []byte) *answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	req.SetBasicAuth("admin", "admin-pass")
	return n.anonymous(t).send(req, path)
}

func (n *network) operatorJSON(t *testing.T, path string, in any) *answer {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	return n.operatorCall(t, path, "application/json", body)
}

// importArchive has an account made of an archive, as the command line does. A refusal is its name.
func (n *network) importArchive(t *testing.T, archive []byte, in RescueRequest) (*Rescued, error) {
	t.Helper()
	in.File = n.operatorCall(t, RescueUploadPath, "application/zip", archive).ok().str("file")
	if in.Password == "" {
		in.Password = "new-password"
	}
	a := n.operatorJSON(t, RescuePath, in)
	if a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	var last RescueLine
	for line := range bytes.Lines(a.body) {
		last = RescueLine{}
		if err := json.Unmarshal(line, &last); err != nil {
			t.Fatal(err)
		}
	}
	if last.Error != "" {
		return nil, errors.New(last.Error + ": " + last.Message)
	}
	if left, _ := os.ReadDir(n.srv.imports.dir); len(left) > 0 {
		t.Errorf("left in the folder of imports: %v", left)
	}
	return last.Result, nil
}

func (n *network) mustImport(t *testing.T, archive []byte, in RescueRequest) *Rescued {
	t.Helper()
	out, err := n.importArchive(t, archive, in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// archive is what `perch account export` writes.
func (c *client) archive() []byte {
	c.t.Helper()
	a := c.exportAccount(c.did, "admin-pass")
	a.ok()
	return a.body
}

// lost deletes the account, and all that is left of it.
func (c *client) lost() {
	c.t.Helper()
	acct := c.account()
	if err := c.srv.endAccount(c.t.Context(), acct); err != nil {
		c.t.Fatal(err)
	}
}

// rescuable makes an account with something in it.
func (n *network) rescuable(t *testing.T) *client {
	t.Helper()
	c := n.signUp(t, "alice")
	c.fill(12)
	c.post("app.bsky.actor.putPreferences", map[string]any{"preferences": []any{
		map[string]any{"$type": "app.bsky.actor.defs#personalDetailsPref", "birthDate": "1980-01-02T00:00:00.000Z"},
	}}).ok()
	return c
}

// wantRescued checks that the account is at n with everything that car holds, and works.
func (c *client) wantRescued(n *network, car []byte, password string) *client {
	c.t.Helper()
	there := &client{network: n, t: c.t, did: c.did, handle: c.handle}
	out := signIn(there, c.did, password).ok()
	there.token = out.str("accessJwt")
	there.wantRecords(car)
	there.wantEvents(c.t, func() { there.createPost("first after the rescue") }, "commit")
	there.check()
	return there
}

// An account that was deleted comes back on its own server: the DID names it already, and has its rotation key.
func TestRescueOnTheSameServer(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.rescuable(t)
	archive, car := c.archive(), c.exportCAR()
	before := c.account().SigningKeyDID
	if _, err := n.importArchive(t, archive, RescueRequest{}); err == nil || !strings.HasPrefix(err.Error(), "LivesHere") {
		t.Fatalf("over an account that lives here: %v", err)
	}
	c.lost()
	c.wantEvents(t, func() {
		out := n.mustImport(t, archive, RescueRequest{})
		if out.Needs != RescueNeedsNothing || out.Records != 13 || out.Blobs != 1 || out.MissingCount != 0 || out.Handle != "alice.test" {
			t.Errorf("%+v", out)
		}
	}, "account active", "identity", "sync")
	there := c.wantRescued(n, car, "new-password")
	if there.account().SigningKeyDID == before {
		t.Error("the signing key is the old one")
	}
	if got := there.get("app.bsky.actor.getPreferences").ok(); got.str("preferences.0.birthDate") == "" {
		t.Errorf("preferences: %v", got)
	}
	// Once more: nothing changes, not even the password.
	out := n.mustImport(t, archive, RescueRequest{Password: "another-password"})
	if !out.PasswordKept || out.Needs != RescueNeedsNothing || out.Records != 14 {
		t.Errorf("again: %+v", out)
	}
	signIn(there, c.did, "new-password").ok()
}

// ownersKey puts a rotation key into the DID that only its owner has.
func (c *client) ownersKey() atcrypto.PrivateKeyExportable {
	c.t.Helper()
	key, err := atcrypto.GeneratePrivateKeyP256()
	if err != nil {
		c.t.Fatal(err)
	}
	pub, err := key.PublicKey()
	if err == nil {
		err = c.srv.updateDID(c.t.Context(), syntax.DID(c.did), func(op *plc.Operation) {
			op.RotationKeys = append([]string{pub.DIDKey()}, op.RotationKeys...)
		})
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return key
}

// moveWithKey does what the command line does with the owner's rotation key.
func (n *network) moveWithKey(t *testing.T, did, private string) *answer {
	t.Helper()
	signers, err := RotationKeyDIDs(private)
	if err != nil {
		t.Fatal(err)
	}
	a := n.operatorJSON(t, RescueDIDPath, RescueDIDRequest{DID: syntax.DID(did), Signers: signers})
	if a.status != http.StatusOK {
		return a
	}
	var proposed RescueDIDAnswer
	if err := json.Unmarshal(a.body, &proposed); err != nil {
		t.Fatal(err)
	}
	signed, err := SignOperation(proposed.Operation, proposed.Signer, private)
	if err != nil {
		t.Fatal(err)
	}
	return n.operatorJSON(t, RescueDIDPath, RescueDIDRequest{DID: syntax.DID(did), Operation: signed})
}

// The old host is gone; the owner has a rotation key.
func TestRescueWithARotationKey(t *testing.T) {
	old := startNetwork(t, nil)
	c := old.rescuable(t)
	key := c.ownersKey()
	archive, car, host := c.archive(), c.exportCAR(), old.srv.cfg.PublicURL()
	old.stop()
	n := &network{t: t, dir: t.TempDir(), plc: old.plc}
	n.start(nil)
	if _, err := n.importArchive(t, archive, RescueRequest{Signers: []string{"did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv"}}); err == nil ||
		!strings.HasPrefix(err.Error(), "InvalidRotationKey") {
		t.Fatalf("another key: %v", err)
	}
	n.wantNoAccount(t, c.did)
	out := n.mustImport(t, archive, RescueRequest{})
	if out.Needs != RescueNeedsOperation || out.Host != host || len(out.Keys) != 2 {
		t.Fatalf("%+v", out)
	}
	if last, _ := n.srv.plc.Last(t.Context(), syntax.DID(c.did)); last.Services["atproto_pds"].Endpoint != host {
		t.Fatal("the DID was touched")
	}
	if n.srv.store.LastSeq() != 0 {
		t.Error("the network was told of an account that is not here yet")
	}
	stranger, err := atcrypto.GeneratePrivateKeyP256()
	if err != nil {
		t.Fatal(err)
	}
	n.moveWithKey(t, c.did, stranger.Multibase()).fails(400, "InvalidRotationKey")
	n.forgedOperation(t, c.did, key, stranger).fails(400, "InvalidRotationKey")
	n.moveWithKey(t, c.did, key.Multibase()).ok()
	c.wantRescued(n, car, "new-password")
	last, err := n.srv.plc.Last(t.Context(), syntax.DID(c.did))
	own, _ := n.srv.rotationKeyDID()
	pub, _ := key.PublicKey()
	if err != nil || !slices.Equal(last.RotationKeys, []string{pub.DIDKey(), own}) || last.Services["atproto_pds"].Endpoint != n.srv.cfg.PublicURL() {
		t.Errorf("%+v, %v", last, err)
	}
}

// forgedOperation is the right operation with the signature of somebody else.
func (n *network) forgedOperation(t *testing.T, did string, key, other atcrypto.PrivateKeyExportable) *answer {
	t.Helper()
	pub, _ := key.PublicKey()
	a := n.operatorJSON(t, RescueDIDPath, RescueDIDRequest{DID: syntax.DID(did), Signers: []string{pub.DIDKey()}})
	var op plc.Operation
	if err := json.Unmarshal(a.body, &struct{ Operation *plc.Operation }{&op}); err != nil {
		t.Fatal(err)
	}
	op, err := plc.Sign(op, other)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(op)
	return n.operatorJSON(t, RescueDIDPath, RescueDIDRequest{DID: syntax.DID(did), Operation: text})
}

func (n *network) wantNoAccount(t *testing.T, did string) {
	t.Helper()
	if acct, err := n.srv.store.AccountByDID(t.Context(), syntax.DID(did)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("there is an account %d, deleted %v: %v", acct.ID, acct.DeletedAt, err)
	}
	if left, _ := os.ReadDir(n.srv.imports.dir); len(left) > 0 {
		t.Errorf("left in the folder of imports: %v", left)
	}
}

// Neither is the case: the account waits for its owner, who moves the DID with the standard calls and activates it.
func TestRescueWaitsForTheOwner(t *testing.T) {
	old := startNetwork(t, nil)
	c := old.rescuable(t)
	archive, car := c.archive(), c.exportCAR()
	n := old.neighbour(t)
	out := n.mustImport(t, archive, RescueRequest{Handle: "alicia.test", Email: "other@example.com"})
	if out.Needs != RescueNeedsOperation || out.Handle != "alicia.test" || out.Email != "other@example.com" {
		t.Fatalf("%+v", out)
	}
	there := &client{network: n, t: t, did: c.did, handle: "alicia.test"}
	if acct := there.account(); acct.Status() != store.StatusDeactivated || !acct.DeleteAfter.IsZero() {
		t.Errorf("%q, deleted after %v", acct.Status(), acct.DeleteAfter)
	}
	there.token = signIn(there, c.did, "new-password").ok().str("accessJwt")
	c.takeDID(there)
	there.activate()
	c.wantRescued(n, car, "new-password")
}

// What the archive says of the account's state is kept.
func TestRescueKeepsTheState(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.rescuable(t)
	c.deactivate()
	archive := c.archive()
	c.lost()
	if out := n.mustImport(t, archive, RescueRequest{}); out.Needs != RescueNeedsActivate || c.account().Status() != store.StatusDeactivated {
		t.Errorf("%+v", out)
	}
	c.token = signIn(c, c.did, "new-password").ok().str("accessJwt")
	c.activate()
	acct := c.account()
	if err := n.srv.accounts.Takedown(t.Context(), acct.ID, "case-1", tellStatus(t.Context())); err != nil {
		t.Fatal(err)
	}
	archive = c.archive()
	c.lost()
	c.wantEvents(t, func() { n.mustImport(t, archive, RescueRequest{}) }, "account takendown")
	if got := c.account().Status(); got != store.StatusTakendown {
		t.Errorf("an account that was taken down is %q", got)
	}
	if err := n.srv.setAccountTakedown(t.Context(), c.account().ID, ""); err != nil || !c.account().Active() {
		t.Errorf("restored: %v", err)
	}
}
