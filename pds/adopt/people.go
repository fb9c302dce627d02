package adopt

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/store"
)

// person is an account as account.sqlite has it.
type person struct {
	account      store.Account
	appPasswords []store.AppPassword
	sessions     []store.Session
}

// sessionLifetime is how long the reference's refresh tokens live; the beginning of a session is not stored.
const sessionLifetime = 90 * 24 * time.Hour

// people reads all accounts with how they sign in, in the order of their making.
func (src *Source) people(ctx context.Context, now time.Time) ([]*person, error) {
	all, byDID, err := src.actors(ctx)
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	if err := src.appPasswords(ctx, byDID); err != nil {
		return nil, fmt.Errorf("read app passwords: %w", err)
	}
	if err := src.sessions(ctx, byDID, now); err != nil {
		return nil, fmt.Errorf("read sessions: %w", err)
	}
	return all, nil
}

func (src *Source) actors(ctx context.Context) ([]*person, map[syntax.DID]*person, error) {
	deactivated, err := src.accounts.column(ctx, "actor", "deactivatedAt", "NULL")
	if err != nil {
		return nil, nil, err
	}
	deleteAfter, err := src.accounts.column(ctx, "actor", "deleteAfter", "NULL")
	if err != nil {
		return nil, nil, err
	}
	query := `SELECT a.did, a.handle, a.createdAt, a.takedownRef, ` + deactivated + `, ` + deleteAfter + `,
		p.email, p.passwordScrypt, p.emailConfirmedAt, coalesce(p.invitesDisabled, 0),
		(SELECT u.code FROM invite_code_use u WHERE u.usedBy = a.did ORDER BY u.usedAt LIMIT 1)
		FROM actor a LEFT JOIN account p ON p.did = a.did ORDER BY a.createdAt, a.did`
	var all []*person
	byDID := map[syntax.DID]*person{}
	err = src.accounts.each(ctx, query, func(rows *sql.Rows) error {
		var handle, created, takedown, deactivated, deleteAfter, email, password, confirmed, invite sql.NullString
		p := &person{}
		a := &p.account
		err := rows.Scan(&a.DID, &handle, &created, &takedown, &deactivated, &deleteAfter, &email, &password, &confirmed, &a.InvitesDisabled, &invite)
		a.Handle, a.Email, a.PasswordHash, a.TakedownRef, a.InvitedBy =
			syntax.Handle(handle.String), email.String, password.String, takedown.String, invite.String
		a.CreatedAt, a.EmailConfirmedAt = parseTime(created.String), parseTime(confirmed.String)
		a.DeactivatedAt, a.DeleteAfter = parseTime(deactivated.String), parseTime(deleteAfter.String)
		if deactivated.Valid && a.DeactivatedAt.IsZero() {
			a.DeactivatedAt = a.CreatedAt // whatever is written there, it is not active
		}
		all = append(all, p)
		byDID[a.DID] = p
		return err
	})
	return all, byDID, err
}

func (src *Source) appPasswords(ctx context.Context, byDID map[syntax.DID]*person) error {
	privileged, err := src.accounts.column(ctx, "app_password", "privileged", "0")
	if err != nil {
		return err
	}
	return src.accounts.each(ctx, "SELECT did, name, passwordScrypt, createdAt, "+privileged+" FROM app_password", func(rows *sql.Rows) error {
		var did syntax.DID
		var created string
		var p store.AppPassword
		err := rows.Scan(&did, &p.Name, &p.Hash, &created, &p.Privileged)
		p.CreatedAt = parseTime(created)
		if owner := byDID[did]; owner != nil { // those of deleted accounts are left behind there
			owner.appPasswords = append(owner.appPasswords, p)
		}
		return err
	})
}

// sessions reads the refresh tokens that still work.
func (src *Source) sessions(ctx context.Context, byDID map[syntax.DID]*person, now time.Time) error {
	const query = "SELECT id, did, expiresAt, nextId, appPasswordName FROM refresh_token"
	return src.accounts.each(ctx, query, func(rows *sql.Rows) error {
		var did syntax.DID
		var expires string
		var next, app sql.NullString
		var ses store.Session
		if err := rows.Scan(&ses.ID, &did, &expires, &next, &app); err != nil {
			return err
		}
		ses.ExpiresAt, ses.NextID, ses.AppPassword = parseTime(expires), next.String, app.String
		if ses.CreatedAt = ses.ExpiresAt.Add(-sessionLifetime); ses.NextID != "" {
			ses.CreatedAt = now // its end was brought near when it was refreshed
		}
		if owner := byDID[did]; owner != nil && now.Before(ses.ExpiresAt) {
			owner.sessions = append(owner.sessions, ses)
		}
		return nil
	})
}

// invites reads all invite codes with their uses.
func (src *Source) invites(ctx context.Context) ([]store.Invite, error) {
	var all []store.Invite
	index := map[string]int{}
	const codes = "SELECT code, availableUses, coalesce(disabled, 0), forAccount, createdBy, createdAt FROM invite_code ORDER BY createdAt, code"
	err := src.accounts.each(ctx, codes, func(rows *sql.Rows) error {
		var i store.Invite
		var created string
		err := rows.Scan(&i.Code, &i.AvailableUses, &i.Disabled, &i.ForAccount, &i.CreatedBy, &created)
		i.CreatedAt = parseTime(created)
		index[i.Code] = len(all)
		all = append(all, i)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read invite codes: %w", err)
	}
	err = src.accounts.each(ctx, "SELECT code, usedBy, usedAt FROM invite_code_use", func(rows *sql.Rows) error {
		var code, at string
		var u store.InviteUse
		err := rows.Scan(&code, &u.UsedBy, &at)
		u.UsedAt = parseTime(at)
		if i, ok := index[code]; ok {
			all[i].Uses = append(all[i].Uses, u)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read uses of invite codes: %w", err)
	}
	return all, nil
}

// oauthSignIns counts the sign-ins by OAuth, 0 in releases without.
func (src *Source) oauthSignIns(ctx context.Context) (n int, err error) {
	name, err := src.accounts.column(ctx, "token", "tokenId", "")
	if err != nil || name == "" {
		return 0, err
	}
	err = src.accounts.QueryRowContext(ctx, "SELECT count(*) FROM token").Scan(&n)
	return n, err
}
