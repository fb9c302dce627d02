package account

import (
	"context"
	"errors"
	"testing"
	"time"

	"perch/pds/store"
)

// TestTakeUpIsOne: what cannot be had as a whole leaves password, address and handle as they were.
func TestTakeUpIsOne(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	a, other := w.person().Account, w.person().Account
	want(t, store.ErrActive, w.TakeUp(ctx, a.ID, "back.example.com", "back@example.com", "password of the return", nil))
	if err := w.Deactivate(ctx, a.ID, w.now().Add(time.Hour), nil); err != nil {
		t.Fatal(err)
	}
	failed := errors.New("hook")
	hook := func(err error) func(*store.Tx) error { return func(*store.Tx) error { return err } }
	want(t, store.ErrEmailTaken, w.TakeUp(ctx, a.ID, "back.example.com", other.Email, "password of the return", hook(nil)))
	want(t, store.ErrHandleTaken, w.TakeUp(ctx, a.ID, other.Handle, "back@example.com", "password of the return", hook(nil)))
	want(t, failed, w.TakeUp(ctx, a.ID, "back.example.com", "back@example.com", "password of the return", hook(failed)))
	now, err := w.st.AccountByID(ctx, a.ID)
	if err != nil || now.PasswordHash != a.PasswordHash || now.Email != a.Email || now.Handle != a.Handle || now.DeleteAfter.IsZero() {
		t.Fatalf("a part was done: %+v %v", now, err)
	}
	if err := w.TakeUp(ctx, a.ID, "back.example.com", "back@example.com", "password of the return", hook(nil)); err != nil {
		t.Fatal(err)
	}
	now, err = w.st.AccountByID(ctx, a.ID)
	if err != nil || now.PasswordHash == a.PasswordHash || now.Email != "back@example.com" || now.Handle != "back.example.com" || !now.DeleteAfter.IsZero() {
		t.Errorf("%+v %v", now, err)
	}
}
