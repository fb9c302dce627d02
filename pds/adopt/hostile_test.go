package adopt

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"perch/pds/blob"
)

// What a directory holds may be odd in many ways. Each case does one odd thing to alice's account; it and bob's are taken over all the same.
func TestOddDirectories(t *testing.T) {
	for name, tt := range map[string]struct {
		odd    func(r *reference)
		want   string // finding
		missed int64  // blobs
		after  func(tg *target)
	}{
		"blob behind a symbolic link": {odd: func(r *reference) {
			away := filepath.Join(r.t.TempDir(), "away")
			file := firstBlob(r)
			must(r.t, os.Rename(file, away))
			must(r.t, os.Symlink(away, file))
		}},
		"folder of blobs behind a symbolic link": {odd: func(r *reference) {
			away := filepath.Join(r.t.TempDir(), "away")
			must(r.t, os.Rename(filepath.Join(r.dir, "blocks"), away))
			must(r.t, os.Symlink(away, filepath.Join(r.dir, "blocks")))
		}},
		"blob's file is a pipe": {odd: func(r *reference) {
			file := firstBlob(r)
			must(r.t, os.Remove(file))
			must(r.t, syscall.Mkfifo(file, 0o600))
		}, want: "no file", missed: 1},
		"blob's file is a folder": {odd: func(r *reference) {
			file := firstBlob(r)
			must(r.t, os.Remove(file))
			must(r.t, os.Mkdir(file, 0o700))
		}, want: "no file", missed: 1},
		"blob's name leads elsewhere": {odd: func(r *reference) {
			r.actor(alice, "UPDATE blob SET cid = '../../../../../../../etc/passwd' WHERE cid = (SELECT min(cid) FROM blob)")
		}, want: "not the CID of a blob", missed: 1},
		"files with weird names": {odd: func(r *reference) {
			for _, name := range []string{"a\nb", "\x1b[31mred", "..x", strings.Repeat("n", 250), "\xff\xfe"} {
				must(r.t, os.WriteFile(filepath.Join(r.dir, name), nil, 0o600))
				must(r.t, os.WriteFile(filepath.Join(r.dir, "blocks", string(alice), name), nil, 0o600))
				must(r.t, os.WriteFile(filepath.Join(r.actorDir(alice), name), nil, 0o600))
			}
		}},
		"huge preference": {odd: func(r *reference) {
			r.actor(alice, "INSERT INTO account_pref (name, valueJson) VALUES ('app.bsky.actor.defs#savedFeedsPrefV2', ?)", `{"$type":"app.bsky.actor.defs#savedFeedsPrefV2","x":"`+strings.Repeat("y", 20<<20)+`"}`)
		}},
		"preference that is no JSON": {odd: func(r *reference) {
			r.actor(alice, "INSERT INTO account_pref (name, valueJson) VALUES ('app.bsky.actor.defs#x', 'not { json')")
		}, want: "preferences are not well-formed"},
		"event that is withdrawn": {odd: func(r *reference) {
			exec(r.t, r.sequencer, "INSERT INTO repo_seq (did, eventType, event, invalidated, sequencedAt) VALUES (?, 'append', x'ff', 1, ?)", alice, iso(testNow))
		}},
		"event of garbage": {odd: func(r *reference) {
			exec(r.t, r.sequencer, "INSERT INTO repo_seq (did, eventType, event, sequencedAt) VALUES (?, 'identity', x'ffff', ?)", alice, iso(testNow))
		}, want: "contradict"},
		"event of an unknown kind": {odd: func(r *reference) {
			exec(r.t, r.sequencer, "INSERT INTO repo_seq (did, eventType, event, sequencedAt) VALUES (?, 'space', x'a0', ?)", alice, iso(testNow))
		}},
		"event of a time that is none": {odd: func(r *reference) {
			exec(r.t, r.sequencer, "UPDATE repo_seq SET sequencedAt = 'yesterday' WHERE did = ?", alice)
		}},
		"tokens and app passwords of nobody": {odd: func(r *reference) {
			exec(r.t, r.accounts, "INSERT INTO refresh_token (id, did, expiresAt) VALUES ('x', 'did:plc:gone', ?)", iso(testNow.AddDate(0, 1, 0)))
			exec(r.t, r.accounts, "INSERT INTO app_password (did, name, passwordScrypt, createdAt) VALUES ('did:plc:gone', 'x', 'y', ?)", iso(testNow))
		}},
		"session of an app password that is gone": {odd: func(r *reference) {
			exec(r.t, r.accounts, "INSERT INTO refresh_token (id, did, expiresAt, appPasswordName) VALUES ('x', ?, ?, 'gone')", alice, iso(testNow.AddDate(0, 1, 0)))
		}},
		"app passwords of one name in other letters": {odd: func(r *reference) {
			for _, n := range []string{"App", "app"} {
				exec(r.t, r.accounts, "INSERT INTO app_password (did, name, passwordScrypt, createdAt) VALUES (?, ?, 'y', ?)", alice, n, iso(testNow))
			}
		}},
		"invite code of the admin, used by nobody known": {odd: func(r *reference) {
			exec(r.t, r.accounts, "INSERT INTO invite_code (code, availableUses, forAccount, createdBy, createdAt) VALUES ('c', -1, 'admin', 'admin', 'never')")
			exec(r.t, r.accounts, "INSERT INTO invite_code_use VALUES ('c', 'did:plc:gone', ?)", iso(testNow))
			exec(r.t, r.accounts, "INSERT INTO invite_code_use VALUES ('unknown', ?, ?)", alice, iso(testNow))
		}},
		"handle and address in capitals": {odd: func(r *reference) {
			exec(r.t, r.accounts, "UPDATE actor SET handle = 'ALICE.test' WHERE did = ?", alice)
			exec(r.t, r.accounts, "UPDATE account SET email = 'ALICE@Mail.Example' WHERE did = ?", alice)
		}, after: func(tg *target) {
			acct, err := tg.Store.AccountByHandle(tg.t.Context(), "alice.test")
			if err != nil || acct.DID != alice {
				tg.t.Errorf("by its handle in small letters: %v", err)
			}
			if acct, err := tg.Store.AccountByEmail(tg.t.Context(), "alice@mail.example"); err != nil || acct.DID != alice {
				tg.t.Errorf("by its address in small letters: %v", err)
			}
		}},
		"taken down and deactivated": {odd: func(r *reference) {
			exec(r.t, r.accounts, "UPDATE actor SET takedownRef = '', deactivatedAt = 'some day' WHERE did = ?", alice)
		}},
		"no account row": {odd: func(r *reference) { exec(r.t, r.accounts, "DELETE FROM account WHERE did = ?", alice) }, want: "no password"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReference(t)
			r.account(bob, "bob.test", 3, 30, nil)
			r.account(alice, "alice.test", 3, 30, nil)
			tt.odd(r)
			r.stop()
			tg := newTarget(t)
			plan, result := tg.adopt(r)
			if plan.Broken() != 0 || result.Adopted != 2 || tt.want != "" && !found(plan, tt.want) {
				t.Errorf("%d adopted, want %q in %v %v", result.Adopted, tt.want, plan.Findings, result.Failures)
			}
			tg.clean()
			acct, err := tg.Store.AccountByDID(t.Context(), alice)
			must(t, err)
			stats, err := tg.Store.BlobStats(t.Context(), acct.ID)
			must(t, err)
			if stats.Imported != 3-tt.missed {
				t.Errorf("blobs: %+v", stats)
			}
			must(t, tg.Blobs.Walk(t.Context(), func(e blob.Entry) error {
				if e.Strange {
					return fmt.Errorf("a strange file: %s", e.Path)
				}
				return tg.Blobs.Verify(t.Context(), e.DID, e.CID)
			}))
			if tt.after != nil {
				tt.after(tg)
			}
			if _, again := tg.adopt(r); again.Already != 2 || again.Events != 0 {
				t.Errorf("second run: %+v", again)
			}
		})
	}
}

// firstBlob is the file of alice's first blob.
func firstBlob(r *reference) string {
	r.t.Helper()
	all, err := filepath.Glob(filepath.Join(r.dir, "blocks", string(alice), "*"))
	if err != nil || len(all) == 0 {
		r.t.Fatal("no blob", err)
	}
	return all[0]
}
