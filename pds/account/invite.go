package account

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/store"
)

const (
	// Admin is the owner and the maker of codes that belong to no account.
	Admin = "admin"
	// maxOpenInvites is how many codes an account may have earned and not used.
	maxOpenInvites = 5
	inviteBytes    = 7 // of which 10 letters of base32 are used
)

func inviteUnavailable() error { return refuse(ErrInvalidInvite, "Provided invite code not available") }

// CheckInvite tells whether a code would do for a sign-up now, or is not asked for.
func (s *Service) CheckInvite(ctx context.Context, code string) error {
	if !s.opts.InviteRequired {
		return nil
	}
	return s.checkInvite(ctx, code, 1)
}

// checkInvite sees that a code has so many uses left.
func (s *Service) checkInvite(ctx context.Context, code string, uses int64) error {
	i, err := s.store.Invite(ctx, code)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err != nil || i.Disabled || int64(len(i.Uses))+uses > i.AvailableUses {
		return inviteUnavailable()
	}
	return s.checkInviter(ctx, i)
}

// checkInviter refuses codes of an account that may not act any more.
func (s *Service) checkInviter(ctx context.Context, i store.Invite) error {
	if i.ForAccount == Admin {
		return nil
	}
	a, err := s.store.AccountByDID(ctx, syntax.DID(i.ForAccount))
	if errors.Is(err, store.ErrNotFound) {
		return nil // made for somebody who never came, or who lives elsewhere
	}
	if err == nil && barred(a) {
		return inviteUnavailable()
	}
	return err
}

// newInviteCode returns "<hostname with dashes>-xxxxx-xxxxx".
func (s *Service) newInviteCode() string {
	b := make([]byte, inviteBytes)
	rand.Read(b)
	t := strings.ToLower(base32.StdEncoding.EncodeToString(b))
	return strings.ReplaceAll(s.opts.Hostname, ".", "-") + "-" + t[0:5] + "-" + t[5:10]
}

// CreateInvites makes count codes of uses uses each, for every account given (DIDs, or Admin), and returns them by account in that order.
func (s *Service) CreateInvites(ctx context.Context, createdBy string, forAccounts []string, count int, uses int64) ([][]store.Invite, error) {
	now := s.now()
	all := make([][]store.Invite, len(forAccounts))
	for n, owner := range forAccounts {
		for range count {
			all[n] = append(all[n], store.Invite{Code: s.newInviteCode(), AvailableUses: uses, ForAccount: owner, CreatedBy: createdBy, CreatedAt: now})
		}
	}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		for _, invites := range all {
			if err := createInvites(ctx, tx, invites); err != nil {
				return err
			}
		}
		return nil
	})
	return all, err
}

func createInvites(ctx context.Context, tx *store.Tx, invites []store.Invite) error {
	for _, i := range invites {
		if err := tx.CreateInvite(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// AccountInvites lists the codes that the account may give away and that are not disabled. With earn, it first gets those it has earned since;
// without includeUsed, used-up codes are left out.
func (s *Service) AccountInvites(ctx context.Context, acct *store.Account, includeUsed, earn bool) ([]store.Invite, error) {
	all, err := s.store.InvitesOf(ctx, string(acct.DID))
	if err != nil {
		return nil, err
	}
	if earn && s.earned(acct, all) > 0 {
		if all, err = s.earn(ctx, acct); err != nil {
			return nil, err
		}
	}
	var shown []store.Invite
	for _, i := range all {
		if i.Open() || includeUsed && !i.Disabled {
			shown = append(shown, i)
		}
	}
	return shown, nil
}

// earn counts again inside the transaction, so that asking twice at once earns nothing twice.
func (s *Service) earn(ctx context.Context, acct *store.Account) (all []store.Invite, err error) {
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if all, err = tx.InvitesOf(ctx, string(acct.DID)); err != nil {
			return err
		}
		var fresh []store.Invite
		for range s.earned(acct, all) {
			fresh = append(fresh, store.Invite{
				Code: s.newInviteCode(), AvailableUses: 1, ForAccount: string(acct.DID), CreatedBy: string(acct.DID), CreatedAt: s.now(),
			})
		}
		all = append(all, fresh...)
		return createInvites(ctx, tx, fresh)
	})
	return all, err
}

// earned is how many codes the account may have made for it now: one for every interval of its life after the epoch, less those it got since
// the epoch, and never so many that more than five are open. Codes that the admin gave do not count.
func (s *Service) earned(acct *store.Account, all []store.Invite) int {
	interval := s.opts.InviteInterval
	if !s.opts.InviteRequired || interval <= 0 || acct.InvitesDisabled {
		return 0
	}
	open, sinceEpoch := 0, 0
	for _, i := range all {
		if i.CreatedBy == Admin {
			continue
		}
		if i.Open() {
			open++
		}
		if i.CreatedAt.After(s.opts.InviteEpoch) {
			sinceEpoch++
		}
	}
	could := intervals(acct.CreatedAt, s.now(), interval)
	if acct.CreatedAt.Before(s.opts.InviteEpoch) {
		could -= intervals(acct.CreatedAt, s.opts.InviteEpoch, interval)
	}
	return max(0, min(maxOpenInvites-open, could-sinceEpoch))
}

func intervals(from, to time.Time, interval time.Duration) int {
	return int(to.Sub(from) / interval)
}

// SetInvitesDisabled keeps an account from earning invite codes, and disables those it has; or lets it earn again.
func (s *Service) SetInvitesDisabled(ctx context.Context, acct *store.Account, disabled bool) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		if err := tx.SetInvitesDisabled(ctx, acct.ID, disabled); err != nil || !disabled {
			return err
		}
		return tx.DisableInvitesOf(ctx, string(acct.DID))
	})
}

// DisableInvites disables codes, and all codes of the accounts given (DIDs).
func (s *Service) DisableInvites(ctx context.Context, codes, accounts []string) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		for _, a := range accounts {
			if err := tx.DisableInvitesOf(ctx, a); err != nil {
				return err
			}
		}
		return tx.DisableInvites(ctx, codes...)
	})
}
