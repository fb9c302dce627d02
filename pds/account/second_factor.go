package account

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/store"
)

const (
	recoveryCodes     = 10
	recoveryCodeBytes = 10 // 80 bits, which are 16 letters of base32

	// After freeTries wrong codes of the app each further one costs a wait that doubles, from firstWait to longestWait.
	freeTries   = 5
	firstWait   = 30 * time.Second
	longestWait = time.Hour

	signInMailPause = time.Minute // between two mails
	maxMailFailures = 10          // wrong codes, and the one that was mailed works no more
)

// Factors are the second factors of an account.
type Factors struct {
	Email         bool // codes by e-mail
	TOTP          bool // an authenticator app
	RecoveryCodes int  // left
	Passkeys      int  // with which one signs in to the pages; apps that use passwords know none
}

// Strong tells whether there is a factor that administrators may rely on: one that whoever reads somebody's mail does not have.
func (f Factors) Strong() bool { return f.TOTP || f.Passkeys > 0 }

// SendCode stores the mail that brings a sign-in code to the account's owner, in the transaction in which the code comes into force.
type SendCode func(tx *store.Tx, acct *store.Account, code Code) error

// Factors tells which second factors an account has.
func (s *Service) Factors(ctx context.Context, acct store.AccountID) (Factors, error) {
	f, err := s.store.SecondFactor(ctx, acct)
	if err != nil {
		return Factors{}, err
	}
	n, err := s.store.RecoveryCodes(ctx, acct)
	if err != nil {
		return Factors{}, err
	}
	passkeys, err := s.store.Passkeys(ctx, acct)
	return Factors{Email: f.Email, TOTP: len(f.TOTP) > 0, RecoveryCodes: n, Passkeys: len(passkeys)}, err
}

// CheckFactor asks somebody who has shown a password for the second factor, if the account has one. App passwords are exempt: they are for apps
// that cannot ask. token is a code of the authenticator app, the code that was mailed, or a recovery code; without one, a code is mailed if that is
// how the account wants it. strong tells that what was shown is a factor as Factors.Strong means it. Errors: ErrFactorRequired when token is "", ErrFactorInvalid,
// ErrFactorLocked.
func (s *Service) CheckFactor(ctx context.Context, login Login, token string, send SendCode) (strong bool, err error) {
	if login.AppPassword != "" {
		return false, nil
	}
	f, err := s.store.SecondFactor(ctx, login.Account.ID)
	if err != nil || !f.Email && len(f.TOTP) == 0 {
		return false, err
	}
	begun := time.Now()
	var outcome error
	err = s.store.Update(ctx, func(tx *store.Tx) (err error) { // a refusal is an outcome to be stored, not an error of the transaction
		f, err := tx.SecondFactor(ctx, login.Account.ID)
		if err != nil {
			return err
		}
		strong = len(f.TOTP) > 0 // no code by mail is taken then
		outcome, err = s.checkFactor(ctx, tx, login.Account, f, strings.TrimSpace(token), send)
		return err
	})
	if err == nil && errors.Is(outcome, ErrFactorInvalid) {
		err = wait(ctx, s.opts.FailureDelay-time.Since(begun))
	}
	if err == nil {
		err = outcome
	}
	return strong && err == nil, err
}

func (s *Service) checkFactor(ctx context.Context, tx *store.Tx, acct *store.Account, f store.SecondFactor, token string, send SendCode) (outcome, err error) {
	switch {
	case token == "" && len(f.TOTP) > 0:
		return refuse(ErrFactorRequired, "Enter the code that your authenticator app shows, or a recovery code"), nil
	case token == "":
		return refuse(ErrFactorRequired, "A sign in code has been sent to your email address"), s.mailCode(ctx, tx, acct, f, send)
	case len(f.TOTP) > 0 && isTOTP(token):
		return s.checkTOTP(ctx, tx, acct.DID, f, token)
	}
	ok, err := tx.UseRecoveryCode(ctx, acct.ID, recoveryHash(acct.ID, token))
	if err == nil && !ok && f.Email && len(f.TOTP) == 0 {
		ok, err = s.useMailedCode(ctx, tx, &f, token)
	}
	if err != nil {
		return nil, err
	}
	if !ok {
		return factorInvalid(), nil
	}
	f.Failures, f.RetryAt = 0, time.Time{}
	return nil, tx.PutSecondFactor(ctx, f)
}

func factorInvalid() error { return refuse(ErrFactorInvalid, "Token is invalid") }

// checkTOTP looks at a code of the app. Six digits can be guessed, so guesses cost time.
func (s *Service) checkTOTP(ctx context.Context, tx *store.Tx, did syntax.DID, f store.SecondFactor, code string) (outcome, err error) {
	now := s.now()
	if now.Before(f.RetryAt) {
		return refuse(ErrFactorLocked, "Too many wrong codes. Wait a while, or use a recovery code."), nil
	}
	secret, err := s.opts.Seal.Open(totpName(did), f.TOTP)
	if err != nil {
		return nil, err
	}
	step, ok := matchTOTP(secret, code, now, f.TOTPStep)
	if ok {
		f.TOTPStep, f.Failures, f.RetryAt = step, 0, time.Time{}
		return nil, tx.PutSecondFactor(ctx, f)
	}
	f.Failures++
	if over := f.Failures - freeTries; over >= 0 {
		f.RetryAt = now.Add(min(longestWait, firstWait<<min(over, 16)))
	}
	return factorInvalid(), tx.PutSecondFactor(ctx, f)
}

// mailCode makes a sign-in code and has it sent, unless one was sent a moment ago.
func (s *Service) mailCode(ctx context.Context, tx *store.Tx, acct *store.Account, f store.SecondFactor, send SendCode) error {
	now := s.now()
	last, err := tx.EmailToken(ctx, acct.ID, string(ForSignIn))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err == nil && now.Sub(last.CreatedAt) < signInMailPause {
		return nil
	}
	code, token := s.newCode(acct.ID, ForSignIn)
	if err := tx.PutEmailToken(ctx, token); err != nil {
		return err
	}
	f.MailFailures = 0
	if err := tx.PutSecondFactor(ctx, f); err != nil {
		return err
	}
	return send(tx, acct, code)
}

// useMailedCode tells whether the code is the one that was mailed, which then works no more; nor does it after too many wrong ones.
func (s *Service) useMailedCode(ctx context.Context, tx *store.Tx, f *store.SecondFactor, code string) (bool, error) {
	err := s.UseCode(ctx, tx, f.Account, ForSignIn, code)
	if !errors.Is(err, ErrInvalidCode) && !errors.Is(err, ErrExpiredCode) {
		return err == nil, err
	}
	if f.MailFailures++; f.MailFailures >= maxMailFailures {
		if err := s.spoilMailedCode(ctx, tx, f.Account); err != nil {
			return false, err
		}
	}
	return false, tx.PutSecondFactor(ctx, *f)
}

// spoilMailedCode has the code that was mailed match nothing any more. It stays noted when it was sent: who guesses codes must not have the owner's mailbox filled by it.
func (s *Service) spoilMailedCode(ctx context.Context, tx *store.Tx, id store.AccountID) error {
	token, err := tx.EmailToken(ctx, id, string(ForSignIn))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	token.Hash = s.hashCode(ForSignIn, newCodeText())
	return tx.PutEmailToken(ctx, token)
}

// SetEmailFactor switches codes by e-mail on or off. The error is ErrInvalidEmail when the account's address is not confirmed: its owner would be
// locked out.
func (s *Service) SetEmailFactor(ctx context.Context, id store.AccountID, on bool) error {
	return s.store.Update(ctx, func(tx *store.Tx) error { return s.SetEmailFactorTx(ctx, tx, id, on) })
}

// SetEmailFactorTx is SetEmailFactor inside the transaction of another change.
func (s *Service) SetEmailFactorTx(ctx context.Context, tx *store.Tx, id store.AccountID, on bool) error {
	acct, err := tx.LiveAccount(ctx, id)
	if err != nil {
		return err
	}
	if on && acct.EmailConfirmedAt.IsZero() {
		return refuse(ErrInvalidEmail, "Confirm your email address first")
	}
	f, err := tx.SecondFactor(ctx, id)
	if err != nil || f.Email == on {
		return err
	}
	f.Email, f.MailFailures = on, 0
	if err := tx.DeleteEmailToken(ctx, id, string(ForSignIn)); err != nil {
		return err
	}
	if err := tx.PutSecondFactor(ctx, f); err != nil || on {
		return err
	}
	return s.changed(ctx, tx, acct, MailCodesOff)
}

// TOTPSetup is the secret of an authenticator app in the one moment in which it is shown.
type TOTPSetup struct {
	Secret string // base32, to be typed in
	URL    string // otpauth://…, to be shown as a QR code
}

// BeginTOTP makes a secret for an authenticator app. It is asked for once ConfirmTOTP has seen a code of it; until then the one before stays in
// force.
func (s *Service) BeginTOTP(ctx context.Context, acct *store.Account) (TOTPSetup, error) {
	secret := make([]byte, totpSecretBytes)
	rand.Read(secret)
	sealed := s.opts.Seal.Seal(totpName(acct.DID), secret)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		f, err := tx.SecondFactor(ctx, acct.ID)
		if err != nil {
			return err
		}
		f.TOTPPending = sealed
		return tx.PutSecondFactor(ctx, f)
	})
	return s.totpSetup(acct, secret), err
}

// endPendingTOTP forgets a secret that was begun: it may be known to somebody else.
func endPendingTOTP(ctx context.Context, tx *store.Tx, id store.AccountID) error {
	f, err := tx.SecondFactor(ctx, id)
	if err != nil || len(f.TOTPPending) == 0 {
		return err
	}
	f.TOTPPending = nil
	return tx.PutSecondFactor(ctx, f)
}

// PendingTOTP returns the secret that BeginTOTP has made and ConfirmTOTP has not seen a code of yet. The error is store.ErrNotFound when there is none.
func (s *Service) PendingTOTP(ctx context.Context, acct *store.Account) (TOTPSetup, error) {
	f, err := s.store.SecondFactor(ctx, acct.ID)
	if err == nil && len(f.TOTPPending) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return TOTPSetup{}, err
	}
	secret, err := s.opts.Seal.Open(totpName(acct.DID), f.TOTPPending)
	return s.totpSetup(acct, secret), err
}

func (s *Service) totpSetup(acct *store.Account, secret []byte) TOTPSetup {
	return TOTPSetup{Secret: encodeTOTP(secret), URL: totpURL(s.opts.Hostname, acct.Handle.String(), secret)}
}

// ConfirmTOTP puts the authenticator app that BeginTOTP has begun into force, once it shows the right code, and returns new recovery codes, which
// are shown once. The error is ErrFactorInvalid.
func (s *Service) ConfirmTOTP(ctx context.Context, acct *store.Account, code string) ([]string, error) {
	codes := newRecoveryCodes()
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		f, err := tx.SecondFactor(ctx, acct.ID)
		if err != nil {
			return err
		}
		if len(f.TOTPPending) == 0 {
			return refuse(ErrFactorInvalid, "No authenticator app is being set up")
		}
		secret, err := s.opts.Seal.Open(totpName(acct.DID), f.TOTPPending)
		if err != nil {
			return err
		}
		step, ok := matchTOTP(secret, withoutSpaces(code), s.now(), 0)
		if !ok {
			return factorInvalid()
		}
		f.TOTP, f.TOTPPending, f.TOTPStep, f.Failures, f.RetryAt = f.TOTPPending, nil, step, 0, time.Time{}
		if err := tx.PutSecondFactor(ctx, f); err != nil {
			return err
		}
		return storeRecoveryCodes(ctx, tx, acct.ID, codes)
	})
	if err != nil {
		return nil, err
	}
	return codes, nil
}

// RenewRecoveryCodes makes new recovery codes; those before work no more.
func (s *Service) RenewRecoveryCodes(ctx context.Context, id store.AccountID) ([]string, error) {
	codes := newRecoveryCodes()
	return codes, s.store.Update(ctx, func(tx *store.Tx) error { return storeRecoveryCodes(ctx, tx, id, codes) })
}

// RemoveFactors takes all second factors off an account: for the owner who has shown one, or the operator for an owner who has lost them.
func (s *Service) RemoveFactors(ctx context.Context, id store.AccountID) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		acct, err := tx.LiveAccount(ctx, id)
		if err != nil {
			return err
		}
		had, err := tx.SecondFactor(ctx, id)
		if err != nil {
			return err
		}
		if err := tx.PutSecondFactor(ctx, store.SecondFactor{Account: id}); err != nil {
			return err
		}
		if err := tx.DeleteEmailToken(ctx, id, string(ForSignIn)); err != nil {
			return err
		}
		if err := tx.ReplaceRecoveryCodes(ctx, id, nil); err != nil {
			return err
		}
		if err := s.checkRole(ctx, tx, id); err != nil || len(had.TOTP) == 0 && !had.Email {
			return err
		}
		return s.changed(ctx, tx, acct, FactorsOff)
	})
}

func storeRecoveryCodes(ctx context.Context, tx *store.Tx, id store.AccountID, codes []string) error {
	hashes := make([][]byte, len(codes))
	for i, c := range codes {
		hashes[i] = recoveryHash(id, c)
	}
	return tx.ReplaceRecoveryCodes(ctx, id, hashes)
}

func totpName(did syntax.DID) string { return "totp secret " + string(did) }

// recoveryHash is the form in which recovery codes are stored. Their eighty bits need no key, and so they survive a change of the master key.
func recoveryHash(id store.AccountID, code string) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "perch recovery code\x00%d\x00%s", id, plainCode(code)))
	return sum[:]
}

// plainCode is a code without what people add or leave out: small letters, spaces, dashes.
func plainCode(code string) string {
	return strings.ToUpper(strings.ReplaceAll(withoutSpaces(code), "-", ""))
}

// withoutSpaces is a code as apps mean it that show it in two halves.
func withoutSpaces(code string) string { return strings.Join(strings.Fields(code), "") }

func newRecoveryCodes() []string {
	codes := make([]string, recoveryCodes)
	for i := range codes {
		b := make([]byte, recoveryCodeBytes)
		rand.Read(b)
		t := base32.StdEncoding.EncodeToString(b)
		codes[i] = t[:8] + "-" + t[8:16]
	}
	return codes
}
