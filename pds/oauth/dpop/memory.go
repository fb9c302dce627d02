package dpop

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"sync"
)

const (
	maxKeys = 20_000
	maxHead = 1 << 10 // bytes; that of a key alone has 250
	// How many proofs of one period are remembered, with an access token and without; beyond it none is taken until the period ends. 12 and 4 MB each.
	maxBound   = 300_000
	maxUnbound = 100_000
)

// proofKey is a key that has signed proofs.
type proofKey struct {
	public     *ecdsa.PublicKey
	thumbprint string
}

// keyCache remembers the keys of proof headers, which are the same in all proofs of a client. Only headers of proofs that were right get in. The zero
// value is ready for use.
type keyCache struct {
	mu   sync.RWMutex
	keys map[string]*proofKey // guarded by mu; by header in base64
}

func (c *keyCache) get(head string) *proofKey {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.keys[head]
}

func (c *keyCache) put(head string, key *proofKey) {
	if len(head) > maxHead || c.get(head) != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys == nil {
		c.keys = make(map[string]*proofKey)
	}
	if len(c.keys) >= maxKeys {
		n := maxKeys / 8
		for old := range c.keys { // in the map's random order; those in use come back
			if n--; n < 0 {
				break
			}
			delete(c.keys, old)
		}
	}
	c.keys[head] = key
}

// usedProofs remembers the proofs that were used by the period of their nonce: when the nonce is too old they need not be remembered any more.
type usedProofs struct {
	most    int // of one period
	mu      sync.Mutex
	periods map[int64]map[[16]byte]struct{} // guarded by mu
}

// first tells whether a proof was not used before, and notes it. One whose nonce has grown too old since it was looked at is as good as used: what was used
// in its period may be forgotten already.
func (u *usedProofs) first(now, period int64, thumbprint, id string) bool {
	if period < now-nonceAge {
		return false
	}
	sum := sha256.Sum256([]byte(thumbprint + " " + id))
	key := [16]byte(sum[:])
	u.mu.Lock()
	defer u.mu.Unlock()
	used := u.periods[period]
	if used == nil {
		if u.periods == nil {
			u.periods = make(map[int64]map[[16]byte]struct{})
		}
		for old := range u.periods {
			if old < now-nonceAge {
				delete(u.periods, old)
			}
		}
		used = make(map[[16]byte]struct{})
		u.periods[period] = used
	}
	if _, again := used[key]; again || len(used) >= u.most {
		return false
	}
	used[key] = struct{}{}
	return true
}
