package plc

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
)

func TestRotationKey(t *testing.T) {
	k256, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		t.Fatal(err)
	}
	p256, err := atcrypto.GeneratePrivateKeyP256()
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]atcrypto.PrivateKeyExportable{"k256": k256, "p256": p256} {
		pub, err := key.PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{key.Multibase(), hex.EncodeToString(key.Bytes()), " " + strings.ToUpper(hex.EncodeToString(key.Bytes())) + "\n"} {
			got, public, err := RotationKey(text, []string{newKey(t).did, pub.DIDKey()})
			if err != nil || public != pub.DIDKey() {
				t.Fatalf("%s: %s, %v", name, public, err)
			}
			op, err := Sign(Genesis([]string{public}, public, "a.test", "https://pds.test"), got)
			if err == nil {
				_, err = Verify(op, []string{public})
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if _, _, err := RotationKey(text, []string{newKey(t).did}); !errors.Is(err, ErrKey) {
				t.Errorf("%s, not the DID's: %v", name, err)
			}
		}
	}
	for _, text := range []string{"", "z", "00", strings.Repeat("0", 64), strings.Repeat("f", 64), "did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv"} {
		if _, _, err := RotationKey(text, []string{"x"}); !errors.Is(err, ErrKey) || text != "" && len(text) > 2 && strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
