package web

import (
	"context"
	"net/url"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/account"
	"perch/pds/migrate"
	"perch/pds/store"
)

// MoveHost is what the pages ask of the server about accounts that move here, or away.
type MoveHost interface {
	// MoveFrom tells where an account lives, and whether it needs an invite code to move here.
	MoveFrom(ctx context.Context, account string) (from *migrate.Source, invite bool, err error)
	// MoveSignIn signs in at the old host with its password.
	MoveSignIn(ctx context.Context, account, password, code, invite string) (*migrate.Entered, error)
	// MoveSendAway returns what a browser keeps that goes to the old host to sign in there, and where it goes.
	MoveSendAway(ctx context.Context, account, invite string) (sealed, to string, err error)
	MoveCameBack(ctx context.Context, sealed string, q url.Values) (*migrate.Entered, error)
	// MoveReturned takes back a browser that has signed in at the old host for a move that the operator has begun. store.ErrNotFound when nobody waits for it.
	MoveReturned(ctx context.Context, q url.Values) error
	// MoveOpens tells whether a key opens the pages of an account's move.
	MoveOpens(ctx context.Context, did syntax.DID, key string) bool
	// MoveInvite is the code that was given before the sign-in.
	MoveInvite(ctx context.Context, did syntax.DID) (string, error)
	// MoveSettle makes the account here, by the rules for sign-up.
	MoveSettle(ctx context.Context, did syntax.DID, in account.NewAccount) error
	// MoveStatus tells how a move stands. store.ErrNotFound when there is none.
	MoveStatus(ctx context.Context, did syntax.DID) (*migrate.Status, error)
	// MoveDo does something about a move that has begun.
	MoveDo(ctx context.Context, did syntax.DID, do MoveAction, words MoveWords) (*migrate.Status, error)

	// MoveTo asks a server to which an account may go what it wants.
	MoveTo(ctx context.Context, acct *store.Account, to string) (*migrate.Destination, error)
	// MoveAway brings an account to another server.
	MoveAway(ctx context.Context, in migrate.BeginOut) (*migrate.Status, error)
}

// MoveAction is what an owner does about a move that has begun.
type MoveAction string

// The actions.
const (
	MoveConfirm MoveAction = "confirm" // with the mailed code
	MoveSigned  MoveAction = "signed"  // with the operation, signed by the owner
	MoveResend  MoveAction = "resend"  // mail another code
	MoveAgain   MoveAction = "again"   // look for lost blobs again
	MoveSignIn  MoveAction = "sign-in" // with the other host's password: at the old one only to deactivate the account there, at the new one to go on
	MoveStay    MoveAction = "stay"    // leave the account there as it is
	MoveAbandon MoveAction = "abandon"
)

// MoveWords are what an action may need.
type MoveWords struct {
	Code, Password string
	Operation      *plc.Operation
}
