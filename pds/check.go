package pds

import (
	"context"
	"errors"
	"fmt"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/pds/account"
	"perch/pds/blob"
	"perch/pds/store"
)

// checkPage is how many accounts or blobs Check reads at a time.
const checkPage = 500

// CheckOptions say what Check looks at.
type CheckOptions struct {
	DID   string // one account; "" for all, and for what belongs to none
	Blobs bool   // read every blob and compare its hash
	// Progress, unless nil, is told how far a step is. total is 0 when that is not known.
	Progress func(done, total int, what string)
}

// dataChecker is one Check under way.
type dataChecker struct {
	cfg      *Config
	store    *store.Store
	blobs    *blob.Store
	keys     *account.Service // opens signing keys; nil when the master key does not fit
	opt      CheckOptions
	problems []string
}

// Check verifies what a server that does not run keeps in its data folder: sealed keys, repositories, events, and blobs. Each problem is one line. The
// error is for a check that could not be finished.
func Check(ctx context.Context, cfg *Config, opt CheckOptions) ([]string, error) {
	if opt.Progress == nil {
		opt.Progress = func(int, int, string) {}
	}
	st, err := store.Open(ctx, store.Options{Path: cfg.DatabasePath()})
	if err != nil {
		return nil, writableHint(cfg, err)
	}
	defer st.Close()
	blobs, err := blob.Open(cfg.BlobDirectory())
	if err != nil {
		return nil, writableHint(cfg, err)
	}
	defer blobs.Close()
	c := &dataChecker{cfg: cfg, store: st, blobs: blobs, opt: opt}
	if err := c.secrets(ctx); err != nil {
		return c.problems, err
	}
	err = c.run(ctx)
	return c.problems, err
}

// secrets tries the master key on what is sealed: without it no account can sign.
func (c *dataChecker) secrets(ctx context.Context) error {
	box, err := openSealMade(c.cfg)
	if err != nil {
		c.problems = append(c.problems, err.Error())
		return nil
	}
	for _, name := range []string{plcKeySeen, plcKeySecret} {
		if _, err := openSecret(ctx, box, c.store, name); err != nil && !errors.Is(err, store.ErrNotFound) {
			c.problems = append(c.problems, err.Error())
			return nil // one line says it for all that it sealed
		}
	}
	c.keys = account.New(account.Options{Store: c.store, Seal: box})
	return nil
}

func (c *dataChecker) run(ctx context.Context) error {
	var only *store.Account
	var id store.AccountID
	if c.opt.DID != "" {
		acct, err := c.store.AccountByDID(ctx, syntax.DID(c.opt.DID))
		if err != nil {
			return fmt.Errorf("account %s: %w", c.opt.DID, err)
		}
		only, id = acct, acct.ID
	}
	found, err := c.store.Check(ctx, id, func(done, total int) { c.opt.Progress(done, total, "repositories") })
	for _, p := range found {
		c.problems = append(c.problems, p.String())
	}
	if err != nil {
		return err
	}
	if only != nil {
		return c.account(ctx, only)
	}
	if err := c.allAccounts(ctx); err != nil {
		return err
	}
	return c.strays(ctx)
}

// allAccounts looks at what each account has beside its repository.
func (c *dataChecker) allAccounts(ctx context.Context) error {
	for after, done := store.AccountID(0), 0; ; {
		accounts, err := c.store.Accounts(ctx, after, checkPage)
		if err != nil || len(accounts) == 0 {
			return err
		}
		for _, acct := range accounts {
			if err := c.account(ctx, acct); err != nil {
				return err
			}
			done++
			c.opt.Progress(done, 0, "keys and blobs of accounts")
		}
		after = accounts[len(accounts)-1].ID
	}
}

// account opens the signing key, and looks for the file of every blob row.
func (c *dataChecker) account(ctx context.Context, acct *store.Account) error {
	if c.keys != nil && acct.DeletedAt.IsZero() {
		if _, err := c.keys.SigningKey(acct); err != nil {
			c.problems = append(c.problems, err.Error())
		}
	}
	return c.accountBlobs(ctx, acct)
}

func (c *dataChecker) accountBlobs(ctx context.Context, acct *store.Account) error {
	for after := cid.Undef; ; {
		page, err := c.store.Blobs(ctx, acct.ID, after, checkPage)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, b := range page {
			if err := c.blob(ctx, acct, b); err != nil {
				return err
			}
		}
		after = page[len(page)-1].CID
	}
}

// blob compares one row with its file.
func (c *dataChecker) blob(ctx context.Context, acct *store.Account, b store.Blob) error {
	size, err := c.blobs.Size(acct.DID, b.CID)
	if err == nil && size != b.Size {
		c.report(acct, "blob %s has %d bytes on disk, the database says %d", b.CID, size, b.Size)
		return nil
	}
	if err == nil && c.opt.Blobs {
		err = c.blobs.Verify(ctx, acct.DID, b.CID)
	}
	switch {
	case errors.Is(err, blob.ErrNotFound):
		c.report(acct, "blob %s is missing on disk", b.CID)
	case errors.Is(err, blob.ErrCorrupt):
		c.report(acct, "blob %s is damaged on disk: its bytes are not those that were uploaded", b.CID)
	case err != nil:
		return err
	}
	return nil
}

// strays reports files in the blob folder that are no blobs. A blob that no row names is no problem: a crash in the middle of an upload
// leaves one, and the server sweeps it up.
func (c *dataChecker) strays(ctx context.Context) error {
	return c.blobs.Walk(ctx, func(e blob.Entry) error {
		if e.Strange {
			c.problems = append(c.problems, "file in the blob folder that is no blob: "+e.Path)
		}
		return nil
	})
}

func (c *dataChecker) report(acct *store.Account, format string, args ...any) {
	c.problems = append(c.problems, acct.DID.String()+": "+fmt.Sprintf(format, args...))
}
