package account

import (
	"context"

	"perch/pds/store"
)

// An account with the role of an administrator always has a strong factor: it gets the role only with one, and loses it with the last one, in the same transaction.
// So whoever sets up the first factor of an account, with no more than a password, never becomes an administrator by that. What its browsers have shown before counts no more:
// it may have been a code by mail, or the making of that factor.

// SetAdministrator gives an account the role of an administrator, or takes it away, and returns the account as it is then. The error is ErrFactorNeeded when it has no
// factor that administrators may rely on.
func (s *Service) SetAdministrator(ctx context.Context, id store.AccountID, on bool) (acct *store.Account, err error) {
	role := ""
	if on {
		role = store.RoleAdmin
	}
	err = s.change(ctx, id, func(tx *store.Tx) error {
		if on {
			if strong, err := hasStrongFactor(ctx, tx, id); err != nil || !strong {
				return orElse(err, refuse(ErrFactorNeeded, "The account has neither an authenticator app nor a passkey: administrators need one"))
			}
			if err := tx.ForgetShownFactors(ctx, id); err != nil {
				return err
			}
		}
		return tx.SetRole(ctx, id, role)
	}, func(_ *store.Tx, changed *store.Account) error {
		acct = changed
		return nil
	})
	return acct, err
}

func orElse(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// hasStrongFactor is Factors.Strong as the transaction sees it.
func hasStrongFactor(ctx context.Context, tx *store.Tx, id store.AccountID) (bool, error) {
	f, err := tx.SecondFactor(ctx, id)
	if err != nil || len(f.TOTP) > 0 {
		return err == nil, err
	}
	passkeys, err := tx.Passkeys(ctx, id)
	return len(passkeys) > 0, err
}

// checkRole ends the role of an administrator whose last strong factor the transaction has taken away.
func (s *Service) checkRole(ctx context.Context, tx *store.Tx, id store.AccountID) error {
	acct, err := tx.LiveAccount(ctx, id)
	if err != nil || acct.Role != store.RoleAdmin {
		return err
	}
	if strong, err := hasStrongFactor(ctx, tx, id); err != nil || strong {
		return err
	}
	if err := tx.SetRole(ctx, id, ""); err != nil || s.opts.RoleEnded == nil {
		return err
	}
	return s.opts.RoleEnded(ctx, tx, acct)
}
