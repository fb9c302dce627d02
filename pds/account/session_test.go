package account

import (
	"context"
	"sync"
	"testing"
	"time"

	"perch/pds/store"
)

func TestRefreshRefuses(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	ses, other := w.person(), w.person()
	for name, c := range map[string]struct {
		acct store.AccountID
		id   string
	}{
		"unknown id":        {ses.Account.ID, "unknown"},
		"no id":             {ses.Account.ID, ""},
		"another's session": {other.Account.ID, ses.ID},
		"no account":        {0, ses.ID},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.RefreshSession(ctx, c.acct, c.id)
			want(t, ErrSessionRevoked, err)
		})
	}
	if err := w.Suspend(ctx, other.Account.ID, true, nil); err != nil {
		t.Fatal(err)
	}
	_, err := w.RefreshSession(ctx, other.Account.ID, other.ID)
	want(t, ErrSessionRevoked, err) // suspension ends sessions
	w.pass(RefreshLifetime)
	_, err = w.RefreshSession(ctx, ses.Account.ID, ses.ID)
	want(t, ErrSessionRevoked, err)
}

func TestRefreshRotatesWithGrace(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	ses := w.person()
	id := ses.Account.ID
	w.pass(time.Hour)
	next, err := w.RefreshSession(ctx, id, ses.ID)
	if err != nil || next.ID == ses.ID || !next.ExpiresAt.Equal(w.now().Add(RefreshLifetime)) {
		t.Fatalf("%+v, %v", next, err)
	}
	w.pass(time.Hour)
	again, err := w.RefreshSession(ctx, id, ses.ID)
	if err != nil || again.ID != next.ID || !again.ExpiresAt.Equal(next.ExpiresAt) {
		t.Fatalf("used again within the grace period: %+v, %v; want %s", again, err, next.ID)
	}
	w.pass(time.Hour) // the first refresh counts, not the last
	_, err = w.RefreshSession(ctx, id, ses.ID)
	want(t, ErrSessionRevoked, err)
	if _, err := w.RefreshSession(ctx, id, next.ID); err != nil {
		t.Fatalf("the new one must live on: %v", err)
	}
	if all, _ := w.st.Sessions(ctx, id); len(all) != 2 {
		t.Fatalf("%d sessions are stored; the expired one should be gone", len(all))
	}
}

func TestGraceNeverLengthens(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	ses := w.person()
	w.pass(RefreshLifetime - time.Minute)
	if _, err := w.RefreshSession(ctx, ses.Account.ID, ses.ID); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Minute)
	_, err := w.RefreshSession(ctx, ses.Account.ID, ses.ID)
	want(t, ErrSessionRevoked, err)
}

// TestRotationRace: a client that sends its refresh several times at once gets one successor.
func TestRotationRace(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	ses := w.person()
	var mu sync.Mutex
	ids := map[string]bool{}
	errs := concurrently(16, func(int) error {
		next, err := w.RefreshSession(ctx, ses.Account.ID, ses.ID)
		mu.Lock()
		defer mu.Unlock()
		ids[next.ID] = true
		return err
	})
	if successes(errs) != 16 || len(ids) != 1 {
		t.Fatalf("%d ids, errors %v", len(ids), errs)
	}
	if all, _ := w.st.Sessions(ctx, ses.Account.ID); len(all) != 2 {
		t.Fatalf("%d sessions, want the old and the new", len(all))
	}
}

// TestSignOutEndsTheChain: after signing out, no token of that sign-in yields another, not even one in its grace period.
func TestSignOutEndsTheChain(t *testing.T) {
	ctx := context.Background()
	for _, end := range []int{0, 1, 2} {
		w := newWorld(t)
		ses, id := w.person(), store.AccountID(1)
		login, err := w.Authenticate(ctx, ses.Account.Email, testPassword)
		if err != nil {
			t.Fatal(err)
		}
		elsewhere, err := w.StartSession(ctx, login, false)
		if err != nil {
			t.Fatal(err)
		}
		chain := []string{ses.ID}
		for range 2 {
			next, err := w.RefreshSession(ctx, id, chain[len(chain)-1])
			if err != nil {
				t.Fatal(err)
			}
			chain = append(chain, next.ID)
		}
		if err := w.EndSession(ctx, id, chain[end]); err != nil {
			t.Fatal(err)
		}
		for _, c := range chain {
			_, err := w.RefreshSession(ctx, id, c)
			want(t, ErrSessionRevoked, err)
			if live, err := w.SessionLive(ctx, id, c); live || err != nil {
				t.Fatalf("live %v, %v", live, err)
			}
		}
		if _, err := w.RefreshSession(ctx, id, elsewhere.ID); err != nil {
			t.Fatalf("another sign-in ended too: %v", err)
		}
		if err := w.EndSession(ctx, id, "unknown"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSignOutRacesRefresh: whichever comes first, nothing is left that works.
func TestSignOutRacesRefresh(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	login := Login{Account: w.person().Account}
	for range 20 {
		ses, err := w.StartSession(ctx, login, false)
		if err != nil {
			t.Fatal(err)
		}
		var next Session
		concurrently(2, func(i int) (err error) {
			if i == 0 {
				return w.EndSession(ctx, ses.Account.ID, ses.ID)
			}
			next, err = w.RefreshSession(ctx, ses.Account.ID, ses.ID)
			return err
		})
		for _, id := range []string{ses.ID, next.ID} {
			if live, _ := w.SessionLive(ctx, ses.Account.ID, id); live {
				t.Fatal("signed out, and yet a session lives")
			}
		}
	}
}

func TestEndSessionOfAnother(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	ses, other := w.person(), w.person()
	if err := w.EndSession(ctx, other.Account.ID, ses.ID); err != nil {
		t.Fatal(err)
	}
	if live, _ := w.SessionLive(ctx, ses.Account.ID, ses.ID); !live {
		t.Fatal("somebody ended another's session")
	}
}

func TestSweepSessions(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	old := w.person()
	w.pass(RefreshLifetime - time.Hour)
	young := w.person()
	w.pass(2 * time.Hour)
	if err := w.SweepSessions(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := w.st.Session(ctx, old.ID); err == nil {
		t.Fatal("the expired session is still there")
	}
	if _, err := w.st.Session(ctx, young.ID); err != nil {
		t.Fatal(err)
	}
}

// TestSessionsAreBounded: who signs in without end loses the sign-in that would end first, and no other account does.
func TestSessionsAreBounded(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	first, other := w.person(), w.person()
	login := Login{Account: first.Account}
	if live, err := w.SessionLive(ctx, first.Account.ID, first.ID); !live || err != nil { // so that it is remembered
		t.Fatal(live, err)
	}
	var second, last Session
	for i := range store.MaxSessions {
		w.pass(time.Second)
		ses, err := w.StartSession(ctx, login, false)
		if err != nil {
			t.Fatal(err)
		}
		if last = ses; i == 0 {
			second = ses
		}
	}
	all, err := w.st.Sessions(ctx, first.Account.ID)
	if err != nil || len(all) != store.MaxSessions {
		t.Fatalf("%d sessions, %v", len(all), err)
	}
	for _, c := range []struct {
		ses  Session
		live bool
	}{{first, false}, {second, true}, {last, true}, {other, true}} {
		if live, err := w.SessionLive(ctx, c.ses.Account.ID, c.ses.ID); live != c.live || err != nil {
			t.Errorf("live %v, want %v: %v", live, c.live, err)
		}
	}
	next, err := w.RefreshSession(ctx, last.Account.ID, last.ID)
	if err != nil {
		t.Fatal(err)
	}
	if live, _ := w.SessionLive(ctx, next.Account.ID, next.ID); !live {
		t.Error("what came of a refresh was the one to go")
	}
}
