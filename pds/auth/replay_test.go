package auth

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestReplayOnce(t *testing.T) {
	w := newWorld(t)
	key := newKey(t)
	w.keys[stranger] = public(t, key)
	token, err := ServiceToken(key, ServiceClaims{Issuer: stranger, Audience: serviceDID, Method: create, IssuedAt: w.clock()})
	if err != nil {
		t.Fatal(err)
	}
	var accepted atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := try(w.v.Service(create), "Bearer "+token); err == nil {
				accepted.Add(1)
			}
		})
	}
	wg.Wait()
	if accepted.Load() != 1 {
		t.Fatalf("accepted %d times", accepted.Load())
	}
}

func TestReplaysAreBounded(t *testing.T) {
	r, now := newReplays(), time.Now()
	id := func(i int) (out [32]byte) { copy(out[:], fmt.Sprint(i)); return out }
	for i := range maxUsedPerIssuer {
		if !r.first(stranger, id(i), now.Add(time.Minute), now) {
			t.Fatal("refused a first use")
		}
	}
	if r.first(stranger, id(-1), now.Add(time.Minute), now) {
		t.Fatal("one issuer may fill the memory")
	}
	if !r.first("did:web:else.example.com", id(0), now.Add(time.Minute), now) {
		t.Fatal("another issuer is shut out, or shares its nonces")
	}
	later := now.Add(2 * time.Minute)
	if !r.first(stranger, id(-1), later.Add(time.Minute), later) || len(r.used) != 1 || len(r.perIssuer) != 1 {
		t.Fatalf("expired tokens are kept: %d", len(r.used))
	}
}
