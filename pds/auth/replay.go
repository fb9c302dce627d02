package auth

import (
	"crypto/sha256"
	"sync"
	"time"
)

const (
	// maxUsedPerIssuer bounds how many service tokens of one issuer may be in use at once.
	maxUsedPerIssuer = 1000
	// maxUsed bounds those of all issuers.
	maxUsed = 200_000
)

// replays remembers service tokens that were used, until they expire.
type replays struct {
	mu        sync.Mutex
	used      map[[sha256.Size]byte]usedToken // guarded by mu; by issuer and identity of the token
	perIssuer map[string]int                  // guarded by mu
	swept     time.Time                       // guarded by mu
}

type usedToken struct {
	issuer  string
	expires time.Time
}

func newReplays() *replays {
	return &replays{used: make(map[[sha256.Size]byte]usedToken), perIssuer: make(map[string]int)}
}

const replaySweep = time.Minute

// first tells whether the token was not used before, and notes it. Only tokens whose signature is right come here, so nobody can fill the memory
// with another's.
func (r *replays) first(issuer string, identity [sha256.Size]byte, expires, now time.Time) bool {
	key := sha256.Sum256(append([]byte(issuer), identity[:]...))
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.swept) >= replaySweep || len(r.used) >= maxUsed {
		r.sweep(now)
	}
	if u, ok := r.used[key]; ok && now.Before(u.expires) {
		return false
	}
	if len(r.used) >= maxUsed || r.perIssuer[issuer] >= maxUsedPerIssuer {
		return false
	}
	if _, ok := r.used[key]; !ok {
		r.perIssuer[issuer]++
	}
	r.used[key] = usedToken{issuer, expires}
	return true
}

func (r *replays) sweep(now time.Time) {
	r.swept = now
	for key, u := range r.used {
		if now.Before(u.expires) {
			continue
		}
		delete(r.used, key)
		if r.perIssuer[u.issuer]--; r.perIssuer[u.issuer] <= 0 {
			delete(r.perIssuer, u.issuer)
		}
	}
}
