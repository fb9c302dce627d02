package repo

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/ipfs/go-cid"
)

func TestCommitRoundTrip(t *testing.T) {
	key := testKey(t)
	data := CIDOf([]byte{0xa0})
	head, err := SignCommit(Commit{DID: did, Data: data, Rev: "3lzzzzzzzzz2a"}, key)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseHead(head.Block)
	if err != nil || got.CID != head.CID || got.Commit.DID != did || got.Commit.Data != data || got.Commit.Rev != "3lzzzzzzzzz2a" {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := got.Commit.Verify(publicKey(t, key)); err != nil {
		t.Error(err)
	}
	other, err := atcrypto.GeneratePrivateKeyP256()
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Commit.Verify(publicKey(t, other)); !errors.Is(err, ErrSignature) {
		t.Errorf("another key: %v", err)
	}
	forged := got.Commit
	forged.Rev = "3lzzzzzzzzz2b"
	if err := forged.Verify(publicKey(t, key)); !errors.Is(err, ErrSignature) {
		t.Errorf("another rev: %v", err)
	}
}

func TestParseCommitRefuses(t *testing.T) {
	head, err := SignCommit(Commit{DID: did, Data: CIDOf(nil), Rev: "3lzzzzzzzzz2a"}, testKey(t))
	if err != nil {
		t.Fatal(err)
	}
	good := head.Block
	swap := func(old, new string) []byte { return bytes.Replace(good, []byte(old), []byte(new), 1) }
	for name, b := range map[string][]byte{
		"nothing":           {},
		"not a map":         {0x80},
		"trailing byte":     append(bytes.Clone(good), 0),
		"cut short":         good[:len(good)-1],
		"unsigned":          Commit{DID: did, Data: CIDOf(nil), Rev: "3lzzzzzzzzz2a"}.Encode(),
		"short signature":   Commit{DID: did, Data: CIDOf(nil), Rev: "3lzzzzzzzzz2a", Sig: make([]byte, 63)}.Encode(),
		"version 2":         swap("version\x03", "version\x02"),
		"prev false":        swap("prev\xf6", "prev\xf4"),
		"another field":     swap("prev\xf6", "prew\xf6"),
		"DID without did":   swap("did:plc", "dad:plc"),
		"rev not a TID":     swap("3lzzz", "0lzzz"),
		"data raw":          swap("\x00\x01\x71", "\x00\x01\x55"),
		"prev missing":      append([]byte{0xa5}, swap("\x64prev\xf6", "")[1:]...),
		"fields unordered":  swap("cdid", "cdie"),
		"beyond all limits": make([]byte, 1<<20),
	} {
		if c, err := ParseCommit(b); !errors.Is(err, ErrCommit) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

// TestRealCommits reads commits and trees that the network made.
func TestRealCommits(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(vectors, "firehose/firehose_commit_*.json"))
	if err != nil || len(files) != 4 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		v := readVectors[struct {
			Blocks struct {
				Bytes string `json:"$bytes"`
			}
			Commit struct {
				Link string `json:"$link"`
			}
			Repo, Rev string
		}](t, "firehose/"+filepath.Base(f))
		car, err := base64.RawStdEncoding.DecodeString(v.Blocks.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		root, blocks, err := readBlocks(car, EventCARLimits())
		if err != nil || root.String() != v.Commit.Link {
			t.Fatal(root, err)
		}
		c, _, err := loadCommit(root, blocks)
		if err != nil || c.DID.String() != v.Repo || c.Rev.String() != v.Rev {
			t.Errorf("%s: %+v, %v", f, c, err)
		}
	}
}

func carOf(roots []cid.Cid, blocks ...[]byte) []byte {
	b := appendCARHeader(nil, roots...)
	for _, data := range blocks {
		b = appendSection(b, CIDOf(data), data)
	}
	return b
}

var smallCAR = CARLimits{Header: 200, Block: 100, Blocks: 3, Total: 1000}

func TestReadCARRefuses(t *testing.T) {
	one := []byte{0xa0}
	root := []cid.Cid{CIDOf(one)}
	good := carOf(root, one)
	header := func(h string) []byte {
		b := unhex(t, h)
		return append(binary.AppendUvarint(nil, uint64(len(b))), b...)
	}
	roots := "65 726f6f7473 81" + hexLink
	spoilt := bytes.Clone(good)
	spoilt[len(spoilt)-1]++
	dagpb := cid.NewCidV1(0x70, CIDOf(one).Hash())
	for name, b := range map[string][]byte{
		"nothing":            {},
		"header cut short":   good[:20],
		"header too long":    appendCARHeader(nil, slices.Repeat(root, 10)...),
		"header of 2^63":     append(bytes.Repeat([]byte{0xff}, 8), 0x7f),
		"header endless":     bytes.Repeat([]byte{0x80}, 100),
		"header length zero": {0},
		"header length long": append([]byte{good[0] | 0x80, 0}, good[1:]...),
		"header no map":      header("80"),
		"no roots":           header("a2 65 726f6f7473 80 67 76657273696f6e 01"),
		"no version":         header("a1" + roots),
		"version 2":          header("a2" + roots + "67 76657273696f6e 02"),
		"root no link":       header("a2 65 726f6f7473 81 00 67 76657273696f6e 01"),
		"header unsorted":    header("a2 67 76657273696f6e 01" + roots),
		"block cut short":    good[:len(good)-1],
		"only a length":      append(bytes.Clone(good), 40),
		"zero section":       append(bytes.Clone(good), 0),
		"section, no CID":    append(bytes.Clone(good), 3, 1, 2, 3),
		"wrong hash":         spoilt,
		"unsupported CID":    appendSection(carOf(root), dagpb, one),
		"block too large":    carOf(root, make([]byte, 101)),
		"too many blocks":    carOf(root, one, one, one, one),
		"too large":          carOf(slices.Repeat(root, 2), one)[:90],
	} {
		lim := smallCAR
		if name == "too large" {
			lim.Total = 80
		}
		roots, err := ReadCAR(bytes.NewReader(b), lim, func(Block) error { return nil })
		if !errors.Is(err, ErrCAR) {
			t.Errorf("%s: %v, %v", name, roots, err)
		}
	}
}

func TestReadCAR(t *testing.T) {
	one, two := []byte{0xa0}, []byte{0x80}
	roots := []cid.Cid{CIDOf(two), CIDOf(one)}
	raw := BlobCIDOf([32]byte(CIDOf(one).Hash()[2:]))
	car := appendSection(carOf(roots, one, two), raw, one)
	var got []cid.Cid
	rs, err := ReadCAR(iotest.OneByteReader(bytes.NewReader(car)), smallCAR, func(b Block) error {
		got = append(got, b.CID)
		return nil
	})
	if err != nil || !slices.Equal(rs, roots) || !slices.Equal(got, []cid.Cid{CIDOf(one), CIDOf(two), raw}) {
		t.Error(rs, got, err)
	}
	boom := errors.New("boom")
	if _, err := ReadCAR(bytes.NewReader(car), smallCAR, func(Block) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("error of yield: %v", err)
	}
	r := io.MultiReader(bytes.NewReader(car[:80]), iotest.ErrReader(boom))
	if _, err := ReadCAR(r, smallCAR, func(Block) error { return nil }); !errors.Is(err, boom) || errors.Is(err, ErrCAR) {
		t.Errorf("error of the reader: %v", err)
	}
}

func proofAccount(t *testing.T) *account {
	a := newAccount(t)
	for i := range 100 {
		a.commit(record(t, Create, fmt.Sprintf("a.b.c/k%d", i), fmt.Sprint(i)))
	}
	return a
}

func TestRecordProof(t *testing.T) {
	a := proofAccount(t)
	pub := publicKey(t, a.key)
	for i := range 120 {
		path := fmt.Sprintf("a.b.c/k%d", i)
		body := a.bodies[path]
		car, err := RecordProof(*a.head, a.tree, a, path, body)
		if err != nil {
			t.Fatal(err)
		}
		c, got, err := VerifyRecordProof(car, did, pub, path)
		if err != nil || !bytes.Equal(got, body) || c.Defined() != (body != nil) {
			t.Fatalf("%s: %s %x %v", path, c, got, err)
		}
		if _, _, err := VerifyRecordProof(car, "did:web:example.com", pub, path); !errors.Is(err, ErrProof) {
			t.Errorf("another account: %v", err)
		}
	}
	if _, err := RecordProof(*a.head, a.tree, a, "a.b.c/k1", []byte{0xa0}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another record: %v", err)
	}
	if _, err := RecordProof(*a.head, a.tree, a, "a.b.c/k1", nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("record withheld: %v", err)
	}
}

// without returns a CAR with one of its blocks left out.
func without(t *testing.T, car []byte, n int) ([]byte, bool) {
	t.Helper()
	var out []byte
	i := 0
	roots, err := ReadCAR(bytes.NewReader(car), EventCARLimits(), func(b Block) error {
		if i++; i-1 != n {
			out = appendSection(out, b.CID, b.Data)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return append(appendCARHeader(nil, roots...), out...), n < i
}

// TestProofsNeedAllTheirBlocks leaves out each block of a proof in turn.
func TestProofsNeedAllTheirBlocks(t *testing.T) {
	a := proofAccount(t)
	pub := publicKey(t, a.key)
	for _, path := range []string{"a.b.c/k7", "a.b.c/none"} {
		car, err := RecordProof(*a.head, a.tree, a, path, a.bodies[path])
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; ; n++ {
			less, ok := without(t, car, n)
			if !ok {
				break
			}
			if c, _, err := VerifyRecordProof(less, did, pub, path); err == nil {
				t.Errorf("%s without block %d proves %s", path, n, c)
			}
		}
	}
}

func TestVerifyCommitRefuses(t *testing.T) {
	a := proofAccount(t)
	pub := publicKey(t, a.key)
	d := a.commit(record(t, Update, "a.b.c/k7", "new"), record(t, Delete, "a.b.c/k8", ""), record(t, Create, "a.b.c/k200", "x"))
	if _, err := VerifyCommit(d.Event(), pub); err != nil {
		t.Fatal(err)
	}
	later := a.commit(record(t, Create, "a.b.c/k201", "x"))
	other := CIDOf([]byte("other"))
	for name, spoil := range map[string]func(*CommitEvent){
		"another account":     func(e *CommitEvent) { e.DID = "did:web:example.com" },
		"another rev":         func(e *CommitEvent) { e.Rev = "3lzzzzzzzzz2a" },
		"another commit":      func(e *CommitEvent) { e.Commit = later.Head.CID },
		"another CAR":         func(e *CommitEvent) { e.Blocks = later.CAR },
		"no CAR":              func(e *CommitEvent) { e.Blocks = nil },
		"another prevData":    func(e *CommitEvent) { e.PrevData = other },
		"no prevData":         func(e *CommitEvent) { e.PrevData = cid.Undef },
		"op left out":         func(e *CommitEvent) { e.Ops = e.Ops[1:] },
		"op twice":            func(e *CommitEvent) { e.Ops = append(e.Ops, e.Ops[0]) },
		"op of another path":  func(e *CommitEvent) { e.Ops[0].Path = "a.b.c/k9" },
		"op path malformed":   func(e *CommitEvent) { e.Ops[0].Path = "k9" },
		"update, prev wrong":  func(e *CommitEvent) { e.Ops[0].Prev = other },
		"update without prev": func(e *CommitEvent) { e.Ops[0].Prev = cid.Undef },
		"update, CID wrong":   func(e *CommitEvent) { e.Ops[0].CID = other },
		"delete with a CID":   func(e *CommitEvent) { e.Ops[1].CID = other },
		"delete as create":    func(e *CommitEvent) { e.Ops[1].Action = Create },
		"create with a prev":  func(e *CommitEvent) { e.Ops[2].Prev = other },
		"unknown action":      func(e *CommitEvent) { e.Ops[2].Action = Put },
		"too many":            func(e *CommitEvent) { e.Ops = slices.Repeat(e.Ops, 100) },
	} {
		e := d.Event()
		e.Ops = slices.Clone(e.Ops)
		spoil(&e)
		if _, err := VerifyCommit(e, pub); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for n := 0; ; n++ {
		e := d.Event()
		less, ok := without(t, e.Blocks, n)
		if !ok {
			break
		}
		e.Blocks = less
		if _, err := VerifyCommit(e, pub); err == nil {
			t.Errorf("without block %d: accepted, so it need not be there", n)
		}
	}
}

func TestExportWriterErrors(t *testing.T) {
	a := proofAccount(t)
	if err := Export(brokenPipe{}, *a.head, a.tree, a, a.next()); err == nil || !strings.Contains(err.Error(), "broken pipe") {
		t.Error(err)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }
