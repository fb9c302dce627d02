package oauth

import (
	"context"
	"errors"
	"slices"
	"time"

	"perch/pds/oauth/scope"
	"perch/pds/store"
)

// How old a permission set may be. Its author may change it at any time, and people rely on the change.
const (
	setFresh   = time.Hour           // used without asking again
	setRetry   = 5 * time.Minute     // after its author's host did not answer
	setExpired = 90 * 24 * time.Hour // no session begins with one that could not be asked for since
	setTimeout = 10 * time.Second    // for all sets of a request
	maxSets    = 10                  // in one request: each may cost look-ups at strangers' hosts
)

// ErrNoLexicon says that a lexicon does not exist, or is not what its name says.
var ErrNoLexicon = errors.New("the lexicon does not exist")

// expand takes the permission sets in scopes apart. What the scopes themselves give comes out as it went in; values that are not understood are left out.
// begin says that a session is about to begin, for which a set must not be too old.
func (s *Service) expand(ctx context.Context, scopes []string, begin bool) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, setTimeout)
	defer cancel()
	var out []string
	sets := 0
	add := func(v string) {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	for _, v := range scopes {
		p, ok := scope.Parse(v)
		if !ok {
			continue
		}
		if p.Resource != scope.Include {
			add(v)
			continue
		}
		if sets++; sets > maxSets {
			return nil, refuse(InvalidScope, "There are too many permission sets in one request")
		}
		set, err := s.permissionSet(ctx, p.Set, begin)
		if err != nil {
			return nil, err
		}
		for _, included := range scope.Expand(p, set) {
			add(included.String())
		}
	}
	return out, nil
}

// permissionSet returns a permission set: the stored one, asked for anew when it is old. When its author's host does not answer, the old one serves on.
func (s *Service) permissionSet(ctx context.Context, nsid string, begin bool) (*scope.PermissionSet, error) {
	stored, err := s.opts.Store.OAuthLexicon(ctx, nsid)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	now, have := s.now(), err == nil
	if !have || now.Sub(stored.FetchedAt) >= setFresh && now.Sub(stored.TriedAt) >= setRetry {
		set, err := s.fetchSet(ctx, nsid, have)
		if err == nil {
			return set, nil
		}
		if !have {
			return nil, refuse(InvalidScope, "The permission set "+clip(nsid)+" cannot be found").because(err)
		}
		s.opts.Logger.WarnContext(ctx, "fetch a permission set", "nsid", nsid, "err", err)
	}
	if begin && now.Sub(stored.FetchedAt) >= setExpired {
		return nil, refuse(InvalidScope, "The permission set "+clip(nsid)+" cannot be found any more")
	}
	return parseSet(nsid, stored.Lexicon)
}

func parseSet(nsid string, lexicon []byte) (*scope.PermissionSet, error) {
	set, err := scope.ParseSet(nsid, lexicon)
	if err != nil {
		return nil, refuse(InvalidScope, clip(nsid)+" is no permission set").because(err)
	}
	return set, nil
}

// fetchSet asks the author for a set and stores it.
func (s *Service) fetchSet(ctx context.Context, nsid string, have bool) (*scope.PermissionSet, error) {
	if s.opts.Lexicon == nil {
		return nil, ErrNoLexicon
	}
	raw, err := s.opts.Lexicon(ctx, nsid)
	var set *scope.PermissionSet
	if err == nil {
		set, err = scope.ParseSet(nsid, raw)
	}
	ctx, now := context.WithoutCancel(ctx), s.now() // whoever asked may have lost patience: what came of it is kept nevertheless
	if err != nil {
		if have {
			err = errors.Join(err, s.opts.Store.Update(ctx, func(tx *store.Tx) error { return tx.TriedOAuthLexicon(ctx, nsid, now) }))
		}
		return nil, err
	}
	return set, s.opts.Store.Update(ctx, func(tx *store.Tx) error {
		return tx.PutOAuthLexicon(ctx, store.OAuthLexicon{NSID: nsid, Lexicon: raw, FetchedAt: now, TriedAt: now})
	})
}
