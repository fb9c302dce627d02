package relay

import (
	"bytes"
	"slices"
	"testing"

	comatproto "github.com/bluesky-social/indigo/api/atproto"
	"github.com/bluesky-social/indigo/lex/util"
)

// lies are changes to a good commit event, each of which a verifying reader must notice.
var lies = map[string]func(c *comatproto.SyncSubscribeRepos_Commit){
	"an operation left out": func(c *comatproto.SyncSubscribeRepos_Commit) { c.Ops = c.Ops[1:] },
	"an operation twice":    func(c *comatproto.SyncSubscribeRepos_Commit) { c.Ops = append(c.Ops, c.Ops[0]) },
	"no prev": func(c *comatproto.SyncSubscribeRepos_Commit) {
		i := slices.IndexFunc(c.Ops, func(op *comatproto.SyncSubscribeRepos_RepoOp) bool { return op.Prev != nil })
		op := *c.Ops[i]
		op.Prev = nil
		c.Ops[i] = &op
	},
	"another prevData":   func(c *comatproto.SyncSubscribeRepos_Commit) { c.PrevData = ptr(c.Commit) },
	"no prevData":        func(c *comatproto.SyncSubscribeRepos_Commit) { c.PrevData = nil },
	"another since":      func(c *comatproto.SyncSubscribeRepos_Commit) { c.Since = ptr("3jzfcijpj2z2a") },
	"another rev":        func(c *comatproto.SyncSubscribeRepos_Commit) { c.Rev = "3jzfcijpj2z2a" },
	"another account":    func(c *comatproto.SyncSubscribeRepos_Commit) { c.Repo = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa" },
	"another commit":     func(c *comatproto.SyncSubscribeRepos_Commit) { c.Commit = *c.PrevData },
	"half of the blocks": func(c *comatproto.SyncSubscribeRepos_Commit) { c.Blocks = c.Blocks[:len(c.Blocks)/2] },
	"an altered block": func(c *comatproto.SyncSubscribeRepos_Commit) {
		c.Blocks = bytes.Clone(c.Blocks)
		c.Blocks[len(c.Blocks)-1] ^= 1
	},
	"tooBig": func(c *comatproto.SyncSubscribeRepos_Commit) { c.TooBig = true },
}

func ptr[T string | util.LexLink](v T) *T { return &v }

// checkJudge wants the verification to pass a good commit and to refuse each lie about it.
func checkJudge(t *testing.T, h *history) {
	t.Helper()
	if h.sample == nil {
		t.Error("no commit of the load had all kinds of operations")
		return
	}
	verify := func(change func(*comatproto.SyncSubscribeRepos_Commit)) error {
		commit := *h.sample.event.commit
		commit.Ops = slices.Clone(commit.Ops)
		change(&commit)
		e := h.sample.event
		e.commit = &commit
		before := h.sample.before
		return h.verifyCommit(&before, &e)
	}
	if err := verify(func(*comatproto.SyncSubscribeRepos_Commit) {}); err != nil {
		t.Errorf("the verification refuses a good commit: %v", err)
	}
	for name, lie := range lies {
		if verify(lie) == nil {
			t.Errorf("the verification does not notice: %s", name)
		}
	}
}
