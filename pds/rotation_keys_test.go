package pds

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"

	"perch/identity/plc"
)

// operate calls a page of the operator's.
func (n *network) operate(t *testing.T, path string, in any) *answer {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth("admin", "admin-pass")
	return n.anonymous(t).send(req, path)
}

// decode reads an answer that is expected to be a success.
func decode[T any](a *answer) (out T) {
	a.t.Helper()
	if a.status != http.StatusOK {
		a.t.Fatalf("%s: status %d: %s", a.what, a.status, a.body)
	}
	if err := json.Unmarshal(a.body, &out); err != nil {
		a.t.Fatal(err)
	}
	return out
}

// keyPair is a rotation key of somebody's.
type keyPair struct {
	*atcrypto.PrivateKeyK256
	did string
}

func newKeyPair(t *testing.T) keyPair {
	t.Helper()
	key, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		t.Fatal(err)
	}
	pub, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{key, pub.DIDKey()}
}

func (c *client) rotation(action, key string) *answer {
	c.t.Helper()
	return c.operate(c.t, RotationKeyPath, RotationKeyRequest{Account: c.handle, Action: action, Key: key})
}

func TestRotationKeysOfTheOwner(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.RecoveryDIDKey = newKeyPair(t).did })
	c := n.signUp(t, "alice")
	server, _ := n.srv.rotationKeyDID()
	operator := n.srv.cfg.RecoveryDIDKey
	made := decode[RotationKeyAnswer](c.rotation(RotationKeyCreate, ""))
	private, err := atcrypto.ParsePrivateMultibase(made.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	if pub, _ := private.PublicKey(); pub.DIDKey() != made.Key {
		t.Error("the private key is not that of the rotation key")
	}
	own := newKeyPair(t)
	list := decode[RotationKeyAnswer](c.rotation(RotationKeyAdd, own.did)).Keys
	want := []RotationKey{{made.Key, HolderOwner, "k256"}, {own.did, HolderOwner, "k256"}, {operator, HolderOperator, keyType(operator)}, {server, HolderServer, "k256"}}
	if !slices.Equal(list, want) {
		t.Errorf("keys %v, want %v", list, want)
	}

	// Whatever the server changes from now on, the owner's keys stay.
	c.post("com.atproto.identity.updateHandle", map[string]any{"handle": "alicia.test"}).ok()
	c.handle = "alicia.test"
	reserved := c.post("com.atproto.server.reserveSigningKey", map[string]any{"did": c.did}).ok().str("signingKey")
	c.admin("com.atproto.admin.updateAccountSigningKey", map[string]any{"did": c.did, "signingKey": reserved}).ok()
	op := c.post("com.atproto.identity.signPlcOperation", map[string]any{"token": c.plcCode(), "rotationKeys": []string{server}}).ok().at("operation")
	c.post("com.atproto.identity.submitPlcOperation", map[string]any{"operation": op}).ok()
	if got := c.lastOp().RotationKeys; !slices.Equal(got, []string{made.Key, own.did, server}) {
		t.Errorf("keys %v", got)
	}

	left := decode[RotationKeyAnswer](c.rotation(RotationKeyRemove, own.did)).Keys
	if len(left) != 2 || left[0].Key != made.Key {
		t.Errorf("keys %v", left)
	}
	c.rotation(RotationKeyRemove, own.did).fails(400, "InvalidRequest")
	c.rotation(RotationKeyRemove, server).fails(400, "ServerKey")
	n.operate(t, RotationKeyPath, RotationKeyRequest{Account: c.did, Action: RotationKeyRemove, Key: server, GiveUp: true}).ok()
	if got := c.lastOp().RotationKeys; !slices.Equal(got, []string{made.Key}) {
		t.Errorf("keys %v", got)
	}
	c.rotation(RotationKeyAdd, own.did).fails(400, "InvalidRequest") // the server has no say any more
}

func TestRotationKeysThatAreRefused(t *testing.T) {
	n := startNetwork(t, nil)
	c, server := n.signUp(t, "alice"), ""
	server, _ = n.srv.rotationKeyDID()
	for what, key := range map[string]string{
		"nothing": "", "no key": "hello", "a DID": c.did, "a cut key": server[:len(server)-3], "ed25519": "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
		"the signing key": c.account().SigningKeyDID, "the server's": server, "padded": " " + newKeyPair(t).did,
	} {
		before := len(c.lastOp().RotationKeys)
		c.rotation(RotationKeyAdd, key).fails(400, "InvalidRequest")
		if len(c.lastOp().RotationKeys) != before {
			t.Errorf("%s was added", what)
		}
	}
	key := newKeyPair(t).did
	c.rotation(RotationKeyAdd, key).ok()
	c.rotation(RotationKeyAdd, key).fails(400, "InvalidRequest")
	for range plc.MaxRotationKeys - 2 {
		c.rotation(RotationKeyCreate, "").ok()
	}
	c.rotation(RotationKeyCreate, "").fails(400, "InvalidRequest")
	c.rotation("burn", "").fails(400, "InvalidRequest")
	n.operate(t, RotationKeyPath, RotationKeyRequest{Account: "nobody.test", Action: RotationKeyList}).fails(400, "AccountNotFound")
	bob := n.signUp(t, "bob")
	bob.rotation(RotationKeyRemove, server).fails(400, "ServerKey")
	n.operate(t, RotationKeyPath, RotationKeyRequest{Account: bob.did, Action: RotationKeyRemove, Key: server, GiveUp: true}).fails(400, "InvalidRequest") // the only one
	anonymous, err := http.Post(n.url+RotationKeyPath, "application/json", strings.NewReader(fmt.Sprintf(`{"account":%q,"action":"list"}`, c.did)))
	if err != nil {
		t.Fatal(err)
	}
	anonymous.Body.Close()
	if anonymous.StatusCode != http.StatusUnauthorized {
		t.Errorf("without the admin password: %d", anonymous.StatusCode)
	}
}

func TestRotationKeyByCode(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	alice, bob := n.signUp(t, "alice"), n.signUp(t, "bob")
	key := newKeyPair(t).did
	add := func(code string) error {
		_, err := n.srv.addRotationKey(t.Context(), alice.account(), key, confirmation{code: code})
		return err
	}
	alice.post("com.atproto.identity.requestPlcOperationSignature", nil).ok()
	code := alice.mailed(inbox, "PLC Update Operation Requested")
	for what, wrong := range map[string]string{"none": "", "a guess": "AAAAA-AAAAA", "bob's": bob.plcCode()} {
		if err := add(wrong); wireError(err) == nil || wireError(err).Name != "InvalidToken" {
			t.Errorf("with %s: %v", what, err)
		}
	}
	if len(alice.lastOp().RotationKeys) != 1 {
		t.Fatal("a key was added without the code")
	}
	if err := add(code); err != nil {
		t.Fatal(err)
	}
	if m := inbox.Next(); m.Header.Get("Subject") != "A recovery key was added to your account" || !strings.Contains(m.Text, key) || !strings.Contains(m.HTML, key) {
		t.Errorf("%s\n%s", m.Header.Get("Subject"), m.Text)
	}
	if _, err := n.srv.removeRotationKey(t.Context(), alice.account(), key, false, confirmation{code: code}); wireError(err) == nil || wireError(err).Name != "InvalidToken" {
		t.Errorf("the code works twice: %v", err)
	}
	if _, err := n.srv.removeRotationKey(t.Context(), alice.account(), key, false, confirmation{code: alice.plcCode()}); err != nil {
		t.Fatal(err)
	}
	if m := inbox.Next(); m.Header.Get("Subject") != "A recovery key of your account was removed" || m.To != "alice@example.com" {
		t.Errorf("%s", m.Header.Get("Subject"))
	}
}
