package move

import (
	"net/url"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestOut has Perch bring an account to the reference PDS, which is killed on the way: records, blobs, preferences, the code from the mail, the DID.
func TestOut(t *testing.T) {
	w := newWorld(t, "perch")
	directory := strings.Replace(w.directory, "127.0.0.1", "localhost", 1) // the reference resolves DIDs by no address
	next := w.open("reference", filepath.Join(t.TempDir(), "next"), directory, 3)
	m := w.join(t)
	ask := func(action string, more map[string]any) map[string]any {
		t.Helper()
		in := map[string]any{"account": m.did, "action": action}
		for k, v := range more {
			in[k] = v
		}
		st, _ := (&caller{t: t, origin: w.old.origin()}).send("/perch/migrate", in)["migration"].(map[string]any)
		return st
	}
	until := func(key, value string) map[string]any {
		t.Helper()
		var st map[string]any
		for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if st = ask("show", nil); st[key] == value {
				return st
			}
		}
		t.Fatalf("it stands at %v", st)
		return nil
	}
	ask("out", map[string]any{"to": next.origin(), "newPassword": "next-password"})
	next.Kill()
	next.start(t)
	st := until("needs", "code")
	if st["records"] != float64(moverRecords) || st["blobsThere"] != float64(moverBlobs) || st["lost"] != nil {
		t.Errorf("before the code: %v", st)
	}
	m.from.post("com.atproto.repo.createRecord", map[string]any{
		"repo": m.did, "collection": "app.bsky.feed.post",
		"record": map[string]any{"$type": "app.bsky.feed.post", "text": "while the code was on its way", "createdAt": "2026-11-23T12:00:00.000Z"},
	})
	ask("code", map[string]any{"code": m.mail.Code(m.name+"@example.com", time.Minute)})
	st = until("state", "done")
	if report, _ := st["report"].(map[string]any); report["notes"] != nil || report["records"] != float64(moverRecords+1) {
		t.Errorf("report: %v", report)
	}
	m.arrivedAt(next, moverRecords+1)
	w.finish()
}

// arrivedAt wants everything to be at a host where the account is active.
func (m *mover) arrivedAt(h *host, records float64) {
	m.t.Helper()
	if got := m.endpoint(); got != h.origin() {
		m.t.Errorf("the DID names %s", got)
	}
	there := &caller{t: m.t, origin: h.origin()}
	there.auth = "Bearer " + there.post("com.atproto.server.createSession", map[string]any{"identifier": m.did, "password": "next-password"})["accessJwt"].(string)
	q := "?did=" + url.QueryEscape(m.did)
	if a, b := m.from.tree(q), there.tree(q); a != b {
		m.t.Errorf("tree %s, want %s", b, a)
	}
	st := there.get("com.atproto.server.checkAccountStatus")
	if st["activated"] != true || st["validDid"] != true || st["indexedRecords"] != records || st["importedBlobs"] != float64(moverBlobs) || st["expectedBlobs"] != float64(moverBlobs) {
		m.t.Errorf("at the new host: %v", st)
	}
	if a, b := m.from.get("app.bsky.actor.getPreferences"), there.get("app.bsky.actor.getPreferences"); !reflect.DeepEqual(a, b) {
		m.t.Errorf("preferences: %v, want %v", b, a)
	}
	there.post("com.atproto.repo.createRecord", map[string]any{
		"repo": m.did, "collection": "app.bsky.feed.post",
		"record": map[string]any{"$type": "app.bsky.feed.post", "text": "moved", "createdAt": "2026-11-23T12:00:00.000Z"},
	})
	if st := m.from.get("com.atproto.server.getSession"); st["active"] != false {
		m.t.Errorf("at the old host: %v", st)
	}
}
