package store

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"testing"
	"time"

	"perch/repo"
)

func TestRemovedAccountMayComeBackWithAnotherID(t *testing.T) {
	s := openTest(t)
	ctx := context.Background()
	old := mustCreate(t, s, 1)
	remove := func(ctx context.Context, tx *Tx) error { return tx.RemoveAccount(ctx, old.ID) }
	err := s.Update(ctx, func(tx *Tx) error { return remove(ctx, tx) })
	if !errors.Is(err, ErrNotDeleted) {
		t.Fatalf("an account that lives was removed: %v", err)
	}
	updatePeople(t, s, func(ctx context.Context, tx *Tx) error { return tx.MarkDeleted(ctx, old.ID, time.Now()) })
	if _, err := createPerson(t, s, person(1)); !errors.Is(err, ErrDIDTaken) {
		t.Fatalf("while the deletion is under way: %v", err)
	}
	if _, err := s.PutBlob(ctx, old.ID, Blob{CID: repo.CIDOf([]byte("late upload")), MimeType: "image/png", Size: 1}); !errors.Is(err, ErrInactive) {
		t.Errorf("upload to a deleted account: %v", err)
	}
	updatePeople(t, s, func(ctx context.Context, tx *Tx) error {
		return tx.CreateSession(ctx, Session{ID: "late", Account: old.ID, CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)})
	})
	updatePeople(t, s, remove)
	updatePeople(t, s, remove)
	if _, err := s.AccountByDID(ctx, old.DID); !errors.Is(err, ErrNotFound) {
		t.Fatalf("removed account: %v", err)
	}
	if _, err := s.Session(ctx, "late"); !errors.Is(err, ErrNotFound) {
		t.Errorf("session of a removed account: %v", err)
	}
	if again := mustCreate(t, s, 1); again.ID <= old.ID {
		t.Errorf("id %d after %d was removed", again.ID, old.ID)
	}
}

func TestEmailTokens(t *testing.T) {
	s := openTest(t)
	ctx := context.Background()
	a, b := mustCreate(t, s, 1), mustCreate(t, s, 2)
	now := time.Now().UTC().Truncate(time.Microsecond)
	put := func(acct AccountID, purpose, hash string, life time.Duration) {
		updatePeople(t, s, func(ctx context.Context, tx *Tx) error {
			return tx.PutEmailToken(ctx, EmailToken{acct, purpose, []byte(hash), now, now.Add(life)})
		})
	}
	find := func(purpose, hash string) AccountID {
		t.Helper()
		got, err := s.EmailTokenByHash(ctx, purpose, []byte(hash))
		if err != nil && !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		return got.Account
	}
	put(a.ID, "one", "first", time.Minute)
	put(a.ID, "one", "second", time.Minute)
	put(a.ID, "two", "third", time.Hour)
	put(b.ID, "one", "fourth", time.Hour)
	if find("one", "first") != 0 || find("one", "second") != a.ID || find("two", "second") != 0 || find("one", "fourth") != b.ID {
		t.Error("an account has one token for each purpose, the newest")
	}
	updatePeople(t, s, func(ctx context.Context, tx *Tx) error { return tx.SweepEmailTokens(ctx, now.Add(2*time.Minute)) })
	if find("one", "second") != 0 || find("two", "third") != a.ID {
		t.Error("the sweep takes those that expired")
	}
	updatePeople(t, s, func(ctx context.Context, tx *Tx) error { return tx.MarkDeleted(ctx, a.ID, now) })
	if find("two", "third") != 0 || find("one", "fourth") != b.ID {
		t.Error("deletion takes the account's tokens")
	}
}

func TestMailIsKeptUntilItIsSent(t *testing.T) {
	s := openTest(t)
	ctx := context.Background()
	a := mustCreate(t, s, 1)
	now := time.Now().UTC().Truncate(time.Microsecond)
	updatePeople(t, s, func(ctx context.Context, tx *Tx) error {
		for _, subject := range []string{"first", "second", "third"} {
			m := Mail{Account: a.ID, To: a.Email, Subject: subject, Sealed: []byte("x"), CreatedAt: now, ExpiresAt: now.Add(time.Minute)}
			if err := tx.AddMail(ctx, m); err != nil {
				return err
			}
		}
		return nil
	})
	if jobs, err := s.DueJobs(ctx, now.Add(time.Hour), 10, "other"); err != nil || len(jobs) != 0 {
		t.Fatalf("jobs of another kind: %v %v", jobs, err)
	}
	jobs, err := s.DueJobs(ctx, now.Add(time.Hour), 10, "other", JobMail)
	if err != nil || len(jobs) != 3 || jobs[0].Payload != "1" {
		t.Fatalf("jobs: %v %v", jobs, err)
	}
	if err := errors.Join(s.MailSent(ctx, 1), s.MailFailed(ctx, 2, errors.New("refused"), false), s.MailFailed(ctx, 3, errors.New("unknown"), true)); err != nil {
		t.Fatal(err)
	}
	left, err := s.Mails(ctx, 10)
	if err != nil || len(left) != 2 {
		t.Fatalf("%+v %v", left, err)
	}
	if m := left[0]; m.ID != 3 || !m.GivenUp() || m.Error != "unknown" || m.Attempts != 1 || m.TriedAt.IsZero() || m.To != a.Email {
		t.Errorf("given up: %+v", m)
	}
	if m := left[1]; m.ID != 2 || m.GivenUp() || m.Error != "refused" || !m.ExpiresAt.Equal(now.Add(time.Minute)) {
		t.Errorf("to be tried again: %+v", m)
	}
	sent, err := s.SentMails(ctx, a.Email, math.MaxInt64, 10)
	if err != nil || len(sent) != 1 || sent[0].ID != 1 || sent[0].Waits() || sent[0].GivenUp() || sent[0].SentAt.IsZero() || sent[0].Sealed != nil {
		t.Errorf("sent: %+v %v", sent, err)
	}
	for _, none := range []struct {
		to     string
		before int64
	}{{"other@example.com", math.MaxInt64}, {"", 1}} {
		if sent, err := s.SentMails(ctx, none.to, none.before, 10); err != nil || len(sent) != 0 {
			t.Errorf("sent %+v: %+v %v", none, sent, err)
		}
	}
	updatePeople(t, s, func(ctx context.Context, tx *Tx) error { return tx.SweepMails(ctx, now.Add(time.Second)) })
	if left, err = s.Mails(ctx, 10); err != nil || len(left) != 1 || left[0].ID != 2 {
		t.Errorf("after the sweep: %+v %v", left, err)
	}
	if sent, err = s.SentMails(ctx, "", math.MaxInt64, 10); err != nil || len(sent) != 0 {
		t.Errorf("sent, after the sweep: %+v %v", sent, err)
	}
	updatePeople(t, s, func(ctx context.Context, tx *Tx) error { return tx.MarkDeleted(ctx, a.ID, now) })
	if _, err := s.Mail(ctx, 2); !errors.Is(err, ErrNotFound) {
		t.Errorf("mail to a deleted account: %v", err)
	}
}

func TestMigrationKeepsAccounts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "perch.db")
	first, err := migrations.ReadFile("migrations/0001_init.sql")
	if err != nil {
		t.Fatal(err)
	}
	db, err := openPool(path, commonPragmas, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	script := string(first) + `; PRAGMA user_version = 1;
		INSERT INTO account (id, did, handle, created_at, signing_key, signing_key_did) VALUES (7, 'did:web:seven.example', 'seven.example', 1, x'', 'k');`
	if _, err := db.Exec(script); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(context.Background(), Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if a, err := s.AccountByHandle(context.Background(), "seven.example"); err != nil || a.ID != 7 {
		t.Errorf("%+v %v", a, err)
	}
	if next := mustCreate(t, s, 1); next.ID != 8 {
		t.Errorf("next id %d", next.ID)
	}
}
