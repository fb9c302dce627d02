package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	comatproto "github.com/bluesky-social/indigo/api/atproto"
	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/coder/websocket"
	cbg "github.com/whyrusleeping/cbor-gen"
)

const (
	maxFrame = 5 << 20
	fromNow  = -1 // a cursor: none
)

// event is one message of a firehose: exactly one of the pointers is set.
type event struct {
	seq      int64
	did      string
	sum      [32]byte // of the frame, to compare streams
	commit   *comatproto.SyncSubscribeRepos_Commit
	sync     *comatproto.SyncSubscribeRepos_Sync
	identity *comatproto.SyncSubscribeRepos_Identity
	account  *comatproto.SyncSubscribeRepos_Account
}

var errFrame = errors.New("bad frame")

// parseFrame reads a frame strictly: a header, one payload, nothing behind it. An #info message gives nil.
func parseFrame(frame []byte) (*event, error) {
	r := bytes.NewReader(frame)
	var raw cbg.Deferred
	if err := raw.UnmarshalCBOR(r); err != nil {
		return nil, fmt.Errorf("%w: header: %w", errFrame, err)
	}
	header, err := atdata.UnmarshalCBOR(raw.Raw)
	if err != nil {
		return nil, fmt.Errorf("%w: header: %w", errFrame, err)
	}
	if header["op"] != int64(1) {
		return nil, fmt.Errorf("%w: op %v: %q", errFrame, header["op"], frame)
	}
	e := &event{sum: sha256.Sum256(frame)}
	kind, _ := header["t"].(string)
	if err := e.read(kind, r); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errFrame, kind, err)
	}
	if r.Len() > 0 {
		return nil, fmt.Errorf("%w: %s: %d bytes behind the payload", errFrame, kind, r.Len())
	}
	if kind == "#info" {
		return nil, nil
	}
	return e, nil
}

func (e *event) read(kind string, r *bytes.Reader) error {
	switch kind {
	case "#commit":
		e.commit = new(comatproto.SyncSubscribeRepos_Commit)
		err := e.commit.UnmarshalCBOR(r)
		e.seq, e.did = e.commit.Seq, e.commit.Repo
		return err
	case "#sync":
		e.sync = new(comatproto.SyncSubscribeRepos_Sync)
		err := e.sync.UnmarshalCBOR(r)
		e.seq, e.did = e.sync.Seq, e.sync.Did
		return err
	case "#identity":
		e.identity = new(comatproto.SyncSubscribeRepos_Identity)
		err := e.identity.UnmarshalCBOR(r)
		e.seq, e.did = e.identity.Seq, e.identity.Did
		return err
	case "#account":
		e.account = new(comatproto.SyncSubscribeRepos_Account)
		err := e.account.UnmarshalCBOR(r)
		e.seq, e.did = e.account.Seq, e.account.Did
		return err
	case "#info":
		return new(comatproto.SyncSubscribeRepos_Info).UnmarshalCBOR(r)
	}
	return errors.New("unknown kind")
}

// follower reads a firehose, coming back with its cursor whenever the connection is lost, until the context ends. take sees
// every event in order.
type follower struct {
	addr   string
	cursor int64 // or fromNow, until the first event
	take   func(*event) error

	mu        sync.Mutex
	connected bool
	err       error
}

func (f *follower) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := f.connection(ctx); err != nil {
			f.mu.Lock()
			f.err = err
			f.mu.Unlock()
			return
		}
	}
}

// failed returns what ended the follower, if anything did.
func (f *follower) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// live tells whether the follower has been connected.
func (f *follower) live() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.connected
}

// connection reads until the connection is lost (nil) or something is wrong with what came.
func (f *follower) connection(ctx context.Context) error {
	url := "ws://" + f.addr + "/xrpc/com.atproto.sync.subscribeRepos"
	if f.cursor >= 0 {
		url += fmt.Sprintf("?cursor=%d", f.cursor)
	}
	conn, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		return nil // the server is being restarted
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxFrame)
	f.mu.Lock()
	f.connected = true
	f.mu.Unlock()
	for {
		_, frame, err := conn.Read(ctx)
		if err != nil {
			return nil
		}
		e, err := parseFrame(frame)
		if err != nil {
			// A message cut short by a lost connection comes without an error; only the next read has it.
			if _, _, lost := conn.Read(ctx); lost != nil {
				return nil
			}
			return fmt.Errorf("after seq %d, %d bytes: %w", f.cursor, len(frame), err)
		}
		if e == nil {
			continue
		}
		if e.seq <= f.cursor {
			return fmt.Errorf("seq %d after %d", e.seq, f.cursor)
		}
		f.cursor = e.seq
		if err := f.take(e); err != nil {
			return fmt.Errorf("seq %d, %s: %w", e.seq, e.did, err)
		}
	}
}
