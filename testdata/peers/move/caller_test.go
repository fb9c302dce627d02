package move

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// caller calls a server; auth is a header.
type caller struct {
	t            *testing.T
	origin, auth string
}

func (c *caller) post(nsid string, in any) map[string]any {
	c.t.Helper()
	return c.send("/xrpc/"+nsid, in)
}

func (c *caller) send(path string, in any) map[string]any {
	c.t.Helper()
	body, err := json.Marshal(in)
	must(c.t, err)
	return c.do(http.MethodPost, path, "application/json", body)
}

func (c *caller) get(nsid string) map[string]any {
	c.t.Helper()
	return c.do(http.MethodGet, "/xrpc/"+nsid, "", nil)
}

func (c *caller) upload(body []byte) map[string]any {
	c.t.Helper()
	return c.do(http.MethodPost, "/xrpc/com.atproto.repo.uploadBlob", "image/png", body)
}

func (c *caller) do(verb, path, kind string, body []byte) (out map[string]any) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), verb, c.origin+path, bytes.NewReader(body))
	must(c.t, err)
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	if strings.HasPrefix(path, "/perch/") {
		req.SetBasicAuth("admin", "admin")
	} else if c.auth != "" {
		req.Header.Set("Authorization", c.auth)
	}
	res, err := http.DefaultClient.Do(req)
	must(c.t, err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	must(c.t, err)
	if res.StatusCode != http.StatusOK {
		c.t.Fatalf("%s: %s: %s", path, res.Status, answer)
	}
	if len(answer) > 0 {
		must(c.t, json.Unmarshal(answer, &out))
	}
	return out
}

// try is send for those who can bear a refusal.
func (c *caller) try(path string, in any) (out map[string]any, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.origin+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth("admin", "admin")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, &refusal{res.Status, string(answer)}
	}
	return out, json.Unmarshal(answer, &out)
}

type refusal struct{ status, text string }

func (r *refusal) Error() string { return r.status + ": " + r.text }

func isRefusal(err error) bool {
	_, ok := err.(*refusal)
	return ok
}

// checkData has `perch check` look over a data folder.
func checkData(t *testing.T, bin, data string) {
	t.Helper()
	cmd := exec.Command(bin, "check")
	cmd.Env = append(os.Environ(), "PDS_DATA_DIRECTORY="+data, "PDS_HOSTNAME=localhost", "PDS_BLOBSTORE_DISK_LOCATION="+filepath.Join(data, "blobs"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("perch check of %s: %v\n%s", data, err, out)
	}
}

// localURL names localhost and not its address: the reference takes only the name for a place of development.
func localURL(port int) string { return "http://localhost:" + strconv.Itoa(port) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
