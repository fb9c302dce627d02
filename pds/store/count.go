package store

import (
	"context"
	"sync"

	"github.com/ipfs/go-cid"

	"perch/repo/mst"
)

// maxCounts is how many repositories' numbers of blocks are remembered.
const maxCounts = 1024

// blockCounts remembers how many blocks repositories have, since to count them takes a scan of the whole.
type blockCounts struct {
	mu     sync.Mutex
	byAcct map[AccountID]blockCount // guarded by mu
}

type blockCount struct {
	head   cid.Cid
	blocks int64
}

func (b *blockCounts) get(acct AccountID, head cid.Cid) (int64, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, ok := b.byAcct[acct]
	return c.blocks, ok && c.head == head
}

func (b *blockCounts) put(acct AccountID, c blockCount) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.byAcct == nil || len(b.byAcct) >= maxCounts {
		b.byAcct = make(map[AccountID]blockCount)
	}
	b.byAcct[acct] = c
}

// CountBlocks returns how many blocks the repository has: its commit, the nodes of the tree and the records, as an export would send them. No bodies are read.
func (s *Store) CountBlocks(ctx context.Context, acct AccountID) (int64, error) {
	head, _, err := s.Head(ctx, acct)
	if err != nil {
		return 0, err
	}
	if n, ok := s.counts.get(acct, head.CID); ok {
		return n, nil
	}
	sn, err := s.Snapshot(ctx, acct)
	if err != nil {
		return 0, err
	}
	defer sn.Close()
	n := int64(1)
	nodes, err := mst.CountNodes(countedSource{sn, &n})
	if err == nil && sn.Moved() {
		err = ErrOvertaken
	}
	if err != nil {
		return 0, err
	}
	n += nodes
	s.counts.put(acct, blockCount{sn.Head.CID, n})
	return n, nil
}

// countedSource counts the records as well.
type countedSource struct {
	mst.Source
	n *int64
}

// Scan implements mst.Source.
func (c countedSource) Scan(lo, hi string, yield func(string, cid.Cid) error) error {
	return c.Source.Scan(lo, hi, func(key string, value cid.Cid) error {
		*c.n++
		return yield(key, value)
	})
}
