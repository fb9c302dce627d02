package passkey_test

import (
	"crypto/sha256"
	"errors"
	"testing"

	"perch/pds/passkey"
	"perch/pds/passkey/passkeytest"
)

const (
	flagsAt = sha256.Size // in authenticator data, behind the hash of the party's ID
	shown   = passkeytest.Present | passkeytest.Verified
)

// answers are the good ones that the fuzzers begin with, one for each algorithm.
func answers(f *testing.F) (registrations, assertions []string, keys []passkey.Credential) {
	a := passkeytest.New(party.ID, party.Origin)
	for _, algorithm := range passkey.Algorithms() {
		key := passkeytest.NewKey(algorithm)
		registration := a.Create(encoded, "dXNlcg", key)
		r, err := passkey.ParseRegistration(registration)
		if err != nil {
			f.Fatal(err)
		}
		cred, err := party.Register(challenge, r)
		if err != nil {
			f.Fatal(err)
		}
		registrations, assertions, keys = append(registrations, registration), append(assertions, a.Get(encoded, key)), append(keys, cred)
	}
	return registrations, assertions, keys
}

// FuzzParse feeds what a form can bring: the JSON of an answer. What is read of it is complete.
func FuzzParse(f *testing.F) {
	registrations, assertions, _ := answers(f)
	for _, text := range append(registrations, assertions...) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := passkey.ParseRegistration(text)
		if err != nil && !errors.Is(err, passkey.ErrRefused) || err == nil && (len(r.ID) == 0 || len(r.ClientData) == 0 || len(r.Attestation) == 0) {
			t.Errorf("registration %+v: %v", r, err)
		}
		s, err := passkey.ParseAssertion(text)
		if err != nil && !errors.Is(err, passkey.ErrRefused) ||
			err == nil && (len(s.ID) == 0 || len(s.ClientData) == 0 || len(s.AuthData) == 0 || len(s.Signature) == 0) {
			t.Errorf("assertion %+v: %v", s, err)
		}
	})
}

// FuzzRegister feeds the client data and the attestation object of a new passkey. The id is the one that the answer names, or no key would ever be looked at.
func FuzzRegister(f *testing.F) {
	registrations, _, _ := answers(f)
	for _, text := range registrations {
		r, err := passkey.ParseRegistration(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(r.ClientData, r.Attestation, r.ID)
	}
	f.Fuzz(func(t *testing.T, client, attestation, id []byte) {
		cred, err := party.Register(challenge, passkey.Registration{ID: id, ClientData: client, Attestation: attestation})
		if err != nil {
			if !errors.Is(err, passkey.ErrRefused) {
				t.Error(err)
			}
			return
		}
		if len(cred.ID) == 0 || string(cred.ID) != string(id) || len(cred.PublicKey) == 0 || cred.BackedUp && !cred.Eligible {
			t.Errorf("%+v", cred)
		}
	})
}

// FuzzVerify feeds all that an answer to a challenge holds, and the key that is kept of the passkey. What is believed was signed, here, by somebody who was verified.
func FuzzVerify(f *testing.F) {
	_, assertions, keys := answers(f)
	for i, text := range assertions {
		s, err := passkey.ParseAssertion(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(s.ClientData, s.AuthData, s.Signature, keys[i].PublicKey, keys[i].Count)
	}
	hash := sha256.Sum256([]byte(party.ID))
	f.Fuzz(func(t *testing.T, client, data, signature, key []byte, count uint32) {
		id := []byte("id")
		known := passkey.Credential{ID: id, PublicKey: key, Count: count}
		now, err := party.Verify(challenge, known, passkey.Assertion{ID: id, ClientData: client, AuthData: data, Signature: signature})
		if err != nil {
			if !errors.Is(err, passkey.ErrRefused) {
				t.Error(err)
			}
			return
		}
		if string(data[:flagsAt]) != string(hash[:]) || data[flagsAt]&shown != shown {
			t.Errorf("believed %x", data)
		}
		if now.Count <= count && (now.Count != 0 || count != 0) {
			t.Errorf("counts %d after %d", now.Count, count)
		}
	})
}
