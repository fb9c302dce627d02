package account

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"strings"
	"unicode/utf8"

	"perch/pds/store"
)

const (
	maxAppPasswordName = 64  // characters
	maxAppPasswords    = 100 // per account
	appPasswordBytes   = 10  // 80 bits, which are 16 letters of base32
)

// NewAppPassword is an app password in the one moment in which its secret is known.
type NewAppPassword struct {
	store.AppPassword
	Secret string // "xxxx-xxxx-xxxx-xxxx"
}

// CreateAppPassword makes an app password. The error is ErrInvalidName when the name is empty, too long or taken, and ErrSessionRevoked when
// the account's password is another by now than acct's.
func (s *Service) CreateAppPassword(ctx context.Context, acct *store.Account, name string, privileged bool) (NewAppPassword, error) {
	if name == "" || utf8.RuneCountInString(name) > maxAppPasswordName {
		return NewAppPassword{}, refuse(ErrInvalidName, "The name of an app password must have 1 to %d characters", maxAppPasswordName)
	}
	p := NewAppPassword{Secret: newAppPasswordSecret()}
	p.AppPassword = store.AppPassword{
		Account: acct.ID, Name: name, Privileged: privileged, CreatedAt: s.now(), Hash: hashAppPassword(acct.DID, p.Secret),
	}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if err := stillSignedIn(ctx, tx, acct); err != nil {
			return err
		}
		all, err := tx.AppPasswords(ctx, acct.ID)
		if err != nil {
			return err
		}
		if len(all) >= maxAppPasswords {
			return refuse(ErrInvalidName, "Too many app passwords: revoke one of the %d first", len(all))
		}
		return tx.CreateAppPassword(ctx, p.AppPassword)
	})
	if errors.Is(err, store.ErrNameTaken) {
		err = refuse(ErrInvalidName, "There is an app password named %q already", name)
	}
	return p, err
}

func newAppPasswordSecret() string {
	b := make([]byte, appPasswordBytes)
	rand.Read(b)
	t := strings.ToLower(base32.StdEncoding.EncodeToString(b))
	return t[0:4] + "-" + t[4:8] + "-" + t[8:12] + "-" + t[12:16]
}

// AppPasswords lists an account's app passwords in the order of their making.
func (s *Service) AppPasswords(ctx context.Context, acct store.AccountID) ([]store.AppPassword, error) {
	return s.store.AppPasswords(ctx, acct)
}

// RevokeAppPassword removes an app password and ends its sessions, and with them their access tokens. A name that is not there is no error.
func (s *Service) RevokeAppPassword(ctx context.Context, acct store.AccountID, name string) error {
	return s.store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteAppPassword(ctx, acct, name) })
}
