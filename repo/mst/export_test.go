package mst

import (
	"fmt"
	"io"
	"runtime"
	"testing"

	"github.com/ipfs/go-cid"
)

// chosen returns n records of which no key is as high as the height given: the whole tree is one stub.
func chosen(n, height int) *model {
	m := &model{vals: make(map[string]cid.Cid, n)}
	for i := 0; len(m.keys) < n; i++ {
		k := fmt.Sprintf("app.bsky.feed.post/3l%011d", i)
		if Height(k) < height {
			m.keys = append(m.keys, k)
			m.vals[k] = val(i % 100)
		}
	}
	return m
}

// heapGrowth exports the tree with bodies of the size given and returns by how much the heap grew at most. Each record is asked for once.
func heapGrowth(t *testing.T, tree Tree, m *model, size int) int64 {
	t.Helper()
	body := make([]byte, size)
	i := 0
	next := func() (string, cid.Cid, []byte, error) {
		if i == len(m.keys) {
			return "", cid.Undef, nil, io.EOF
		}
		i++
		return m.keys[i-1], m.vals[m.keys[i-1]], body, nil
	}
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	most, n := uint64(0), 0
	err := tree.Export(m, next, func(cid.Cid, []byte) error {
		if n++; n%max(len(m.keys)/8, 1) == 1 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
		}
		return nil
	})
	if err != nil || n < len(m.keys) {
		t.Fatal(n, err)
	}
	return int64(most) - int64(before.HeapAlloc)
}

// An account holder chooses the keys, and so what a stub holds: an export must not grow with it.
func TestExportOfChosenKeys(t *testing.T) {
	m := chosen(100_000, 4)
	stub := Tree{root: kid{stub: derive(t, m, 4).Root()}}
	m.rows = 0
	if grown := heapGrowth(t, stub, m, 1000); grown > 4<<20 {
		t.Errorf("the heap grew by %d bytes over an export of 100 MB in one stub", grown)
	}
	if m.rows > 5*len(m.keys) {
		t.Errorf("%d rows were scanned for %d records", m.rows, len(m.keys))
	}
	few := chosen(200, 4)
	stub = Tree{root: kid{stub: derive(t, few, 4).Root()}}
	if grown := heapGrowth(t, stub, few, 500_000); grown > 4<<20 {
		t.Errorf("the heap grew by %d bytes over an export of 100 MB in large records", grown)
	}
}
