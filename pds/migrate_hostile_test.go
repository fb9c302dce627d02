package pds

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/migrate"
	"perch/pds/store"
	"perch/pds/web"
	"perch/repo"
)

// lying stands before a server and changes what is asked of a method, or what it answers. Both may be changed while the server runs, but not while it is asked.
type lying struct {
	method     string
	asked, say func(map[string]any)
}

func (l *lying) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, l.method) || l.method == "" {
			next.ServeHTTP(w, r)
			return
		}
		if l.asked != nil {
			body, _ := io.ReadAll(r.Body)
			body = changed(body, l.asked)
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		}
		if l.say == nil {
			next.ServeHTTP(w, r)
			return
		}
		r.Header.Del("Accept-Encoding")
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(rec.Code)
		_, _ = w.Write(changed(rec.Body.Bytes(), l.say))
	})
}

func changed(body []byte, change func(map[string]any)) []byte {
	var m map[string]any
	if json.Unmarshal(body, &m) != nil {
		return body
	}
	change(m)
	out, _ := json.Marshal(m)
	return out
}

// An old host that signs something else than it was asked for does not get it into the directory.
func TestMigrateRefusesWhatTheOldHostSigns(t *testing.T) {
	old := &lying{method: "com.atproto.identity.signPlcOperation"}
	m := startMoving(t, old.wrap)
	owner, evil := newKeyPair(t).did, newKeyPair(t).did
	m.own(owner)
	hosts, _ := m.old.srv.rotationKeyDID()
	keys := func(change func(ours []any) []any) func(map[string]any) {
		return func(in map[string]any) { in["rotationKeys"] = change(in["rotationKeys"].([]any)) }
	}
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	for name, asked := range map[string]func(map[string]any){
		"a key above":          keys(func(ours []any) []any { return append([]any{evil}, ours...) }),
		"a key below":          keys(func(ours []any) []any { return append(ours, evil) }),
		"its own key stays":    keys(func(ours []any) []any { return append(ours, hosts) }),
		"its own key on top":   keys(func(ours []any) []any { return append([]any{hosts}, ours...) }),
		"the owner goes below": keys(func(ours []any) []any { return append(ours, owner) }),
		"another alias": func(in map[string]any) {
			in["alsoKnownAs"] = append(in["alsoKnownAs"].([]any), "at://evil.example.com")
		},
		"another service": func(in map[string]any) {
			in["services"].(map[string]any)["evil"] = map[string]any{"type": "Evil", "endpoint": "https://evil.example.com"}
		},
		"another key": func(in map[string]any) { in["verificationMethods"].(map[string]any)["evil"] = evil },
	} {
		old.asked = asked
		if err := m.confirm(); err == nil || !strings.HasPrefix(err.Error(), "InvalidOperation") {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if st := m.untilNeeds(migrate.NeedsCode); st.Changed {
		t.Errorf("%+v", st)
	}
	old.asked = nil
	m.mustConfirm()
	m.notes = 1 // that the owner's key stays, which the old host calls its own
	m.wantMoved()
	ours, _ := m.to.srv.rotationKeyDID()
	if got := m.old.lastOp().RotationKeys; !slices.Equal(got, []string{owner, ours}) {
		t.Errorf("rotation keys %v", got)
	}
}

// An account comes back to a server whose rotation key its DID has kept: the key of the host that it leaves goes all the same.
func TestMigrateDropsTheOldHostsKeyWhenOursIsThere(t *testing.T) {
	m := startMoving(t, nil)
	ours, _ := m.to.srv.rotationKeyDID()
	err := m.old.srv.updateDID(t.Context(), syntax.DID(m.old.did), func(op *plc.Operation) { op.RotationKeys = append(op.RotationKeys, ours) })
	if err != nil {
		t.Fatal(err)
	}
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	m.mustConfirm()
	m.wantMoved()
	if got := m.old.lastOp().RotationKeys; !slices.Equal(got, []string{ours}) {
		t.Errorf("rotation keys %v, ours is %s", got, ours)
	}
}

// A new host recommends to put its key above the owner's, and says that its answers are a session of OAuth.
func TestMigrateOutToAHostThatReachesForMore(t *testing.T) {
	evil := newKeyPair(t).did
	var owner string
	recommends := &lying{method: "com.atproto.identity.getRecommendedDidCredentials", say: func(out map[string]any) {
		if keys, ok := out["rotationKeys"].([]any); ok {
			out["rotationKeys"] = append([]any{evil, owner}, keys[len(keys)-1])
		}
	}}
	makes := &lying{method: "com.atproto.server.createAccount", say: func(out map[string]any) {
		out["oauth"] = map[string]any{"issuer": "https://evil.example.com", "token": "https://evil.example.com", "access": "a", "refresh": "b"}
	}}
	m := startLeaving(t, func(next http.Handler) http.Handler { return recommends.wrap(makes.wrap(next)) })
	owner = m.old.ownKey()
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	m.mustConfirm()
	m.wantMoved()
	server, _ := m.to.srv.rotationKeyDID()
	if got := m.old.lastOp().RotationKeys; !slices.Equal(got, []string{owner, evil, server}) {
		t.Errorf("rotation keys %v", got)
	}
}

// A new host misses blobs without end.
func TestMigrateOutToAHostThatMissesBlobsWithoutEnd(t *testing.T) {
	n := 0
	host := &lying{method: "com.atproto.repo.listMissingBlobs", say: func(out map[string]any) {
		var blobs []any
		for range 100 {
			n++
			blobs = append(blobs, map[string]any{"cid": repo.CIDOf(fmt.Append(nil, n)).String(), "recordUri": "at://x"})
		}
		out["blobs"], out["cursor"] = blobs, repo.CIDOf(fmt.Append(nil, n)).String()
	}}
	m := startLeaving(t, host.wrap)
	m.mustBegin()
	m.until("the refusal", func(st *Migration) bool { return strings.Contains(st.Error, "misses more blobs") })
	if _, err := m.ask(MigrateRequest{Action: MigrateAbandon}); err != nil {
		t.Fatal(err)
	}
}

// Who calls the page to which browsers come back stops no move by that.
func TestMigrateStrangersComeBack(t *testing.T) {
	m := startMoving(t, nil)
	reached, release := m.holdAt(migrate.StateBlobs)
	m.mustBegin()
	reached()
	hasty := &http.Client{Timeout: patience}
	for _, did := range []string{m.old.did, "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"} {
		resp, err := hasty.Get(m.to.url + web.MoveCallbackPath + "?" + url.Values{"state": {"x." + did}, "code": {"y"}}.Encode())
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", did, resp.Status)
		}
	}
	release()
	m.untilNeeds(migrate.NeedsCode)
}

// The handle of an account that moved here once is somebody else's by now.
func TestMigrateShowsNoOldMoveForANewOwnerOfTheHandle(t *testing.T) {
	m := startMoving(t, nil)
	err := m.to.srv.store.Update(t.Context(), func(tx *store.Tx) error {
		return tx.PutMigration(t.Context(), store.Migration{DID: "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", State: "done", Data: []byte(`{"oldHandle":"bob.test","report":{}}`)})
	})
	if err != nil {
		t.Fatal(err)
	}
	show := func() (out MigrateAnswer) {
		t.Helper()
		a := m.operator(MigrateRequest{Action: MigrateShow, Account: "bob.test"})
		if err := json.Unmarshal(a.body, &out); err != nil {
			t.Fatalf("%v: %s", err, a.body)
		}
		return out
	}
	if out := show(); !out.Found || out.Migration.DID != "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa" {
		t.Errorf("while the handle is nobody's: %+v", out)
	}
	m.to.signUp(t, "bob")
	if out := show(); out.Found {
		t.Errorf("the move of another account: %+v", out.Migration)
	}
}

// A new host has the DID name another server: the owner is told before giving the code. What is no server is not named at all.
func TestMigrateOutToAHostThatNamesAnother(t *testing.T) {
	endpoint := "https://other.evil.example"
	host := &lying{method: "com.atproto.identity.getRecommendedDidCredentials", say: func(out map[string]any) {
		out["services"].(map[string]any)["atproto_pds"].(map[string]any)["endpoint"] = endpoint
	}}
	m := startLeaving(t, host.wrap)
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	v := m.old.visitor(t)
	v.signIn("alice.test", "alice-password")
	v.open("/account/move/progress").shows(200, "/account/move/progress", "Enter the code from the mail", "other.evil.example")
	here := m.old.srv.cfg.PublicURL()
	for _, endpoint = range []string{"javascript:alert(1)", here, strings.ToUpper(here), here + "/"} {
		if err := m.confirm(); err == nil || m.old.lastOp().Services["atproto_pds"].Endpoint != here {
			t.Errorf("the DID names %s: %v", endpoint, err)
		}
	}
}
