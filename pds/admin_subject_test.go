package pds

import (
	"net/http"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

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
