package pds

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/api/atproto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/event"
	"perch/pds/store"
	"perch/repo"
)

const subjectStatusNSID = "com.atproto.admin.updateSubjectStatus"

// adminGet calls a query with the admin password.
func (c *client) adminGet(method string, params ...string) *answer {
	c.t.Helper()
	q := url.Values{}
	for i := 0; i < len(params); i += 2 {
		q.Add(params[i], params[i+1])
	}
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.url+"/xrpc/"+method+"?"+q.Encode(), nil)
	if err != nil {
		c.t.Fatal(err)
	}
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

func TestAccountTakedown(t *testing.T) {
	n := startNetwork(t, nil)
	c, mod := n.signUp(t, "alice"), n.anonymous(t)
	c.createPost("x")
	app := c.post("com.atproto.server.createAppPassword", map[string]any{"name": "phone"}).ok().str("password")
	signIn := func(password string, allow bool) *answer {
		return n.anonymous(t).post("com.atproto.server.createSession", map[string]any{"identifier": c.handle, "password": password, "allowTakendown": allow})
	}
	for _, tt := range []struct{ ref, status, error string }{
		{"mod-event-1", "takendown", "RepoTakendown"},
		{"", "takendown", "RepoTakendown"},
		{"BSKY-SUSPEND-17", "suspended", "RepoSuspended"},
	} {
		session := signIn("alice-password", false).ok()
		c.token, c.fresh = session.str("accessJwt"), session.str("refreshJwt")
		n.wantEvents(t, func() { mod.moderate(repoSubject(c.did), takedown(true, tt.ref)).ok() }, "account "+tt.status)
		status := mod.adminGet("com.atproto.admin.getSubjectStatus", "did", c.did).ok()
		if status.at("takedown.applied") != true || status.str("takedown.ref") == "" || status.at("deactivated.applied") != false {
			t.Errorf("%q: status %v", tt.ref, status)
		}
		mod.get("com.atproto.repo.listRecords", "repo", c.did, "collection", postCollection).fails(400, tt.error)
		if got := mod.get("com.atproto.sync.getRepoStatus", "did", c.did).ok(); got.at("active") != false || got.str("status") != tt.status {
			t.Errorf("repo status %v", got)
		}
		c.get("com.atproto.server.getSession").fails(401, "AccountTakedown")
		refresh := *c
		refresh.token = c.fresh
		refresh.post("com.atproto.server.refreshSession", nil).fails(400, "ExpiredToken")
		signIn("alice-password", false).fails(401, "AccountTakedown")
		signIn(app, true).fails(401, "AuthenticationRequired")
		leaving := signIn("alice-password", true).ok()
		if leaving.str("status") != tt.status || leaving.at("active") != false {
			t.Errorf("session of a %s account: %v", tt.status, leaving)
		}
		mod.get("com.atproto.identity.resolveHandle", "handle", c.handle).fails(400, "HandleNotFound")
		n.wantEvents(t, func() { mod.moderate(repoSubject(c.did), takedown(false, "")).ok() }, "account active", "sync")
		mod.get("com.atproto.repo.listRecords", "repo", c.did, "collection", postCollection).ok()
		signIn("alice-password", false).ok()
	}
	mod.moderate(repoSubject("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"), takedown(true, "x")).fails(400, "NotFound")
	mod.adminGet("com.atproto.admin.getSubjectStatus").fails(400, "InvalidRequest")
	mod.adminGet("com.atproto.admin.getSubjectStatus", "blob", "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy").fails(400, "InvalidRequest")
}

func TestModeratorDeactivates(t *testing.T) {
	n := startNetwork(t, nil)
	c, mod := n.signUp(t, "alice"), n.anonymous(t)
	set := func(in map[string]any) *answer {
		in["subject"] = repoSubject(c.did)
		return mod.admin(subjectStatusNSID, in)
	}
	on, off := map[string]any{"applied": true}, map[string]any{"applied": false}
	set(map[string]any{"takedown": on, "deactivated": off}).fails(400, "InvalidRequest")
	n.wantEvents(t, func() { set(map[string]any{"deactivated": on}).ok() }, "account deactivated")
	n.wantEvents(t, func() { set(map[string]any{"deactivated": on}).ok() })
	n.wantEvents(t, func() { set(map[string]any{"takedown": on}).ok() }, "account takendown")
	n.wantEvents(t, func() { set(map[string]any{"takedown": off}).ok() }, "account deactivated")
	n.wantEvents(t, func() { set(map[string]any{}).ok() }, "account deactivated")
	n.wantEvents(t, func() { set(map[string]any{"deactivated": off}).ok() }, "account active", "identity", "sync")
	n.wantEvents(t, func() { set(map[string]any{}).ok() }, "account active")
}

func TestRecordTakedown(t *testing.T) {
	n := startNetwork(t, nil)
	c, mod := n.signUp(t, "alice"), n.anonymous(t)
	post := c.createPost("bad")
	c.createPost("good")
	uri := post.str("uri")
	rkey := syntax.ATURI(uri).RecordKey().String()
	subject := map[string]any{"$type": subjectRecord, "uri": uri, "cid": post.str("cid")}
	list := func() int {
		return len(mod.get("com.atproto.repo.listRecords", "repo", c.did, "collection", postCollection).ok().at("records").([]any))
	}
	get := func() *answer {
		return mod.get("com.atproto.repo.getRecord", "repo", c.did, "collection", postCollection, "rkey", rkey)
	}
	missing := map[string]any{"$type": subjectRecord, "uri": "at://" + c.did + "/" + postCollection + "/3jzfcijpj2z2a", "cid": post.str("cid")}
	mod.moderate(missing, takedown(true, "x")).fails(400, "NotFound")
	mod.moderate(map[string]any{"$type": subjectRecord, "uri": "at://" + c.did, "cid": post.str("cid")}, takedown(true, "x")).fails(400, "InvalidRequest")
	mod.admin(subjectStatusNSID, map[string]any{"subject": subject, "deactivated": takedown(true, "")}).fails(400, "InvalidRequest")
	n.wantEvents(t, func() { mod.moderate(subject, takedown(true, "event-7")).ok() }) // relays are not told
	get().fails(400, "RecordNotFound")
	if list() != 1 {
		t.Error("listRecords shows a record that is taken down")
	}
	status := mod.adminGet("com.atproto.admin.getSubjectStatus", "uri", uri).ok()
	if status.str("takedown.ref") != "event-7" || status.str("subject.cid") != post.str("cid") {
		t.Errorf("status %v", status)
	}
	c.post("com.atproto.repo.putRecord", map[string]any{"repo": c.did, "collection": postCollection, "rkey": rkey, "record": postRecord("bad again")}).ok()
	get().fails(400, "RecordNotFound") // another version of it is no way around
	mod.get("com.atproto.sync.getRecord", "did", c.did, "collection", postCollection, "rkey", rkey).ok()
	mod.moderate(subject, takedown(false, "")).ok()
	get().ok()
	if list() != 2 {
		t.Error("listRecords does not show a record that was restored")
	}
}

func TestBlobTakedown(t *testing.T) {
	n := startNetwork(t, nil)
	c, mod := n.signUp(t, "alice"), n.anonymous(t)
	body := png("bad picture")
	ref := c.upload("image/png", body)
	cid := object(ref).str("ref.$link")
	write := func() *answer {
		return c.post("com.atproto.repo.createRecord", map[string]any{"repo": c.did, "collection": postCollection, "record": imagePost(ref)})
	}
	post := write().ok()
	upload := func() *answer {
		return c.do(http.MethodPost, "com.atproto.repo.uploadBlob", nil, "image/png", body)
	}
	get := func(c *client, did string) *answer {
		return c.get("com.atproto.sync.getBlob", "did", did, "cid", cid)
	}
	subject := map[string]any{"$type": subjectBlob, "did": c.did, "cid": cid}
	other := map[string]any{"$type": subjectBlob, "did": c.did, "cid": "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"}
	mod.moderate(other, takedown(true, "x")).fails(400, "NotFound")
	mod.moderate(subject, takedown(true, "event-8")).ok()
	get(mod, c.did).fails(400, "BlobNotFound")
	get(c, c.did).fails(400, "BlobNotFound")
	if list := mod.get("com.atproto.sync.listBlobs", "did", c.did).ok(); len(list.at("cids").([]any)) != 0 {
		t.Error("listBlobs shows a blob that is taken down")
	}
	upload().fails(400, "InvalidRequest")
	write().fails(400, "BlobNotFound")
	// Nor does it come back by way of deleting what refers to it.
	c.post("com.atproto.repo.deleteRecord", map[string]any{"repo": c.did, "collection": postCollection, "rkey": syntax.ATURI(post.str("uri")).RecordKey()}).ok()
	upload().fails(400, "InvalidRequest")
	if st := mod.adminGet("com.atproto.admin.getSubjectStatus", "did", c.did, "blob", cid).ok(); st.str("takedown.ref") != "event-8" {
		t.Errorf("status %v", st)
	}
	mod.moderate(subject, takedown(false, "")).ok()
	upload().ok()
	write().ok()
	get(mod, c.did).ok()
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

func TestAdminChangesSigningKey(t *testing.T) {
	n := startNetwork(t, nil)
	c, admin := n.signUp(t, "alice"), n.anonymous(t)
	c.createPost("before")
	did := syntax.DID(c.did)
	rekey := func(key string) *answer {
		return admin.admin("com.atproto.admin.updateAccountSigningKey", map[string]any{"did": c.did, "signingKey": key})
	}
	rekey("did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme").fails(400, "InvalidRequest") // whose private half is elsewhere
	rekey("did:key:nonsense").fails(400, "InvalidRequest")
	rekey("did:web:example.com").fails(400, "InvalidRequest")
	if c.signingKey().DIDKey() != c.account().SigningKeyDID {
		t.Fatal("a refused key came into the DID document")
	}
	for _, reservedFor := range []syntax.DID{did, ""} {
		key, err := n.srv.accounts.ReserveSigningKey(reservedFor)
		if err != nil {
			t.Fatal(err)
		}
		before, err := n.srv.plc.Last(t.Context(), did)
		if err != nil {
			t.Fatal(err)
		}
		n.wantEvents(t, func() { rekey(key).ok() }, "identity", "sync")
		after, err := n.srv.plc.Last(t.Context(), did)
		if err != nil || !slices.Equal(after.RotationKeys, before.RotationKeys) || !slices.Equal(after.AlsoKnownAs, before.AlsoKnownAs) {
			t.Errorf("the DID lost something: %+v, %v", after, err)
		}
		if got := c.signingKey().DIDKey(); got != key || c.account().SigningKeyDID != key {
			t.Errorf("the document has %s, the account %s, want %s", got, c.account().SigningKeyDID, key)
		}
		head, _, err := n.srv.store.Head(t.Context(), c.account().ID)
		if err != nil || head.Commit.Verify(c.signingKey()) != nil {
			t.Errorf("the head is not signed with the new key (%v)", err)
		}
		c.createPost("after")
		if proof := c.get("com.atproto.sync.getRepo", "did", c.did); proof.status != 200 {
			t.Errorf("getRepo: %s", proof.body)
		}
		rekey(key).ok() // may be repeated
	}
	if problems, err := n.srv.store.Check(t.Context(), 0, nil); err != nil || len(problems) != 0 {
		t.Errorf("check: %v, %v", problems, err)
	}
}

// A request that took the old key before the change must not put a commit of it on top.
func TestOldKeyIsRefused(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	old := c.account()
	key, err := n.srv.accounts.ReserveSigningKey("")
	if err != nil {
		t.Fatal(err)
	}
	c.admin("com.atproto.admin.updateAccountSigningKey", map[string]any{"did": c.did, "signingKey": key}).ok()
	w := repo.Write{Action: repo.Create, Collection: postCollection, RKey: "3jzfcijpj2z2a", CID: repo.CIDOf([]byte{0xa0}), Record: []byte{0xa0}}
	if _, err := n.srv.commitOnce(t.Context(), old, nil, []repo.Write{w}); err == nil || !strings.Contains(err.Error(), store.ErrKeyChanged.Error()) {
		t.Errorf("commit with the old key: %v", err)
	}
	if _, err := n.srv.commit(t.Context(), old, nil, w); err != nil {
		t.Error(err)
	}
	head, _, err := n.srv.store.Head(t.Context(), old.ID)
	if err != nil || head.Commit.Verify(c.signingKey()) != nil {
		t.Errorf("the head is not signed with the new key (%v)", err)
	}
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
