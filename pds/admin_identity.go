package pds

import (
	"context"
	"errors"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity/plc"
	"perch/pds/store"
	"perch/repo"
	"perch/xrpc"
)

type updateAccountHandleInput struct {
	DID    syntax.DID `json:"did"`
	Handle string     `json:"handle"`
}

// updateAccountHandle may give reserved names.
func (s *Server) updateAccountHandle(ctx context.Context, in *updateAccountHandleInput) (*struct{}, error) {
	acct, err := s.administered(ctx, in.DID.AtIdentifier())
	if err != nil {
		return nil, err
	}
	return &struct{}{}, s.changeHandle(ctx, acct, in.Handle, true)
}

type updateAccountSigningKeyInput struct {
	DID        syntax.DID `json:"did"`
	SigningKey string     `json:"signingKey"`
}

// updateAccountSigningKey gives an account a key that this server has reserved for it. The DID document comes first, then the head is signed
// anew; a call that was cut short in between can be repeated.
func (s *Server) updateAccountSigningKey(ctx context.Context, in *updateAccountSigningKeyInput) (*struct{}, error) {
	acct, err := s.administered(ctx, in.DID.AtIdentifier())
	if err != nil {
		return nil, err
	}
	if _, err := atcrypto.ParsePublicDIDKey(in.SigningKey); err != nil {
		return nil, xrpc.InvalidRequest("signingKey is not a did:key of a P-256 or K-256 key")
	}
	key, err := s.accounts.FindKey(ctx, acct, in.SigningKey)
	if err != nil {
		return nil, err
	}
	if err := s.accounts.KeepKey(ctx, acct.DID, key); err != nil {
		return nil, err
	}
	if err := s.putSigningKey(ctx, acct.DID, in.SigningKey); err != nil {
		return nil, err
	}
	return &struct{}{}, s.rekey(ctx, acct, key)
}

// putSigningKey sees to it that the DID document has the key.
func (s *Server) putSigningKey(ctx context.Context, did syntax.DID, public string) error {
	var cause error
	if isPLC(did) {
		if cause = s.updateDID(ctx, did, func(op *plc.Operation) { op.SetSigningKey(public) }); !errors.Is(cause, errNoRotation) {
			return cause
		}
	}
	if kept, err := s.keepsDocument(ctx, did); err != nil || kept { // it says what the database says
		return err
	}
	doc, err := s.identity.Refresh(ctx, did)
	if err != nil {
		return identityError(err, did.AtIdentifier())
	}
	if key, err := doc.SigningKey(); err != nil || key.DIDKey() != public {
		return notOurs(did, "put the key "+public, cause)
	}
	return nil
}

// rekey signs the head with a new key, which is the account's from then on, and tells the network: who it is now, then where its repository stands.
func (s *Server) rekey(ctx context.Context, acct *store.Account, key atcrypto.PrivateKeyExportable) error {
	_, err := s.store.Commit(ctx, store.CommitRequest{
		Account: acct.ID, DID: acct.DID, Key: key, AllowInactive: true, Quiet: true,
		Extra: func(tx *store.Tx, _ *repo.Diff) error {
			if err := s.accounts.SetSigningKey(ctx, tx, acct, key); err != nil {
				return err
			}
			now, err := tx.AccountByID(ctx, acct.ID)
			if err != nil {
				return err
			}
			if err := appendIdentityEvent(tx, now); err != nil || !now.Active() {
				return err
			}
			return appendSyncEvent(ctx, tx, now)
		},
	})
	if err == nil {
		s.relay.Notify()
	}
	return err
}
