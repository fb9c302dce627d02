package store

import (
	"context"
	"database/sql"
	"fmt"

	"perch/repo"
	"perch/repo/mst"
)

const (
	// keepLayer is the lowest layer of a tree that stays in memory: some 24 bytes a record. What lies below is made from a scan of some 20 records.
	keepLayer = 2
	// outlineLayer is the lowest layer in stored outlines: one record in 256 has a row.
	outlineLayer = 4
	// warmBytes, or a part of the tree if that is more, may be kept in memory below that: the places written last, which are most often
	// the places written next, need no scan then.
	warmBytes = 16 << 10
	// warmShare is that part of a tree with an outline, of which more is worth keeping, because at first it has only the outline's layers.
	warmShare = 2
)

// load makes the tree of a repository from what q sees: from its outline, if that fits the head, else from all its records. q must show one state throughout.
func (s *Store) load(ctx context.Context, q querier, acct AccountID) (*warmRepo, error) {
	row, err := readRepo(ctx, q, acct)
	if err != nil {
		return nil, err
	}
	w := &warmRepo{head: row.head, records: row.Records, outline: row.outline}
	if row.outline > 0 {
		if w.tree, err = readOutline(ctx, q, acct, row.outline); err == nil && w.tree.Root() == row.head.Commit.Data {
			w.settled = w.tree.Size()
			return w, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		s.opts.Logger.Warn("stored outline does not fit the repository, making it anew", "account", acct, "err", err)
		w.outline = 0
	}
	keep := keepLayer
	if row.Records >= s.opts.OutlineRecords {
		keep = outlineLayer // a large tree stays small in memory; what is used of it will grow
	}
	if w.tree, err = mst.Derive(source{ctx, q, acct}, keep); err != nil {
		return nil, fmt.Errorf("derive tree of account %d: %w", acct, err)
	}
	if root := w.tree.Root(); root != row.head.Commit.Data {
		return nil, fmt.Errorf("%w: records of account %d make tree %s, commit has %s", repo.ErrCorrupt, acct, root, row.head.Commit.Data)
	}
	w.settled = w.tree.Size()
	return w, nil
}

// settle makes tree, which was made from old and is on disk now, the tree of r. When what is kept of its lower layers becomes too much, all of that goes. It
// returns false if that cannot be done, and then r is not to be used.
func (r *warmRepo) settle(old *warmRepo, tree mst.Tree) bool {
	r.tree, r.settled = tree.Seal(0), old.settled
	if r.tree.Size()-old.tree.Size() > warmBytes/2 { // writes all over the tree, or in a part of it that was not in memory
		r.tree = tree.Seal(keepLayer)
	}
	room := max(warmBytes, r.settled/4)
	if r.outline > 0 {
		room = max(warmBytes, r.settled*warmShare)
	}
	if r.tree.Size() <= r.settled+room {
		return true
	}
	for _, layer := range []int{keepLayer, outlineLayer} {
		if trimmed, err := trim(r.tree, layer); err == nil {
			r.tree, r.settled = trimmed, trimmed.Size()
			return trimmed.Root() == r.head.Commit.Data
		}
	}
	return false
}

// trim returns the tree with all below the layer forgotten. Its cost is that of the layers that stay.
func trim(tree mst.Tree, layer int) (mst.Tree, error) {
	var rows []mst.OutlineRow
	if err := tree.Outline(layer, func(r mst.OutlineRow) error { rows = append(rows, r); return nil }); err != nil {
		return mst.Tree{}, err
	}
	return mst.FromOutline(layer, func() (r mst.OutlineRow, ok bool, err error) {
		if len(rows) == 0 {
			return r, false, nil
		}
		r, rows = rows[0], rows[1:]
		return r, true, nil
	})
}

// readOutline makes a tree from the stored outline. The caller compares its root with the head's.
func readOutline(ctx context.Context, q querier, acct AccountID, layer int) (mst.Tree, error) {
	rows, err := q.query(ctx, "SELECT path, cid, below FROM outline WHERE account = ? ORDER BY path", int64(acct))
	if err != nil {
		return mst.Tree{}, err
	}
	defer rows.Close()
	tree, err := mst.FromOutline(layer, func() (mst.OutlineRow, bool, error) {
		if !rows.Next() {
			return mst.OutlineRow{}, false, rows.Err()
		}
		r, err := scanOutline(rows)
		return r, err == nil, err
	})
	return tree, err
}

func scanOutline(rows *sql.Rows) (r mst.OutlineRow, err error) {
	var value, below sql.RawBytes
	if err := rows.Scan(&r.Key, &value, &below); err != nil {
		return r, err
	}
	if r.Value, err = parseOptionalCID(value); err != nil {
		return r, err
	}
	r.Below, err = parseOptionalCID(below)
	return r, err
}

// outlineChange is what a commit does to the stored outline.
type outlineChange struct {
	layer  int  // afterwards; 0: none
	reset  bool // all rows go first
	write  []mst.OutlineRow
	remove []string
	before int // layer before
}

// outlineFor works out the change of the outline from old to the tree of the next commit, which has so many records. A repository gets an outline when it crosses
// the threshold, and loses it at half of that.
func (s *Store) outlineFor(old *warmRepo, tree mst.Tree, records int64, keys []string) (o outlineChange, err error) {
	o.before = old.outline
	switch {
	case old.outline == outlineLayer && records > s.opts.OutlineRecords/2:
		o.layer = outlineLayer
		o.write, o.remove, err = mst.OutlineDiff(old.tree, tree, outlineLayer, keys)
	case records >= s.opts.OutlineRecords:
		o.layer, o.reset = outlineLayer, true
		err = tree.Outline(outlineLayer, func(r mst.OutlineRow) error { o.write = append(o.write, r); return nil })
	case old.outline != 0:
		o.reset = true
	}
	if err != nil {
		return outlineChange{}, fmt.Errorf("outline: %w", err)
	}
	return o, nil
}

func (c *change) writeOutline(o *outlineChange) error {
	const (
		layer  = "UPDATE repo SET outline = ? WHERE account = ?"
		empty  = "DELETE FROM outline WHERE account = ?"
		remove = "DELETE FROM outline WHERE account = ? AND path = ?"
		upsert = `INSERT INTO outline (account, path, cid, below) VALUES (?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET cid = excluded.cid, below = excluded.below`
	)
	acct := int64(c.acct)
	if o.reset || o.layer != o.before {
		if _, err := c.tx.exec(c.ctx, layer, o.layer, acct); err != nil {
			return err
		}
	}
	if o.reset {
		if _, err := c.tx.exec(c.ctx, empty, acct); err != nil {
			return err
		}
	}
	for _, key := range o.remove {
		if _, err := c.tx.exec(c.ctx, remove, acct, key); err != nil {
			return err
		}
	}
	for _, r := range o.write {
		if _, err := c.tx.exec(c.ctx, upsert, acct, r.Key, cidArg(r.Value), cidArg(r.Below)); err != nil {
			return err
		}
	}
	return nil
}
