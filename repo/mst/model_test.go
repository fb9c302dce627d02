package mst

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
)

// keyPool returns keys of which the heights are spread evenly over 0 to 5, so that small trees
// have all the shapes that large ones have.
func keyPool(rng *rand.Rand) []string {
	byHeight := make([][]string, 6)
	var keys []string
	for i := 0; len(keys) < 150; i++ {
		k := fmt.Sprintf("app.test.%c/%x", 'a'+rng.IntN(3), rng.Uint32())
		if h := min(Height(k), 5); len(byHeight[h]) < 25 {
			byHeight[h] = append(byHeight[h], k)
			keys = append(keys, k)
		} else if i > 60_000 {
			break
		}
	}
	return keys
}

// change is one operation of a batch.
type change struct {
	key       string
	prev, now cid.Cid
}

// trial is a random life of one repository, checked after every batch.
type trial struct {
	t     *testing.T
	rng   *rand.Rand
	pool  []string
	m     *model
	tree  Tree // sealed
	keep  int
	layer int // of the outline
	lines map[string]OutlineRow
}

func (x *trial) fatalf(format string, args ...any) {
	x.t.Helper()
	x.t.Fatalf("keep %d, outline %d, %d records: %s", x.keep, x.layer, len(x.m.keys), fmt.Sprintf(format, args...))
}

func (x *trial) check(err error) {
	x.t.Helper()
	if err != nil {
		x.fatalf("%v", err)
	}
}

// batch applies one to five changes to the tree, reading from the state before all of
// them, and returns the new tree, the new state and the net changes.
func (x *trial) batch() (Tree, *model, []change) {
	tree, m := x.tree, x.m.clone()
	net := map[string]change{}
	for range 1 + x.rng.IntN(5) {
		k := x.pool[x.rng.IntN(len(x.pool))]
		prev, was := m.vals[k]
		c, ok := net[k]
		if !ok {
			c = change{key: k, prev: prev}
		}
		var got cid.Cid
		var err error
		if was && x.rng.IntN(3) == 0 || !was && x.rng.IntN(12) == 0 {
			tree, got, err = tree.Delete(x.m, k)
			if !was {
				if err != ErrNotFound {
					x.fatalf("delete of an absent key: %v", err)
				}
				continue
			}
			m.del(k)
			c.now = cid.Undef
		} else {
			c.now = val(x.rng.IntN(50))
			tree, got, err = tree.Put(x.m, k, c.now)
			m.put(k, c.now)
		}
		x.check(err)
		if got != prev {
			x.fatalf("%s was %s, want %s", k, got, prev)
		}
		net[k] = c
	}
	var changes []change
	for _, c := range net {
		if c.prev != c.now {
			changes = append(changes, c)
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return strings.Compare(a.key, b.key) })
	return tree, m, changes
}

func (x *trial) step() {
	before := x.tree.Root()
	old := x.tree
	tree, m, changes := x.batch()
	want := reference(m)
	if tree.Root() != want {
		x.fatalf("root %s, want %s", tree.Root(), want)
	}
	if old.Root() != before || old.Root() != reference(x.m) {
		x.fatalf("the old tree changed")
	}
	x.proofs(tree, changes, before)
	x.undo(tree, changes, before)
	x.outline(tree, changes)
	x.reads(tree, m)
	x.tree, x.m = tree.Seal(x.keep), m
	if x.tree.Root() != want || len(x.tree.NewBlocks()) > 0 && len(m.keys) > 0 {
		x.fatalf("sealing changed the tree")
	}
	x.rebuild(want)
}

// proofs checks that the covering proofs of the changes hold every new node and are enough to
// undo the changes, in a tree made of nothing else.
func (x *trial) proofs(tree Tree, changes []change, before cid.Cid) {
	var keys []string
	for _, c := range changes {
		keys = append(keys, c.key)
	}
	proof, err := tree.Proof(x.m, keys...)
	x.check(err)
	blocks := map[cid.Cid][]byte{}
	for _, b := range proof {
		if blocks[b.CID] != nil || sumCID(b.Data) != b.CID {
			x.fatalf("proof block %s twice or wrong", b.CID)
		}
		blocks[b.CID] = b.Data
	}
	for _, b := range tree.NewBlocks() {
		if blocks[b.CID] == nil {
			x.fatalf("new node %s is not in the proof", b.CID)
		}
	}
	part, err := Load(tree.Root(), func(c cid.Cid) ([]byte, bool) { b, ok := blocks[c]; return b, ok })
	x.check(err)
	for _, c := range changes {
		if c.now.Defined() {
			continue
		}
		part = mustPut(x.t, part, nil, c.key, c.prev)
	}
	for _, c := range changes {
		var got cid.Cid
		switch {
		case !c.now.Defined():
			continue
		case c.prev.Defined():
			part, got, err = part.Put(nil, c.key, c.prev)
		default:
			part, got, err = part.Delete(nil, c.key)
		}
		x.check(err)
		if got != c.now {
			x.fatalf("undoing %s found %s", c.key, got)
		}
	}
	if part.Root() != before {
		x.fatalf("undoing leads to %s, was %s", part.Root(), before)
	}
}

// undo reverts the changes in the unsealed tree, still reading the old state.
func (x *trial) undo(tree Tree, changes []change, before cid.Cid) {
	for _, i := range x.rng.Perm(len(changes)) {
		c := changes[i]
		var err error
		if c.prev.Defined() {
			tree, _, err = tree.Put(x.m, c.key, c.prev)
		} else {
			tree, _, err = tree.Delete(x.m, c.key)
		}
		x.check(err)
	}
	if tree.Root() != before {
		x.fatalf("undoing in full leads to %s, was %s", tree.Root(), before)
	}
}

// outline keeps the rows up to date by differences and compares them with all rows.
func (x *trial) outline(tree Tree, changes []change) {
	var keys []string
	for _, c := range changes {
		keys = append(keys, c.key)
	}
	old, err := Derive(x.m, x.layer)
	x.check(err)
	write, remove, err := OutlineDiff(old, tree, x.layer, keys)
	x.check(err)
	for _, k := range remove {
		delete(x.lines, k)
	}
	for _, r := range write {
		x.lines[r.Key] = r
	}
	n := 0
	x.check(tree.Outline(x.layer, func(r OutlineRow) error {
		n++
		if x.lines[r.Key] != r {
			return fmt.Errorf("outline row %q is %v, want %v", r.Key, x.lines[r.Key], r)
		}
		return nil
	}))
	if n != len(x.lines) {
		x.fatalf("%d outline rows, want %d", len(x.lines), n)
	}
}

// rebuild makes the tree anew from its outline or the records, and goes on with that.
func (x *trial) rebuild(want cid.Cid) {
	var err error
	switch x.rng.IntN(4) {
	case 0:
		x.tree, err = Derive(x.m, x.keep)
	case 1:
		var rows []OutlineRow
		for _, r := range x.lines {
			rows = append(rows, r)
		}
		slices.SortFunc(rows, func(a, b OutlineRow) int { return strings.Compare(a.Key, b.Key) })
		x.tree, err = FromOutline(x.layer, func() (r OutlineRow, ok bool, err error) {
			if len(rows) == 0 {
				return r, false, nil
			}
			r, rows = rows[0], rows[1:]
			return r, true, nil
		})
	}
	x.check(err)
	if x.tree.Root() != want {
		x.fatalf("made anew: %s, want %s", x.tree.Root(), want)
	}
}

// reads checks Get, Path and Export of a sealed tree.
func (x *trial) reads(tree Tree, m *model) {
	tree = tree.Seal(x.keep)
	for range 4 {
		k := x.pool[x.rng.IntN(len(x.pool))]
		want := m.vals[k]
		got, err := tree.Get(m, k)
		if got != want || (err == ErrNotFound) == want.Defined() {
			x.fatalf("get %s: %s %v, want %s", k, got, err, want)
		}
		path, got, err := tree.Path(m, k)
		x.check(err)
		part, err := Load(tree.Root(), func(c cid.Cid) ([]byte, bool) {
			i := slices.IndexFunc(path, func(b Block) bool { return b.CID == c })
			if i < 0 {
				return nil, false
			}
			return path[i].Data, true
		})
		x.check(err)
		if proven, err := part.Get(nil, k); got != want || proven != want || (err == ErrNotFound) == want.Defined() {
			x.fatalf("path to %s: %s, proves %s %v, want %s", k, got, proven, err, want)
		}
	}
	nodes := int64(0)
	var got []string
	e := export{src: m, next: m.next(), maxBytes: 1 << x.rng.IntN(16), maxKeys: 1 << x.rng.IntN(8), emit: func(c cid.Cid, data []byte) error {
		if sumCID(data) == c {
			nodes++
			got = append(got, c.String())
		} else {
			got = append(got, string(data))
		}
		return nil
	}}
	x.check(e.run(tree))
	if want := stream(m); !slices.Equal(got, want) {
		x.fatalf("export\n%v\nwant\n%v", got, want)
	}
	counted, err := CountNodes(m)
	x.check(err)
	if counted != nodes {
		x.fatalf("%d nodes counted, %d exported", counted, nodes)
	}
}

// fuzzTime is how long the model tests run: PERCH_FUZZ_TIME, or a second or two.
func fuzzTime(t *testing.T) time.Duration {
	s := os.Getenv("PERCH_FUZZ_TIME")
	if s == "" {
		return 1500 * time.Millisecond
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestModel lives random repositories beside a sorted map.
func TestModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	batches := 0
	for end := time.Now().Add(fuzzTime(t)); time.Now().Before(end); seed++ {
		rng := rand.New(rand.NewPCG(seed, 0))
		x := &trial{t: t, rng: rng, pool: keyPool(rng), m: newModel(), keep: rng.IntN(6)}
		x.layer = x.keep + rng.IntN(3) // an outline never goes below what is kept
		x.pool = x.pool[:1+rng.IntN(len(x.pool))]
		x.lines = map[string]OutlineRow{"": {Below: emptyRoot}}
		for range 60 {
			x.step()
			batches++
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d batches", batches)
}
