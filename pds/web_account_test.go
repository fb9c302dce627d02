package pds

import (
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"perch/identity/plc"
	"perch/pds/mail/mailtest"
)

// says expects texts not to be on the page.
func (v *visitor) saysNot(texts ...string) *visitor {
	v.t.Helper()
	for _, text := range texts {
		if strings.Contains(string(v.page.body), text) {
			v.t.Errorf("%s says %q", v.page.what, text)
		}
	}
	return v
}

func TestOverviewTellsWhatNeedsAttention(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	alice := n.signUp(t, "alice")
	v := n.visitor(t).signIn("alice.test", "alice-password").shows(200, "/account", alice.did, "not confirmed", "password alone", "recovery key", "Records: 0")
	v.saysNot("deactivated", "was changed")

	v.open("/account/email").send("/account/email", "do", "send").shows(200, "/account/email", "on its way to alice@example.com")
	v.send("/account/email", "do", "confirm", "code", alice.mailed(inbox, "Email Confirmation")).shows(200, "/account/email", "is confirmed")
	alice.rotation(RotationKeyCreate, "").ok()
	setup, _ := n.factor(t, FactorRequest{Account: alice.did, Action: FactorBegin})
	n.factor(t, FactorRequest{Account: alice.did, Action: FactorConfirm, Code: totpNow(t, setup.Secret)})
	v.open("/account").shows(200, "/account", "Everything is in order").saysNot("not confirmed", "password alone")

	alice.deactivate()
	alice.strange(n.srv.rotationKey, func(op *plc.Operation) { op.SetPDS("https://evil.example") })
	alice.look()
	v.open("/account").shows(200, "/account", "is deactivated", "Your identity was changed")
}

func TestHandlePageServiceDomain(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	n.signUp(t, "bob")
	v := n.visitor(t).signIn("alice.test", "alice-password")
	v.open("/account/handle").shows(200, "/account/handle", `value="alice"`)
	for _, bad := range []string{"bob", "x", "admin", "under_score", "a.b", ""} {
		v.send("/account/handle", "do", "service", "label", bad).shows(422, "/account/handle", `id="label-error"`)
	}
	v.send("/account/handle", "do", "service", "label", " Alicia ").shows(200, "/account/handle", "is changed", "@alicia.test")
	if got := alice.lastOp().AlsoKnownAs[0]; got != "at://alicia.test" {
		t.Errorf("the DID says %s", got)
	}
}

// startDNS starts a name server that knows TXT records.
func startDNS(t *testing.T, records map[string]string) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	server := &dns.Server{PacketConn: pc, NotifyStartedFunc: func() { close(ready) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		name := q.Question[0].Name
		if text, ok := records[strings.TrimSuffix(name, ".")]; ok && q.Question[0].Qtype == dns.TypeTXT {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 1}, Txt: []string{text}})
		} else {
			m.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(m)
	})}
	go func() { _ = server.ActivateAndServe() }()
	<-ready
	t.Cleanup(func() { _ = server.Shutdown() })
	return pc.LocalAddr().String()
}

func TestHandlePageOwnDomain(t *testing.T) {
	records := map[string]string{}
	address := startDNS(t, records)
	n := startNetwork(t, func(c *Config) {
		c.ServiceHandleDomains = []string{".pds.test"}
		c.HandleBackupNameservers = []string{address}
	})
	alice := &client{network: n, t: t, handle: "alice.pds.test"}
	out := alice.post("com.atproto.server.createAccount", map[string]any{"handle": alice.handle, "email": "alice@example.com", "password": "alice-password"}).ok()
	alice.did, alice.token = out.str("did"), out.str("accessJwt")
	v := n.visitor(t).signIn(alice.handle, "alice-password").open("/account/handle")
	v.send("/account/handle", "do", "check", "own", "not a domain").shows(422, "/account/handle", `id="own-error"`)
	v.send("/account/handle", "do", "check", "own", "bob.pds.test").shows(422, "/account/handle", "the form above")
	v.send("/account/handle", "do", "check", "own", "https://Alice.own.test/").shows(200, "/account/handle",
		"_atproto.alice.own.test", "did="+alice.did, "https://alice.own.test/.well-known/atproto-did", "missing").saysNot("You can use it now")
	v.send("/account/handle", "do", "own", "own", "alice.own.test").shows(422, "/account/handle", "does not name your account yet")

	records["_atproto.alice.own.test"] = "did=did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
	v.send("/account/handle", "do", "check", "own", "alice.own.test").shows(200, "/account/handle", "another account", "<pre>did:plc:aaaaaaaaaaaaaaaaaaaaaaaa</pre>")
	records["_atproto.alice.own.test"] = alice.did + " <b>"
	v.send("/account/handle", "do", "check", "own", "alice.own.test").shows(200, "/account/handle", "not one that apps understand", "<pre>"+alice.did+" &lt;b&gt;</pre>")
	delete(records, "_atproto.alice.own.test")
	records["_atproto.alice.own.test.own.test"] = "did=" + alice.did
	v.send("/account/handle", "do", "check", "own", "alice.own.test").shows(200, "/account/handle", "where nobody looks", "<pre>_atproto.alice.own.test.own.test</pre>", "no website")
	records["_atproto.alice.own.test"] = "did=" + alice.did
	v.send("/account/handle", "do", "check", "own", "alice.own.test").shows(200, "/account/handle", "You can use it now", "found")
	v.send("/account/handle", "do", "own", "own", "alice.own.test").shows(200, "/account/handle", "is changed", "@alice.own.test")
	if got := alice.lastOp().AlsoKnownAs[0]; got != "at://alice.own.test" {
		t.Errorf("the DID says %s", got)
	}
}

// nextCode is the code in the mail that comes next.
func nextCode(inbox *mailtest.Server) string {
	m := inbox.Next()
	return m.Code()
}

func TestEmailPage(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	alice := n.signUp(t, "alice")
	n.signUp(t, "bob")
	v := n.visitor(t).signIn("alice.test", "alice-password").open("/account/email").shows(200, "/account/email", "not confirmed")
	// An address that was never confirmed is changed at once, and asked about.
	v.send("/account/email", "do", "change", "email", "nonsense").shows(422, "/account/email", `id="email-error"`)
	v.send("/account/email", "do", "change", "email", "bob@example.com").shows(422, "/account/email", `id="email-error"`)
	v.send("/account/email", "do", "change", "email", "Alice2@example.com").shows(200, "/account/email", "is changed", "alice2@example.com")
	alice.notified(inbox, emailNotice)
	v.send("/account/email", "do", "confirm", "code", "AAAAA-AAAAA").shows(422, "/account/email", `id="code-error"`)
	v.send("/account/email", "do", "confirm", "code", nextCode(inbox)).shows(200, "/account/email", "is confirmed")

	// One that was confirmed needs a code that goes there.
	v.send("/account/email", "do", "change", "email", "alice3@example.com").shows(422, "/account/email", `id="change-code-error"`)
	v.send("/account/email", "do", "ask").shows(200, "/account/email", "sent a code to alice2@example.com")
	v.send("/account/email", "do", "change", "email", "alice3@example.com", "change-code", "AAAAA-AAAAA").shows(422, "/account/email", `id="change-code-error"`)
	v.send("/account/email", "do", "change", "email", "alice3@example.com", "change-code", nextCode(inbox)).shows(200, "/account/email", "alice3@example.com")
	if a := n.accountOf(t, alice.did); a.Email != "alice3@example.com" || !a.EmailConfirmedAt.IsZero() {
		t.Errorf("%s, confirmed %v", a.Email, a.EmailConfirmedAt)
	}
}

// TestPagesShareLimitsWithMethods: nobody gets twice as many mails by going through both doors.
func TestPagesShareLimitsWithMethods(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.RateLimitsEnabled = true })
	alice := n.signUp(t, "alice")
	v := n.visitor(t).signIn("alice.test", "alice-password").open("/account/close")
	for _, c := range []struct{ method, path, do, what string }{
		{"com.atproto.server.requestEmailConfirmation", "/account/email", "send", ""},
		{"com.atproto.server.requestAccountDelete", "/account/close", "ask", ""},
		{"com.atproto.identity.requestPlcOperationSignature", "/account/keys", "ask", "create"},
	} {
		for range 4 {
			alice.post(c.method, nil).ok()
		}
		v.open(c.path).send(c.path, "do", c.do, "what", c.what).shows(200, c.path)
		v.open(c.path).send(c.path, "do", c.do, "what", c.what).shows(429, c.path, "Too many attempts")
		alice.post(c.method, nil).fails(429, "RateLimitExceeded")
	}
}
