package move

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"perch/testdata/peers/bench/server"
)

// TestJob has Perch fetch an account from the reference PDS by itself: records, blobs and preferences, the code from the mail, the DID.
func TestJob(t *testing.T) {
	if testing.Short() {
		t.Skip("starts several servers")
	}
	peers, err := server.PeersDir()
	must(t, err)
	dir := t.TempDir()
	bin, err := server.BuildPerch(dir)
	must(t, err)
	mail := openMailbox(t)
	plc := start(t, func(port int) server.Spec { return server.PLC(peers, filepath.Join(dir, "plc"), port) })
	host := func(kind string, i int) *server.Process {
		return start(t, func(port int) server.Spec {
			data := filepath.Join(dir, "data-"+kind)
			spec := server.Perch(bin, data, port, localURL(plc.Port))
			if kind == "reference" {
				spec = server.Reference(peers, data, port, localURL(plc.Port))
			}
			spec.Env = append(spec.Env,
				"PDS_HOSTNAME=localhost", "PDS_SERVICE_DID=did:web:localhost%3A"+strconv.Itoa(port), "PDS_DEV_MODE=true",
				"PDS_EMAIL_SMTP_URL="+mail.smtp, "PDS_EMAIL_FROM_ADDRESS=pds@example.com",
				"PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX="+strings.Repeat(strconv.Itoa(i), 64),
				"PDS_ADMIN_PASSWORD=admin",
			)
			return spec
		})
	}
	old, here := host("reference", 1), host("perch", 2)
	from := &caller{t: t, origin: localURL(old.Port)}
	made := from.post("com.atproto.server.createAccount", map[string]any{
		"handle": "mover.test", "email": "mover@example.com", "password": "mover-password",
	})
	did, _ := made["did"].(string)
	from.auth, _ = made["accessJwt"].(string)
	from.auth = "Bearer " + from.auth
	const posts = 250
	for i := range posts / 10 {
		writes := make([]any, 10)
		for j := range writes {
			record := map[string]any{"$type": "app.bsky.feed.post", "text": fmt.Sprint(i, j), "createdAt": "2026-11-23T12:00:00.000Z"}
			if j == 0 {
				record["embed"] = map[string]any{"$type": "app.bsky.embed.images", "images": []any{
					map[string]any{"alt": "", "image": from.upload(fmt.Appendf(nil, "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR%d", i))["blob"]},
				}}
			}
			writes[j] = map[string]any{"$type": "com.atproto.repo.applyWrites#create", "collection": "app.bsky.feed.post", "value": record}
		}
		from.post("com.atproto.repo.applyWrites", map[string]any{"repo": did, "writes": writes})
	}

	to := &caller{t: t, origin: localURL(here.Port)}
	ask := func(more map[string]any) map[string]any {
		t.Helper()
		in := map[string]any{"account": did}
		for k, v := range more {
			in[k] = v
		}
		out, _ := to.send("/perch/migrate", in)["migration"].(map[string]any)
		return out
	}
	ask(map[string]any{"action": "begin", "password": "mover-password", "newPassword": "here-password"})
	until := func(ok func(map[string]any) bool) map[string]any {
		t.Helper()
		var st map[string]any
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if st = ask(map[string]any{"action": "show"}); ok(st) {
				return st
			}
		}
		t.Fatalf("it stands at %v", st)
		return nil
	}
	st := until(func(st map[string]any) bool { return st["needs"] == "code" })
	if st["records"] != float64(posts) || st["blobsHere"] != float64(posts/10) || st["lost"] != nil {
		t.Errorf("before the code: %v", st)
	}
	ask(map[string]any{"action": "code", "code": codeIn(t, mail, "mover@example.com")})
	st = until(func(st map[string]any) bool { return st["state"] == "done" })
	if report, _ := st["report"].(map[string]any); report["notes"] != nil || report["records"] != float64(posts) {
		t.Errorf("report: %v", report)
	}
	q := "?did=" + url.QueryEscape(did)
	if got := from.get("com.atproto.server.getSession"); got["active"] != false || got["status"] != "deactivated" {
		t.Errorf("at the reference: %v", got)
	}
	to.auth = "Bearer " + to.post("com.atproto.server.createSession", map[string]any{"identifier": did, "password": "here-password"})["accessJwt"].(string)
	if got := to.get("com.atproto.sync.getRepoStatus" + q); got["active"] != true {
		t.Errorf("here: %v", got)
	}
	to.post("com.atproto.repo.createRecord", map[string]any{
		"repo": did, "collection": "app.bsky.feed.post",
		"record": map[string]any{"$type": "app.bsky.feed.post", "text": "moved", "createdAt": "2026-11-23T12:00:00.000Z"},
	})
	must(t, here.Stop())
	checkData(t, bin, filepath.Join(dir, "data-perch"))
}

func codeIn(t *testing.T, m *mailbox, address string) string {
	t.Helper()
	code := m.code(address, 20*time.Second)
	if code == "" {
		t.Fatal("no mail with a code")
	}
	return code
}

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
