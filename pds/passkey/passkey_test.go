package passkey_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"perch/pds/passkey"
	"perch/pds/passkey/passkeytest"
)

var (
	party     = passkey.Party{ID: "pds.example.com", Origin: "https://pds.example.com"}
	challenge = bytes.Repeat([]byte{7}, 32)
	encoded   = base64.RawURLEncoding.EncodeToString(challenge)
)

// registered is an authenticator with one passkey, and what is kept of it.
func registered(t *testing.T, algorithm int) (*passkeytest.Authenticator, *passkeytest.Key, passkey.Credential) {
	t.Helper()
	a := passkeytest.New(party.ID, party.Origin)
	key := passkeytest.NewKey(algorithm)
	cred, err := register(a, key)
	if err != nil {
		t.Fatal(err)
	}
	return a, key, cred
}

func register(a *passkeytest.Authenticator, key *passkeytest.Key) (passkey.Credential, error) {
	r, err := passkey.ParseRegistration(a.Create(encoded, "dXNlcg", key))
	if err != nil {
		return passkey.Credential{}, err
	}
	return party.Register(challenge, r)
}

func verify(a *passkeytest.Authenticator, key *passkeytest.Key, cred passkey.Credential) (passkey.Credential, error) {
	s, err := passkey.ParseAssertion(a.Get(encoded, key))
	if err != nil {
		return passkey.Credential{}, err
	}
	return party.Verify(challenge, cred, s)
}

func TestPasskeysOfEveryAlgorithm(t *testing.T) {
	for _, algorithm := range passkey.Algorithms() {
		a, key, cred := registered(t, algorithm)
		for range 2 {
			next, err := verify(a, key, cred)
			if err != nil {
				t.Fatalf("%d: %v", algorithm, err)
			}
			if next.Count != cred.Count+1 {
				t.Errorf("%d: counts %d after %d", algorithm, next.Count, cred.Count)
			}
			cred = next
		}
		other := passkeytest.NewKey(algorithm)
		other.ID = key.ID
		if _, err := verify(a, other, cred); !errors.Is(err, passkey.ErrRefused) || !strings.Contains(err.Error(), "signature") {
			t.Errorf("%d: another key's signature: %v", algorithm, err)
		}
	}
}

func TestSynchronizedPasskeysCountNothing(t *testing.T) {
	a := passkeytest.New(party.ID, party.Origin)
	a.Flags |= passkeytest.Eligible | passkeytest.BackedUp
	key := passkeytest.NewKey(passkey.ES256)
	cred, err := register(a, key)
	if err != nil || !cred.Eligible || !cred.BackedUp {
		t.Fatalf("%+v %v", cred, err)
	}
	for range 2 {
		key.Count = ^uint32(0) // so that the answer says 0
		if cred, err = verify(a, key, cred); err != nil {
			t.Fatal(err)
		}
	}
}

// lies are what both answers are refused for.
var lies = map[string]func(*passkeytest.Authenticator){
	"another party's":     func(a *passkeytest.Authenticator) { a.Party = "evil.example" },
	"another origin":      func(a *passkeytest.Authenticator) { a.Origin = "https://evil.example" },
	"another port":        func(a *passkeytest.Authenticator) { a.Origin += ":8443" },
	"a host below":        func(a *passkeytest.Authenticator) { a.Origin = "https://alice.pds.example.com" },
	"plain http":          func(a *passkeytest.Authenticator) { a.Origin = "http://pds.example.com" },
	"inside another site": func(a *passkeytest.Authenticator) { a.CrossOrigin = true },
	"another kind":        func(a *passkeytest.Authenticator) { a.Type = "payment.get" },
	"nobody there":        func(a *passkeytest.Authenticator) { a.Flags = passkeytest.Verified },
	"nobody verified":     func(a *passkeytest.Authenticator) { a.Flags = passkeytest.Present },
	"backed up, not fit":  func(a *passkeytest.Authenticator) { a.Flags |= passkeytest.BackedUp },
	"something behind it": func(a *passkeytest.Authenticator) { a.Trailing = []byte{0} },
	"no extensions":       func(a *passkeytest.Authenticator) { a.Flags |= passkeytest.Extensions },
}

func TestLiesAreRefused(t *testing.T) {
	for name, lie := range lies {
		a, key, cred := registered(t, passkey.ES256)
		lie(a)
		if _, err := verify(a, key, cred); !errors.Is(err, passkey.ErrRefused) {
			t.Errorf("assertion with %s: %v", name, err)
		}
		if _, err := register(a, passkeytest.NewKey(passkey.ES256)); !errors.Is(err, passkey.ErrRefused) {
			t.Errorf("registration with %s: %v", name, err)
		}
	}
}

func TestCounterMustRise(t *testing.T) {
	a, key, cred := registered(t, passkey.ES256)
	for stored, answers := range map[uint32]uint32{5: 5, 6: 2, 7: 0} {
		cred.Count, key.Count = stored, answers-1
		if _, err := verify(a, key, cred); !errors.Is(err, passkey.ErrCloned) {
			t.Errorf("%d after %d: %v", answers, stored, err)
		}
	}
	cred.Count, key.Count = 0, 41
	if _, err := verify(a, key, cred); err != nil {
		t.Errorf("one that begins to count: %v", err)
	}
}

func TestOtherAnswersAreRefused(t *testing.T) {
	a, key, cred := registered(t, passkey.ES256)
	for name, c := range map[string][]byte{"another challenge": bytes.Repeat([]byte{8}, 32), "no challenge": nil} {
		s, err := passkey.ParseAssertion(a.Get(encoded, key))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := party.Verify(c, cred, s); !errors.Is(err, passkey.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := cred
	other.ID = []byte("another")
	if _, err := verify(a, key, other); !errors.Is(err, passkey.ErrRefused) {
		t.Errorf("another credential: %v", err)
	}
	other = cred
	other.Eligible = true
	if _, err := verify(a, key, other); !errors.Is(err, passkey.ErrRefused) {
		t.Errorf("it became fit for several devices: %v", err)
	}
	a.Type = "webauthn.create"
	if _, err := verify(a, key, cred); !errors.Is(err, passkey.ErrRefused) {
		t.Errorf("the answer to a registration: %v", err)
	}
	for _, text := range []string{"", "null", "{}", "[]", `{"type":"public-key"}`, `{"type":"public-key","rawId":"!"}`, strings.Repeat("[", 100000)} {
		if _, err := passkey.ParseAssertion(text); !errors.Is(err, passkey.ErrRefused) {
			t.Errorf("%.20s: %v", text, err)
		}
		if _, err := passkey.ParseRegistration(text); !errors.Is(err, passkey.ErrRefused) {
			t.Errorf("%.20s: %v", text, err)
		}
	}
}

func TestRegistrationNamesItsCredential(t *testing.T) {
	a, key := passkeytest.New(party.ID, party.Origin), passkeytest.NewKey(passkey.ES256)
	r, err := passkey.ParseRegistration(a.Create(encoded, "dXNlcg", key))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(r.Transports, " ") != "internal" {
		t.Errorf("transports %q", r.Transports)
	}
	r.ID = []byte("another")
	if _, err := party.Register(challenge, r); !errors.Is(err, passkey.ErrRefused) {
		t.Error(err)
	}
	for _, id := range [][]byte{nil, make([]byte, 1024)} {
		key := passkeytest.NewKey(passkey.ES256)
		key.ID = id
		if _, err := register(a, key); !errors.Is(err, passkey.ErrRefused) {
			t.Errorf("an id of %d bytes: %v", len(id), err)
		}
	}
	unknown := passkeytest.NewKey(passkey.ES256)
	unknown.Algorithm = -47
	if _, err := register(a, unknown); !errors.Is(err, passkey.ErrRefused) {
		t.Errorf("an algorithm that was not asked for: %v", err)
	}
}
