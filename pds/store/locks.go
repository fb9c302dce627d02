package store

import (
	"context"
	"sync"
)

// keyedLocks is one lock for each account that is in use. The zero value is ready.
type keyedLocks struct {
	mu   sync.Mutex
	held map[AccountID]*keyedLock // guarded by mu
}

type keyedLock struct {
	users int           // who hold it or wait for it; guarded by keyedLocks.mu
	token chan struct{} // holds one value while the lock is taken
}

// lock waits for the account's lock. It returns ctx's error when that ends first.
func (l *keyedLocks) lock(ctx context.Context, acct AccountID) (unlock func(), err error) {
	l.mu.Lock()
	k := l.held[acct]
	if k == nil {
		if l.held == nil {
			l.held = make(map[AccountID]*keyedLock)
		}
		k = &keyedLock{token: make(chan struct{}, 1)}
		l.held[acct] = k
	}
	k.users++
	l.mu.Unlock()
	select {
	case k.token <- struct{}{}:
		return func() { <-k.token; l.leave(acct, k) }, nil
	case <-ctx.Done():
		l.leave(acct, k)
		return nil, ctx.Err()
	}
}

func (l *keyedLocks) leave(acct AccountID, k *keyedLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(l.held, acct)
	}
}
