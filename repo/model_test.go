package repo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"testing"
	"time"

	comatproto "github.com/bluesky-social/indigo/api/atproto"
	"github.com/bluesky-social/indigo/atproto/atcrypto"
	indigorepo "github.com/bluesky-social/indigo/atproto/repo"
	"github.com/bluesky-social/indigo/atproto/syntax"
	lexutil "github.com/bluesky-social/indigo/lex/util"
	"github.com/ipfs/go-cid"

	"perch/repo/mst"
)

const did = syntax.DID("did:plc:ewvi7nxzyoun6zhxrhs64oiz")

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // indigo's verifier logs every commit
	os.Exit(m.Run())
}

// testKey returns a key, the same one each time.
func testKey(t testing.TB) atcrypto.PrivateKey {
	t.Helper()
	key, err := atcrypto.ParsePrivateBytesK256(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicKey(t testing.TB, key atcrypto.PrivateKey) atcrypto.PublicKey {
	t.Helper()
	pub, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

// account is a repository in memory: what a store would hold, and its records as a mst.Source.
type account struct {
	t      testing.TB
	key    atcrypto.PrivateKey
	head   *Head
	tree   mst.Tree
	keep   int
	paths  []string
	bodies map[string][]byte
	now    time.Time
}

func newAccount(t testing.TB) *account {
	return &account{t: t, key: testKey(t), keep: 2, bodies: map[string][]byte{}, now: time.UnixMicro(1_760_000_000_000_000)}
}

func (a *account) Scan(lo, hi string, yield func(string, cid.Cid) error) error {
	i := sort.Search(len(a.paths), func(i int) bool { return a.paths[i] > lo })
	for ; i < len(a.paths) && (hi == "" || a.paths[i] < hi); i++ {
		if err := yield(a.paths[i], CIDOf(a.bodies[a.paths[i]])); err != nil {
			return err
		}
	}
	return nil
}

func (a *account) next() mst.NextRecord {
	i := 0
	return func() (string, cid.Cid, []byte, error) {
		if i == len(a.paths) {
			return "", cid.Undef, nil, io.EOF
		}
		p := a.paths[i]
		i++
		return p, CIDOf(a.bodies[p]), a.bodies[p], nil
	}
}

func (a *account) rev() syntax.TID {
	a.now = a.now.Add(time.Second)
	prev := syntax.TID("")
	if a.head != nil {
		prev = a.head.Commit.Rev
	}
	return NextRev(prev, a.now, 5)
}

func (a *account) apply(writes ...Write) (*Diff, error) {
	return Apply(did, a.head, a.tree, a, a.rev(), a.key, nil, writes...)
}

// commit applies writes that must work, and stores the diff.
func (a *account) commit(writes ...Write) *Diff {
	a.t.Helper()
	d, err := a.apply(writes...)
	if err != nil {
		a.t.Fatal(err)
	}
	a.store(d)
	return d
}

func (a *account) store(d *Diff) {
	for i, op := range d.Ops {
		at, found := slices.BinarySearch(a.paths, op.Path)
		switch {
		case op.Action == Delete:
			a.paths = slices.Delete(a.paths, at, at+1)
			delete(a.bodies, op.Path)
			continue
		case !found:
			a.paths = slices.Insert(a.paths, at, op.Path)
		}
		a.bodies[op.Path] = d.Writes[i].Record
	}
	a.head, a.tree = &d.Head, d.Tree.Seal(a.keep)
}

// record returns a write of a small post.
func record(t testing.TB, action Action, path, text string) Write {
	t.Helper()
	collection, rkey, err := syntax.ParseRepoPath(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWrite(action, collection, rkey, map[string]any{"$type": collection.String(), "text": text})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// judge has our own verifier and indigo's check the event of a diff.
func judge(t testing.TB, d *Diff, pub atcrypto.PublicKey) {
	t.Helper()
	if _, err := VerifyCommit(d.Event(), pub); err != nil {
		t.Errorf("our verifier: %v", err)
	}
	msg := &comatproto.SyncSubscribeRepos_Commit{
		Repo: did.String(), Rev: d.Head.Commit.Rev.String(), Time: "2026-09-01T00:00:00Z",
		Commit: lexutil.LexLink(d.Head.CID), Blocks: d.CAR,
	}
	if d.PrevData.Defined() {
		msg.PrevData = (*lexutil.LexLink)(&d.PrevData)
	}
	for _, op := range d.Ops {
		o := &comatproto.SyncSubscribeRepos_RepoOp{Action: string(op.Action), Path: op.Path}
		if op.CID.Defined() {
			o.Cid = (*lexutil.LexLink)(&op.CID)
		}
		if op.Prev.Defined() {
			o.Prev = (*lexutil.LexLink)(&op.Prev)
		}
		msg.Ops = append(msg.Ops, o)
	}
	if _, err := indigorepo.VerifyCommitMessage(context.Background(), msg); err != nil {
		t.Errorf("indigo: %v", err)
	}
	c, _, err := indigorepo.LoadCommitFromCAR(context.Background(), bytes.NewReader(d.CAR))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.VerifySignature(pub); err != nil {
		t.Errorf("indigo: %v", err)
	}
}

// judgeExport has indigo load a full export and compares it with the records.
func (a *account) judgeExport() {
	a.t.Helper()
	var car bytes.Buffer
	if err := Export(&car, *a.head, a.tree, a, a.next()); err != nil {
		a.t.Fatal(err)
	}
	c, r, err := indigorepo.LoadRepoFromCAR(context.Background(), bytes.NewReader(car.Bytes()))
	if err != nil {
		a.t.Fatal(err)
	}
	if root, err := r.MST.RootCID(); err != nil || *root != a.head.Commit.Data || c.Rev != a.head.Commit.Rev.String() {
		a.t.Errorf("indigo computes root %s, %v", root, err)
	}
	n := 0
	err = r.MST.Walk(func(key []byte, val cid.Cid) error {
		n++
		if CIDOf(a.bodies[string(key)]) != val {
			a.t.Errorf("%s is %s", key, val)
		}
		return nil
	})
	if err != nil || n != len(a.paths) {
		a.t.Errorf("indigo sees %d records of %d, %v", n, len(a.paths), err)
	}
	a.checkOrder(car.Bytes())
}

// checkOrder checks that a CAR can be read as a stream: the commit first, and each other block
// only after one that links to it, but for records that stand there twice.
func (a *account) checkOrder(car []byte) {
	a.t.Helper()
	known := map[cid.Cid]bool{a.head.CID: true}
	_, err := ReadCAR(bytes.NewReader(car), CARLimits{4096, MaxRecord, 1 << 30, 1 << 40}, func(b Block) error {
		if !known[b.CID] {
			return fmt.Errorf("%s comes before what links to it", b.CID)
		}
		if b.CID == a.head.CID {
			known[a.head.Commit.Data] = true
		} else if n, err := mst.ReadNode(b.Data); err == nil {
			for _, k := range n.Kids {
				known[k] = true
			}
			for _, e := range n.Entries {
				known[e.Value] = true
			}
		}
		return nil
	})
	if err != nil {
		a.t.Error(err)
	}
}

// randomWrites returns writes that fit each other and the records, several of them to one path.
func (a *account) randomWrites(rng *rand.Rand, n int) []Write {
	exists := map[string]bool{}
	var writes []Write
	for range n {
		p := fmt.Sprintf("app.test.%c/k%d", 'a'+rng.IntN(3), rng.IntN(60))
		_, there := a.bodies[p]
		if e, ok := exists[p]; ok {
			there = e
		}
		switch rng.IntN(4) {
		case 0:
			w := record(a.t, Delete, p, "")
			w.IfExists = !there
			writes = append(writes, w)
			exists[p] = false
			continue
		case 1:
			writes = append(writes, record(a.t, Put, p, fmt.Sprint(rng.IntN(20))))
		default:
			action := Create
			if there {
				action = Update
			}
			writes = append(writes, record(a.t, action, p, fmt.Sprint(rng.IntN(20))))
		}
		exists[p] = true
	}
	return writes
}

// TestModel lives random repositories, each commit of them judged by our verifier and by indigo.
func TestModel(t *testing.T) {
	limit := 1500 * time.Millisecond
	if s := os.Getenv("PERCH_FUZZ_TIME"); s != "" {
		var err error
		if limit, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	pub := publicKey(t, testKey(t))
	seed := uint64(time.Now().UnixNano())
	commits := 0
	for end := time.Now().Add(limit); time.Now().Before(end) && !t.Failed(); seed++ {
		rng := rand.New(rand.NewPCG(seed, 0))
		a := newAccount(t)
		a.keep = rng.IntN(4)
		judge(t, a.commit(), pub)
		for range 40 {
			before := a.head
			d := a.commit(a.randomWrites(rng, 1+rng.IntN(6))...)
			commits++
			if !d.Changed() {
				if a.head.CID != before.CID || len(d.Ops) > 0 {
					t.Error("a commit without changes")
				}
				continue
			}
			judge(t, d, pub)
			if full, err := mst.Derive(a, 0); err != nil || full.Root() != a.head.Commit.Data {
				t.Errorf("root %s, commit has %s, %v", full.Root(), a.head.Commit.Data, err)
			}
		}
		a.judgeExport()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d commits", commits)
}
