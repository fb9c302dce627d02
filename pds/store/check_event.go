package store

import (
	"bytes"
	"database/sql"
	"fmt"

	"github.com/bluesky-social/indigo/api/atproto"
	"github.com/ipfs/go-cid"
	cbg "github.com/whyrusleeping/cbor-gen"

	"perch/pds/event"
	"perch/repo"
)

// link is where the events of one account have got to: its last #commit or #sync.
type link struct {
	did  string
	rev  string
	data cid.Cid
	head cid.Cid
}

// events goes through the stream once: the frames are what the rows say, each #commit of an account builds on the one before it, and the last is its head.
// acct 0 is all accounts.
func (c *checker) events(acct AccountID) error {
	const query = "SELECT seq, account, kind, frame FROM event WHERE ?1 = 0 OR account = ?1 ORDER BY seq"
	rows, err := c.q.query(c.ctx, query, int64(acct))
	if err != nil {
		return err
	}
	defer rows.Close()
	chains := make(map[AccountID]link)
	for rows.Next() {
		var e StoredEvent
		var stored sql.RawBytes
		if err := rows.Scan(&e.Seq, &e.Account, &e.Kind, &stored); err != nil {
			return err
		}
		if e.Frame, err = unpackFrame(stored); err != nil {
			c.report(e.Account, chains[e.Account].did, "event %d: %v", e.Seq, err)
			continue
		}
		c.event(&e, chains)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	rows.Close()
	for id, last := range chains {
		if err := c.lastEvent(id, last); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) event(e *StoredEvent, chains map[AccountID]link) {
	last, known := chains[e.Account]
	if e.Seq < 1 || e.Seq > event.MaxSeq {
		c.report(e.Account, last.did, "event %d: seq is out of range", e.Seq)
	}
	adopted := e.Seq < event.MinSeq // by another server, which may have left gaps; its last one and our first must fit all the same
	var err error
	switch e.Kind {
	case event.Commit:
		var m atproto.SyncSubscribeRepos_Commit
		var next link
		if err = payload(e, &m); err != nil {
			break
		}
		if next, err = commitLink(e, &m); err != nil {
			break
		}
		if known && !adopted && (m.Since == nil || *m.Since != last.rev || m.PrevData == nil || cid.Cid(*m.PrevData) != last.data) {
			c.report(e.Account, next.did, "event %d: commit %s does not build on the event before it, of revision %s", e.Seq, next.rev, last.rev)
		}
		chains[e.Account] = next
	case event.Sync:
		var m atproto.SyncSubscribeRepos_Sync
		var next link
		if err = payload(e, &m); err != nil {
			break
		}
		if next, err = syncLink(e, &m); err == nil {
			chains[e.Account] = next
		}
	case event.Identity:
		var m atproto.SyncSubscribeRepos_Identity
		if err = payload(e, &m); err == nil && m.Seq != e.Seq {
			err = errSeq(m.Seq)
		}
	case event.Account:
		var m atproto.SyncSubscribeRepos_Account
		if err = payload(e, &m); err == nil && m.Seq != e.Seq {
			err = errSeq(m.Seq)
		}
	default:
		err = fmt.Errorf("kind %q is unknown", e.Kind)
	}
	if err != nil {
		c.report(e.Account, last.did, "event %d: %v", e.Seq, err)
	}
}

func errSeq(seq int64) error { return fmt.Errorf("its frame says seq %d", seq) }

// payload decodes what follows the frame's header.
func payload(e *StoredEvent, m cbg.CBORUnmarshaler) error {
	header := event.Header(e.Kind)
	if !bytes.HasPrefix(e.Frame, header) {
		return fmt.Errorf("its frame is no #%s", e.Kind)
	}
	r := bytes.NewReader(e.Frame[len(header):])
	if err := m.UnmarshalCBOR(r); err != nil {
		return fmt.Errorf("its frame is unreadable: %w", err)
	}
	if r.Len() > 0 {
		return fmt.Errorf("its frame has %d bytes too many", r.Len())
	}
	return nil
}

// commitLink checks a #commit by itself.
func commitLink(e *StoredEvent, m *atproto.SyncSubscribeRepos_Commit) (link, error) {
	head, err := eventHead(m.Blocks)
	switch {
	case err != nil:
		return link{}, err
	case m.Seq != e.Seq:
		return link{}, errSeq(m.Seq)
	case cid.Cid(m.Commit) != head.CID || m.Rev != head.Commit.Rev.String() || m.Repo != head.Commit.DID.String():
		return link{}, fmt.Errorf("its fields do not agree with the commit %s in its blocks", head.CID)
	}
	return link{m.Repo, m.Rev, head.Commit.Data, head.CID}, nil
}

// syncLink checks a #sync by itself.
func syncLink(e *StoredEvent, m *atproto.SyncSubscribeRepos_Sync) (link, error) {
	head, err := eventHead(m.Blocks)
	switch {
	case err != nil:
		return link{}, err
	case m.Seq != e.Seq:
		return link{}, errSeq(m.Seq)
	case m.Rev != head.Commit.Rev.String() || m.Did != head.Commit.DID.String():
		return link{}, fmt.Errorf("its fields do not agree with the commit %s in its blocks", head.CID)
	}
	return link{m.Did, m.Rev, head.Commit.Data, head.CID}, nil
}

// eventHead finds the commit in the CAR of an event: it is the root. All blocks are hashed.
func eventHead(car []byte) (repo.Head, error) {
	blocks := make(map[cid.Cid][]byte)
	roots, err := repo.ReadCAR(bytes.NewReader(car), repo.EventCARLimits(), func(b repo.Block) error {
		if len(b.Data) < 4096 { // a commit is smaller
			blocks[b.CID] = b.Data
		}
		return nil
	})
	if err != nil {
		return repo.Head{}, err
	}
	if len(roots) == 0 {
		return repo.Head{}, fmt.Errorf("its blocks have no root")
	}
	h := repo.Head{CID: roots[0], Block: blocks[roots[0]]}
	h.Commit, err = repo.ParseCommit(h.Block)
	return h, err
}

// lastEvent checks that the last event tells of the head, as it must for accounts that the network follows.
func (c *checker) lastEvent(id AccountID, last link) error {
	const query = "SELECT r.head, " + statusColumn + " FROM repo r JOIN account a ON a.id = r.account WHERE r.account = ?"
	var head []byte
	var status string
	switch err := c.q.queryRow(c.ctx, query, int64(id)).Scan(&head, &status); {
	case err == ErrNotFound: // deleted, and its events not pruned yet
		return nil
	case err != nil:
		return err
	}
	if status == "" && string(head) != last.head.KeyString() {
		c.report(id, last.did, "the last event is of revision %s, which is not the head", last.rev)
	}
	return nil
}
