package pds

import (
	"context"
	"errors"
	"testing"
	"time"

	"perch/pds/store"
)

// A request that was let in before the account was deleted changes it no more: its name is free for others, and #account deleted is the last that is told of it.
func TestRequestsThatADeletionOvertakes(t *testing.T) {
	n := startNetwork(t, nil)
	alice, bob := n.signUp(t, "alice"), n.signUp(t, "bob")
	acct, ctx := alice.account(), t.Context()
	n.wantEvents(t, func() { alice.admin("com.atproto.admin.deleteAccount", map[string]any{"did": alice.did}).ok() }, "account deleted")
	for name, late := range map[string]func(context.Context) error{
		"activate": func(ctx context.Context) error { return n.srv.activate(ctx, acct.ID) },
		"deactivate": func(ctx context.Context) error {
			return n.srv.accounts.Deactivate(ctx, acct.ID, time.Time{}, tellStatus(ctx))
		},
		"take down":    func(ctx context.Context) error { return n.srv.accounts.Takedown(ctx, acct.ID, "case", tellStatus(ctx)) },
		"restore":      func(ctx context.Context) error { return n.srv.accounts.Restore(ctx, acct.ID, tellStatus(ctx)) },
		"name":         func(ctx context.Context) error { return n.srv.storeHandle(ctx, acct, "carol.test", "") },
		"address":      func(ctx context.Context) error { return n.srv.accounts.SetEmail(ctx, acct.ID, "carol@example.com") },
		"password":     func(ctx context.Context) error { return n.srv.accounts.SetPassword(ctx, acct.ID, "new-password", true) },
		"invite codes": func(ctx context.Context) error { return n.srv.accounts.SetInvitesDisabled(ctx, acct, true) },
	} {
		n.wantEvents(t, func() {
			if err := late(ctx); !errors.Is(err, store.ErrDeleted) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	n.wantEvents(t, func() {
		if err := n.srv.identityChanged(ctx, acct); err != nil {
			t.Error(err)
		}
	})
	if e := wireError(store.ErrDeleted); e == nil || e.Status != 403 || e.Name != "AccountNotFound" {
		t.Errorf("on the wire: %+v", e)
	}
	bob.post("com.atproto.identity.updateHandle", map[string]any{"handle": "carol.test"}).ok()
	bob.post(updateNSID, map[string]any{"email": "carol@example.com"}).ok()
}
