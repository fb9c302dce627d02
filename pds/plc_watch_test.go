package pds

import (
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/store"
)

// strange changes the client's DID by an operation that the server knows nothing of.
func (c *client) strange(key plc.Signer, change func(*plc.Operation)) plc.Operation {
	c.t.Helper()
	op, err := plc.Update(c.lastOp(), change)
	if err == nil {
		op, err = plc.Sign(op, key)
	}
	if err == nil {
		err = c.srv.plc.Submit(c.t.Context(), syntax.DID(c.did), op)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return op
}

func (c *client) look() {
	c.t.Helper()
	if err := c.srv.lookAtPLC(c.t.Context(), c.account()); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) alerts(all bool) []store.PLCAlert {
	c.t.Helper()
	alerts, err := c.srv.store.PLCAlerts(c.t.Context(), c.account().ID, all, 100)
	if err != nil {
		c.t.Fatal(err)
	}
	return alerts
}

// addKey gives the client a rotation key of its own.
func (c *client) addKey() keyPair {
	c.t.Helper()
	key := newKeyPair(c.t)
	c.rotation(RotationKeyAdd, key.did).ok()
	return key
}

func TestWatcherKnowsTheServersOwnOperations(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	c.look()
	c.addKey()
	c.post("com.atproto.identity.updateHandle", map[string]any{"handle": "alicia.test"}).ok()
	op := c.post("com.atproto.identity.signPlcOperation", map[string]any{"token": c.plcCode(), "alsoKnownAs": []string{"at://alicia.test", "https://alicia.example"}}).ok().at("operation")
	c.post("com.atproto.identity.submitPlcOperation", map[string]any{"operation": op}).ok()
	if err := n.srv.store.Update(t.Context(), func(tx *store.Tx) error { // as if the process had ended between directory and database
		return tx.SetHandle(t.Context(), c.account().ID, "alice.test")
	}); err != nil {
		t.Fatal(err)
	}
	n.stop()
	n.start(nil)
	c.network = n
	c.look()
	c.look()
	if got := c.alerts(true); len(got) != 0 {
		t.Errorf("alerts of our own operations: %v", got)
	}
}

func TestWatcherTellsOwnerAndOperator(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	c := n.signUp(t, "alice")
	key := c.addKey()
	inbox.Next()
	thief := newKeyPair(t)
	c.strange(n.srv.rotationKey, func(op *plc.Operation) {
		op.SetHandle("mallory.example")
		op.SetSigningKey(thief.did)
		op.RotationKeys = []string{thief.did}
	})
	c.look()
	m := inbox.Next()
	if m.Header.Get("Subject") != "The identity of your account was changed" || m.To != "alice@example.com" {
		t.Errorf("%s", m.Header.Get("Subject"))
	}
	for _, part := range []string{
		"handle: mallory.example, before alice.test", "signing key: " + thief.did + ", before", "rotation key added, number 1 of 1: " + thief.did,
		"rotation key removed: " + key.did + " (not this server's)", "(this server's)", "this server knows nothing of it", "Until ",
	} {
		if !strings.Contains(m.Text, part) {
			t.Errorf("the mail does not say %q:\n%s", part, m.Text)
		}
	}
	c.look()
	inbox.Empty()
	alerts := decode[[]Alert](n.operate(t, AlertsPath, AlertsRequest{}))
	if len(alerts) != 1 || alerts[0].Handle != "alice.test" || alerts[0].Kind != AlertChanged || alerts[0].Holder != HolderServer || time.Until(alerts[0].UndoUntil) < 71*time.Hour {
		t.Fatalf("%+v", alerts)
	}
	n.operate(t, AlertsPath, AlertsRequest{Dismiss: true}).fails(400, "InvalidRequest")
	if left := decode[[]Alert](n.operate(t, AlertsPath, AlertsRequest{Account: c.did, Dismiss: true})); len(left) != 0 {
		t.Errorf("%+v", left)
	}
	if all := decode[[]Alert](n.operate(t, AlertsPath, AlertsRequest{All: true})); len(all) != 1 || all[0].State != store.AlertDismissed {
		t.Errorf("%+v", all)
	}
}

func TestWatcherTellsCalmlyOfAMove(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	alice, bob := n.signUp(t, "alice"), n.signUp(t, "bob")
	key := alice.addKey()
	inbox.Next()
	alice.strange(key, func(op *plc.Operation) { op.SetPDS("https://elsewhere.example") })
	// Bob has the server sign the move, with a code, and sends it himself.
	signed := bob.post("com.atproto.identity.signPlcOperation", map[string]any{"token": bob.plcCode(), "services": map[string]any{
		"atproto_pds": map[string]any{"type": "AtprotoPersonalDataServer", "endpoint": "https://elsewhere.example"},
	}}).ok()
	var op plc.Operation
	raw, err := json.Marshal(signed.at("operation"))
	if err == nil {
		err = json.Unmarshal(raw, &op)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := n.srv.plc.Submit(t.Context(), syntax.DID(bob.did), op); err != nil {
		t.Fatal(err)
	}
	for c, how := range map[*client]string{alice: "a recovery key that the account had", bob: "somebody entered a code"} {
		c.look()
		if m := inbox.Next(); m.Header.Get("Subject") != "Your account has moved" || !strings.Contains(m.Text, how) || !strings.Contains(m.Text, "https://elsewhere.example") {
			t.Errorf("%s\n%s", m.Header.Get("Subject"), m.Text)
		}
	}
	// What happens there is none of our business.
	alice.strange(key, func(op *plc.Operation) { op.SetHandle("alice.example") })
	alice.look()
	inbox.Empty()
	if got := alice.alerts(true); len(got) != 1 || got[0].Kind != AlertMoved || got[0].Asked {
		t.Errorf("%+v", got)
	}
	if got := bob.alerts(true); len(got) != 1 || !got[0].Asked {
		t.Errorf("%+v", got)
	}
}

// After the restore of a backup, the server does not remember what it did itself.
func TestWatcherDoesNotFrightenOwnersAfterARestore(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	c := n.signUp(t, "alice")
	c.strange(n.srv.rotationKey, func(op *plc.Operation) { op.SetHandle("alicia.test") })
	c.look()
	inbox.Empty()
	if got := c.alerts(false); len(got) != 1 || got[0].Holder != HolderServer {
		t.Errorf("%+v", got)
	}
}

func TestWatcherLooksWhenADocumentChanges(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	c := n.signUp(t, "alice")
	key := c.addKey()
	inbox.Next()
	if _, err := n.srv.identity.ResolveDID(t.Context(), syntax.DID(c.did)); err != nil {
		t.Fatal(err)
	}
	c.strange(key, func(op *plc.Operation) { op.SetHandle("mallory.example") })
	if _, err := n.srv.identity.Refresh(t.Context(), syntax.DID(c.did)); err != nil {
		t.Fatal(err)
	}
	if m := inbox.Next(); !strings.Contains(m.Text, "mallory.example") {
		t.Errorf("%s", m.Text)
	}
}

func TestWatcherBeginsWithAccountsThatItDoesNotKnow(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	c.strange(n.srv.rotationKey, func(op *plc.Operation) { op.SetHandle("alicia.test") })
	n.stop()
	db, err := sql.Open("sqlite", n.srv.cfg.DatabasePath())
	if err == nil {
		_, err = db.Exec("UPDATE plc_watch SET head = NULL, due_at = 0") // as with an account that was taken over
	}
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	n.start(nil)
	c.network = n
	due, err := n.srv.store.DuePLCLooks(t.Context(), time.Now(), 10)
	if err != nil || !slices.Contains(due, c.account().ID) {
		t.Fatalf("%v %v", due, err)
	}
	if looked, err := n.srv.watchOne(t.Context()); !looked || err != nil {
		t.Fatal(looked, err)
	}
	if got := c.alerts(true); len(got) != 0 {
		t.Errorf("what was there before is no alert: %+v", got)
	}
	if due, err := n.srv.store.DuePLCLooks(t.Context(), time.Now(), 10); err != nil || len(due) != 0 {
		t.Errorf("still due: %v %v", due, err)
	}
	if looked, err := n.srv.watchOne(t.Context()); looked || err != nil {
		t.Error(looked, err)
	}
}

// With a key above the server's, somebody replaces an operation of the server's by another one.
func TestWatcherSeesOurOperationsNullified(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	c := n.signUp(t, "alice")
	key := c.addKey()
	inbox.Next()
	before := c.lastOp()
	c.post("com.atproto.identity.updateHandle", map[string]any{"handle": "alicia.test"}).ok()
	c.look()
	fork, err := plc.Update(before, func(op *plc.Operation) { op.SetHandle("mallory.example") })
	if err == nil {
		fork, err = plc.Sign(fork, key)
	}
	if err == nil {
		err = n.srv.plc.Submit(t.Context(), syntax.DID(c.did), fork)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.look()
	if m := inbox.Next(); !strings.Contains(m.Text, "handle: mallory.example, before alicia.test") {
		t.Errorf("%s", m.Text)
	}
	if got := c.alerts(true); len(got) != 1 || got[0].Holder != HolderOwner || got[0].Kind != AlertChanged {
		t.Errorf("%+v", got)
	}
	c.undo(UndoRequest{}).fails(400, "UndoImpossible")
}

// While the directory does not answer, nothing is lost and nobody's turn passes.
func TestWatcherWaitsForTheDirectory(t *testing.T) {
	f, n := startFlakyPLC(t)
	c := n.signUp(t, "alice")
	key := c.addKey()
	c.look()
	c.strange(key, func(op *plc.Operation) { op.SetHandle("mallory.example") })
	if err := n.srv.store.Update(t.Context(), func(tx *store.Tx) error { return tx.SetPLCHead(t.Context(), c.account().ID, "", time.Now()) }); err != nil {
		t.Fatal(err)
	}
	f.down.Store(true)
	for range 3 {
		if looked, err := n.srv.watchOne(t.Context()); !looked || !errors.Is(err, plc.ErrUnavailable) {
			t.Fatal(looked, err)
		}
	}
	c.undo(UndoRequest{}).fails(502, "UpstreamFailure")
	f.down.Store(false)
	if looked, err := n.srv.watchOne(t.Context()); !looked || err != nil {
		t.Fatal(looked, err)
	}
	if got := c.alerts(false); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

// A thief with the server's key adds one of his own, and moves with that: no words to calm anybody.
func TestWatcherIsNotDeceivedByAnAddedKey(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	c := n.signUp(t, "alice")
	thief := newKeyPair(t)
	add := func(op *plc.Operation) { op.RotationKeys = append([]string{thief.did}, op.RotationKeys...) }
	c.strange(n.srv.rotationKey, add)
	c.strange(thief, func(op *plc.Operation) { op.SetPDS("https://evil.example") })
	c.look()
	if m := inbox.Next(); m.Header.Get("Subject") != "The identity of your account was changed" || !strings.Contains(m.Text, thief.did) || !strings.Contains(m.Text, "https://evil.example") {
		t.Errorf("%s\n%s", m.Header.Get("Subject"), m.Text)
	}
	bob := n.signUp(t, "bob")
	bob.strange(n.srv.rotationKey, add) // alone
	bob.look()
	if m := inbox.Next(); m.To != "bob@example.com" || !strings.Contains(m.Text, thief.did) {
		t.Errorf("%s", m.Text)
	}
}
