package adopt

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/bluesky-social/indigo/api/atproto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/pds/event"
	"perch/pds/store"
	"perch/repo"
)

// EventRange are the events of the stream's end that are taken over. With no event at all it is zero.
type EventRange struct {
	First, Last int64 // seq
	Count       int
}

// kinds are our names for the reference's types of events. Older ones (handle, migrate, tombstone) are long past every window.
var kinds = map[string]event.Kind{"append": event.Commit, "sync": event.Sync, "identity": event.Identity, "account": event.Account}

// referenceEvent is a row of the sequencer's.
type referenceEvent struct {
	seq     int64
	did     syntax.DID
	kind    event.Kind
	time    string // datetime as sent
	payload []byte
}

// events gives the events since a time, and the newest one however old it is, in the order of their seqs.
func (src *Source) events(ctx context.Context, since time.Time, yield func(*referenceEvent) error) error {
	const query = `SELECT seq, did, eventType, sequencedAt, event FROM repo_seq WHERE invalidated = 0
		AND (sequencedAt >= ? OR seq = (SELECT max(seq) FROM repo_seq WHERE invalidated = 0 AND eventType IN ('append', 'sync', 'identity', 'account'))) ORDER BY seq`
	return src.sequencer.each(ctx, query, func(rows *sql.Rows) error {
		var e referenceEvent
		var kind string
		if err := rows.Scan(&e.seq, &e.did, &kind, &e.time, &e.payload); err != nil {
			return err
		}
		if e.kind = kinds[kind]; e.kind == "" {
			return nil
		}
		return yield(&e)
	}, since.UTC().Format("2006-01-02T15:04:05.000Z"))
}

// checkEvents looks whether the last event of each account tells of its head, as far back as events are taken over.
func (src *Source) checkEvents(ctx context.Context, p *Plan) error {
	last := map[syntax.DID]cid.Cid{}
	faulty := 0
	err := src.events(ctx, p.since, func(e *referenceEvent) error {
		head, err := e.head()
		if err != nil {
			faulty++
			last[e.did] = cid.Undef // it said something of an account that nobody could believe
			return nil
		}
		if head.Defined() {
			last[e.did] = head
		}
		if p.Events.Count++; p.Events.First == 0 {
			p.Events.First = e.seq
		}
		p.Events.Last = e.seq
		return nil
	})
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	if p.Events.Last > event.MaxSeq/2 {
		return fmt.Errorf("the stream is at seq %d, too near to the greatest possible %d", p.Events.Last, int64(event.MaxSeq))
	}
	if faulty > 0 {
		p.Findings = append(p.Findings, Finding{Text: fmt.Sprintf("%d events contradict themselves; they are left out of the stream", faulty)})
	}
	for _, a := range p.accounts {
		head, known := last[a.account.DID]
		if known && head != a.head && !a.broken() && a.account.Active() {
			a.behind = true
			a.note(false, "the last event is not of its head; a #sync event is added")
		}
	}
	return nil
}

// head returns the CID of the commit that an event tells of, cid.Undef when it tells of none. The error is for an event that contradicts itself.
func (e *referenceEvent) head() (cid.Cid, error) {
	switch e.kind {
	case event.Commit:
		var m atproto.SyncSubscribeRepos_Commit
		if err := m.UnmarshalCBOR(bytes.NewReader(e.payload)); err != nil {
			return cid.Undef, err
		}
		h, err := headOf(m.Blocks)
		if err == nil && (h.CID != cid.Cid(m.Commit) || h.Commit.Rev.String() != m.Rev || h.Commit.DID.String() != m.Repo || m.Repo != string(e.did)) {
			err = errContradiction
		}
		return h.CID, err
	case event.Sync:
		var m atproto.SyncSubscribeRepos_Sync
		if err := m.UnmarshalCBOR(bytes.NewReader(e.payload)); err != nil {
			return cid.Undef, err
		}
		h, err := headOf(m.Blocks)
		if err == nil && (h.Commit.Rev.String() != m.Rev || h.Commit.DID.String() != m.Did || m.Did != string(e.did)) {
			err = errContradiction
		}
		return h.CID, err
	}
	_, err := event.Restore(e.kind, e.payload, e.seq, e.time)
	return cid.Undef, err
}

var errContradiction = errors.New("the event's fields do not agree with the commit in it")

// maxCommit is more than the bytes of any commit.
const maxCommit = 4096

// headOf finds the commit in the blocks of an event.
func headOf(car []byte) (h repo.Head, err error) {
	blocks := map[cid.Cid][]byte{}
	roots, err := repo.ReadCAR(bytes.NewReader(car), repo.EventCARLimits(), func(b repo.Block) error {
		if len(b.Data) < maxCommit {
			blocks[b.CID] = b.Data
		}
		return nil
	})
	if err != nil {
		return h, err
	}
	if len(roots) == 0 {
		return h, errContradiction
	}
	h = repo.Head{CID: roots[0], Block: blocks[roots[0]]}
	h.Commit, err = repo.ParseCommit(h.Block)
	return h, err
}

// storedEvents gives the events as the store keeps them. ids are the accounts that are here. Commits of others would be of no use to anybody.
func (src *Source) storedEvents(ctx context.Context, since time.Time, ids map[syntax.DID]store.AccountID) func(func(store.StoredEvent) error) error {
	return func(yield func(store.StoredEvent) error) error {
		return src.events(ctx, since, func(e *referenceEvent) error {
			id, here := ids[e.did]
			if _, err := e.head(); err != nil || !here && (e.kind == event.Commit || e.kind == event.Sync) {
				return nil
			}
			frame, err := event.Restore(e.kind, e.payload, e.seq, e.time)
			if err != nil {
				return fmt.Errorf("event %d: %w", e.seq, err)
			}
			return yield(store.StoredEvent{Seq: e.seq, Account: id, Kind: e.kind, Time: parseTime(e.time), Frame: frame})
		})
	}
}
