package account

import (
	"context"

	"perch/pds/store"
)

// Change is a change in how one gets into an account, of which its owner is told, whoever has made it and by whatever door.
type Change string

// The changes. Passkeys have a hook of their own, because the message names them.
const (
	EmailChanged    Change = "email"
	PasswordChanged Change = "password"
	MailCodesOff    Change = "mail codes off"
	FactorsOff      Change = "factors off"
)

func (s *Service) changed(ctx context.Context, tx *store.Tx, acct *store.Account, what Change) error {
	if s.opts.Changed == nil {
		return nil
	}
	return s.opts.Changed(ctx, tx, acct, what)
}
