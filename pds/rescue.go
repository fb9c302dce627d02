package pds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/pds/account"
	"perch/pds/store"
	"perch/xrpc"
)

// RescueRequest asks for an account to be made of an archive that was uploaded.
type RescueRequest struct {
	File      string     `json:"file"` // the name that the upload was given
	Bare      bool       `json:"bare"` // the archive is a repository and maybe blobs, without a manifest
	DID       syntax.DID `json:"did,omitempty"`
	Handle    string     `json:"handle,omitempty"` // "" is the one of the manifest
	Email     string     `json:"email,omitempty"`  // the same
	Password  string     `json:"password"`
	BlobsFrom string     `json:"blobsFrom,omitempty"` // origin of a server that may have blobs which the archive has not
	Signers   []string   `json:"signers,omitempty"`   // did:keys; one of them must be a rotation key of the DID
}

// Rescued is an account that was made of an archive.
type Rescued struct {
	DID          syntax.DID    `json:"did"`
	Handle       syntax.Handle `json:"handle"`
	Email        string        `json:"email"`
	Records      int64         `json:"records"`
	Blobs        int64         `json:"blobs"` // here
	BlobBytes    int64         `json:"blobBytes"`
	Missing      []string      `json:"missing,omitempty"` // blobs, the first maxMissingShown
	MissingCount int64         `json:"missingCount"`
	PasswordKept bool          `json:"passwordKept,omitempty"` // it was all here before, so the password is the one it had
	Before       string        `json:"before,omitempty"`       // why the account was not active when the archive was made
	RescuedDID
}

const (
	maxMissingShown = 1000
	rescuePage      = 500
)

// rescueRun is one run of making an account of an archive. The archive is verified as a whole, then the account is made, deactivated, and given the repository,
// the blobs and the preferences, each by the path that all others take; and only when all is stored the DID is looked at. A run that was cut off is made again
// from its beginning, finds what it has made by its row in account_import, and comes to the same end.
type rescueRun struct {
	s    *Server
	in   *RescueRequest
	tell func(done, total int, what string)

	x    *exportArchive
	m    *ExportManifest
	from *blobSource // nil: none
	here migrationHere
}

// rescue is only for the operator: nobody else may bring a DID without the consent of its key.
func (s *Server) rescue(ctx context.Context, in *RescueRequest, tell func(done, total int, what string)) (*Rescued, error) {
	if !s.rescuing.CompareAndSwap(false, true) {
		return nil, xrpc.NewError(400, "ImportInProgress", "Another archive is being imported")
	}
	defer s.rescuing.Store(false)
	r := &rescueRun{s: s, in: in, tell: tell, here: migrationHere{s}}
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	defer r.x.Close()
	acct, row, err := r.account(ctx)
	if err != nil {
		return nil, err
	}
	kept := row.Stored
	if !acct.Announced() {
		if err := r.store(ctx, acct, row); err != nil {
			return nil, err
		}
	}
	out, err := s.rescuedHere(ctx, acct.ID)
	if out != nil {
		out.PasswordKept = kept
	}
	return out, err
}

// open verifies the archive. Nothing has been made yet.
func (r *rescueRun) open(ctx context.Context) (err error) {
	if r.x, err = openExport(r.s.imports.path(r.in.File), r.in.Bare); err != nil {
		return fmt.Errorf("%w: %w", ErrExport, err)
	}
	v := exportVerifier{x: r.x, bare: r.in.Bare, spools: r.s.imports.dir, progress: r.tell, keys: r.keys}
	if r.m, err = v.verify(ctx); err == nil {
		err = r.acceptable(ctx)
	}
	if err != nil {
		r.x.Close()
		if named := new(xrpc.Error); wireError(err) == nil && !errors.As(err, &named) {
			err = fmt.Errorf("%w: %w", ErrExport, err)
		}
	}
	return err
}

// keys are asked for before anything else of the repository is looked at.
func (r *rescueRun) keys(ctx context.Context, did syntax.DID) ([]string, error) {
	if err := auditSubject(ctx, did); err != nil {
		return nil, err
	}
	if r.in.DID != "" && r.in.DID != did {
		return nil, xrpc.NewError(400, "OtherDID", "The archive is that of %s", did)
	}
	if err := r.s.checkMovingDID(ctx, did); err != nil {
		return nil, err
	}
	return r.s.keysOfDID(ctx, did)
}

// acceptable fills in what the request leaves to the manifest, and sees that a rotation key which was announced is one.
func (r *rescueRun) acceptable(ctx context.Context) (err error) {
	if r.in.BlobsFrom != "" {
		if r.from, err = r.s.blobsFrom(r.in.BlobsFrom); err != nil {
			return err
		}
	}
	if r.in.Handle == "" {
		r.in.Handle = r.m.Handle.String()
	}
	if r.in.Email == "" {
		r.in.Email = r.m.Email
	}
	switch {
	case r.in.Handle == "":
		return xrpc.NewError(400, "HandleNeeded", "The archive names no handle: say which one the account shall have")
	case r.in.Email == "":
		return xrpc.NewError(400, "EmailNeeded", "The archive names no e-mail address: say which one the account shall have")
	case len(r.in.Signers) == 0:
		return nil
	}
	_, _, err = r.s.rescueSigner(ctx, r.m.DID, r.in.Signers)
	return err
}

// account finds the account that an earlier run has made, or makes it.
func (r *rescueRun) account(ctx context.Context) (*store.Account, store.AccountImport, error) {
	none := store.AccountImport{}
	acct, err := r.s.store.AccountByDID(ctx, r.m.DID)
	if err == nil && !acct.DeletedAt.IsZero() {
		if err := r.s.clearUp(ctx, acct.ID); err != nil {
			return nil, none, err
		}
		acct, err = r.s.store.AccountByDID(ctx, r.m.DID)
	}
	if errors.Is(err, store.ErrNotFound) {
		return r.create(ctx)
	}
	if err != nil {
		return nil, none, err
	}
	row, err := r.s.store.AccountImport(ctx, acct.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, none, xrpc.NewError(400, "LivesHere", "There is an account of %s here that was not made of an archive", acct.DID)
	case err != nil:
		return nil, none, err
	case r.in.Handle != "" && r.in.Handle != acct.Handle.String() && r.in.Handle != r.m.Handle.String():
		return nil, none, xrpc.NewError(400, "LivesHere", "The account was made as %s; change its handle when it is all here", acct.Handle)
	case row.Stored:
		return acct, row, nil
	}
	return acct, row, r.s.accounts.SetPassword(ctx, acct.ID, r.in.Password, true)
}

// create makes the account without anything in it. It is deleted after some weeks unless a run comes to its end.
func (r *rescueRun) create(ctx context.Context) (*store.Account, store.AccountImport, error) {
	row := store.AccountImport{Status: r.m.Status}
	key, err := r.s.accounts.ReserveSigningKey(r.m.DID)
	if err != nil {
		return nil, row, err
	}
	res, err := r.s.accounts.Reserve(ctx, account.NewAccount{
		Handle: r.in.Handle, Email: r.in.Email, Password: r.in.Password, DID: r.m.DID, SigningKey: key, Deactivated: true,
		DeleteAfter: time.Now().Add(movingTime), ByOperator: true,
	})
	if err != nil {
		return nil, row, err
	}
	defer res.Release()
	session, err := r.s.storeAccountWith(ctx, res, r.m.DID, func(tx *store.Tx, id store.AccountID) error {
		row.Account = id
		return tx.PutAccountImport(ctx, row)
	})
	if err != nil {
		return nil, row, err
	}
	r.s.log.InfoContext(ctx, "account made of an archive", "did", r.m.DID, "handle", session.Account.Handle)
	return session.Account, row, nil
}

// store brings what is in the archive. What is here already is passed over.
func (r *rescueRun) store(ctx context.Context, acct *store.Account, row store.AccountImport) error {
	r.tell(0, 1, "storing the repository")
	car, err := r.x.car()
	if err != nil {
		return err
	}
	if _, err := r.s.importFrom(ctx, acct, car); err != nil {
		return err
	}
	if err := r.blobs(ctx, acct); err != nil {
		return err
	}
	if err := r.preferences(ctx, acct); err != nil {
		return err
	}
	return r.s.store.Update(ctx, func(tx *store.Tx) error {
		now, err := tx.AccountByID(ctx, acct.ID)
		if err == nil {
			err = tx.SetDeactivated(ctx, acct.ID, now.DeactivatedAt, time.Time{}) // it need not end any more
		}
		if err == nil {
			err = takeDownAgain(ctx, tx, acct.ID, r.m)
		}
		if err != nil {
			return err
		}
		row.Stored = true
		return tx.PutAccountImport(ctx, row)
	})
}

func (r *rescueRun) preferences(ctx context.Context, acct *store.Account) error {
	if r.in.Bare {
		return nil
	}
	var prefs preferencesJSON
	if err := r.x.json(exportPreferences, &prefs); err != nil {
		return err
	}
	return r.s.accounts.PutPreferences(ctx, acct.ID, prefs.Preferences, true)
}

// blobs brings those that records refer to and that are not here: out of the archive, and then from elsewhere, if there is an elsewhere.
func (r *rescueRun) blobs(ctx context.Context, acct *store.Account) error {
	stats, err := r.s.store.BlobStats(ctx, acct.ID)
	if err != nil {
		return err
	}
	done, todo := 0, int(stats.Expected-stats.Imported)
	return r.s.eachMissing(ctx, acct.ID, func(c cid.Cid) error {
		done++
		r.tell(done, todo, "storing blobs")
		if f := r.x.blob(c.String()); f != nil {
			in, err := f.Open()
			if err != nil {
				return err
			}
			defer in.Close()
			return r.here.putBlob(ctx, acct.ID, c, f.Comment, in, int64(f.UncompressedSize64))
		}
		if r.from == nil {
			return nil
		}
		return r.from.fetch(ctx, acct, c)
	})
}

// eachMissing gives the blobs that records refer to and that are not here to fn.
func (s *Server) eachMissing(ctx context.Context, acct store.AccountID, fn func(cid.Cid) error) error {
	for after := cid.Undef; ; {
		page, err := s.store.MissingBlobs(ctx, acct, after, rescuePage)
		if err != nil {
			return err
		}
		for _, b := range page {
			if err := fn(b.CID); err != nil {
				return fmt.Errorf("blob %s: %w", b.CID, err)
			}
			after = b.CID
		}
		if len(page) < rescuePage {
			return nil
		}
	}
}

// clearUp does now what the job after a deletion would do some time.
func (s *Server) clearUp(ctx context.Context, id store.AccountID) error {
	payload, err := json.Marshal(deleteAccountJob{Account: id})
	if err != nil {
		return err
	}
	return s.deleteAccountData(ctx, string(payload))
}

// rescuedHere tells how an account that was made of an archive stands, after doing what can be done about its DID.
func (s *Server) rescuedHere(ctx context.Context, id store.AccountID) (*Rescued, error) {
	acct, err := s.store.AccountByID(ctx, id)
	if err != nil {
		return nil, err
	}
	row, err := s.store.AccountImport(ctx, id)
	if err != nil {
		return nil, err
	}
	out := &Rescued{DID: acct.DID, Handle: acct.Handle, Email: acct.Email, Before: row.Status}
	_, repo, err := s.store.Head(ctx, id)
	if err != nil {
		return nil, err
	}
	blobs, err := s.store.BlobStats(ctx, id)
	if err != nil {
		return nil, err
	}
	out.Records, out.Blobs, out.BlobBytes = repo.Records, blobs.Imported, blobs.Bytes
	err = s.eachMissing(ctx, id, func(c cid.Cid) error {
		if out.MissingCount++; out.MissingCount <= maxMissingShown {
			out.Missing = append(out.Missing, c.String())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out.RescuedDID, err = s.rescueDID(ctx, acct, row, nil)
	return out, err
}

// rescuePrefix begins the names of archives in the folder of imports.
const rescuePrefix = "archive-"

func rescueName(name string) bool {
	ok, err := filepath.Match(rescuePrefix+"*.zip", name)
	return ok && err == nil && filepath.Base(name) == name
}
