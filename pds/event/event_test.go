package event

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/api/atproto"
	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/ipfs/go-cid"
	cbg "github.com/whyrusleeping/cbor-gen"

	"perch/repo"
	"perch/repo/mst"
)

const did = "did:plc:44ybard66vv44zksje25o7dz"

var now = time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.FixedZone("", 3600))

// read checks a frame as a strict consumer would and decodes its payload.
func read(t *testing.T, frame []byte, kind string, m cbg.CBORUnmarshaler) {
	t.Helper()
	want := append([]byte{0xa2, 0x61, 't', 0x60 + byte(len(kind))}, kind...)
	want = append(want, 0x62, 'o', 'p', 1)
	if !bytes.HasPrefix(frame, want) {
		t.Fatalf("header %q, want %q", frame[:len(want)], want)
	}
	payload := frame[len(want):]
	lim := repo.RecordLimits()
	lim.Bytes = MaxFrame
	for _, part := range [][]byte{want, payload} {
		if err := repo.CheckDRISL(part, lim); err != nil {
			t.Fatalf("frame is not canonical: %v", err)
		}
	}
	r := bytes.NewReader(payload)
	if err := m.UnmarshalCBOR(r); err != nil || r.Len() != 0 {
		t.Fatalf("payload: %v, %d bytes left", err, r.Len())
	}
}

func diffs(t *testing.T) (first, second *repo.Diff) {
	t.Helper()
	key, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		t.Fatal(err)
	}
	write := func(a repo.Action, text string) repo.Write {
		// What looks like a seq must not be taken for one.
		w, err := repo.NewWrite(a, "app.bsky.feed.post", "seq", map[string]any{"text": text, "seq": int64(1 << 40)})
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	first, err = repo.Start(did, repo.NextRev("", now, 1), key, write(repo.Create, "x"))
	if err != nil {
		t.Fatal(err)
	}
	second, err = repo.Apply(did, &first.Head, first.Tree.Seal(0), none{}, repo.NextRev(first.Head.Commit.Rev, now, 1), key, nil,
		write(repo.Update, "y"))
	if err != nil {
		t.Fatal(err)
	}
	return first, second
}

// none is a source that must not be needed.
type none struct{}

func (none) Scan(string, string, func(string, cid.Cid) error) error { return mst.ErrCorrupt }

func TestCommit(t *testing.T) {
	first, second := diffs(t)
	for _, d := range []*repo.Diff{first, second} {
		e, err := NewCommit(did, d, now)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.SetSeq(MaxSeq); err != nil {
			t.Fatal(err)
		}
		var m atproto.SyncSubscribeRepos_Commit
		read(t, e.Frame, "#commit", &m)
		if m.Seq != MaxSeq || m.Repo != did || m.Rev != d.Head.Commit.Rev.String() || cid.Cid(m.Commit) != d.Head.CID ||
			m.Time != "2026-01-02T02:04:05.678Z" || m.Rebase || m.TooBig || !bytes.Contains(e.Frame, []byte("\x65blobs\x80")) || !bytes.Equal(m.Blocks, d.CAR) {
			t.Errorf("message of %s is wrong", m.Rev)
		}
		op := m.Ops[0]
		if op.Action != string(d.Ops[0].Action) || op.Path != d.Ops[0].Path || cid.Cid(*op.Cid) != d.Ops[0].CID {
			t.Errorf("op %+v", op)
		}
		if d == first && (m.Since != nil || m.PrevData != nil || op.Prev != nil) {
			t.Errorf("first commit has since %v, prevData %v, prev %v", m.Since, m.PrevData, op.Prev)
		}
		if d == second && (*m.Since != first.Head.Commit.Rev.String() || cid.Cid(*m.PrevData) != first.Head.Commit.Data || cid.Cid(*op.Prev) != first.Ops[0].CID) {
			t.Errorf("second commit has since %v, prevData %v, prev %v", *m.Since, m.PrevData, op.Prev)
		}
	}
}

func TestSync(t *testing.T) {
	d, _ := diffs(t)
	e, err := NewSync(did, d.Head, now)
	if err != nil {
		t.Fatal(err)
	}
	_ = e.SetSeq(MinSeq)
	var m atproto.SyncSubscribeRepos_Sync
	read(t, e.Frame, "#sync", &m)
	var blocks []repo.Block
	roots, err := repo.ReadCAR(bytes.NewReader(m.Blocks), repo.EventCARLimits(), func(b repo.Block) error { blocks = append(blocks, b); return nil })
	if err != nil || len(roots) != 1 || roots[0] != d.Head.CID || len(blocks) != 1 || !bytes.Equal(blocks[0].Data, d.Head.Block) {
		t.Errorf("roots %v, %d blocks, %v", roots, len(blocks), err)
	}
	if m.Seq != MinSeq || m.Did != did || m.Rev != d.Head.Commit.Rev.String() {
		t.Errorf("message %+v", m)
	}
}

func TestIdentityAndAccount(t *testing.T) {
	for _, handle := range []string{"", "alice.test"} {
		e, err := NewIdentity(did, "", now)
		if handle != "" {
			e, err = NewIdentity(did, "alice.test", now)
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = e.SetSeq(MinSeq + 1)
		var m atproto.SyncSubscribeRepos_Identity
		read(t, e.Frame, "#identity", &m)
		if m.Seq != MinSeq+1 || m.Did != did || (m.Handle == nil) != (handle == "") {
			t.Errorf("identity %+v", m)
		}
	}
	for _, status := range []string{"", "takendown"} {
		e, err := NewAccount(did, status == "", status, now)
		if err != nil {
			t.Fatal(err)
		}
		_ = e.SetSeq(MinSeq + 2)
		var m atproto.SyncSubscribeRepos_Account
		read(t, e.Frame, "#account", &m)
		if m.Seq != MinSeq+2 || m.Active != (status == "") || (m.Status == nil) != (status == "") {
			t.Errorf("account %+v", m)
		}
	}
}

func TestSeqRange(t *testing.T) {
	e, err := NewAccount(did, true, "", now)
	if err != nil {
		t.Fatal(err)
	}
	for _, seq := range []int64{-1, 0, 1, MinSeq - 1, MaxSeq + 1} {
		if e.SetSeq(seq) == nil {
			t.Errorf("seq %d was accepted", seq)
		}
	}
}

func TestTooLarge(t *testing.T) {
	d, _ := diffs(t)
	d.CAR = make([]byte, 2_000_000)
	d.Ops = make([]repo.Op, 3500)
	for i := range d.Ops {
		d.Ops[i].Path = strings.Repeat("a", 1000)
	}
	if _, err := NewCommit(did, d, now); !errors.Is(err, ErrTooLarge) {
		t.Errorf("frame of 5.5 MB: %v", err)
	}
}

func TestInfoAndError(t *testing.T) {
	var info atproto.SyncSubscribeRepos_Info
	read(t, InfoFrame("OutdatedCursor", "too old"), "#info", &info)
	if info.Name != "OutdatedCursor" || info.Message == nil || *info.Message != "too old" {
		t.Errorf("info %+v", info)
	}
	want := "\xa1\x62op\x20\xa2\x65error\x6cFutureCursor\x67message\x64next"
	if got := ErrorFrame("FutureCursor", "next"); string(got) != want {
		t.Errorf("error frame %q, want %q", got, want)
	}
	if got := ErrorFrame("FutureCursor", ""); string(got) != "\xa1\x62op\x20\xa1\x65error\x6cFutureCursor" {
		t.Errorf("error frame without message %q", got)
	}
}
