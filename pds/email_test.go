package pds

import (
	"context"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/account"
	"perch/pds/mail/mailtest"
	"perch/pds/store"
)

// startMailNetwork starts a network whose mail goes to a real SMTP server, with the work in the background that sends it.
func startMailNetwork(t *testing.T, change func(*Config)) (*network, *mailtest.Server) {
	t.Helper()
	inbox := mailtest.Start(t, mailtest.Options{TLS: true, User: "pds@example.com", Password: "p@ss/w#rd"})
	n := startNetwork(t, func(c *Config) {
		c.ServiceName = "Example PDS"
		c.EmailSMTPURL = "smtps://pds%40example.com:p%40ss%2Fw%23rd@" + inbox.Addr + "?tls.rejectUnauthorized=false"
		c.EmailFromAddress = "pds@example.com"
		if change != nil {
			change(c)
		}
	})
	n.background(t)
	return n, inbox
}

// background does the server's work in the background until the test ends, or until stop is called.
func (n *network) background(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { n.srv.work(ctx) })
	stop = func() {
		cancel()
		wg.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// mailed waits for a mail to the client with the subject, and returns its code.
func (c *client) mailed(inbox *mailtest.Server, subject string) string {
	c.t.Helper()
	m := inbox.Next()
	to := strings.TrimSuffix(c.handle, ".test") + "@example.com"
	if m.To != to || m.Header.Get("Subject") != subject || m.From != "pds@example.com" || !m.TLS {
		c.t.Errorf("mail to %s from %s: %s", m.To, m.From, m.Header.Get("Subject"))
	}
	if !strings.Contains(m.Text, "Hello "+c.handle) || !strings.Contains(m.HTML, "Example PDS") {
		c.t.Errorf("the mail does not say who writes to whom:\n%s", m.Text)
	}
	code := m.Code()
	if code == "" {
		c.t.Fatalf("no code in\n%s\n%s", m.Text, m.HTML)
	}
	return code
}

func (n *network) accountOf(t *testing.T, did string) *store.Account {
	t.Helper()
	acct, err := n.srv.store.AccountByDID(t.Context(), syntax.DID(did))
	if err != nil {
		t.Fatal(err)
	}
	return acct
}

const (
	requestReset   = "com.atproto.server.requestPasswordReset"
	resetNSID      = "com.atproto.server.resetPassword"
	requestConfirm = "com.atproto.server.requestEmailConfirmation"
	confirmNSID    = "com.atproto.server.confirmEmail"
	requestUpdate  = "com.atproto.server.requestEmailUpdate"
	updateNSID     = "com.atproto.server.updateEmail"
	requestDelete  = "com.atproto.server.requestAccountDelete"
	deleteNSID     = "com.atproto.server.deleteAccount"
	deactivateNSID = "com.atproto.server.deactivateAccount"
	activateNSID   = "com.atproto.server.activateAccount"
	getSession     = "com.atproto.server.getSession"
)

func TestPasswordReset(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	alice, anyone := n.signUp(t, "alice"), n.anonymous(t)
	app := alice.post("com.atproto.server.createAppPassword", map[string]any{"name": "phone"}).ok().str("password")
	phone := n.anonymous(t)
	phone.token = signIn(anyone, alice.handle, app).ok().str("accessJwt")

	// The answers for an account, for none, and for nonsense are the same.
	var answers []string
	for _, email := range []string{"Alice@Example.com", "nobody@example.com", "nonsense", ""} {
		a := anyone.post(requestReset, map[string]any{"email": email})
		answers = append(answers, a.header.Get("Content-Type")+string(a.body))
		a.ok()
	}
	for _, a := range answers {
		if a != answers[0] {
			t.Errorf("answers differ: %q", answers)
		}
	}
	code := alice.mailed(inbox, "Password Reset Requested")

	reset := func(token, password string) *answer {
		return anyone.post(resetNSID, map[string]any{"token": token, "password": password})
	}
	reset("AAAAA-AAAAA", "new-password").fails(400, "InvalidToken")
	reset("", "new-password").fails(400, "InvalidToken")
	reset(code, "short").fails(400, "InvalidPassword")
	reset(code, strings.Repeat("x", 300)).fails(400, "InvalidPassword")
	alice.get(getSession).ok()
	reset(" "+strings.ToLower(code)+" ", "new-password").ok() // as people type
	reset(code, "other-password").fails(400, "InvalidToken")

	alice.get(getSession).fails(400, "ExpiredToken")
	phone.get(getSession).fails(400, "ExpiredToken")
	alice.token = alice.fresh
	alice.post("com.atproto.server.refreshSession", nil).fails(400, "ExpiredToken")
	signIn(anyone, alice.handle, app).fails(401, "AuthenticationRequired")
	signIn(anyone, alice.handle, "alice-password").fails(401, "AuthenticationRequired")
	signIn(anyone, alice.handle, "new-password").ok()
	alice.notified(inbox, passwordNotice)
	inbox.Empty()
}

func TestResetCodeIsReplacedByTheNext(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	alice, anyone := n.signUp(t, "alice"), n.anonymous(t)
	anyone.post(requestReset, map[string]any{"email": "alice@example.com"}).ok()
	first := alice.mailed(inbox, "Password Reset Requested")
	anyone.post(requestReset, map[string]any{"email": "alice@example.com"}).ok()
	second := alice.mailed(inbox, "Password Reset Requested")
	anyone.post(resetNSID, map[string]any{"token": first, "password": "new-password"}).fails(400, "InvalidToken")
	anyone.post(resetNSID, map[string]any{"token": second, "password": "new-password"}).ok()
}

func TestResetOfAccountsThatAreNotActive(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	alice, bob, anyone := n.signUp(t, "alice"), n.signUp(t, "bob"), n.anonymous(t)
	alice.post(deactivateNSID, map[string]any{}).ok()
	if err := n.srv.accounts.Takedown(t.Context(), n.accountOf(t, bob.did).ID, "case", nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*client{alice, bob} { // both may want to leave
		anyone.post(requestReset, map[string]any{"email": strings.TrimSuffix(c.handle, ".test") + "@example.com"}).ok()
		anyone.post(resetNSID, map[string]any{"token": c.mailed(inbox, "Password Reset Requested"), "password": "new-password"}).ok()
		c.notified(inbox, passwordNotice)
	}
	signIn(anyone, alice.handle, "new-password").ok()
	signIn(anyone, bob.handle, "new-password").fails(401, "AccountTakedown")
}

func TestCodesAreForOnePurposeAndOneAccount(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	alice, bob, anyone := n.signUp(t, "alice"), n.signUp(t, "bob"), n.anonymous(t)
	alice.post(requestConfirm, nil).ok()
	confirm := alice.mailed(inbox, "Email Confirmation")
	alice.post(requestDelete, nil).ok()
	deletion := alice.mailed(inbox, "Account Deletion Requested")
	anyone.post(resetNSID, map[string]any{"token": confirm, "password": "new-password"}).fails(400, "InvalidToken")
	anyone.post(resetNSID, map[string]any{"token": deletion, "password": "new-password"}).fails(400, "InvalidToken")
	alice.post(confirmNSID, map[string]any{"email": "alice@example.com", "token": deletion}).fails(400, "InvalidToken")
	bob.post(confirmNSID, map[string]any{"email": "bob@example.com", "token": confirm}).fails(400, "InvalidToken")
	bob.post(confirmNSID, map[string]any{"email": "alice@example.com", "token": confirm}).fails(400, "InvalidEmail")
	anyone.post(deleteNSID, map[string]any{"did": alice.did, "password": "alice-password", "token": confirm}).fails(400, "InvalidToken")
	anyone.post(deleteNSID, map[string]any{"did": bob.did, "password": "bob-password", "token": deletion}).fails(400, "InvalidToken")
	alice.post(confirmNSID, map[string]any{"email": "alice@example.com", "token": confirm}).ok() // none of that has used them up
}

func TestExpiredCodes(t *testing.T) {
	n := startNetwork(t, nil)
	alice, anyone := n.signUp(t, "alice"), n.anonymous(t)
	acct := n.accountOf(t, alice.did)
	late := func(purpose account.Purpose) string {
		t.Helper()
		code, err := n.srv.accounts.NewCode(t.Context(), acct.ID, purpose, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = n.srv.store.Update(t.Context(), func(tx *store.Tx) error {
			token, err := tx.EmailToken(t.Context(), acct.ID, string(purpose))
			if err != nil {
				return err
			}
			if life := token.ExpiresAt.Sub(token.CreatedAt); life != 15*time.Minute {
				t.Errorf("a code lives for %v", life)
			}
			token.ExpiresAt = time.Now().Add(-time.Second)
			return tx.PutEmailToken(t.Context(), token)
		})
		if err != nil {
			t.Fatal(err)
		}
		return code.Text
	}
	code := late(account.ForResetPassword)
	anyone.post(resetNSID, map[string]any{"token": code, "password": "new-password"}).fails(400, "ExpiredToken")
	alice.post(confirmNSID, map[string]any{"email": "alice@example.com", "token": late(account.ForConfirmEmail)}).fails(400, "ExpiredToken")
	anyone.post(deleteNSID, map[string]any{"did": alice.did, "password": "alice-password", "token": late(account.ForDeleteAccount)}).fails(400, "ExpiredToken")
	if err := n.srv.accounts.ConfirmEmail(t.Context(), acct.ID, acct.Email, makeCode(t, n, alice, account.ForConfirmEmail)); err != nil {
		t.Fatal(err)
	}
	alice.post(updateNSID, map[string]any{"email": "new@example.com", "token": late(account.ForUpdateEmail)}).fails(400, "ExpiredToken")
	alice.get(getSession).ok()
	if err := n.srv.accounts.SweepCodes(t.Context()); err != nil { // which leaves those of the last day, so that people are told why
		t.Fatal(err)
	}
	anyone.post(resetNSID, map[string]any{"token": code, "password": "new-password"}).fails(400, "ExpiredToken")
}

// makeCode makes a code without a mail.
func makeCode(t *testing.T, n *network, c *client, purpose account.Purpose) string {
	t.Helper()
	code, err := n.srv.accounts.NewCode(t.Context(), n.accountOf(t, c.did).ID, purpose, nil)
	if err != nil {
		t.Fatal(err)
	}
	return code.Text
}

func TestEmailConfirmationAndChange(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	alice, bob := n.signUp(t, "alice"), n.signUp(t, "bob")
	if alice.get(getSession).ok().at("emailConfirmed") != false {
		t.Error("a new address counts as confirmed")
	}
	// An address that is not confirmed can be changed without a code.
	if out := bob.post(requestUpdate, nil).ok(); out.at("tokenRequired") != false {
		t.Errorf("%v", out)
	}
	bob.post(updateNSID, map[string]any{"email": "Robert@Example.com"}).ok()
	if out := bob.get(getSession).ok(); out.str("email") != "robert@example.com" || out.at("emailConfirmed") != false {
		t.Errorf("%v", out)
	}
	bob.notified(inbox, emailNotice)

	alice.post(requestConfirm, nil).ok()
	code := alice.mailed(inbox, "Email Confirmation")
	alice.post(confirmNSID, map[string]any{"email": "other@example.com", "token": code}).fails(400, "InvalidEmail")
	alice.post(confirmNSID, map[string]any{"email": " ALICE@example.com", "token": code}).ok()
	alice.post(confirmNSID, map[string]any{"email": "alice@example.com", "token": code}).fails(400, "InvalidToken")
	if alice.get(getSession).ok().at("emailConfirmed") != true {
		t.Error("the address is not confirmed")
	}

	// From now on a change needs a code, which goes to the old address.
	alice.post(updateNSID, map[string]any{"email": "new@example.com"}).fails(400, "TokenRequired")
	if out := alice.post(requestUpdate, nil).ok(); out.at("tokenRequired") != true {
		t.Errorf("%v", out)
	}
	code = alice.mailed(inbox, "Email Update Requested")
	reset := makeCode(t, n, alice, account.ForResetPassword)
	update := func(email, token string) *answer {
		return alice.post(updateNSID, map[string]any{"email": email, "token": token})
	}
	update("new@example.com", "AAAAA-AAAAA").fails(400, "InvalidToken")
	update("nonsense", code).fails(400, "InvalidRequest")
	update("robert@example.com", code).fails(400, "InvalidRequest") // bob's
	update("new@example.com", code).ok()
	update("newer@example.com", code).ok() // the new address is not confirmed, and so needs none
	if out := alice.get(getSession).ok(); out.str("email") != "newer@example.com" || out.at("emailConfirmed") != false {
		t.Errorf("%v", out)
	}
	// A code that went to the old address opens nothing any more.
	n.anonymous(t).post(resetNSID, map[string]any{"token": reset, "password": "new-password"}).fails(400, "InvalidToken")
	told := map[string]bool{}
	for range 2 {
		m := inbox.Next()
		told[m.To+" "+m.Header.Get("Subject")] = true
	}
	if !told["alice@example.com "+emailNotice] || !told["new@example.com "+emailNotice] {
		t.Errorf("told: %v", told)
	}
	inbox.Empty()
}

func TestOwnAddressStaysConfirmed(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	alice.post(confirmNSID, map[string]any{"email": "alice@example.com", "token": makeCode(t, n, alice, account.ForConfirmEmail)}).ok()
	code := makeCode(t, n, alice, account.ForUpdateEmail)
	alice.post(updateNSID, map[string]any{"email": "alice@example.com", "token": code}).ok()
	if alice.get(getSession).ok().at("emailConfirmed") != true {
		t.Error("setting the same address again undid its confirmation")
	}
}

func TestLifecycleNeedsTheMainPassword(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	alice := n.signUp(t, "alice")
	app := alice.post("com.atproto.server.createAppPassword", map[string]any{"name": "app", "privileged": true}).ok().str("password")
	phone := n.anonymous(t)
	phone.token = signIn(phone, alice.handle, app).ok().str("accessJwt")
	nobody := n.anonymous(t)
	for method, input := range map[string]any{
		requestUpdate: nil, updateNSID: map[string]any{"email": "evil@example.com"}, requestDelete: nil,
		deactivateNSID: map[string]any{}, activateNSID: nil,
	} {
		phone.post(method, input).fails(400, "InvalidToken")
		nobody.post(method, input).fails(401, "AuthMissing")
	}
	nobody.post(requestConfirm, nil).fails(401, "AuthMissing")
	nobody.post(confirmNSID, map[string]any{"email": "alice@example.com", "token": "AAAAA-AAAAA"}).fails(401, "AuthMissing")
	code := makeCode(t, n, alice, account.ForDeleteAccount)
	nobody.post(deleteNSID, map[string]any{"did": alice.did, "password": app, "token": code}).fails(401, "AuthenticationRequired")
	alice.get(getSession).ok()
	inbox.Empty()
}

func TestTakendownAccountGetsNoMail(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	alice := n.signUp(t, "alice")
	if err := n.srv.accounts.Takedown(t.Context(), n.accountOf(t, alice.did).ID, "case", nil); err != nil {
		t.Fatal(err)
	}
	alice.token = alice.anonymous(t).post("com.atproto.server.createSession",
		map[string]any{"identifier": alice.handle, "password": "alice-password", "allowTakendown": true}).ok().str("accessJwt")
	for _, method := range []string{requestConfirm, requestUpdate, requestDelete, activateNSID} {
		alice.post(method, nil).fails(400, "InvalidToken")
	}
	alice.post(deactivateNSID, map[string]any{}).ok() // so that it can leave
	inbox.Empty()
}

func TestMailLimits(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.RateLimitsEnabled = true })
	alice := n.signUp(t, "alice")
	for range 5 {
		alice.post(requestConfirm, nil).ok()
	}
	alice.post(requestConfirm, nil).fails(429, "RateLimitExceeded")
	for range 15 {
		n.anonymous(t).post(requestReset, map[string]any{"email": "alice@example.com"}).ok()
	}
	n.anonymous(t).post(requestReset, map[string]any{"email": "nobody@example.com"}).fails(429, "RateLimitExceeded")
}

var mailCodePattern = regexp.MustCompile(`\b[A-Z2-7]{5}-[A-Z2-7]{5}\b`)
