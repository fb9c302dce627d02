package pds

import (
	"context"

	"perch/identity/plc"
	"perch/pds/store"
	"perch/pds/web"
)

// HasRotationKeys implements web.KeyHost.
func (h pageHost) HasRotationKeys(acct *store.Account) bool { return isPLC(acct.DID) }

// RotationKeys implements web.KeyHost.
func (h pageHost) RotationKeys(ctx context.Context, acct *store.Account) ([]web.RotationKey, error) {
	keys, err := h.s.rotationKeys(ctx, acct)
	out := make([]web.RotationKey, len(keys))
	for i, k := range keys {
		out[i] = web.RotationKey{Key: k.Key, Holder: k.Holder}
	}
	return out, forPage(err)
}

// CreateRotationKey implements web.KeyHost.
func (h pageHost) CreateRotationKey(ctx context.Context, acct *store.Account, code string) (public, private string, err error) {
	if public, private, err = newRotationKey(); err != nil {
		return "", "", err
	}
	return public, private, h.AddRotationKey(ctx, acct, public, code)
}

// AddRotationKey implements web.KeyHost.
func (h pageHost) AddRotationKey(ctx context.Context, acct *store.Account, key, code string) error {
	_, err := h.s.addRotationKey(ctx, acct, key, confirmation{code: code})
	return forPage(err)
}

// RemoveRotationKey implements web.KeyHost.
func (h pageHost) RemoveRotationKey(ctx context.Context, acct *store.Account, key string, giveUp bool, code string) error {
	_, err := h.s.removeRotationKey(ctx, acct, key, giveUp, confirmation{code: code})
	return forPage(err)
}

// Alerts implements web.KeyHost.
func (h pageHost) Alerts(ctx context.Context, acct *store.Account) ([]web.Alert, error) {
	rows, err := h.s.store.PLCAlerts(ctx, acct.ID, false, maxAlertsListed)
	out := make([]web.Alert, len(rows))
	for i, a := range rows {
		changes, err := changesOf(&a)
		if err != nil {
			return nil, err
		}
		out[i] = web.Alert{
			Operation: a.CID, Holder: a.Holder, Asked: a.Asked, Changes: changes, MadeAt: a.MadeAt, UndoUntil: a.MadeAt.Add(plc.RecoveryWindow),
		}
	}
	return out, err
}

// Undo implements web.KeyHost.
func (h pageHost) Undo(ctx context.Context, acct *store.Account, operation, privateKey, code string) error {
	_, err := h.s.undo(ctx, acct, undoRequest{operation: operation, key: privateKey, by: confirmation{code: code}})
	return forPage(err)
}

// DismissAlerts implements web.KeyHost.
func (h pageHost) DismissAlerts(ctx context.Context, acct *store.Account) error {
	return h.s.dismissAlerts(ctx, acct.ID)
}
