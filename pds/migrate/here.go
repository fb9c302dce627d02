package migrate

import (
	"context"
	"errors"
	"io"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/identity/plc"
	"perch/pds/store"
)

// NewAccount is the account that is to be made here.
type NewAccount struct {
	DID          syntax.DID
	Handle       string
	Email        string
	Password     string
	ServiceToken string // of the old host, in which the DID's key says that the account may be made
	ByOwner      bool   // and not by the operator: the rules for sign-up hold
	InviteCode   string // for ByOwner
}

// Facts are what this server holds of an account.
type Facts struct {
	Commit        cid.Cid
	Data          cid.Cid // root of the tree
	Records       int64
	Blobs         int64 // that records refer to
	BlobsHere     int64
	BlobBytes     int64
	SigningKeyDID string
	Down          bool // the account has been taken down or suspended here
}

// Imported is a repository that was verified and stored.
type Imported struct {
	Commit cid.Cid // of the old host
	Data   cid.Cid
}

// Here is this server, to which the account moves, or which it leaves.
type Here interface {
	Leaving
	URL() string
	ServiceDID() syntax.DID
	// OwnHandle tells handles under this server's own domains.
	OwnHandle(syntax.Handle) bool
	// MayCome tells whether somebody with an invite code, or none, may bring an account here.
	MayCome(ctx context.Context, did syntax.DID, invite string) error
	// Create makes a deactivated account, or takes up the one that has been here and is deactivated, and runs hook in the same transaction. existed says which.
	Create(ctx context.Context, in NewAccount, hook func(tx *store.Tx, acct store.AccountID, existed bool) error) error
	// Import stores a repository that was verified as a whole. ErrRepoTooLarge.
	Import(ctx context.Context, acct store.AccountID, car io.Reader) (Imported, error)
	// Facts: store.ErrNotFound when the account is gone.
	Facts(ctx context.Context, acct store.AccountID) (Facts, error)
	MissingBlobs(ctx context.Context, acct store.AccountID, after cid.Cid, limit int) ([]cid.Cid, error)
	// PutBlob stores a blob if its bytes have the CID. ErrTooLarge, ErrOtherBlob.
	PutBlob(ctx context.Context, acct store.AccountID, want cid.Cid, contentType string, r io.Reader) error
	Preferences(ctx context.Context, acct store.AccountID) ([]byte, error)
	PutPreferences(ctx context.Context, acct store.AccountID, prefs []byte) error
	// Credentials are what the DID should name, as getRecommendedDidCredentials answers.
	Credentials(ctx context.Context, acct store.AccountID) (Recommended, error)
	// RotationKeys are those that this server puts into every DID, highest authority first.
	RotationKeys() ([]string, error)
	// CheckOperation tells whether the account can live here with the operation.
	CheckOperation(ctx context.Context, acct store.AccountID, op *plc.Operation) error
	LastOperation(ctx context.Context, did syntax.DID) (plc.Operation, error)
	Submit(ctx context.Context, did syntax.DID, op plc.Operation) error
	// Named tells whether the DID document names this server and the account's key.
	Named(ctx context.Context, acct store.AccountID) (bool, error)
	Activate(ctx context.Context, acct store.AccountID) error
	// MailReset mails the owner a code with which to choose a password.
	MailReset(ctx context.Context, acct store.AccountID) error
	// Delete removes an account of which the network was never told, unless its DID may name this server. That it is gone is no error.
	Delete(ctx context.Context, acct store.AccountID) error
}

// Errors of Import and PutBlob that another attempt would not change.
var (
	ErrRepoTooLarge = errors.New("the repository is larger than this server takes")
	ErrTooLarge     = errors.New("the blob is larger than this server takes")
	ErrOtherBlob    = errors.New("the old host sends other bytes than the CID says")
)
