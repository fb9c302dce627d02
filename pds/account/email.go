package account

import (
	"context"
	"errors"
	"net/mail"
	"strings"
	"time"
	"unicode"

	"perch/pds/store"
)

const (
	maxEmail      = 254 // RFC 5321
	maxEmailLocal = 64
)

// NormalizeEmail checks the form of an e-mail address and puts it in lower case, as it is stored and compared. The error is ErrInvalidEmail.
func NormalizeEmail(raw string) (string, error) {
	email := strings.ToLower(strings.TrimSpace(raw))
	if email == "" {
		return "", refuse(ErrInvalidEmail, "Email is required")
	}
	if !validEmail(email) {
		return "", refuse(ErrInvalidEmail, "This email address is not supported, please use a different email.")
	}
	return email, nil
}

// validEmail takes what mail servers take in practice: one bare address without quotes or comments, at a domain with a dot. Nothing in it hides or turns the text around it.
func validEmail(email string) bool {
	parsed, err := mail.ParseAddress(email)
	if err != nil || parsed.Address != email || parsed.Name != "" || len(email) > maxEmail {
		return false
	}
	if strings.ContainsFunc(email, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsGraphic(r) || strings.ContainsRune(`"(),:;<>[\]`, r)
	}) {
		return false
	}
	at := strings.LastIndexByte(email, '@')
	return at <= maxEmailLocal && validMailDomain(email[at+1:])
}

func validMailDomain(domain string) bool {
	labels := strings.Split(domain, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || strings.HasPrefix(l, "-") || strings.HasSuffix(l, "-") || strings.Contains(l, "_") {
			return false
		}
	}
	return len(labels) > 1
}

// SetEmail gives the account another e-mail address, which is not confirmed yet. Errors: ErrInvalidEmail, store.ErrEmailTaken.
func (s *Service) SetEmail(ctx context.Context, id store.AccountID, raw string) error {
	return s.setEmail(ctx, id, raw, func(*store.Tx, *store.Account, string) error { return nil })
}

// UpdateEmail is SetEmail for the owner, who may switch codes by e-mail on or off with it; nil leaves them. If the present address is confirmed, it
// needs the code that was sent there, unless all that is asked for is to switch codes on. Errors: ErrCodeRequired, ErrInvalidCode, ErrExpiredCode,
// SetEmail's and SetEmailFactor's.
func (s *Service) UpdateEmail(ctx context.Context, id store.AccountID, raw, code string, factor *bool) error {
	return s.setEmail(ctx, id, raw, func(tx *store.Tx, a *store.Account, email string) error {
		stronger := factor != nil && *factor && email == a.Email
		switch {
		case a.EmailConfirmedAt.IsZero() || stronger && code == "":
		case code == "":
			return refuse(ErrCodeRequired, "Confirmation token required")
		default:
			if err := s.UseCode(ctx, tx, id, ForUpdateEmail, code); err != nil {
				return err
			}
		}
		if factor == nil {
			return nil
		}
		return s.SetEmailFactorTx(ctx, tx, id, *factor)
	})
}

// setEmail does nothing to the account's own address, so that it stays confirmed. With another one the codes go that were sent to the old.
func (s *Service) setEmail(ctx context.Context, id store.AccountID, raw string, allow func(tx *store.Tx, a *store.Account, email string) error) error {
	email, err := NormalizeEmail(raw)
	if err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		a, err := tx.LiveAccount(ctx, id)
		if err != nil {
			return err
		}
		if err := allow(tx, a, email); err != nil {
			return err
		}
		return s.setEmailIn(ctx, tx, a, email)
	})
}

// setEmailIn is the transaction's part of setEmail. email is in its stored form.
func (s *Service) setEmailIn(ctx context.Context, tx *store.Tx, a *store.Account, email string) error {
	if a.Email == email {
		return nil
	}
	if err := tx.DeleteEmailTokens(ctx, a.ID); err != nil {
		return err
	}
	err := tx.SetEmail(ctx, a.ID, email, time.Time{})
	if errors.Is(err, store.ErrEmailTaken) {
		return refuse(store.ErrEmailTaken, "This email address is already in use, please use a different email.")
	}
	if err != nil {
		return err
	}
	return s.changed(ctx, tx, a, EmailChanged)
}

// ConfirmEmail notes that mail to the account's address arrives, as the code shows. raw must be that address. Errors: ErrOtherEmail, ErrInvalidCode,
// ErrExpiredCode.
func (s *Service) ConfirmEmail(ctx context.Context, id store.AccountID, raw, code string) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		a, err := tx.LiveAccount(ctx, id)
		if err != nil {
			return err
		}
		if a.Email == "" || strings.ToLower(strings.TrimSpace(raw)) != a.Email {
			return refuse(ErrOtherEmail, "invalid email")
		}
		if err := s.UseCode(ctx, tx, id, ForConfirmEmail, code); err != nil {
			return err
		}
		return tx.SetEmail(ctx, id, a.Email, s.now())
	})
}
