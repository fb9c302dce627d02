package pds

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/pds/auth"
	"perch/pds/store"
	"perch/repo"
	"perch/xrpc"
)

const carType = "application/vnd.ipld.car"

// maxGetBlocks is how many CIDs one getBlocks call may name: every one is looked for by a walk of the whole tree.
const maxGetBlocks = 500

type didParams struct {
	DID syntax.DID `query:"did"`
}

type latestCommitOutput struct {
	CID string `json:"cid"`
	Rev string `json:"rev"`
}

func (s *Server) getLatestCommit(ctx context.Context, p *didParams) (*latestCommitOutput, error) {
	head, err := s.syncHead(ctx, p.DID)
	if err != nil {
		return nil, err
	}
	return &latestCommitOutput{CID: head.CID.String(), Rev: head.Commit.Rev.String()}, nil
}

type getHeadOutput struct {
	Root string `json:"root"`
}

func (s *Server) getHead(ctx context.Context, p *didParams) (*getHeadOutput, error) {
	head, err := s.syncHead(ctx, p.DID)
	if err != nil {
		return nil, err
	}
	return &getHeadOutput{Root: head.CID.String()}, nil
}

func (s *Server) syncHead(ctx context.Context, did syntax.DID) (repo.Head, error) {
	acct, err := s.syncRepo(ctx, did)
	if err != nil {
		return repo.Head{}, err
	}
	head, _, err := s.store.Head(ctx, acct.ID)
	return head, err
}

type repoStatusOutput struct {
	DID    syntax.DID `json:"did"`
	Active bool       `json:"active"`
	Status string     `json:"status,omitempty"`
	Rev    string     `json:"rev,omitempty"`
}

// getRepoStatus answers for every account that this server knows, inactive ones too: relays ask it when they first see a DID.
func (s *Server) getRepoStatus(ctx context.Context, p *didParams) (*repoStatusOutput, error) {
	acct, err := s.store.AccountByDID(ctx, p.DID)
	if err != nil {
		return nil, repoNotFound(p.DID, err)
	}
	out := &repoStatusOutput{DID: acct.DID, Active: acct.Active(), Status: acct.Status()}
	if out.Active {
		head, _, err := s.store.Head(ctx, acct.ID)
		if err != nil {
			return nil, err
		}
		out.Rev = head.Commit.Rev.String()
	}
	return out, nil
}

type pageParams struct {
	Limit  int64  `query:"limit"`
	Cursor string `query:"cursor"`
}

type listReposOutput struct {
	Cursor string           `json:"cursor,omitempty"`
	Repos  []listReposEntry `json:"repos"`
}

type listReposEntry struct {
	DID    syntax.DID `json:"did"`
	Head   string     `json:"head"`
	Rev    string     `json:"rev"`
	Active bool       `json:"active"`
	Status string     `json:"status,omitempty"`
}

func (s *Server) listRepos(ctx context.Context, p *pageParams) (*listReposOutput, error) {
	repos, next, err := s.store.ListRepos(ctx, p.Cursor, int(p.Limit))
	if err != nil {
		return nil, err
	}
	out := &listReposOutput{Cursor: next, Repos: make([]listReposEntry, len(repos))}
	for i, r := range repos {
		out.Repos[i] = listReposEntry{DID: r.DID, Head: r.Head.String(), Rev: r.Rev.String(), Active: r.Status == "", Status: r.Status}
	}
	return out, nil
}

type reposByCollectionParams struct {
	Collection syntax.NSID `query:"collection"`
	Limit      int64       `query:"limit"`
	Cursor     string      `query:"cursor"`
}

type reposByCollectionOutput struct {
	Cursor string    `json:"cursor,omitempty"`
	Repos  []didOnly `json:"repos"`
}

type didOnly struct {
	DID syntax.DID `json:"did"`
}

func (s *Server) listReposByCollection(ctx context.Context, p *reposByCollectionParams) (*reposByCollectionOutput, error) {
	dids, next, err := s.store.ReposByCollection(ctx, p.Collection, p.Cursor, int(p.Limit))
	if err != nil {
		return nil, err
	}
	out := &reposByCollectionOutput{Cursor: next, Repos: make([]didOnly, len(dids))}
	for i, did := range dids {
		out.Repos[i].DID = did
	}
	return out, nil
}

// getRepo streams the whole repository as a CAR: commit first, then the tree in pre-order with its records. With since, records of that
// revision and before are left out; all nodes are sent, so that whatever the reader lacks is there.
func (s *Server) getRepo(w http.ResponseWriter, r *http.Request) error {
	snap, leave, err := s.exportSnapshot(r)
	if err != nil {
		return err
	}
	defer leave()
	defer snap.Close()
	since := syntax.TID(r.URL.Query().Get("since"))
	w.Header().Set("Content-Type", carType)
	return writeRepo(w, snap, since)
}

func writeRepo(w io.Writer, snap *store.Snapshot, since syntax.TID) error {
	return snap.Cause(repo.Export(&pacedWriter{w: w, begun: time.Now()}, snap.Head, snap.Tree, snap, snap.Bodies(since).Next))
}

// getSyncRecord answers com.atproto.sync.getRecord: a CAR that proves that the record is, or is not, in the repository.
func (s *Server) getSyncRecord(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	path := q.Get("collection") + "/" + q.Get("rkey")
	snap, err := s.syncSnapshot(r)
	if err != nil {
		return err
	}
	defer snap.Close()
	body, err := snap.Body(r.Context(), path)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	car, err := repo.RecordProof(snap.Head, snap.Tree, snap, path, body)
	if err != nil {
		return snap.Cause(err)
	}
	snap.Close() // before anything is sent
	w.Header().Set("Content-Type", carType)
	_, err = w.Write(car)
	return err
}

// getBlocks sends the blocks of the given CIDs: the commit, nodes of the current tree, and current records.
func (s *Server) getBlocks(w http.ResponseWriter, r *http.Request) error {
	want, err := parseCIDs(r.URL.Query()["cids"])
	if err != nil {
		return err
	}
	blocks, err := s.blocksOf(r, want)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", carType)
	car, err := repo.NewCARWriter(w)
	if err != nil {
		return err
	}
	for _, b := range blocks {
		if err := car.Put(b.CID, b.Data); err != nil {
			return err
		}
	}
	return car.Flush()
}

// maxBlocksBytes is how much of blocks one getBlocks call may fetch: they are put together in memory, so that one that is missing can still be told of.
const maxBlocksBytes = 32 << 20

// blocksOf finds blocks by a walk through the repository, and lets go of it before anything is sent.
func (s *Server) blocksOf(r *http.Request, want map[cid.Cid]bool) ([]repo.Block, error) {
	snap, leave, err := s.exportSnapshot(r)
	if err != nil {
		return nil, err
	}
	defer leave()
	defer snap.Close()
	return findBlocks(snap, want)
}

var errAllFound = errors.New("all found")

// blockFinder picks the blocks that are wanted, which it takes off want.
type blockFinder struct {
	want  map[cid.Cid]bool
	found []repo.Block
	bytes int
}

func (f *blockFinder) take(c cid.Cid, data []byte) error {
	if f.want[c] {
		if f.bytes += len(data); f.bytes > maxBlocksBytes {
			return xrpc.InvalidRequest("The blocks come to more than %d bytes: ask for fewer at a time", maxBlocksBytes)
		}
		delete(f.want, c)
		f.found = append(f.found, repo.Block{CID: c, Data: bytes.Clone(data)})
	}
	if len(f.want) == 0 {
		return errAllFound
	}
	return nil
}

// findBlocks walks the repository until it has all the blocks that are wanted. Of the records it reads only those.
func findBlocks(snap *store.Snapshot, want map[cid.Cid]bool) ([]repo.Block, error) {
	f := &blockFinder{want: want}
	err := f.take(snap.Head.CID, snap.Head.Block)
	if err == nil {
		err = snap.Tree.Export(snap, snap.Picked(func(c cid.Cid) bool { return want[c] }).Next, f.take)
	}
	if err != nil && !errors.Is(err, errAllFound) {
		return nil, snap.Cause(err)
	}
	if len(want) > 0 {
		return nil, xrpc.NewError(400, "BlockNotFound", "Could not find cids: %s", cidList(want))
	}
	return f.found, nil
}

func cidList(cids map[cid.Cid]bool) string {
	names := make([]string, 0, len(cids))
	for c := range cids {
		names = append(names, c.String())
	}
	return strings.Join(names, ", ")
}

func parseCIDs(in []string) (map[cid.Cid]bool, error) {
	if len(in) > maxGetBlocks {
		return nil, xrpc.InvalidRequest("Too many cids: at most %d in one request", maxGetBlocks)
	}
	want := make(map[cid.Cid]bool, len(in))
	for _, str := range in {
		c, err := cid.Decode(str)
		if err != nil {
			return nil, xrpc.InvalidRequest("cids holds what is not a CID: %.100q", str)
		}
		want[c] = true
	}
	return want, nil
}

// syncSnapshot opens a consistent view of the repository that the did parameter names, if the caller may read it.
func (s *Server) syncSnapshot(r *http.Request) (*store.Snapshot, error) {
	acct, err := s.syncRepo(r.Context(), syntax.DID(r.URL.Query().Get("did")))
	if err != nil {
		return nil, err
	}
	return s.store.Snapshot(r.Context(), acct.ID)
}

// exportSnapshot is syncSnapshot for a walk through the whole repository, which only so many may make at a time. leave must be called.
func (s *Server) exportSnapshot(r *http.Request) (snap *store.Snapshot, leave func(), err error) {
	own := auth.From(r.Context()).MaySee(syntax.DID(r.URL.Query().Get("did")))
	if leave, err = s.exports.enter(r.Context(), own); err != nil {
		return nil, nil, err
	}
	if snap, err = s.syncSnapshot(r); err != nil {
		leave()
		return nil, nil, err
	}
	return snap, leave, nil
}
