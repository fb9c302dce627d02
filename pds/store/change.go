package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/repo"
)

// change writes one diff into the database: the writer's half of a commit.
type change struct {
	tx   *Tx
	ctx  context.Context
	acct AccountID
	did  syntax.DID
	diff *repo.Diff

	records, bytes int64     // by how much they grow
	listed         string    // collection under which the account surely is
	released       []cid.Cid // blobs that a record does not refer to any more
}

// errMoved says that the head is no longer the one the diff builds on.
var errMoved = errors.New("head has moved")

// ErrInactive says that the account is not active, so that its repository takes no writes.
var ErrInactive = errors.New("account is not active")

// ErrKeyChanged says that the commit was signed with a key that the account does not have any more.
var ErrKeyChanged = errors.New("signing key has changed")

// checkHead compares the head with the one the diff builds on, and the key, unless it is "", with the account's. It returns whether the account is active.
func (c *change) checkHead(head cid.Cid, key string) (active bool, err error) {
	const query = "SELECT r.head, a.signing_key_did, " + statusColumn + " FROM repo r JOIN account a ON a.id = r.account WHERE r.account = ?"
	var now []byte
	var keyNow, status string
	if err := c.tx.queryRow(c.ctx, query, int64(c.acct)).Scan(&now, &keyNow, &status); err != nil {
		return false, fmt.Errorf("repository of %s: %w", c.did, err)
	}
	if string(now) != head.KeyString() {
		return false, errMoved
	}
	if key != "" && key != keyNow {
		return false, fmt.Errorf("%w: %s", ErrKeyChanged, c.did)
	}
	return status == "", nil
}

// checkBlobs sees that what the records refer to was uploaded as they say.
func (c *change) checkBlobs() error {
	for i := range c.diff.Writes {
		for _, ref := range c.diff.Writes[i].Blobs {
			b, err := c.tx.Blob(c.ctx, c.acct, ref.CID)
			switch {
			case errors.Is(err, ErrNotFound), err == nil && b.TakedownRef != "":
				return fmt.Errorf("%w: %s", ErrBlobNotFound, ref.CID)
			case err != nil:
				return err
			case b.Size != ref.Size:
				return fmt.Errorf("%w: %s has %d bytes, the record says %d", ErrBlobSize, ref.CID, b.Size, ref.Size)
			case b.MimeType != ref.MimeType:
				return fmt.Errorf("%w: %s is %s, the record says %s", ErrBlobType, ref.CID, b.MimeType, ref.MimeType)
			}
		}
	}
	return nil
}

// writeRecords brings the record rows, and what hangs on them, to the state after the diff.
func (c *change) writeRecords() error {
	for i := range c.diff.Ops {
		op, w := &c.diff.Ops[i], &c.diff.Writes[i]
		var err error
		switch op.Action {
		case repo.Create:
			err = c.create(op, w)
		case repo.Update:
			err = c.update(op, w)
		case repo.Delete:
			err = c.delete(op, w)
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", op.Action, op.Path, err)
		}
	}
	return c.dropBlobs() // last: one write may let go of a blob that a later one refers to
}

func (c *change) create(op *repo.Op, w *repo.Write) error {
	// The tree says that the path is free. Should a row be there all the same, it is not part of the repository.
	const insert = `INSERT INTO record (account, path, cid, rev, subject, body) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
		SET cid = excluded.cid, rev = excluded.rev, subject = excluded.subject, body = excluded.body`
	const collection = "INSERT INTO collection (collection, account) VALUES (?, ?) ON CONFLICT DO NOTHING"
	_, err := c.tx.exec(c.ctx, insert, int64(c.acct), op.Path, op.CID.Bytes(), c.diff.Head.Commit.Rev.String(), nullString(w.Subject), w.Record)
	if err != nil {
		return err
	}
	if c.listed != w.Collection.String() {
		if _, err := c.tx.exec(c.ctx, collection, w.Collection.String(), int64(c.acct)); err != nil {
			return err
		}
		c.listed = w.Collection.String()
	}
	c.records++
	c.bytes += int64(len(w.Record))
	return c.addRefs(op.Path, w)
}

func (c *change) update(op *repo.Op, w *repo.Write) error {
	const size = "SELECT length(body) FROM record WHERE account = ? AND path = ?"
	const update = "UPDATE record SET cid = ?, rev = ?, subject = ?, body = ? WHERE account = ? AND path = ?"
	var before int64
	if err := c.tx.queryRow(c.ctx, size, int64(c.acct), op.Path).Scan(&before); err != nil {
		return err
	}
	_, err := c.tx.exec(c.ctx, update, op.CID.Bytes(), c.diff.Head.Commit.Rev.String(), nullString(w.Subject), w.Record, int64(c.acct), op.Path)
	if err != nil {
		return err
	}
	c.bytes += int64(len(w.Record)) - before
	if err := c.removeRefs(op.Path); err != nil {
		return err
	}
	return c.addRefs(op.Path, w)
}

func (c *change) delete(op *repo.Op, w *repo.Write) error {
	const del = "DELETE FROM record WHERE account = ? AND path = ? RETURNING length(body)"
	const collection = `DELETE FROM collection WHERE collection = ?1 AND account = ?2
		AND NOT EXISTS (SELECT 1 FROM record WHERE account = ?2 AND path > ?3 AND path < ?4)`
	var size int64
	if err := c.tx.queryRow(c.ctx, del, int64(c.acct), op.Path).Scan(&size); err != nil {
		return err
	}
	c.records--
	c.bytes -= size
	c.listed = ""
	lo, hi := collectionRange(w.Collection)
	if _, err := c.tx.exec(c.ctx, collection, w.Collection.String(), int64(c.acct), lo, hi); err != nil {
		return err
	}
	return c.removeRefs(op.Path)
}

// addRefs notes which blobs the record refers to and makes them public.
func (c *change) addRefs(path string, w *repo.Write) error {
	const insert = "INSERT INTO blob_ref (account, path, cid) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
	const public = "UPDATE blob SET referenced = 1 WHERE account = ? AND cid = ? AND referenced = 0"
	for _, ref := range w.Blobs {
		if _, err := c.tx.exec(c.ctx, insert, int64(c.acct), path, ref.CID.Bytes()); err != nil {
			return err
		}
		if _, err := c.tx.exec(c.ctx, public, int64(c.acct), ref.CID.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// removeRefs forgets which blobs the record referred to.
func (c *change) removeRefs(path string) error {
	const del = "DELETE FROM blob_ref WHERE account = ? AND path = ? RETURNING cid"
	rows, err := c.tx.query(c.ctx, del, int64(c.acct), path)
	gone, err := collect(rows, err, scanCID)
	c.released = append(c.released, gone...)
	return err
}

// dropBlobs deletes those of the released blobs that no record refers to any more.
func (c *change) dropBlobs() error {
	const query = "SELECT EXISTS (SELECT 1 FROM blob_ref WHERE account = ? AND cid = ?)"
	for _, blob := range c.released {
		var used bool
		if err := c.tx.queryRow(c.ctx, query, int64(c.acct), blob.Bytes()).Scan(&used); err != nil {
			return err
		}
		if used {
			continue
		}
		if err := c.tx.dropBlob(c.ctx, c.acct, c.did, blob); err != nil {
			return err
		}
	}
	return nil
}

// writeHead moves the head to the diff's.
func (c *change) writeHead() error {
	const update = "UPDATE repo SET head = ?, block = ?, rev = ?, data = ?, records = records + ?, bytes = bytes + ? WHERE account = ?"
	h := &c.diff.Head
	_, err := c.tx.exec(c.ctx, update, h.CID.Bytes(), h.Block, h.Commit.Rev.String(), h.Commit.Data.Bytes(), c.records, c.bytes, int64(c.acct))
	if err != nil {
		return fmt.Errorf("move head of %s: %w", c.did, err)
	}
	return nil
}
