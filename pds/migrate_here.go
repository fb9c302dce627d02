package pds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/identity"
	"perch/identity/plc"
	"perch/pds/account"
	"perch/pds/auth"
	"perch/pds/blob"
	"perch/pds/migrate"
	"perch/pds/store"
	"perch/repo"
)

// maxRedirects is how many an old host may answer one question with.
const maxRedirects = 5

// migrationHere is this server as package migrate sees it: the same code that clients reach with the standard calls.
type migrationHere struct{ *Server }

func (s *Server) buildMigrations() (err error) {
	s.oauthClient, err = s.newOAuthClient()
	s.migrations = migrate.New(s.migrationOptions())
	return err
}

func (s *Server) migrationOptions() migrate.Options {
	return migrate.Options{
		Store: s.store, Seal: s.box, Here: migrationHere{s}, Logger: s.log,
		Client:  s.hostClient(),
		OAuth:   s.oauthClient,
		Lookup:  s.identity.Lookup,
		Refresh: s.identity.Refresh,
	}
}

// onlyReads keeps passwords and tokens from being posted to wherever a redirect leads.
func onlyReads(req *http.Request, via []*http.Request) error {
	if req.Method != http.MethodGet || via[0].Method != http.MethodGet {
		return http.ErrUseLastResponse
	}
	if len(via) > maxRedirects {
		return errors.New("too many redirects")
	}
	return nil
}

// hostClient fetches repositories and blobs from other servers.
func (s *Server) hostClient() *http.Client {
	return &http.Client{CheckRedirect: onlyReads, Transport: identity.NewTransport(identity.ClientOptions{
		AllowPrivate: s.cfg.AllowPrivate(), AnyPort: true, MaxBody: -1, HTTP2: true,
	})}
}

func (h migrationHere) URL() string            { return h.cfg.PublicURL() }
func (h migrationHere) ServiceDID() syntax.DID { return h.serviceDID }

func (h migrationHere) OwnHandle(handle syntax.Handle) bool {
	return h.accounts.IsServiceHandle(handle)
}

// MayCome asks for a good invite code, where one is needed, of who has no account here.
func (h migrationHere) MayCome(ctx context.Context, did syntax.DID, invite string) error {
	needs, err := h.needsInvite(ctx, did)
	if err != nil || !needs {
		return err
	}
	return h.accounts.CheckInvite(ctx, invite)
}

// needsInvite tells whether an account can come here only with an invite code. One that is here has used one when it was made.
func (s *Server) needsInvite(ctx context.Context, did syntax.DID) (bool, error) {
	if !s.cfg.InviteRequired {
		return false, nil
	}
	acct, err := s.store.AccountByDID(ctx, did)
	if errors.Is(err, store.ErrNotFound) {
		return true, nil
	}
	return err == nil && !acct.DeletedAt.IsZero(), err
}

// Create makes the account as createMovingAccount does. When the operator has begun the move, no invite code is asked for. The account is not given up after
// some days, because the move itself knows when it is.
func (h migrationHere) Create(
	ctx context.Context, in migrate.NewAccount, hook func(tx *store.Tx, acct store.AccountID, existed bool) error,
) error {
	if err := h.checkServiceToken(ctx, in); err != nil {
		return err
	}
	if err := h.checkMovingDID(ctx, in.DID); err != nil {
		return err
	}
	acct, err := h.store.AccountByDID(ctx, in.DID)
	if err == nil && acct.DeletedAt.IsZero() {
		return h.takeUp(ctx, acct, in, hook)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	key, err := h.accounts.ReserveSigningKey(in.DID)
	if err != nil {
		return err
	}
	res, err := h.accounts.Reserve(ctx, account.NewAccount{
		Handle: in.Handle, Email: in.Email, Password: in.Password, DID: in.DID, SigningKey: key, Deactivated: true,
		ByOperator: !in.ByOwner, InviteCode: in.InviteCode,
	})
	if err != nil {
		return err
	}
	defer res.Release()
	_, err = h.storeAccountWith(ctx, res, in.DID, func(tx *store.Tx, id store.AccountID) error { return hook(tx, id, false) })
	return err
}

// checkServiceToken sees that the DID's own key has signed the token.
func (h migrationHere) checkServiceToken(ctx context.Context, in migrate.NewAccount) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "/", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+in.ServiceToken)
	shown, err := h.auth.Service(createAccountNSID, auth.Deactivated)(ctx, r)
	if err != nil {
		return fmt.Errorf("the old host's token for the account: %w", err)
	}
	if p := auth.From(shown); p.Kind != auth.Service || p.DID != in.DID {
		return fmt.Errorf("the old host's token is for %s, not for %s", p.DID, in.DID)
	}
	return nil
}

// takeUp has somebody come back who has left this server, or who began to move here with the standard calls. Handle, address and password become those of the
// move; what is here of the repository is replaced by what comes.
func (h migrationHere) takeUp(
	ctx context.Context, acct *store.Account, in migrate.NewAccount, hook func(tx *store.Tx, acct store.AccountID, existed bool) error,
) error {
	if acct.DeactivatedAt.IsZero() {
		return store.ErrActive
	}
	handle, release, err := h.accounts.HoldHandle(ctx, acct, in.Handle, !in.ByOwner)
	if err != nil {
		return err
	}
	defer release()
	return h.accounts.TakeUp(ctx, acct.ID, handle, in.Email, in.Password, func(tx *store.Tx) error { return hook(tx, acct.ID, true) })
}

func (h migrationHere) Import(ctx context.Context, id store.AccountID, car io.Reader) (migrate.Imported, error) {
	acct, err := h.movable(ctx, id)
	if err != nil {
		return migrate.Imported{}, err
	}
	if acct.Active() {
		return migrate.Imported{}, store.ErrActive
	}
	most := h.cfg.MaxRepoImportSize
	head, err := h.importFrom(ctx, acct, http.MaxBytesReader(nil, io.NopCloser(car), most))
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		err = fmt.Errorf("%w: more than %d bytes (PDS_MAX_REPO_IMPORT_SIZE)", migrate.ErrRepoTooLarge, most)
	}
	return migrate.Imported{Commit: head.CID, Data: head.Commit.Data}, roomError(err)
}

// movable finds an account that is not deleted.
func (h migrationHere) movable(ctx context.Context, id store.AccountID) (*store.Account, error) {
	acct, err := h.store.AccountByID(ctx, id)
	if err == nil && !acct.DeletedAt.IsZero() {
		err = store.ErrNotFound
	}
	return acct, err
}

func (h migrationHere) Facts(ctx context.Context, id store.AccountID) (f migrate.Facts, err error) {
	acct, err := h.movable(ctx, id)
	if err != nil {
		return f, err
	}
	f.SigningKeyDID, f.Down = acct.SigningKeyDID, acct.TakedownRef != "" || !acct.SuspendedAt.IsZero()
	blobs, err := h.store.BlobStats(ctx, id)
	if err != nil {
		return f, err
	}
	f.Blobs, f.BlobsHere, f.BlobBytes = blobs.Expected, blobs.Imported, blobs.Bytes
	head, stats, err := h.store.Head(ctx, id)
	if errors.Is(err, store.ErrReplacing) {
		return f, nil
	}
	f.Commit, f.Data, f.Records = head.CID, head.Commit.Data, stats.Records
	return f, err
}

func (h migrationHere) MissingBlobs(ctx context.Context, id store.AccountID, after cid.Cid, limit int) ([]cid.Cid, error) {
	missing, err := h.store.MissingBlobs(ctx, id, after, limit)
	cids := make([]cid.Cid, len(missing))
	for i, m := range missing {
		cids[i] = m.CID
	}
	return cids, err
}

func (h migrationHere) PutBlob(ctx context.Context, id store.AccountID, want cid.Cid, contentType string, r io.Reader) error {
	return h.putBlob(ctx, id, want, contentType, r, h.cfg.BlobUploadLimit)
}

// putBlob is PutBlob with another limit.
func (h migrationHere) putBlob(ctx context.Context, id store.AccountID, want cid.Cid, contentType string, r io.Reader, limit int64) error {
	acct, err := h.movable(ctx, id)
	if err != nil {
		return err
	}
	up, err := h.blobs.Write(ctx, acct.DID, r, contentType, limit)
	if errors.Is(err, blob.ErrTooLarge) {
		return fmt.Errorf("%w: more than %d bytes (PDS_BLOB_UPLOAD_LIMIT)", migrate.ErrTooLarge, limit)
	}
	if err != nil {
		return roomError(err)
	}
	defer up.Discard()
	if up.CID != want {
		return migrate.ErrOtherBlob
	}
	_, err = h.keepBlob(ctx, acct, up)
	return err
}

// roomError says in the words of the store that the disk is full.
func roomError(err error) error {
	if errors.Is(err, blob.ErrDiskFull) {
		return fmt.Errorf("%w: %w", store.ErrDiskFull, err)
	}
	return err
}

func (h migrationHere) Preferences(ctx context.Context, id store.AccountID) ([]byte, error) {
	prefs, err := h.accounts.Preferences(ctx, id, true)
	if err != nil || prefs == nil {
		return []byte("[]"), err
	}
	return json.Marshal(prefs)
}

func (h migrationHere) PutPreferences(ctx context.Context, id store.AccountID, list []byte) error {
	var prefs []json.RawMessage
	if err := json.Unmarshal(list, &prefs); err != nil {
		return err
	}
	return h.accounts.PutPreferences(ctx, id, prefs, true)
}

func (h migrationHere) Credentials(ctx context.Context, id store.AccountID) (migrate.Recommended, error) {
	acct, err := h.movable(ctx, id)
	if err != nil {
		return migrate.Recommended{}, err
	}
	c, err := h.credentialsOf(ctx, acct)
	if err != nil {
		return migrate.Recommended{}, err
	}
	return migrate.Recommended(*c), nil
}

func (h migrationHere) RotationKeys() ([]string, error) { return h.serverRotationKeys() }

func (h migrationHere) CheckOperation(ctx context.Context, id store.AccountID, op *plc.Operation) error {
	acct, err := h.movable(ctx, id)
	if err != nil {
		return err
	}
	return h.checkOperation(acct, op)
}

func (h migrationHere) LastOperation(ctx context.Context, did syntax.DID) (plc.Operation, error) {
	return h.plc.Last(ctx, did)
}

func (h migrationHere) Submit(ctx context.Context, did syntax.DID, op plc.Operation) error {
	return h.submitPLC(ctx, did, op)
}

func (h migrationHere) Named(ctx context.Context, id store.AccountID) (bool, error) {
	acct, err := h.movable(ctx, id)
	if err != nil {
		return false, err
	}
	doc, err := h.identity.Refresh(ctx, acct.DID)
	if err != nil {
		return false, err
	}
	endpoint, _ := doc.PDSEndpoint()
	key, err := doc.SigningKey()
	return endpoint == h.cfg.PublicURL() && err == nil && key.DIDKey() == acct.SigningKeyDID, nil
}

func (h migrationHere) Activate(ctx context.Context, id store.AccountID) error {
	acct, err := h.movable(ctx, id)
	if err != nil {
		return err
	}
	if acct.Active() {
		return nil // by the step that was cut off
	}
	if err := h.checkDocument(ctx, acct); err != nil {
		return err
	}
	if err := h.activate(ctx, id); err != nil {
		return err
	}
	h.relay.Notify()
	return nil
}

func (h migrationHere) MailReset(ctx context.Context, id store.AccountID) error {
	acct, err := h.movable(ctx, id)
	if err != nil {
		return err
	}
	return h.mailCode(ctx, acct, account.ForResetPassword)
}

func (h migrationHere) Delete(ctx context.Context, id store.AccountID) error {
	acct, err := h.movable(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if acct.Announced() {
		return errors.New("the account has been active here")
	}
	if h.movedHalfway(ctx, acct) {
		return errors.New("the DID of the account may name this server, so it is not deleted")
	}
	if err := h.endAccount(ctx, acct); err != nil {
		return err
	}
	// There is a job that clears up; doing it now as well lets the move begin anew at once.
	return h.clearUp(ctx, id)
}

// storeAccountWith is storeAccount with something else in the same transaction.
func (s *Server) storeAccountWith(
	ctx context.Context, res *account.Reservation, did syntax.DID, hook func(*store.Tx, store.AccountID) error,
) (account.Session, error) {
	first, err := repo.Start(did, repo.NextRev("", time.Now(), s.clockID), res.SigningKey)
	if err != nil {
		return account.Session{}, err
	}
	return res.Commit(ctx, did, func(tx *store.Tx, acct *store.Account) error {
		if err := tx.InsertRepo(ctx, acct, first); err != nil || hook == nil {
			return err
		}
		return hook(tx, acct.ID)
	})
}
