package pds

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity"
	"perch/identity/plc"
	"perch/pds/migrate"
	"perch/pds/oauthclient"
	"perch/pds/store"
	"perch/xrpc"
)

// MigratePath is where the command line moves accounts to the running server.
const MigratePath = "/perch/migrate"

// Actions of a MigrateRequest.
const (
	MigrateShow    = "show"
	MigrateList    = "list"
	MigratePlan    = "plan"  // what MigrateBegin would do
	MigrateOAuth   = "oauth" // sign in at the old host in a browser, in place of the password; the answer has a URL
	MigrateStay    = "stay"  // leave the account at the old host active
	MigrateBegin   = "begin"
	MigrateOut     = "out" // begins a move to another server
	MigrateSignIn  = "sign-in"
	MigrateCode    = "code"
	MigrateSigned  = "signed"
	MigrateResend  = "resend"
	MigrateAgain   = "again"
	MigrateAbandon = "abandon"
)

// MigrateRequest is what the operator, or an account's owner through the operator's command line, does about a move to this server or from it.
type MigrateRequest struct {
	Action      string `json:"action"`
	Account     string `json:"account"`               // handle or DID
	Password    string `json:"password,omitempty"`    // of the old host
	Code        string `json:"code,omitempty"`        // its second factor, or for MigrateCode the one for the change of the DID
	RotationKey string `json:"rotationKey,omitempty"` // private, in place of that code: hexadecimal or multibase
	NewPassword string `json:"newPassword,omitempty"` // for here
	MailReset   bool   `json:"mailReset,omitempty"`   // in place of NewPassword: the owner is mailed a code at the end, to choose one
	Handle      string `json:"handle,omitempty"`      // here
	Email       string `json:"email,omitempty"`       // here

	// Of a move out, of which handle, address and new password are those for the new server.
	To         string         `json:"to,omitempty"`         // its origin
	Invite     string         `json:"invite,omitempty"`     // code
	DeleteDays int            `json:"deleteDays,omitempty"` // after which the account here is deleted; 0: never
	Operation  *plc.Operation `json:"operation,omitempty"`  // for MigrateSigned
}

// maxDeleteDays is how long a moved account can be asked to be kept before it is deleted.
const maxDeleteDays = 3650

// Migration is how a move stands.
type Migration = migrate.Status

// MigrationAbandoned is the state of a move that was given up, and of which something may be left at the new server.
const MigrationAbandoned = migrate.StateAbandoned

// What a Migration waits for, in its Needs.
const (
	MigrationNeedsBegin    = migrate.NeedsBegin
	MigrationNeedsFactor   = migrate.NeedsFactor
	MigrationNeedsSignIn   = migrate.NeedsSignIn
	MigrationNeedsConsent  = migrate.NeedsConsent
	MigrationNeedsAccount  = migrate.NeedsAccount
	MigrationNeedsFarewell = migrate.NeedsFarewell
	MigrationNeedsCode     = migrate.NeedsCode
	MigrationNeedsKey      = migrate.NeedsKey
	MigrationNeedsDocument = migrate.NeedsDocument

	MigrationNeedsHandle    = migrate.NeedsHandle
	MigrationNeedsEmail     = migrate.NeedsEmail
	MigrationNeedsInvite    = migrate.NeedsInvite
	MigrationNeedsPassword  = migrate.NeedsPassword
	MigrationNeedsSignature = migrate.NeedsSignature
)

// MigrateAnswer is how the account's move stands, or for MigrateList all of them.
type MigrateAnswer struct {
	Found      bool         `json:"found"`
	Migration  *Migration   `json:"migration,omitempty"`
	Migrations []*Migration `json:"migrations,omitempty"`
	URL        string       `json:"url,omitempty"` // for MigrateOAuth: what the account's owner has to open
}

func (s *Server) operatorMigrate(ctx context.Context, in *MigrateRequest) (*MigrateAnswer, error) {
	if in.Action == MigrateList {
		all, err := s.migrations.All(ctx)
		return &MigrateAnswer{Found: len(all) > 0, Migrations: all}, err
	}
	st, to, err := s.migrateOne(ctx, in)
	if errors.Is(err, store.ErrNotFound) && in.Action == MigrateShow {
		return &MigrateAnswer{}, nil
	}
	if err == nil && st != nil {
		err = auditSubject(ctx, st.DID)
	}
	if err != nil {
		return nil, migrateError(err)
	}
	return &MigrateAnswer{Found: true, Migration: st, URL: to}, nil
}

// migrateOne answers how the account's move stands then, and for MigrateOAuth where its owner has to go.
func (s *Server) migrateOne(ctx context.Context, in *MigrateRequest) (st *Migration, to string, err error) {
	id, err := syntax.ParseAtIdentifier(in.Account)
	if err != nil {
		return nil, "", xrpc.InvalidRequest("account must be a handle or a DID")
	}
	id = id.Normalize()
	begin := migrate.Begin{
		Account: id, Password: in.Password, Code: in.Code, NewPassword: in.NewPassword, MailReset: in.MailReset, Handle: in.Handle, Email: in.Email,
		RotationKey: in.RotationKey,
	}
	if in.MailReset {
		begin.NewPassword = rand.Text()
	}
	switch in.Action {
	case MigratePlan:
		st, err = s.migrations.Plan(ctx, begin)
	case MigrateOAuth:
		return s.migrations.Consent(ctx, begin)
	case MigrateBegin:
		st, err = s.migrations.Begin(ctx, begin)
	case MigrateOut:
		st, err = s.migrateOut(ctx, id, in)
	default:
		st, err = s.migrateKnown(ctx, id, in)
	}
	return st, "", err
}

// migrateKnown does something about a move that has begun.
func (s *Server) migrateKnown(ctx context.Context, id syntax.AtIdentifier, in *MigrateRequest) (*Migration, error) {
	did, err := s.migratingDID(ctx, id)
	if err != nil {
		return nil, err
	}
	switch in.Action {
	case MigrateShow:
		return s.migrations.Status(ctx, did)
	case MigrateSignIn:
		return s.migrations.SignIn(ctx, did, in.Password, in.Code)
	case MigrateCode:
		if in.RotationKey != "" {
			return s.migrations.ConfirmWithKey(ctx, did, in.RotationKey)
		}
		return s.migrations.Confirm(ctx, did, in.Code)
	case MigrateSigned:
		if in.Operation == nil {
			return nil, xrpc.InvalidRequest("operation is missing")
		}
		return s.migrations.ConfirmSigned(ctx, did, *in.Operation)
	case MigrateResend:
		return s.migrations.Resend(ctx, did)
	case MigrateStay:
		return s.migrations.Stay(ctx, did)
	case MigrateAgain:
		return s.migrations.Again(ctx, did)
	case MigrateAbandon:
		return s.migrations.Abandon(ctx, did)
	}
	return nil, xrpc.InvalidRequest("action must be show, list, plan, oauth, begin, out, sign-in, code, signed, resend, again, stay or abandon")
}

func (s *Server) migrateOut(ctx context.Context, id syntax.AtIdentifier, in *MigrateRequest) (*Migration, error) {
	if in.DeleteDays < 0 || in.DeleteDays > maxDeleteDays {
		return nil, xrpc.InvalidRequest("deleteDays must be between 0 and %d", maxDeleteDays)
	}
	acct, err := s.localAccount(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, noAccount(id.String(), err)
	}
	if err != nil {
		return nil, err
	}
	return s.migrations.BeginOut(ctx, migrate.BeginOut{
		Account: acct.DID, To: in.To, NewPassword: in.NewPassword, Handle: in.Handle, Email: in.Email, Invite: in.Invite, DeleteDays: in.DeleteDays,
	})
}

// migratingDID finds the account of a move. Its handle may resolve nowhere for a while, so what moves under way know of it counts first. Of a move that has ended
// it counts last: the handle may be somebody else's by now.
func (s *Server) migratingDID(ctx context.Context, id syntax.AtIdentifier) (syntax.DID, error) {
	if id.IsDID() {
		return id.AsDID()
	}
	if did, err := s.migrations.Find(ctx, id.String(), false); !errors.Is(err, store.ErrNotFound) {
		return did, err
	}
	handle, err := id.AsHandle()
	if err != nil {
		return "", err
	}
	did, resolveErr := s.identity.ResolveHandle(ctx, handle)
	if resolveErr == nil {
		return did, nil
	}
	if did, err = s.migrations.Find(ctx, id.String(), true); err != nil {
		return "", resolveErr
	}
	return did, nil
}

// migrateErrors is the table from refusals to their names, for the command line alone. The first that fits counts.
var migrateErrors = []struct {
	is   error
	name string
}{
	{migrate.ErrHere, "LivesHere"},
	{migrate.ErrHandle, "HandleNeeded"},
	{migrate.ErrChanged, "DIDChanged"},
	{migrate.ErrBusy, "OldHostBusy"},
	{migrate.ErrState, "OtherState"},
	{oauthclient.ErrNone, "OAuthNotOffered"},
	{oauthclient.ErrRefused, "OAuthRefused"},
	{oauthclient.ErrAnswer, "OAuthRefused"},
	{migrate.ErrEmail, "EmailNeeded"},
	{migrate.ErrOperation, "InvalidOperation"},
	{migrate.ErrKey, "InvalidRotationKey"},
	{migrate.ErrHost, "InvalidHost"},
	{migrate.ErrUnsure, "DirectorySilent"},
}

// migrateError gives refusals their form on the wire.
func migrateError(err error) error {
	var host *migrate.HostError
	switch {
	case errors.As(err, &host):
		return &xrpc.Error{Status: 400, Name: strings.ToUpper(host.Side[:1]) + host.Side[1:] + "Host" + host.Name, Message: err.Error(), Err: err}
	case errors.Is(err, store.ErrNotFound):
		return &xrpc.Error{Status: 400, Name: "MigrationNotFound", Message: "No move of this account has begun", Err: err}
	case errors.Is(err, identity.ErrHandleNotFound), errors.Is(err, identity.ErrNotFound):
		return &xrpc.Error{Status: 400, Name: "AccountNotFound", Message: err.Error(), Err: err}
	}
	for _, known := range migrateErrors {
		if errors.Is(err, known.is) {
			return &xrpc.Error{Status: 400, Name: known.name, Message: err.Error(), Err: err}
		}
	}
	if wireError(err) == nil && wireStruct(err) == nil {
		var e *xrpc.Error
		if !errors.As(err, &e) { // the operator may read what is wrong
			return &xrpc.Error{Status: 502, Name: "MigrationFailed", Message: err.Error(), Err: err}
		}
	}
	return err
}
