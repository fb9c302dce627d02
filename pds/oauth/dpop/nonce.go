package dpop

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// NoncePeriod is how often the nonce changes.
	NoncePeriod = time.Minute
	// nonceAge is how many periods an old nonce is good for, and nonceAhead how far the clock may have been set back since.
	nonceAge   = 3
	nonceAhead = 1

	nonceSecretBytes = 32
)

// nonces are a function of the time and of a secret of this process's life. Which proofs were used is remembered in memory only, so no proof must be good beyond it: after a restart
// clients are told the new nonce, as they are every few minutes anyway.
type nonces struct {
	secret []byte
	now    func() time.Time

	mu    sync.RWMutex
	known map[int64]string // guarded by mu; by period, of the last few
}

func newNonces(secret []byte, now func() time.Time) nonces {
	life := make([]byte, nonceSecretBytes)
	rand.Read(life)
	mac := hmac.New(sha256.New, secret)
	mac.Write(life)
	return nonces{secret: mac.Sum(nil), now: now, known: make(map[int64]string)}
}

func (n *nonces) period() int64 { return n.now().Unix() / int64(NoncePeriod/time.Second) }

// at returns the nonce of a period.
func (n *nonces) at(period int64) string {
	n.mu.RLock()
	s, ok := n.known[period]
	n.mu.RUnlock()
	if ok {
		return s
	}
	mac := hmac.New(sha256.New, n.secret)
	mac.Write([]byte("perch dpop nonce\x00"))
	_ = binary.Write(mac, binary.BigEndian, period)
	s = base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	n.mu.Lock()
	defer n.mu.Unlock()
	for old := range n.known {
		if old < period-2*nonceAge {
			delete(n.known, old)
		}
	}
	n.known[period] = s
	return s
}

// Tell has the answers to all requests that carry a proof, or a token that needs one, tell the nonce for the next: also those that say that somebody asks too often, or
// with a wrong verb, for which the proof is not looked at.
func (v *Verifier) Tell(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.Header["Dpop"]) > 0 || isDPoP(r.Header["Authorization"]) {
			w.Header().Set(NonceHeader, v.Nonce())
		}
		next.ServeHTTP(w, r)
	})
}

func isDPoP(authorization []string) bool {
	const scheme = "DPoP "
	return len(authorization) > 0 && len(authorization[0]) > len(scheme) && strings.EqualFold(authorization[0][:len(scheme)], scheme)
}

// find returns the period that a nonce is of, if that is not too long ago.
func (n *nonces) find(nonce string) (int64, bool) {
	now, found, ok := n.period(), int64(0), 0
	for p := now - nonceAge; p <= now+nonceAhead; p++ {
		same := subtle.ConstantTimeCompare([]byte(n.at(p)), []byte(nonce))
		found = int64(subtle.ConstantTimeSelect(same, int(p), int(found)))
		ok |= same
	}
	return found, ok == 1
}
