package auth

import (
	"crypto/sha256"
	"sync"
)

const maxCachedTokens = 20_000 // of about 500 bytes each

// tokenCache remembers access tokens whose signature was right, by their hash. It is bounded, and only real tokens get in.
type tokenCache struct {
	mu     sync.RWMutex
	claims map[[sha256.Size]byte]*sessionClaims // guarded by mu
}

func newTokenCache() *tokenCache {
	return &tokenCache{claims: make(map[[sha256.Size]byte]*sessionClaims)}
}

func (t *tokenCache) get(token string) (*sessionClaims, bool) {
	if len(token) > maxToken {
		return nil, false
	}
	key := sha256.Sum256([]byte(token))
	t.mu.RLock()
	defer t.mu.RUnlock()
	c, ok := t.claims[key]
	return c, ok
}

func (t *tokenCache) put(token string, c *sessionClaims) {
	key := sha256.Sum256([]byte(token))
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.claims) >= maxCachedTokens {
		n := maxCachedTokens / 8
		for old := range t.claims { // in the map's random order; those in use come back
			if n--; n < 0 {
				break
			}
			delete(t.claims, old)
		}
	}
	t.claims[key] = c
}
