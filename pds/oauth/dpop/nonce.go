package dpop

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"sync"
	"time"
)

const (
	// NoncePeriod is how often the nonce changes.
	NoncePeriod = time.Minute
	// nonceAge is how many periods an old nonce is good for, and nonceAhead how far the clock of a neighbour process may run ahead.
	nonceAge   = 3
	nonceAhead = 1
)

// nonces are a function of the secret and the time, so that all processes, and the next start, know them.
type nonces struct {
	secret []byte
	now    func() time.Time

	mu    sync.RWMutex
	known map[int64]string // guarded by mu; by period, of the last few
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
