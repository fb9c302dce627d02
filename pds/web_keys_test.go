package pds

import (
	"slices"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
)

func TestKeysPage(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	alice := n.signUp(t, "alice")
	server, _ := n.srv.rotationKeyDID()
	v := n.visitor(t).signIn("alice.test", "alice-password").open("/account/keys").shows(200, "/account/keys", "Key of this server", server)
	v.send("/account/keys", "do", "ask", "what", "nonsense").shows(400, "/account/keys")
	v.open("/account/keys").send("/account/keys", "do", "ask", "what", "add", "key", "nonsense").shows(422, "/account/keys", `id="key-error"`)

	// Without the code from the mail nothing happens.
	v.send("/account/keys", "do", "finish", "what", "create", "code", "").shows(422, "/account/keys", `id="code-error"`)
	v.send("/account/keys", "do", "ask", "what", "create").shows(200, "/account/keys", "alice@example.com")
	code := nextCode(inbox)
	v.send("/account/keys", "do", "finish", "what", "create", "code", "AAAAA-AAAAA").shows(422, "/account/keys", `id="code-error"`)
	if got := alice.lastOp().RotationKeys; !slices.Equal(got, []string{server}) {
		t.Errorf("keys %v", got)
	}
	v.send("/account/keys", "do", "finish", "what", "create", "code", code).shows(200, "/account/keys", "shown only now")
	private, err := atcrypto.ParsePrivateMultibase(v.textOf("private"))
	if err != nil {
		t.Fatal(err)
	}
	pub, _ := private.PublicKey()
	if got := alice.lastOp().RotationKeys; !slices.Equal(got, []string{pub.DIDKey(), server}) {
		t.Errorf("keys %v", got)
	}
	inbox.Next() // tells of it
	v.open("/account/keys").shows(200, "/account/keys", "Your own key", pub.DIDKey()).saysNot(private.Multibase())

	own := newKeyPair(t)
	v.send("/account/keys", "do", "ask", "what", "add", "key", own.did).shows(200, "/account/keys", own.did)
	v.send("/account/keys", "do", "finish", "what", "add", "key", own.did, "code", nextCode(inbox)).shows(200, "/account/keys", "is added", own.did)
	inbox.Next()
	v.send("/account/keys", "do", "ask", "what", "remove", "key", server).shows(200, "/account/keys")
	code = nextCode(inbox)
	v.send("/account/keys", "do", "finish", "what", "remove", "key", server, "code", code).shows(422, "/account/keys", "not possible")
	v.send("/account/keys", "do", "finish", "what", "give-up", "key", server, "code", code).shows(422, "/account/keys", "Please tick")
	v.send("/account/keys", "do", "finish", "what", "give-up", "key", server, "code", code, "sure", "on").shows(200, "/account/keys", "is removed").saysNot(server)
}

func TestKeysPageUndoesStrangeChanges(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	alice := n.signUp(t, "alice")
	weak := newKeyPair(t)
	if err := n.srv.updateDID(t.Context(), syntax.DID(alice.did), func(op *plc.Operation) { op.RotationKeys = append(op.RotationKeys, weak.did) }); err != nil {
		t.Fatal(err)
	}
	alice.steal(weak)
	alice.look()
	inbox.Next() // warns of it
	v := n.visitor(t).signIn("alice.test", "alice-password").shows(200, "/account", "was changed")
	v.open("/account/keys").shows(200, "/account/keys", "Your identity was changed", "https://evil.example")
	change := v.hidden("change")
	v.send("/account/keys", "do", "finish", "what", "undo", "change", change, "code", "AAAAA-AAAAA").shows(422, "/account/keys", `id="code-error"`)
	v.send("/account/keys", "do", "ask", "what", "undo", "change", change).shows(200, "/account/keys", "taken back")
	v.send("/account/keys", "do", "finish", "what", "undo", "change", change, "code", nextCode(inbox)).shows(200, "/account/keys", "is taken back")
	v.saysNot("evil.example")
	alice.wantHome()

	alice.strange(weak, func(op *plc.Operation) { op.AlsoKnownAs = append(op.AlsoKnownAs, "at://other.example") })
	alice.look()
	v.open("/account/keys").shows(200, "/account/keys", "other.example").send("/account/keys", "do", "dismiss").shows(200, "/account/keys", "are closed")
	v.saysNot("other.example")
}
