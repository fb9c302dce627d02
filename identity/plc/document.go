package plc

import (
	"encoding/json"
	"slices"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
)

type didDocument struct {
	Context            []string             `json:"@context"`
	ID                 syntax.DID           `json:"id"`
	AlsoKnownAs        []string             `json:"alsoKnownAs"`
	VerificationMethod []verificationMethod `json:"verificationMethod"`
	Service            []documentService    `json:"service"`
}

type verificationMethod struct {
	ID                 string     `json:"id"`
	Type               string     `json:"type"`
	Controller         syntax.DID `json:"controller"`
	PublicKeyMultibase string     `json:"publicKeyMultibase"`
}

type documentService struct {
	ID              string `json:"id"`
	Type            string `json:"type"`
	ServiceEndpoint string `json:"serviceEndpoint"`
}

// Document returns the DID document, as JSON, that the directory makes of the
// operation op. It returns ErrTombstoned for a tombstone.
func Document(did syntax.DID, op Operation) ([]byte, error) {
	if op.Type == TypeTombstone {
		return nil, ErrTombstoned
	}
	doc := didDocument{
		Context:            []string{"https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"},
		ID:                 did,
		AlsoKnownAs:        append([]string{}, op.AlsoKnownAs...),
		VerificationMethod: []verificationMethod{},
		Service:            []documentService{},
	}
	for _, name := range sortedKeys(op.VerificationMethods) {
		didKey := op.VerificationMethods[name]
		if c := keyContext(didKey); c != "" && !slices.Contains(doc.Context, c) {
			doc.Context = append(doc.Context, c)
		}
		doc.VerificationMethod = append(doc.VerificationMethod, verificationMethod{
			ID:                 did.String() + "#" + name,
			Type:               "Multikey",
			Controller:         did,
			PublicKeyMultibase: didKey[min(len("did:key:"), len(didKey)):],
		})
	}
	for _, name := range sortedKeys(op.Services) {
		s := op.Services[name]
		doc.Service = append(doc.Service, documentService{ID: "#" + name, Type: s.Type, ServiceEndpoint: s.Endpoint})
	}
	return json.Marshal(doc)
}

func keyContext(didKey string) string {
	key, err := atcrypto.ParsePublicDIDKey(didKey)
	if err != nil {
		return ""
	}
	switch key.(type) {
	case *atcrypto.PublicKeyK256:
		return "https://w3id.org/security/suites/secp256k1-2019/v1"
	case *atcrypto.PublicKeyP256:
		return "https://w3id.org/security/suites/ecdsa-2019/v1"
	}
	return ""
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Data is a DID's present state, as GET /:did/data answers it.
type Data struct {
	DID                 syntax.DID         `json:"did"`
	VerificationMethods map[string]string  `json:"verificationMethods"`
	RotationKeys        []string           `json:"rotationKeys"`
	AlsoKnownAs         []string           `json:"alsoKnownAs"`
	Services            map[string]Service `json:"services"`
}

func dataOf(did syntax.DID, op Operation) Data {
	op = op.Clone()
	d := Data{did, op.VerificationMethods, op.RotationKeys, op.AlsoKnownAs, op.Services}
	if d.VerificationMethods == nil {
		d.VerificationMethods = map[string]string{}
	}
	if d.RotationKeys == nil {
		d.RotationKeys = []string{}
	}
	if d.AlsoKnownAs == nil {
		d.AlsoKnownAs = []string{}
	}
	if d.Services == nil {
		d.Services = map[string]Service{}
	}
	return d
}
