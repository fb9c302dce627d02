package pds

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"perch/pds/mail/mailtest"
	"perch/pds/store"
)

const (
	passwordNotice = "The password of your account was changed"
	emailNotice    = "The e-mail address of your account was changed"
)

// notified waits for a mail to the address that the client has signed up with, which has no code in it.
func (c *client) notified(inbox *mailtest.Server, subject string) mailtest.Mail {
	c.t.Helper()
	m := inbox.Next()
	if m.To != strings.TrimSuffix(c.handle, ".test")+"@example.com" || m.Header.Get("Subject") != subject || m.Code() != "" {
		c.t.Errorf("mail to %s: %s\n%s", m.To, m.Header.Get("Subject"), m.Text)
	}
	return m
}

// Whoever gets in with a new address or password, the owner hears of it where mail came before.
func TestOwnersAreToldOfChanges(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	alice := n.signUp(t, "alice")
	alice.post(updateNSID, map[string]any{"email": "alice@example.com"}).ok() // it is that already
	inbox.Empty()
	alice.post(updateNSID, map[string]any{"email": "stranger@example.org"}).ok()
	if m := alice.notified(inbox, emailNotice); strings.Contains(m.Text, "stranger") {
		t.Errorf("the notice says who has the account now:\n%s", m.Text)
	}

	bob := n.signUp(t, "bob")
	bob.admin("com.atproto.admin.updateAccountPassword", map[string]any{"did": bob.did, "password": "another password"}).ok()
	if m := bob.notified(inbox, passwordNotice); !strings.Contains(m.Text, ", by the operator of this server") {
		t.Errorf("the notice does not say who it was:\n%s", m.Text)
	}
	bob.admin("com.atproto.admin.updateAccountEmail", map[string]any{"account": bob.did, "email": "bob@example.org"}).ok()
	bob.notified(inbox, emailNotice)
	inbox.Empty()
}

// TestOwnersAreToldOfFactors: only of the end of what there was.
func TestOwnersAreToldOfFactors(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	alice := n.signUp(t, "alice")
	remove := func() { n.operatorJSON(t, FactorPath, FactorRequest{Account: alice.did, Action: FactorRemove}).ok() }
	remove()
	inbox.Empty()
	n.totp(t, alice.did)
	remove()
	alice.notified(inbox, "The second factor of your account was removed")
	inbox.Empty()
}

// Whoever goes through strangers' addresses has mail sent to few of them.
func TestNoticesToStrangersAreBounded(t *testing.T) {
	n, inbox := startMailNetwork(t, func(c *Config) { c.RateLimitsEnabled = true })
	alice := n.signUp(t, "alice")
	for i := range unconfirmedNotices + 5 {
		alice.post(updateNSID, map[string]any{"email": fmt.Sprintf("stranger%d@example.org", i)}).ok()
	}
	for range unconfirmedNotices {
		inbox.Next()
	}
	if m, err := n.srv.store.Mail(t.Context(), unconfirmedNotices+1); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("one more went to %s: %v", m.To, err)
	}
}
