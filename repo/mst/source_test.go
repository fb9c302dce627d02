package mst

import (
	"fmt"
	"io"
	"slices"
	"sort"

	"github.com/ipfs/go-cid"
)

// model is a repository as a sorted list of records: a Source, and the truth.
type model struct {
	keys []string
	vals map[string]cid.Cid
	rows int // scanned so far
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

func (m *model) clone() *model {
	c := &model{keys: slices.Clone(m.keys), vals: make(map[string]cid.Cid, len(m.vals))}
	for k, v := range m.vals {
		c.vals[k] = v
	}
	return c
}

func (m *model) Scan(lo, hi string, yield func(string, cid.Cid) error) error {
	i := sort.Search(len(m.keys), func(i int) bool { return m.keys[i] > lo })
	for ; i < len(m.keys) && (hi == "" || m.keys[i] < hi); i++ {
		m.rows++
		if err := yield(m.keys[i], m.vals[m.keys[i]]); err != nil {
			return err
		}
	}
	return nil
}

// next gives the records as an export wants them, each with its key as its body.
func (m *model) next() NextRecord {
	i := 0
	return func() (string, cid.Cid, []byte, error) {
		if i == len(m.keys) {
			return "", cid.Undef, nil, io.EOF
		}
		k := m.keys[i]
		i++
		return k, m.vals[k], []byte(k), nil
	}
}

func val(i int) cid.Cid { return sumCID([]byte(fmt.Sprint("value ", i))) }

// definition builds the tree of a model straight from the definition, without sharing any code
// with Put, Delete and the builder.
func definition(m *model) kid {
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
	return build(m.keys, top)
}

func reference(m *model) cid.Cid { return (Tree{root: definition(m)}).Root() }

// stream is the full export of a model by the definition: nodes by CID, records by key.
func stream(m *model) []string {
	var out []string
	var walk func(k kid)
	walk = func(k kid) {
		if k.none() {
			return
		}
		out = append(out, k.link().String())
		for i, c := range k.node.kids {
			walk(c)
			if i < len(k.node.entries) {
				out = append(out, k.node.entries[i].Key)
			}
		}
	}
	root := definition(m)
	if root.none() {
		return []string{emptyRoot.String()}
	}
	walk(root)
	return out
}
