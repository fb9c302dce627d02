package mst

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"github.com/ipfs/go-cid"
)

// model is a repository as a sorted list of records, a Source and the truth.
type model struct {
	keys []string
	vals map[string]cid.Cid
	rows int // rows scanned
}

func newModel() *model { return &model{vals: map[string]cid.Cid{}} }

func (m *model) put(k string, v cid.Cid) {
	if _, ok := m.vals[k]; !ok {
		i, _ := slices.BinarySearch(m.keys, k)
		m.keys = slices.Insert(m.keys, i, k)
	}
	m.vals[k] = v
}

func (m *model) del(k string) {
	if i, ok := slices.BinarySearch(m.keys, k); ok {
		m.keys = slices.Delete(m.keys, i, i+1)
		delete(m.vals, k)
	}
}

func (m *model) Scan(lo, hi string, yield func(string, cid.Cid) error) error {
	i := 0
	if lo != "" {
		i = sort.Search(len(m.keys), func(i int) bool { return m.keys[i] > lo })
	}
	for ; i < len(m.keys) && (hi == "" || m.keys[i] < hi); i++ {
		m.rows++
		if err := yield(m.keys[i], m.vals[m.keys[i]]); err != nil {
			return err
		}
	}
	return nil
}

func val(i int) cid.Cid { return sumCID([]byte(fmt.Sprint("value ", i))) }

// reference builds the tree from the definition, the slow way.
func reference(m *model) cid.Cid {
	if len(m.keys) == 0 {
		return emptyRoot
	}
	top := 0
	for _, k := range m.keys {
		top = max(top, Height(k))
	}
	var build func(keys []string, layer int) kid
	build = func(keys []string, layer int) kid {
		if len(keys) == 0 {
			return kid{}
		}
		n := &node{layer: layer}
		start := 0
		for i, k := range keys {
			if Height(k) == layer {
				n.kids = append(n.kids, build(keys[start:i], layer-1))
				n.entries = append(n.entries, Entry{k, m.vals[k]})
				start = i + 1
			}
		}
		n.kids = append(n.kids, build(keys[start:], layer-1))
		return kid{node: n}
	}
	return build(m.keys, top).link()
}

func TestQuickModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 60 {
		m := newModel()
		keep := round % 5
		tree := Empty()
		for step := range 150 {
			k := fmt.Sprintf("app.test/%d", rng.IntN(200))
			var err error
			if rng.IntN(3) > 0 {
				v := val(step)
				tree, _, err = tree.Put(m, k, v)
				m.put(k, v)
			} else if _, ok := m.vals[k]; ok {
				tree, _, err = tree.Delete(m, k)
				m.del(k)
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, want := tree.Root(), reference(m); got != want {
				t.Fatalf("round %d step %d %s: %s, want %s", round, step, k, got, want)
			}
			tree = tree.Seal(keep)
			d, err := Derive(m, keep)
			if err != nil || d.Root() != tree.Root() {
				t.Fatal(err, d.Root())
			}
		}
	}
}
