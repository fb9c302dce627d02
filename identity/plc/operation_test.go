package plc

import (
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/atdata"
)

func TestVerifyRefusesSignatures(t *testing.T) {
	// The orders of the two groups.
	k256N, _ := new(big.Int).SetString("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16)
	p256N, _ := new(big.Int).SetString("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
	for name, curve := range map[string]struct {
		key   testKey
		order *big.Int
	}{"k256": {newKey(t), k256N}, "p256": {newP256(t), p256N}} {
		op := sign(t, Genesis([]string{curve.key.did}, newKey(t).did, "alice.example.com", "https://pds.example.com"), curve.key)
		sig, _ := base64.RawURLEncoding.DecodeString(op.Sig)
		r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
		high := append(append([]byte{}, sig[:32]...), new(big.Int).Sub(curve.order, s).FillBytes(make([]byte, 32))...)
		der, _ := asn1.Marshal(struct{ R, S *big.Int }{r, s})
		bad := map[string]string{
			"none":        "",
			"high S":      base64.RawURLEncoding.EncodeToString(high),
			"DER":         base64.RawURLEncoding.EncodeToString(der),
			"padding":     base64.URLEncoding.EncodeToString(sig),
			"newline":     op.Sig[:40] + "\n" + op.Sig[40:],
			"end newline": op.Sig + "\r\n",
			"stray bits":  op.Sig[:85] + string(op.Sig[85]+1),
			"truncated":   base64.RawURLEncoding.EncodeToString(sig[:63]),
			"longer":      base64.RawURLEncoding.EncodeToString(append(sig[:64:64], 0)),
			"zeros":       base64.RawURLEncoding.EncodeToString(make([]byte, 64)),
			"hex":         hex.EncodeToString(sig),
		}
		if std := base64.RawStdEncoding.EncodeToString(sig); std != op.Sig {
			bad["standard alphabet"] = std
		}
		for what, s := range bad {
			t.Run(name+" "+what, func(t *testing.T) {
				forged := op.Clone()
				forged.Sig = s
				if _, err := Verify(forged, []string{curve.key.did}); !errors.Is(err, ErrInvalidSignature) {
					t.Errorf("err = %v, want ErrInvalidSignature", err)
				}
			})
		}
		if signer, err := Verify(op, []string{newKey(t).did, "did:key:nonsense", curve.key.did}); err != nil || signer != curve.key.did {
			t.Errorf("%s: good signature: %s, %v", name, signer, err)
		}
	}
}

// The bytes that are hashed are checked against another encoder.
func TestBytesAreCanonical(t *testing.T) {
	op := Genesis([]string{"did:key:zA", "did:key:zB"}, "did:key:zC", "alice.example.com", "https://pds.example.com")
	op.VerificationMethods["atproto_label"] = "did:key:zD"
	op.VerificationMethods["b"] = strings.Repeat("x", 300)
	op.Services["aa"] = Service{Type: strings.Repeat("y", 30), Endpoint: ""}
	op.Sig = strings.Repeat("s", 86)
	for i := range 30 {
		op.AlsoKnownAs = append(op.AlsoKnownAs, fmt.Sprint("at://", i))
	}
	got, err := op.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	j, _ := json.Marshal(op)
	data, err := atdata.UnmarshalJSON(j)
	if err != nil {
		t.Fatal(err)
	}
	want, err := atdata.MarshalCBOR(data)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}

func TestDIDAndCID(t *testing.T) {
	h := newHistory(t)
	if err := CheckDID(h.did); err != nil {
		t.Error(err)
	}
	b, _ := h.log[0].Operation.Bytes()
	sum := sha256.Sum256(b)
	if got := h.log[0].CID.String(); !strings.HasPrefix(got, "bafyrei") || !strings.Contains(hex.EncodeToString(h.log[0].CID.Bytes()), hex.EncodeToString(sum[:])) {
		t.Errorf("CID = %s", got)
	}
	if _, err := DIDOf(h.update(0, "x.example.com", h.low)); err == nil {
		t.Error("an update has a DID")
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	good := `{"type":"plc_operation","rotationKeys":[],"verificationMethods":{},"alsoKnownAs":[],"services":{"a":{"type":"t","endpoint":"e"}},"prev":null,"sig":"x"}`
	var op Operation
	if err := json.Unmarshal([]byte(good), &op); err != nil {
		t.Fatal(err)
	}
	edit := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for name, text := range map[string]string{
		"no prev":              edit(`"prev":null,`, ``),
		"empty prev":           edit(`"prev":null`, `"prev":""`),
		"prev of another type": edit(`"prev":null`, `"prev":1`),
		"unknown field":        edit(`"sig"`, `"extra":1,"sig"`),
		"unknown type":         edit(`plc_operation`, `plc_other`),
		"no type":              edit(`"type":"plc_operation",`, ``),
		"null keys":            edit(`"rotationKeys":[]`, `"rotationKeys":null`),
		"no services":          edit(`,"services":{"a":{"type":"t","endpoint":"e"}}`, ``),
		"extra in service":     edit(`"endpoint":"e"`, `"endpoint":"e","x":1`),
		"service without type": edit(`"type":"t",`, ``),
		"service is a string":  edit(`{"type":"t","endpoint":"e"}`, `"e"`),
		"field in upper case":  edit(`"alsoKnownAs"`, `"ALSOKNOWNAS"`),
		"key of a tombstone":   `{"type":"plc_tombstone","prev":"x","rotationKeys":[]}`,
		"array":                `[]`, "null": `null`, "string": `"x"`, "broken": `{`,
	} {
		if err := op.UnmarshalJSON([]byte(text)); !errors.Is(err, ErrInvalidOperation) {
			t.Errorf("%s: err = %v", name, err)
		}
	}
}

func TestCheckLimits(t *testing.T) {
	key := newKey(t)
	many := func(n int, f func(i int)) {
		for i := range n {
			f(i)
		}
	}
	tests := []struct {
		name   string
		change func(op *Operation)
		ok     bool
	}{
		{"ordinary", func(*Operation) {}, true},
		{"no rotation keys", func(op *Operation) { op.RotationKeys = nil }, false},
		{"five rotation keys", func(op *Operation) {
			many(4, func(int) { op.RotationKeys = append(op.RotationKeys, newKey(t).did) })
		}, true},
		{"six rotation keys", func(op *Operation) {
			many(5, func(int) { op.RotationKeys = append(op.RotationKeys, newKey(t).did) })
		}, false},
		{"duplicate rotation keys", func(op *Operation) { op.RotationKeys = append(op.RotationKeys, key.did) }, false},
		{"rotation key of another curve", func(op *Operation) {
			op.RotationKeys = append(op.RotationKeys, "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK")
		}, false},
		{"signing key of another curve", func(op *Operation) {
			op.SetSigningKey("did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK")
		}, true},
		{"signing key that is none", func(op *Operation) { op.SetSigningKey("did:key:zOIl0") }, false},
		{"long key", func(op *Operation) { op.SetSigningKey("did:key:z" + strings.Repeat("a", 250)) }, false},
		{"eleven methods", func(op *Operation) {
			many(10, func(i int) { op.VerificationMethods[fmt.Sprint(i)] = key.did })
		}, false},
		{"name with a hash", func(op *Operation) { op.VerificationMethods["#x"] = key.did }, false},
		{"long name", func(op *Operation) { op.Services[strings.Repeat("n", 33)] = Service{} }, false},
		{"eleven aliases", func(op *Operation) {
			many(10, func(i int) { op.AlsoKnownAs = append(op.AlsoKnownAs, fmt.Sprint(i)) })
		}, false},
		{"duplicate alias", func(op *Operation) { op.AlsoKnownAs = append(op.AlsoKnownAs, op.AlsoKnownAs[0]) }, false},
		{"long alias", func(op *Operation) { op.AlsoKnownAs[0] = strings.Repeat("a", 259) }, false},
		{"longest alias", func(op *Operation) { op.AlsoKnownAs[0] = strings.Repeat("a", 258) }, true},
		{"eleven services", func(op *Operation) {
			many(10, func(i int) { op.Services[fmt.Sprint(i)] = Service{} })
		}, false},
		{"long type", func(op *Operation) { op.Services["a"] = Service{Type: strings.Repeat("t", 257)} }, false},
		{"long endpoint", func(op *Operation) { op.Services["a"] = Service{Endpoint: strings.Repeat("t", 513)} }, false},
		{"all within limits but too large", func(op *Operation) {
			many(9, func(i int) { op.Services[fmt.Sprint(i)] = Service{Endpoint: strings.Repeat("t", 500)} })
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			op := Genesis([]string{key.did}, newKey(t).did, "alice.example.com", "https://pds.example.com")
			tt.change(&op)
			err := Check(sign(t, op, key))
			if (err == nil) != tt.ok || (err != nil && !errors.Is(err, ErrInvalidOperation)) {
				t.Errorf("err = %v, want ok %t", err, tt.ok)
			}
		})
	}
	if err := Check(Genesis([]string{key.did}, key.did, "a.example.com", "https://x")); err == nil {
		t.Error("an unsigned operation passes")
	}
}

// What the owner and the labeler put there must survive a change of ours.
func TestUpdateKeepsTheRest(t *testing.T) {
	h := newHistory(t)
	op, _ := Update(h.log[0].Operation, func(op *Operation) {
		op.AlsoKnownAs = []string{"https://alice.example.org", "at://alice.example.com", "at://second.example.com"}
		op.VerificationMethods["atproto_label"] = h.high.did
		op.Services["atproto_labeler"] = Service{"AtprotoLabeler", "https://label.example.com"}
	})
	before := sign(t, op, h.low)
	after, err := Update(before, func(op *Operation) {
		op.SetHandle("New.Example.com")
		op.SetPDS("https://new.example.com")
		op.SetSigningKey("did:key:zNew")
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(after.AlsoKnownAs, " "); got != "https://alice.example.org at://new.example.com at://second.example.com" {
		t.Errorf("aliases = %s", got)
	}
	if strings.Join(after.RotationKeys, " ") != strings.Join(before.RotationKeys, " ") || after.VerificationMethods["atproto_label"] != h.high.did ||
		after.Services["atproto_labeler"].Endpoint != "https://label.example.com" {
		t.Errorf("lost something: %+v", after)
	}
	c, _ := before.CID()
	if after.Prev != c.String() || after.Sig != "" {
		t.Errorf("prev %s, sig %q", after.Prev, after.Sig)
	}
	if before.Services[PDSServiceName].Endpoint != "https://pds.example.com" || before.AlsoKnownAs[1] != "at://alice.example.com" {
		t.Error("Update changed its input")
	}
	if _, err := Update(h.tombstone(0, h.low), func(*Operation) {}); !errors.Is(err, ErrTombstoned) {
		t.Errorf("update of a tombstone: %v", err)
	}
}

func TestDocument(t *testing.T) {
	k256, _ := atcrypto.ParsePublicDIDKey("did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme")
	p256, _ := atcrypto.ParsePublicDIDKey("did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169")
	op := Genesis([]string{k256.DIDKey()}, k256.DIDKey(), "alice.example.com", "https://pds.example.com")
	op.VerificationMethods["atproto_label"] = p256.DIDKey()
	got, err := Document("did:plc:ewvi7nxzyoun6zhxrhs64oiz", op)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"@context":["https://www.w3.org/ns/did/v1","https://w3id.org/security/multikey/v1","https://w3id.org/security/suites/secp256k1-2019/v1",` +
		`"https://w3id.org/security/suites/ecdsa-2019/v1"],"id":"did:plc:ewvi7nxzyoun6zhxrhs64oiz","alsoKnownAs":["at://alice.example.com"],` +
		`"verificationMethod":[{"id":"did:plc:ewvi7nxzyoun6zhxrhs64oiz#atproto","type":"Multikey","controller":"did:plc:ewvi7nxzyoun6zhxrhs64oiz",` +
		`"publicKeyMultibase":"zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme"},{"id":"did:plc:ewvi7nxzyoun6zhxrhs64oiz#atproto_label","type":"Multikey",` +
		`"controller":"did:plc:ewvi7nxzyoun6zhxrhs64oiz","publicKeyMultibase":"zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169"}],` +
		`"service":[{"id":"#atproto_pds","type":"AtprotoPersonalDataServer","serviceEndpoint":"https://pds.example.com"}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func FuzzOperationJSON(f *testing.F) {
	f.Add([]byte(`{"type":"plc_operation","rotationKeys":["a"],"verificationMethods":{"a":"b"},"alsoKnownAs":["c"],"services":{"a":{"type":"t","endpoint":"e"}},"prev":null,"sig":"x"}`))
	f.Add([]byte(`{"type":"create","signingKey":"a","recoveryKey":"b","handle":"c","service":"d","prev":null,"sig":"e"}`))
	f.Add([]byte(`{"type":"plc_tombstone","prev":"a","sig":"b"}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		var op Operation
		if op.UnmarshalJSON(in) != nil {
			return
		}
		b, err := op.encode(true)
		if err != nil {
			t.Fatalf("read but not encoded: %v", err)
		}
		j, err := json.Marshal(op)
		if err != nil {
			t.Fatal(err)
		}
		var again Operation
		if err := again.UnmarshalJSON(j); err != nil {
			t.Fatalf("%s: %v", j, err)
		}
		if c, _ := again.encode(true); string(c) != string(b) {
			t.Fatalf("changed by a round trip: %s", in)
		}
		_, _ = Verify(op, op.RotationKeys)
		_ = Check(op)
	})
}
