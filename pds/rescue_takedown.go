package pds

import (
	"context"
	"errors"
	"time"

	"github.com/ipfs/go-cid"

	"perch/pds/store"
)

// takeDownAgain keeps what moderators have decided where the archive was made: about the account, and about single records and blobs of it.
func takeDownAgain(ctx context.Context, tx *store.Tx, acct store.AccountID, m *ExportManifest) error {
	for path, ref := range m.RecordTakedowns {
		if err := tx.SetRecordTakedown(ctx, acct, path, ref); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	for name, ref := range m.BlobTakedowns {
		c, err := cid.Decode(name)
		if err != nil {
			continue // it can be none of the account's
		}
		if err := tx.SetBlobTakedown(ctx, acct, c, ref); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	switch m.Status {
	case store.StatusTakendown:
		return tx.SetTakedown(ctx, acct, "IMPORTED-"+m.Server)
	case store.StatusSuspended:
		return tx.SetSuspended(ctx, acct, time.Now())
	}
	return nil
}
