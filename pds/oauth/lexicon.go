package oauth

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

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

	// maxExpanded bounds what the sets of a request give in all, in bytes of scopes.
	maxExpanded  = 128 << 10
	maxSetFetch  = 64  // at a time
	maxKnownSets = 300 // in memory, of 64 KB at most each
)

// ErrNoLexicon says that a lexicon does not exist, or is not what its name says.
var ErrNoLexicon = errors.New("the lexicon does not exist")

// errExpanded is the refusal of sets that give too much.
var errExpanded = refuse(InvalidScope, "The permission sets give more than one app can be granted")

// sets fetches permission sets, and keeps in memory those that nobody has granted yet: whoever pushes a request may have any number of them looked up, and must not fill the database.
type sets struct {
	fetch  func(ctx context.Context, nsid string) ([]byte, error)
	now    func() time.Time
	flight singleflight.Group
	slots  *semaphore.Weighted

	mu    sync.Mutex
	known map[string]store.OAuthLexicon // guarded by mu; by name
}

func newSets(fetch func(context.Context, string) ([]byte, error), now func() time.Time) *sets {
	return &sets{fetch: fetch, now: now, slots: semaphore.NewWeighted(maxSetFetch), known: make(map[string]store.OAuthLexicon)}
}

// get returns a set that was fetched not long ago, or fetches it.
func (s *sets) get(ctx context.Context, nsid string) (store.OAuthLexicon, error) {
	s.mu.Lock()
	l, ok := s.known[nsid]
	s.mu.Unlock()
	if ok && s.now().Sub(l.FetchedAt) < setFresh {
		return l, nil
	}
	return s.ask(ctx, nsid)
}

// ask asks the author for a set, once for all who wait for it.
func (s *sets) ask(ctx context.Context, nsid string) (store.OAuthLexicon, error) {
	if s.fetch == nil {
		return store.OAuthLexicon{}, ErrNoLexicon
	}
	answer := s.flight.DoChan(nsid, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), setTimeout)
		defer cancel()
		if err := s.slots.Acquire(ctx, 1); err != nil {
			return nil, err
		}
		defer s.slots.Release(1)
		raw, err := s.fetch(ctx, nsid)
		if err == nil {
			_, err = scope.ParseSet(nsid, raw)
		}
		if err != nil {
			return nil, err
		}
		now := s.now()
		return s.keep(store.OAuthLexicon{NSID: nsid, Lexicon: raw, FetchedAt: now, TriedAt: now}), nil
	})
	select {
	case <-ctx.Done():
		return store.OAuthLexicon{}, ctx.Err()
	case a := <-answer:
		l, _ := a.Val.(store.OAuthLexicon)
		return l, a.Err
	}
}

func (s *sets) keep(l store.OAuthLexicon) store.OAuthLexicon {
	s.mu.Lock()
	defer s.mu.Unlock()
	for old := range s.known { // in the map's random order
		if len(s.known) < maxKnownSets {
			break
		}
		delete(s.known, old)
	}
	s.known[l.NSID] = l
	return l
}

// expansion is what scopes come to.
type expansion struct {
	scopes  []string
	fetched []store.OAuthLexicon // the sets among them that are not stored
}

// expand takes the permission sets in scopes apart. What the scopes themselves give comes out as it went in; values that are not understood are left out.
// begin says that a session is about to begin, for which a set must not be too old.
func (s *Service) expand(ctx context.Context, scopes []string, begin bool) (out expansion, err error) {
	ctx, cancel := context.WithTimeout(ctx, setTimeout)
	defer cancel()
	seen, size, sets := map[string]bool{}, 0, 0
	add := func(v string) {
		if !seen[v] {
			seen[v] = true
			out.scopes = append(out.scopes, v)
			size += len(v) + 1
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
			return out, refuse(InvalidScope, "There are too many permission sets in one request")
		}
		set, l, err := s.permissionSet(ctx, p.Set, begin)
		if err != nil {
			return out, err
		}
		if l != nil {
			out.fetched = append(out.fetched, *l)
		}
		for _, included := range scope.Expand(p, set) {
			if add(included.String()); size > maxExpanded {
				return out, errExpanded
			}
		}
	}
	return out, nil
}

// permissionSet returns a permission set: the stored one, asked for anew when it is old. When its author's host does not answer, the old one serves on. fetched is the set if it is
// not stored.
func (s *Service) permissionSet(ctx context.Context, nsid string, begin bool) (set *scope.PermissionSet, fetched *store.OAuthLexicon, err error) {
	stored, err := s.opts.Store.OAuthLexicon(ctx, nsid)
	if errors.Is(err, store.ErrNotFound) {
		if stored, err = s.sets.get(ctx, nsid); err != nil {
			return nil, nil, refuse(InvalidScope, "The permission set "+clip(nsid)+" cannot be found").because(err)
		}
		set, err = parseSet(nsid, stored.Lexicon)
		return set, &stored, err
	}
	if err != nil {
		return nil, nil, err
	}
	if now := s.now(); now.Sub(stored.FetchedAt) >= setFresh && now.Sub(stored.TriedAt) >= setRetry {
		if stored, err = s.renewSet(ctx, stored); err != nil {
			return nil, nil, err
		}
	}
	if begin && s.now().Sub(stored.FetchedAt) >= setExpired {
		return nil, nil, refuse(InvalidScope, "The permission set "+clip(nsid)+" cannot be found any more")
	}
	set, err = parseSet(nsid, stored.Lexicon)
	return set, nil, err
}

func parseSet(nsid string, lexicon []byte) (*scope.PermissionSet, error) {
	set, err := scope.ParseSet(nsid, lexicon)
	if err != nil {
		return nil, refuse(InvalidScope, clip(nsid)+" is no permission set").because(err)
	}
	return set, nil
}

// renewSet asks the author of a stored set for it anew, and returns what is stored then.
func (s *Service) renewSet(ctx context.Context, stored store.OAuthLexicon) (store.OAuthLexicon, error) {
	fresh, err := s.sets.ask(ctx, stored.NSID)
	if err != nil {
		s.opts.Logger.WarnContext(ctx, "fetch a permission set", "nsid", stored.NSID, "err", err)
		fresh = stored
		fresh.TriedAt = s.now()
	}
	ctx = context.WithoutCancel(ctx) // whoever asked may have lost patience: what came of it is kept nevertheless
	return fresh, s.opts.Store.Update(ctx, func(tx *store.Tx) error { return tx.PutOAuthLexicon(ctx, fresh) })
}
