package account

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/store"
)

func TestSignUpRefuses(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.ResolveHandle = func(_ context.Context, h syntax.Handle) (syntax.DID, error) {
			if h == "alice.test-domain.org" {
				return testDID(50), nil
			}
			return "", errors.New("no such handle")
		}
	})
	first := w.person().Account
	if err := w.Takedown(context.Background(), w.person().Account.ID, "x", nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Deactivate(context.Background(), w.person().Account.ID, time.Time{}, nil); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name string
		make func(*NewAccount)
		want error
	}{
		{"handle taken", func(n *NewAccount) { n.Handle = string(first.Handle) }, store.ErrHandleTaken},
		{"handle taken, in capitals", func(n *NewAccount) { n.Handle = strings.ToUpper(string(first.Handle)) }, store.ErrHandleTaken},
		{"handle of a taken-down account", func(n *NewAccount) { n.Handle = "person2.example.com" }, store.ErrHandleTaken},
		{"handle of a deactivated account", func(n *NewAccount) { n.Handle = "person3.example.com" }, store.ErrHandleTaken},
		{"email taken", func(n *NewAccount) { n.Email = first.Email }, store.ErrEmailTaken},
		{"email taken, in capitals", func(n *NewAccount) { n.Email = strings.ToUpper(first.Email) }, store.ErrEmailTaken},
		{"email of a taken-down account", func(n *NewAccount) { n.Email = "p2@mail.example.org" }, store.ErrEmailTaken},
		{"DID has an account", func(n *NewAccount) { n.DID = first.DID }, store.ErrDIDTaken},
		{"no handle", func(n *NewAccount) { n.Handle = "" }, ErrInvalidHandle},
		{"no email", func(n *NewAccount) { n.Email = "" }, ErrInvalidEmail},
		{"reserved handle", func(n *NewAccount) { n.Handle = "admin.example.com" }, ErrHandleNotAvailable},
		{"foreign handle, new DID", func(n *NewAccount) { n.Handle = "alice.test-domain.org" }, ErrUnsupportedDomain},
		{"foreign handle of another", func(n *NewAccount) { n.Handle, n.DID = "alice.test-domain.org", testDID(51) }, ErrInvalidHandle},
		{"foreign handle unknown", func(n *NewAccount) { n.Handle, n.DID = "bob.test-domain.org", testDID(50) }, ErrInvalidHandle},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			in := w.newAccount(100 + int64(i))
			c.make(&in)
			r, err := w.Reserve(context.Background(), in)
			want(t, c.want, err)
			if r != nil || len(w.pending.counts) != 0 {
				t.Fatalf("a refused sign-up still holds %v", w.pending.counts)
			}
			var refused *Refused
			if !errors.As(err, &refused) || refused.Message == "" {
				t.Fatalf("nothing to tell the client: %v", err)
			}
		})
	}
	in := w.newAccount(50)
	in.Handle, in.DID, in.Deactivated, in.DeleteAfter = "Alice.Test-Domain.org", testDID(50), true, w.now().Add(72*time.Hour)
	ses, err := w.signUp(in, testDID(50))
	if err != nil {
		t.Fatal(err)
	}
	a, err := w.st.AccountByHandle(context.Background(), "alice.test-domain.org")
	if err != nil || a.Status() != store.StatusDeactivated || a.DID != testDID(50) || !a.DeleteAfter.Equal(in.DeleteAfter) || ses.ID == "" {
		t.Fatalf("%+v, %v", a, err)
	}
}

func TestSignUpIsWhole(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, func(o *Options) { o.InviteRequired = true })
	codes, err := w.CreateInvites(ctx, Admin, []string{Admin}, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	in := w.newAccount(1)
	in.InviteCode = codes[0][0].Code
	r, err := w.Reserve(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	_, err = r.Commit(ctx, testDID(1), func(*store.Tx, *store.Account) error { return boom })
	want(t, boom, err)
	r.Release()
	if _, err := w.st.AccountByDID(ctx, testDID(1)); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("half an account is left: %v", err)
	}
	if i, err := w.st.Invite(ctx, in.InviteCode); err != nil || !i.Open() {
		t.Fatalf("the invite code is used up: %+v, %v", i, err)
	}
	var seen *store.Account
	r, err = w.Reserve(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	ses, err := r.Commit(ctx, testDID(1), func(tx *store.Tx, a *store.Account) error {
		seen, err = tx.AccountByDID(ctx, testDID(1))
		if err == nil && seen.ID != a.ID {
			err = fmt.Errorf("the hook was told %d, the row is %d", a.ID, seen.ID)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if live, err := w.SessionLive(ctx, ses.Account.ID, ses.ID); !live || err != nil {
		t.Fatalf("no first session: %v", err)
	}
	stored, err := w.st.AccountByID(ctx, ses.Account.ID)
	if err != nil || fmt.Sprintf("%+v", *stored) != fmt.Sprintf("%+v", *ses.Account) {
		t.Fatalf("returned %+v\nstored   %+v", ses.Account, stored)
	}
	if by, err := w.st.InviteUsedBy(ctx, testDID(1)); err != nil || by.Code != in.InviteCode || len(by.Uses) != 1 {
		t.Fatalf("%+v, %v", by, err)
	}
}

// TestSignUpRace: of many who ask for the same thing at once, one passes Reserve, before anything goes out to the network.
func TestSignUpRace(t *testing.T) {
	ctx := context.Background()
	for name, same := range map[string]func(*NewAccount){
		"handle": func(n *NewAccount) { n.Handle = "wanted.example.com" },
		"email":  func(n *NewAccount) { n.Email = "wanted@mail.example.org" },
		"DID":    func(n *NewAccount) { n.DID = testDID(999) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			held := make([]*Reservation, 8)
			errs := concurrently(len(held), func(i int) (err error) {
				in := w.newAccount(int64(i))
				same(&in)
				held[i], err = w.Reserve(ctx, in)
				return err
			})
			if successes(errs) > 1 {
				t.Fatalf("%d hold the same %s", successes(errs), name)
			}
			for _, r := range held {
				if r != nil {
					r.Release()
					r.Release()
				}
			}
			if len(w.pending.counts) != 0 {
				t.Fatalf("still held: %v", w.pending.counts)
			}
			in := w.newAccount(20)
			same(&in)
			if _, err := w.signUp(in, testDID(999)); err != nil {
				t.Fatalf("after all have let go: %v", err)
			}
		})
	}
}

// TestInviteRace: a code with three uses lets three people in, however many try at once.
func TestInviteRace(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, func(o *Options) { o.InviteRequired = true })
	codes, err := w.CreateInvites(ctx, Admin, []string{Admin}, 1, 3)
	if err != nil {
		t.Fatal(err)
	}
	code := codes[0][0].Code
	errs := concurrently(12, func(i int) error {
		in := w.newAccount(int64(i))
		in.InviteCode = code
		_, err := w.signUp(in, testDID(int64(i)))
		return err
	})
	i, err := w.st.Invite(ctx, code)
	if err != nil || len(i.Uses) != successes(errs) || len(i.Uses) > 3 || successes(errs)+count(errs, ErrInvalidInvite) != 12 {
		t.Fatalf("%d uses, %d sign-ups: %v", len(i.Uses), successes(errs), errs)
	}
	if all, _ := w.st.Accounts(ctx, 0, 100); len(all) != len(i.Uses) {
		t.Fatalf("%d accounts for %d uses", len(all), len(i.Uses))
	}
}

func TestInviteRefused(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, func(o *Options) { o.InviteRequired = true })
	in := w.newAccount(1)
	in.ByOperator = true
	inviter, err := w.signUp(in, testDID(1))
	if err != nil {
		t.Fatal(err)
	}
	codes, err := w.CreateInvites(ctx, Admin, []string{Admin, Admin, string(inviter.Account.DID)}, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	used, disabled, of := codes[0][0].Code, codes[1][0].Code, codes[2][0].Code
	in = w.newAccount(2)
	in.InviteCode = used
	if _, err := w.signUp(in, testDID(2)); err != nil {
		t.Fatal(err)
	}
	if err := w.DisableInvites(ctx, []string{disabled}, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Takedown(ctx, inviter.Account.ID, "x", nil); err != nil {
		t.Fatal(err)
	}
	for name, code := range map[string]string{"none": "", "unknown": "pds-example-com-aaaaa-bbbbb", "used": used, "disabled": disabled, "of a taken-down account": of} {
		t.Run(name, func(t *testing.T) {
			in := w.newAccount(3)
			in.InviteCode = code
			_, err := w.signUp(in, testDID(3))
			want(t, ErrInvalidInvite, err)
		})
	}
}

func TestEarnedInvites(t *testing.T) {
	ctx := context.Background()
	const week = 7 * 24 * time.Hour
	w := newWorld(t, func(o *Options) { o.InviteRequired, o.InviteInterval = true, week })
	in := w.newAccount(1)
	in.ByOperator = true
	ses, err := w.signUp(in, testDID(1))
	if err != nil {
		t.Fatal(err)
	}
	a := ses.Account
	earned := func() []store.Invite {
		t.Helper()
		all, err := w.AccountInvites(ctx, a, true, true)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	if n := len(earned()); n != 0 {
		t.Fatalf("%d codes on the first day", n)
	}
	w.pass(2 * week)
	concurrently(8, func(int) error { _, err := w.AccountInvites(ctx, a, true, true); return err })
	all := earned()
	if len(all) != 2 || !strings.HasPrefix(all[0].Code, "pds-example-com-") || len(all[0].Code) != len("pds-example-com-xxxxx-xxxxx") {
		t.Fatalf("after two weeks: %+v", all)
	}
	w.pass(20 * week)
	if n := len(earned()); n != 5 {
		t.Fatalf("%d open codes, want 5 at most", n)
	}
	in = w.newAccount(2)
	in.InviteCode = all[0].Code
	if _, err := w.signUp(in, testDID(2)); err != nil {
		t.Fatal(err)
	}
	if n := len(earned()); n != 6 {
		t.Fatalf("%d codes after one was used, want 5 open and 1 used", n)
	}
	open, err := w.AccountInvites(ctx, a, false, false)
	if err != nil || len(open) != 5 {
		t.Fatalf("%d, %v", len(open), err)
	}
	if err := w.SetInvitesDisabled(ctx, a, true); err != nil {
		t.Fatal(err)
	}
	if a, err = w.st.AccountByID(ctx, a.ID); err != nil || !a.InvitesDisabled {
		t.Fatal(err)
	}
	w.pass(20 * week)
	if n := len(earned()); n != 0 {
		t.Fatalf("%d codes for an account that may not invite", n)
	}
}

func TestEarnedCount(t *testing.T) {
	day := 24 * time.Hour
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	codes := func(n int, by string, used bool, at time.Time) []store.Invite {
		all := make([]store.Invite, n)
		for i := range all {
			all[i] = store.Invite{AvailableUses: 1, CreatedBy: by, CreatedAt: at}
			if used {
				all[i].Uses = []store.InviteUse{{}}
			}
		}
		return all
	}
	for _, c := range []struct {
		name    string
		age     time.Duration
		epoch   time.Time
		have    []store.Invite
		want    int
		without bool
	}{
		{name: "too young", age: day - 1, want: 0},
		{name: "one day", age: day, want: 1},
		{name: "never more than five", age: 100 * day, want: 5},
		{name: "epoch cuts", age: 100 * day, epoch: now.Add(-2 * day), want: 2},
		{name: "epoch in the future", age: 100 * day, epoch: now.Add(day), want: 0},
		{name: "used ones are spent", age: 3 * day, have: codes(3, "did:x", true, now), want: 0},
		{name: "the admin's do not count", age: 3 * day, have: codes(5, Admin, false, now), want: 3},
		{name: "those before the epoch do not count", age: 10 * day, epoch: now.Add(-2 * day), have: codes(3, "did:x", true, now.Add(-5*day)), want: 2},
		{name: "open ones limit", age: 100 * day, have: codes(4, "did:x", false, now), want: 1},
		{name: "more than allowed", age: 3 * day, have: codes(9, "did:x", false, now), want: 0},
	} {
		s := New(Options{InviteRequired: true, InviteInterval: day, InviteEpoch: c.epoch, Now: func() time.Time { return now }})
		if got := s.earned(&store.Account{CreatedAt: now.Add(-c.age)}, c.have); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	s := New(Options{InviteRequired: false, InviteInterval: day, Now: func() time.Time { return now }})
	if got := s.earned(&store.Account{CreatedAt: now.Add(-100 * day)}, nil); got != 0 {
		t.Errorf("%d codes earned where none are needed", got)
	}
}

func TestCreateInvites(t *testing.T) {
	w := newWorld(t)
	all, err := w.CreateInvites(context.Background(), Admin, []string{Admin, "did:web:a.example.org"}, 3, 2)
	if err != nil || len(all) != 2 || len(all[1]) != 3 || all[1][2].ForAccount != "did:web:a.example.org" {
		t.Fatalf("%+v, %v", all, err)
	}
	stored, err := w.st.InvitesOf(context.Background(), "did:web:a.example.org")
	if err != nil || len(stored) != 3 || stored[0].AvailableUses != 2 || stored[0].CreatedBy != Admin {
		t.Fatalf("%+v, %v", stored, err)
	}
}
