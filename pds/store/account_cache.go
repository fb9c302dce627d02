package store

import (
	"database/sql"
	"sync"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

const (
	// maxCachedRows bounds each cache: some 12 MB for accounts, 4 MB for sessions, 20 MB for those of apps, 1 MB for the rest.
	maxCachedRows = 20_000
	// maxCachedBytes bounds what is cached of rows that are sized: an app's session has up to 128 KB of scopes.
	maxCachedBytes = 32 << 20
)

// sized is a row whose length strangers choose.
type sized interface{ size() int }

func sizeOf(row any) int {
	if s, ok := row.(sized); ok {
		return s.size()
	}
	return 0
}

// peopleCaches are the hot reads about people. The zero value is ready for use.
type peopleCaches struct {
	byID     guarded[AccountID, *Account]
	byDID    guarded[syntax.DID, *Account]
	byHandle guarded[syntax.Handle, *Account]
	sessions guarded[string, sessionState]
	oauth    guarded[string, *OAuthSession]
	mailed   guarded[AccountID, bool] // Store.AsksMailedCode
}

// accountChanged forgets what is cached of an account, by all the names it had, once the transaction is on disk.
func (tx *Tx) accountChanged(a *Account) {
	c := &tx.s.accounts
	id, did, handle := a.ID, a.DID, a.Handle
	tx.AfterCommit(func() {
		c.byID.forget(id)
		c.byDID.forget(did)
		c.byHandle.forget(handle)
		c.mailed.forget(id)
	})
}

// guarded is a bounded cache of rows that never outlives a change. A reader may load a row before a change and come to store it after; so each
// change moves the generation, and what was loaded under an older one is not kept. That there is no row is never cached. The zero value is ready
// for use.
type guarded[K comparable, V any] struct {
	mu         sync.RWMutex
	rows       map[K]V // guarded by mu
	bytes      int     // guarded by mu; of rows that are sized
	generation uint64  // guarded by mu
}

// get returns the cached row, or loads it. Errors are not cached.
func (g *guarded[K, V]) get(key K, load func() (V, error)) (V, error) {
	g.mu.RLock()
	v, ok := g.rows[key]
	generation := g.generation
	g.mu.RUnlock()
	if ok {
		return v, nil
	}
	v, err := load()
	if err != nil {
		return v, err
	}
	g.keep(key, v, generation)
	return v, nil
}

func (g *guarded[K, V]) keep(key K, v V, generation uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.generation != generation {
		return
	}
	if g.rows == nil {
		g.rows = make(map[K]V)
	}
	if len(g.rows) >= maxCachedRows {
		g.evict(maxCachedRows / 8)
	}
	g.drop(key)
	for g.bytes+sizeOf(v) > maxCachedBytes && len(g.rows) > 0 {
		g.evict(len(g.rows)/8 + 1)
	}
	g.rows[key] = v
	g.bytes += sizeOf(v)
}

func (g *guarded[K, V]) drop(key K) {
	if v, ok := g.rows[key]; ok {
		g.bytes -= sizeOf(v)
		delete(g.rows, key)
	}
}

// evict drops n rows, whichever come first in the map's random order: those in use come back with one read.
func (g *guarded[K, V]) evict(n int) {
	for key := range g.rows {
		if n--; n < 0 {
			return
		}
		g.drop(key)
	}
}

// forget must be called after the change is on disk and before its caller is answered.
func (g *guarded[K, V]) forget(keys ...K) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.generation++
	for _, key := range keys {
		g.drop(key)
	}
}

// scanOne reads rows of one column.
func scanOne[T any](r *sql.Rows, v *T) error { return r.Scan(v) }
