package pds

import (
	"context"
	"encoding/json"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/account"
	"perch/pds/auth"
	"perch/pds/store"
)

type createSessionInput struct {
	Identifier      string  `json:"identifier"`
	Password        string  `json:"password"`
	AuthFactorToken *string `json:"authFactorToken"`
	AllowTakendown  bool    `json:"allowTakendown"`
}

// accountInfo is what a signed-in client learns of its account.
type accountInfo struct {
	Handle          syntax.Handle   `json:"handle"`
	DID             syntax.DID      `json:"did"`
	DIDDoc          json.RawMessage `json:"didDoc,omitempty"`
	Email           string          `json:"email,omitempty"`
	EmailConfirmed  *bool           `json:"emailConfirmed,omitempty"`
	EmailAuthFactor *bool           `json:"emailAuthFactor,omitempty"`
	Active          bool            `json:"active"`
	Status          string          `json:"status,omitempty"`
}

type sessionOutput struct {
	AccessJWT  string `json:"accessJwt"`
	RefreshJWT string `json:"refreshJwt"`
	accountInfo
}

func (s *Server) accountInfo(ctx context.Context, acct *store.Account) (*accountInfo, error) {
	mailed, err := s.store.AsksMailedCode(ctx, acct.ID)
	if err != nil {
		return nil, err
	}
	confirmed := !acct.EmailConfirmedAt.IsZero()
	handle := acct.Handle
	if handle == "" {
		handle = syntax.HandleInvalid
	}
	return &accountInfo{
		Handle:          handle,
		DID:             acct.DID,
		DIDDoc:          s.didDoc(ctx, acct.DID),
		Email:           acct.Email,
		EmailConfirmed:  &confirmed,
		EmailAuthFactor: &mailed,
		Active:          acct.Active(),
		Status:          acct.Status(),
	}, nil
}

func (s *Server) createSession(ctx context.Context, in *createSessionInput) (*sessionOutput, error) {
	login, err := s.accounts.Authenticate(ctx, in.Identifier, in.Password)
	if err != nil {
		return nil, err
	}
	token := ""
	if in.AuthFactorToken != nil {
		token = *in.AuthFactorToken
	}
	_, err = s.accounts.CheckFactor(ctx, login, token, func(tx *store.Tx, acct *store.Account, code account.Code) error {
		return s.postCode(ctx, tx, acct, code)
	})
	s.wake(store.JobMail)
	if err != nil {
		return nil, err
	}
	session, err := s.accounts.StartSession(ctx, login, in.AllowTakendown)
	if err != nil {
		return nil, err
	}
	return s.sessionOutput(ctx, session)
}

// refreshSession trades a refresh token for new tokens. The old one works on for a while, for clients that lose the answer.
func (s *Server) refreshSession(ctx context.Context, _ *struct{}) (*sessionOutput, error) {
	p := auth.From(ctx)
	session, err := s.accounts.RefreshSession(ctx, p.Account.ID, p.SessionID)
	if err != nil {
		return nil, err
	}
	return s.sessionOutput(ctx, session)
}

func (s *Server) sessionOutput(ctx context.Context, session account.Session) (*sessionOutput, error) {
	tokens, err := s.auth.Tokens(session)
	if err != nil {
		return nil, err
	}
	info, err := s.accountInfo(ctx, session.Account)
	if err != nil {
		return nil, err
	}
	return &sessionOutput{AccessJWT: tokens.Access, RefreshJWT: tokens.Refresh, accountInfo: *info}, nil
}

func (s *Server) getSession(ctx context.Context, _ *struct{}) (*accountInfo, error) {
	p := auth.From(ctx)
	info, err := s.accountInfo(ctx, p.Account)
	if err == nil && p.May(auth.ReadEmail) != nil {
		info.Email, info.EmailConfirmed, info.EmailAuthFactor = "", nil, nil
	}
	return info, err
}

func (s *Server) deleteSession(ctx context.Context, _ *struct{}) (*struct{}, error) {
	p := auth.From(ctx)
	return &struct{}{}, s.accounts.EndSession(ctx, p.Account.ID, p.SessionID)
}

type createAppPasswordInput struct {
	Name       string `json:"name"`
	Privileged bool   `json:"privileged"`
}

type appPasswordJSON struct {
	Name       string `json:"name"`
	Password   string `json:"password,omitempty"`
	CreatedAt  string `json:"createdAt"`
	Privileged bool   `json:"privileged"`
}

func (s *Server) createAppPassword(ctx context.Context, in *createAppPasswordInput) (*appPasswordJSON, error) {
	p, err := s.accounts.CreateAppPassword(ctx, auth.From(ctx).Account, in.Name, in.Privileged)
	if err != nil {
		return nil, err
	}
	out := appPasswordOutput(p.AppPassword)
	out.Password = p.Secret
	return &out, nil
}

type listAppPasswordsOutput struct {
	Passwords []appPasswordJSON `json:"passwords"`
}

func (s *Server) listAppPasswords(ctx context.Context, _ *struct{}) (*listAppPasswordsOutput, error) {
	list, err := s.accounts.AppPasswords(ctx, auth.From(ctx).Account.ID)
	if err != nil {
		return nil, err
	}
	out := &listAppPasswordsOutput{Passwords: make([]appPasswordJSON, len(list))}
	for i, p := range list {
		out.Passwords[i] = appPasswordOutput(p)
	}
	return out, nil
}

func appPasswordOutput(p store.AppPassword) appPasswordJSON {
	return appPasswordJSON{Name: p.Name, CreatedAt: datetime(p.CreatedAt), Privileged: p.Privileged}
}

type nameInput struct {
	Name string `json:"name"`
}

func (s *Server) revokeAppPassword(ctx context.Context, in *nameInput) (*struct{}, error) {
	return &struct{}{}, s.accounts.RevokeAppPassword(ctx, auth.From(ctx).Account.ID, in.Name)
}
