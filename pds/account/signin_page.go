package account

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"

	"perch/pds/store"
)

// halfLifetime is how long somebody who has given the password may take for the second factor.
const halfLifetime = 10 * time.Minute

const halfName = "half a sign-in"

// half is a sign-in that still owes the second factor, as it waits in a page.
type half struct {
	Account  store.AccountID `json:"a"`
	Password string          `json:"p"` // the end of its stored hash: another password ends it
	Browser  string          `json:"b"`
	Ends     time.Time       `json:"e"`
}

// HalfSignIn seals the knowledge that the password was right, for a page that asks for the second factor. It is of use in one browser only, and not for long.
func (s *Service) HalfSignIn(login Login, browser string) string {
	return s.sealPage(halfName, half{login.Account.ID, tail(login.Account.PasswordHash), browser, s.now().Add(halfLifetime)})
}

// sealPage seals what waits in a page until its form comes back.
func (s *Service) sealPage(name string, what any) string {
	text, err := json.Marshal(what)
	if err != nil {
		panic(err) // of plain fields
	}
	return base64.RawURLEncoding.EncodeToString(s.opts.Seal.Seal(name, text))
}

// openPage reads what sealPage has sealed under the name, and tells whether it is that.
func (s *Service) openPage(name, sealed string, what any) bool {
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err == nil {
		raw, err = s.opts.Seal.Open(name, raw)
	}
	return err == nil && json.Unmarshal(raw, what) == nil
}

// OpenHalfSignIn returns the login that HalfSignIn sealed. The error is ErrSessionRevoked when it is of no use any more.
func (s *Service) OpenHalfSignIn(ctx context.Context, sealed, browser string) (Login, error) {
	ended := refuse(ErrSessionRevoked, "The sign-in took too long")
	var h half
	if !s.openPage(halfName, sealed, &h) || browser == "" || h.Browser != browser || !s.now().Before(h.Ends) {
		return Login{}, ended
	}
	acct, err := s.store.AccountByID(ctx, h.Account)
	if errors.Is(err, store.ErrNotFound) {
		return Login{}, ended
	}
	if err != nil {
		return Login{}, err
	}
	if !acct.DeletedAt.IsZero() || tail(acct.PasswordHash) != h.Password {
		return Login{}, ended
	}
	return Login{Account: acct}, nil
}

func tail(s string) string { return s[max(0, len(s)-16):] }
