package adopt

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"perch/pds/blob"
)

// killedReference is a directory as a server leaves it that was killed: with logs that are not folded in.
func killedReference(t *testing.T) *reference {
	t.Helper()
	r := newReference(t)
	r.account(alice, "alice.test", 3, 30, nil)
	exec(t, r.accounts, "UPDATE actor SET handle = 'renamed.test'")
	killed := newReference(t)
	killed.stop()
	must(t, os.CopyFS(filepath.Join(killed.dir, "copy"), os.DirFS(r.dir)))
	killed.dir, killed.diffs = filepath.Join(killed.dir, "copy"), r.diffs
	must(t, os.Remove(filepath.Join(killed.dir, "account.sqlite-shm")))
	must(t, os.Remove(filepath.Join(killed.dir, "sequencer.sqlite-shm")))
	return killed
}

// A log that a power cut has left half-written counts as far as it is whole, as it does for SQLite, and no scrap of it harms the rest.
func TestHalfWrittenLog(t *testing.T) {
	for _, part := range []float64{0, 0.1, 0.5, 0.9, 0.999} {
		r := killedReference(t)
		log := filepath.Join(r.dir, "account.sqlite-wal")
		info, err := os.Stat(log)
		must(t, err)
		must(t, os.Truncate(log, int64(part*float64(info.Size()))))
		src, err := Open(t.Context(), r.layout())
		if err != nil {
			continue // a database that was never folded in at all is none without its log
		}
		plan, err := src.Check(t.Context(), testNow, testNow, noProgress)
		if err == nil && len(plan.accounts) > 1 {
			t.Errorf("%v of the log: %d accounts", part, len(plan.accounts))
		}
		must(t, src.Close())
	}
	r := killedReference(t) // scraps behind the log's end are no part of it
	log, err := os.OpenFile(filepath.Join(r.dir, "account.sqlite-wal"), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = log.Write(make([]byte, 5000))
	must(t, errors.Join(err, log.Close()))
	tg := newTarget(t)
	if _, result := tg.adopt(r); result.Adopted != 1 {
		t.Errorf("%+v", result)
	}
	if acct, err := tg.Store.AccountByDID(t.Context(), alice); err != nil || acct.Handle != "renamed.test" {
		t.Errorf("%+v, %v", acct, err)
	}
}

// Two accounts cannot have one handle or address, in whatever letters: the second is told of and left there, and the first is whole.
func TestSameNameInOtherLetters(t *testing.T) {
	for _, query := range []string{"UPDATE actor SET handle = 'BOB.test' WHERE did = ?", "UPDATE account SET email = 'BOB.test@Mail.Example' WHERE did = ?"} {
		r := newReference(t)
		r.account(bob, "bob.test", 3, 30, nil)
		r.account(alice, "alice.test", 3, 30, nil)
		exec(t, r.accounts, query, alice)
		r.stop()
		tg := newTarget(t)
		plan, result := tg.adopt(r)
		if result.Adopted != 1 || len(result.Failures) == 0 && plan.Broken() != 1 {
			t.Errorf("%s: %+v, %v", query, result, plan.Findings)
		}
		tg.clean()
	}
}

// Without room nothing is begun.
func TestNoRoom(t *testing.T) {
	r := newReference(t)
	r.account(alice, "alice.test", 3, 30, nil)
	r.actor(alice, "UPDATE blob SET size = 4000000000000000000")
	r.stop()
	tg := newTarget(t)
	if plan, result := tg.adopt(r); result.Adopted != 1 || !found(plan, "the database says") {
		t.Errorf("sizes that are wrong: %+v", result) // and count for nothing
	}
	if err := tg.Blobs.CheckRoom(1 << 60); !errors.Is(err, blob.ErrDiskFull) {
		t.Error(err)
	}
	if err := tg.Blobs.CheckRoom(1); err != nil {
		t.Error(err)
	}
}
