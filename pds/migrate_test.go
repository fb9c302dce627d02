package pds

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/migrate"
	"perch/pds/store"
)

func TestMigrate(t *testing.T) {
	m := startMoving(t, nil)
	m.mustBegin()
	st := m.untilNeeds(migrate.NeedsCode)
	if st.Records != 22 || st.Blobs != 10 || st.BlobsHere != 10 || st.Changed || st.Host != m.old.srv.cfg.PublicURL() {
		t.Errorf("before the code: %+v", st)
	}
	if m.to.srv.store.LastSeq() != 0 {
		t.Error("the network was told of an account that is not here yet")
	}
	if _, err := m.ask(MigrateRequest{Action: MigrateCode, Code: "AAAAA-AAAAA"}); err == nil || !strings.Contains(err.Error(), "InvalidToken") {
		t.Errorf("a wrong code: %v", err)
	}
	if again, err := m.begin(); err != nil || again.Needs != migrate.NeedsCode {
		t.Errorf("begun again: %+v %v", again, err)
	}
	there := &client{network: m.to, t: t, did: m.old.did}
	there.wantEvents(t, func() {
		m.mustConfirm()
		m.untilDone()
	}, "account active", "identity", "sync")
	m.wantMoved()
	if m.sessions() != 0 {
		t.Error("the session at the old host goes on")
	}
	if _, err := m.ask(MigrateRequest{Action: MigrateAbandon}); err == nil || !strings.HasPrefix(err.Error(), "DIDChanged") {
		t.Errorf("abandoned after the end: %v", err)
	}
}

func TestMigrateRefusals(t *testing.T) {
	m := startMoving(t, nil)
	for _, tt := range []struct {
		in   MigrateRequest
		want string
	}{
		{MigrateRequest{Action: MigrateBegin, Password: "wrong", NewPassword: "new-password"}, "OldHostAuthenticationRequired"},
		{MigrateRequest{Action: MigrateBegin, Password: m.password, NewPassword: "short"}, "InvalidPassword"},
		{MigrateRequest{Action: MigrateBegin, Password: m.password, NewPassword: "new-password", Handle: "a.test"}, "InvalidHandle"},
		{MigrateRequest{Action: MigrateBegin, Password: m.password, NewPassword: "new-password", Handle: "alice.example.com"}, "InvalidHandle"},
		{MigrateRequest{Action: MigrateBegin, Password: m.password, NewPassword: "new-password", Email: "nonsense"}, "InvalidRequest"},
		{MigrateRequest{Action: MigrateCode, Code: "AAAAA-AAAAA"}, "MigrationNotFound"},
		{MigrateRequest{Action: MigrateAbandon}, "MigrationNotFound"},
		{MigrateRequest{Action: "dance"}, "InvalidRequest"},
	} {
		if _, err := m.ask(tt.in); err == nil || !strings.HasPrefix(err.Error(), tt.want+":") {
			t.Errorf("%+v: %v, want %s", tt.in, err, tt.want)
		}
	}
	app := m.old.post("com.atproto.server.createAppPassword", map[string]any{"name": "phone"}).ok().str("password")
	if _, err := m.ask(MigrateRequest{Action: MigrateBegin, Password: app, NewPassword: "new-password"}); err == nil {
		t.Error("an app password moved the account")
	}
	if m.sessions() != 0 {
		t.Error("sessions are left at the old host")
	}
	if _, err := m.to.srv.store.AccountByDID(t.Context(), syntax.DID(m.old.did)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an account is left here: %v", err)
	}
	req := m.old.jsonRequest("x", MigrateRequest{Action: MigrateList})
	req.URL.Path, req.URL.Host = MigratePath, strings.TrimPrefix(m.to.url, "http://")
	if a := m.to.anonymous(t).send(req, MigratePath); a.status != http.StatusUnauthorized {
		t.Errorf("without the admin password: %d", a.status)
	}
	m.mustBegin() // none of that stands in the way
}

func TestMigrateAsksForTheSecondFactor(t *testing.T) {
	m := startMoving(t, nil)
	codes := m.old.withTOTP()
	if st, err := m.begin(); err != nil || st.Needs != migrate.NeedsFactor {
		t.Fatalf("without a code: %+v, %v", st, err)
	}
	if _, err := m.ask(MigrateRequest{Action: MigrateBegin, Password: m.password, Code: "wrong", NewPassword: "new-password"}); err == nil {
		t.Fatal("a wrong second factor was taken")
	}
	if _, err := m.ask(MigrateRequest{Action: MigrateBegin, Password: m.password, Code: codes[0], NewPassword: "new-password"}); err != nil {
		t.Fatal(err)
	}
	m.untilNeeds(migrate.NeedsCode)
}

// What is written at the old host while its owner looks for the code comes along.
func TestMigrateBringsWhatIsWrittenMeanwhile(t *testing.T) {
	m := startMoving(t, nil)
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	m.old.create("app.bsky.feed.post", imagePost(m.old.upload("image/png", png("late"))))
	m.old.post("app.bsky.actor.putPreferences", map[string]any{"preferences": []any{
		map[string]any{"$type": "app.bsky.actor.defs#adultContentPref", "enabled": false},
	}}).ok()
	m.mustConfirm()
	st := m.untilDone()
	if st.Report.Records != 23 || st.Report.Blobs != 11 || len(st.Report.Notes) != 0 {
		t.Errorf("report: %+v", st.Report)
	}
	if got := m.there().get("app.bsky.actor.getPreferences").ok(); got.at("preferences.0.enabled") != false {
		t.Errorf("preferences: %v", got)
	}
}

// A rotation key that the owner has put into the DID stays there.
func TestMigrateKeepsTheOwnersRotationKey(t *testing.T) {
	m := startMoving(t, nil)
	owner := "did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv"
	err := m.old.srv.updateDID(t.Context(), syntax.DID(m.old.did), func(op *plc.Operation) { op.RotationKeys = append([]string{owner}, op.RotationKeys...) })
	if err != nil {
		t.Fatal(err)
	}
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	m.mustConfirm()
	m.notes = 1 // the old host recommends the key, too
	m.wantMoved()
	last, err := m.to.srv.plc.Last(t.Context(), syntax.DID(m.old.did))
	if err != nil || len(last.RotationKeys) != 2 || last.RotationKeys[0] != owner {
		t.Errorf("rotation keys %v, %v", last.RotationKeys, err)
	}
}
