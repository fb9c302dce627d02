package pds

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// signInWith tries to sign in with a second factor; "" gives none.
func (n *network) signInWith(t *testing.T, id, password, token string) *answer {
	t.Helper()
	in := map[string]any{"identifier": id, "password": password}
	if token != "" {
		in["authFactorToken"] = token
	}
	return n.anonymous(t).post("com.atproto.server.createSession", in)
}

// factor calls the operator's page.
func (n *network) factor(t *testing.T, in FactorRequest) (FactorAnswer, *answer) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.url+FactorPath, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth("admin", "admin-pass")
	a := n.anonymous(t).send(req, FactorPath)
	var out FactorAnswer
	if a.status == http.StatusOK {
		if err := json.Unmarshal(a.body, &out); err != nil {
			t.Fatal(err)
		}
	}
	return out, a
}

func TestEmailFactor(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	c := n.signUp(t, "alice")
	app := c.post("com.atproto.server.createAppPassword", map[string]any{"name": "phone"}).ok().str("password")
	update := func(token string, on bool) *answer {
		in := map[string]any{"email": "alice@example.com", "emailAuthFactor": on}
		if token != "" {
			in["token"] = token
		}
		return c.post(updateNSID, in)
	}
	update("", true).fails(400, "InvalidRequest") // the address is not confirmed
	c.post(requestConfirm, nil).ok()
	c.post(confirmNSID, map[string]any{"email": "alice@example.com", "token": c.mailed(inbox, "Email Confirmation")}).ok()
	if out := c.get(getSession).ok(); out.at("emailAuthFactor") != false {
		t.Errorf("session %v", out)
	}
	update("", true).ok() // safer than before, so no code is needed
	if out := c.get(getSession).ok(); out.at("emailAuthFactor") != true || out.at("emailConfirmed") != true {
		t.Errorf("session %v", out)
	}
	n.signInWith(t, c.handle, "wrong-password", "").fails(401, "AuthenticationRequired") // nothing is told to who does not know the password
	n.signInWith(t, c.handle, "alice-password", "").fails(401, "AuthFactorTokenRequired")
	code := c.mailed(inbox, "Sign-in Code")
	n.signInWith(t, c.handle, "alice-password", "AAAAA-AAAAA").fails(400, "InvalidToken")
	n.signInWith(t, c.handle, "wrong-password", code).fails(401, "AuthenticationRequired")
	if out := n.signInWith(t, c.handle, "alice-password", code).ok(); out.at("emailAuthFactor") != true {
		t.Errorf("session %v", out)
	}
	n.signInWith(t, c.handle, "alice-password", code).fails(400, "InvalidToken")
	n.signInWith(t, c.handle, app, "").ok() // app passwords are exempt

	update("", false).fails(400, "TokenRequired")
	update(code, false).fails(400, "InvalidToken") // of another purpose
	other := *c
	other.token = n.signInWith(t, c.handle, app, "").ok().str("accessJwt")
	other.post(updateNSID, map[string]any{"email": "alice@example.com", "emailAuthFactor": false}).fails(400, "InvalidToken") // no matter for app passwords
	c.post(requestUpdate, nil).ok()
	update(c.mailed(inbox, "Email Update Requested"), false).ok()
	n.signInWith(t, c.handle, "alice-password", "").ok()
}

func TestTOTPSignIn(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	app := c.post("com.atproto.server.createAppPassword", map[string]any{"name": "phone"}).ok().str("password")
	if _, a := n.factor(t, FactorRequest{Account: "nobody.test", Action: FactorBegin}); a.status != 400 {
		t.Errorf("nobody: %d", a.status)
	}
	if _, a := n.factor(t, FactorRequest{Account: c.handle, Action: "conjure"}); a.status != 400 {
		t.Errorf("unknown action: %d", a.status)
	}
	setup, _ := n.factor(t, FactorRequest{Account: c.handle, Action: FactorBegin})
	n.signInWith(t, c.handle, "alice-password", "").ok() // not in force yet
	_, a := n.factor(t, FactorRequest{Account: c.handle, Action: FactorConfirm, Code: "000000"})
	a.fails(400, "InvalidToken")
	code := totpNow(t, setup.Secret)
	confirmed, _ := n.factor(t, FactorRequest{Account: c.handle, Action: FactorConfirm, Code: code})
	if !confirmed.TOTP || len(confirmed.RecoveryCodes) != confirmed.CodesLeft || confirmed.CodesLeft == 0 {
		t.Fatalf("confirmed %+v", confirmed)
	}
	n.signInWith(t, c.handle, "alice-password", "").fails(401, "AuthFactorTokenRequired")
	n.signInWith(t, c.handle, "wrong-password", confirmed.RecoveryCodes[0]).fails(401, "AuthenticationRequired")
	n.signInWith(t, c.handle, "alice-password", code).fails(400, "InvalidToken") // used when it was confirmed
	n.signInWith(t, c.handle, "alice-password", confirmed.RecoveryCodes[0]).ok()
	n.signInWith(t, c.handle, "alice-password", confirmed.RecoveryCodes[0]).fails(400, "InvalidToken")
	n.signInWith(t, c.handle, app, "").ok()
	for range 5 {
		n.signInWith(t, c.handle, "alice-password", "000000").fails(400, "InvalidToken")
	}
	n.signInWith(t, c.handle, "alice-password", "000000").fails(429, "RateLimitExceeded")
	c.get(getSession).ok() // sessions go on

	fresh, _ := n.factor(t, FactorRequest{Account: c.did, Action: FactorRecover})
	n.signInWith(t, c.handle, "alice-password", confirmed.RecoveryCodes[1]).fails(400, "InvalidToken")
	n.signInWith(t, c.handle, "alice-password", fresh.RecoveryCodes[1]).ok()
	if shown, _ := n.factor(t, FactorRequest{Account: c.handle, Action: FactorShow}); !shown.TOTP || shown.RecoveryCodes != nil || shown.Secret != "" {
		t.Errorf("shown %+v", shown)
	}
	n.factor(t, FactorRequest{Account: c.handle, Action: FactorRemove})
	n.signInWith(t, c.handle, "alice-password", "").ok()
}

func TestFactorPageIsShut(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.url+FactorPath, bytes.NewReader([]byte(`{"account":"alice.test","action":"begin"}`)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	c.send(req, FactorPath).fails(401, "AuthenticationRequired")
	req.Header.Set("Authorization", "Bearer "+c.token)
	c.send(req, FactorPath).fails(401, "AuthenticationRequired")
}

func TestModeratorsSendMail(t *testing.T) {
	n, inbox := startMailNetwork(t, func(c *Config) { c.ModerationEmailAddress = "moderation@example.com" })
	c, mod := n.signUp(t, "alice"), n.anonymous(t)
	send := func(did, subject, content string) *answer {
		in := map[string]any{"recipientDid": did, "senderDid": "did:web:mod.example.com", "content": content}
		if subject != "" {
			in["subject"] = subject
		}
		return mod.admin("com.atproto.admin.sendEmail", in)
	}
	send("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "", "x").fails(400, "NotFound")
	mod.moderate(repoSubject(c.did), takedown(true, "case-1")).ok()
	if out := send(c.did, "", "<p>Your account <b>was</b> taken down.</p><p>Bye &amp; good luck</p>").ok(); out.at("sent") != true {
		t.Errorf("answer %v", out)
	}
	m := inbox.Next()
	if m.To != "alice@example.com" || m.From != "moderation@example.com" || m.Header.Get("Subject") != "Message via your PDS" {
		t.Errorf("mail to %s from %s: %s", m.To, m.From, m.Header.Get("Subject"))
	}
	if m.Text != "Your account was taken down.\n\nBye & good luck\n" && m.Text != "Your account was taken down.\nBye & good luck\n" {
		t.Errorf("text %q", m.Text)
	}
	send(c.did, "A\r\nBcc: everybody@example.com", "x").ok()
	if m := inbox.Next(); m.Header.Get("Bcc") != "" || m.To != "alice@example.com" {
		t.Errorf("a subject became a header: %v", m.Header)
	}
}

// withTOTP gives the account an authenticator app, and returns the recovery codes.
func (c *client) withTOTP() []string {
	c.t.Helper()
	setup, err := c.srv.accounts.BeginTOTP(c.t.Context(), c.account())
	if err != nil {
		c.t.Fatal(err)
	}
	codes, err := c.srv.accounts.ConfirmTOTP(c.t.Context(), c.account(), totpNow(c.t, setup.Secret))
	if err != nil {
		c.t.Fatal(err)
	}
	return codes
}

// totpNow is what an authenticator app shows, computed apart from the server's own code.
func totpNow(t *testing.T, secret string) string {
	t.Helper()
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	var counter [8]byte
	binary.BigEndian.PutUint64(counter[:], uint64(time.Now().Unix()/30))
	mac := hmac.New(sha1.New, key)
	mac.Write(counter[:])
	sum := mac.Sum(nil)
	at := sum[19] & 15
	n := (uint32(sum[at])&127)<<24 | uint32(sum[at+1])<<16 | uint32(sum[at+2])<<8 | uint32(sum[at+3])
	return fmt.Sprintf("%06d", n%1_000_000)
}
