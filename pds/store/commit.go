package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/pds/event"
	"perch/repo"
)

// CommitRequest is a change of a repository.
type CommitRequest struct {
	Account AccountID
	DID     syntax.DID
	Key     repo.Signer
	// KeyDID, unless "", is the public half of Key as did:key. The commit is refused with ErrKeyChanged when the account has another one by now.
	KeyDID string
	// SwapCommit, unless nil, must be the current head.
	SwapCommit *cid.Cid
	// Writes are applied in order. Without any a new commit of the same records is made, as after a change of the key.
	Writes []repo.Write
	// Extra, unless nil, runs in the transaction after the change is written. Its error undoes the commit.
	Extra func(tx *Tx, d *repo.Diff) error
	// AllowInactive lets a repository be filled whose account is not active, as before a move here is finished. No event is stored, because the network
	// does not follow inactive accounts; who activates the account appends #account, #identity and #sync. References to blobs that are not here yet are let through.
	AllowInactive bool
	// Quiet stores no #commit: Extra appends what tells the network instead, such as #sync after a change of the key.
	Quiet bool
}

// maxTries bounds the attempts at a commit whose head moved meanwhile. Within one process the account's lock keeps that from happening.
const maxTries = 3

// Commit changes a repository; nothing else does. When it returns without an error, the records, the new head and the event are on disk. The diff's Results
// tell what each write did; a diff that is not Changed means that all was so already.
//
// Errors: those of repo.Apply, ErrNotFound, ErrInactive, ErrKeyChanged, ErrBlobNotFound, ErrBlobSize, ErrBlobType, ErrDiskFull, ErrUncertain, the one of Extra, or ctx's. Nothing was changed then,
// except that ErrUncertain leaves open whether the change comes back after a crash.
func (s *Store) Commit(ctx context.Context, req CommitRequest) (*repo.Diff, error) {
	unlock, err := s.repoLocks.lock(ctx, req.Account)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for try := 1; ; try++ {
		warm := s.trees.get(req.Account)
		d, err := s.tryCommit(ctx, &req, warm)
		if err == nil {
			return d, nil
		}
		if !refused(err) {
			s.trees.drop(req.Account)
		}
		// What was kept in memory did not fit: once more from what is stored.
		again := errors.Is(err, errMoved) || warm != nil && errors.Is(err, repo.ErrCorrupt)
		if !again || try == maxTries {
			return nil, err
		}
	}
}

// refused tells errors that say something about the request, and nothing about the tree that was used.
func refused(err error) bool {
	for _, e := range []error{
		repo.ErrSwap, repo.ErrRecordExists, repo.ErrRecordNotFound, repo.ErrTooManyOps, repo.ErrTooLarge, repo.ErrInvalidRecord,
		ErrInactive, ErrKeyChanged, ErrBlobNotFound, ErrBlobSize, ErrBlobType,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// tryCommit makes the diff on the caller's goroutine and has the writer store it. The account's lock is held.
func (s *Store) tryCommit(ctx context.Context, req *CommitRequest, old *warmRepo) (*repo.Diff, error) {
	// Reads of a few rows; a cancellation in their midst would only cost more than them.
	reads := context.WithoutCancel(ctx)
	if old == nil {
		var err error
		if old, err = s.load(ctx, s.read, req.Account); err != nil {
			return nil, err
		}
	}
	writes, extra, err := s.withoutDuplicates(reads, req)
	if err != nil {
		return nil, err
	}
	rev := repo.NextRev(old.head.Commit.Rev, s.opts.Now(), s.clockID)
	d, err := repo.Apply(req.DID, &old.head, old.tree, source{reads, s.read, req.Account}, rev, req.Key, req.SwapCommit, writes...)
	if err != nil {
		if refused(err) {
			s.trees.put(req.Account, old)
		}
		return nil, err
	}
	d.Results = d.Results[extra:]
	if !d.Changed() {
		s.trees.put(req.Account, old)
		return d, nil
	}
	return d, s.store(ctx, req, old, d)
}

// store hands the diff to the writer and keeps the new tree once it is on disk.
func (s *Store) store(ctx context.Context, req *CommitRequest, old *warmRepo, d *repo.Diff) error {
	now := s.opts.Now()
	e, err := event.NewCommit(req.DID, d, now)
	if err != nil {
		return err
	}
	next := &warmRepo{head: d.Head, records: old.records + growth(d.Ops)}
	o, err := s.outlineFor(old, d.Tree, next.records, paths(d.Ops))
	if err != nil {
		return err
	}
	next.outline = o.layer
	err = s.w.do(ctx, &job{
		fn:     func(tx *Tx) error { return req.write(tx, old.head.CID, d, e, &o) },
		atomic: req.Extra == nil,
	})
	if err != nil {
		return err
	}
	if next.settle(old, d.Tree) {
		s.trees.put(req.Account, next)
	} else {
		s.trees.drop(req.Account)
	}
	return nil
}

// write is the writer's half. What may be refused is looked at before anything is changed.
func (req *CommitRequest) write(tx *Tx, head cid.Cid, d *repo.Diff, e event.Event, o *outlineChange) error {
	c := &change{tx: tx, ctx: context.Background(), acct: req.Account, did: req.DID, diff: d}
	active, err := c.checkHead(head, req.KeyDID)
	if err != nil {
		return err
	}
	if !active && !req.AllowInactive {
		return fmt.Errorf("%w: %s", ErrInactive, req.DID)
	}
	if !req.AllowInactive {
		if err := c.checkBlobs(); err != nil {
			return err
		}
	}
	if err := c.writeAll(active && !req.Quiet, e, o); err != nil {
		return fmt.Errorf("%w: %w", errHalfApplied, err)
	}
	if req.Extra == nil {
		return nil
	}
	return req.Extra(tx, d)
}

func (c *change) writeAll(tell bool, e event.Event, o *outlineChange) error {
	if err := c.writeRecords(); err != nil {
		return err
	}
	if err := c.tx.s.fault("records written"); err != nil {
		return err
	}
	if err := c.writeHead(); err != nil {
		return err
	}
	if err := c.writeOutline(o); err != nil {
		return err
	}
	if !tell {
		return nil
	}
	_, err := c.tx.AppendEvent(c.acct, e)
	return err
}

// withoutDuplicates puts before the writes a delete of each record that says the same of the same subject as one to be created (the reference's duplicate rule:
// nobody likes a post twice). It returns how many it put there.
func (s *Store) withoutDuplicates(ctx context.Context, req *CommitRequest) ([]repo.Write, int, error) {
	var dups []repo.Write
	for i := range req.Writes {
		w := &req.Writes[i]
		if !w.Dedup || w.Subject == "" || w.Action == repo.Delete {
			continue
		}
		same, err := s.sameSubject(ctx, req.Account, w)
		if err != nil {
			return nil, 0, err
		}
		dups = append(dups, same...)
	}
	if len(dups) == 0 {
		return req.Writes, 0, nil
	}
	return append(dups, req.Writes...), len(dups), nil
}

func (s *Store) sameSubject(ctx context.Context, acct AccountID, w *repo.Write) ([]repo.Write, error) {
	const query = "SELECT path FROM record WHERE account = ? AND subject = ? AND path > ? AND path < ?"
	lo, hi := collectionRange(w.Collection)
	rows, err := s.read.query(ctx, query, int64(acct), w.Subject, lo, hi)
	paths, err := collect(rows, err, scanOne[string])
	if err != nil {
		return nil, fmt.Errorf("records about %s: %w", w.Subject, err)
	}
	var dups []repo.Write
	for _, path := range paths {
		if path != w.Path() {
			rkey := syntax.RecordKey(path[len(lo):])
			dups = append(dups, repo.Write{Action: repo.Delete, Collection: w.Collection, RKey: rkey, IfExists: true})
		}
	}
	return dups, nil
}

// growth is the number of records that ops add.
func growth(ops []repo.Op) (n int64) {
	for i := range ops {
		switch ops[i].Action {
		case repo.Create:
			n++
		case repo.Delete:
			n--
		}
	}
	return n
}

func paths(ops []repo.Op) []string {
	all := make([]string, len(ops))
	for i := range ops {
		all[i] = ops[i].Path
	}
	return all
}
