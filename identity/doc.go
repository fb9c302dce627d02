// Package identity finds out who is who on the network: DID documents of
// did:plc and did:web, handles in both directions, and caches for both. It also
// holds the guarded HTTP client through which Perch fetches anything whose
// address a stranger chose.
//
// Specifications: https://atproto.com/specs/did and https://atproto.com/specs/handle
package identity
