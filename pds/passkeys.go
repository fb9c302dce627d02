package pds

import (
	"context"
	"fmt"

	"perch/pds/account"
	"perch/pds/mail"
	"perch/pds/store"
)

// passkeyAdded is the mail about a new passkey. Whoever has one needs no password.
func passkeyAdded(name string) mail.Notice {
	return mail.Notice{
		Subject: "A passkey was added to your account",
		Lead:    "A passkey was added to your account. Whoever has it can sign in without your password:",
		Lines:   []string{name},
		Advice: []string{"If that was you, there is nothing to do.",
			"If not, somebody else can use your account. Set a new password with a code from \"Forgotten your password?\" at once: that ends all passkeys, app passwords and sessions."},
	}
}

// passkeyRemoved is the mail about a passkey that is gone.
func passkeyRemoved(name string) mail.Notice {
	return mail.Notice{
		Subject: "A passkey was removed from your account",
		Lead:    "A passkey was removed from your account. It does not sign in any more:",
		Lines:   []string{name},
		Advice: []string{"Your password and other passkeys work as before.",
			"If you do not know of this, set a new password with a code from \"Forgotten your password?\", or write to the operator of this server."},
	}
}

// passkeyNotice tells an account's owner of a change, in the transaction that makes it.
func (s *Server) passkeyNotice(ctx context.Context, write func(name string) mail.Notice) account.PasskeyHook {
	return func(tx *store.Tx, acct *store.Account, p store.Passkey) error {
		tx.AfterCommit(func() { s.wake(store.JobMail) })
		return s.postNotice(ctx, tx, acct, write(fmt.Sprintf("%s (of %s)", p.Name, showTime(p.CreatedAt))))
	}
}
