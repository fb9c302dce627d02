package pds

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/migrate"
	"perch/pds/store"
)

func TestMigrateOut(t *testing.T) {
	m := startLeaving(t, nil)
	m.mustBegin()
	st := m.untilNeeds(migrate.NeedsCode)
	if st.Records != 22 || st.BlobsThere != 10 || st.Changed || st.Host != m.to.srv.cfg.PublicURL() || !st.Out || st.Held {
		t.Errorf("before the code: %+v", st)
	}
	if m.to.srv.store.LastSeq() != 0 {
		t.Error("the network was told of an account that is not there yet")
	}
	m.old.createPost("the account still works")
	if _, err := m.ask(MigrateRequest{Action: MigrateCode, Code: "AAAAA-AAAAA"}); err == nil || !strings.HasPrefix(err.Error(), "InvalidToken") {
		t.Errorf("a wrong code: %v", err)
	}
	if again, err := m.begin(); err != nil || again.Needs != migrate.NeedsCode {
		t.Errorf("begun again: %+v %v", again, err)
	}
	if _, err := m.ask(MigrateRequest{Action: MigrateBegin, Password: m.password, NewPassword: "new-password"}); err == nil {
		t.Error("the account moves in while it moves out")
	}
	there := &client{network: m.to, t: t, did: m.old.did}
	there.wantEvents(t, func() {
		m.mustConfirm()
		m.untilDone()
	}, "account active", "identity", "sync")
	m.records++
	m.wantMoved()
	if sessions, err := m.to.srv.store.Sessions(t.Context(), m.there().account().ID); err != nil || len(sessions) != 2 { // those of wantMoved and of here
		t.Errorf("the session of the move goes on: %d, %v", len(sessions), err)
	}
	if _, err := m.ask(MigrateRequest{Action: MigrateAbandon}); err == nil || !strings.HasPrefix(err.Error(), "DIDChanged") {
		t.Errorf("abandoned after the end: %v", err)
	}
	m.old.post("com.atproto.server.activateAccount", nil).fails(400, "InvalidRequest") // the DID is elsewhere
}

// Whatever this server has acknowledged is at the new host, however late it was written.
func TestMigrateOutLosesNoWrite(t *testing.T) {
	m := startLeaving(t, nil)
	stop, written, mu := make(chan struct{}), []string{}, sync.Mutex{}
	var wg sync.WaitGroup
	for range 4 { // as fast as they can
		wg.Go(func() {
			for i := 0; ; i++ {
				a := m.old.post("com.atproto.repo.createRecord", map[string]any{
					"repo": m.old.did, "collection": "app.bsky.feed.post", "record": postRecord(fmt.Sprint("post ", i)),
				})
				if a.status != http.StatusOK {
					a.fails(401, "AccountDeactivated")
					return
				}
				mu.Lock()
				written = append(written, a.ok().str("uri"))
				mu.Unlock()
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	defer func() { close(stop); wg.Wait() }()
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	m.mustConfirm()
	m.untilDone()
	wg.Wait()
	got := recordCIDs(t, m.there().exportCAR())
	for _, uri := range written {
		if path := strings.TrimPrefix(uri, "at://"+m.old.did+"/"); got[path] == "" {
			t.Errorf("%s was acknowledged and is not at the new host", path)
		}
	}
	if len(written) < 10 {
		t.Errorf("only %d records were written meanwhile", len(written))
	}
	m.wantSame()
}

// While the DID is being changed nothing is taken that would not get to the new host.
func TestMigrateOutHolds(t *testing.T) {
	m := startLeaving(t, nil)
	reached, release := m.holdAt(migrate.StateHeld)
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	car := m.old.exportCAR()
	m.old.create("app.bsky.feed.post", imagePost(m.old.upload("image/png", png("late")))) // comes along
	m.mustConfirm()
	reached()
	m.old.post("com.atproto.repo.createRecord", map[string]any{
		"repo": m.old.did, "collection": "app.bsky.feed.post", "record": postRecord("too late"),
	}).fails(401, "AccountDeactivated")
	m.old.post("app.bsky.actor.putPreferences", map[string]any{"preferences": []any{}}).fails(400, "AccountMoving")
	m.old.post("com.atproto.server.activateAccount", nil).fails(400, "AccountMoving")
	m.old.importCAR(car).fails(400, "AccountMoving")
	release()
	if st := m.untilDone(); st.Report.Records != 23 || st.Report.Blobs != 11 {
		t.Errorf("report: %+v", st.Report)
	}
	m.wantSame()
}

func TestMigrateOutRefusals(t *testing.T) {
	m := startLeaving(t, nil)
	for _, tt := range []struct {
		in   MigrateRequest
		want string
	}{
		{MigrateRequest{To: "nonsense", NewPassword: "new-password"}, "InvalidHost"},
		{MigrateRequest{To: m.to.url + "/path", NewPassword: "new-password"}, "InvalidHost"},
		{MigrateRequest{To: m.old.srv.cfg.PublicURL(), NewPassword: "new-password"}, "LivesHere"},
		{MigrateRequest{To: m.to.url, NewPassword: "new-password"}, "InvalidHost"}, // its DID is that of localhost
		{MigrateRequest{To: m.to.srv.cfg.PublicURL(), NewPassword: "short"}, "NewHostInvalidPassword"},
		{MigrateRequest{To: m.to.srv.cfg.PublicURL(), NewPassword: "new-password", Handle: "a.test"}, "NewHostInvalidHandle"},
		{MigrateRequest{To: m.to.srv.cfg.PublicURL(), NewPassword: "new-password", Handle: "no handle"}, "HandleNeeded"},
		{MigrateRequest{To: m.to.srv.cfg.PublicURL(), NewPassword: "new-password", Email: "nonsense"}, "NewHostInvalidRequest"},
		{MigrateRequest{To: m.to.srv.cfg.PublicURL(), NewPassword: "new-password", DeleteDays: -1}, "InvalidRequest"},
		{MigrateRequest{Action: MigrateSigned}, "InvalidRequest"},
		{MigrateRequest{Action: MigrateAbandon}, "MigrationNotFound"},
	} {
		if tt.in.Action == "" {
			tt.in.Action = MigrateOut
		}
		if _, err := m.ask(tt.in); err == nil || !strings.HasPrefix(err.Error(), tt.want+":") {
			t.Errorf("%+v: %v, want %s", tt.in, err, tt.want)
		}
	}
	if _, err := m.to.srv.store.AccountByDID(t.Context(), syntax.DID(m.old.did)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an account is left there: %v", err)
	}
	if st, err := m.begin(func(in *MigrateRequest) { in.NewPassword = "" }); err != nil || st.Needs != migrate.NeedsPassword {
		t.Errorf("without a password: %+v %v", st, err)
	}
	m.mustBegin() // none of that stands in the way
}

// The new host has other domains and wants an invite code: what it needs is asked for, and the DID names the new handle.
func TestMigrateOutToOtherDomain(t *testing.T) {
	m := startLeaving(t, nil)
	m.to.stop()
	change := func(c *Config) {
		c.ServiceHandleDomains = []string{".example.com"}
		c.InviteRequired = true
	}
	m.to.start(change)
	st, err := m.begin()
	if err != nil || st.Needs != migrate.NeedsHandle || !slices.Contains(st.Domains, ".example.com") {
		t.Fatalf("%+v %v", st, err)
	}
	handle := func(in *MigrateRequest) { in.Handle = "alice.example.com" }
	if st, err = m.begin(handle); err != nil || st.Needs != migrate.NeedsInvite {
		t.Fatalf("%+v %v", st, err)
	}
	invite := m.to.anonymous(t).admin("com.atproto.server.createInviteCode", map[string]any{"useCount": 1}).ok().str("code")
	_, err = m.begin(handle, func(in *MigrateRequest) { in.Invite, in.DeleteDays = invite, 30 })
	if err != nil {
		t.Fatal(err)
	}
	m.untilNeeds(migrate.NeedsCode)
	m.mustConfirm()
	m.untilDone()
	if op := m.old.lastOp(); op.AlsoKnownAs[0] != "at://alice.example.com" {
		t.Errorf("the DID names %v", op.AlsoKnownAs)
	}
	if left := time.Until(m.old.account().DeleteAfter); left < 29*24*time.Hour || left > 31*24*time.Hour {
		t.Errorf("the account here goes in %v", left)
	}
	m.wantSame()
}

// Who holds the rotation keys of his DID for himself signs the operation himself.
func TestMigrateOutSignedByTheOwner(t *testing.T) {
	for _, how := range []string{"operation", "key"} {
		t.Run(how, func(t *testing.T) {
			m := startLeaving(t, nil)
			key, _ := atcrypto.GeneratePrivateKeyK256()
			pub, _ := key.PublicKey()
			err := m.old.srv.updateDID(t.Context(), syntax.DID(m.old.did), func(op *plc.Operation) { op.RotationKeys = []string{pub.DIDKey()} })
			if err != nil {
				t.Fatal(err)
			}
			m.mustBegin()
			st := m.untilNeeds(migrate.NeedsSignature)
			if err := m.confirm(); err == nil {
				t.Error("a code signed for a key that this server does not have")
			}
			sign := func(change func(*plc.Operation)) error {
				op := st.Operation.Clone()
				change(&op)
				signed, err := plc.Sign(op, key)
				if err != nil {
					t.Fatal(err)
				}
				_, err = m.ask(MigrateRequest{Action: MigrateSigned, Operation: &signed})
				return err
			}
			for name, change := range map[string]func(*plc.Operation){
				"prev": func(op *plc.Operation) { op.Prev = "" }, "host": func(op *plc.Operation) { op.SetPDS("https://elsewhere.example") },
				"handle": func(op *plc.Operation) { op.SetHandle("eve.test") }, "key": func(op *plc.Operation) { op.SetSigningKey(pub.DIDKey()) },
			} {
				if err := sign(change); err == nil || !strings.HasPrefix(err.Error(), "InvalidOperation") {
					t.Errorf("with another %s: %v", name, err)
				}
			}
			if _, err := m.ask(MigrateRequest{Action: MigrateSigned, Operation: st.Operation}); err == nil {
				t.Error("an operation without a signature was taken")
			}
			if how == "operation" {
				err = sign(func(*plc.Operation) {})
			} else {
				_, err = m.ask(MigrateRequest{Action: MigrateCode, RotationKey: key.Multibase()})
			}
			if err != nil {
				t.Fatal(err)
			}
			m.wantMoved()
			if op := m.old.lastOp(); op.RotationKeys[0] != pub.DIDKey() {
				t.Errorf("rotation keys %v", op.RotationKeys)
			}
		})
	}
}

// What the owner has put into the DID stays in it, and this server's key goes.
func TestMigrateOutKeepsWhatIsTheOwners(t *testing.T) {
	m := startLeaving(t, nil)
	own := m.old.ownKey()
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	m.mustConfirm()
	m.wantMoved()
	server, _ := m.to.srv.rotationKeyDID()
	op := m.old.lastOp()
	if !slices.Equal(op.RotationKeys, []string{own, server}) || len(op.AlsoKnownAs) != 2 || op.Services["atproto_labeler"].Endpoint == "" {
		t.Errorf("the DID after the move: %+v", op)
	}
}
