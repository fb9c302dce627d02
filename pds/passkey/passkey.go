// Package passkey is the relying party's half of WebAuthn (level 3): it reads what an authenticator answers, and says whether to believe it. It is
// pure: who asks, challenges, and what is kept of a passkey are pds/account's.
//
// Attestation is not asked for and not looked at: the makers of authenticators are not chosen here. User verification (a fingerprint, a PIN) is
// demanded every time, so that a passkey counts for two factors.
package passkey

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// ErrRefused is every reason not to believe an answer.
var ErrRefused = errors.New("passkey refused")

// ErrCloned is a counter that did not rise: there may be two authenticators with one key. It is an ErrRefused.
var ErrCloned = fmt.Errorf("%w: the counter did not rise", ErrRefused)

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

const (
	// maxID is the longest id of a credential that WebAuthn permits, in bytes.
	maxID = 1023
	// maxKey bounds a public key as the authenticator encodes it, in bytes. RSA with 4096 bits has some 530.
	maxKey = 1024

	typeCreate = "webauthn.create"
	typeGet    = "webauthn.get"
)

// Party is who asks for passkeys: the server.
type Party struct {
	ID     string // its host name
	Origin string // of its pages
}

// Credential is what is kept of a passkey to know it again.
type Credential struct {
	ID        []byte
	PublicKey []byte // COSE_Key
	Count     uint32 // of signatures, as the authenticator says; those that synchronize say 0
	Eligible  bool   // it may be on several devices
	BackedUp  bool   // it is
}

// Registration is an authenticator's answer to navigator.credentials.create.
type Registration struct {
	ID          []byte
	ClientData  []byte
	Attestation []byte
	Transports  []string // how the browser reaches the authenticator
}

// Assertion is an authenticator's answer to navigator.credentials.get.
type Assertion struct {
	ID         []byte
	ClientData []byte
	AuthData   []byte
	Signature  []byte
	UserHandle []byte // nil when the authenticator does not tell
}

// answer is a PublicKeyCredential as toJSON writes it.
type answer struct {
	RawID    string `json:"rawId"`
	Type     string `json:"type"`
	Response struct {
		ClientData  string   `json:"clientDataJSON"`
		Attestation string   `json:"attestationObject"`
		Transports  []string `json:"transports"`
		AuthData    string   `json:"authenticatorData"`
		Signature   string   `json:"signature"`
		UserHandle  string   `json:"userHandle"`
	} `json:"response"`
}

func parseAnswer(text string, want func(*answer) []field) error {
	var a answer
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return refuse("the answer is no JSON: %v", err)
	}
	if a.Type != "public-key" {
		return refuse("the answer's type is %q", a.Type)
	}
	for _, f := range want(&a) {
		b, err := base64.RawURLEncoding.Strict().DecodeString(f.text)
		if err != nil || len(b) == 0 && !f.optional {
			return refuse("%s is not base64url", f.name)
		}
		*f.to = b
	}
	return nil
}

type field struct {
	name, text string
	to         *[]byte
	optional   bool
}

// transports are those that WebAuthn names. Others are left out.
var transports = []string{"ble", "hybrid", "internal", "nfc", "smart-card", "usb"}

// ParseRegistration reads the JSON form of an answer.
func ParseRegistration(text string) (r Registration, err error) {
	err = parseAnswer(text, func(a *answer) []field {
		for _, t := range transports {
			if slices.Contains(a.Response.Transports, t) {
				r.Transports = append(r.Transports, t)
			}
		}
		return []field{
			{"rawId", a.RawID, &r.ID, false}, {"clientDataJSON", a.Response.ClientData, &r.ClientData, false},
			{"attestationObject", a.Response.Attestation, &r.Attestation, false},
		}
	})
	return r, err
}

// ParseAssertion reads the JSON form of an answer.
func ParseAssertion(text string) (s Assertion, err error) {
	err = parseAnswer(text, func(a *answer) []field {
		return []field{
			{"rawId", a.RawID, &s.ID, false}, {"clientDataJSON", a.Response.ClientData, &s.ClientData, false},
			{"authenticatorData", a.Response.AuthData, &s.AuthData, false}, {"signature", a.Response.Signature, &s.Signature, false},
			{"userHandle", a.Response.UserHandle, &s.UserHandle, true},
		}
	})
	return s, err
}

// Register checks the answer to a challenge, and returns the new passkey. The error is ErrRefused.
func (p Party) Register(challenge []byte, r Registration) (Credential, error) {
	if err := p.checkClient(r.ClientData, typeCreate, challenge); err != nil {
		return Credential{}, err
	}
	var object struct {
		AuthData []byte `cbor:"authData"`
	}
	if err := decoder.Unmarshal(r.Attestation, &object); err != nil {
		return Credential{}, refuse("attestation object: %v", err)
	}
	data, err := parseAuthData(object.AuthData)
	if err != nil {
		return Credential{}, err
	}
	if err := p.checkAuthData(data); err != nil {
		return Credential{}, err
	}
	if data.id == nil {
		return Credential{}, refuse("there is no credential in the answer")
	}
	if !slices.Equal(data.id, r.ID) {
		return Credential{}, refuse("the answer names another credential")
	}
	if _, err := parseKey(data.key); err != nil {
		return Credential{}, err
	}
	return Credential{data.id, data.key, data.count, data.has(flagEligible), data.has(flagBackedUp)}, nil
}

// Verify checks the answer to a challenge against the passkey that it names, and returns what to keep of it from now on. The error is ErrRefused.
func (p Party) Verify(challenge []byte, known Credential, s Assertion) (Credential, error) {
	if !slices.Equal(known.ID, s.ID) {
		return Credential{}, refuse("the answer names another credential")
	}
	if err := p.checkClient(s.ClientData, typeGet, challenge); err != nil {
		return Credential{}, err
	}
	data, err := parseAuthData(s.AuthData)
	if err != nil {
		return Credential{}, err
	}
	if err := p.checkAuthData(data); err != nil {
		return Credential{}, err
	}
	if data.has(flagEligible) != known.Eligible {
		return Credential{}, refuse("whether it can be on several devices has changed")
	}
	key, err := parseKey(known.PublicKey)
	if err != nil {
		return Credential{}, err
	}
	hash := sha256.Sum256(s.ClientData)
	if !key.verify(slices.Concat(s.AuthData, hash[:]), s.Signature) {
		return Credential{}, refuse("the signature is wrong")
	}
	if data.count <= known.Count && (data.count != 0 || known.Count != 0) {
		return Credential{}, ErrCloned
	}
	known.Count, known.BackedUp = data.count, data.has(flagBackedUp)
	return known, nil
}

// checkClient looks at what the browser says it has asked the authenticator for.
func (p Party) checkClient(text []byte, kind string, challenge []byte) error {
	var c struct {
		Type        string `json:"type"`
		Challenge   string `json:"challenge"`
		Origin      string `json:"origin"`
		CrossOrigin bool   `json:"crossOrigin"`
		TopOrigin   string `json:"topOrigin"`
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return refuse("client data: %v", err)
	}
	want := base64.RawURLEncoding.EncodeToString(challenge)
	switch {
	case c.Type != kind:
		return refuse("the answer is to %q, not to %q", c.Type, kind)
	case len(challenge) == 0 || subtle.ConstantTimeCompare([]byte(c.Challenge), []byte(want)) != 1:
		return refuse("the answer is to another challenge")
	case c.Origin != p.Origin:
		return refuse("the answer was given to %q", c.Origin)
	case c.CrossOrigin || c.TopOrigin != "":
		return refuse("the answer was given inside another site")
	}
	return nil
}

// checkAuthData looks at what the authenticator says of itself.
func (p Party) checkAuthData(d authData) error {
	hash := sha256.Sum256([]byte(p.ID))
	switch {
	case subtle.ConstantTimeCompare(d.party, hash[:]) != 1:
		return refuse("the answer is for another server")
	case !d.has(flagPresent):
		return refuse("nobody touched the authenticator")
	case !d.has(flagVerified):
		return refuse("the authenticator did not verify who uses it")
	case d.has(flagBackedUp) && !d.has(flagEligible):
		return refuse("it is on several devices and may not be")
	}
	return nil
}
