package store

import (
	"container/list"
	"sync"

	"perch/repo"
	"perch/repo/mst"
)

// warmRepo is a repository as it was after some commit: a value that nobody changes. It is only a hint, compared with the head before it counts.
type warmRepo struct {
	head    repo.Head
	tree    mst.Tree // sealed
	settled int64    // size of the tree when nothing below its layer was kept
	records int64
	outline int // layer of the stored outline that fits this tree; 0: none
}

// entryBytes is what an entry of the cache takes beside its tree and commit, roughly.
const entryBytes = 512

func (r *warmRepo) weight() int64 { return r.tree.Size() + 2*int64(len(r.head.Block)) + entryBytes }

// treeCache keeps the repositories used last, within a bound on their memory.
type treeCache struct {
	max int64

	mu     sync.Mutex
	byAcct map[AccountID]*list.Element // guarded by mu
	recent *list.List                  // of *cachedRepo, used last first; guarded by mu
	weight int64                       // guarded by mu
}

type cachedRepo struct {
	acct   AccountID
	repo   *warmRepo
	weight int64
}

func newTreeCache(max int64) *treeCache {
	return &treeCache{max: max, byAcct: make(map[AccountID]*list.Element), recent: list.New()}
}

// get returns nil when the account is not there.
func (c *treeCache) get(acct AccountID) *warmRepo {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byAcct[acct]
	if e == nil {
		return nil
	}
	c.recent.MoveToFront(e)
	return e.Value.(*cachedRepo).repo
}

// put keeps r, and lets go of what was used longest ago. One repository may fill half of the cache; a larger one is not kept, and starts from its outline again.
func (c *treeCache) put(acct AccountID, r *warmRepo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(c.byAcct[acct])
	w := r.weight()
	if w > c.max/2 {
		return
	}
	c.byAcct[acct] = c.recent.PushFront(&cachedRepo{acct: acct, repo: r, weight: w})
	for c.weight += w; c.weight > c.max; {
		c.remove(c.recent.Back())
	}
}

// drop forgets an account.
func (c *treeCache) drop(acct AccountID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(c.byAcct[acct])
}

// remove takes e out; mu is held. nil is nothing to do.
func (c *treeCache) remove(e *list.Element) {
	if e == nil {
		return
	}
	r := c.recent.Remove(e).(*cachedRepo)
	delete(c.byAcct, r.acct)
	c.weight -= r.weight
}
