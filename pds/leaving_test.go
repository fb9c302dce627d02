package pds

import "testing"

// Whoever has signed in to a taken-down account, to leave, is signed out by a new password as anybody else is; and by nothing gets in for longer.
func TestLeavingSessionEndsWithThePassword(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	takedown := func(applied bool) {
		t.Helper()
		n.anonymous(t).admin("com.atproto.admin.updateSubjectStatus", map[string]any{
			"subject": map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": c.did}, "takedown": map[string]any{"applied": applied, "ref": "case-1"},
		}).ok()
	}
	takedown(true)
	out := n.anonymous(t).post("com.atproto.server.createSession", map[string]any{"identifier": c.handle, "password": "alice-password", "allowTakendown": true}).ok()
	thief := &client{network: n, t: t, did: c.did, token: out.str("accessJwt")}
	leave := func() *answer {
		return thief.get("com.atproto.server.getServiceAuth", "aud", "did:web:new.example.com", "lxm", "com.atproto.server.createAccount")
	}
	leave().ok()
	refresh := &client{network: n, t: t, did: c.did, token: out.str("refreshJwt")}
	refresh.post("com.atproto.server.refreshSession", nil).fails(400, "ExpiredToken")
	takedown(false)
	refresh.post("com.atproto.server.refreshSession", nil).fails(400, "ExpiredToken")
	n.anonymous(t).admin("com.atproto.admin.updateAccountPassword", map[string]any{"did": c.did, "password": "another-password"}).ok()
	takedown(true)
	leave().fails(400, "ExpiredToken")
}
