package event

import (
	"bytes"
	"time"

	"github.com/bluesky-social/indigo/api/atproto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	lexutil "github.com/bluesky-social/indigo/lex/util"
	"github.com/ipfs/go-cid"

	"perch/repo"
)

// NewCommit makes the #commit message of a diff: the repository of did went from d.Since to d.Head.
func NewCommit(did syntax.DID, d *repo.Diff, t time.Time) (Event, error) {
	msg := &atproto.SyncSubscribeRepos_Commit{
		Blobs:    []lexutil.LexLink{}, // always there, no longer used
		Blocks:   d.CAR,
		Commit:   lexutil.LexLink(d.Head.CID),
		Ops:      make([]*atproto.SyncSubscribeRepos_RepoOp, len(d.Ops)),
		PrevData: link(d.PrevData),
		Repo:     did.String(),
		Rev:      d.Head.Commit.Rev.String(),
		Seq:      placeholder,
		Time:     formatTime(t),
	}
	if d.Since != "" {
		since := d.Since.String()
		msg.Since = &since
	}
	size := 512 + len(d.CAR)
	for i, op := range d.Ops {
		msg.Ops[i] = &atproto.SyncSubscribeRepos_RepoOp{
			Action: string(op.Action), Path: op.Path, Cid: link(op.CID), Prev: link(op.Prev),
		}
		size += 160 + len(op.Path)
	}
	return newEvent(Commit, t, msg, size)
}

// NewSync makes the #sync message that states the head of a repository without saying how it came about.
func NewSync(did syntax.DID, head repo.Head, t time.Time) (Event, error) {
	var car bytes.Buffer
	w, err := repo.NewCARWriter(&car, head.CID)
	if err == nil {
		err = w.Put(head.CID, head.Block)
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return Event{}, err
	}
	return newEvent(Sync, t, &atproto.SyncSubscribeRepos_Sync{
		Blocks: car.Bytes(),
		Did:    did.String(),
		Rev:    head.Commit.Rev.String(),
		Seq:    placeholder,
		Time:   formatTime(t),
	}, 512+car.Len())
}

// link is nil for cid.Undef.
func link(c cid.Cid) *lexutil.LexLink {
	if !c.Defined() {
		return nil
	}
	l := lexutil.LexLink(c)
	return &l
}
