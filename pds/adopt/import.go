package adopt

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"golang.org/x/sync/errgroup"

	"perch/pds/blob"
	"perch/pds/event"
	"perch/pds/store"
	"perch/repo"
)

// Target is where everything goes. Nobody else uses it meanwhile.
type Target struct {
	Store *store.Store
	Blobs *blob.Store
	// SealKey gives the form in which the store keeps an account's signing key, and the did:key of its public half.
	SealKey func(did syntax.DID, key atcrypto.PrivateKeyExportable) (sealed []byte, public string, err error)
	// Link lets blobs be hard links to the reference's files where that is possible.
	Link bool
}

// Result counts what Import did.
type Result struct {
	Adopted int // accounts
	Already int // accounts that were here, which stay as they are
	Left    int // accounts that could not be taken over
	Linked  int64
	Copied  int64
	Fetched int64 // blobs from a bucket
	Here    int64 // blobs that an earlier run has brought
	Events  int
	Renewed int // accounts with a new commit, because the head was signed by another key
	// Failures are accounts that could not be taken over although Check found nothing wrong with them.
	Failures []Finding
	// Lost are blobs that could not be fetched from the bucket as they should be.
	Lost []Finding
}

// Import stores what Check found, except for accounts that are broken or already here. Blobs come first and are synced, then each account in one transaction, then the events. When it is
// interrupted, it can be called again, with a new Check.
func (src *Source) Import(ctx context.Context, p *Plan, t Target, progress Progress) (*Result, error) {
	if src.running {
		return nil, ErrRunning
	}
	im := &importer{src: src, plan: p, target: t, progress: progress, ids: map[syntax.DID]store.AccountID{}}
	im.late = t.Store.LastSeq() > 0
	if err := im.choose(ctx); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{im.room, im.blobs, im.accounts, im.invites, im.events, im.renew} {
		if err := step(ctx); err != nil {
			return &im.result, err
		}
	}
	im.result.Left = len(p.accounts) - im.result.Adopted - im.result.Already
	return &im.result, nil
}

// importer is one Import under way.
type importer struct {
	src      *Source
	plan     *Plan
	target   Target
	progress Progress
	todo     []*planned
	late     bool  // the events were taken over before
	missing  int64 // bytes of blobs that are not here

	mu     sync.Mutex
	ids    map[syntax.DID]store.AccountID // guarded by mu
	result Result                         // guarded by mu while goroutines run
}

// choose picks the accounts to take over.
func (im *importer) choose(ctx context.Context) error {
	for _, a := range im.plan.accounts {
		switch acct, err := im.target.Store.AccountByDID(ctx, a.account.DID); {
		case err == nil:
			im.ids[a.account.DID] = acct.ID
			im.result.Already++
		case !errors.Is(err, store.ErrNotFound):
			return err
		case !a.broken():
			im.todo = append(im.todo, a)
		}
	}
	return nil
}

// room looks whether there is enough of it on the disk, before anything is written.
func (im *importer) room(ctx context.Context) error {
	for _, a := range im.todo {
		here, err := im.eachMissing(ctx, a, func(b *storedBlob) error {
			im.missing += b.Size
			return nil
		})
		if err != nil {
			return err
		}
		im.result.Here += here
	}
	need := im.missing
	if im.target.Link && im.src.layout.Bucket == nil {
		need = 0
	}
	for _, a := range im.todo {
		need += databaseShare * a.totals.RecordBytes
	}
	return im.target.Blobs.CheckRoom(need)
}

// databaseShare is how many bytes of the database a byte of a record takes at most, with what is kept beside it.
const databaseShare = 3

// parallel runs fn for all accounts to be taken over, on all cores.
func (im *importer) parallel(ctx context.Context, what string, fn func(context.Context, *planned) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	done := 0
	for _, a := range im.todo {
		g.Go(func() error {
			if err := fn(ctx, a); err != nil {
				return err
			}
			im.mu.Lock()
			done++
			n := done
			im.mu.Unlock()
			im.progress(n, len(im.todo), what)
			return ctx.Err()
		})
	}
	return g.Wait()
}

// blobs puts the bytes in their places, and syncs them, before any row names them.
func (im *importer) blobs(ctx context.Context) error {
	if im.src.layout.Bucket != nil {
		return im.fetch(ctx)
	}
	if err := im.parallel(ctx, "taking over blobs", im.accountBlobs); err != nil {
		return err
	}
	if im.result.Here+im.result.Linked+im.result.Copied == 0 {
		return nil
	}
	return im.target.Blobs.SyncAll()
}

func (im *importer) accountBlobs(ctx context.Context, pl *planned) error {
	var linked, copied int64
	_, err := im.eachMissing(ctx, pl, func(b *storedBlob) error {
		file, _, err := im.src.blobFile(pl.account.DID, b.text, b.TakedownRef != "")
		if err != nil {
			return fmt.Errorf("blob %s of %s: %w", b.text, pl.account.DID, err)
		}
		isLink, err := im.target.Blobs.Take(pl.account.DID, b.CID, file, b.Size, im.target.Link)
		if isLink {
			linked++
		} else {
			copied++
		}
		return err
	})
	im.mu.Lock()
	defer im.mu.Unlock()
	im.result.Linked += linked
	im.result.Copied += copied
	return err
}

// eachMissing gives the blobs of an account whose bytes are not here, and counts those that are. A file under its CID is always whole, so those need no second look.
func (im *importer) eachMissing(ctx context.Context, pl *planned, fn func(*storedBlob) error) (here int64, err error) {
	a, err := im.src.openActor(ctx, pl.account.DID)
	if err != nil {
		return 0, err
	}
	defer a.Close()
	err = a.blobs(ctx, func(b *storedBlob) error {
		if b.temporary || pl.lost[b.text] {
			return nil
		}
		size, err := im.target.Blobs.Size(a.did, b.CID)
		switch {
		case errors.Is(err, blob.ErrNotFound), err == nil && size != b.Size:
			return fn(b)
		case err == nil:
			here++
		}
		return err
	})
	return here, err
}

func (im *importer) accounts(ctx context.Context) error {
	return im.parallel(ctx, "taking over accounts", im.account)
}

func (im *importer) account(ctx context.Context, pl *planned) error {
	a, err := im.src.openActor(ctx, pl.account.DID)
	if err != nil {
		return err
	}
	defer a.Close()
	in, err := im.gather(ctx, pl, a)
	if err != nil {
		return err
	}
	id, err := im.target.Store.AdoptAccount(ctx, in)
	im.mu.Lock()
	defer im.mu.Unlock()
	switch {
	case err == nil:
		im.ids[a.did] = id
		im.result.Adopted++
		return nil
	case errors.Is(err, store.ErrHandleTaken), errors.Is(err, store.ErrEmailTaken), errors.Is(err, repo.ErrCorrupt):
		im.result.Failures = append(im.result.Failures, Finding{a.did, err.Error(), true})
		return nil
	}
	return err
}

// gather puts together what the store needs of an account.
func (im *importer) gather(ctx context.Context, pl *planned, a *actor) (*store.Adopted, error) {
	in := &store.Adopted{
		Account: pl.account, Head: a.head, AppPasswords: pl.appPasswords, Sessions: pl.sessions, Announce: im.late && !pl.unsigned,
	}
	var err error
	if in.Account.SigningKey, in.Account.SigningKeyDID, err = im.target.SealKey(a.did, a.key); err != nil {
		return nil, err
	}
	if in.Preferences, _, err = a.preferences(ctx); err != nil {
		return nil, err
	}
	err = a.blobs(ctx, func(b *storedBlob) error {
		if !b.temporary && !pl.lost[b.text] {
			in.Blobs = append(in.Blobs, b.Blob)
		}
		return nil
	})
	all := a.indexed
	if pl.walk {
		all = a.walked
	}
	in.Records = func(yield func(*store.AdoptedRecord) error) error { return prepare(ctx, all, yield) }
	return in, err
}

// prepareAhead is the number of records that are made ready while the store writes others.
const prepareAhead = 256

// prepare reads records on a goroutine of its own and gives them, ready to be stored, to yield.
func prepare(ctx context.Context, all records, yield func(*store.AdoptedRecord) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ready := make(chan *store.AdoptedRecord, prepareAhead)
	failed := make(chan error, 1)
	go func() {
		defer close(ready)
		failed <- all(ctx, func(e *entry) error {
			select {
			case ready <- adopted(e):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	for r := range ready {
		if err := yield(r); err != nil {
			return err
		}
	}
	return <-failed
}

// adopted reads out of a record what the store keeps beside it.
func adopted(e *entry) *store.AdoptedRecord {
	r := &store.AdoptedRecord{Record: store.Record{Path: e.path, CID: e.cid, Rev: e.rev, TakedownRef: e.takedown, Body: e.body}}
	data, err := repo.DecodeRecord(e.body)
	if err != nil {
		return r
	}
	r.Subject = repo.SubjectOf(r.Collection(), data)
	r.Blobs = repo.BlobLinks(data)
	return r
}

// inviteBatch is the number of invite codes stored in one transaction.
const inviteBatch = 1000

func (im *importer) invites(ctx context.Context) error {
	for all := im.plan.invites; len(all) > 0; {
		n := min(len(all), inviteBatch)
		if err := im.target.Store.AdoptInvites(ctx, all[:n]); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

// events takes over the end of the stream, and tells of heads that its last events did not tell of.
func (im *importer) events(ctx context.Context) error {
	if im.late {
		return nil
	}
	var announce []store.AccountID
	for _, a := range im.plan.accounts {
		if id, here := im.ids[a.account.DID]; here && a.behind && !a.unsigned {
			announce = append(announce, id)
		}
	}
	give := im.src.storedEvents(ctx, im.plan.since, im.ids)
	return im.target.Store.AdoptEvents(ctx, func(yield func(store.StoredEvent) error) error {
		return give(func(e store.StoredEvent) error {
			im.result.Events++
			im.progress(im.result.Events, im.plan.Events.Count, "taking over events")
			return yield(e)
		})
	}, announce)
}

// renew makes a new commit of the same records for accounts whose head is signed by another key, which nobody in the network would accept.
func (im *importer) renew(ctx context.Context) error {
	for _, pl := range im.plan.accounts {
		id, here := im.ids[pl.account.DID]
		if !pl.unsigned || !here {
			continue
		}
		if head, _, err := im.target.Store.Head(ctx, id); err != nil || head.CID != pl.head {
			continue // an earlier run has done it, or the account has moved on
		}
		if err := im.renewAccount(ctx, pl, id); err != nil {
			return fmt.Errorf("new commit for %s: %w", pl.account.DID, err)
		}
		im.result.Renewed++
	}
	return nil
}

func (im *importer) renewAccount(ctx context.Context, pl *planned, id store.AccountID) error {
	a, err := im.src.openActor(ctx, pl.account.DID)
	if err != nil {
		return err
	}
	defer a.Close()
	_, err = im.target.Store.Commit(ctx, store.CommitRequest{
		Account: id, DID: a.did, Key: a.key, SwapCommit: &a.head.CID, AllowInactive: true,
		Extra: func(tx *store.Tx, d *repo.Diff) error {
			if !pl.account.Active() {
				return nil
			}
			e, err := event.NewSync(a.did, d.Head, tx.Now())
			if err == nil {
				_, err = tx.AppendEvent(id, e)
			}
			return err
		},
	})
	return err
}
