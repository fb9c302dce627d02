package oauth

import (
	"sync"

	"perch/pds/oauth/scope"
)

const (
	maxGrants = 2000
	// maxGrantBytes bounds the scopes of all grants; understood, they take some ten times as much.
	maxGrantBytes = 4 << 20
)

// grantCache keeps what scopes mean. Sessions of one app mostly have the same. The zero value is ready for use.
type grantCache struct {
	mu     sync.RWMutex
	grants map[string]*scope.Grant // guarded by mu
	bytes  int                     // guarded by mu; of the keys of grants
}

func (c *grantCache) get(scopes string) *scope.Grant {
	c.mu.RLock()
	g := c.grants[scopes]
	c.mu.RUnlock()
	if g != nil {
		return g
	}
	g = scope.NewGrant(splitScopes(scopes))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.grants == nil || len(c.grants) >= maxGrants || c.bytes+len(scopes) > maxGrantBytes {
		c.grants, c.bytes = make(map[string]*scope.Grant), 0
	}
	if c.grants[scopes] == nil {
		c.bytes += len(scopes)
	}
	c.grants[scopes] = g
	return g
}
