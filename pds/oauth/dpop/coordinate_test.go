package dpop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"testing"
)

// A key is the same key, with the same thumbprint, when a client leaves out the zeros at the head of a coordinate.
func TestKeyWithoutLeadingZeros(t *testing.T) {
	short := map[string]json.RawMessage{}
	full := map[string]json.RawMessage{}
	for len(short) == 0 {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		point, err := key.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		x, y := point[1:33], point[33:]
		if x[0] != 0 {
			continue
		}
		short = members(x[1:], y)
		full = members(x, y)
	}
	a, err := parseKey(short)
	if err != nil {
		t.Fatal(err)
	}
	b, err := parseKey(full)
	if err != nil {
		t.Fatal(err)
	}
	if a.thumbprint != b.thumbprint || !a.public.Equal(b.public) {
		t.Error("it is another key")
	}
}

func members(x, y []byte) map[string]json.RawMessage {
	text := func(b []byte) json.RawMessage {
		return json.RawMessage(`"` + base64.RawURLEncoding.EncodeToString(b) + `"`)
	}
	return map[string]json.RawMessage{"kty": json.RawMessage(`"EC"`), "crv": json.RawMessage(`"P-256"`), "x": text(x), "y": text(y)}
}
