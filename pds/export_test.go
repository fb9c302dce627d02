package pds

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func (c *client) exportAccount(name, password string) *answer {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.url+ExportPath+"?account="+name, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	req.SetBasicAuth("admin", password)
	return c.send(req, ExportPath)
}

func TestExport(t *testing.T) {
	n := startNetwork(t, nil)
	c := n.signUp(t, "alice")
	picture, ref := c.fill(20)
	c.post("app.bsky.actor.putPreferences", map[string]any{"preferences": []any{
		map[string]any{"$type": "app.bsky.actor.defs#adultContentPref", "enabled": true},
	}}).ok()
	if a := c.exportAccount(c.did, "wrong"); a.status != http.StatusUnauthorized {
		t.Fatalf("without the admin password: %d", a.status)
	}
	c.exportAccount("nobody.test", "admin-pass").fails(400, "AccountNotFound")
	c.deactivate() // as it should be when its owner leaves
	a := c.exportAccount(c.handle, "admin-pass")
	a.ok()
	file := filepath.Join(t.TempDir(), "alice.zip")
	if err := os.WriteFile(file, a.body, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := VerifyExport(t.Context(), file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if m.DID.String() != c.did || m.Records != 21 || m.Blobs != 1 || m.BlobBytes != int64(len(picture)) || m.Status != "deactivated" || len(m.Missing) != 0 {
		t.Errorf("%+v", m)
	}
	parts := unzip(t, a.body)
	if !bytes.Equal(parts["blobs/"+object(ref).str("ref.$link")], picture) || !bytes.Equal(parts["repo.car"], c.exportCAR()) {
		t.Error("blob or repository differ")
	}
	if !strings.Contains(string(parts["preferences.json"]), "adultContentPref") {
		t.Errorf("%s", parts["preferences.json"])
	}
	for what, change := range map[string]func(map[string][]byte){
		"no manifest":    func(p map[string][]byte) { delete(p, "manifest.json") },
		"no repository":  func(p map[string][]byte) { delete(p, "repo.car") },
		"no preferences": func(p map[string][]byte) { delete(p, "preferences.json") },
		"repository cut": func(p map[string][]byte) { p["repo.car"] = p["repo.car"][:len(p["repo.car"])-20] },
		"a byte flipped": func(p map[string][]byte) { p["repo.car"][len(p["repo.car"])-3] ^= 1 },
		"blob missing":   func(p map[string][]byte) { delete(p, "blobs/"+object(ref).str("ref.$link")) },
		"another blob":   func(p map[string][]byte) { p["blobs/"+object(ref).str("ref.$link")] = png("another thing") },
		"another signature": func(p map[string][]byte) {
			p["manifest.json"] = bytes.Replace(p["manifest.json"], []byte(m.SigningKey), []byte("did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv"), 1)
		},
		"a newer format": func(p map[string][]byte) {
			p["manifest.json"] = bytes.Replace(p["manifest.json"], []byte(`"format": 1`), []byte(`"format": 2`), 1)
		},
	} {
		changed := unzip(t, a.body)
		change(changed)
		if err := os.WriteFile(file, rezip(t, changed), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := VerifyExport(t.Context(), file, nil); !errors.Is(err, ErrExport) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := os.WriteFile(file, a.body[:len(a.body)-30], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyExport(t.Context(), file, nil); !errors.Is(err, ErrExport) {
		t.Errorf("cut: %v", err)
	}
}

func unzip(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string][]byte{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if parts[f.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	return parts
}

func rezip(t *testing.T, parts map[string][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for name, b := range parts {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err == nil {
			_, err = w.Write(b)
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
