package pds

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/auth"
	"perch/pds/store"
	"perch/repo"
	"perch/xrpc"
)

const (
	importHeader = 64 << 10 // bytes of the header of a CAR: some hundred roots
	importBlock  = 64 << 20 // bytes of a block that nobody needs, such as a picture; what is needed may have repo.MaxRecord

	// A record that has many paths is one block of the file and as many rows here. All records together may have importUnfold times the bytes of the file,
	// and importFree more.
	importUnfold = 4
	importFree   = 16 << 20
)

// jobFinishImport is the kind of jobs that bring an import to its end which the end of the process cut off.
const jobFinishImport = "finish-import"

// importJob is the payload of a jobFinishImport, as JSON.
type importJob struct {
	Account store.AccountID `json:"account"`
	DID     syntax.DID      `json:"did"`
	File    string          `json:"file"`
	Head    []byte          `json:"head"` // the new commit
}

// importRepo puts the repository of a CAR in the place of what the account has. The file is received as a whole, then everything in it is verified, and only
// then is anything changed: a file that is refused leaves the account as it was. The account must be deactivated, because those who follow an active one
// would not be told of what changes.
func (s *Server) importRepo(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	acct := auth.From(ctx).Account
	switch {
	case !s.cfg.AcceptingRepoImports:
		return xrpc.InvalidRequest("Service is not accepting repo imports")
	case acct.Active():
		return store.ErrActive
	}
	address := ""
	if s.cfg.RateLimitsEnabled {
		address = xrpc.ClientNetwork(ctx).String()
	}
	leave, err := s.imports.receive(address)
	if err != nil {
		return err
	}
	defer leave()
	_, err = s.importFrom(ctx, acct, &stillAllowed{ctx, r.Body})
	return err
}

// stillAllowed is the body of a request that looks at its end whether who sends it still is let in: it may have taken hours.
type stillAllowed struct {
	ctx  context.Context
	body io.Reader
}

// Read implements io.Reader.
func (b *stillAllowed) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	if err == io.EOF {
		if _, refused := auth.Again(b.ctx); refused != nil {
			err = refused
		}
	}
	return n, err
}

// importFrom is importRepo for a file from wherever, and returns the head that the file had.
func (s *Server) importFrom(ctx context.Context, acct *store.Account, body io.Reader) (repo.Head, error) {
	leave, err := s.imports.enter(acct.ID)
	if err != nil {
		return repo.Head{}, err
	}
	defer leave()
	if err := s.blobs.CheckSpace(); err != nil {
		return repo.Head{}, err
	}
	f, err := s.imports.create(acct.ID)
	if err != nil {
		return repo.Head{}, err
	}
	imported, kept, err := s.receiveImport(ctx, acct, f, body)
	f.close()
	if kept {
		return imported, err
	}
	return imported, errors.Join(err, s.imports.remove(f.name))
}

// receiveImport does the work on the file. kept says that the import is certain to come although it is not finished, so that the file must stay.
func (s *Server) receiveImport(ctx context.Context, acct *store.Account, f *importFile, body io.Reader) (imported repo.Head, kept bool, err error) {
	archive, err := repo.ReadArchive(io.TeeReader(body, &roomy{f, f.room, 0}), f, f.spool, importLimits())
	if err != nil {
		return imported, false, err
	}
	select { // only now: receiving takes as long as the client likes
	case s.imports.gate <- struct{}{}:
		defer func() { <-s.imports.gate }()
	case <-ctx.Done():
		return imported, false, ctx.Err()
	}
	if imported, archive, err = s.verifyWhole(ctx, acct, f, archive); err != nil {
		return imported, false, err
	}
	head, err := s.headAfterImport(ctx, acct, imported.Commit)
	if err != nil || head == nil {
		return imported, false, err
	}
	if err := f.sync(); err != nil {
		return imported, false, err
	}
	if err := s.storeImport(ctx, acct.ID, f.name, *head, archive, false); err != nil {
		name, _ := s.store.Replacing(context.WithoutCancel(ctx), acct.ID)
		return imported, name == f.name, err
	}
	return imported, false, nil
}

func importLimits() repo.ArchiveLimits {
	return repo.ArchiveLimits{Header: importHeader, Block: importBlock, Total: math.MaxInt64} // what is read has its own limit, of PDS_MAX_REPO_IMPORT_SIZE
}

// verifyWhole is verifyImport for an archive that may lack blocks which the account has here: the answer of another server to getRepo with `since`. They are added to
// the file, which is whole then, and verified as if it had been so from the beginning.
func (s *Server) verifyWhole(ctx context.Context, acct *store.Account, f *importFile, archive *repo.Archive) (repo.Head, *repo.Archive, error) {
	imported, err := s.verifyImport(ctx, acct, f, archive)
	if !errors.Is(err, repo.ErrMissingBlock) {
		return imported, archive, err
	}
	added, addErr := s.addBlocks(ctx, acct.ID, f)
	if !added {
		return imported, archive, errors.Join(err, addErr)
	}
	if archive, err = repo.ReadArchive(io.NewSectionReader(f, 0, math.MaxInt64), f, f.spool, importLimits()); err != nil {
		return imported, archive, err
	}
	imported, err = s.verifyImport(ctx, acct, f, archive)
	return imported, archive, err
}

// addBlocks appends the tree and the records that the account has to a CAR, and tells whether there were any.
func (s *Server) addBlocks(ctx context.Context, acct store.AccountID, f *importFile) (added bool, err error) {
	snap, err := s.store.Snapshot(ctx, acct)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrReplacing) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer snap.Close()
	if snap.Tree.IsEmpty() {
		return false, nil
	}
	if err := s.blobs.CheckSpace(); err != nil {
		return false, err
	}
	err = snap.Cause(repo.ExportBlocks(&roomy{f, f.room, 0}, snap.Tree, snap, snap.Bodies("").Next))
	return err == nil, err
}

// verifyImport checks everything about an archive: whose it is, who signed it, that the tree is whole and in order, and every record.
func (s *Server) verifyImport(ctx context.Context, acct *store.Account, f *importFile, archive *repo.Archive) (repo.Head, error) {
	head, err := archive.Head()
	if err != nil {
		return repo.Head{}, err
	}
	if head.Commit.DID != acct.DID {
		return repo.Head{}, fmt.Errorf("%w: the repository is that of %s, the account is %s", repo.ErrCommit, head.Commit.DID, acct.DID)
	}
	keys, err := s.keysOf(ctx, acct)
	if err != nil {
		return repo.Head{}, err
	}
	if err := signedByAny(head.Commit, keys); err != nil {
		return repo.Head{}, err
	}
	file, err := f.Stat()
	if err != nil {
		return repo.Head{}, err
	}
	room := importUnfold*file.Size() + importFree
	return head, archive.Records(head.Commit.Data, func(r repo.ArchiveRecord) error {
		if room -= int64(len(r.Body)); room < 0 {
			return fmt.Errorf("%w: the same records stand at so many paths that they are more than %d times as large as the file", repo.ErrTree, importUnfold)
		}
		return ctx.Err()
	})
}

func signedByAny(c repo.Commit, keys []string) error {
	for _, k := range keys {
		pub, err := atcrypto.ParsePublicDIDKey(k)
		if err == nil && c.Verify(pub) == nil {
			return nil
		}
	}
	return fmt.Errorf("%w: none of the %d keys that the account has had made it", repo.ErrSignature, len(keys))
}

// headAfterImport signs the state that was imported with the account's key here, at a revision after the imported one and after all that this server has
// made. It returns nil if the account has that state already.
func (s *Server) headAfterImport(ctx context.Context, acct *store.Account, imported repo.Commit) (*repo.Head, error) {
	now, _, err := s.store.Head(ctx, acct.ID)
	if err == nil && now.Commit.Data == imported.Data && now.Commit.Rev >= imported.Rev {
		return nil, nil
	}
	if err != nil && !errors.Is(err, store.ErrReplacing) {
		return nil, err
	}
	last, err := s.store.Rev(ctx, acct.ID)
	if err != nil {
		return nil, err
	}
	key, err := s.accounts.SigningKey(acct)
	if err != nil {
		return nil, err
	}
	rev := repo.NextRev(max(last, imported.Rev), time.Now(), s.clockID)
	head, err := repo.SignCommit(repo.Commit{DID: acct.DID, Data: imported.Data, Rev: rev}, key)
	return &head, err
}

// storeImport has the store take the records of a verified archive.
func (s *Server) storeImport(ctx context.Context, acct store.AccountID, name string, head repo.Head, archive *repo.Archive, resume bool) error {
	payload, err := json.Marshal(importJob{Account: acct, DID: head.Commit.DID, File: name, Head: head.Block})
	if err != nil {
		return err
	}
	stats, err := s.store.Replace(ctx, store.Replacement{
		Name: name, Account: acct, DID: head.Commit.DID, Head: head, Resume: resume,
		JobKind: jobFinishImport, JobPayload: string(payload),
		Records: func(yield func(store.NewRecord) error) error {
			return archive.Records(head.Commit.Data, func(r repo.ArchiveRecord) error { return yield(importedRecord(r)) })
		},
	})
	if err == nil {
		s.log.InfoContext(ctx, "repository imported", "did", head.Commit.DID, "records", stats.Records, "bytes", stats.Bytes, "rev", head.Commit.Rev)
	}
	return err
}

func importedRecord(r repo.ArchiveRecord) store.NewRecord {
	n := store.NewRecord{Path: r.Path, CID: r.CID, Body: r.Body}
	collection, _, _ := strings.Cut(r.Path, "/")
	n.Subject = repo.SubjectOf(syntax.NSID(collection), r.Data)
	if bytes.Contains(r.Body, []byte("mimeType")) {
		n.Blobs = repo.BlobLinks(r.Data)
	}
	return n
}

// finishImport goes on with an import that was cut off after the point from which it only goes forward.
func (s *Server) finishImport(ctx context.Context, payload string) error {
	var job importJob
	if err := json.Unmarshal([]byte(payload), &job); err != nil {
		return err
	}
	if s.imports.running(job.Account) {
		return errors.New("the import still runs")
	}
	leave, err := s.imports.enter(job.Account)
	if err != nil {
		return err
	}
	defer leave()
	switch name, err := s.store.Replacing(ctx, job.Account); {
	case errors.Is(err, store.ErrNotFound), err == nil && name != job.File:
		return s.imports.remove(job.File) // finished, or another one came, or the account is gone
	case err != nil:
		return err
	}
	if err := s.resumeImport(ctx, &job); err != nil && !errors.Is(err, store.ErrSuperseded) {
		return err
	}
	return s.imports.remove(job.File)
}

func (s *Server) resumeImport(ctx context.Context, job *importJob) error {
	head, err := repo.ParseHead(job.Head)
	if err != nil {
		return err
	}
	f, err := s.imports.open(job.File)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the file of an unfinished import is gone; the repository must be imported again: %w", err)
	}
	if err != nil {
		return err
	}
	defer f.close()
	archive, err := repo.ReadArchive(f, f, f.spool, importLimits())
	if err != nil {
		return err
	}
	return s.storeImport(ctx, job.Account, job.File, head, archive, true)
}
