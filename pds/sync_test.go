package pds

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	indigorepo "github.com/bluesky-social/indigo/atproto/repo"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/pds/store"
	"perch/repo"
)

// signingKey is the public key in the account's DID document, as the network sees it.
func (c *client) signingKey() atcrypto.PublicKey {
	c.t.Helper()
	doc, err := c.srv.identity.Refresh(c.t.Context(), syntax.DID(c.did))
	if err != nil {
		c.t.Fatal(err)
	}
	key, err := doc.SigningKey()
	if err != nil {
		c.t.Fatal(err)
	}
	return key
}

func TestExportIsTheRepository(t *testing.T) {
	c := startNetwork(t, nil).signUp(t, "alice")
	paths := map[string]string{}
	for i := range 60 {
		out := c.createPost(fmt.Sprint(i))
		paths[strings.TrimPrefix(out.str("uri"), "at://"+c.did+"/")] = out.str("cid")
	}
	a := c.anonymous(t).get("com.atproto.sync.getRepo", "did", c.did)
	a.ok()
	if ct := a.header.Get("Content-Type"); ct != carType {
		t.Errorf("content type %q", ct)
	}
	commit, loaded, err := indigorepo.LoadRepoFromCAR(t.Context(), bytes.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	if err := commit.VerifySignature(c.signingKey()); err != nil {
		t.Error(err)
	}
	for path, want := range paths {
		collection, rkey, _ := strings.Cut(path, "/")
		got, err := loaded.GetRecordCID(t.Context(), syntax.NSID(collection), syntax.RecordKey(rkey))
		if err != nil || got.String() != want {
			t.Errorf("%s: %v %v, want %s", path, got, err, want)
		}
	}
	head := c.get("com.atproto.sync.getLatestCommit", "did", c.did).ok()
	if head.str("rev") != commit.Rev {
		t.Errorf("rev %s, getLatestCommit says %s", commit.Rev, head.str("rev"))
	}
}

func TestExportSince(t *testing.T) {
	c := startNetwork(t, nil).signUp(t, "alice")
	old := c.createPost("an old record that need not be sent again")
	fresh := c.createPost("a new record")
	car := c.get("com.atproto.sync.getRepo", "did", c.did, "since", old.str("commit.rev"))
	car.ok()
	if bytes.Contains(car.body, []byte("need not be sent")) || !bytes.Contains(car.body, []byte("a new record")) {
		t.Errorf("since %s: wrong records in the export (new rev %s)", old.str("commit.rev"), fresh.str("commit.rev"))
	}
	c.get("com.atproto.sync.getRepo", "did", c.did, "since", "nonsense").fails(400, "InvalidRequest")
}

func TestRecordProofs(t *testing.T) {
	c := startNetwork(t, nil).signUp(t, "alice")
	var last object
	for i := range 30 {
		last = c.createPost(fmt.Sprint(i))
	}
	path := strings.TrimPrefix(last.str("uri"), "at://"+c.did+"/")
	proof := func(path string) ([]byte, error) {
		collection, rkey, _ := strings.Cut(path, "/")
		a := c.anonymous(t).get("com.atproto.sync.getRecord", "did", c.did, "collection", collection, "rkey", rkey)
		a.ok()
		got, _, err := repo.VerifyRecordProof(a.body, syntax.DID(c.did), c.signingKey(), path)
		if got.Defined() {
			return []byte(got.String()), err
		}
		return nil, err
	}
	if got, err := proof(path); err != nil || string(got) != last.str("cid") {
		t.Errorf("proof of %s: %s, %v", path, got, err)
	}
	if got, err := proof(postCollection + "/3jzfcijpj2z2a"); err != nil || got != nil {
		t.Errorf("proof of absence: %s, %v", got, err)
	}
}

func TestGetBlocks(t *testing.T) {
	c := startNetwork(t, nil).signUp(t, "alice")
	post := c.createPost("x")
	a := c.get("com.atproto.sync.getBlocks", "did", c.did, "cids", post.str("cid"), "cids", post.str("commit.cid"))
	a.ok()
	for _, want := range []string{post.str("cid"), post.str("commit.cid")} {
		if c, err := cid.Decode(want); err != nil || !bytes.Contains(a.body, c.Bytes()) {
			t.Errorf("block %s is not among the answer (%v)", want, err)
		}
	}
	c.get("com.atproto.sync.getBlocks", "did", c.did, "cids", "bafyreidybs54efa7emvmnv5wpyts6o6wvebpbabiwxhfqpfwemz4eejacy").fails(400, "BlockNotFound")
}

// upload sends a blob and returns the reference for a record.
func (c *client) upload(contentType string, body []byte) map[string]any {
	c.t.Helper()
	out := c.do(http.MethodPost, "com.atproto.repo.uploadBlob", nil, contentType, body).ok()
	return out.at("blob").(map[string]any)
}

func imagePost(ref map[string]any) map[string]any {
	post := postRecord("with a picture")
	post["embed"] = map[string]any{"$type": "app.bsky.embed.images", "images": []any{map[string]any{"alt": "", "image": ref}}}
	return post
}

// png is the beginning of a PNG file, as much as it takes to be known as one, and some bytes of its own.
func png(own string) []byte { return []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + own) }

func TestBlobIsPrivateUntilReferenced(t *testing.T) {
	c := startNetwork(t, nil).signUp(t, "alice")
	body := png("one")
	ref := c.upload("application/octet-stream", body)
	if ref["mimeType"] != "image/png" {
		t.Errorf("sniffed %v", ref["mimeType"])
	}
	cid := object(ref).str("ref.$link")
	anyone := c.anonymous(t)
	anyone.get("com.atproto.sync.getBlob", "did", c.did, "cid", cid).fails(400, "BlobNotFound")
	if list := anyone.get("com.atproto.sync.listBlobs", "did", c.did).ok(); len(list.at("cids").([]any)) != 0 {
		t.Error("listBlobs shows an upload that no record refers to")
	}
	out := c.post("com.atproto.repo.createRecord", map[string]any{"repo": c.did, "collection": postCollection, "record": imagePost(ref)}).ok()
	a := anyone.get("com.atproto.sync.getBlob", "did", c.did, "cid", cid)
	a.ok()
	if !bytes.Equal(a.body, body) {
		t.Error("the blob came back changed")
	}
	for name, want := range map[string]string{
		"Content-Type": "image/png", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox", "Etag": `"` + cid + `"`,
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	c.post("com.atproto.repo.deleteRecord", map[string]any{"repo": c.did, "collection": postCollection, "rkey": syntax.ATURI(out.str("uri")).RecordKey()}).ok()
	anyone.get("com.atproto.sync.getBlob", "did", c.did, "cid", cid).fails(400, "BlobNotFound")
}

func TestBlobRange(t *testing.T) {
	c := startNetwork(t, nil).signUp(t, "alice")
	body := png(strings.Repeat("0123456789", 100))
	ref := c.upload("image/png", body)
	c.post("com.atproto.repo.createRecord", map[string]any{"repo": c.did, "collection": postCollection, "record": imagePost(ref)}).ok()
	q := url.Values{"did": {c.did}, "cid": {object(ref).str("ref.$link")}}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, c.url+"/xrpc/com.atproto.sync.getBlob?"+q.Encode(), nil)
	req.Header.Set("Range", "bytes=100-199")
	a := c.send(req, "com.atproto.sync.getBlob")
	if a.status != http.StatusPartialContent || !bytes.Equal(a.body, body[100:200]) {
		t.Errorf("range: status %d, %d bytes", a.status, len(a.body))
	}
	req.Header.Del("Range")
	req.Header.Set("If-None-Match", `"`+q.Get("cid")+`"`)
	if a := c.send(req, "com.atproto.sync.getBlob"); a.status != http.StatusNotModified {
		t.Errorf("If-None-Match: status %d", a.status)
	}
}

func TestBlobRefusals(t *testing.T) {
	n := startNetwork(t, func(c *Config) { c.BlobUploadLimit = 1000 })
	alice, bob := n.signUp(t, "alice"), n.signUp(t, "bob")
	alice.do(http.MethodPost, "com.atproto.repo.uploadBlob", nil, "image/png", make([]byte, 1001)).fails(413, "PayloadTooLarge")
	n.anonymous(t).do(http.MethodPost, "com.atproto.repo.uploadBlob", nil, "image/png", png("x")).fails(401, "AuthMissing")
	ref := alice.upload("image/png", png("x"))
	post := func(c *client, ref map[string]any) *answer {
		return c.post("com.atproto.repo.createRecord", map[string]any{"repo": c.did, "collection": postCollection, "record": imagePost(ref)})
	}
	post(bob, ref).fails(400, "BlobNotFound") // blobs belong to accounts
	lie := map[string]any{"$type": "blob", "ref": ref["ref"], "mimeType": "image/png", "size": 999_999}
	post(alice, lie).fails(400, "InvalidSize")
	lie["size"], lie["mimeType"] = ref["size"], "image/jpeg"
	post(alice, lie).fails(400, "InvalidMimeType")
	text := alice.upload("text/plain", []byte("hello"))
	post(alice, text).fails(400, "InvalidMimeType") // the lexicon wants an image
	post(alice, ref).ok()
}

func TestInactiveAccountIsNotServed(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	post := c.createPost("x")
	rkey := syntax.ATURI(post.str("uri")).RecordKey().String()
	acct, err := n.srv.store.AccountByDID(t.Context(), syntax.DID(c.did))
	if err != nil {
		t.Fatal(err)
	}
	reads := func(c *client) map[string]*answer {
		return map[string]*answer{
			"describe": c.get("com.atproto.repo.describeRepo", "repo", c.did),
			"list":     c.get("com.atproto.repo.listRecords", "repo", c.did, "collection", postCollection),
			"repo":     c.get("com.atproto.sync.getRepo", "did", c.did),
			"proof":    c.get("com.atproto.sync.getRecord", "did", c.did, "collection", postCollection, "rkey", rkey),
			"blocks":   c.get("com.atproto.sync.getBlocks", "did", c.did, "cids", post.str("cid")),
			"commit":   c.get("com.atproto.sync.getLatestCommit", "did", c.did),
			"head":     c.get("com.atproto.sync.getHead", "did", c.did),
			"blobs":    c.get("com.atproto.sync.listBlobs", "did", c.did),
			"blob":     c.get("com.atproto.sync.getBlob", "did", c.did, "cid", post.str("cid")),
		}
	}
	stranger := n.anonymous(t)
	stranger.did = c.did
	change := func(name string, fn func() error) {
		t.Helper()
		if err := fn(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	change("deactivate", func() error { return n.srv.accounts.Deactivate(t.Context(), acct.ID, time.Time{}, nil) })
	for _, a := range reads(stranger) {
		a.fails(400, "RepoDeactivated")
	}
	stranger.get("com.atproto.repo.getRecord", "repo", c.did, "collection", postCollection, "rkey", rkey).fails(400, "RecordNotFound")
	if st := stranger.get("com.atproto.sync.getRepoStatus", "did", c.did).ok(); st.at("active") != false || st.str("status") != "deactivated" || st.at("rev") != nil {
		t.Errorf("getRepoStatus: %v", st)
	}
	if list := stranger.get("com.atproto.sync.listRepos").ok(); list.at("repos.0.active") != false || list.str("repos.0.status") != store.StatusDeactivated {
		t.Errorf("listRepos: %v", list)
	}
	c.get("com.atproto.sync.getRepo", "did", c.did).ok() // its owner can leave
	c.get("com.atproto.server.getSession").ok()
	c.post("com.atproto.repo.createRecord", map[string]any{"repo": c.did, "collection": postCollection, "record": postRecord("x")}).fails(401, "AccountDeactivated")
	c.get("app.bsky.feed.getTimeline").fails(401, "AccountDeactivated")
	change("activate", func() error { return n.srv.accounts.Activate(t.Context(), acct.ID, nil) })
	change("take down", func() error { return n.srv.accounts.Takedown(t.Context(), acct.ID, "mod-1", nil) })
	for _, a := range reads(stranger) {
		a.fails(400, "RepoTakendown")
	}
	c.post("com.atproto.server.createSession", map[string]any{"identifier": c.handle, "password": "alice-password"}).fails(401, "AccountTakedown")
}
