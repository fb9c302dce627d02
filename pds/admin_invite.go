package pds

import (
	"context"
	"errors"
	"slices"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/account"
	"perch/pds/store"
	"perch/xrpc"
)

func inviteOutputs(invites []store.Invite) []inviteJSON {
	out := make([]inviteJSON, len(invites))
	for i, inv := range invites {
		out[i] = inviteOutput(inv)
	}
	return out
}

type getInviteCodesParams struct {
	Sort   string `query:"sort"`
	Limit  int64  `query:"limit"`
	Cursor string `query:"cursor"`
}

type getInviteCodesOutput struct {
	Cursor string       `json:"cursor,omitempty"`
	Codes  []inviteJSON `json:"codes"`
}

func (s *Server) getInviteCodes(ctx context.Context, p *getInviteCodesParams) (*getInviteCodesOutput, error) {
	var order store.InviteOrder
	switch p.Sort {
	case "recent":
		order = store.InvitesRecent
	case "usage":
		order = store.InvitesUsage
	default:
		return nil, xrpc.InvalidRequest("unknown sort method: %.100s", p.Sort)
	}
	if p.Cursor != "" {
		if _, err := s.store.Invite(ctx, p.Cursor); errors.Is(err, store.ErrNotFound) {
			return nil, store.ErrCursor
		}
	}
	invites, err := s.store.InvitesBy(ctx, order, p.Cursor, int(p.Limit)+1)
	if err != nil {
		return nil, err
	}
	out := &getInviteCodesOutput{}
	if len(invites) > int(p.Limit) {
		invites = invites[:p.Limit]
		out.Cursor = invites[p.Limit-1].Code
	}
	out.Codes = inviteOutputs(invites)
	return out, nil
}

type disableInviteCodesInput struct {
	Codes    []string `json:"codes"`
	Accounts []string `json:"accounts"`
}

func (s *Server) disableInviteCodes(ctx context.Context, in *disableInviteCodesInput) (*struct{}, error) {
	if slices.Contains(in.Accounts, account.Admin) {
		return nil, xrpc.InvalidRequest("cannot disable all codes of the admin: name the codes")
	}
	return &struct{}{}, s.accounts.DisableInvites(ctx, in.Codes, in.Accounts)
}

type accountInvitesInput struct {
	Account syntax.DID `json:"account"`
	Note    string     `json:"note"` // for the log
}

func (s *Server) enableAccountInvites(ctx context.Context, in *accountInvitesInput) (*struct{}, error) {
	return &struct{}{}, s.audit(ctx, in.enable(), func(ctx context.Context) error { return s.setAccountInvites(ctx, in, false) })
}

func (s *Server) disableAccountInvites(ctx context.Context, in *accountInvitesInput) (*struct{}, error) {
	return &struct{}{}, s.setAccountInvites(ctx, in, true)
}

func (s *Server) setAccountInvites(ctx context.Context, in *accountInvitesInput, disabled bool) error {
	acct, err := s.administered(ctx, in.Account.AtIdentifier())
	if err != nil {
		return err
	}
	if err := s.accounts.SetInvitesDisabled(ctx, acct, disabled); err != nil {
		return err
	}
	s.log.InfoContext(ctx, "invites of an account", "did", acct.DID, "disabled", disabled, "note", in.Note)
	return nil
}
