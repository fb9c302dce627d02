package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// ErrInviteUsed: the invite code does not exist, is disabled, or has no use left.
var ErrInviteUsed = errors.New("invite code is not available")

// Invite is an invite code with the uses made of it.
type Invite struct {
	Code          string
	AvailableUses int64 // in all; those left are AvailableUses - len(Uses)
	Disabled      bool
	ForAccount    string // DID that may give it away, or "admin"
	CreatedBy     string // DID, or "admin"
	CreatedAt     time.Time
	Uses          []InviteUse
}

// InviteUse is one sign-up with an invite code.
type InviteUse struct {
	UsedBy syntax.DID
	UsedAt time.Time
}

// Open tells whether the code can still be used.
func (i *Invite) Open() bool { return !i.Disabled && int64(len(i.Uses)) < i.AvailableUses }

const inviteColumns = `code, available_uses, disabled, for_account, created_by, created_at`

func scanInvite(scan func(...any) error) (Invite, error) {
	var i Invite
	var created int64
	err := scan(&i.Code, &i.AvailableUses, &i.Disabled, &i.ForAccount, &i.CreatedBy, &created)
	i.CreatedAt = fromMicros(created)
	return i, err
}

func inviteByCode(ctx context.Context, q querier, code string) (Invite, error) {
	i, err := scanInvite(q.queryRow(ctx, `SELECT `+inviteColumns+` FROM invite_code WHERE code = ?`, code).Scan)
	if err == nil {
		i.Uses, err = inviteUses(ctx, q, code)
	}
	if err != nil {
		return Invite{}, fmt.Errorf("invite code: %w", err)
	}
	return i, nil
}

func inviteUses(ctx context.Context, q querier, code string) ([]InviteUse, error) {
	rows, err := q.query(ctx, `SELECT used_by, used_at FROM invite_use WHERE code = ? ORDER BY used_at, used_by`, code)
	return collect(rows, err, func(r *sql.Rows, u *InviteUse) error {
		var at int64
		err := r.Scan(&u.UsedBy, &at)
		u.UsedAt = fromMicros(at)
		return err
	})
}

func invitesOf(ctx context.Context, q querier, forAccount string) ([]Invite, error) {
	rows, err := q.query(ctx, `SELECT `+inviteColumns+` FROM invite_code WHERE for_account = ? ORDER BY created_at, code`, forAccount)
	return withUses(ctx, q, rows, err)
}

func withUses(ctx context.Context, q querier, rows *sql.Rows, err error) ([]Invite, error) {
	all, err := collect(rows, err, func(r *sql.Rows, i *Invite) (err error) {
		*i, err = scanInvite(r.Scan)
		return err
	})
	if err != nil {
		return nil, err
	}
	for n := range all {
		if all[n].Uses, err = inviteUses(ctx, q, all[n].Code); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Invite returns an invite code with its uses, or ErrNotFound.
func (s *Store) Invite(ctx context.Context, code string) (Invite, error) {
	return inviteByCode(ctx, s.read, code)
}

// InvitesOf lists the codes that an account (a DID, or "admin") may give away, oldest first.
func (s *Store) InvitesOf(ctx context.Context, forAccount string) ([]Invite, error) {
	return invitesOf(ctx, s.read, forAccount)
}

// InvitesOf is Store.InvitesOf as the transaction sees it.
func (tx *Tx) InvitesOf(ctx context.Context, forAccount string) ([]Invite, error) {
	return invitesOf(ctx, tx, forAccount)
}

// InviteOrder is an order of lists of invite codes.
type InviteOrder int

// The orders: the newest first, or those with the most uses first.
const (
	InvitesRecent InviteOrder = iota
	InvitesUsage
)

// InvitesBy lists codes of all accounts in an order, from the one after the code given ("": the first), for administration.
func (s *Store) InvitesBy(ctx context.Context, order InviteOrder, after string, limit int) ([]Invite, error) {
	const (
		uses   = `(SELECT count(*) FROM invite_use u WHERE u.code = i.code)`
		from   = `SELECT ` + inviteColumns + ` FROM invite_code i WHERE ?1 = '' OR `
		recent = from + `(created_at, code) < (SELECT created_at, code FROM invite_code WHERE code = ?1) ORDER BY created_at DESC, code DESC LIMIT ?2`
		usage  = from + `(` + uses + `, code) < ((SELECT count(*) FROM invite_use WHERE code = ?1), ?1) ORDER BY ` + uses + ` DESC, code DESC LIMIT ?2`
	)
	query := recent
	if order == InvitesUsage {
		query = usage
	}
	rows, err := s.read.query(ctx, query, after, limit)
	return withUses(ctx, s.read, rows, err)
}

// InviteUsedBy returns the code that an account signed up with, or ErrNotFound.
func (s *Store) InviteUsedBy(ctx context.Context, did syntax.DID) (Invite, error) {
	var code string
	err := s.read.queryRow(ctx, `SELECT i.code FROM account a JOIN invite_code i ON i.code = a.invited_by WHERE a.did = ?`, string(did)).Scan(&code)
	if err != nil {
		return Invite{}, fmt.Errorf("invite code of %s: %w", did, err)
	}
	return inviteByCode(ctx, s.read, code)
}

// CreateInvite inserts an invite code; Uses are ignored.
func (tx *Tx) CreateInvite(ctx context.Context, i Invite) error {
	_, err := tx.exec(ctx, `INSERT INTO invite_code (`+inviteColumns+`) VALUES (?, ?, ?, ?, ?, ?)`,
		i.Code, i.AvailableUses, i.Disabled, i.ForAccount, i.CreatedBy, micros(i.CreatedAt))
	if err != nil {
		return fmt.Errorf("create invite code: %w", err)
	}
	return nil
}

// UseInvite records a use of a code. The error is ErrInviteUsed when it has none left.
func (tx *Tx) UseInvite(ctx context.Context, code string, by syntax.DID, at time.Time) error {
	i, err := inviteByCode(ctx, tx, code)
	if errors.Is(err, ErrNotFound) || err == nil && !i.Open() {
		return ErrInviteUsed
	}
	if err != nil {
		return err
	}
	_, err = tx.exec(ctx, `INSERT INTO invite_use (code, used_by, used_at) VALUES (?, ?, ?)`, code, string(by), micros(at))
	if err != nil {
		return fmt.Errorf("use invite code: %w", err)
	}
	return nil
}

// DisableInvites disables codes by their names.
func (tx *Tx) DisableInvites(ctx context.Context, codes ...string) error {
	for _, code := range codes {
		if _, err := tx.exec(ctx, `UPDATE invite_code SET disabled = 1 WHERE code = ?`, code); err != nil {
			return fmt.Errorf("disable invite code: %w", err)
		}
	}
	return nil
}

// DisableInvitesOf disables all codes that an account may give away.
func (tx *Tx) DisableInvitesOf(ctx context.Context, forAccount string) error {
	_, err := tx.exec(ctx, `UPDATE invite_code SET disabled = 1 WHERE for_account = ?`, forAccount)
	return err
}
