package pds

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/identity/plc"
	"perch/pds/account"
	"perch/pds/auth"
	"perch/pds/blob"
	"perch/pds/migrate"
	"perch/pds/store"
	"perch/repo"
)

func (h migrationHere) Resident(ctx context.Context, did syntax.DID) (migrate.Resident, error) {
	acct, err := h.store.AccountByDID(ctx, did)
	if err == nil && !acct.DeletedAt.IsZero() {
		err = store.ErrNotFound
	}
	if err != nil {
		return migrate.Resident{}, err
	}
	return migrate.Resident{ID: acct.ID, Handle: acct.Handle, Email: acct.Email}, nil
}

func (h migrationHere) ServiceToken(ctx context.Context, id store.AccountID, audience string, method syntax.NSID) (string, error) {
	acct, err := h.movable(ctx, id)
	if err != nil {
		return "", err
	}
	key, err := h.accounts.SigningKey(acct)
	if err != nil {
		return "", err
	}
	return auth.ServiceToken(key, auth.ServiceClaims{Issuer: acct.DID, Audience: audience, Method: method})
}

func (h migrationHere) Export(ctx context.Context, id store.AccountID, w io.Writer) (out migrate.Exported, err error) {
	snap, err := h.store.Snapshot(ctx, id)
	if err != nil {
		return out, err
	}
	defer snap.Close()
	err = snap.Cause(repo.Export(w, snap.Head, snap.Tree, snap, snap.Bodies("").Next))
	return migrate.Exported{Commit: snap.Head.CID, Data: snap.Head.Commit.Data}, err
}

func (h migrationHere) OpenBlob(ctx context.Context, id store.AccountID, c cid.Cid) (out migrate.LeavingBlob, err error) {
	acct, err := h.movable(ctx, id)
	if err != nil {
		return out, err
	}
	meta, err := h.store.Blob(ctx, id, c)
	if err != nil {
		return out, err
	}
	f, err := h.blobs.Open(acct.DID, c)
	if errors.Is(err, blob.ErrNotFound) {
		err = store.ErrNotFound
	}
	if err != nil {
		return out, err
	}
	return migrate.LeavingBlob{ReadCloser: f, Type: meta.MimeType, Size: f.Size}, nil
}

func (h migrationHere) MailCode(ctx context.Context, id store.AccountID) error {
	acct, err := h.movable(ctx, id)
	if err != nil {
		return err
	}
	err = h.mailCode(ctx, acct, account.ForPLCOperation)
	if errors.Is(err, errNoEmail) {
		err = nil
	}
	return err
}

func (h migrationHere) UseCode(ctx context.Context, tx *store.Tx, id store.AccountID, code string) error {
	return h.accounts.UseCode(ctx, tx, id, account.ForPLCOperation, code)
}

// Plan keeps everything in the DID that has nothing to do with the host: the owner's rotation keys, other aliases, services and keys.
func (h migrationHere) Plan(ctx context.Context, did syntax.DID, handle syntax.Handle, to migrate.Recommended) (plc.Operation, bool, error) {
	last, err := h.plc.Last(ctx, did)
	if err != nil {
		return plc.Operation{}, false, err
	}
	own, err := h.serverRotationKeys()
	if err != nil {
		return plc.Operation{}, false, err
	}
	next, err := plc.Update(last, func(op *plc.Operation) {
		op.RotationKeys = ownersFirst(op.RotationKeys, withoutKeys(to.RotationKeys, own), own)
		op.SetHandle(handle)
		op.SetPDS(to.Services[plc.PDSServiceName].Endpoint)
		op.SetSigningKey(to.VerificationMethods[plc.SigningKeyName])
	})
	if err != nil {
		return plc.Operation{}, false, err
	}
	signed, err := plc.Sign(next, h.rotationKey) // by whomever: only what is signed can be checked
	if err == nil {
		err = plc.Check(signed)
	}
	return next, slices.Contains(last.RotationKeys, own[len(own)-1]), err
}

// ownersFirst returns the rotation keys that are the owner's, in the order that they have, and after them what the new host wants: whatever it recommends, it
// does not get above its new account's owner.
func ownersFirst(had, wanted, operators []string) []string {
	owners := slices.DeleteFunc(slices.Clone(had), func(k string) bool { return slices.Contains(operators, k) })
	return append(owners, slices.DeleteFunc(slices.Clone(wanted), func(k string) bool { return slices.Contains(owners, k) })...)
}

// withoutKeys leaves out keys that the new host recommends only because the DID has them, unless it has no others.
func withoutKeys(keys, drop []string) []string {
	left := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return slices.Contains(drop, k) })
	if len(left) == 0 {
		return keys
	}
	return left
}

func (h migrationHere) Sign(op plc.Operation) (plc.Operation, error) {
	return plc.Sign(op, h.rotationKey)
}

func (h migrationHere) Hold(ctx context.Context, id store.AccountID, hook func(tx *store.Tx, wasActive bool) error) error {
	return h.store.Update(ctx, func(tx *store.Tx) error {
		before, err := tx.AccountByID(ctx, id)
		if err != nil {
			return err
		}
		wasActive := before.DeactivatedAt.IsZero()
		if wasActive {
			if err := h.accounts.DeactivateIn(ctx, tx, id, time.Time{}, tellStatus(ctx)); err != nil {
				return err
			}
		}
		return hook(tx, wasActive)
	})
}

func (h migrationHere) Release(ctx context.Context, id store.AccountID) error {
	acct, err := h.movable(ctx, id)
	if err != nil || acct.DeactivatedAt.IsZero() {
		return err
	}
	named, err := h.Named(ctx, id)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil: // then it is as it was before the hold
		h.log.WarnContext(ctx, "look at the DID of an account that stays", "did", acct.DID, "err", err)
	case !named:
		return migrate.ErrChanged
	}
	if err := h.activate(ctx, id); err != nil {
		return err
	}
	h.relay.Notify()
	return nil
}

func (h migrationHere) Names(ctx context.Context, did syntax.DID, endpoint, key string) (bool, error) {
	doc, err := h.identity.Refresh(ctx, did)
	if err != nil {
		return false, err
	}
	named, _ := doc.PDSEndpoint()
	has, err := doc.SigningKey()
	return named == endpoint && err == nil && has.DIDKey() == key, nil
}

func (h migrationHere) DeleteAfter(ctx context.Context, id store.AccountID, days int) error {
	at := time.Now().Add(max(time.Duration(days)*24*time.Hour, minDeleteAfter))
	return h.accounts.Deactivate(ctx, id, at, tellStatus(ctx))
}

func (h migrationHere) Follows(ctx context.Context, id store.AccountID) (int64, error) {
	return h.store.CountRecords(ctx, id, "app.bsky.graph.follow")
}
