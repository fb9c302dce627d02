package pds

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/store"
)

// audits are the newest lines of the audit log, the oldest of them first, as "kind action subject result".
func (n *network) audits(t *testing.T, q store.AuditQuery) []store.Audit {
	t.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	lines, err := n.srv.store.Audits(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(lines)
	return lines
}

func brief(lines []store.Audit) (out []string) {
	for _, l := range lines {
		result, _, _ := strings.Cut(l.Result, ":")
		out = append(out, l.Kind+" "+l.Action+" "+result)
	}
	return out
}

func TestAuditHoldsEveryAdminAction(t *testing.T) {
	n, inbox := startMailNetwork(t, nil)
	alice := n.signUp(t, "alice")
	post := alice.createPost("x")
	mod := n.anonymous(t)
	mod.moderate(repoSubject(alice.did), takedown(true, "case-1")).ok()
	mod.moderate(repoSubject(alice.did), takedown(false, "")).ok()
	mod.moderate(map[string]any{"$type": subjectRecord, "uri": post.str("uri"), "cid": post.str("cid")}, takedown(true, "case-2")).ok()
	mod.moderate(repoSubject("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"), takedown(true, "x")).fails(400, "NotFound")
	mod.admin("com.atproto.admin.updateAccountPassword", map[string]any{"did": alice.did, "password": "top-secret-password"}).ok()
	mod.admin("com.atproto.admin.updateAccountEmail", map[string]any{"account": "alice.test", "email": "new@example.com"}).ok()
	mod.admin("com.atproto.admin.updateAccountHandle", map[string]any{"did": alice.did, "handle": "alicia.test"}).ok()
	mod.admin("com.atproto.admin.disableAccountInvites", map[string]any{"account": alice.did, "note": "spam"}).ok()
	mod.admin("com.atproto.admin.enableAccountInvites", map[string]any{"account": alice.did}).ok()
	mod.admin("com.atproto.admin.sendEmail", map[string]any{"recipientDid": alice.did, "senderDid": alice.did, "subject": "Hello", "content": "top-secret-letter"}).ok()
	inbox.Next()
	mod.admin("com.atproto.server.createInviteCode", map[string]any{"useCount": 2}).ok()
	mod.adminGet("com.atproto.admin.getAccountInfo", "did", alice.did).ok() // reading is no action
	code := n.operatorJSON(t, CodePath, CodeRequest{Account: "alicia.test", Purpose: "reset-password"}).ok().str("code")
	secret := n.operatorJSON(t, FactorPath, FactorRequest{Account: alice.did, Action: FactorBegin}).ok().str("secret")
	n.operatorJSON(t, FactorPath, FactorRequest{Account: alice.did, Action: FactorShow}).ok()
	n.operatorJSON(t, FactorPath, FactorRequest{Account: alice.did, Action: FactorConfirm, Code: "000000"}).fails(400, "InvalidToken")
	mod.admin("com.atproto.admin.deleteAccount", map[string]any{"did": alice.did}).ok()

	lines := n.audits(t, store.AuditQuery{})
	want := []string{
		"password takedown done", "password restore done", "password takedown done", "password takedown NotFound", "password password done",
		"password email done", "password handle begun", "password handle done", "password invites-forbid done", "password invites-allow done",
		"password mail done", "password invites-create done", "password code done", "password factor-begin done", "password factor-confirm InvalidToken",
		"password delete done",
	}
	if got := brief(lines); !slices.Equal(got, want) {
		t.Errorf("the log is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, l := range lines {
		if l.Action != "invites-create" && l.Subject != alice.did && !strings.HasPrefix(l.Result, "NotFound") || l.Address != "127.0.0.1" || l.At.IsZero() {
			t.Errorf("%+v", l)
		}
		for _, hidden := range []string{"top-secret", code, secret} {
			if strings.Contains(l.Detail+l.Reason+l.Result, hidden) {
				t.Errorf("a secret is in the log: %+v", l)
			}
		}
	}
	if lines[0].Reason != "case-1" || lines[2].Detail != post.str("uri") || lines[8].Reason != "spam" {
		t.Errorf("%+v", lines)
	}
	if got := n.audits(t, store.AuditQuery{Subject: alice.did, Actor: "password", Limit: 2}); len(got) != 2 || got[1].Action != "delete" {
		t.Errorf("the newest two lines about the account are %+v", got)
	}
}

func TestEveryAdminMethodIsAudited(t *testing.T) {
	n := startNetwork(t, nil)
	inputs := map[string]map[string]any{}
	for _, nsid := range n.srv.mux.Methods() {
		m, err := n.srv.lexicons.Method(nsid)
		if err != nil || m.Kind != "procedure" || !strings.HasPrefix(nsid, "com.atproto.admin.") {
			continue
		}
		nobody := "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
		inputs[nsid] = map[string]any{
			"did": nobody, "account": nobody, "recipientDid": nobody, "senderDid": nobody, "content": "x", "email": "a@example.com", "handle": "a.test",
			"password": "some-password", "signingKey": "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme", "subject": repoSubject(nobody), "codes": []string{"x"},
		}
		if nsid != subjectStatusNSID {
			delete(inputs[nsid], "subject")
		}
	}
	if len(inputs) < 9 {
		t.Fatalf("only %d methods were found", len(inputs))
	}
	for nsid, in := range inputs {
		before := len(n.audits(t, store.AuditQuery{}))
		n.anonymous(t).admin(nsid, in)
		if len(n.audits(t, store.AuditQuery{})) == before {
			t.Errorf("%s left nothing in the audit log", nsid)
		}
	}
}

func TestAuditTellsTheCommandLine(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	req := alice.jsonRequest(subjectStatusNSID, map[string]any{"subject": repoSubject(alice.did), "takedown": takedown(true, "SUSPEND-x")})
	req.SetBasicAuth("admin", "admin-pass")
	req.Header.Set("User-Agent", CommandLineAgent)
	alice.send(req, subjectStatusNSID).ok()
	if got := brief(n.audits(t, store.AuditQuery{})); !slices.Equal(got, []string{"command-line suspend done"}) {
		t.Errorf("the log is %q", got)
	}
	req = alice.jsonRequest(subjectStatusNSID, map[string]any{"subject": repoSubject(alice.did), "takedown": takedown(false, "")})
	req.Header.Set("User-Agent", CommandLineAgent)
	if a := alice.send(req, subjectStatusNSID); a.status != http.StatusUnauthorized {
		t.Errorf("without the password: %d", a.status)
	}
	if got := n.audits(t, store.AuditQuery{}); len(got) != 1 {
		t.Errorf("somebody who was not let in is in the log: %+v", got)
	}
}

func TestAuditIsInTheTransaction(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	acct := alice.account()
	broken := errors.New("broken")
	err := n.srv.audit(t.Context(), deed{action: "try", subject: alice.did}, func(ctx context.Context) error {
		return n.srv.store.Update(ctx, func(tx *store.Tx) error {
			if err := tx.SetRole(ctx, acct.ID, store.RoleAdmin); err != nil {
				return err
			}
			return broken
		})
	})
	if !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if got := brief(n.audits(t, store.AuditQuery{})); !slices.Equal(got, []string{"password try InternalServerError"}) {
		t.Errorf("the log is %q", got)
	}
	if alice.account().Role != "" {
		t.Error("what was undone is in force")
	}
}

func TestRoleNeedsThePassword(t *testing.T) {
	n := startNetwork(t, nil)
	alice := n.signUp(t, "alice")
	on := true
	n.totp(t, "alice.test")
	req := alice.jsonRequest("x", RoleRequest{Account: "alice.test", Role: &on})
	req.URL.Path = RolePath
	req.Header.Set("Authorization", "Bearer "+alice.token)
	if a := alice.send(req, RolePath); a.status != http.StatusUnauthorized {
		t.Errorf("with the owner's own session: %d", a.status)
	}
	if alice.account().Role != "" {
		t.Error("the account is an administrator")
	}
	n.operatorJSON(t, RolePath, RoleRequest{Account: "alice.test", Role: &on})
	if alice.account().Role != store.RoleAdmin {
		t.Error("the account is no administrator")
	}
	n.anonymous(t).admin("com.atproto.admin.deleteAccount", map[string]any{"did": alice.did}).ok()
	if acct, err := n.srv.store.AccountByDID(t.Context(), syntax.DID(alice.did)); err == nil && acct.Role != "" {
		t.Error("a deleted account is an administrator")
	}
}
