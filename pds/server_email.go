package pds

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"perch/pds/account"
	"perch/pds/auth"
	"perch/pds/store"
)

// maxEmailInput is longer than any address, in bytes.
const maxEmailInput = 512

// errNoEmail says that an account has no address to send a code to.
var errNoEmail = errors.New("account does not have an email address")

type emailInput struct {
	Email string `json:"email"`
}

// requestPasswordReset answers alike for every address: a job finds out whether it is an account's.
func (s *Server) requestPasswordReset(ctx context.Context, in *emailInput) (*struct{}, error) {
	email := strings.ToLower(strings.TrimSpace(in.Email))
	if len(email) > maxEmailInput {
		return &struct{}{}, nil
	}
	payload, err := json.Marshal(passwordResetJob{Email: email})
	if err != nil {
		return nil, err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error { return tx.AddJob(ctx, jobPasswordReset, string(payload), tx.Now()) })
	s.wake(jobPasswordReset)
	return &struct{}{}, err
}

type resetPasswordInput struct {
	Token    string `json:"token"`
	Password string `json:"password"`
}

func (s *Server) resetPassword(ctx context.Context, in *resetPasswordInput) (*struct{}, error) {
	acct, err := s.accounts.ResetPassword(ctx, in.Token, in.Password)
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "password reset", "did", acct.DID)
	return &struct{}{}, nil
}

func (s *Server) requestEmailConfirmation(ctx context.Context, _ *struct{}) (*struct{}, error) {
	return &struct{}{}, s.mailCode(ctx, auth.From(ctx).Account, account.ForConfirmEmail)
}

type confirmEmailInput struct {
	Email string `json:"email"`
	Token string `json:"token"`
}

func (s *Server) confirmEmail(ctx context.Context, in *confirmEmailInput) (*struct{}, error) {
	return &struct{}{}, s.accounts.ConfirmEmail(ctx, auth.From(ctx).Account.ID, in.Email, in.Token)
}

type requestEmailUpdateOutput struct {
	TokenRequired bool `json:"tokenRequired"`
}

// requestEmailUpdate sends a code to the present address if that is confirmed. One that is not may be a typing error, and protects nobody.
func (s *Server) requestEmailUpdate(ctx context.Context, _ *struct{}) (*requestEmailUpdateOutput, error) {
	acct := auth.From(ctx).Account
	if acct.Email == "" {
		return nil, errNoEmail
	}
	if acct.EmailConfirmedAt.IsZero() {
		return &requestEmailUpdateOutput{}, nil
	}
	return &requestEmailUpdateOutput{TokenRequired: true}, s.mailCode(ctx, acct, account.ForUpdateEmail)
}

type updateEmailInput struct {
	Email           string `json:"email"`
	Token           string `json:"token"`
	EmailAuthFactor *bool  `json:"emailAuthFactor"`
}

func (s *Server) updateEmail(ctx context.Context, in *updateEmailInput) (*struct{}, error) {
	return &struct{}{}, s.tellingTaken(ctx, func() error {
		return s.accounts.UpdateEmail(ctx, auth.From(ctx).Account.ID, in.Email, in.Token, in.EmailAuthFactor)
	})
}

func (s *Server) requestAccountDelete(ctx context.Context, _ *struct{}) (*struct{}, error) {
	return &struct{}{}, s.mailCode(ctx, auth.From(ctx).Account, account.ForDeleteAccount)
}
