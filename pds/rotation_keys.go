package pds

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"

	"perch/identity/plc"
	"perch/pds/account"
	"perch/pds/mail"
	"perch/pds/store"
	"perch/xrpc"
)

// Who holds a rotation key.
const (
	HolderOwner    = "owner"    // whoever put it there: the account's owner, or a host before this one
	HolderOperator = "operator" // PDS_RECOVERY_DID_KEY
	HolderServer   = "server"
)

// RotationKey is a key that may change an account's DID. They stand in the order of their authority: within 72 hours a key undoes what one after it did.
type RotationKey struct {
	Key    string `json:"key"` // did:key
	Holder string `json:"holder"`
	Type   string `json:"type"` // p256 or k256
}

// confirmation is how the change of an account's rotation keys is allowed: by a code from a mail, or by the operator.
type confirmation struct {
	code       string
	byOperator bool
}

// use takes the code, as part of the transaction that notes what it is good for.
func (c confirmation) use(ctx context.Context, s *Server, id store.AccountID) func(*store.Tx) error {
	return func(tx *store.Tx) error {
		if c.byOperator {
			return nil
		}
		return s.accounts.UseCode(ctx, tx, id, account.ForPLCOperation, c.code)
	}
}

// errNoPLC refuses for DIDs that have no operations.
func errNoPLC(acct *store.Account) error {
	return xrpc.InvalidRequest("%s has no rotation keys: only a did:plc does", acct.DID)
}

// rotationKeys lists the keys that may change the account's DID, highest authority first.
func (s *Server) rotationKeys(ctx context.Context, acct *store.Account) ([]RotationKey, error) {
	if !isPLC(acct.DID) {
		return nil, errNoPLC(acct)
	}
	last, err := s.plc.Last(ctx, acct.DID)
	if err != nil {
		return nil, err
	}
	if last.Type == plc.TypeTombstone {
		return nil, plc.ErrTombstoned
	}
	return s.describeKeys(last.RotationKeys)
}

func (s *Server) describeKeys(keys []string) ([]RotationKey, error) {
	out := make([]RotationKey, len(keys))
	for i, k := range keys {
		holder, err := s.holderOf(k)
		if err != nil {
			return nil, err
		}
		out[i] = RotationKey{Key: k, Holder: holder, Type: keyType(k)}
	}
	return out, nil
}

func keyType(didKey string) string {
	key, err := atcrypto.ParsePublicDIDKey(didKey)
	if err != nil {
		return "unknown"
	}
	if _, ok := key.(*atcrypto.PublicKeyP256); ok {
		return "p256"
	}
	return "k256"
}

// holderOf tells who holds a rotation key, as far as this server can know.
func (s *Server) holderOf(key string) (string, error) {
	own, err := s.rotationKeyDID()
	switch {
	case err != nil:
		return "", err
	case key == own:
		return HolderServer, nil
	case key == s.cfg.RecoveryDIDKey:
		return HolderOperator, nil
	}
	return HolderOwner, nil
}

// newRotationKey makes a key for an owner. The private half is for them alone: it is not kept.
func newRotationKey() (public, private string, err error) {
	key, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		return "", "", err
	}
	pub, err := key.PublicKey()
	if err != nil {
		return "", "", err
	}
	return pub.DIDKey(), key.Multibase(), nil
}

// addRotationKey gives the account a rotation key of the owner's. It stands after those that the owner has already, so that a thief with a session and a
// mailbox cannot get above them, and before those of server and operator.
func (s *Server) addRotationKey(ctx context.Context, acct *store.Account, key string, by confirmation) ([]RotationKey, error) {
	if _, err := atcrypto.ParsePublicDIDKey(key); err != nil {
		return nil, xrpc.InvalidRequest("%.100q is not a did:key of a P-256 or K-256 key", key)
	}
	if key == acct.SigningKeyDID {
		return nil, xrpc.InvalidRequest("This is the key that signs the account's repository. A rotation key must be another one, which the server does not hold")
	}
	if holder, err := s.holderOf(key); err != nil {
		return nil, err
	} else if holder != HolderOwner {
		return nil, xrpc.InvalidRequest("This key is the %s's, not the owner's", holder)
	}
	keys, err := s.changeRotationKeys(ctx, acct, by, func(had []string) ([]string, error) {
		if slices.Contains(had, key) {
			return nil, xrpc.InvalidRequest("The account has this rotation key already")
		}
		if len(had) >= plc.MaxRotationKeys {
			return nil, xrpc.InvalidRequest("The account has %d rotation keys, and %d is the most: remove one first", len(had), plc.MaxRotationKeys)
		}
		at := slices.IndexFunc(had, func(k string) bool { holder, err := s.holderOf(k); return err == nil && holder != HolderOwner })
		return slices.Insert(slices.Clone(had), max(at, 0), key), nil
	})
	if err == nil {
		s.noticeKeys(ctx, acct, "A recovery key was added to your account", "rotation key added: "+key)
	}
	return keys, err
}

// removeRotationKey takes a rotation key away. The server's goes only if the owner is to have the DID alone (giveUp): this server could not change handle or
// signing key any more.
func (s *Server) removeRotationKey(ctx context.Context, acct *store.Account, key string, giveUp bool, by confirmation) ([]RotationKey, error) {
	holder, err := s.holderOf(key)
	if err != nil {
		return nil, err
	}
	if holder == HolderOperator && !by.byOperator {
		return nil, xrpc.InvalidRequest("This key is the operator's; only the operator can remove it")
	}
	if holder == HolderServer && !giveUp {
		return nil, xrpc.NewError(400, "ServerKey", "This is the server's key. Without it this server cannot change handle, signing key or rotation keys "+
			"any more, and cannot help to get the account back. Say expressly that this is wanted")
	}
	keys, err := s.changeRotationKeys(ctx, acct, by, func(had []string) ([]string, error) {
		at := slices.Index(had, key)
		if at < 0 {
			return nil, xrpc.InvalidRequest("The account has no rotation key %.100s", key)
		}
		left := slices.Delete(slices.Clone(had), at, at+1)
		if !slices.ContainsFunc(left, func(k string) bool { holder, err := s.holderOf(k); return err == nil && holder != HolderOperator }) {
			return nil, xrpc.InvalidRequest("Nobody but the operator could change the DID without this key: add a key of the owner's first")
		}
		return left, nil
	})
	if err == nil {
		s.noticeKeys(ctx, acct, "A recovery key of your account was removed", "rotation key removed: "+key)
	}
	return keys, err
}

// changeRotationKeys makes and sends the operation that gives the DID other rotation keys.
func (s *Server) changeRotationKeys(ctx context.Context, acct *store.Account, by confirmation, change func([]string) ([]string, error)) ([]RotationKey, error) {
	if !isPLC(acct.DID) {
		return nil, errNoPLC(acct)
	}
	last, _, err := s.lastOperation(ctx, acct.DID)
	if err != nil {
		return nil, err
	}
	keys, err := change(last.RotationKeys)
	if err != nil {
		return nil, err
	}
	op, err := s.signUpdate(last, func(op *plc.Operation) { op.RotationKeys = keys })
	if err == nil {
		err = plc.Check(op)
	}
	if err != nil {
		return nil, invalidPLC(err)
	}
	// A client that goes now must not leave open what has become of the operation.
	ctx = context.WithoutCancel(ctx)
	if err := s.submitPLC(ctx, acct.DID, op, by.use(ctx, s, acct.ID)); err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "rotation keys changed", "did", acct.DID, "rotationKeys", keys, "byOperator", by.byOperator)
	return s.describeKeys(keys)
}

// noticeKeys tells the owner that the keys have changed. A thief may have got at the code.
func (s *Server) noticeKeys(ctx context.Context, acct *store.Account, subject, line string) {
	s.notice(ctx, acct, mail.Notice{
		Subject: subject,
		Lead:    fmt.Sprintf("on %s this server changed the recovery keys of your account, after a code from your mail or at the request of the operator.", showTime(time.Now())),
		Lines:   []string{line},
		Advice: []string{
			"Whoever holds a recovery key can move your account or take it back, without this server.",
			"If that was you, there is nothing to do. If not, change your password and write to the operator at once: a recovery key that stood above can undo it for 72 hours.",
		},
	})
}

// notice sends the owner a mail about something that is done already.
func (s *Server) notice(ctx context.Context, acct *store.Account, n mail.Notice) {
	err := s.store.Update(ctx, func(tx *store.Tx) error { return s.postNotice(ctx, tx, acct, n) })
	s.wake(store.JobMail)
	if err != nil {
		s.log.ErrorContext(ctx, "tell an account's owner of a change", "did", acct.DID, "subject", n.Subject, "err", err)
	}
}

// postNotice stores a mail that tells an account's owner of something, as part of the transaction. Accounts without an address get none.
func (s *Server) postNotice(ctx context.Context, tx *store.Tx, acct *store.Account, n mail.Notice) error {
	if acct.Email == "" {
		return nil
	}
	return s.postMail(ctx, tx, acct, fromServer, s.letters.Notice(acct.Email, addressee(acct), n), tx.Now().Add(plainMailLifetime))
}

func showTime(t time.Time) string { return t.UTC().Format("2 January 2006 at 15:04 UTC") }
