package pds

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/api/atproto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/event"
	"perch/pds/store"
)

const subjectStatusNSID = "com.atproto.admin.updateSubjectStatus"

// adminGet calls a query with the admin password.
func (c *client) adminGet(method string, params ...string) *answer {
	c.t.Helper()
	req := c.query(method, params...)
	req.SetBasicAuth("admin", "admin-pass")
	return c.send(req, method)
}

func repoSubject(did string) map[string]any {
	return map[string]any{"$type": subjectRepo, "did": did}
}

func takedown(applied bool, ref string) map[string]any {
	out := map[string]any{"applied": applied}
	if ref != "" {
		out["ref"] = ref
	}
	return out
}

// moderate changes the takedown of a subject.
func (c *client) moderate(subject map[string]any, attr map[string]any) *answer {
	c.t.Helper()
	return c.admin(subjectStatusNSID, map[string]any{"subject": subject, "takedown": attr})
}

func (c *client) account() *store.Account {
	c.t.Helper()
	acct, err := c.srv.store.AccountByDID(c.t.Context(), syntax.DID(c.did))
	if err != nil {
		c.t.Fatal(err)
	}
	return acct
}

// eventsAfter are the kinds of the events stored after seq, and for #account the status.
func (n *network) eventsAfter(t *testing.T, seq int64) (kinds []string) {
	t.Helper()
	events, err := n.srv.store.Events(t.Context(), seq, 1000, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		kind := string(e.Kind)
		if e.Kind == event.Account {
			var msg atproto.SyncSubscribeRepos_Account
			if err := msg.UnmarshalCBOR(bytes.NewReader(e.Frame[len(event.Header(event.Account)):])); err != nil {
				t.Fatal(err)
			}
			kind += " active"
			if !msg.Active {
				kind = "account " + *msg.Status
			}
		}
		kinds = append(kinds, kind)
	}
	return kinds
}

// wantEvents runs fn and compares the events that it makes.
func (n *network) wantEvents(t *testing.T, fn func(), want ...string) {
	t.Helper()
	before := n.srv.store.LastSeq()
	fn()
	if got := n.eventsAfter(t, before); !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

func TestAdminMethodsAreShut(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	did := c.did
	calls := map[string]struct {
		params []string
		input  any
	}{
		"getAccountInfo":          {params: []string{"did", did}},
		"getAccountInfos":         {params: []string{"dids", did}},
		"searchAccounts":          {},
		"getSubjectStatus":        {params: []string{"did", did}},
		"getInviteCodes":          {},
		"updateSubjectStatus":     {input: map[string]any{"subject": repoSubject(did), "takedown": takedown(true, "x")}},
		"disableInviteCodes":      {input: map[string]any{"codes": []string{}}},
		"enableAccountInvites":    {input: map[string]any{"account": did}},
		"disableAccountInvites":   {input: map[string]any{"account": did}},
		"sendEmail":               {input: map[string]any{"recipientDid": did, "senderDid": did, "content": "x"}},
		"updateAccountEmail":      {input: map[string]any{"account": did, "email": "evil@example.com"}},
		"updateAccountHandle":     {input: map[string]any{"did": did, "handle": "evil.test"}},
		"updateAccountPassword":   {input: map[string]any{"did": did, "password": "evil-password"}},
		"updateAccountSigningKey": {input: map[string]any{"did": did, "signingKey": c.account().SigningKeyDID}},
		"deleteAccount":           {input: map[string]any{"did": did}},
	}
	for name, call := range calls {
		method := "com.atproto.admin." + name
		send := func(c *client) *answer {
			if call.input != nil {
				return c.post(method, call.input)
			}
			return c.get(method, call.params...)
		}
		send(n.anonymous(t)).fails(401, "AuthenticationRequired")
		if a := send(c); a.status != 401 {
			t.Errorf("%s with the owner's session: status %d", name, a.status)
		}
	}
	for _, e := range n.srv.mux.Methods() {
		name, ok := strings.CutPrefix(e, "com.atproto.admin.")
		if _, tested := calls[name]; ok && !tested {
			t.Errorf("%s is not tested here", e)
		}
	}
	guess := c.jsonRequest("com.atproto.admin.deleteAccount", map[string]any{"did": did})
	guess.SetBasicAuth("admin", "guess")
	c.send(guess, "com.atproto.admin.deleteAccount").fails(401, "AuthenticationRequired")
	if c.account().Status() != "" || c.account().Email != "alice@example.com" {
		t.Error("a refused call changed the account")
	}
}

func TestAccountInfo(t *testing.T) {
	n := startNetwork(t, nil)
	alice, bob := n.signUp(t, "alice"), n.signUp(t, "bob")
	c := n.anonymous(t)
	info := c.adminGet("com.atproto.admin.getAccountInfo", "did", alice.did).ok()
	if info.str("handle") != "alice.test" || info.str("email") != "alice@example.com" || info.str("indexedAt") == "" || info.str("deactivatedAt") != "" {
		t.Errorf("info %v", info)
	}
	nobody := "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
	c.adminGet("com.atproto.admin.getAccountInfo", "did", nobody).fails(400, "NotFound")
	infos := c.adminGet("com.atproto.admin.getAccountInfos", "dids", bob.did, "dids", nobody, "dids", alice.did).ok()
	if infos.str("infos.0.did") != bob.did || infos.str("infos.1.did") != alice.did || infos.at("infos.2") != nil {
		t.Errorf("infos %v", infos)
	}
	found := c.adminGet("com.atproto.admin.searchAccounts", "email", "ALICE@").ok()
	if found.str("accounts.0.did") != alice.did || found.at("accounts.1") != nil || found.str("cursor") != "" {
		t.Errorf("search %v", found)
	}
	page := c.adminGet("com.atproto.admin.searchAccounts", "limit", "1").ok()
	rest := c.adminGet("com.atproto.admin.searchAccounts", "limit", "1", "cursor", page.str("cursor")).ok()
	if page.str("accounts.0.did") != alice.did || rest.str("accounts.0.did") != bob.did || rest.str("cursor") != "" {
		t.Errorf("pages %v, %v", page, rest)
	}
	c.adminGet("com.atproto.admin.searchAccounts", "cursor", "x").fails(400, "InvalidRequest")
}

func TestAdminChangesAccount(t *testing.T) {
	n := startNetwork(t, nil)
	c, bob, admin := n.signUp(t, "alice"), n.signUp(t, "bob"), n.anonymous(t)
	app := c.post("com.atproto.server.createAppPassword", map[string]any{"name": "phone"}).ok().str("password")
	signIn := func(id, password string) *answer {
		return n.anonymous(t).post("com.atproto.server.createSession", map[string]any{"identifier": id, "password": password})
	}
	email := func(account, address string) *answer {
		return admin.admin("com.atproto.admin.updateAccountEmail", map[string]any{"account": account, "email": address})
	}
	email(c.did, "bob@example.com").fails(400, "InvalidRequest")
	email(c.did, "nonsense").fails(400, "InvalidRequest")
	email("nobody.test", "x@example.com").fails(400, "NotFound")
	email(c.handle, "Alice2@example.com").ok()
	signIn("alice2@example.com", "alice-password").ok()

	password := func(value string) *answer {
		return admin.admin("com.atproto.admin.updateAccountPassword", map[string]any{"did": c.did, "password": value})
	}
	password("short").fails(400, "InvalidPassword")
	c.get("com.atproto.server.getSession").ok()
	password("a new password").ok()
	c.get("com.atproto.server.getSession").fails(400, "ExpiredToken")
	signIn(c.handle, "alice-password").fails(401, "AuthenticationRequired")
	signIn(c.handle, app).fails(401, "AuthenticationRequired")
	signIn(c.handle, "a new password").ok()

	handle := func(value string) *answer {
		return admin.admin("com.atproto.admin.updateAccountHandle", map[string]any{"did": c.did, "handle": value})
	}
	before, err := n.srv.plc.Log(t.Context(), syntax.DID(c.did))
	if err != nil {
		t.Fatal(err)
	}
	handle(bob.handle).fails(400, "InvalidRequest")
	handle("alice.example.com").fails(400, "InvalidHandle") // does not point here
	handle("too-long-to-be-a-name.test").fails(400, "InvalidHandle")
	after, err := n.srv.plc.Log(t.Context(), syntax.DID(c.did))
	if err != nil || len(after) != len(before) {
		t.Errorf("a refused handle went to the PLC directory (%v)", err)
	}
	n.wantEvents(t, func() { handle("admin.test").ok() }, "identity") // reserved names are the admin's to give
	doc := admin.get("com.atproto.identity.resolveIdentity", "identifier", c.did).ok()
	if doc.str("handle") != "admin.test" {
		t.Errorf("identity after a change of handle: %v", doc)
	}
	admin.get("com.atproto.identity.resolveHandle", "handle", c.handle).fails(400, "HandleNotFound")
	n.wantEvents(t, func() { handle("admin.test").ok() }, "identity")
	if log, err := n.srv.plc.Log(t.Context(), syntax.DID(c.did)); err != nil || len(log) != len(before)+1 {
		t.Errorf("%d PLC operations, want %d (%v)", len(log), len(before)+1, err)
	}
}

func TestAdminDeletesAccount(t *testing.T) {
	n := startNetwork(t, nil)
	c, admin := n.signUp(t, "alice"), n.anonymous(t)
	ref := c.upload("image/png", png("x"))
	c.post("com.atproto.repo.createRecord", map[string]any{"repo": c.did, "collection": postCollection, "record": imagePost(ref)}).ok()
	acct := c.account()
	remove := func() *answer {
		return admin.admin("com.atproto.admin.deleteAccount", map[string]any{"did": c.did})
	}
	n.wantEvents(t, func() { remove().ok() }, "account deleted")
	remove().fails(400, "NotFound")
	admin.adminGet("com.atproto.admin.getAccountInfo", "did", c.did).fails(400, "NotFound")
	admin.adminGet("com.atproto.admin.getSubjectStatus", "did", c.did).fails(400, "NotFound")
	admin.moderate(repoSubject(c.did), takedown(false, "")).fails(400, "NotFound")
	c.get("com.atproto.server.getSession").fails(403, "AccountNotFound")
	c.do(http.MethodPost, "com.atproto.repo.uploadBlob", nil, "image/png", png("y")).fails(403, "AccountNotFound")
	admin.get("com.atproto.sync.getRepo", "did", c.did).fails(400, "RepoNotFound")
	n.srv.runJobs(t.Context())
	if _, _, err := n.srv.store.Head(t.Context(), acct.ID); err == nil {
		t.Error("the repository is still there")
	}
	if blobs, err := n.srv.store.BlobStats(t.Context(), acct.ID); err != nil || blobs.Bytes != 0 || blobs.Expected != 0 {
		t.Errorf("blobs left: %+v, %v", blobs, err)
	}
	if jobs, err := n.srv.store.DueJobs(t.Context(), acct.CreatedAt.AddDate(1, 0, 0), 10); err != nil || len(jobs) != 0 {
		t.Errorf("jobs left: %+v, %v", jobs, err)
	}
	if problems, err := n.srv.store.Check(t.Context(), 0, nil); err != nil || len(problems) != 0 {
		t.Errorf("check: %v, %v", problems, err)
	}
	if _, err := n.srv.store.AccountByDID(t.Context(), syntax.DID(c.did)); err == nil {
		t.Error("the account's row is still there: its DID could not come back")
	}
	n.signUp(t, "alice") // the name is free again
}

func TestAdminInvites(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.InviteRequired = true })
	admin := n.anonymous(t)
	make := func(count, uses int) []any {
		return admin.admin("com.atproto.server.createInviteCodes", map[string]any{"codeCount": count, "useCount": uses}).ok().at("codes.0.codes").([]any)
	}
	codes := make(4, 3)
	signUp := func(name string, code any) *answer {
		return admin.post(createAccountNSID, map[string]any{
			"handle": name + ".test", "email": name + "@example.com", "password": name + "-password", "inviteCode": code,
		})
	}
	did := signUp("alice", codes[2]).ok().str("did")
	signUp("bob", codes[2]).ok()
	signUp("carol", codes[1]).ok()
	four := []string{did, did, did, did}
	for _, count := range []int64{0, -1, 251, 1 << 62, 1<<62 + 1} { // four times of which is more than an integer holds
		admin.admin("com.atproto.server.createInviteCodes", map[string]any{"codeCount": count, "useCount": 1, "forAccounts": four}).fails(400, "InvalidRequest")
	}
	usage := admin.adminGet("com.atproto.admin.getInviteCodes", "sort", "usage").ok()
	if usage.str("codes.0.code") != codes[2] || usage.str("codes.1.code") != codes[1] || len(usage.at("codes").([]any)) != 4 {
		t.Errorf("by usage: %v", usage)
	}
	for _, sort := range []string{"recent", "usage"} {
		seen := map[string]bool{}
		for cursor, pages := "", 0; ; pages++ {
			params := []string{"sort", sort, "limit", "1"}
			if cursor != "" {
				params = append(params, "cursor", cursor)
			}
			page := admin.adminGet("com.atproto.admin.getInviteCodes", params...).ok()
			seen[page.str("codes.0.code")] = true
			if cursor = page.str("cursor"); cursor == "" || pages > 10 {
				break
			}
		}
		if len(seen) != 4 {
			t.Errorf("%s: pages show %d codes of 4", sort, len(seen))
		}
	}
	admin.adminGet("com.atproto.admin.getInviteCodes", "sort", "colour").fails(400, "InvalidRequest")
	admin.adminGet("com.atproto.admin.getInviteCodes", "cursor", "no-such-code").fails(400, "InvalidRequest")
	info := admin.adminGet("com.atproto.admin.getAccountInfo", "did", did).ok()
	if info.str("invitedBy.code") != codes[2] {
		t.Errorf("invitedBy %v", info)
	}
	disable := func(in map[string]any) *answer { return admin.admin("com.atproto.admin.disableInviteCodes", in) }
	disable(map[string]any{"accounts": []string{"admin"}}).fails(400, "InvalidRequest")
	disable(map[string]any{"codes": []any{codes[0]}}).ok()
	signUp("dave", codes[0]).fails(400, "InvalidInviteCode")
	given := admin.admin("com.atproto.server.createInviteCode", map[string]any{"useCount": 1, "forAccount": did}).ok().str("code")
	admin.admin("com.atproto.admin.disableAccountInvites", map[string]any{"account": did, "note": "spam"}).ok()
	signUp("dave", given).fails(400, "InvalidInviteCode")
	if info := admin.adminGet("com.atproto.admin.getAccountInfo", "did", did).ok(); info.at("invitesDisabled") != true {
		t.Errorf("info %v", info)
	}
	admin.admin("com.atproto.admin.enableAccountInvites", map[string]any{"account": did}).ok()
	if info := admin.adminGet("com.atproto.admin.getAccountInfo", "did", did).ok(); info.at("invitesDisabled") != false {
		t.Errorf("info %v", info)
	}
	admin.admin("com.atproto.admin.enableAccountInvites", map[string]any{"account": "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"}).fails(400, "NotFound")
}

func TestCheckHandleAvailability(t *testing.T) {
	n := startNetwork(t, nil)
	n.signUp(t, "alice")
	n.signUp(t, "alice1")
	c := n.anonymous(t)
	check := func(params ...string) *answer { return c.get("com.atproto.temp.checkHandleAvailability", params...) }
	const result = "com.atproto.temp.checkHandleAvailability#result"
	if out := check("handle", "bob.test").ok(); out.str("result.$type") != result+"Available" {
		t.Errorf("bob: %v", out)
	}
	for _, taken := range []string{"alice.test", "Alice.test", "admin.test", "al.test", "alice.example.com", "much-too-long-for-a-name.test"} {
		out := check("handle", taken).ok()
		suggestions, _ := out.at("result.suggestions").([]any)
		if out.str("result.$type") != result+"Unavailable" || len(suggestions) == 0 || len(suggestions) > maxSuggestions {
			t.Errorf("%s: %v", taken, out)
		}
		for _, s := range suggestions {
			handle := object(s.(map[string]any)).str("handle")
			if free := check("handle", handle).ok(); free.str("result.$type") != result+"Available" {
				t.Errorf("%s: suggestion %s is not free", taken, handle)
			}
		}
	}
	out := check("handle", "alice.test", "email", "alice.smith@example.com", "birthDate", "1990-05-01T00:00:00.000Z").ok()
	if out.str("result.suggestions.0.handle") != "alicesmith.test" || out.str("result.suggestions.1.handle") != "alice1990.test" {
		t.Errorf("suggestions %v", out)
	}
	check("handle", "bob.test", "email", "nonsense").fails(400, "InvalidEmail")
	check("handle", "not a handle").fails(400, "InvalidRequest")
}
