package mst

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
)

const vectors = "../../testdata/interop"

func readVectors[T any](t *testing.T, name string) T {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(vectors, name))
	if err != nil {
		t.Fatal(err)
	}
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func mustCID(t *testing.T, s string) cid.Cid {
	t.Helper()
	c, err := cid.Decode(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestHeightVectors(t *testing.T) {
	for _, v := range readVectors[[]struct {
		Key    string
		Height int
	}](t, "mst/key_heights.json") {
		if got := Height(v.Key); got != v.Height {
			t.Errorf("height of %q is %d, want %d", v.Key, got, v.Height)
		}
	}
}

func TestCommonPrefixVectors(t *testing.T) {
	for _, v := range readVectors[[]struct {
		Left, Right string
		Len         int
	}](t, "mst/common_prefix.json") {
		if got := commonPrefix(v.Left, v.Right); got != v.Len {
			t.Errorf("common prefix of %q and %q is %d, want %d", v.Left, v.Right, got, v.Len)
		}
	}
}

func exampleKeys(t *testing.T) []string {
	t.Helper()
	f, err := os.Open(filepath.Join(vectors, "mst/example_keys.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var keys []string
	for s := bufio.NewScanner(f); s.Scan(); {
		keys = append(keys, s.Text())
	}
	if len(keys) != 156 {
		t.Fatalf("%d example keys, want 156", len(keys))
	}
	return keys
}

func TestExampleKeyHeights(t *testing.T) {
	for _, k := range exampleKeys(t) {
		if got := Height(k); got != int(k[1]-'0') {
			t.Errorf("height of %s is %d", k, got)
		}
	}
}

// TestExampleKeysEveryWay builds the tree of the example keys in several orders, by puts alone
// and by deletes, and expects the one root there is.
func TestExampleKeysEveryWay(t *testing.T) {
	keys := exampleKeys(t)
	m := newModel()
	for _, k := range keys {
		m.put(k, val(1))
	}
	want := reference(m)
	for name, order := range map[string]func([]string){
		"sorted":   slices.Sort[[]string],
		"reversed": slices.Reverse[[]string],
		"by height": func(k []string) {
			slices.SortFunc(k, func(a, b string) int { return strings.Compare(a[1:], b[1:]) })
		},
	} {
		k := slices.Clone(keys)
		order(k)
		tree := Empty()
		for _, key := range k {
			tree = mustPut(t, tree, nil, key, val(1))
		}
		if tree.Root() != want {
			t.Errorf("%s: root %s, want %s", name, tree.Root(), want)
		}
		for _, key := range k {
			var err error
			if tree, _, err = tree.Delete(nil, key); err != nil {
				t.Fatalf("%s: delete %s: %v", name, key, err)
			}
		}
		if tree.Root() != emptyRoot || !tree.IsEmpty() {
			t.Errorf("%s: root %s after all deletes", name, tree.Root())
		}
	}
}

func mustPut(t testing.TB, tree Tree, src Source, key string, v cid.Cid) Tree {
	t.Helper()
	tree, _, err := tree.Put(src, key, v)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// TestKnownRoots has roots that implementations agree on, with the edge cases of trimming and splitting.
func TestKnownRoots(t *testing.T) {
	const p = "com.example.record/3jqfcqzm"
	v := mustCID(t, "bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454")
	split := "3fo 3fp 3fr 3fs 3ft 3fz 4fc 4fd 4ff 4fg 4fh"
	for _, tt := range []struct{ name, puts, deletes, root string }{
		{"empty", "", "", "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm"},
		{"one key", "3fo", "", "bafyreibj4lsc3aqnrvphp5xmrnfoorvru4wynt6lwidqbm2623a6tatzdu"},
		{"one key on layer 2", "3fx", "", "bafyreih7wfei65pxzhauoibu3ls7jgmkju4bspy4t2ha2qdjnzqvoy33ai"},
		{"five keys", "3fp 3fr 3fs 3ft 4fc", "", "bafyreicmahysq4n6wfuxo522m6dpiy7z7qzym3dzs756t5n7nfdgccwq7m"},
		{"before trimming", "3fn 3fo 3fp 3fs 3ft 3fu", "", "bafyreifnqrwbk6ffmyaz5qtujqrzf5qmxf7cbxvgzktl4e3gabuxbtatv4"},
		{"trimmed", "3fn 3fo 3fp 3fs 3ft 3fu", "3fs", "bafyreie4kjuxbwkhzg2i5dljaswcroeih4dgiqq6pazcmunwt2byd725vi"},
		{"before splitting", split, "", "bafyreiettyludka6fpgp33stwxfuwhkzlur6chs4d2v4nkmq2j3ogpdjem"},
		{"split two layers down", split + " 3fx", "", "bafyreid2x5eqs4w4qxvc5jiwda4cien3gw2q6cshofxwnvv7iucrmfohpm"},
		{"and merged again", split + " 3fx", "3fx", "bafyreiettyludka6fpgp33stwxfuwhkzlur6chs4d2v4nkmq2j3ogpdjem"},
		{"low", "3ft 3fz", "", "bafyreidfcktqnfmykz2ps3dbul35pepleq7kvv526g47xahuz3rqtptmky"},
		{"two layers higher", "3ft 3fz 3fx", "", "bafyreiavxaxdz7o7rbvr3zg2liox2yww46t7g6hkehx4i4h3lwudly7dhy"},
		{"and low again", "3ft 3fz 3fx", "3fx", "bafyreidfcktqnfmykz2ps3dbul35pepleq7kvv526g47xahuz3rqtptmky"},
		{"with a key between", "3ft 3fz 3fx 4fd", "", "bafyreig4jv3vuajbsybhyvb7gggvpwh2zszwfyttjrj6qwvcsp24h6popu"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree := Empty()
			for _, k := range strings.Fields(tt.puts) {
				tree = mustPut(t, tree, nil, p+k+"2j", v)
			}
			for _, k := range strings.Fields(tt.deletes) {
				var err error
				if tree, _, err = tree.Delete(nil, p+k+"2j"); err != nil {
					t.Fatal(err)
				}
			}
			if got := tree.Root().String(); got != tt.root {
				t.Errorf("root %s, want %s", got, tt.root)
			}
		})
	}
}

func TestCommitProofVectors(t *testing.T) {
	type fixture struct {
		Comment, LeafValue                string
		Keys, Adds, Dels, BlocksInProof   []string
		RootBeforeCommit, RootAfterCommit string
	}
	for _, f := range readVectors[[]fixture](t, "firehose/commit-proof-fixtures.json") {
		t.Run(f.Comment, func(t *testing.T) {
			v := mustCID(t, f.LeafValue)
			m := newModel()
			for _, k := range f.Keys {
				m.put(k, v)
			}
			for keep := range 4 {
				old, err := Derive(m, keep)
				if err != nil || old.Root().String() != f.RootBeforeCommit {
					t.Fatalf("before: %s, %v", old.Root(), err)
				}
				tree := old
				for _, k := range f.Adds {
					tree = mustPut(t, tree, m, k, v)
				}
				for _, k := range f.Dels {
					if tree, _, err = tree.Delete(m, k); err != nil {
						t.Fatal(err)
					}
				}
				if tree.Root().String() != f.RootAfterCommit {
					t.Fatalf("after: %s", tree.Root())
				}
				proof, err := tree.Proof(m, slices.Concat(f.Adds, f.Dels)...)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, b := range proof {
					got = append(got, b.CID.String())
				}
				want := slices.Clone(f.BlocksInProof)
				slices.Sort(want)
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Errorf("keep %d: proof\n%s\nwant\n%s", keep, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			}
		})
	}
}
