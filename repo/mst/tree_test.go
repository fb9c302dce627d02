package mst

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/ipfs/go-cid"
)

// records returns a repository of n posts.
func records(n int) *model {
	m := &model{vals: make(map[string]cid.Cid, n)}
	for i := range n {
		k := fmt.Sprintf("app.bsky.feed.post/3l%011d", i*7)
		m.keys = append(m.keys, k)
		m.vals[k] = val(i)
	}
	return m
}

func derive(t testing.TB, src Source, keep int) Tree {
	t.Helper()
	tree, err := Derive(src, keep)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// TestRecordsThatDoNotFit changes a record behind the tree's back: whoever needs that part of the
// tree is told, and never gets a wrong answer.
func TestRecordsThatDoNotFit(t *testing.T) {
	key := func(i int) string { return fmt.Sprintf("app.bsky.feed.post/3l%011d", i*7) }
	i := 500
	for Height(key(i)) > 0 {
		i++ // one that lies in a stub
	}
	victim := key(i)
	for name, spoil := range map[string]func(*model){
		"another value":  func(m *model) { m.vals[victim] = val(-1) },
		"record missing": func(m *model) { m.del(victim) },
		"record added":   func(m *model) { m.put(victim+"x", val(1)) },
	} {
		t.Run(name, func(t *testing.T) {
			m := records(1000)
			tree := derive(t, m, 2)
			spoil(m)
			if _, _, err := tree.Put(m, victim+"y", val(2)); !errors.Is(err, ErrCorrupt) {
				t.Errorf("put: %v", err)
			}
			if _, _, err := tree.Delete(m, victim); !errors.Is(err, ErrCorrupt) {
				t.Errorf("delete: %v", err)
			}
			if _, err := tree.Get(m, victim); !errors.Is(err, ErrCorrupt) {
				t.Errorf("get: %v", err)
			}
			if _, err := tree.Proof(m, victim); !errors.Is(err, ErrCorrupt) {
				t.Errorf("proof: %v", err)
			}
			err := tree.Export(m, m.next(), func(cid.Cid, []byte) error { return nil })
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("export: %v", err)
			}
		})
	}
}

func TestSourceErrors(t *testing.T) {
	boom := errors.New("disk gone")
	src := failing{boom}
	if _, err := Derive(src, 2); !errors.Is(err, boom) {
		t.Errorf("derive: %v", err)
	}
	tree := derive(t, records(1000), 2)
	if _, _, err := tree.Put(src, "app.bsky.feed.post/3l00000000001", val(1)); !errors.Is(err, boom) {
		t.Errorf("put: %v", err)
	}
	if _, err := Derive(disorder{}, 0); !errors.Is(err, ErrOrder) {
		t.Errorf("disorder: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Scan(string, string, func(string, cid.Cid) error) error { return f.err }

type disorder struct{}

func (disorder) Scan(_, _ string, yield func(string, cid.Cid) error) error {
	if err := yield("b/b", val(1)); err != nil {
		return err
	}
	return yield("a/a", val(1))
}

func TestBadKeys(t *testing.T) {
	for _, k := range []string{"", strings.Repeat("k", MaxKey+1)} {
		if _, _, err := Empty().Put(nil, k, val(1)); !errors.Is(err, ErrKey) {
			t.Errorf("put of %d bytes: %v", len(k), err)
		}
		if _, _, err := Empty().Delete(nil, k); !errors.Is(err, ErrKey) {
			t.Errorf("delete of %d bytes: %v", len(k), err)
		}
		if _, err := Empty().Get(nil, k); !errors.Is(err, ErrKey) {
			t.Errorf("get of %d bytes: %v", len(k), err)
		}
	}
	if _, _, err := Empty().Put(nil, "a/b", cid.Undef); !errors.Is(err, ErrKey) {
		t.Errorf("put without value: %v", err)
	}
}

// TestWarmPutScansLittle holds the promise that a change of a large repository reads a handful of records.
func TestWarmPutScansLittle(t *testing.T) {
	m := records(20_000)
	tree := derive(t, m, 2)
	rows, most := 0, 0
	const changes = 300
	for i := range changes {
		m.rows = 0
		k := fmt.Sprintf("app.bsky.feed.post/3l%011d", i*401+1)
		next := mustPut(t, tree, m, k, val(i))
		if _, err := next.Proof(m, k); err != nil {
			t.Fatal(err)
		}
		rows += m.rows
		most = max(most, m.rows)
		m.put(k, val(i))
		tree = next.Seal(2)
	}
	t.Logf("%d rows on average, %d at most", rows/changes, most)
	if rows/changes > 40 {
		t.Errorf("%d rows scanned for a put, want some 20", rows/changes)
	}
}

func TestTreesAreShared(t *testing.T) {
	m := records(2000)
	tree := mustPut(t, derive(t, m, 2), m, "app.bsky.feed.post/3l9", val(1))
	want := sync.OnceValue(func() cid.Cid {
		c := m.clone()
		c.put("app.bsky.feed.post/3l9", val(1))
		return reference(c)
	})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			src := &model{keys: m.keys, vals: m.vals}
			for i := range 20 {
				k := fmt.Sprintf("app.bsky.feed.post/3l%011d", (i*97+g)*7)
				if _, err := tree.Get(src, k); err != nil {
					t.Error(err)
				}
				if d, _, err := tree.Delete(src, k); err != nil || d.Root() == tree.Root() {
					t.Error("delete", err)
				}
				tree.Seal(2)
				if tree.Root() != want() {
					t.Error("the tree changed")
				}
			}
		})
	}
	wg.Wait()
}

// TestExportMemory holds the promise that an export does not grow with the repository.
func TestExportMemory(t *testing.T) {
	m := records(30_000)
	tree := derive(t, m, 2)
	body := make([]byte, 1000)
	i := 0
	next := func() (string, cid.Cid, []byte, error) {
		if i == len(m.keys) {
			return m.next0()
		}
		k := m.keys[i]
		i++
		return k, m.vals[k], body, nil
	}
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	most, n := uint64(0), 0
	err := tree.Export(m, next, func(cid.Cid, []byte) error {
		if n++; n%10_000 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
		}
		return nil
	})
	if err != nil || n < 30_000 {
		t.Fatal(n, err)
	}
	if grown := int64(most) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("the heap grew by %d bytes over an export of 30 MB", grown)
	}
}

func (m *model) next0() (string, cid.Cid, []byte, error) {
	return (&model{}).next()()
}
