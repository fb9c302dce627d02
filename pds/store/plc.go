package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// maxNotedOperations is how many operations of one DID are remembered. The directory takes a hundred a week.
const maxNotedOperations = 300

// NotePLCOperation remembers an operation as this server's: sent by it, or only signed for the owner.
func (tx *Tx) NotePLCOperation(ctx context.Context, did syntax.DID, cid string, sent bool) error {
	const insert = `INSERT INTO plc_operation (did, cid, sent, created_at) VALUES (?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET sent = max(sent, excluded.sent)`
	const trim = `DELETE FROM plc_operation WHERE did = ?1
		AND cid NOT IN (SELECT cid FROM plc_operation WHERE did = ?1 ORDER BY created_at DESC LIMIT ?2)`
	_, err := tx.exec(ctx, insert, did.String(), cid, sent, micros(tx.now))
	if err == nil {
		_, err = tx.exec(ctx, trim, did.String(), maxNotedOperations)
	}
	if err != nil {
		return fmt.Errorf("note PLC operation of %s: %w", did, err)
	}
	return nil
}

// PLCOperations returns the CIDs of the DID's operations that are this server's, and whether it sent them.
func (s *Store) PLCOperations(ctx context.Context, did syntax.DID) (map[string]bool, error) {
	rows, err := s.read.query(ctx, `SELECT cid, sent FROM plc_operation WHERE did = ?`, did.String())
	noted := map[string]bool{}
	_, err = collect(rows, err, func(r *sql.Rows, _ *struct{}) error {
		var cid string
		var sent bool
		err := r.Scan(&cid, &sent)
		noted[cid] = sent
		return err
	})
	return noted, err
}

// PLCHead returns the CID of the newest operation that was looked at, "" for an account at which nobody has looked yet.
func (s *Store) PLCHead(ctx context.Context, id AccountID) (string, error) {
	var head sql.NullString
	err := s.read.queryRow(ctx, `SELECT head FROM plc_watch WHERE account = ?`, id).Scan(&head)
	if err == ErrNotFound {
		err = nil
	}
	return head.String, err
}

// SetPLCHead notes up to which operation the log of an account's DID was looked at, and when to look again. "" keeps the head.
func (tx *Tx) SetPLCHead(ctx context.Context, id AccountID, head string, due time.Time) error {
	_, err := tx.exec(ctx, `INSERT INTO plc_watch (account, head, due_at) VALUES (?, ?, ?)
		ON CONFLICT DO UPDATE SET head = coalesce(excluded.head, head), due_at = excluded.due_at`, id, nullString(head), micros(due))
	return err
}

// DuePLCLooks lists accounts with a did:plc whose log is to be looked at now, the longest waiting first.
func (s *Store) DuePLCLooks(ctx context.Context, now time.Time, limit int) ([]AccountID, error) {
	rows, err := s.read.query(ctx, `SELECT a.id FROM plc_watch w JOIN account a ON a.id = w.account
		WHERE w.due_at <= ? AND a.deleted_at IS NULL ORDER BY w.due_at LIMIT ?`, micros(now), limit)
	return collect(rows, err, scanOne[AccountID])
}

// States of a PLCAlert.
const (
	AlertOpen      = "open"
	AlertNullified = "nullified" // another operation has taken its place
	AlertDismissed = "dismissed" // by the operator
)

// PLCAlert is an operation of an account's DID that this server has not made.
type PLCAlert struct {
	ID      int64
	Account AccountID
	CID     string
	Kind    string
	Signer  string // did:key
	Holder  string
	Asked   bool   // signed here with a code that the owner had
	Changes []byte // JSON: what it changed
	MadeAt  time.Time
	SeenAt  time.Time
	State   string
}

// AddPLCAlert stores an alert. One of the same operation is not stored twice.
func (tx *Tx) AddPLCAlert(ctx context.Context, a PLCAlert) error {
	_, err := tx.exec(ctx, `INSERT INTO plc_alert (account, cid, kind, signer, holder, asked, changes, made_at, seen_at, state)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		a.Account, a.CID, a.Kind, a.Signer, a.Holder, a.Asked, string(a.Changes), micros(a.MadeAt), micros(tx.now), AlertOpen)
	return err
}

// EndPLCAlert gives an open alert another state.
func (tx *Tx) EndPLCAlert(ctx context.Context, id AccountID, cid, state string) error {
	_, err := tx.exec(ctx, `UPDATE plc_alert SET state = ? WHERE account = ? AND cid = ? AND state = ?`, state, id, cid, AlertOpen)
	return err
}

// DismissPLCAlerts dismisses the open alerts of an account.
func (tx *Tx) DismissPLCAlerts(ctx context.Context, id AccountID) error {
	_, err := tx.exec(ctx, `UPDATE plc_alert SET state = ? WHERE account = ? AND state = ?`, AlertDismissed, id, AlertOpen)
	return err
}

// PLCAlerts lists alerts, the newest first: of one account, or with 0 of all; the open ones, or all.
func (s *Store) PLCAlerts(ctx context.Context, id AccountID, all bool, limit int) ([]PLCAlert, error) {
	rows, err := s.read.query(ctx, `SELECT id, account, cid, kind, signer, holder, asked, changes, made_at, seen_at, state FROM plc_alert
		WHERE (?1 = 0 OR account = ?1) AND (?2 OR state = ?3) ORDER BY made_at DESC, id DESC LIMIT ?4`, id, all, AlertOpen, limit)
	return collect(rows, err, func(r *sql.Rows, a *PLCAlert) error {
		var made, seen int64
		var changes string
		if err := r.Scan(&a.ID, &a.Account, &a.CID, &a.Kind, &a.Signer, &a.Holder, &a.Asked, &changes, &made, &seen, &a.State); err != nil {
			return err
		}
		a.MadeAt, a.SeenAt = fromMicros(made), fromMicros(seen)
		a.Changes = []byte(changes)
		return nil
	})
}

// SweepPLCAlerts removes alerts that were seen before the time given.
func (tx *Tx) SweepPLCAlerts(ctx context.Context, before time.Time) error {
	_, err := tx.exec(ctx, `DELETE FROM plc_alert WHERE seen_at < ?`, micros(before))
	return err
}
