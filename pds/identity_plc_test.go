package pds

import (
	"slices"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
)

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
