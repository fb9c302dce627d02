package account

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/seal"
	"perch/pds/store"
)

// world is a service with a clock that tests move.
type world struct {
	*Service
	t      testing.TB
	st     *store.Store
	clock  atomic.Pointer[time.Time]
	people atomic.Int64
}

func newWorld(t testing.TB, change ...func(*Options)) *world {
	t.Helper()
	w := &world{t: t}
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	w.clock.Store(&start)
	now := func() time.Time { return *w.clock.Load() }
	var err error
	if w.st, err = store.Open(context.Background(), store.Options{Path: filepath.Join(t.TempDir(), "perch.db"), Now: now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.st.Close() })
	box, err := seal.New(make([]byte, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{
		Store: w.st, Seal: box, Hostname: "pds.example.com", ServiceDomains: []string{".example.com", ".deep.example.com"},
		FailureDelay: time.Nanosecond, Now: now,
	}
	for _, c := range change {
		c(&opts)
	}
	w.Service = New(opts)
	return w
}

func (w *world) pass(d time.Duration) {
	t := w.clock.Load().Add(d)
	w.clock.Store(&t)
}

func testDID(n int64) syntax.DID {
	digits := strings.NewReplacer("0", "a", "1", "b", "8", "c", "9", "d").Replace(fmt.Sprintf("%024d", n))
	return syntax.DID("did:plc:" + digits)
}

const testPassword = "a good password"

func (w *world) newAccount(n int64) NewAccount {
	return NewAccount{Handle: fmt.Sprintf("person%d.example.com", n), Email: fmt.Sprintf("p%d@mail.example.org", n), Password: testPassword}
}

func (w *world) person() Session {
	w.t.Helper()
	n := w.people.Add(1)
	ses, err := w.signUp(w.newAccount(n), testDID(n))
	if err != nil {
		w.t.Fatal(err)
	}
	return ses
}

// app makes an app password of the account.
func (w *world) app(a *store.Account, name string, privileged bool) NewAppPassword {
	w.t.Helper()
	app, err := w.CreateAppPassword(context.Background(), a, name, privileged)
	if err != nil {
		w.t.Fatal(err)
	}
	return app
}

func (w *world) signUp(in NewAccount, did syntax.DID) (Session, error) {
	r, err := w.Reserve(context.Background(), in)
	if err != nil {
		return Session{}, err
	}
	defer r.Release()
	return r.Commit(context.Background(), did, nil)
}

func (w *world) setHash(id store.AccountID, hash string) {
	w.t.Helper()
	err := w.st.Update(context.Background(), func(tx *store.Tx) error { return tx.SetPasswordHash(context.Background(), id, hash) })
	if err != nil {
		w.t.Fatal(err)
	}
}

func want(t *testing.T, kind, err error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got %v, want %v", err, kind)
	}
}

// Hashes made with Node's crypto.scrypt and its defaults, as the reference makes them: "salt:key".
const (
	referenceSalt = "5f4dcc3b5aa765d61d8327deb882cf99"
)

func TestHooksShareTheTransaction(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	a := w.person().Account
	boom := errors.New("boom")
	refuseAll := func(*store.Tx, *store.Account) error { return boom }
	for name, change := range map[string]func(Hook) error{
		"deactivate": func(h Hook) error { return w.Deactivate(ctx, a.ID, time.Time{}, h) },
		"takedown":   func(h Hook) error { return w.Takedown(ctx, a.ID, "x", h) },
		"suspend":    func(h Hook) error { return w.Suspend(ctx, a.ID, true, h) },
		"handle":     func(h Hook) error { return w.SetHandle(ctx, a.ID, "other.example.com", h) },
		"delete":     func(h Hook) error { return w.Delete(ctx, a.ID, h) },
	} {
		want(t, boom, change(refuseAll))
		now, err := w.st.AccountByID(ctx, a.ID)
		if err != nil || !now.Active() || now.Handle != a.Handle {
			t.Fatalf("%s left %+v, %v behind", name, now, err)
		}
	}
	err := w.Takedown(ctx, a.ID, "x", func(tx *store.Tx, changed *store.Account) error {
		if changed.Status() != store.StatusTakendown {
			t.Errorf("the hook sees %q", changed.Status())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSessionIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := newSessionID()
		if len(id) != 43 || seen[id] {
			t.Fatal(id)
		}
		seen[id] = true
	}
}

// concurrently runs fn n times at once and returns the errors.
func concurrently(n int, fn func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = fn(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

func count(errs []error, kind error) int {
	n := 0
	for _, err := range errs {
		if errors.Is(err, kind) {
			n++
		}
	}
	return n
}

func successes(errs []error) int {
	return len(slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err != nil }))
}
