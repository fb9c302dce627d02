package es256

import (
	"maps"
	"sync"
	"time"
)

const (
	// tableAfter is how many signatures within maxIdle give a key its table. A table that nobody has used for maxIdle goes.
	tableAfter = 64
	maxIdle    = 10 * time.Minute
	// maxTables bounds the memory: 6 MB.
	maxTables = 16
	// maxCounted is how many keys without a table are counted at a time, 200 bytes each.
	maxCounted = 1024
	// sweepEvery is how often what is too old is looked for.
	sweepEvery = time.Minute
)

// cache has the tables of the keys that sign most.
type cache struct {
	now func() time.Time

	mu     sync.Mutex
	tables map[point]*entry // guarded by mu
	counts map[point]*count // guarded by mu; of keys without a table
	swept  time.Time        // guarded by mu
}

type entry struct {
	table *table    // guarded by mu; nil while it is being made
	used  time.Time // guarded by mu; last
}

type count struct {
	signatures int
	since      time.Time
}

// get returns a key's table, nil if it has none.
func (c *cache) get(key point) *table {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if now.Sub(c.swept) >= sweepEvery {
		c.swept = now
		maps.DeleteFunc(c.tables, func(_ point, e *entry) bool { return now.Sub(e.used) >= maxIdle })
		maps.DeleteFunc(c.counts, func(_ point, n *count) bool { return now.Sub(n.since) >= maxIdle })
	}
	e := c.tables[key]
	if e == nil {
		return nil
	}
	e.used = now
	return e.table
}

// signed notes that a key without a table has made a signature, and makes its table when it is time to.
func (c *cache) signed(key point) {
	e := c.reserve(key)
	if e == nil {
		return
	}
	t := newTable(key) // takes more than a millisecond; not under the lock
	c.mu.Lock()
	defer c.mu.Unlock()
	e.table = t
}

// reserve counts a signature. When it is the one that the key gets its table for, there is now a place for that.
func (c *cache) reserve(key point) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tables[key] != nil {
		return nil // somebody else is making it
	}
	now, n := c.now(), c.counts[key]
	if n == nil {
		for old := range c.counts {
			if len(c.counts) < maxCounted {
				break
			}
			delete(c.counts, old) // any
		}
		n = &count{since: now}
		c.counts[key] = n
	}
	if n.signatures++; n.signatures < tableAfter {
		return nil
	}
	delete(c.counts, key)
	if len(c.tables) >= maxTables && !c.displace(n.since) {
		return nil
	}
	e := &entry{used: now}
	c.tables[key] = e
	return e
}

// displace removes the table that was used least recently, unless all were used since the time. mu must be held.
func (c *cache) displace(since time.Time) bool {
	var least point
	for key, e := range c.tables {
		if e.used.Before(since) {
			least, since = key, e.used
		}
	}
	before := len(c.tables)
	delete(c.tables, least)
	return len(c.tables) < before
}
