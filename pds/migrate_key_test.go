package pds

import (
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/migrate"
)

// ownerKeys are private rotation keys as people keep them, by how they are written.
func ownerKeys(t *testing.T) map[string]struct{ private, public string } {
	t.Helper()
	k, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		t.Fatal(err)
	}
	p, err := atcrypto.GeneratePrivateKeyP256()
	if err != nil {
		t.Fatal(err)
	}
	kp, _ := k.PublicKey()
	pp, _ := p.PublicKey()
	return map[string]struct{ private, public string }{
		"k256 hex":      {hex.EncodeToString(k.Bytes()), kp.DIDKey()},
		"k256 multikey": {k.Multibase() + "\n", kp.DIDKey()},
		"p256 hex":      {strings.ToUpper(hex.EncodeToString(p.Bytes())), pp.DIDKey()},
		"p256 multikey": {p.Multibase(), pp.DIDKey()},
	}
}

// own puts a rotation key of the owner's before the old host's.
func (m *moving) own(public string) {
	m.t.Helper()
	err := m.old.srv.updateDID(m.t.Context(), syntax.DID(m.old.did), func(op *plc.Operation) {
		op.RotationKeys = append([]string{public}, op.RotationKeys...)
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

func TestMigrateSignsWithARotationKey(t *testing.T) {
	for how, key := range ownerKeys(t) {
		t.Run(how, func(t *testing.T) {
			var asked atomic.Int32
			m := startMoving(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if strings.HasSuffix(r.URL.Path, "PlcOperationSignature") {
						asked.Add(1)
					}
					next.ServeHTTP(w, r)
				})
			})
			m.own(key.public)
			if _, err := m.ask(MigrateRequest{Action: MigrateBegin, Password: m.password, NewPassword: "new-password", RotationKey: key.private}); err != nil {
				t.Fatal(err)
			}
			m.untilNeeds(migrate.NeedsKey)
			if _, err := m.ask(MigrateRequest{Action: MigrateCode, RotationKey: key.private}); err != nil {
				t.Fatal(err)
			}
			m.notes = 1 // that the owner's key stays
			m.wantMoved()
			if asked.Load() != 0 {
				t.Error("the old host was asked to mail a code")
			}
			last, err := m.to.srv.plc.Last(t.Context(), syntax.DID(m.old.did))
			if err != nil || len(last.RotationKeys) != 2 || last.RotationKeys[0] != key.public {
				t.Errorf("rotation keys %v, %v", last.RotationKeys, err)
			}
			m.wantNoTraceOf(strings.TrimSpace(key.private))
		})
	}
}

// wantNoTraceOf looks for a secret in what is kept of the move.
func (m *moving) wantNoTraceOf(secret string) {
	m.t.Helper()
	row, err := m.to.srv.store.Migration(m.t.Context(), syntax.DID(m.old.did))
	if err != nil || strings.Contains(string(row.Data), secret) {
		m.t.Errorf("what is kept of the move: %s, %v", row.Data, err)
	}
}

// The operator of the old host has its rotation key, which has no business in the DID once the account has left.
func TestMigrateSignsWithTheKeyOfTheOldHost(t *testing.T) {
	m := startMoving(t, nil)
	hosts, ok := m.old.srv.rotationKey.(atcrypto.PrivateKeyExportable)
	if !ok {
		t.Fatal("the key cannot be written down")
	}
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode) // the mail is on its way already
	if _, err := m.ask(MigrateRequest{Action: MigrateCode, RotationKey: hosts.Multibase()}); err != nil {
		t.Fatal(err)
	}
	m.wantMoved()
	last, err := m.to.srv.plc.Last(t.Context(), syntax.DID(m.old.did))
	own, _ := m.to.srv.rotationKeyDID()
	if err != nil || !slices.Equal(last.RotationKeys, []string{own}) {
		t.Errorf("rotation keys %v, %v", last.RotationKeys, err)
	}
}

func TestMigrateRefusesRotationKeys(t *testing.T) {
	m := startMoving(t, nil)
	stranger := ownerKeys(t)["k256 hex"].private
	bad := []string{
		stranger, "nonsense", "z", "zzzz", "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
		strings.Repeat("0", 64), strings.Repeat("f", 64), strings.Repeat("1", 62), strings.Repeat("1", 66), " ",
	}
	refused := func(in MigrateRequest) {
		t.Helper()
		for _, key := range bad {
			in.RotationKey = key
			_, err := m.ask(in)
			if err == nil || !strings.HasPrefix(err.Error(), "InvalidRotationKey:") {
				t.Errorf("%s with %q: %v", in.Action, key, err)
			} else if len(key) > 4 && strings.Contains(err.Error(), key) {
				t.Errorf("the refusal repeats the key: %v", err)
			}
		}
	}
	refused(MigrateRequest{Action: MigrateBegin, Password: m.password, NewPassword: "new-password"})
	if m.sessions() != 0 {
		t.Error("sessions are left at the old host")
	}
	m.mustBegin()
	m.untilNeeds(migrate.NeedsCode)
	refused(MigrateRequest{Action: MigrateBegin})
	refused(MigrateRequest{Action: MigrateCode})
	if err := m.confirm(); err != nil { // none of that stands in the way
		t.Fatal(err)
	}
	m.wantMoved()
}

// The key is announced, but then lost: a code can be had all the same.
func TestMigrateAsksForACodeInPlaceOfTheKey(t *testing.T) {
	m := startMoving(t, nil)
	key := ownerKeys(t)["p256 hex"]
	m.own(key.public)
	if _, err := m.ask(MigrateRequest{Action: MigrateBegin, Password: m.password, NewPassword: "new-password", RotationKey: key.private}); err != nil {
		t.Fatal(err)
	}
	m.untilNeeds(migrate.NeedsKey)
	if _, err := m.ask(MigrateRequest{Action: MigrateResend}); err != nil {
		t.Fatal(err)
	}
	m.untilNeeds(migrate.NeedsCode)
	if err := m.confirm(); err != nil {
		t.Fatal(err)
	}
	m.notes = 1 // that the owner's key stays
	m.wantMoved()
}
