package identity

import (
	"container/list"
	"sync"
	"time"
)

// Lifetimes of a cached answer.
type lifetimes struct {
	stale    time.Duration // after it, an answer is still given while a new one is fetched
	max      time.Duration // after it, an answer is not given
	notFound time.Duration // of answers that something does not exist
	failure  time.Duration // of failures to get an answer
}

// cache keeps answers by key, the longest unused going first when there are
// too many or they weigh too much. It is safe for concurrent use.
type cache[K comparable, V any] struct {
	life  lifetimes
	size  int         // most answers
	most  int         // most bytes
	weigh func(V) int // about how many bytes an answer takes
	now   func() time.Time

	mu      sync.Mutex // guards what follows
	entries map[K]*list.Element
	order   *list.List // of *entry[K, V], the latest used in front
	weight  int        // of all entries, in bytes
	clock   uint64     // counts begun fetches and purges
}

type entry[K comparable, V any] struct {
	key    K
	value  V
	weight int
	err    error
	at     time.Time
	tried  time.Time // of the last failure to get a newer answer
	begun  uint64    // the clock when the fetch of the answer began
	purged bool      // holds nothing; bars answers to fetches begun before
}

// freshness of what a cache holds for a key.
type freshness int

const (
	missing freshness = iota
	fresh
	stale
)

// maxCacheBytes bounds what one cache takes, whatever strangers' answers are like.
const maxCacheBytes = 64 << 20

// entryOverhead is about what an entry takes beside its answer.
const entryOverhead = 300

func newCache[K comparable, V any](size int, weigh func(V) int, life lifetimes, now func() time.Time) *cache[K, V] {
	return &cache[K, V]{life: life, size: size, most: maxCacheBytes, weigh: weigh, now: now, entries: map[K]*list.Element{}, order: list.New()}
}

// get returns the answer for key and how good it is. The error is the answer too, one that is kept.
func (c *cache[K, V]) get(key K) (V, freshness, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var zero V
	el := c.entries[key]
	if el == nil {
		return zero, missing, nil
	}
	e := el.Value.(*entry[K, V])
	age := c.now().Sub(e.at)
	switch {
	case e.purged || age > c.lifetime(e.err):
		return zero, missing, nil
	case e.err == nil && age > c.life.stale && c.now().Sub(e.tried) > c.life.failure:
		c.order.MoveToFront(el)
		return e.value, stale, nil
	}
	c.order.MoveToFront(el)
	return e.value, fresh, e.err
}

// age returns how long ago the answer for key was got, or last asked for in
// vain, if there is one that holds.
func (c *cache[K, V]) age(key K) (time.Duration, bool) {
	if _, state, _ := c.get(key); state == missing {
		return 0, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.entries[key]; el != nil {
		e := el.Value.(*entry[K, V])
		return min(c.now().Sub(e.at), c.now().Sub(e.tried)), true
	}
	return 0, false
}

func (c *cache[K, V]) lifetime(err error) time.Duration {
	switch {
	case err == nil:
		return c.life.max
	case isFinal(err):
		return c.life.notFound
	}
	return c.life.failure
}

// begin marks the start of a fetch, for put.
func (c *cache[K, V]) begin() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock++
	return c.clock
}

// put keeps the outcome of a fetch. An outcome of a fetch that began before the
// one already kept, or before a purge, is dropped; and a failure to get an
// answer does not take the place of an answer that is still good.
func (c *cache[K, V]) put(key K, begun uint64, value V, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if el := c.entries[key]; el != nil {
		e := el.Value.(*entry[K, V])
		if e.begun > begun {
			return
		}
		if err != nil && !isFinal(err) && e.err == nil && !e.purged && now.Sub(e.at) <= c.life.max {
			e.tried = now
			return
		}
	}
	c.set(&entry[K, V]{key: key, value: value, err: err, at: now, begun: begun})
}

// purge forgets key, and what fetches under way will say of it.
func (c *cache[K, V]) purge(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock++
	c.set(&entry[K, V]{key: key, at: c.now(), begun: c.clock, purged: true})
}

// set stores e and makes room for it; the caller holds mu.
func (c *cache[K, V]) set(e *entry[K, V]) {
	e.weight = entryOverhead
	if e.err == nil && !e.purged {
		e.weight += c.weigh(e.value)
	}
	c.weight += e.weight
	if el := c.entries[e.key]; el != nil {
		c.weight -= el.Value.(*entry[K, V]).weight
		el.Value = e
		c.order.MoveToFront(el)
	} else {
		c.entries[e.key] = c.order.PushFront(e)
	}
	for len(c.entries) > c.size || c.weight > c.most {
		oldest := c.order.Back()
		gone := c.order.Remove(oldest).(*entry[K, V])
		c.weight -= gone.weight
		delete(c.entries, gone.key)
	}
}
