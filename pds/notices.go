package pds

import (
	"context"
	"net/http"
	"time"

	"perch/pds/account"
	"perch/pds/auth"
	"perch/pds/mail"
	"perch/pds/store"
	"perch/xrpc"
)

// accountChange is what a mail says of a change in how one gets into an account.
type accountChange struct {
	subject, lead string
	advice        string // to those who know nothing of it
}

// withReset is the advice to those who still get mail here: a reset ends what a thief has made.
const withReset = "If not, somebody else can use your account. Set a new password with a code from \"Forgotten your password?\" at once: that ends all passkeys, app passwords and sessions."

// accountChanges by what has changed. The new address is not named: the old one may have been a typing error, and be a stranger's.
var accountChanges = map[account.Change]accountChange{
	account.EmailChanged: {"The e-mail address of your account was changed", "Your account has another e-mail address now. No more mail about it comes to this one, and no code to reset its password:",
		"If not, write to the operator of this server at once: somebody else can use your account. If you can still sign in, set a new password and the right address first."},
	account.PasswordChanged: {"The password of your account was changed", "Your account has a new password, and all its sessions were ended:", withReset},
	account.MailCodesOff:    {"Sign-in codes by e-mail were switched off", "Signing in to your account does not ask for a code from your mail any more:", withReset},
	account.FactorsOff:      {"The second factor of your account was removed", "Signing in to your account asks for no code any more beside the password:", withReset},
}

// unconfirmedNotices is how many of these mails a day go to addresses of one account that nobody has confirmed: whoever enters strangers' addresses, one after
// the other, must not have this server write to them all.
const unconfirmedNotices = 10

// accountChanged mails an account's owner that something has changed, in the transaction that changes it. Of another address, the one before is told.
func (s *Server) accountChanged(ctx context.Context, tx *store.Tx, acct *store.Account, what account.Change) error {
	rule := xrpc.RateLimit{Name: "notices to unconfirmed addresses", Points: unconfirmedNotices, Window: 24 * time.Hour,
		Key: func(context.Context, *http.Request, any) string { return acct.DID.String() }}
	if acct.EmailConfirmedAt.IsZero() && !s.mux.Spend(ctx, rule, 1) {
		return nil
	}
	words := accountChanges[what]
	when := showTime(tx.Now())
	if kind := auth.From(ctx).Kind; kind == auth.Admin || kind == auth.Administrator {
		when += ", by the operator of this server"
	}
	tx.AfterCommit(func() { s.wake(store.JobMail) })
	return s.postNotice(ctx, tx, acct, mail.Notice{
		Subject: words.subject, Lead: words.lead, Lines: []string{when},
		Advice: []string{"If that was you, or you asked for it, there is nothing to do.", words.advice},
	})
}
