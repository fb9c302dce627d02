package account

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"time"

	"perch/pds/store"
)

// Purpose is what a code that goes to an account's e-mail address is good for. The words are the reference's, which has no ForSignIn.
type Purpose string

// The purposes.
const (
	ForConfirmEmail  Purpose = "confirm_email"
	ForUpdateEmail   Purpose = "update_email"
	ForResetPassword Purpose = "reset_password"
	ForDeleteAccount Purpose = "delete_account"
	ForPLCOperation  Purpose = "plc_operation"
	ForSignIn        Purpose = "sign_in" // the second factor by e-mail
)

// Purposes lists all purposes.
func Purposes() []Purpose {
	return []Purpose{ForResetPassword, ForConfirmEmail, ForUpdateEmail, ForDeleteAccount, ForPLCOperation, ForSignIn}
}

// CodeLifetime is how long a code is good for.
const CodeLifetime = 15 * time.Minute

const (
	codeHalf  = 5 // letters on each side of the dash
	codeBytes = 7 // of which 50 bits are used
)

// Code is a code in the one moment in which it is known.
type Code struct {
	Purpose   Purpose
	Text      string // "XXXXX-XXXXX"
	ExpiresAt time.Time
}

// NewCode makes a code for an account, which takes the place of the one that it had for the purpose, and runs hook, which stores the mail that
// carries it, in the same transaction. nil does nothing. The error is store.ErrDeleted when there is no such account any more.
func (s *Service) NewCode(ctx context.Context, id store.AccountID, purpose Purpose, hook func(*store.Tx, *store.Account, Code) error) (Code, error) {
	code, token := s.newCode(id, purpose)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		a, err := tx.LiveAccount(ctx, id)
		if err == nil {
			err = tx.PutEmailToken(ctx, token)
		}
		if err != nil || hook == nil {
			return err
		}
		return hook(tx, a, code)
	})
	if err != nil {
		return Code{}, err
	}
	return code, nil
}

// newCode makes a code and what is stored of it.
func (s *Service) newCode(id store.AccountID, purpose Purpose) (Code, store.EmailToken) {
	now := s.now()
	code := Code{Purpose: purpose, Text: newCodeText(), ExpiresAt: now.Add(CodeLifetime)}
	return code, store.EmailToken{
		Account: id, Purpose: string(purpose), Hash: s.hashCode(purpose, code.Text), CreatedAt: now, ExpiresAt: code.ExpiresAt,
	}
}

// UseCode takes a code that somebody has entered, as part of the transaction that does what it is good for: if that is undone, the code can be
// used again. Errors: ErrInvalidCode for one that is not the account's for this purpose, ErrExpiredCode.
func (s *Service) UseCode(ctx context.Context, tx *store.Tx, id store.AccountID, purpose Purpose, entered string) error {
	token, err := tx.EmailToken(ctx, id, string(purpose))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err != nil || !hmac.Equal(token.Hash, s.hashCode(purpose, entered)) {
		return refuse(ErrInvalidCode, "Token is invalid")
	}
	if !s.now().Before(token.ExpiresAt) {
		return refuse(ErrExpiredCode, "Token is expired")
	}
	return tx.DeleteEmailToken(ctx, id, string(purpose))
}

// codeOwner finds whose code it is, for purposes for which nobody signs in. The answer counts only once UseCode has taken the code. Errors as
// UseCode's.
func (s *Service) codeOwner(ctx context.Context, purpose Purpose, entered string) (store.AccountID, error) {
	token, err := s.store.EmailTokenByHash(ctx, string(purpose), s.hashCode(purpose, entered))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return 0, refuse(ErrInvalidCode, "Token is invalid")
	case err != nil:
		return 0, err
	case !s.now().Before(token.ExpiresAt):
		return 0, refuse(ErrExpiredCode, "Token is expired")
	}
	return token.Account, nil
}

func newCodeText() string {
	b := make([]byte, codeBytes)
	rand.Read(b)
	t := base32.StdEncoding.EncodeToString(b)
	return t[:codeHalf] + "-" + t[codeHalf:2*codeHalf]
}

// hashCode is the stored form of a code: keyed, because fifty bits could be searched by somebody who has the database alone. Small letters, white
// space and a missing dash do not matter.
func (s *Service) hashCode(purpose Purpose, text string) []byte {
	mac := hmac.New(sha256.New, s.opts.Seal.Derive("e-mail codes"))
	mac.Write([]byte(string(purpose) + "\x00" + plainCode(text)))
	return mac.Sum(nil)
}

// SweepCodes removes codes that expired a day ago. Until then whoever enters one is told that it expired.
func (s *Service) SweepCodes(ctx context.Context) error {
	return s.store.Update(ctx, func(tx *store.Tx) error { return tx.SweepEmailTokens(ctx, s.now().Add(-24*time.Hour)) })
}
