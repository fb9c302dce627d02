package pds

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/account"
	"perch/pds/migrate"
	"perch/pds/store"
	"perch/pds/web"
)

// movingName reads what somebody wrote as the name of an account.
func movingName(text string) (syntax.AtIdentifier, error) {
	id, err := syntax.ParseAtIdentifier(strings.TrimPrefix(strings.TrimSpace(text), "@"))
	if err != nil {
		return id, errors.Join(web.ErrNoAccount, err)
	}
	return id.Normalize(), nil
}

// MoveFrom implements web.MoveHost.
func (h pageHost) MoveFrom(ctx context.Context, name string) (*migrate.Source, bool, error) {
	id, err := movingName(name)
	if err != nil {
		return nil, false, err
	}
	from, err := h.s.migrations.Look(ctx, id)
	if err != nil {
		return nil, false, err
	}
	invite, err := h.s.needsInvite(ctx, from.DID)
	return from, invite, err
}

// MoveSignIn implements web.MoveHost.
func (h pageHost) MoveSignIn(ctx context.Context, name, password, code, invite string) (*migrate.Entered, error) {
	id, err := movingName(name)
	if err != nil {
		return nil, err
	}
	return h.s.migrations.Enter(ctx, migrate.Entry{Account: id, Password: password, Code: code, Invite: invite})
}

// MoveSendAway implements web.MoveHost.
func (h pageHost) MoveSendAway(ctx context.Context, name, invite string) (sealed, to string, err error) {
	id, err := movingName(name)
	if err != nil {
		return "", "", err
	}
	return h.s.migrations.SendAway(ctx, id, invite)
}

// MoveCameBack implements web.MoveHost.
func (h pageHost) MoveCameBack(ctx context.Context, sealed string, q url.Values) (*migrate.Entered, error) {
	return h.s.migrations.CameBack(ctx, sealed, q)
}

// MoveReturned implements web.MoveHost.
func (h pageHost) MoveReturned(ctx context.Context, q url.Values) error {
	_, err := h.s.migrations.Returned(ctx, q)
	return err
}

// MoveOpens implements web.MoveHost.
func (h pageHost) MoveOpens(ctx context.Context, did syntax.DID, key string) bool {
	return h.s.migrations.Opens(ctx, did, key)
}

// MoveInvite implements web.MoveHost.
func (h pageHost) MoveInvite(ctx context.Context, did syntax.DID) (string, error) {
	return h.s.migrations.Invite(ctx, did)
}

// MoveSettle implements web.MoveHost.
func (h pageHost) MoveSettle(ctx context.Context, did syntax.DID, in account.NewAccount) error {
	_, err := h.s.migrations.Settle(ctx, did, migrate.Begin{
		NewPassword: in.Password, Handle: in.Handle, Email: in.Email, InviteCode: in.InviteCode,
	})
	return err
}

// MoveStatus implements web.MoveHost.
func (h pageHost) MoveStatus(ctx context.Context, did syntax.DID) (*migrate.Status, error) {
	return h.s.migrations.Status(ctx, did)
}

// MoveDo implements web.MoveHost.
func (h pageHost) MoveDo(ctx context.Context, did syntax.DID, do web.MoveAction, words web.MoveWords) (*migrate.Status, error) {
	m := h.s.migrations
	switch do {
	case web.MoveConfirm:
		return m.Confirm(ctx, did, words.Code)
	case web.MoveSigned:
		return m.ConfirmSigned(ctx, did, *words.Operation)
	case web.MoveResend:
		return m.Resend(ctx, did)
	case web.MoveAgain:
		return m.Again(ctx, did)
	case web.MoveSignIn:
		return m.SignIn(ctx, did, words.Password, words.Code)
	case web.MoveStay:
		return m.Stay(ctx, did)
	case web.MoveAbandon:
		return m.Abandon(ctx, did)
	}
	return nil, migrate.ErrState
}

// MoveTo implements web.MoveHost.
func (h pageHost) MoveTo(ctx context.Context, acct *store.Account, to string) (*migrate.Destination, error) {
	return h.s.migrations.Inquire(ctx, acct.DID, to)
}

// MoveAway implements web.MoveHost.
func (h pageHost) MoveAway(ctx context.Context, in migrate.BeginOut) (*migrate.Status, error) {
	in.DeleteDays = min(max(in.DeleteDays, 0), maxDeleteDays)
	return h.s.migrations.BeginOut(ctx, in)
}
