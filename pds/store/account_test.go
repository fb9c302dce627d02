package store

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

func person(n int) Account {
	return Account{
		DID: syntax.DID(fmt.Sprintf("did:web:p%d.example.com", n)), Handle: syntax.Handle(fmt.Sprintf("p%d.example.com", n)),
		Email: fmt.Sprintf("p%d@mail.example.org", n), SigningKey: []byte("sealed"), SigningKeyDID: "did:key:z", PasswordHash: "hash",
	}
}

func createPerson(t *testing.T, s *Store, a Account) (id AccountID, err error) {
	t.Helper()
	err = s.Update(context.Background(), func(tx *Tx) (err error) {
		id, err = tx.CreateAccount(context.Background(), a)
		return err
	})
	return id, err
}

func mustCreate(t *testing.T, s *Store, n int) *Account {
	t.Helper()
	id, err := createPerson(t, s, person(n))
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.AccountByID(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func updatePeople(t *testing.T, s *Store, fn func(ctx context.Context, tx *Tx) error) {
	t.Helper()
	if err := s.Update(context.Background(), func(tx *Tx) error { return fn(context.Background(), tx) }); err != nil {
		t.Fatal(err)
	}
}

func TestCreateAccountRefusesWhatIsTaken(t *testing.T) {
	s := openTest(t)
	a := mustCreate(t, s, 1)
	for name, c := range map[string]struct {
		change func(*Account)
		want   error
	}{
		"handle":             {func(b *Account) { b.Handle = a.Handle }, ErrHandleTaken},
		"handle in capitals": {func(b *Account) { b.Handle = "P1.Example.Com" }, ErrHandleTaken},
		"email":              {func(b *Account) { b.Email = a.Email }, ErrEmailTaken},
		"email in capitals":  {func(b *Account) { b.Email = "P1@MAIL.example.org" }, ErrEmailTaken},
		"did":                {func(b *Account) { b.DID = a.DID }, ErrDIDTaken},
	} {
		b := person(2)
		c.change(&b)
		if _, err := createPerson(t, s, b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	b := mustCreate(t, s, 2)
	err := s.Update(context.Background(), func(tx *Tx) error { return tx.SetHandle(context.Background(), b.ID, a.Handle) })
	if !errors.Is(err, ErrHandleTaken) {
		t.Error(err)
	}
	err = s.Update(context.Background(), func(tx *Tx) error { return tx.SetEmail(context.Background(), b.ID, a.Email, time.Time{}) })
	if !errors.Is(err, ErrEmailTaken) {
		t.Error(err)
	}
	err = s.Update(context.Background(), func(tx *Tx) error { return tx.SetTakedown(context.Background(), 99, "x") })
	if !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	for _, n := range []int{3, 4} { // accounts without e-mail or handle do not collide
		c := person(n)
		c.Email, c.Handle = "", ""
		if _, err := createPerson(t, s, c); err != nil {
			t.Error(err)
		}
	}
}

func TestAccountRoundTrip(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	at := time.Date(2026, 11, 23, 12, 0, 0, 123456000, time.UTC)
	in := person(1)
	in.CreatedAt, in.EmailConfirmedAt, in.DeactivatedAt, in.DeleteAfter, in.SuspendedAt = at, at.Add(1), at.Add(2000), at.Add(3000), at.Add(4000)
	in.EmailConfirmedAt = at
	in.TakedownRef, in.InvitesDisabled, in.InvitedBy = "ref", true, "code"
	id, err := createPerson(t, s, in)
	if err != nil {
		t.Fatal(err)
	}
	in.ID = id
	for name, get := range map[string]func() (*Account, error){
		"id":     func() (*Account, error) { return s.AccountByID(ctx, id) },
		"did":    func() (*Account, error) { return s.AccountByDID(ctx, in.DID) },
		"handle": func() (*Account, error) { return s.AccountByHandle(ctx, "P1.EXAMPLE.com") },
		"email":  func() (*Account, error) { return s.AccountByEmail(ctx, "P1@mail.EXAMPLE.org") },
	} {
		for range 2 { // from the database, then from memory
			if got, err := get(); err != nil || fmt.Sprint(*got) != fmt.Sprint(in) {
				t.Errorf("by %s: %+v, %v\nwant %+v", name, got, err, in)
			}
		}
	}
	for _, err := range []error{
		second(s.AccountByID(ctx, 99)), second(s.AccountByDID(ctx, "did:web:x.example.com")), second(s.AccountByHandle(ctx, "x.example.com")),
		second(s.AccountByEmail(ctx, "")), second(s.AccountByHandle(ctx, "")),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%v, want ErrNotFound", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestStatus(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		a    Account
		want string
	}{
		{Account{}, ""},
		{Account{DeactivatedAt: now}, StatusDeactivated},
		{Account{DeactivatedAt: now, SuspendedAt: now}, StatusSuspended},
		{Account{DeactivatedAt: now, SuspendedAt: now, TakedownRef: "x"}, StatusTakendown},
		{Account{TakedownRef: "x", DeletedAt: now}, StatusDeleted},
	} {
		if got := c.a.Status(); got != c.want || c.a.Active() != (c.want == "") {
			t.Errorf("%+v: %q, want %q", c.a, got, c.want)
		}
	}
}

func TestMarkDeleted(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	a := mustCreate(t, s, 1)
	updatePeople(t, s, func(ctx context.Context, tx *Tx) error {
		return errors.Join(
			tx.CreateSession(ctx, Session{ID: "s", Account: a.ID, CreatedAt: tx.Now(), ExpiresAt: tx.Now().Add(time.Hour)}),
			tx.CreateAppPassword(ctx, AppPassword{Account: a.ID, Name: "n", Hash: "h", CreatedAt: tx.Now()}),
			tx.ReplacePreferences(ctx, a.ID, []Preference{{"app.bsky.x", []byte("{}")}}),
			tx.CreateInvite(ctx, Invite{Code: "c", AvailableUses: 1, ForAccount: string(a.DID), CreatedBy: "admin", CreatedAt: tx.Now()}),
		)
	})
	if live, _ := s.SessionLive(ctx, "s", a.ID, time.Now()); !live {
		t.Fatal("no session to begin with")
	}
	updatePeople(t, s, func(ctx context.Context, tx *Tx) error { return tx.MarkDeleted(ctx, a.ID, tx.Now()) })
	if live, _ := s.SessionLive(ctx, "s", a.ID, time.Now()); live {
		t.Error("the session lives on")
	}
	if all, _ := s.AppPasswords(ctx, a.ID); len(all) != 0 {
		t.Error("app passwords are left")
	}
	if all, _ := s.Preferences(ctx, a.ID); len(all) != 0 {
		t.Error("preferences are left")
	}
	if i, err := s.Invite(ctx, "c"); err != nil || i.Open() {
		t.Errorf("its invite code still works: %+v, %v", i, err)
	}
	got, err := s.AccountByDID(ctx, a.DID)
	if err != nil || got.Status() != StatusDeleted || got.Handle != "" || got.Email != "" || got.PasswordHash != "" || len(got.SigningKey) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	again := person(1)
	again.DID = "did:web:else.example.com"
	if _, err := createPerson(t, s, again); err != nil {
		t.Errorf("handle and e-mail are not free: %v", err)
	}
}

func TestSessionsAndApps(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	a, b := mustCreate(t, s, 1), mustCreate(t, s, 2)
	now := time.Now().Truncate(time.Microsecond).UTC()
	want := Session{ID: "1", Account: a.ID, AppPassword: "phone", NextID: "2", CreatedAt: now, ExpiresAt: now.Add(time.Hour)}
	updatePeople(t, s, func(ctx context.Context, tx *Tx) error {
		return errors.Join(
			tx.CreateSession(ctx, want),
			tx.CreateSession(ctx, Session{ID: "2", Account: a.ID, CreatedAt: now, ExpiresAt: now.Add(-time.Hour)}),
			tx.CreateSession(ctx, Session{ID: "3", Account: b.ID, AppPassword: "phone", CreatedAt: now, ExpiresAt: now.Add(time.Hour)}),
		)
	})
	if got, err := s.Session(ctx, "1"); err != nil || got != want {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, c := range []struct {
		id   string
		acct AccountID
		live bool
	}{{"1", a.ID, true}, {"1", b.ID, false}, {"2", a.ID, false}, {"3", b.ID, true}, {"4", a.ID, false}, {"", a.ID, false}} {
		for range 2 {
			if live, err := s.SessionLive(ctx, c.id, c.acct, now); live != c.live || err != nil {
				t.Errorf("%+v: %v, %v", c, live, err)
			}
		}
	}
	p := AppPassword{Account: a.ID, Name: "phone", Hash: "h", Privileged: true, CreatedAt: now}
	updatePeople(t, s, func(ctx context.Context, tx *Tx) error { return tx.CreateAppPassword(ctx, p) })
	err := s.Update(ctx, func(tx *Tx) error { return tx.CreateAppPassword(ctx, p) })
	if !errors.Is(err, ErrNameTaken) {
		t.Fatal(err)
	}
	if got, err := s.AppPassword(ctx, a.ID, "phone"); err != nil || got != p {
		t.Fatalf("%+v, %v", got, err)
	}
	updatePeople(t, s, func(ctx context.Context, tx *Tx) error { return tx.DeleteAppPassword(ctx, a.ID, "phone") })
	if live, _ := s.SessionLive(ctx, "1", a.ID, now); live {
		t.Fatal("its session lives on")
	}
	if live, _ := s.SessionLive(ctx, "3", b.ID, now); !live {
		t.Fatal("another account's session ended")
	}
}

func TestInviteUses(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	now := time.Now().Truncate(time.Microsecond).UTC()
	updatePeople(t, s, func(ctx context.Context, tx *Tx) error {
		return tx.CreateInvite(ctx, Invite{Code: "c", AvailableUses: 2, ForAccount: "admin", CreatedBy: "admin", CreatedAt: now})
	})
	use := func(code string, by syntax.DID) error {
		return s.Update(ctx, func(tx *Tx) error { return tx.UseInvite(ctx, code, by, now) })
	}
	if err := use("d", "did:web:a"); !errors.Is(err, ErrInviteUsed) {
		t.Fatal(err)
	}
	if err := errors.Join(use("c", "did:web:a"), use("c", "did:web:b")); err != nil {
		t.Fatal(err)
	}
	if err := use("c", "did:web:c"); !errors.Is(err, ErrInviteUsed) {
		t.Fatal(err)
	}
	i, err := s.Invite(ctx, "c")
	if err != nil || len(i.Uses) != 2 || i.Uses[0] != (InviteUse{"did:web:a", now}) || i.Open() {
		t.Fatalf("%+v, %v", i, err)
	}
	if all, err := s.InvitesBy(ctx, InvitesRecent, "", 10); err != nil || len(all) != 1 || len(all[0].Uses) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
}

func TestReplacePreferences(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	a, b := mustCreate(t, s, 1), mustCreate(t, s, 2)
	put := func(id AccountID, names ...string) {
		var all []Preference
		for _, n := range names {
			all = append(all, Preference{n, []byte(`{"$type":"` + n + `"}`)})
		}
		updatePeople(t, s, func(ctx context.Context, tx *Tx) error { return tx.ReplacePreferences(ctx, id, all) })
	}
	put(a.ID, "z", "a", "a")
	put(b.ID, "other")
	put(a.ID, "y", "b")
	got, err := s.Preferences(ctx, a.ID)
	if err != nil || len(got) != 2 || got[0].Name != "y" || string(got[1].JSON) != `{"$type":"b"}` {
		t.Fatalf("%+v, %v", got, err)
	}
	if got, _ := s.Preferences(ctx, b.ID); len(got) != 1 {
		t.Fatalf("%+v", got)
	}
}

func TestListsOfAccounts(t *testing.T) {
	ctx := context.Background()
	s := openTest(t)
	for n := range 5 {
		mustCreate(t, s, n)
	}
	first, err := s.Accounts(ctx, 0, 3)
	if err != nil || len(first) != 3 {
		t.Fatal(first, err)
	}
	if rest, err := s.Accounts(ctx, first[2].ID, 3); err != nil || len(rest) != 2 {
		t.Fatal(rest, err)
	}
	now := time.Now()
	updatePeople(t, s, func(ctx context.Context, tx *Tx) error {
		return errors.Join(tx.SetDeactivated(ctx, first[0].ID, now, now.Add(-time.Hour)), tx.SetDeactivated(ctx, first[1].ID, now, now.Add(time.Hour)))
	})
	if ids, err := s.ExpiredDeactivations(ctx, now, 10); err != nil || len(ids) != 1 || ids[0] != first[0].ID {
		t.Fatal(ids, err)
	}
}
