package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"

	"perch/pds/event"
	"perch/repo"
	"perch/repo/mst"
)

// ErrNotEmpty says that there are events already, so that others cannot come before them.
var ErrNotEmpty = errors.New("the stream has events already")

// Adopted is an account as another server kept it, with all that belongs to it.
type Adopted struct {
	Account      Account // ID is ignored
	Head         repo.Head
	AppPasswords []AppPassword
	Sessions     []Session
	Preferences  []Preference
	Blobs        []Blob // whose bytes are safe already; which are referenced follows from the records
	// Records gives every record once, in the order of their paths. They are read while the transaction is open.
	Records func(yield func(*AdoptedRecord) error) error
	// Announce appends a #sync event, for an account whose events were not taken over with it.
	Announce bool
}

// AdoptedRecord is a record with what can be read out of it.
type AdoptedRecord struct {
	Record
	Subject string // repo.SubjectOf
	Blobs   []cid.Cid
}

// AdoptAccount stores an account with its repository and all else in one transaction, or nothing of it. The head becomes the account's as it is, down to the bytes of its
// commit, and nobody is told, for nothing changes for others. Errors: repo.ErrCorrupt when the records do not make the tree that the head names, ErrHandleTaken,
// ErrEmailTaken, ErrDIDTaken.
//
// It holds the writer for as long as the records take, so it is for a server that is not serving.
func (s *Store) AdoptAccount(ctx context.Context, in *Adopted) (id AccountID, err error) {
	err = s.Update(ctx, func(tx *Tx) error {
		if id, err = tx.CreateAccount(ctx, in.Account); err != nil {
			return err
		}
		a := &adoption{tx: tx, ctx: ctx, acct: id, in: in}
		return a.run()
	})
	if err != nil {
		return 0, fmt.Errorf("adopt %s: %w", in.Account.DID, err)
	}
	return id, nil
}

// adoption is one AdoptAccount under way.
type adoption struct {
	tx   *Tx
	ctx  context.Context
	acct AccountID
	in   *Adopted

	records, bytes int64
	listed         string // collection under which the account is
}

func (a *adoption) run() error {
	for _, step := range []func() error{a.repository, a.blobs, a.signIns, a.preferences, a.announce} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (a *adoption) repository() error {
	tree, err := mst.Derive(scanFunc(func(yield func(string, cid.Cid) error) error {
		return a.in.Records(func(r *AdoptedRecord) error {
			if err := a.record(r); err != nil {
				return fmt.Errorf("record %s: %w", r.Path, err)
			}
			return yield(r.Path, r.CID)
		})
	}), keepLayer)
	if err != nil {
		return err
	}
	h := &a.in.Head
	if tree.Root() != h.Commit.Data {
		return fmt.Errorf("%w: the records make the tree %s, the commit names %s", repo.ErrCorrupt, tree.Root(), h.Commit.Data)
	}
	const insert = "INSERT INTO repo (account, head, block, rev, data, records, bytes) VALUES (?, ?, ?, ?, ?, ?, ?)"
	_, err = a.tx.exec(a.ctx, insert, int64(a.acct), h.CID.Bytes(), h.Block, h.Commit.Rev.String(), h.Commit.Data.Bytes(), a.records, a.bytes)
	if err != nil || a.records < a.tx.s.opts.OutlineRecords {
		return err
	}
	o := &outlineChange{layer: outlineLayer, reset: true}
	if err := tree.Outline(outlineLayer, func(r mst.OutlineRow) error { o.write = append(o.write, r); return nil }); err != nil {
		return err
	}
	return (&change{tx: a.tx, ctx: a.ctx, acct: a.acct}).writeOutline(o)
}

func (a *adoption) record(r *AdoptedRecord) error {
	const (
		insert     = "INSERT INTO record (account, path, cid, rev, subject, takedown_ref, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
		collection = "INSERT INTO collection (collection, account) VALUES (?, ?) ON CONFLICT DO NOTHING"
		ref        = "INSERT INTO blob_ref (account, path, cid) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
	)
	_, err := a.tx.exec(a.ctx, insert, int64(a.acct), r.Path, r.CID.Bytes(), r.Rev.String(), nullString(r.Subject), nullString(r.TakedownRef), r.Body)
	if err != nil {
		return err
	}
	a.records++
	a.bytes += int64(len(r.Body))
	if name := r.Collection().String(); name != a.listed {
		if _, err := a.tx.exec(a.ctx, collection, name, int64(a.acct)); err != nil {
			return err
		}
		a.listed = name
	}
	for _, c := range r.Blobs {
		if _, err := a.tx.exec(a.ctx, ref, int64(a.acct), r.Path, c.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

func (a *adoption) blobs() error {
	const insert = `INSERT INTO blob (account, cid, mime, size, referenced, created_at, takedown_ref)
		VALUES (?1, ?2, ?3, ?4, EXISTS (SELECT 1 FROM blob_ref WHERE account = ?1 AND cid = ?2), ?5, ?6)`
	for _, b := range a.in.Blobs {
		_, err := a.tx.exec(a.ctx, insert, int64(a.acct), b.CID.Bytes(), b.MimeType, b.Size, micros(b.CreatedAt), nullString(b.TakedownRef))
		if err != nil {
			return fmt.Errorf("blob %s: %w", b.CID, err)
		}
	}
	return nil
}

func (a *adoption) signIns() error {
	for _, p := range a.in.AppPasswords {
		p.Account = a.acct
		if err := a.tx.CreateAppPassword(a.ctx, p); err != nil {
			return err
		}
	}
	for _, ses := range a.in.Sessions {
		ses.Account = a.acct
		if err := a.tx.CreateSession(a.ctx, ses); err != nil {
			return err
		}
	}
	return nil
}

func (a *adoption) preferences() error {
	return a.tx.ReplacePreferences(a.ctx, a.acct, a.in.Preferences)
}

func (a *adoption) announce() error {
	if !a.in.Announce || !a.in.Account.Active() {
		return nil
	}
	return a.tx.announceHead(&a.in.Account, a.acct, a.in.Head)
}

// announceHead tells the network where an account's repository is, without saying how it got there.
func (tx *Tx) announceHead(acct *Account, id AccountID, head repo.Head) error {
	e, err := event.NewSync(acct.DID, head, tx.now)
	if err != nil {
		return err
	}
	_, err = tx.AppendEvent(id, e)
	return err
}

// AdoptInvites stores invite codes with their uses. Codes and uses that are here already stay as they are.
func (s *Store) AdoptInvites(ctx context.Context, all []Invite) error {
	const (
		code = "INSERT INTO invite_code (" + inviteColumns + ") VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
		use  = "INSERT INTO invite_use (code, used_by, used_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
	)
	return s.Update(ctx, func(tx *Tx) error {
		for _, i := range all {
			if _, err := tx.exec(ctx, code, i.Code, i.AvailableUses, i.Disabled, i.ForAccount, i.CreatedBy, micros(i.CreatedAt)); err != nil {
				return fmt.Errorf("adopt invite code: %w", err)
			}
			for _, u := range i.Uses {
				if _, err := tx.exec(ctx, use, i.Code, string(u.UsedBy), micros(u.UsedAt)); err != nil {
					return fmt.Errorf("adopt use of an invite code: %w", err)
				}
			}
		}
		return nil
	})
}

// AdoptEvents makes the end of another server's stream the beginning of this one, with its seqs, so that whoever follows it goes on where it was: our own seqs are
// greater. events gives them with rising seqs and complete frames; those of no account here have Account 0. Then it appends a #sync for each account of announce, all in
// one transaction. The error is ErrNotEmpty when there are events already.
func (s *Store) AdoptEvents(ctx context.Context, events func(yield func(StoredEvent) error) error, announce []AccountID) error {
	const insert = "INSERT INTO event (seq, account, time, kind, frame) VALUES (?, ?, ?, ?, ?)"
	return s.Update(ctx, func(tx *Tx) error {
		w := tx.s.w
		if w.seq != 0 {
			return ErrNotEmpty
		}
		err := events(func(e StoredEvent) error {
			if e.Seq <= w.seq || e.Seq > event.MaxSeq {
				return fmt.Errorf("adopt event: seq %d after %d", e.Seq, w.seq)
			}
			if _, err := tx.exec(ctx, insert, e.Seq, int64(e.Account), micros(e.Time), string(e.Kind), e.Frame); err != nil {
				return fmt.Errorf("adopt event %d: %w", e.Seq, err)
			}
			w.seq = e.Seq
			tx.events = append(tx.events[:0], e) // the last one tells where the stream is; nobody is listening yet
			return nil
		})
		if err != nil {
			return err
		}
		return tx.announceHeads(ctx, announce)
	})
}

func (tx *Tx) announceHeads(ctx context.Context, accounts []AccountID) error {
	for _, id := range accounts {
		acct, err := tx.AccountByID(ctx, id)
		if err != nil {
			return err
		}
		head, _, err := tx.Head(ctx, id)
		if err != nil {
			return err
		}
		if err := tx.announceHead(acct, id, head); err != nil {
			return err
		}
	}
	return nil
}
