package pds

import (
	"context"
	"errors"
	"net/http"
	"syscall"

	"perch/identity/plc"
	"perch/lexicons"
	"perch/pds/account"
	"perch/pds/auth"
	"perch/pds/blob"
	"perch/pds/firehose"
	"perch/pds/proxy"
	"perch/pds/store"
	"perch/repo"
	"perch/xrpc"
)

const diskFullMessage = "The server's disk is full, so nothing was stored. Its operator has to make room. Try again later."

// wireErrors is the one table from our errors to those of the lexicons. The message is the error's own text unless one stands here.
// The first that fits counts.
var wireErrors = []struct {
	is      error
	status  int
	name    string
	message string
}{
	{repo.ErrCAR, 400, "InvalidCar", ""},
	{repo.ErrMissingBlock, 400, "MissingBlock", ""},
	{repo.ErrTree, 400, "InvalidTree", ""},
	{repo.ErrRecord, 400, "InvalidRecord", ""},
	{repo.ErrCommit, 400, "InvalidCommit", ""},
	{repo.ErrSignature, 400, "InvalidSignature", ""},

	{repo.ErrSwap, 400, "InvalidSwap", ""},
	{repo.ErrRecordExists, 400, "RecordAlreadyExists", ""},
	{repo.ErrRecordNotFound, 400, "RecordNotFound", ""},
	{repo.ErrTooManyOps, 400, xrpc.NameInvalidRequest, "Too many writes. Max: 200"},
	{repo.ErrTooLarge, 400, xrpc.NameInvalidRequest, ""},
	{repo.ErrInvalidRecord, 400, xrpc.NameInvalidRequest, ""},

	{lexicons.ErrBlobTooLarge, 400, "BlobTooLarge", ""},
	{lexicons.ErrBlobType, 400, "InvalidMimeType", ""},

	{account.ErrInvalidHandle, 400, "InvalidHandle", ""},
	{account.ErrHandleNotAvailable, 400, "HandleNotAvailable", ""},
	{account.ErrHandleChanging, 409, xrpc.NameInvalidRequest, ""},
	{account.ErrUnsupportedDomain, 400, "UnsupportedDomain", ""},
	{account.ErrInvalidEmail, 400, xrpc.NameInvalidRequest, ""},
	{account.ErrInvalidPassword, 400, "InvalidPassword", ""},
	{account.ErrInvalidInvite, 400, "InvalidInviteCode", ""},
	{account.ErrBadCredentials, 401, xrpc.NameAuthRequired, "Invalid identifier or password"},
	{account.ErrTakendown, 401, "AccountTakedown", "Account has been taken down"},
	{account.ErrFactorRequired, 401, "AuthFactorTokenRequired", ""},
	{account.ErrFactorInvalid, 400, "InvalidToken", ""},
	{account.ErrFactorLocked, 429, xrpc.NameRateLimit, ""},
	{account.ErrFactorNeeded, 400, "FactorNeeded", ""},
	{account.ErrSessionRevoked, 400, "ExpiredToken", "Token has been revoked"},
	{account.ErrInvalidCode, 400, "InvalidToken", ""},
	{account.ErrExpiredCode, 400, "ExpiredToken", ""},
	{account.ErrCodeRequired, 400, "TokenRequired", ""},
	{account.ErrOtherEmail, 400, "InvalidEmail", ""},
	{errNoEmail, 400, xrpc.NameInvalidRequest, ""},
	{account.ErrInvalidName, 400, xrpc.NameInvalidRequest, ""},
	{account.ErrInvalidPreferences, 400, xrpc.NameInvalidRequest, ""},

	{account.ErrUnknownKey, 400, xrpc.NameInvalidRequest, ""},

	{store.ErrDeleted, 403, "AccountNotFound", "Account not found"},
	{store.ErrHandleTaken, 400, xrpc.NameInvalidRequest, "Handle already taken"},
	{store.ErrEmailTaken, 400, xrpc.NameInvalidRequest, "Email already taken"},
	{store.ErrDIDTaken, 400, xrpc.NameInvalidRequest, "The DID has an account here already"},
	{store.ErrBlobNotFound, 400, "BlobNotFound", ""},
	{store.ErrBlobSize, 400, "InvalidSize", ""},
	{store.ErrBlobType, 400, "InvalidMimeType", ""},
	{store.ErrCursor, 400, xrpc.NameInvalidRequest, "cursor is not one that this method gave out"},
	{store.ErrActive, 400, "AccountActive", "The account is active: deactivate it before its repository is replaced"},
	{store.ErrReplacing, 400, "ImportInProgress", "An import of this repository is not finished yet. Try again in a moment."},
	{store.ErrHeld, 400, "AccountMoving", "The account is on its way to another server, so nothing of it can be changed here"},
	{store.ErrInactive, 401, "AccountDeactivated", "Account is deactivated"},
	{store.ErrKeyChanged, 503, xrpc.NameNotEnough, "The account's key has just changed. Try again in a moment."},
	{store.ErrDiskFull, 503, xrpc.NameNotEnough, diskFullMessage},
	{syscall.ENOSPC, 503, xrpc.NameNotEnough, diskFullMessage},
	{syscall.EDQUOT, 503, xrpc.NameNotEnough, diskFullMessage},
	{store.ErrOvertaken, 503, xrpc.NameNotEnough, "The repository has changed while it was read. Try again."},
	{store.ErrClosed, 503, xrpc.NameNotEnough, "The server is stopping. Try again in a moment."},

	{blob.ErrTooLarge, 413, xrpc.NamePayloadTooLarge, "The blob is larger than this server takes; describeServer tells its blobUploadLimit"},
	{blob.ErrDiskFull, 503, xrpc.NameNotEnough, "This server has no room for uploads just now"},
	{blob.ErrNotFound, 400, "BlobNotFound", "Blob not found"},

	{plc.ErrRateLimited, 429, xrpc.NameRateLimit, "The PLC directory takes no more operations for this DID just now"},
	{plc.ErrUnavailable, 502, xrpc.NameUpstreamFailure, "The PLC directory does not answer. Try again later."},
	{plc.ErrNotFound, 400, "DidNotFound", "The PLC directory does not know the DID"},
	{plc.ErrTombstoned, 400, "DidDeactivated", "The DID was given up with a tombstone"},
	{plc.ErrMisordered, 409, xrpc.NameInvalidRequest, "The DID has changed meanwhile. Try again."},
	{plc.ErrInvalidOperation, 400, xrpc.NameInvalidRequest, "Unable to perform PLC operation"},
	{context.DeadlineExceeded, 504, xrpc.NameUpstreamTimeout, "It took too long. Try again later."},
}

// wireError gives an error of the layers below its form on the wire, or nil for one that it does not know, which becomes a 500.
func wireError(err error) *xrpc.Error {
	if e := wireStruct(err); e != nil {
		return e
	}
	for _, w := range wireErrors {
		if errors.Is(err, w.is) {
			return &xrpc.Error{Status: w.status, Name: w.name, Message: wireMessage(w.message, err), Err: err}
		}
	}
	return nil
}

// wireStruct maps the errors that bring their own status and name.
func wireStruct(err error) *xrpc.Error {
	var a *auth.Error
	var p *proxy.Error
	var f *firehose.Error
	var l *lexicons.Error
	switch {
	case errors.As(err, &l) && l.Kind == nil:
		return &xrpc.Error{Status: 400, Name: xrpc.NameInvalidRequest, Message: err.Error()}
	case errors.As(err, &a):
		e := &xrpc.Error{Status: a.Status, Name: a.Name, Message: a.Message, Err: err}
		if a.Challenge != "" {
			e.Header = http.Header{"Www-Authenticate": {a.Challenge}}
		}
		return e
	case errors.As(err, &p):
		return &xrpc.Error{Status: p.Status, Name: p.Name, Message: p.Message, Header: p.Header, Err: err}
	case errors.As(err, &f):
		return &xrpc.Error{Status: f.Status, Name: f.Name, Message: f.Message, Header: f.Header, Err: err}
	}
	return nil
}

// wireMessage is what the client reads: the table's sentence, or else that of a refusal made for it, or else the error's own.
func wireMessage(fixed string, err error) string {
	var refused *account.Refused
	switch {
	case errors.As(err, &refused) && refused.Message != "":
		return refused.Message
	case fixed != "":
		return fixed
	}
	return err.Error()
}
