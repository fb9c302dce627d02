package migrate

import (
	"context"
	"encoding/json"
	"io"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/identity/plc"
	"perch/pds/store"
)

// Resident is an account of this server.
type Resident struct {
	ID     store.AccountID
	Handle syntax.Handle
	Email  string // "" for none
}

// Exported is a repository as it was sent.
type Exported struct {
	Commit cid.Cid
	Data   cid.Cid
}

// LeavingBlob is a blob of this server, open for reading.
type LeavingBlob struct {
	io.ReadCloser
	Type string // MIME
	Size int64
}

// Recommended are what a DID shall name when its account lives at a host, as that one says.
type Recommended struct {
	RotationKeys        []string               `json:"rotationKeys"`
	AlsoKnownAs         []string               `json:"alsoKnownAs"`
	VerificationMethods map[string]string      `json:"verificationMethods"`
	Services            map[string]plc.Service `json:"services"`
}

// document is a whole document of a did:web that names all this, for its owner to publish.
func (r Recommended) document(did syntax.DID) (json.RawMessage, error) {
	return plc.Document(did, plc.Operation{AlsoKnownAs: r.AlsoKnownAs, VerificationMethods: r.VerificationMethods, Services: r.Services})
}

// Leaving is this server as the host that an account leaves.
type Leaving interface {
	// Resident: store.ErrNotFound when there is no such account, or it was deleted.
	Resident(ctx context.Context, did syntax.DID) (Resident, error)
	// ServiceToken speaks for the account at another service.
	ServiceToken(ctx context.Context, acct store.AccountID, audience string, method syntax.NSID) (string, error)
	// Export writes the repository as a CAR.
	Export(ctx context.Context, acct store.AccountID, w io.Writer) (Exported, error)
	// OpenBlob: store.ErrNotFound when its bytes are not here.
	OpenBlob(ctx context.Context, acct store.AccountID, c cid.Cid) (LeavingBlob, error)
	// MailCode mails the owner a code for the change of the DID. That it cannot be mailed is no error: the operator can make one.
	MailCode(ctx context.Context, acct store.AccountID) error
	UseCode(ctx context.Context, tx *store.Tx, acct store.AccountID, code string) error
	// Plan returns the unsigned operation that moves the DID, and whether this server may sign it. Rotation keys that are the owner's stay.
	Plan(ctx context.Context, did syntax.DID, handle syntax.Handle, to Recommended) (op plc.Operation, sign bool, err error)
	Sign(op plc.Operation) (plc.Operation, error)
	// Hold deactivates the account, and runs hook in the same transaction: wasActive tells whether it was deactivated only now.
	Hold(ctx context.Context, acct store.AccountID, hook func(tx *store.Tx, wasActive bool) error) error
	// Release makes a deactivated account active again. ErrChanged when its DID names another server.
	Release(ctx context.Context, acct store.AccountID) error
	// Names tells whether the DID document names a server and a key.
	Names(ctx context.Context, did syntax.DID, endpoint, key string) (bool, error)
	// DeleteAfter has the deactivated account deleted after some days.
	DeleteAfter(ctx context.Context, acct store.AccountID, days int) error
	// Follows counts the account's follows.
	Follows(ctx context.Context, acct store.AccountID) (int64, error)
}
