package web

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity"
	"perch/identity/plc"
	"perch/pds/account"
	"perch/pds/store"
)

// Why the server does not do what a page of an account asks of it, beside the errors of the packages below.
var (
	// ErrNoEmail: the account has no address to which a code could be sent.
	ErrNoEmail = errors.New("account has no e-mail address")
	// ErrDirectory: the directory of DIDs does not answer, or takes nothing more just now.
	ErrDirectory = errors.New("DID directory does not answer")
	// ErrBusy: try again in a moment.
	ErrBusy = errors.New("server is busy")
	// ErrLimit: it was asked for too often.
	ErrLimit = errors.New("too many requests")
	// ErrProfile: a name or description is too long.
	ErrProfile = errors.New("profile does not fit its lexicon")
)

// Refused is a refusal in the words of the server's API, in English.
type Refused struct {
	Message string
	Err     error
}

// Error implements error.
func (r *Refused) Error() string { return r.Message }

// Unwrap returns the cause.
func (r *Refused) Unwrap() error { return r.Err }

// AccountHost is what the pages on which people look after their account ask of the server. Its methods are those of the API's methods, with the same rules.
type AccountHost interface {
	// SendCode mails a code for a purpose to the account's address.
	SendCode(ctx context.Context, acct *store.Account, purpose account.Purpose) error
	// ChangeEmail gives it another e-mail address, with the code that went to the present one if that is confirmed.
	ChangeEmail(ctx context.Context, acct *store.Account, email, code string) error
	// ChangeHandle gives the account another handle, in its DID too.
	ChangeHandle(ctx context.Context, acct *store.Account, handle string) error
	// InspectHandle tells what DNS and the web say of a handle.
	InspectHandle(ctx context.Context, handle syntax.Handle) (identity.HandleReport, error)
	ProfileHost
	// Storage tells how much is stored of the account.
	Storage(ctx context.Context, acct *store.Account) (Storage, error)
	// Download opens a file with what is stored of the account. It must be closed.
	Download(ctx context.Context, acct *store.Account, kind DownloadKind) (*Download, error)
	// Deactivate hides the account, to be deleted after the time given unless that is zero.
	Deactivate(ctx context.Context, acct *store.Account, deleteAfter time.Time) error
	// Delete ends an account for an owner with the password and the code from the mail.
	Delete(ctx context.Context, acct *store.Account, password, code string) error

	KeyHost
}

// KeyHost is what the server does about rotation keys. Changes need the code from a mail.
type KeyHost interface {
	// HasRotationKeys tells whether the account's DID is of a kind that has such keys.
	HasRotationKeys(acct *store.Account) bool
	RotationKeys(ctx context.Context, acct *store.Account) ([]RotationKey, error)
	// CreateRotationKey adds a key that is made for the owner and not kept.
	CreateRotationKey(ctx context.Context, acct *store.Account, code string) (public, private string, err error)
	AddRotationKey(ctx context.Context, acct *store.Account, key, code string) error
	// RemoveRotationKey removes a key; the server's only with giveUp.
	RemoveRotationKey(ctx context.Context, acct *store.Account, key string, giveUp bool, code string) error
	// Alerts lists the open changes of the account's DID that this server did not make.
	Alerts(ctx context.Context, acct *store.Account) ([]Alert, error)
	// Undo takes such a change back, with the owner's private key if one is given.
	Undo(ctx context.Context, acct *store.Account, operation, privateKey, code string) error
	// DismissAlerts notes that all of them are in order.
	DismissAlerts(ctx context.Context, acct *store.Account) error
}

// Storage is how much is stored of an account.
type Storage struct {
	Records, RecordBytes int64
	Blobs, BlobBytes     int64
	ExportBytes          int64 // about the size of a file with all of it
}

// DownloadKind is what a file of an account holds.
type DownloadKind string

// The kinds.
const (
	DownloadAll  DownloadKind = "zip" // repository, blobs, preferences
	DownloadRepo DownloadKind = "car"
)

// Download is a file that is made while it is sent.
type Download struct {
	Type  string
	Write func(w io.Writer) error
	Close func()
}

// RotationKey is a key that may change an account's DID.
type RotationKey struct {
	Key    string // did:key
	Holder string // owner, operator or server
}

// Alert is a change of an account's DID that this server did not make.
type Alert struct {
	Operation string // CID
	Holder    string // of the key that signed it
	Asked     bool   // signed here with a code from a mail
	Changes   []plc.Change
	MadeAt    time.Time
	UndoUntil time.Time
}
