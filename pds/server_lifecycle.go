package pds

import (
	"context"
	"errors"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/identity"
	"perch/pds/account"
	"perch/pds/auth"
	"perch/pds/store"
	"perch/repo"
	"perch/xrpc"
)

const (
	// minDeleteAfter is how long a deactivated account is kept at least. deactivateAccount asks for no password, so a stolen session must not be
	// enough to destroy an account before its owner notices.
	minDeleteAfter = 3 * 24 * time.Hour
)

type reserveSigningKeyInput struct {
	DID syntax.DID `json:"did"`
}

type reserveSigningKeyOutput struct {
	SigningKey string `json:"signingKey"`
}

func (s *Server) reserveSigningKey(_ context.Context, in *reserveSigningKeyInput) (*reserveSigningKeyOutput, error) {
	key, err := s.accounts.ReserveSigningKey(in.DID)
	if err != nil {
		return nil, err
	}
	return &reserveSigningKeyOutput{SigningKey: key}, nil
}

type deactivateAccountInput struct {
	DeleteAfter *syntax.Datetime `json:"deleteAfter"`
}

func (s *Server) deactivateAccount(ctx context.Context, in *deactivateAccountInput) (*struct{}, error) {
	acct := auth.From(ctx).Account
	if in.DeleteAfter == nil {
		return &struct{}{}, s.deactivate(ctx, acct, time.Time{})
	}
	deleteAfter := in.DeleteAfter.Time()
	if !deleteAfter.After(time.Now()) && !acct.Announced() && !s.movedHalfway(ctx, acct) {
		return &struct{}{}, s.endAccount(ctx, acct) // a move that was given up: the account lives elsewhere
	}
	return &struct{}{}, s.deactivate(ctx, acct, deleteAfter)
}

// deactivate hides an account, to be deleted after the time given unless that is zero.
func (s *Server) deactivate(ctx context.Context, acct *store.Account, deleteAfter time.Time) error {
	if !deleteAfter.IsZero() {
		if earliest := time.Now().Add(minDeleteAfter); deleteAfter.Before(earliest) {
			deleteAfter = earliest
		}
	}
	return s.accounts.Deactivate(ctx, acct.ID, deleteAfter, tellStatus(ctx))
}

// activateAccount opens the account once its DID document names this server and the account's key. The network is told in one transaction:
// #account, #identity, #sync, which is the order that relays want.
func (s *Server) activateAccount(ctx context.Context, _ *struct{}) (*struct{}, error) {
	return &struct{}{}, s.activateChecked(ctx, auth.From(ctx).Account)
}

func (s *Server) activateChecked(ctx context.Context, acct *store.Account) error {
	if err := s.checkDocument(ctx, acct); err != nil {
		return err
	}
	if err := s.activate(ctx, acct.ID); err != nil {
		return err
	}
	s.relay.Notify()
	return nil
}

// checkDocument tells whether the account's DID document, as it is just now, names this server and the key that the account signs with here.
func (s *Server) checkDocument(ctx context.Context, acct *store.Account) error {
	doc, err := s.identity.Refresh(ctx, acct.DID)
	if err != nil {
		return identityError(err, acct.DID.AtIdentifier())
	}
	if endpoint, ok := doc.PDSEndpoint(); !ok || endpoint != s.cfg.PublicURL() {
		return xrpc.InvalidRequest("DID document atproto_pds service endpoint does not match PDS public url")
	}
	if key, err := doc.SigningKey(); err != nil || key.DIDKey() != acct.SigningKeyDID {
		return xrpc.InvalidRequest("DID document verification method does not match expected signing key")
	}
	return nil
}

// errOldSignature says that the head of a repository is not signed by the account's key.
var errOldSignature = errors.New("head is signed by another key")

// activate ends the deactivation. A head that another key has signed, as after a move, is signed anew first, in the same transaction: relays refuse
// a #sync that does not fit the DID document.
func (s *Server) activate(ctx context.Context, id store.AccountID) error {
	err := s.accounts.Activate(ctx, id, tellSigned(ctx))
	if !errors.Is(err, errOldSignature) {
		return repoMissing(err)
	}
	acct, err := s.store.AccountByID(ctx, id)
	if err != nil {
		return err
	}
	key, err := s.accounts.SigningKey(acct)
	if err != nil {
		return err
	}
	_, err = s.store.Commit(ctx, store.CommitRequest{
		Account: id, DID: acct.DID, Key: key, KeyDID: acct.SigningKeyDID, AllowInactive: true, Quiet: true,
		Extra: func(tx *store.Tx, _ *repo.Diff) error { return s.accounts.ActivateIn(ctx, tx, id, tellSigned(ctx)) },
	})
	return repoMissing(err)
}

func repoMissing(err error) error {
	if errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrDeleted) {
		return &xrpc.Error{Status: 400, Name: "RepoNotFound", Message: "The account has no repository here yet", Err: err}
	}
	return err
}

// tellSigned is tellActivation for a head that the account's key has signed.
func tellSigned(ctx context.Context) account.Hook {
	return func(tx *store.Tx, acct *store.Account) error {
		head, _, err := tx.Head(ctx, acct.ID)
		if err != nil {
			return err
		}
		if err := checkSignature(head, acct); err != nil {
			return err
		}
		return tellActivation(ctx)(tx, acct)
	}
}

func checkSignature(head repo.Head, acct *store.Account) error {
	key, err := atcrypto.ParsePublicDIDKey(acct.SigningKeyDID)
	if err != nil {
		return err
	}
	if head.Commit.Verify(key) != nil {
		return errOldSignature
	}
	return nil
}

type deleteAccountInput struct {
	DID      syntax.DID `json:"did"`
	Password string     `json:"password"`
	Token    string     `json:"token"`
}

// deleteAccount needs no session, but the main password and the code from the mail. Handle and e-mail address are free when it answers; the rest is
// deleted by a job.
func (s *Server) deleteAccount(ctx context.Context, in *deleteAccountInput) (*struct{}, error) {
	return &struct{}{}, s.deleteByOwner(ctx, in.DID, in.Password, in.Token)
}

func (s *Server) deleteByOwner(ctx context.Context, did syntax.DID, password, code string) error {
	acct, err := s.accounts.CheckPassword(ctx, did, password)
	if err != nil {
		return err
	}
	if err := s.accounts.DeleteWithCode(ctx, acct.ID, code, bury(ctx)); err != nil {
		return err
	}
	s.wake(jobDeleteAccount)
	s.relay.Notify()
	s.log.InfoContext(ctx, "account deleted by its owner", "did", acct.DID)
	return nil
}

// movedHalfway tells whether an account that was never active here may be one whose DID names this server already: somebody has moved and not come
// as far as activateAccount. Its repository may be nowhere else any more, so it is kept as long as that is so, or cannot be found out.
func (s *Server) movedHalfway(ctx context.Context, acct *store.Account) bool {
	if acct.Announced() {
		return false
	}
	doc, err := s.identity.Refresh(ctx, acct.DID)
	if errors.Is(err, identity.ErrNotFound) || errors.Is(err, identity.ErrTombstoned) {
		return false
	}
	if err == nil {
		if endpoint, ok := doc.PDSEndpoint(); !ok || endpoint != s.cfg.PublicURL() {
			return false
		}
	}
	s.log.WarnContext(ctx, "an account that moved here was never activated; it is kept, because its DID may name this server already", "did", acct.DID, "err", err)
	return true
}

// deleteExpired deletes the accounts whose owners have asked for that when they deactivated them, and those that nobody has finished moving here.
func (s *Server) deleteExpired(ctx context.Context) error {
	n, err := s.accounts.DeleteExpired(ctx, func(a *store.Account) bool { return s.movedHalfway(ctx, a) }, bury(ctx))
	if n > 0 {
		s.log.InfoContext(ctx, "deactivated accounts deleted because their time was over", "count", n)
		s.wake(jobDeleteAccount)
		s.relay.Notify()
	}
	return err
}
