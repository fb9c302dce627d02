package pds

import (
	"context"
	"time"

	"perch/pds/account"
	"perch/pds/auth"
	"perch/pds/store"
	"perch/xrpc"
)

// maxInviteCodes is how many codes one createInviteCodes call may make for all its accounts together.
const maxInviteCodes = 1000

type createInviteCodeInput struct {
	UseCount   int64  `json:"useCount"`
	ForAccount string `json:"forAccount"`
}

type createInviteCodeOutput struct {
	Code string `json:"code"`
}

func (s *Server) createInviteCode(ctx context.Context, in *createInviteCodeInput) (*createInviteCodeOutput, error) {
	owner := in.ForAccount
	if owner == "" {
		owner = account.Admin
	}
	codes, err := s.makeInvites(ctx, []string{owner}, 1, in.UseCount)
	if err != nil {
		return nil, err
	}
	return &createInviteCodeOutput{Code: codes[0][0].Code}, nil
}

type createInviteCodesInput struct {
	CodeCount   int64    `json:"codeCount"`
	UseCount    int64    `json:"useCount"`
	ForAccounts []string `json:"forAccounts"`
}

type createInviteCodesOutput struct {
	Codes []accountCodes `json:"codes"`
}

type accountCodes struct {
	Account string   `json:"account"`
	Codes   []string `json:"codes"`
}

func (s *Server) createInviteCodes(ctx context.Context, in *createInviteCodesInput) (*createInviteCodesOutput, error) {
	owners := in.ForAccounts
	if len(owners) == 0 {
		owners = []string{account.Admin}
	}
	if in.CodeCount < 1 || in.CodeCount > int64(maxInviteCodes/len(owners)) {
		return nil, xrpc.InvalidRequest("codeCount must be at least 1, and at most %d codes can be made in one request", maxInviteCodes)
	}
	made, err := s.makeInvites(ctx, owners, int(in.CodeCount), in.UseCount)
	if err != nil {
		return nil, err
	}
	out := &createInviteCodesOutput{Codes: make([]accountCodes, len(owners))}
	for i, codes := range made {
		out.Codes[i].Account = owners[i]
		for _, c := range codes {
			out.Codes[i].Codes = append(out.Codes[i].Codes, c.Code)
		}
	}
	return out, nil
}

func (s *Server) makeInvites(ctx context.Context, owners []string, count int, uses int64) ([][]store.Invite, error) {
	if uses < 1 {
		return nil, xrpc.InvalidRequest("useCount must be at least 1")
	}
	return s.accounts.CreateInvites(ctx, account.Admin, owners, count, uses)
}

type accountInvitesParams struct {
	IncludeUsed     bool `query:"includeUsed"`
	CreateAvailable bool `query:"createAvailable"`
}

type accountInvitesOutput struct {
	Codes []inviteJSON `json:"codes"`
}

type inviteJSON struct {
	Code       string          `json:"code"`
	Available  int64           `json:"available"`
	Disabled   bool            `json:"disabled"`
	ForAccount string          `json:"forAccount"`
	CreatedBy  string          `json:"createdBy"`
	CreatedAt  string          `json:"createdAt"`
	Uses       []inviteUseJSON `json:"uses"`
}

type inviteUseJSON struct {
	UsedBy string `json:"usedBy"`
	UsedAt string `json:"usedAt"`
}

func (s *Server) getAccountInviteCodes(ctx context.Context, p *accountInvitesParams) (*accountInvitesOutput, error) {
	invites, err := s.accounts.AccountInvites(ctx, auth.From(ctx).Account, p.IncludeUsed, p.CreateAvailable)
	if err != nil {
		return nil, err
	}
	return &accountInvitesOutput{Codes: inviteOutputs(invites)}, nil
}

func inviteOutput(inv store.Invite) inviteJSON {
	out := inviteJSON{
		Code: inv.Code, Available: inv.AvailableUses, Disabled: inv.Disabled, ForAccount: inv.ForAccount,
		CreatedBy: inv.CreatedBy, CreatedAt: datetime(inv.CreatedAt), Uses: make([]inviteUseJSON, len(inv.Uses)),
	}
	for i, u := range inv.Uses {
		out.Uses[i] = inviteUseJSON{UsedBy: u.UsedBy.String(), UsedAt: datetime(u.UsedAt)}
	}
	return out
}

// datetime writes a time as the protocol wants it: RFC 3339 with milliseconds, in UTC.
func datetime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
