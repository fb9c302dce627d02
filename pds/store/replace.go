package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/repo"
	"perch/repo/mst"
)

var (
	// ErrReplacing says that the records of the repository are being replaced, so that it can neither be read as a whole nor written to.
	ErrReplacing = errors.New("the repository is being replaced")
	// ErrSuperseded says that a replacement is not, or is no longer, the one under way.
	ErrSuperseded = errors.New("replacement is not the one under way")
	// ErrActive says that the repository of an active account cannot be replaced: the network follows it commit by commit.
	ErrActive = errors.New("account is active")
)

// NewRecord is a record of a replacement.
type NewRecord struct {
	Path        string // collection/rkey
	CID         cid.Cid
	Body        []byte     // canonical CBOR; kept until the replacement is done with it, so it must not be changed
	Rev         syntax.TID // of the commit that wrote it; "" is that of the new head
	Subject     string     // as in repo.Write
	Blobs       []cid.Cid  // that it refers to
	TakedownRef string     // "" when not taken down
}

// Replacement is all that a repository holds from now on.
type Replacement struct {
	// Name tells this replacement from others. Replace may be called again with the same name when it was interrupted.
	Name    string
	Account AccountID
	DID     syntax.DID
	// Head is the commit of the new state, signed with the account's key. The records must make the tree that it names.
	Head repo.Head
	// Records gives all records in the order of their paths. It is called on a goroutine of its own.
	Records func(yield func(NewRecord) error) error
	// JobKind and JobPayload, if given, are a job that is added when the replacement begins and removed when it is done: it is there to call Replace
	// again if the process ends in between. It is given JobDelay before it is due.
	JobKind, JobPayload string
	// Resume takes up a replacement that has begun, and nothing else: ErrSuperseded if it is not under way.
	Resume bool
	// AllowActive is for accounts that are active and yet unknown to the network, as when the data of another server are taken over. No event is stored.
	AllowActive bool
	// Extra, unless nil, runs in the transaction that ends the replacement.
	Extra func(tx *Tx) error
}

const (
	// replaceRows and replaceBytes bound what one transaction of a replacement writes, so that it never holds up the commits of others for long.
	replaceRows  = 1000
	replaceBytes = 2 << 20
)

// Replace puts other records in the place of all that a repository holds: the path for imports, and the fast one for many records. They are written in many
// small transactions. The first is the switch: from then on the repository is the new one, of which the records are still to come. Until the last of them
// is in place, reads of the whole repository, and commits, return ErrReplacing; if the process ends meanwhile, calling Replace again with the same
// name goes on. So ctx counts only until then.
//
// Rows that stay the same are not touched. Uploaded blobs that the new records refer to become public, those of the old become private uploads again.
//
// Errors: ErrActive, ErrHeld, ErrNotFound, ErrSuperseded, the one of Records before which nothing has been changed if it is the first of all, repo.ErrCorrupt if
// the records do not make the tree of the head.
func (s *Store) Replace(ctx context.Context, r Replacement) (RepoStats, error) {
	unlock, err := s.repoLocks.lock(ctx, r.Account)
	if err != nil {
		return RepoStats{}, err
	}
	defer unlock()
	if err := s.Update(ctx, func(tx *Tx) error { return r.begin(tx) }); err != nil {
		return RepoStats{}, fmt.Errorf("replace repository of %s: %w", r.DID, err)
	}
	s.trees.drop(r.Account)
	w := &replaceRun{s: s, ctx: context.WithoutCancel(ctx), r: &r}
	if err := w.run(); err != nil {
		return RepoStats{}, fmt.Errorf("replace repository of %s: %w", r.DID, err)
	}
	return w.stats, nil
}

// begin is the switch.
func (r *Replacement) begin(tx *Tx) error {
	const mark = "UPDATE repo SET replacing = ? WHERE account = ?"
	const insert = "INSERT INTO repo (account, head, block, rev, data, records, bytes, replacing) VALUES (?, ?, ?, ?, ?, 0, 0, ?)"
	ctx, acct := context.Background(), int64(r.Account)
	a, err := tx.AccountByID(ctx, r.Account)
	if err != nil {
		return err
	}
	if a.Active() && !r.AllowActive {
		return ErrActive
	}
	if r.Resume {
		return r.stillOurs(tx)
	}
	if err := tx.checkHeld(ctx, r.Account); err != nil {
		return err
	}
	n, err := tx.execCount(ctx, mark, r.Name, acct)
	if err == nil && n == 0 {
		h := &r.Head
		_, err = tx.exec(ctx, insert, acct, h.CID.Bytes(), h.Block, h.Commit.Rev.String(), h.Commit.Data.Bytes(), r.Name)
	}
	if err != nil || r.JobKind == "" {
		return err
	}
	return tx.AddJob(ctx, r.JobKind, r.JobPayload, tx.now.Add(JobDelay))
}

func (r *Replacement) stillOurs(tx *Tx) error {
	name, err := replacing(context.Background(), tx, r.Account)
	if err == nil && name != r.Name {
		err = ErrSuperseded
	}
	return err
}

// replaceRun is a replacement under way.
type replaceRun struct {
	s     *Store
	ctx   context.Context
	r     *Replacement
	stats RepoStats
}

func (w *replaceRun) run() error {
	chunks := make(chan *replaceChunk, 2)
	stop := make(chan struct{})
	m := &replaceMerge{w: w, chunks: chunks, stop: stop}
	go m.run()
	var failed error
	for c := range chunks {
		if failed != nil {
			continue
		}
		if failed = w.s.Update(w.ctx, c.write); failed != nil {
			close(stop)
		}
	}
	if failed == nil {
		failed = m.err
	}
	if failed != nil {
		return failed
	}
	return w.finish()
}

// finish makes the tree out of what is stored now, which is the last check, and ends the replacement.
func (w *replaceRun) finish() error {
	r := w.r
	keep := keepLayer
	if w.stats.Records >= w.s.opts.OutlineRecords {
		keep = outlineLayer
	}
	tree, err := mst.Derive(source{w.ctx, w.s.read, r.Account}, keep)
	if err != nil {
		return err
	}
	if root := tree.Root(); root != r.Head.Commit.Data {
		return fmt.Errorf("%w: records make tree %s, commit has %s", repo.ErrCorrupt, root, r.Head.Commit.Data)
	}
	warm := &warmRepo{head: r.Head, tree: tree, settled: tree.Size(), records: w.stats.Records}
	o, err := w.s.outlineFor(&warmRepo{}, tree, w.stats.Records, nil)
	if err != nil {
		return err
	}
	o.reset, warm.outline = true, o.layer
	if err := w.s.Update(w.ctx, func(tx *Tx) error { return w.end(tx, &o) }); err != nil {
		return err
	}
	w.s.trees.put(r.Account, warm)
	return nil
}

func (w *replaceRun) end(tx *Tx, o *outlineChange) error {
	const (
		head = `UPDATE repo SET head = ?, block = ?, rev = ?, data = ?, records = ?, bytes = ?, replacing = NULL WHERE account = ?`
		show = `UPDATE blob SET referenced = 1 WHERE account = ?1 AND referenced = 0
			AND EXISTS (SELECT 1 FROM blob_ref f WHERE f.account = ?1 AND f.cid = blob.cid)`
		hide = `UPDATE blob SET referenced = 0, created_at = ?2 WHERE account = ?1 AND referenced = 1
			AND NOT EXISTS (SELECT 1 FROM blob_ref f WHERE f.account = ?1 AND f.cid = blob.cid)`
	)
	r, h, acct := w.r, &w.r.Head, int64(w.r.Account)
	if err := r.stillOurs(tx); err != nil {
		return err
	}
	_, err := tx.exec(w.ctx, head, h.CID.Bytes(), h.Block, h.Commit.Rev.String(), h.Commit.Data.Bytes(), w.stats.Records, w.stats.Bytes, acct)
	if err != nil {
		return err
	}
	if err := (&change{tx: tx, ctx: w.ctx, acct: r.Account}).writeOutline(o); err != nil {
		return err
	}
	if _, err := tx.exec(w.ctx, show, acct); err != nil {
		return err
	}
	if _, err := tx.exec(w.ctx, hide, acct, micros(tx.now)); err != nil {
		return err
	}
	if r.JobKind != "" {
		if err := tx.CancelJob(w.ctx, r.JobKind, r.JobPayload); err != nil {
			return err
		}
	}
	if r.Extra == nil {
		return nil
	}
	return r.Extra(tx)
}

// replacing is the name of the replacement that is under way, "" for none.
func replacing(ctx context.Context, q querier, acct AccountID) (name string, err error) {
	err = q.queryRow(ctx, "SELECT coalesce(replacing, '') FROM repo WHERE account = ?", int64(acct)).Scan(&name)
	return name, err
}

// Replacing returns the name of the replacement of the repository that is under way, or was when the process ended; "" for none. ErrNotFound if
// there is no repository.
func (s *Store) Replacing(ctx context.Context, acct AccountID) (string, error) {
	return replacing(ctx, s.read, acct)
}
