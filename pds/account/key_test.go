package account

import (
	"context"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"

	"perch/pds/store"
)

func TestSigningKeys(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	a, b := w.person().Account, w.person().Account
	key, err := w.SigningKey(a)
	if err != nil {
		t.Fatal(err)
	}
	if pub, _ := key.PublicKey(); pub.DIDKey() != a.SigningKeyDID {
		t.Fatal("not the account's key")
	}
	if again, _ := w.SigningKey(a); again != key {
		t.Fatal("parsed twice")
	}
	if strings.Contains(string(a.SigningKey), string(key.Bytes())) {
		t.Fatal("the key is stored in clear")
	}
	swapped := *b
	swapped.SigningKey = a.SigningKey
	_, err = w.SigningKey(&swapped)
	want(t, ErrKey, err)
	other := *a
	other.SigningKeyDID = b.SigningKeyDID
	_, err = w.SigningKey(&other)
	want(t, ErrKey, err)

	fresh, err := atcrypto.GeneratePrivateKeyP256()
	if err != nil {
		t.Fatal(err)
	}
	sealed, public, err := w.SealSigningKey(a.DID, fresh)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.st.Update(ctx, func(tx *store.Tx) error { return tx.SetSigningKey(ctx, a.ID, sealed, public) }); err != nil {
		t.Fatal(err)
	}
	now, err := w.st.AccountByID(ctx, a.ID)
	if err != nil {
		t.Fatal(err)
	}
	if key, err := w.SigningKey(now); err != nil || !key.Equal(fresh) {
		t.Fatalf("after rotation: %v", err)
	}
}

func TestReservedSigningKeys(t *testing.T) {
	w := newWorld(t)
	one, err := w.ReserveSigningKey(testDID(1))
	if err != nil {
		t.Fatal(err)
	}
	two, _ := w.ReserveSigningKey(testDID(2))
	if again, _ := w.ReserveSigningKey(testDID(1)); again != one || one == two {
		t.Fatal("reserved keys must be one for each DID")
	}
	in := w.newAccount(1)
	in.SigningKey = one
	ses, err := w.signUp(in, testDID(1))
	if err != nil || ses.Account.SigningKeyDID == one {
		t.Fatalf("a key reserved for a DID was given to an account that has not shown it: %v", err)
	}
	in = w.newAccount(2)
	in.SigningKey, in.DID = two, testDID(2)
	if ses, err = w.signUp(in, testDID(2)); err != nil || ses.Account.SigningKeyDID != two {
		t.Fatalf("%+v, %v", ses.Account, err)
	}
	anon, _ := w.ReserveSigningKey("")
	in = w.newAccount(3)
	in.SigningKey = anon
	if ses, err = w.signUp(in, testDID(3)); err != nil || ses.Account.SigningKeyDID != anon {
		t.Fatalf("%+v, %v", ses.Account, err)
	}
	for range maxReservedKeys + 10 {
		if _, err := w.ReserveSigningKey(""); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.reserved.keys) > maxReservedKeys || len(w.reserved.order) > maxReservedKeys {
		t.Fatalf("%d keys kept for strangers", len(w.reserved.keys))
	}
}
