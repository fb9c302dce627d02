package pds

import (
	"context"
	"errors"
	"strconv"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/store"
	"perch/xrpc"
)

// maxAccountInfos is how many accounts one getAccountInfos call may name.
const maxAccountInfos = 500

func accountNotFound(cause error) error {
	return &xrpc.Error{Status: 400, Name: "NotFound", Message: "Account not found", Err: cause}
}

// administered finds the account that an administrator names, in whatever state it is unless it is deleted.
func (s *Server) administered(ctx context.Context, id syntax.AtIdentifier) (*store.Account, error) {
	acct, err := s.localAccount(ctx, id)
	if err == nil && !acct.DeletedAt.IsZero() {
		err = store.ErrNotFound
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, accountNotFound(err)
	}
	return acct, err
}

// accountView is com.atproto.admin.defs#accountView.
type accountView struct {
	DID              syntax.DID    `json:"did"`
	Handle           syntax.Handle `json:"handle"`
	Email            string        `json:"email,omitempty"`
	IndexedAt        string        `json:"indexedAt"`
	EmailConfirmedAt string        `json:"emailConfirmedAt,omitempty"`
	DeactivatedAt    string        `json:"deactivatedAt,omitempty"`
	InvitedBy        *inviteJSON   `json:"invitedBy,omitempty"`
	Invites          []inviteJSON  `json:"invites"`
	InvitesDisabled  bool          `json:"invitesDisabled"`
}

func (s *Server) accountView(ctx context.Context, acct *store.Account) (*accountView, error) {
	v := &accountView{
		DID: acct.DID, Handle: acct.Handle, Email: acct.Email, IndexedAt: datetime(acct.CreatedAt),
		InvitesDisabled: acct.InvitesDisabled,
	}
	if v.Handle == "" {
		v.Handle = syntax.HandleInvalid
	}
	if !acct.EmailConfirmedAt.IsZero() {
		v.EmailConfirmedAt = datetime(acct.EmailConfirmedAt)
	}
	if !acct.DeactivatedAt.IsZero() {
		v.DeactivatedAt = datetime(acct.DeactivatedAt)
	}
	own, err := s.store.InvitesOf(ctx, acct.DID.String())
	if err != nil {
		return nil, err
	}
	v.Invites = inviteOutputs(own)
	by, err := s.store.InviteUsedBy(ctx, acct.DID)
	switch {
	case err == nil:
		out := inviteOutput(by)
		v.InvitedBy = &out
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	}
	return v, nil
}

func (s *Server) getAccountInfo(ctx context.Context, p *didParams) (*accountView, error) {
	acct, err := s.administered(ctx, p.DID.AtIdentifier())
	if err != nil {
		return nil, err
	}
	return s.accountView(ctx, acct)
}

type getAccountInfosParams struct {
	DIDs []string `query:"dids"`
}

type getAccountInfosOutput struct {
	Infos []*accountView `json:"infos"`
}

// getAccountInfos leaves out accounts that are not here.
func (s *Server) getAccountInfos(ctx context.Context, p *getAccountInfosParams) (*getAccountInfosOutput, error) {
	if len(p.DIDs) > maxAccountInfos {
		return nil, xrpc.InvalidRequest("Too many dids: at most %d in one request", maxAccountInfos)
	}
	out := &getAccountInfosOutput{Infos: []*accountView{}}
	for _, did := range p.DIDs {
		acct, err := s.store.AccountByDID(ctx, syntax.DID(did))
		if errors.Is(err, store.ErrNotFound) || err == nil && !acct.DeletedAt.IsZero() {
			continue
		}
		if err != nil {
			return nil, err
		}
		v, err := s.accountView(ctx, acct)
		if err != nil {
			return nil, err
		}
		out.Infos = append(out.Infos, v)
	}
	return out, nil
}

type searchAccountsParams struct {
	Email  string `query:"email"`
	Cursor string `query:"cursor"`
	Limit  int64  `query:"limit"`
}

type searchAccountsOutput struct {
	Cursor   string         `json:"cursor,omitempty"`
	Accounts []*accountView `json:"accounts"`
}

// searchAccounts lists the accounts whose e-mail address holds the text given, or all.
func (s *Server) searchAccounts(ctx context.Context, p *searchAccountsParams) (*searchAccountsOutput, error) {
	var after int64
	if p.Cursor != "" {
		var err error
		if after, err = strconv.ParseInt(p.Cursor, 10, 64); err != nil || after < 0 {
			return nil, store.ErrCursor
		}
	}
	found, err := s.store.SearchAccounts(ctx, p.Email, store.AccountID(after), int(p.Limit)+1)
	if err != nil {
		return nil, err
	}
	out := &searchAccountsOutput{Accounts: make([]*accountView, 0, len(found))}
	for i, acct := range found {
		if i == int(p.Limit) {
			out.Cursor = strconv.FormatInt(int64(found[i-1].ID), 10)
			break
		}
		v, err := s.accountView(ctx, acct)
		if err != nil {
			return nil, err
		}
		out.Accounts = append(out.Accounts, v)
	}
	return out, nil
}

type updateAccountEmailInput struct {
	Account syntax.AtIdentifier `json:"account"`
	Email   string              `json:"email"`
}

func (s *Server) updateAccountEmail(ctx context.Context, in *updateAccountEmailInput) (*struct{}, error) {
	acct, err := s.administered(ctx, in.Account)
	if err != nil {
		return nil, err
	}
	return &struct{}{}, s.accounts.SetEmail(ctx, acct.ID, in.Email)
}

type updateAccountPasswordInput struct {
	DID      syntax.DID `json:"did"`
	Password string     `json:"password"`
}

// updateAccountPassword ends all sessions and app passwords too: whoever has to ask the operator may not be the only one who knew the old one.
func (s *Server) updateAccountPassword(ctx context.Context, in *updateAccountPasswordInput) (*struct{}, error) {
	acct, err := s.administered(ctx, in.DID.AtIdentifier())
	if err != nil {
		return nil, err
	}
	return &struct{}{}, s.accounts.SetPassword(ctx, acct.ID, in.Password, true)
}

type didInput struct {
	DID syntax.DID `json:"did"`
}

func (s *Server) adminDeleteAccount(ctx context.Context, in *didInput) (*struct{}, error) {
	acct, err := s.administered(ctx, in.DID.AtIdentifier())
	if err != nil {
		return nil, err
	}
	return &struct{}{}, s.endAccount(ctx, acct)
}
