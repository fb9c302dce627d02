package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// RoleAdmin is the role of accounts that may use the administration pages.
const RoleAdmin = "admin"

// SetRole gives the account a role, or takes it away with "".
func (tx *Tx) SetRole(ctx context.Context, id AccountID, role string) error {
	return tx.updateAccount(ctx, id, `UPDATE account SET role = ? WHERE id = ?`, nullString(role))
}

// AccountUsage is what an account takes up, and when it was last used.
type AccountUsage struct {
	Records, Bytes   int64 // of the repository
	Blobs, BlobBytes int64
	Rev              syntax.TID // of the last commit; "" without a repository
	SeenAt           time.Time  // when a session was last begun or renewed
}

// WrittenAt is when the repository was last written to, as its rev says.
func (u *AccountUsage) WrittenAt() time.Time {
	if u.Rev == "" {
		return time.Time{}
	}
	return u.Rev.Time().UTC()
}

// ListedAccount is an account with what it takes up.
type ListedAccount struct {
	*Account
	AccountUsage
}

// AccountOrder is an order of lists of accounts: always the greatest first, but for handles.
type AccountOrder string

// The orders.
const (
	ByCreated AccountOrder = "created"
	ByHandle  AccountOrder = "handle"
	ByRecords AccountOrder = "records"
	ByBlobs   AccountOrder = "blobs"
	ByWritten AccountOrder = "written"
	BySeen    AccountOrder = "seen"
)

// orderKeys are the expressions by which accounts are ordered, statusConditions those by which they are chosen.
var (
	orderKeys = map[AccountOrder]string{
		ByCreated: "a.created_at", ByHandle: "a.handle", ByRecords: "coalesce(r.bytes, 0)", ByBlobs: "coalesce(u.blob_bytes, 0)",
		ByWritten: "coalesce(r.rev, '')", BySeen: "coalesce(u.seen_at, 0)",
	}
	statusConditions = map[string]string{
		"":                "a.deleted_at IS NULL",
		"active":          "a.deleted_at IS NULL AND a.takedown_ref IS NULL AND a.suspended_at IS NULL AND a.deactivated_at IS NULL",
		StatusTakendown:   "a.deleted_at IS NULL AND a.takedown_ref IS NOT NULL",
		StatusSuspended:   "a.deleted_at IS NULL AND a.takedown_ref IS NULL AND a.suspended_at IS NOT NULL",
		StatusDeactivated: "a.deleted_at IS NULL AND a.takedown_ref IS NULL AND a.suspended_at IS NULL AND a.deactivated_at IS NOT NULL",
		RoleAdmin:         "a.deleted_at IS NULL AND a.role = 'admin'",
	}
)

// AccountQuery chooses accounts that are not deleted.
type AccountQuery struct {
	Text   string       // part of a handle or e-mail address, or a DID; "": all
	Status string       // "active", one of the statuses, or RoleAdmin; "": all
	Order  AccountOrder // "": ByCreated
	After  AccountID    // the last of the page before; 0 for the first page
	Limit  int
}

// ListAccounts lists accounts with what they take up.
func (s *Store) ListAccounts(ctx context.Context, q AccountQuery) ([]ListedAccount, error) {
	key, ok := orderKeys[q.Order]
	if !ok {
		key = orderKeys[ByCreated]
	}
	where, ok := statusConditions[q.Status]
	if !ok {
		where = statusConditions[""]
	}
	const from = ` FROM account a LEFT JOIN repo r ON r.account = a.id LEFT JOIN account_usage u ON u.account = a.id `
	compare, direction := "<", "DESC"
	if q.Order == ByHandle {
		compare, direction = ">", "ASC"
	}
	after := ""
	if q.After != 0 {
		after = `AND (` + key + `, a.id) ` + compare + ` (SELECT ` + key + `, a.id` + from + `WHERE a.id = ?2)`
	}
	order := ` ORDER BY ` + key + ` ` + direction + `, a.id ` + direction
	// What is sorted are ids; only of those on the page the rest is read. ?2 = ?2 is for the first page, which has no other use for it.
	query := `SELECT ` + listedColumns + from + `WHERE a.id IN (SELECT a.id` + from + `WHERE ` + where + `
		AND (?1 = '' OR instr(a.handle, ?1) > 0 OR instr(a.email, ?1) > 0 OR a.did = ?1) AND ?2 = ?2 ` + after + order + ` LIMIT ?3)` + order
	rows, err := s.read.query(ctx, query, strings.ToLower(strings.TrimPrefix(strings.TrimSpace(q.Text), "@")), int64(q.After), q.Limit)
	return collect(rows, err, func(r *sql.Rows, l *ListedAccount) (err error) {
		*l, err = scanListed(r.Scan)
		return err
	})
}

var listedColumns = "a." + strings.ReplaceAll(strings.Join(strings.Fields(accountColumns), " "), ", ", ", a.") +
	`, coalesce(r.records, 0), coalesce(r.bytes, 0), coalesce(r.rev, ''), coalesce(u.blobs, 0), coalesce(u.blob_bytes, 0), coalesce(u.seen_at, 0)`

func scanListed(scan func(...any) error) (l ListedAccount, err error) {
	var seen int64
	l.Account, err = scanAccount(func(dest ...any) error {
		return scan(append(dest, &l.Records, &l.Bytes, &l.Rev, &l.Blobs, &l.BlobBytes, &seen)...)
	})
	l.SeenAt = fromMicros(seen)
	return l, err
}

// AccountUsage tells what an account takes up.
func (s *Store) AccountUsage(ctx context.Context, acct *Account) (ListedAccount, error) {
	l, err := scanListed(s.read.queryRow(ctx, `SELECT `+listedColumns+` FROM account a LEFT JOIN repo r ON r.account = a.id
		LEFT JOIN account_usage u ON u.account = a.id WHERE a.id = ?`, acct.ID).Scan)
	if err != nil {
		return l, fmt.Errorf("usage of %s: %w", acct.DID, err)
	}
	return l, nil
}

// AccountCounts is how many accounts there are.
type AccountCounts struct {
	All, Active, Takendown, Suspended, Deactivated int64
}

// CountAccounts counts the accounts that are not deleted.
func (s *Store) CountAccounts(ctx context.Context) (c AccountCounts, err error) {
	const query = `SELECT count(*), coalesce(sum(takedown_ref IS NOT NULL), 0), coalesce(sum(takedown_ref IS NULL AND suspended_at IS NOT NULL), 0),
		coalesce(sum(takedown_ref IS NULL AND suspended_at IS NULL AND deactivated_at IS NOT NULL), 0) FROM account WHERE deleted_at IS NULL`
	err = s.read.queryRow(ctx, query).Scan(&c.All, &c.Takendown, &c.Suspended, &c.Deactivated)
	c.Active = c.All - c.Takendown - c.Suspended - c.Deactivated
	return c, err
}
