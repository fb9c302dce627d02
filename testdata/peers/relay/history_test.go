package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/repo"
	"github.com/ipfs/go-cid"
)

const (
	maxCommitOps    = 200
	maxCommitBlocks = 2_000_000
)

// revision names a commit.
type revision struct{ Rev, CID string }

// story is what a stream told about one account.
type story struct {
	commits []revision
	data    cid.Cid           // root of the tree, of the last commit
	records map[string]string // path -> CID, folded from the operations
	kinds   []string          // of the events before the first commit
}

// history is what a stream told about all accounts. With a directory it verifies every event as it comes.
type history struct {
	dir identity.Directory // nil: only note what comes

	mu      sync.Mutex
	stories map[string]*story
	sums    [][32]byte
	commits int
	other   int
	sample  *sample // a commit with all kinds of operations, for the test of the tests
}

// sample is a commit and what was known before it.
type sample struct {
	before story
	event  event
}

func newHistory(dir identity.Directory) *history {
	return &history{dir: dir, stories: map[string]*story{}}
}

func (h *history) take(e *event) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sums = append(h.sums, e.sum)
	s := h.stories[e.did]
	if s == nil {
		s = &story{records: map[string]string{}}
		h.stories[e.did] = s
	}
	switch {
	case e.commit != nil:
		h.commits++
		return h.takeCommit(s, e)
	case e.sync != nil:
		s.note("sync")
		h.other++
		return h.takeSync(s, e)
	case e.identity != nil:
		s.note("identity")
	case e.account != nil:
		s.note("account")
		if !e.account.Active {
			return errors.New("account is said to be inactive")
		}
	}
	h.other++
	return nil
}

func (s *story) note(kind string) {
	if len(s.commits) == 0 {
		s.kinds = append(s.kinds, kind)
	}
}

func (h *history) takeCommit(s *story, e *event) error {
	c := e.commit
	if h.dir != nil {
		h.keepSample(s, e)
		if err := h.verifyCommit(s, e); err != nil {
			return err
		}
	}
	for _, op := range c.Ops {
		if op.Cid == nil {
			delete(s.records, op.Path)
		} else {
			s.records[op.Path] = op.Cid.String()
		}
	}
	s.commits = append(s.commits, revision{c.Rev, c.Commit.String()})
	return nil
}

func (h *history) keepSample(s *story, e *event) {
	kinds := map[string]bool{}
	for _, op := range e.commit.Ops {
		kinds[op.Action] = true
	}
	if h.sample == nil && len(kinds) == 3 {
		before := *s
		before.records = maps.Clone(s.records)
		h.sample = &sample{before, *e}
	}
}

// verifyCommit runs indigo's verification and then what it leaves out: the chain, the links, the limits.
func (h *history) verifyCommit(s *story, e *event) error {
	c, ctx := e.commit, context.Background()
	if _, err := repo.VerifyCommitMessage(ctx, c); err != nil {
		return fmt.Errorf("indigo: %w", err)
	}
	if err := repo.VerifyCommitSignature(ctx, h.dir, c); err != nil {
		return fmt.Errorf("indigo: %w", err)
	}
	commit, root, err := repo.LoadCommitFromCAR(ctx, bytes.NewReader(c.Blocks))
	if err != nil {
		return err
	}
	if root.String() != c.Commit.String() {
		return fmt.Errorf("event names commit %s, its blocks %s", c.Commit, root)
	}
	if c.Rebase || c.TooBig || len(c.Ops) > maxCommitOps || len(c.Blocks) > maxCommitBlocks {
		return fmt.Errorf("rebase %t, tooBig %t, %d ops, %d bytes", c.Rebase, c.TooBig, len(c.Ops), len(c.Blocks))
	}
	for _, op := range c.Ops {
		// Without these indigo would give up on inverting, in silence.
		if op.Action != "create" && op.Prev == nil {
			return fmt.Errorf("%s of %s without prev", op.Action, op.Path)
		}
		if had := s.records[op.Path]; op.Prev != nil && op.Prev.String() != had || op.Prev == nil && had != "" {
			return fmt.Errorf("%s of %s: prev is %v, the record was %q", op.Action, op.Path, op.Prev, had)
		}
	}
	if len(s.commits) == 0 {
		if c.Since != nil || c.PrevData != nil {
			return fmt.Errorf("first commit has since %v, prevData %v", c.Since, c.PrevData)
		}
	} else {
		last := s.commits[len(s.commits)-1]
		if c.Since == nil || *c.Since != last.Rev || c.PrevData == nil || c.PrevData.String() != s.data.String() {
			return fmt.Errorf("since %v, prevData %v do not follow %s, %s", c.Since, c.PrevData, last.Rev, s.data)
		}
		if c.Rev <= last.Rev {
			return fmt.Errorf("rev %s after %s", c.Rev, last.Rev)
		}
	}
	s.data = commit.Data
	return nil
}

// takeSync wants a #sync event to tell the state that the commits before it led to.
func (h *history) takeSync(s *story, e *event) error {
	if h.dir == nil {
		return nil
	}
	commit, err := repo.VerifySyncMessage(context.Background(), h.dir, e.sync)
	if err != nil {
		return fmt.Errorf("indigo: %w", err)
	}
	if n := len(s.commits); n > 0 && (s.commits[n-1].Rev != commit.Rev || s.data != commit.Data) {
		return fmt.Errorf("#sync tells %s, %s where commits led to %s, %s", commit.Rev, commit.Data, s.commits[n-1].Rev, s.data)
	}
	return nil
}

// count returns how many commits and other events came.
func (h *history) count() (commits, other int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.commits, h.other
}

// last returns the last commit that came for an account.
func (h *history) last(did string) revision {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.stories[did]
	if s == nil || len(s.commits) == 0 {
		return revision{}
	}
	return s.commits[len(s.commits)-1]
}
