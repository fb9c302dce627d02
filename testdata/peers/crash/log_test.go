package crash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	comatproto "github.com/bluesky-social/indigo/api/atproto"
	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/repo"
	"github.com/ipfs/go-cid"
	cbg "github.com/whyrusleeping/cbor-gen"

	"perch/testdata/peers/bench/wire"
)

// event is a message of the firehose.
type event struct {
	seq    int64
	kind   string // "#commit" and so on
	did    string
	hash   [32]byte
	commit *comatproto.SyncSubscribeRepos_Commit
	sync   *comatproto.SyncSubscribeRepos_Sync
}

// decode reads one message.
func decode(msg []byte) (*event, error) {
	r := cbg.NewCborReader(bytes.NewReader(msg))
	e := &event{hash: sha256.Sum256(msg)}
	major, n, err := r.ReadHeader()
	if err != nil || major != cbg.MajMap {
		return nil, fmt.Errorf("frame header: major %d, %w", major, err)
	}
	op := int64(0)
	for range n {
		key, err := cbg.ReadString(r)
		if err != nil {
			return nil, err
		}
		if key == "t" {
			e.kind, err = cbg.ReadString(r)
		} else {
			var m byte
			var v uint64
			m, v, err = r.ReadHeader()
			if op = int64(v); m == cbg.MajNegativeInt {
				op = -1 - op
			}
		}
		if err != nil {
			return nil, err
		}
	}
	if op != 1 {
		return nil, fmt.Errorf("error frame: %q", msg)
	}
	return e, e.payload(r)
}

func (e *event) payload(r *cbg.CborReader) error {
	var err error
	switch e.kind {
	case "#commit":
		e.commit = new(comatproto.SyncSubscribeRepos_Commit)
		err = e.commit.UnmarshalCBOR(r)
		e.seq, e.did = e.commit.Seq, e.commit.Repo
	case "#sync":
		e.sync = new(comatproto.SyncSubscribeRepos_Sync)
		err = e.sync.UnmarshalCBOR(r)
		e.seq, e.did = e.sync.Seq, e.sync.Did
	case "#identity":
		var x comatproto.SyncSubscribeRepos_Identity
		err = x.UnmarshalCBOR(r)
		e.seq, e.did = x.Seq, x.Did
	case "#account":
		var x comatproto.SyncSubscribeRepos_Account
		err = x.UnmarshalCBOR(r)
		e.seq, e.did = x.Seq, x.Did
	case "#info":
	default:
		err = fmt.Errorf("unknown kind %q", e.kind)
	}
	return err
}

// tap notes what a live consumer saw before the server was killed: seq and content.
type tap struct {
	stream *wire.Firehose
	seen   map[int64][32]byte
	done   chan error
}

// listen follows the live events until the connection breaks.
func listen(addr, cursor string) (*tap, error) {
	stream, err := wire.Subscribe(addr, cursor)
	if err != nil {
		return nil, err
	}
	t := &tap{stream: stream, seen: map[int64][32]byte{}, done: make(chan error, 1)}
	go func() { t.done <- t.run() }()
	return t, nil
}

func (t *tap) run() error {
	last := int64(0)
	for {
		msg, err := t.stream.Next()
		if err != nil {
			return nil // the server was killed
		}
		e, err := decode(msg)
		if err != nil {
			return err
		}
		if e.kind == "#info" {
			continue
		}
		if e.seq <= last {
			return fmt.Errorf("live seq %d after %d", e.seq, last)
		}
		last = e.seq
		t.seen[e.seq] = e.hash
	}
}

// replica follows one repository by its events alone, as a relay does.
type replica struct {
	key     atcrypto.PublicKey
	rev     string
	data    cid.Cid
	records map[string]cid.Cid
	commits map[string]*comatproto.SyncSubscribeRepos_Commit // by rev, of the present round
	kinds   map[string]int
}

var errChain = errors.New("event does not follow its predecessor")

// commit checks an event as strictly as the protocol allows and takes it in.
func (r *replica) commit(ctx context.Context, m *comatproto.SyncSubscribeRepos_Commit) error {
	if err := r.follows(m); err != nil {
		return err
	}
	if _, err := repo.VerifyCommitMessage(ctx, m); err != nil {
		return fmt.Errorf("commit %s: %w", m.Rev, err)
	}
	signed, root, err := repo.LoadCommitFromCAR(ctx, bytes.NewReader(m.Blocks))
	if err != nil {
		return err
	}
	if *root != cid.Cid(m.Commit) {
		return fmt.Errorf("commit %s: root %s, told %s", m.Rev, root, m.Commit)
	}
	if err := signed.VerifySignature(r.key); err != nil {
		return fmt.Errorf("commit %s: %w", m.Rev, err)
	}
	for _, op := range m.Ops {
		if err := r.op(op); err != nil {
			return fmt.Errorf("commit %s: %w", m.Rev, err)
		}
	}
	if r.commits[m.Rev] != nil {
		return fmt.Errorf("rev %s is on the firehose twice", m.Rev)
	}
	r.commits[m.Rev], r.rev, r.data = m, m.Rev, signed.Data
	return nil
}

func (r *replica) follows(m *comatproto.SyncSubscribeRepos_Commit) error {
	since := ""
	if m.Since != nil {
		since = *m.Since
	}
	if since != r.rev || m.Rev <= r.rev {
		return fmt.Errorf("%w: rev %s since %q, after %q", errChain, m.Rev, since, r.rev)
	}
	if r.rev != "" && (m.PrevData == nil || cid.Cid(*m.PrevData) != r.data) {
		return fmt.Errorf("%w: rev %s has prevData %v, want %s", errChain, m.Rev, m.PrevData, r.data)
	}
	return nil
}

func (r *replica) op(op *comatproto.SyncSubscribeRepos_RepoOp) error {
	old, have := r.records[op.Path]
	if have == (op.Action == "create") {
		return fmt.Errorf("%w: %s of %s, which is there: %t", errChain, op.Action, op.Path, have)
	}
	if have && (op.Prev == nil || cid.Cid(*op.Prev) != old) {
		return fmt.Errorf("%w: prev of %s is %v, want %s", errChain, op.Path, op.Prev, old)
	}
	if op.Action == "delete" {
		delete(r.records, op.Path)
		return nil
	}
	r.records[op.Path] = cid.Cid(*op.Cid)
	return nil
}
