package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

const (
	adminUser = "admin"
	// maxGuesses wrong admin passwords from one address within guessWindow, and it is not heard any more until that ends.
	maxGuesses  = 10
	guessWindow = 10 * time.Minute
	maxGuessers = 10_000 // addresses remembered
	ipv6Guesser = 64     // bits that one household has
)

// admin checks the admin password in constant time. From an address that has guessed too often even the right one is refused, because its answer
// would tell.
func (v *Verifier) admin(r *http.Request) error {
	if scheme, _ := authorization(r); scheme == "" {
		return ErrAuthRequired
	}
	ip, now := v.opts.ClientIP(r), v.now()
	if !v.guesses.allowed(ip, now) {
		return ErrRateLimit
	}
	user, password, ok := r.BasicAuth()
	userOK, passwordOK := sameSecret(user, adminUser), sameSecret(password, v.opts.AdminPassword)
	if !ok || userOK&passwordOK != 1 || v.opts.AdminPassword == "" || len(r.Header.Values("Authorization")) != 1 {
		v.guesses.failed(ip, now)
		return ErrAuthRequired
	}
	return nil
}

// sameSecret is 1 when the strings are equal; its time does not depend on where they differ, nor on how long they are beyond hashing.
func sameSecret(a, b string) int {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:])
}

// guesses counts wrong passwords by address.
type guesses struct {
	mu    sync.Mutex
	count map[string]*guesser // guarded by mu
}

type guesser struct {
	wrong int
	until time.Time
}

func newGuesses() *guesses { return &guesses{count: make(map[string]*guesser)} }

func (g *guesses) allowed(ip string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.count[guesserOf(ip)]
	return c == nil || c.wrong < maxGuesses || !now.Before(c.until)
}

func (g *guesses) failed(ip string, now time.Time) {
	key := guesserOf(ip)
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.count[key]
	if c == nil || !now.Before(c.until) {
		g.makeRoom(now)
		c = &guesser{until: now.Add(guessWindow)}
		g.count[key] = c
	}
	c.wrong++
}

// makeRoom forgets those whose window is over when there are too many, and any if that is not enough.
func (g *guesses) makeRoom(now time.Time) {
	if len(g.count) < maxGuessers {
		return
	}
	for key, c := range g.count {
		if !now.Before(c.until) {
			delete(g.count, key)
		}
	}
	for key := range g.count {
		if len(g.count) < maxGuessers {
			return
		}
		delete(g.count, key)
	}
}

func guesserOf(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ip
	}
	addr = addr.Unmap()
	if addr.Is6() {
		if prefix, err := addr.Prefix(ipv6Guesser); err == nil {
			return prefix.String()
		}
	}
	return addr.String()
}
