package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"time"

	comatproto "github.com/bluesky-social/indigo/api/atproto"
	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/repo"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/testdata/peers/bench/wire"
)

const (
	blobSamples = 5 // images read back per account and round
	readTimeout = 60 * time.Second
)

// check runs `perch check` on the data as the kill left it.
func (w *world) check(ctx context.Context) error {
	if w.reference {
		return nil
	}
	cmd := exec.CommandContext(ctx, w.spec.Command[0], "check")
	cmd.Env = append(cmd.Environ(), w.spec.Env...)
	cmd.Dir = w.spec.Dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("perch check: %w\n%s", err, out)
	}
	return nil
}

// verify compares what the started server holds with what was acknowledged and with what the firehose said.
func (w *world) verify(ctx context.Context, live map[int64][32]byte) error {
	if err := w.replay(ctx, live); err != nil {
		return fmt.Errorf("firehose: %w", err)
	}
	var errs []error
	for _, a := range w.accounts {
		if err := w.verifyAccount(ctx, a); err != nil {
			errs = append(errs, fmt.Errorf("%s (%s): %w", a.Handle, a.DID, err))
		}
	}
	return errors.Join(append(errs, w.verifyNewcomer(ctx))...)
}

// replay reads the event log from the last checked event to the present end, which a write marks.
func (w *world) replay(ctx context.Context, live map[int64][32]byte) error {
	end, err := w.mark()
	if err != nil {
		return err
	}
	w.fresh = nil
	for _, r := range w.replicas {
		r.commits = map[string]*comatproto.SyncSubscribeRepos_Commit{}
	}
	stream, err := wire.Subscribe(w.server.Addr, fmt.Sprint(w.cursor))
	if err != nil {
		return err
	}
	defer stream.Close()
	stream.SetDeadline(time.Now().Add(readTimeout))
	for {
		msg, err := stream.Next()
		if err != nil {
			return fmt.Errorf("after seq %d: %w", w.cursor, err)
		}
		e, err := decode(msg)
		if err != nil {
			return err
		}
		if err := w.take(ctx, e, live); err != nil {
			return fmt.Errorf("seq %d: %w", e.seq, err)
		}
		if e.commit != nil && e.commit.Rev == end {
			break
		}
	}
	for seq := range live {
		return fmt.Errorf("seq %d was delivered before the kill and is gone", seq)
	}
	return nil
}

// mark makes a record in the marker account, which no client writes to.
func (w *world) mark() (rev string, err error) {
	posts := wire.NewPosts(fmt.Sprint("mark ", w.cursor))
	var out wire.Written
	err = wire.Call(w.conn, &wire.Request{Method: "POST", Path: wire.XRPC("com.atproto.repo.createRecord", ""), Token: w.marker.Token,
		ContentType: "application/json", Body: posts.AppendCreate(nil, w.marker.DID)}, &out)
	return out.Commit.Rev, err
}

func (w *world) take(ctx context.Context, e *event, live map[int64][32]byte) error {
	if e.kind == "#info" {
		return nil
	}
	if e.seq <= w.cursor {
		return fmt.Errorf("seq does not rise: after %d", w.cursor)
	}
	w.cursor = e.seq
	w.events++
	if hash, ok := live[e.seq]; ok && hash != e.hash {
		return errors.New("the event differs from the one delivered before the kill")
	}
	delete(live, e.seq)
	r := w.replicas[e.did]
	if r == nil {
		key, err := w.key(e.did)
		if err != nil {
			return err
		}
		r = &replica{key: key, records: map[string]cid.Cid{}, commits: map[string]*comatproto.SyncSubscribeRepos_Commit{}, kinds: map[string]int{}}
		w.replicas[e.did] = r
		w.fresh = append(w.fresh, e.did)
	}
	r.kinds[e.kind]++
	switch {
	case e.commit != nil:
		return r.commit(ctx, e.commit)
	case e.sync != nil && e.sync.Rev != r.rev:
		return fmt.Errorf("#sync tells rev %s after %s", e.sync.Rev, r.rev)
	}
	return nil
}

// key is the account's signing key as the PLC directory tells it.
func (w *world) key(did string) (atcrypto.PublicKey, error) {
	var doc struct {
		VerificationMethod []struct{ PublicKeyMultibase string }
	}
	if err := getJSON(w.plc+"/"+did, &doc); err != nil {
		return nil, err
	}
	if len(doc.VerificationMethod) == 0 {
		return nil, fmt.Errorf("%s has no key", did)
	}
	return atcrypto.ParsePublicMultibase(doc.VerificationMethod[0].PublicKeyMultibase)
}

func (w *world) verifyAccount(ctx context.Context, a *account) error {
	held, err := w.repository(ctx, a.DID)
	if err != nil {
		return err
	}
	replica := w.replicas[a.DID]
	if !maps.Equal(held, replica.records) {
		return fmt.Errorf("repository and firehose differ: %s", difference(held, replica.records))
	}
	unexplained := maps.Clone(replica.commits)
	for _, c := range a.clients {
		if err := c.settle(held, replica.commits, unexplained); err != nil {
			return fmt.Errorf("client %d: %w", c.id, err)
		}
	}
	for rev := range unexplained {
		return fmt.Errorf("rev %s is on the firehose and nobody asked for it", rev)
	}
	for path := range held {
		if !slices.ContainsFunc(a.clients, func(c *client) bool { return c.mine[path] }) {
			return fmt.Errorf("%s is in the repository and nobody wrote it", path)
		}
	}
	return w.verifyBlobs(a)
}

// repository reads a repository, checks its signature and its blocks, and that it is the one that the firehose led to.
func (w *world) repository(ctx context.Context, did string) (map[string]cid.Cid, error) {
	res, err := w.conn.Do(&wire.Request{Path: wire.XRPC("com.atproto.sync.getRepo", "did="+did)})
	if err != nil || res.Status != http.StatusOK {
		return nil, fmt.Errorf("getRepo: %d %.200s %w", res.Status, res.Body, err)
	}
	commit, tree, err := repo.LoadRepoFromCAR(ctx, bytes.NewReader(res.Body))
	if err != nil {
		return nil, fmt.Errorf("getRepo: %w", err)
	}
	replica := w.replicas[did]
	if replica == nil {
		return nil, errors.New("the firehose never told of this account")
	}
	if err := commit.VerifySignature(replica.key); err != nil {
		return nil, err
	}
	if commit.Rev != replica.rev || commit.Data != replica.data {
		return nil, fmt.Errorf("head is %s %s, the firehose led to %s %s", commit.Rev, commit.Data, replica.rev, replica.data)
	}
	held := map[string]cid.Cid{}
	err = tree.MST.Walk(func(key []byte, val cid.Cid) error {
		held[string(key)] = val
		nsid, rkey, err := syntax.ParseRepoPath(string(key))
		if err != nil {
			return err
		}
		_, _, err = tree.GetRecordBytes(ctx, nsid, rkey)
		return err
	})
	return held, err
}

// settle checks a client's view: acknowledged changes are there, the pending one as a whole or not at all, and each has one
// event. It takes the client's commits out of unexplained.
func (c *client) settle(held map[string]cid.Cid, commits, unexplained map[string]*comatproto.SyncSubscribeRepos_Commit) error {
	for _, a := range c.acks {
		m := commits[a.rev]
		if m == nil {
			return fmt.Errorf("acknowledged rev %s is not on the firehose", a.rev)
		}
		if m.Commit.String() != a.cid {
			return fmt.Errorf("acknowledged commit %s has cid %s on the firehose", a.cid, m.Commit)
		}
		if err := sameOps(m.Ops, a.ops); err != nil {
			return fmt.Errorf("acknowledged rev %s: %w", a.rev, err)
		}
		delete(unexplained, a.rev)
	}
	c.acks = nil
	if c.pending != nil {
		for rev, m := range unexplained {
			if sameOps(m.Ops, c.pending.ops) == nil {
				apply(c.state, c.pending.ops)
				delete(unexplained, rev)
				break
			}
		}
		c.pending = nil
	}
	for path := range c.mine {
		want, ok := c.state[path]
		got, have := held[path]
		if ok != have || ok && want.cid != got {
			return fmt.Errorf("%s: holds %s (%t), want %v (%t)", path, got, have, want, ok)
		}
	}
	return nil
}

func sameOps(ops []*comatproto.SyncSubscribeRepos_RepoOp, want map[string]*entry) error {
	if len(ops) != len(want) {
		return fmt.Errorf("%d ops on the firehose, %d asked for", len(ops), len(want))
	}
	for _, op := range ops {
		e, ok := want[op.Path]
		if !ok || (e == nil) != (op.Action == "delete") || e != nil && e.cid != cid.Cid(*op.Cid) {
			return fmt.Errorf("op %s %s was not asked for", op.Action, op.Path)
		}
	}
	return nil
}

// verifyBlobs compares the listed blobs with those that records embed, and reads some of them back.
func (w *world) verifyBlobs(a *account) error {
	want := map[cid.Cid]bool{}
	for _, c := range a.clients {
		for _, e := range c.state {
			if e.blob.Defined() {
				want[e.blob] = true
			}
		}
	}
	listed, err := w.listBlobs(a.DID)
	if err != nil {
		return err
	}
	for c := range want {
		if !listed[c] {
			return fmt.Errorf("blob %s is embedded and not listed", c)
		}
	}
	for c := range listed {
		if !want[c] {
			return fmt.Errorf("blob %s is listed and no record embeds it", c)
		}
	}
	samples := slices.SortedFunc(maps.Keys(want), func(x, y cid.Cid) int { return strings.Compare(y.String(), x.String()) })
	for _, c := range samples[:min(blobSamples, len(samples))] {
		s := a.images[c]
		res, err := w.conn.Do(&wire.Request{Path: wire.XRPC("com.atproto.sync.getBlob", "did="+a.DID+"&cid="+c.String())})
		if err != nil || res.Status != http.StatusOK || !bytes.Equal(res.Body, image(s.id, s.n, s.size)) {
			return fmt.Errorf("getBlob %s: %d, %d bytes of %d, %w", c, res.Status, len(res.Body), s.size, err)
		}
	}
	return nil
}

func (w *world) listBlobs(did string) (map[cid.Cid]bool, error) {
	all := map[cid.Cid]bool{}
	for cursor := ""; ; {
		var page struct {
			Cursor string
			CIDs   []string
		}
		query := "limit=1000&did=" + did
		if cursor != "" {
			query += "&cursor=" + cursor
		}
		if err := wire.Call(w.conn, &wire.Request{Path: wire.XRPC("com.atproto.sync.listBlobs", query)}, &page); err != nil {
			return nil, err
		}
		for _, s := range page.CIDs {
			c, err := cid.Decode(s)
			if err != nil || all[c] {
				return nil, fmt.Errorf("listBlobs tells %q: %w", s, err)
			}
			all[c] = true
		}
		if cursor = page.Cursor; cursor == "" {
			return all, nil
		}
	}
}

// verifyNewcomer checks the account whose creation was under way when the server was killed.
func (w *world) verifyNewcomer(ctx context.Context) error {
	var got wire.Account
	in := map[string]any{"identifier": w.newcomer + ".test", "password": wire.Password}
	err := wire.Post(w.conn, "com.atproto.server.createSession", "", in, &got)
	var status *wire.StatusError
	switch {
	case errors.As(err, &status) && status.Status == http.StatusUnauthorized:
		if w.welcomed {
			return fmt.Errorf("account %s was acknowledged and is gone: %w", w.newcomer, err)
		}
		if len(w.fresh) > 0 {
			return fmt.Errorf("account %s is not there, and the firehose tells of %v", w.newcomer, w.fresh)
		}
		return nil
	case err != nil:
		return err
	case !slices.Equal(w.fresh, []string{got.DID}):
		return fmt.Errorf("account %s is %s, the firehose tells of %v", w.newcomer, got.DID, w.fresh)
	}
	if _, err := w.repository(ctx, got.DID); err != nil {
		return fmt.Errorf("new account %s: %w", w.newcomer, err)
	}
	for _, kind := range []string{"#identity", "#account", "#commit"} {
		if n := w.replicas[got.DID].kinds[kind]; n != 1 {
			return fmt.Errorf("new account %s has %d %s events", w.newcomer, n, kind)
		}
	}
	return nil
}

func difference(a, b map[string]cid.Cid) string {
	var all []string
	for k, v := range a {
		if b[k] != v {
			all = append(all, fmt.Sprintf("%s is %s, firehose %s", k, v, b[k]))
		}
	}
	for k, v := range b {
		if _, ok := a[k]; !ok {
			all = append(all, fmt.Sprintf("%s is absent, firehose %s", k, v))
		}
	}
	return strings.Join(all[:min(len(all), 5)], "; ")
}
