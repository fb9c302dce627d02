package pds

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/repo"
)

// zipped makes a ZIP file of parts in order, "name=content" each; with method.
func zipped(t *testing.T, method uint16, parts ...[2]string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestCompression) })
	for _, p := range parts {
		w, err := z.CreateHeader(&zip.FileHeader{Name: p[0], Method: method})
		if err == nil {
			_, err = io.WriteString(w, p[1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func pairs(parts map[string][]byte) (list [][2]string) {
	for name, b := range parts {
		list = append(list, [2]string{name, string(b)})
	}
	return list
}

// forged is an empty repository of a DID, signed by a key that the DID never had.
func forged(t *testing.T, did string) (car []byte, head repo.Head, key string) {
	t.Helper()
	private, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		t.Fatal(err)
	}
	first, err := repo.Start(syntax.DID(did), repo.NextRev("", time.Now(), 1), private)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := private.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return first.CAR, first.Head, pub.DIDKey()
}

// overlapping makes the second entry of the directory name the bytes of the first.
func overlapping(archive []byte) []byte {
	b := bytes.Clone(archive)
	const central = "PK\x01\x02"
	first := bytes.Index(b, []byte(central))
	second := first + 4 + bytes.Index(b[first+4:], []byte(central))
	at := binary.LittleEndian.Uint32(b[first+42:])
	copy(b[second+20:second+28], b[first+20:first+28]) // sizes
	copy(b[second+16:second+20], b[first+16:first+20]) // CRC
	binary.LittleEndian.PutUint32(b[second+42:], at)
	return b
}

// Nothing is made of an archive that is not whole and right, and nothing is left of it.
func TestRescueRefuses(t *testing.T) {
	n := startNetwork(t, nil)
	bob := n.signUp(t, "bob")
	bob.fill(2)
	c := n.rescuable(t)
	good, bobs := c.archive(), unzip(t, bob.archive())
	id := c.account().ID
	c.lost()
	if err := n.srv.clearUp(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	blob := ""
	for name := range unzip(t, good) {
		if strings.HasPrefix(name, exportBlobs) {
			blob = name
		}
	}
	changed := func(change func(map[string][]byte)) []byte {
		parts := unzip(t, good)
		change(parts)
		return rezip(t, parts)
	}
	said := func(old, new string) []byte {
		return changed(func(p map[string][]byte) {
			p[exportManifest] = bytes.Replace(p[exportManifest], []byte(old), []byte(new), 1)
		})
	}
	car, head, key := forged(t, c.did)
	other, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		t.Fatal(err)
	}
	for what, archive := range map[string][]byte{
		"nothing":          {},
		"no ZIP file":      []byte(strings.Repeat("nonsense ", 100)),
		"cut short":        good[:len(good)-30],
		"cut at the front": good[100:],
		"another's CAR":    changed(func(p map[string][]byte) { p[exportCAR] = bobs[exportCAR] }),
		"a flipped byte":   changed(func(p map[string][]byte) { p[exportCAR][len(p[exportCAR])-3] ^= 1 }),
		"another blob":     changed(func(p map[string][]byte) { p[blob] = png("another") }),
		"a blob less":      changed(func(p map[string][]byte) { delete(p, blob) }),
		"a blob more": changed(func(p map[string][]byte) {
			p["blobs/bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"] = nil
		}),
		"no manifest":    changed(func(p map[string][]byte) { delete(p, exportManifest) }),
		"no preferences": changed(func(p map[string][]byte) { delete(p, exportPreferences) }),
		"foreign settings": changed(func(p map[string][]byte) {
			p[exportPreferences] = []byte(`{"preferences":[{"$type":"com.example.x"}]}`)
		}),
		"another DID":       said(c.did, bob.did),
		"more records":      said(`"records": 13`, `"records": 14`),
		"another blob size": said(`"blobBytes": `, `"blobBytes": 9`),
		"a key of nobody's": changed(func(p map[string][]byte) {
			p[exportCAR] = car
			p[exportManifest] = []byte(`{"format":1,"did":"` + c.did + `","handle":"alice.test","email":"a@example.com","signingKey":"` + key + `","commit":"` +
				head.CID.String() + `","rev":"` + head.Commit.Rev.String() + `"}`)
			delete(p, blob)
		}),
		"a path upwards":    changed(func(p map[string][]byte) { p["blobs/../../master.key"] = []byte("x") }),
		"an absolute path":  changed(func(p map[string][]byte) { p["/etc/passwd"] = []byte("x") }),
		"something besides": changed(func(p map[string][]byte) { p["readme.txt"] = []byte("x") }),
		"names twice":       zipped(t, zip.Store, append(pairs(unzip(t, good)), [2]string{exportCAR, string(unzip(t, good)[exportCAR])})...),
		"blobs twice":       zipped(t, zip.Store, append(pairs(unzip(t, good)), [2]string{blob, string(unzip(t, good)[blob])})...),
		"compressed":        zipped(t, zip.Deflate, pairs(unzip(t, good))...),
		"a bomb":            zipped(t, zip.Deflate, [2]string{exportCAR, strings.Repeat("\x00", 32<<20)}),
		"overlapping":       overlapping(good),
	} {
		_, err := n.importArchive(t, archive, RescueRequest{})
		if err == nil {
			t.Fatalf("%s: taken", what)
		}
		if strings.HasPrefix(err.Error(), "Import") || strings.HasPrefix(err.Error(), "Internal") {
			t.Errorf("%s: %v", what, err)
		}
		n.wantNoAccount(t, c.did)
	}
	bare := zipped(t, zip.Store, [2]string{exportCAR, string(unzip(t, good)[exportCAR])})
	for what, in := range map[string]RescueRequest{
		"another DID":                       {Bare: true, DID: syntax.DID(bob.did), Handle: "alice.test", Email: "a@example.com"},
		"no handle":                         {Bare: true, Email: "a@example.com"},
		"no address":                        {Bare: true, Handle: "alice.test"},
		"a short password":                  {Bare: true, Handle: "alice.test", Email: "a@example.com", Password: "short"},
		"a taken handle":                    {Bare: true, Handle: "bob.test", Email: "a@example.com"},
		"a taken address":                   {Bare: true, Handle: "alice.test", Email: "bob@example.com"},
		"another's key":                     {Bare: true, Handle: "alice.test", Email: "a@example.com", Signers: []string{"did:key:" + other.Multibase()}},
		"a private source":                  {Bare: true, Handle: "alice.test", Email: "a@example.com", BlobsFrom: "file:///etc"},
		"a source with more than an origin": {Bare: true, Handle: "alice.test", Email: "a@example.com", BlobsFrom: "https://u:p@example.com/?x="},
	} {
		if _, err := n.importArchive(t, bare, in); err == nil {
			t.Errorf("%s: taken", what)
		}
		n.wantNoAccount(t, c.did)
	}
	if out := n.mustImport(t, good, RescueRequest{}); out.Needs != RescueNeedsNothing {
		t.Errorf("%+v", out) // none of that stands in the way
	}
}

// Only the operator gets there.
func TestRescueIsTheOperators(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.rescuable(t)
	for _, path := range []string{RescueUploadPath, RescuePath, RescueDIDPath} {
		for _, header := range []string{"", "Bearer " + c.token, "Basic YWRtaW46d3Jvbmc=", "Bearer " + c.serviceToken(n.srv.serviceDID)} {
			req := c.jsonRequest("x", RescueRequest{File: "archive-1.zip"})
			req.URL.Path = path
			if header != "" {
				req.Header.Set("Authorization", header)
			}
			if a := n.anonymous(t).send(req, path); a.status != http.StatusUnauthorized {
				t.Errorf("%s with %.12q: %d %s", path, header, a.status, a.body)
			}
		}
		if a := n.operatorCall(t, path, "text/plain", []byte("{}")); a.status != http.StatusBadRequest {
			t.Errorf("%s: a form of another site: %d", path, a.status)
		}
	}
	for _, file := range []string{"", "../master.key", "import-1-2.car", "archive-/../x.zip", "archive-none.zip"} {
		a := n.operatorJSON(t, RescuePath, RescueRequest{File: file, Password: "new-password"})
		if a.status == http.StatusOK && !bytes.Contains(a.body, []byte("UploadNotFound")) {
			t.Errorf("%q: %s", file, a.body)
		}
	}
	// An account that was made otherwise is not moved.
	n.operatorJSON(t, RescueDIDPath, RescueDIDRequest{DID: syntax.DID(c.did), Signers: []string{"did:key:x"}}).fails(400, "OtherState")
	if _, err := os.Stat(n.srv.cfg.DatabasePath()); err != nil {
		t.Fatal(err)
	}
}
