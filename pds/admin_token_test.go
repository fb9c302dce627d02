package pds

import (
	"net/http"
	"slices"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/auth"
	"perch/pds/store"
)

// moderated is a network whose moderation service is one of its own accounts.
func moderated(t *testing.T) (n *network, mod *client) {
	n = startNetwork(t, nil)
	mod = n.signUp(t, "warden")
	if err := n.srv.Close(); err != nil {
		t.Fatal(err)
	}
	n.start(func(c *Config) { c.ModServiceURL, c.ModServiceDID = "http://127.0.0.1:1", mod.did })
	return n, mod
}

// A moderation service whose DID is an account here signs with that account's key, which this server holds: it must not lend it to apps, nor to whoever has a session.
func TestNobodyBecomesModeratorByToken(t *testing.T) {
	n, mod := moderated(t)
	bob := n.signUp(t, "bob")
	ask := func(c *client, lxm string) *answer {
		return c.get("com.atproto.server.getServiceAuth", "aud", n.srv.serviceDID.String(), "lxm", lxm)
	}
	app := n.anonymous(t)
	app.token = signIn(app, mod.handle, mod.post("com.atproto.server.createAppPassword", map[string]any{"name": "phone", "privileged": true}).ok().str("password")).ok().str("accessJwt")
	for who, c := range map[string]*client{"app password": app, "session": mod} {
		for _, lxm := range []string{subjectStatusNSID, "com.atproto.admin.searchAccounts", "com.atproto.ADMIN.getInviteCodes", "com.atproto.admin.notYetInvented"} {
			if a := ask(c, lxm); a.status != http.StatusBadRequest {
				t.Errorf("%s, %s: %d %s", who, lxm, a.status, a.body)
			}
		}
		// Nor does the server call itself in the account's name.
		req := c.jsonRequest(subjectStatusNSID, map[string]any{"subject": repoSubject(bob.did), "takedown": takedown(true, "x")})
		req.Header.Set("Authorization", "Bearer "+c.token)
		req.Header.Set("Atproto-Proxy", n.srv.serviceDID.String()+"#atproto_pds")
		if a := c.send(req, subjectStatusNSID); a.status < 400 || a.status >= 500 {
			t.Errorf("%s, proxied: %d %s", who, a.status, a.body)
		}
	}
	if bob.account().Status() != "" || len(n.audits(t, store.AuditQuery{})) != 0 {
		t.Error("somebody has become a moderator")
	}
}

// moderator is a client with a token that the moderation service has made itself, for one call of a method.
func (n *network) moderator(t *testing.T, mod *client, method string) *client {
	t.Helper()
	key, err := n.srv.accounts.SigningKey(mod.account())
	if err != nil {
		t.Fatal(err)
	}
	token, err := auth.ServiceToken(key, auth.ServiceClaims{Issuer: syntax.DID(mod.did), Audience: n.srv.serviceDID.String(), Method: syntax.NSID(method)})
	if err != nil {
		t.Fatal(err)
	}
	return &client{network: n, t: t, token: token}
}

func TestAuditHoldsWhatTheModerationServiceDoes(t *testing.T) {
	n, mod := moderated(t)
	bob := n.signUp(t, "bob")
	call := func(method string, in map[string]any) *answer { return n.moderator(t, mod, method).post(method, in) }
	call(subjectStatusNSID, map[string]any{"subject": repoSubject(bob.did), "takedown": takedown(true, "BSKY-TAKEDOWN-1")}).ok()
	call(subjectStatusNSID, map[string]any{"subject": repoSubject(bob.did), "takedown": takedown(false, "")}).ok()
	call("com.atproto.admin.disableAccountInvites", map[string]any{"account": bob.did, "note": "sells them"}).ok()
	call("com.atproto.admin.sendEmail", map[string]any{"recipientDid": bob.did, "senderDid": mod.did, "subject": "Hello", "content": "top-secret-letter"}).ok()
	n.moderator(t, mod, "com.atproto.admin.getAccountInfo").get("com.atproto.admin.getAccountInfo", "did", bob.did).ok() // reading is no action
	call("com.atproto.admin.deleteAccount", map[string]any{"did": bob.did}).fails(401, "AuthenticationRequired")
	call("com.atproto.admin.updateAccountPassword", map[string]any{"did": bob.did, "password": "another-password"}).fails(401, "AuthenticationRequired")
	lines := n.audits(t, store.AuditQuery{})
	want := []string{"moderator takedown done", "moderator restore done", "moderator invites-forbid done", "moderator mail done"}
	if got := brief(lines); !slices.Equal(got, want) {
		t.Fatalf("the log is %q\nwant %q", got, want)
	}
	for _, l := range lines {
		if l.Actor != mod.did || l.Subject != bob.did || l.Address != "127.0.0.1" {
			t.Errorf("%+v", l)
		}
	}
	if lines[0].Reason != "BSKY-TAKEDOWN-1" || lines[2].Reason != "sells them" {
		t.Errorf("%+v", lines)
	}
}
