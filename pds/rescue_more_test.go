package pds

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/store"
)

// packed is what the command line makes of a bare repository.
func packed(t *testing.T, car []byte, dir string) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := PackArchive(&out, bytes.NewReader(car), dir); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Of the old host nothing is left but a copy of the repository, some of the pictures, and a server that still has others.
func TestRescueOfABareRepository(t *testing.T) {
	old := startNetwork(t, nil)
	c := old.signUp(t, "alice")
	kept, _ := c.fill(3)
	elsewhere, gone := png("only elsewhere"), png("nowhere")
	refs := []map[string]any{c.upload("image/png", elsewhere), c.upload("image/png", gone)}
	for _, ref := range refs {
		c.create("app.bsky.feed.post", imagePost(ref))
	}
	key, car := c.ownersKey(), c.exportCAR()
	old.stop()
	dir := t.TempDir()
	for name, b := range map[string][]byte{"a.png": kept, "the same.png": kept, "not of hers.txt": []byte("x")} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	asked := 0
	source := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		switch id := r.URL.Query().Get("cid"); {
		case r.URL.Path != "/xrpc/com.atproto.sync.getBlob" || r.URL.Query().Get("did") != c.did:
			t.Errorf("asked for %s", r.URL)
		case id == object(refs[0]).str("ref.$link"):
			_, _ = w.Write(elsewhere)
		default:
			_, _ = w.Write([]byte("some other picture"))
		}
	}))
	defer source.Close()
	n := &network{t: t, dir: t.TempDir(), plc: old.plc}
	n.start(nil)
	in := RescueRequest{Bare: true, DID: syntax.DID(c.did), Handle: "alice.test", Email: "alice@example.com"}
	out := n.mustImport(t, packed(t, car, dir), in)
	if out.Records != 6 || out.Blobs != 1 || out.MissingCount != 2 || len(out.Missing) != 2 || out.Needs != RescueNeedsOperation {
		t.Errorf("%+v", out)
	}
	in.BlobsFrom = source.URL
	out = n.mustImport(t, packed(t, car, ""), in)
	if out.Blobs != 2 || out.MissingCount != 1 || out.Missing[0] != object(refs[1]).str("ref.$link") || asked != 2 {
		t.Errorf("with blobs from elsewhere, asked %d times: %+v", asked, out)
	}
	n.moveWithKey(t, c.did, key.Multibase()).ok()
	there := c.wantRescued(n, car, "new-password")
	if missing := there.get("com.atproto.repo.listMissingBlobs").ok(); len(missing.at("blobs").([]any)) != 1 {
		t.Errorf("missing blobs: %v", missing)
	}
	if a := there.get("com.atproto.sync.getBlob", "did", c.did, "cid", object(refs[0]).str("ref.$link")); !bytes.Equal(a.body, elsewhere) {
		t.Errorf("a blob from elsewhere: %d", a.status)
	}
}

// The process ends at any moment, and the command is given again.
func TestRescueCutOff(t *testing.T) {
	for cut := 0; ; cut++ {
		n := startNetwork(t, nil)
		c := n.rescuable(t)
		archive, car := c.archive(), c.exportCAR()
		c.lost()
		ctx, cancel := context.WithCancel(t.Context())
		in := &RescueRequest{Password: "first-password"}
		in.File = n.operatorCall(t, RescueUploadPath, "application/zip", archive).ok().str("file")
		told, at := 0, n.srv.cfg.Port
		_, err := n.srv.rescue(ctx, in, func(int, int, string) {
			if told++; told > cut {
				cancel()
			}
		})
		cancel()
		if err == nil && told <= cut {
			break
		}
		if cut%2 == 0 { // the end of the process leaves it
			n.leftOver(t, archive)
		}
		n.stop()
		n.port = at
		n.start(nil)
		out := n.mustImport(t, archive, RescueRequest{})
		if out.Needs != RescueNeedsNothing || out.Records != 13 || out.Blobs != 1 || out.MissingCount != 0 {
			t.Errorf("cut off at %d: %+v", cut, out)
		}
		password := "new-password"
		if out.PasswordKept {
			password = "first-password"
		}
		c.wantRescued(n, car, password)
		n.stop()
	}
}

// leftOver is an archive of which nobody knows any more.
func (n *network) leftOver(t *testing.T, archive []byte) {
	t.Helper()
	n.operatorCall(t, RescueUploadPath, "application/zip", archive).ok()
}

// The directory has the operation, and the process ends before the account is active.
func TestRescueCutOffAfterTheOperation(t *testing.T) {
	old := startNetwork(t, nil)
	c := old.rescuable(t)
	archive, car := c.archive(), c.exportCAR()
	n := old.neighbour(t)
	n.mustImport(t, archive, RescueRequest{})
	acct, err := n.srv.store.AccountByDID(t.Context(), syntax.DID(c.did))
	if err != nil {
		t.Fatal(err)
	}
	err = old.srv.updateDID(t.Context(), acct.DID, func(op *plc.Operation) { n.srv.nameHere(op, acct) })
	if err != nil {
		t.Fatal(err)
	}
	if out := n.mustImport(t, archive, RescueRequest{}); out.Needs != RescueNeedsNothing || !out.PasswordKept {
		t.Errorf("%+v", out)
	}
	c.wantRescued(n, car, "new-password")
}

// An account that has moved away is not taken back with the rotation key that this server still has.
func TestRescueTakesNoAccountBack(t *testing.T) {
	old := startNetwork(t, nil)
	c := old.rescuable(t)
	archive := c.archive()
	elsewhere := "https://elsewhere.example.com"
	if err := old.srv.updateDID(t.Context(), syntax.DID(c.did), func(op *plc.Operation) { op.SetPDS(elsewhere) }); err != nil {
		t.Fatal(err)
	}
	c.lost()
	out := old.mustImport(t, archive, RescueRequest{})
	last, err := old.srv.plc.Last(t.Context(), syntax.DID(c.did))
	if out.Needs != RescueNeedsOperation || out.Host != elsewhere || err != nil || last.Services["atproto_pds"].Endpoint != elsewhere {
		t.Errorf("%+v, %+v", out, last)
	}
	if c.account().Status() != store.StatusDeactivated {
		t.Error("the account is active")
	}
}

// What moderators have hidden goes along, and is hidden afterwards.
func TestExportOfWhatIsTakenDown(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	_, ref := c.fill(2)
	post := c.createPost("hidden").str("uri")
	hide := func(subject map[string]any) {
		n.operatorJSON(t, "/xrpc/com.atproto.admin.updateSubjectStatus",
			map[string]any{"subject": subject, "takedown": map[string]any{"applied": true, "ref": "case-2"}}).ok()
	}
	picture := object(ref).str("ref.$link")
	hide(map[string]any{"$type": "com.atproto.admin.defs#repoBlobRef", "did": c.did, "cid": picture})
	hide(map[string]any{"$type": "com.atproto.repo.strongRef", "uri": post, "cid": c.cidOf(post)})
	if err := n.srv.accounts.Takedown(t.Context(), c.account().ID, "case-1", nil); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "alice.zip")
	archive := c.archive()
	if err := os.WriteFile(file, archive, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := VerifyExport(t.Context(), file, nil)
	if err != nil || m.Blobs != 1 || len(m.Missing) != 0 || m.Status != store.StatusTakendown || m.BlobTakedowns[picture] != "case-2" {
		t.Errorf("%+v, %v", m, err)
	}
	c.lost()
	n.mustImport(t, archive, RescueRequest{})
	if err := n.srv.setAccountTakedown(t.Context(), c.account().ID, ""); err != nil {
		t.Fatal(err)
	}
	anyone := n.anonymous(t)
	anyone.get("com.atproto.sync.getBlob", "did", c.did, "cid", picture).fails(400, "BlobNotFound")
	anyone.get("com.atproto.repo.getRecord", "repo", c.did, "collection", "app.bsky.feed.post", "rkey", rkeyOf(post)).fails(400, "RecordNotFound")
	if got := anyone.get("com.atproto.repo.listRecords", "repo", c.did, "collection", "app.bsky.feed.post").ok(); len(got.at("records").([]any)) != 3 {
		t.Errorf("records shown: %v", got)
	}
}

// An owner who deactivates the account after it came back is not overruled by the command, given again.
func TestRescueLeavesADeactivatedAccount(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.rescuable(t)
	archive := c.archive()
	c.lost()
	n.mustImport(t, archive, RescueRequest{})
	c.token = signIn(c, c.did, "new-password").ok().str("accessJwt")
	c.deactivate()
	if out := n.mustImport(t, archive, RescueRequest{}); out.Needs != RescueNeedsActivate || c.account().Status() != store.StatusDeactivated {
		t.Errorf("%+v, %s", out, c.account().Status())
	}
}

func (c *client) cidOf(uri string) string {
	c.t.Helper()
	return c.get("com.atproto.repo.getRecord", "repo", c.did, "collection", "app.bsky.feed.post", "rkey", rkeyOf(uri)).ok().str("cid")
}
