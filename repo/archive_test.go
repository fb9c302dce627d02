package repo

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/ipfs/go-cid"

	"perch/repo/mst"
)

// archiveLimits are large enough for all tests here.
var archiveLimits = ArchiveLimits{Header: 4096, Block: 4 << 20, Total: 1 << 30}

func spoolsIn(t testing.TB) func() (Spool, error) {
	dir := t.TempDir()
	return func() (Spool, error) {
		f, err := os.CreateTemp(dir, "")
		if err == nil {
			t.Cleanup(func() { f.Close() })
		}
		return f, err
	}
}

func readArchive(t testing.TB, car []byte) (*Archive, error) {
	return ReadArchive(bytes.NewReader(car), bytes.NewReader(car), spoolsIn(t), archiveLimits)
}

// world is a repository as blocks that a test can tamper with.
type archiveWorld struct {
	head   Head
	blocks []Block
	paths  []string
}

func newArchiveWorld(t testing.TB, n int) *archiveWorld {
	t.Helper()
	key, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		t.Fatal(err)
	}
	w := &archiveWorld{}
	tree := mst.Empty()
	for i := range n {
		body, err := EncodeRecord(map[string]any{"$type": "app.bsky.feed.post", "text": fmt.Sprint("post ", i)})
		if err != nil {
			t.Fatal(err)
		}
		path := fmt.Sprintf("app.bsky.feed.post/3k%011d", i)
		w.paths = append(w.paths, path)
		w.blocks = append(w.blocks, Block{CID: CIDOf(body), Data: body})
		if tree, _, err = tree.Put(nil, path, CIDOf(body)); err != nil {
			t.Fatal(err)
		}
	}
	w.blocks = append(w.blocks, tree.NewBlocks()...)
	if w.head, err = SignCommit(Commit{DID: "did:plc:abc", Data: tree.Root(), Rev: "3jzfcijpj2z2a"}, key); err != nil {
		t.Fatal(err)
	}
	w.blocks = append(w.blocks, Block{CID: w.head.CID, Data: w.head.Block})
	return w
}

func archiveOf(t testing.TB, blocks []Block, roots ...cid.Cid) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewCARWriter(&b, roots...)
	for i := 0; err == nil && i < len(blocks); i++ {
		err = w.Put(blocks[i].CID, blocks[i].Data)
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func pathsOf(a *Archive, data cid.Cid) (paths []string, err error) {
	err = a.Records(data, func(r ArchiveRecord) error {
		if CIDOf(r.Body) != r.CID {
			return errors.New("body does not fit the CID")
		}
		paths = append(paths, r.Path)
		return nil
	})
	return paths, err
}

// Any order of blocks will do, with some of them twice, with others that nobody needs, and with more than one root.
func TestArchiveTakesAnyOrder(t *testing.T) {
	w := newArchiveWorld(t, 500)
	raw := bytes.Repeat([]byte("a picture, and larger than any record may be "), 30_000)
	for seed := range uint64(5) {
		rng := rand.New(rand.NewPCG(seed, 1))
		blocks := append(slices.Clone(w.blocks), w.blocks[:40]...)
		blocks = append(blocks, Block{CID: BlobCIDOf(sum256(raw)), Data: raw}, Block{CID: CIDOf([]byte{0xa0}), Data: []byte{0xa0}})
		rng.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
		a, err := readArchive(t, archiveOf(t, blocks, w.head.CID, CIDOf([]byte{0xa0})))
		if err != nil {
			t.Fatal(err)
		}
		head, err := a.Head()
		if err != nil || head.CID != w.head.CID {
			t.Fatalf("head %s, %v", head.CID, err)
		}
		paths, err := pathsOf(a, head.Commit.Data)
		if err != nil || !slices.Equal(paths, w.paths) {
			t.Fatalf("%d records, %v", len(paths), err)
		}
	}
}

func TestArchiveOfEmptyRepository(t *testing.T) {
	w := newArchiveWorld(t, 0)
	a, err := readArchive(t, archiveOf(t, []Block{{CID: w.head.CID, Data: w.head.Block}}, w.head.CID))
	if err != nil {
		t.Fatal(err)
	}
	if paths, err := pathsOf(a, w.head.Commit.Data); err != nil || len(paths) != 0 {
		t.Errorf("%v, %v", paths, err)
	}
}

// Every block is needed: without any of them an error says which one is missing.
func TestArchiveMissesBlocks(t *testing.T) {
	w := newArchiveWorld(t, 60)
	for i := range w.blocks {
		blocks := slices.Delete(slices.Clone(w.blocks), i, i+1)
		a, err := readArchive(t, archiveOf(t, blocks, w.head.CID))
		if err != nil {
			t.Fatal(err)
		}
		head, err := a.Head()
		if err == nil {
			_, err = pathsOf(a, head.Commit.Data)
		}
		if !errors.Is(err, ErrMissingBlock) {
			t.Fatalf("without block %d: %v", i, err)
		}
	}
}

func TestArchiveRefusesFiles(t *testing.T) {
	w := newArchiveWorld(t, 20)
	good := archiveOf(t, w.blocks, w.head.CID)
	flipped := bytes.Clone(good)
	flipped[len(flipped)-40] ^= 1
	for name, car := range map[string][]byte{
		"nothing":       {},
		"cut short":     good[:len(good)-1],
		"half":          good[:len(good)/2],
		"only a length": append(bytes.Clone(good), 0x80),
		"wrong hash":    flipped,
		"no roots":      archiveOf(t, w.blocks),
		"text":          []byte("<html>not found</html>"),
	} {
		if _, err := readArchive(t, car); !errors.Is(err, ErrCAR) {
			t.Errorf("%s: %v", name, err)
		}
	}
	lim := archiveLimits
	lim.Total = int64(len(good)) - 1
	if _, err := ReadArchive(bytes.NewReader(good), bytes.NewReader(good), spoolsIn(t), lim); !errors.Is(err, ErrCAR) {
		t.Errorf("over the limit: %v", err)
	}
}

func TestArchiveRefusesRecords(t *testing.T) {
	key, _ := atcrypto.GeneratePrivateKeyK256()
	for name, tt := range map[string]struct {
		path string
		body []byte
	}{
		"float":         {"app.bsky.feed.post/a", []byte{0xa1, 0x61, 'a', 0xfb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0}},
		"not canonical": {"app.bsky.feed.post/a", []byte{0xa2, 0x61, 'b', 0x01, 0x61, 'a', 0x01}},
		"no object":     {"app.bsky.feed.post/a", []byte{0x01}},
		"garbage":       {"app.bsky.feed.post/a", []byte{0xff, 0xff}},
		"no rkey":       {"app.bsky.feed.post", []byte{0xa0}},
		"dots":          {"app.bsky.feed.post/..", []byte{0xa0}},
		"three parts":   {"app.bsky.feed.post/a/b", []byte{0xa0}},
		"no nsid":       {"posts/a", []byte{0xa0}},
	} {
		tree, _, err := mst.Empty().Put(nil, tt.path, CIDOf(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		head, err := SignCommit(Commit{DID: "did:plc:abc", Data: tree.Root(), Rev: "3jzfcijpj2z2a"}, key)
		if err != nil {
			t.Fatal(err)
		}
		blocks := append(tree.NewBlocks(), Block{CID: CIDOf(tt.body), Data: tt.body}, Block{CID: head.CID, Data: head.Block})
		a, err := readArchive(t, archiveOf(t, blocks, head.CID))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = pathsOf(a, head.Commit.Data); !errors.Is(err, ErrRecord) || !bytes.Contains([]byte(err.Error()), []byte(tt.path)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// hostileNode encodes a node with one entry, without any check.
func hostileNode(key string, value, left, right cid.Cid) Block {
	link := func(b []byte, c cid.Cid) []byte {
		if !c.Defined() {
			return append(b, cborNull)
		}
		return appendCID(b, c)
	}
	b := append([]byte{majorMap | 2, majorText | 1, 'e'}, majorArray|1, majorMap|4, majorText|1, 'k')
	b = append(appendHead(b, majorBytes, uint64(len(key))), key...)
	b = append(b, majorText|1, 'p', 0, majorText|1, 't')
	b = link(b, right)
	b = appendCID(append(b, majorText|1, 'v'), value)
	b = link(append(b, majorText|1, 'l'), left)
	return Block{CID: CIDOf(b), Data: b}
}

// emptyNode encodes a node that only leads on to another.
func emptyNode(left cid.Cid) Block {
	b := appendCID([]byte{majorMap | 2, majorText | 1, 'e', majorArray, majorText | 1, 'l'}, left)
	return Block{CID: CIDOf(b), Data: b}
}

func keyOfHeight(height int, from int) string {
	for i := from; ; i++ {
		if k := fmt.Sprintf("app.bsky.feed.post/%09d", i); mst.Height(k) == height {
			return k
		}
	}
}

func TestArchiveRefusesTrees(t *testing.T) {
	body := []byte{0xa0}
	value := CIDOf(body)
	low := hostileNode(keyOfHeight(0, 0), value, cid.Undef, cid.Undef)
	high := keyOfHeight(1, 5000)
	both := hostileNode(high, value, low.CID, low.CID) // one subtree on both sides of a key
	right := hostileNode(keyOfHeight(1, 0), value, cid.Undef, cid.Undef)
	tests := map[string][]Block{
		"twice":          {both, low},
		"skips a layer":  {hostileNode(keyOfHeight(3, 0), value, low.CID, cid.Undef), low},
		"below layer 0":  {hostileNode(keyOfHeight(0, 5000), value, low.CID, cid.Undef), low},
		"only leads on":  {emptyNode(low.CID), low},
		"not a node":     {{CID: CIDOf([]byte{0xa1, 0x61, 'x', 0x01}), Data: []byte{0xa1, 0x61, 'x', 0x01}}},
		"wrong side":     {hostileNode(keyOfHeight(2, 0), value, right.CID, right.CID), right},
		"node as record": {hostileNode(high, value, value, cid.Undef)},
	}
	for name, blocks := range tests {
		a, err := readArchive(t, archiveOf(t, append(blocks, Block{CID: value, Data: body}), blocks[0].CID))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pathsOf(a, blocks[0].CID); !errors.Is(err, ErrTree) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A few nodes, each of which links the next on both sides, would be 2^n places. The order of keys ends it at the second.
func TestArchiveBillionLaughs(t *testing.T) {
	value := CIDOf([]byte{0xa0})
	blocks := []Block{{CID: value, Data: []byte{0xa0}}}
	below := cid.Undef
	for h := range 8 {
		b := hostileNode(keyOfHeight(h, 0), value, below, below)
		blocks, below = append(blocks, b), b.CID
	}
	a, err := readArchive(t, archiveOf(t, blocks, below))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	err = a.Records(below, func(ArchiveRecord) error { seen++; return nil })
	if !errors.Is(err, ErrTree) || seen > len(blocks) {
		t.Errorf("%d records before %v", seen, err)
	}
}

// Many blocks make an index on disk.
func TestArchiveIndexOnDisk(t *testing.T) {
	const n = 3*indexRun + 1234
	w := newIndexWriter(spoolsIn(t))
	key := func(i int) indexKey { return sum256(fmt.Append(nil, i)) }
	for i := range n {
		if err := w.add(key(i), int64(i)*100, i%5000); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 { // again
			if err := w.add(key(i), int64(i)*100, i%5000); err != nil {
				t.Fatal(err)
			}
		}
	}
	x, err := w.finish()
	if err != nil || x.file == nil || x.count != n {
		t.Fatalf("%d entries, on disk %v: %v", x.count, x.file != nil, err)
	}
	for i := 0; i < n; i += 37 {
		at, size, ok, err := x.find(key(i))
		if err != nil || !ok || at != int64(i)*100 || size != i%5000 {
			t.Fatalf("entry %d: %d, %d, %v, %v", i, at, size, ok, err)
		}
	}
	for i := n; i < n+1000; i++ {
		if _, _, ok, err := x.find(key(i)); ok || err != nil {
			t.Fatalf("found what is not there: %v", err)
		}
	}
}

func FuzzArchive(f *testing.F) {
	w := newArchiveWorld(f, 12)
	f.Add(archiveOf(f, w.blocks, w.head.CID))
	f.Fuzz(func(t *testing.T, car []byte) {
		a, err := readArchive(t, car)
		if err != nil {
			return
		}
		if head, err := a.Head(); err == nil {
			_, _ = pathsOf(a, head.Commit.Data)
		}
		for _, root := range a.roots {
			if codecOf(root) == codecDagCBOR {
				_, _ = pathsOf(a, root)
			}
		}
	})
}

func sum256(b []byte) [32]byte { return sha256.Sum256(b) }
