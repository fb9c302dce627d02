package pds

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"perch/pds/auth"
	"perch/pds/store"
	"perch/repo"
	"perch/xrpc"
)

// maxRecordJSON is the largest JSON body of a record write in bytes, as in the reference.
const maxRecordJSON = 1_000_000

type commitMeta struct {
	CID string `json:"cid"`
	Rev string `json:"rev"`
}

type createRecordInput struct {
	Repo       syntax.AtIdentifier `json:"repo"`
	Collection syntax.NSID         `json:"collection"`
	RKey       syntax.RecordKey    `json:"rkey"`
	Validate   *bool               `json:"validate"`
	Record     json.RawMessage     `json:"record"`
	SwapCommit *string             `json:"swapCommit"`
}

type writeRecordOutput struct {
	URI              string      `json:"uri"`
	CID              string      `json:"cid"`
	Commit           *commitMeta `json:"commit,omitempty"`
	ValidationStatus string      `json:"validationStatus,omitempty"`
}

func (s *Server) createRecord(ctx context.Context, in *createRecordInput) (*writeRecordOutput, error) {
	acct, err := s.writableRepo(ctx, in.Repo)
	if err != nil {
		return nil, err
	}
	if err := auth.From(ctx).MayWrite(acct.DID, in.Collection, repo.Create); err != nil {
		return nil, err
	}
	w, status, err := s.newWrite(repo.Create, in.Collection, in.RKey, in.Record, in.Validate)
	if err != nil {
		return nil, err
	}
	w.Dedup = in.Validate == nil || *in.Validate
	return s.writeOne(ctx, acct, in.SwapCommit, w, status)
}

type putRecordInput struct {
	Repo       syntax.AtIdentifier `json:"repo"`
	Collection syntax.NSID         `json:"collection"`
	RKey       syntax.RecordKey    `json:"rkey"`
	Validate   *bool               `json:"validate"`
	Record     json.RawMessage     `json:"record"`
	SwapRecord optionalCID         `json:"swapRecord"`
	SwapCommit *string             `json:"swapCommit"`
}

func (s *Server) putRecord(ctx context.Context, in *putRecordInput) (*writeRecordOutput, error) {
	acct, err := s.writableRepo(ctx, in.Repo)
	if err != nil {
		return nil, err
	}
	for _, action := range []repo.Action{repo.Create, repo.Update} {
		if err := auth.From(ctx).MayWrite(acct.DID, in.Collection, action); err != nil {
			return nil, err
		}
	}
	w, status, err := s.newWrite(repo.Put, in.Collection, in.RKey, in.Record, in.Validate)
	if err != nil {
		return nil, err
	}
	w.Swap = in.SwapRecord.want
	return s.writeOne(ctx, acct, in.SwapCommit, w, status)
}

type deleteRecordInput struct {
	Repo       syntax.AtIdentifier `json:"repo"`
	Collection syntax.NSID         `json:"collection"`
	RKey       syntax.RecordKey    `json:"rkey"`
	SwapRecord optionalCID         `json:"swapRecord"`
	SwapCommit *string             `json:"swapCommit"`
}

type deleteRecordOutput struct {
	Commit *commitMeta `json:"commit,omitempty"`
}

func (s *Server) deleteRecord(ctx context.Context, in *deleteRecordInput) (*deleteRecordOutput, error) {
	acct, err := s.writableRepo(ctx, in.Repo)
	if err != nil {
		return nil, err
	}
	if err := auth.From(ctx).MayWrite(acct.DID, in.Collection, repo.Delete); err != nil {
		return nil, err
	}
	w := repo.Write{Action: repo.Delete, Collection: in.Collection, RKey: in.RKey, IfExists: true, Swap: in.SwapRecord.want}
	d, err := s.commit(ctx, acct, in.SwapCommit, w)
	if err != nil {
		return nil, err
	}
	return &deleteRecordOutput{Commit: metaOf(d)}, nil
}

// writeOne commits a single write and shapes the answer of createRecord and putRecord.
func (s *Server) writeOne(ctx context.Context, acct *store.Account, swapCommit *string, w repo.Write, status string) (*writeRecordOutput, error) {
	d, err := s.commit(ctx, acct, swapCommit, w)
	if err != nil {
		return nil, err
	}
	return &writeRecordOutput{
		URI:              recordURI(acct.DID, w.Path()),
		CID:              w.CID.String(),
		Commit:           metaOf(d),
		ValidationStatus: status,
	}, nil
}

// commit hands writes to the store, the only path by which a repository changes. swapCommit, when given, must be the current head.
func (s *Server) commit(ctx context.Context, acct *store.Account, swapCommit *string, writes ...repo.Write) (*repo.Diff, error) {
	swap, err := parseSwap(swapCommit)
	if err != nil {
		return nil, err
	}
	d, err := s.commitOnce(ctx, acct, swap, writes)
	if errors.Is(err, store.ErrKeyChanged) { // since this request began
		if acct, err = s.store.AccountByID(ctx, acct.ID); err == nil {
			d, err = s.commitOnce(ctx, acct, swap, writes)
		}
	}
	if err == nil && len(d.Ops) > 0 {
		s.relay.Notify()
	}
	return d, err
}

func (s *Server) commitOnce(ctx context.Context, acct *store.Account, swap *cid.Cid, writes []repo.Write) (*repo.Diff, error) {
	key, err := s.accounts.SigningKey(acct)
	if err != nil {
		return nil, err
	}
	return s.store.Commit(ctx, store.CommitRequest{
		Account: acct.ID, DID: acct.DID, Key: key, KeyDID: acct.SigningKeyDID, SwapCommit: swap, Writes: writes,
	})
}

// newWrite turns the JSON of a record into a write: checked against the data model and its lexicon, encoded, with its blob references.
// The status is "valid", "unknown" (no lexicon for the collection), or "" when the caller switched validation off.
func (s *Server) newWrite(action repo.Action, collection syntax.NSID, rkey syntax.RecordKey, record json.RawMessage, validate *bool) (repo.Write, string, error) {
	if rkey == "" {
		rkey = syntax.RecordKey(s.tids.Next())
	}
	data, err := repo.ParseRecordJSON(record)
	if err != nil {
		return repo.Write{}, "", err
	}
	if err := setType(data, collection); err != nil {
		return repo.Write{}, "", err
	}
	if repo.HasLegacyBlob(data) {
		return repo.Write{}, "", xrpc.InvalidRequest("Legacy blob refs are not allowed in new records: upload the blob and use the reference that uploadBlob returns")
	}
	status, err := s.validateRecord(collection, rkey, data, validate)
	if err != nil {
		return repo.Write{}, "", err
	}
	body, err := repo.EncodeRecord(data)
	if err != nil {
		return repo.Write{}, "", err
	}
	return repo.Write{
		Action:     action,
		Collection: collection,
		RKey:       rkey,
		CID:        repo.CIDOf(body),
		Record:     body,
		Blobs:      repo.BlobRefs(data),
		Subject:    repo.SubjectOf(collection, data),
	}, status, nil
}

// validateRecord applies the three-way switch of the write methods: true demands a known lexicon, false skips it, nil checks what is known.
func (s *Server) validateRecord(collection syntax.NSID, rkey syntax.RecordKey, data map[string]any, validate *bool) (string, error) {
	if validate != nil && !*validate {
		return "", nil
	}
	known, err := s.lexicons.ValidateRecord(collection, rkey, data)
	switch {
	case err != nil:
		return "", fmt.Errorf("Invalid %s record: %w", collection, err)
	case known:
		return "valid", nil
	case validate != nil:
		return "", xrpc.InvalidRequest("Unknown lexicon type: %s. Leave out validate, or set it to false, to write records of a lexicon that this server does not know", collection)
	}
	return "unknown", nil
}

// setType fills in a missing $type and refuses one that is not the collection.
func setType(data map[string]any, collection syntax.NSID) error {
	t, ok := data["$type"]
	if !ok {
		data["$type"] = collection.String()
		return nil
	}
	if t != collection.String() {
		return xrpc.InvalidRequest("Invalid $type: expected %s, got %v", collection, t)
	}
	return nil
}

// writableRepo resolves the repo parameter of a write, which must be the caller's own active account.
func (s *Server) writableRepo(ctx context.Context, id syntax.AtIdentifier) (*store.Account, error) {
	acct, err := s.localAccount(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, xrpc.InvalidRequest("Could not find repo: %s", id)
	}
	if err != nil {
		return nil, err
	}
	if acct.DID != auth.From(ctx).DID {
		return nil, auth.ErrWrongRepo
	}
	if err := inactiveForWriter(acct); err != nil {
		return nil, err
	}
	return acct, nil
}

func parseSwap(s *string) (*cid.Cid, error) {
	if s == nil || *s == "" {
		return nil, nil
	}
	c, err := cid.Decode(*s)
	if err != nil {
		return nil, xrpc.InvalidRequest("swapCommit is not a CID: %s", *s)
	}
	return &c, nil
}

// optionalCID keeps the three states of swapRecord apart: absent is no check, null must not exist, a CID must be the current one.
type optionalCID struct{ want *cid.Cid }

// UnmarshalJSON reads null or a CID string.
func (o *optionalCID) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte("null")) {
		o.want = &cid.Cid{}
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	c, err := cid.Decode(s)
	if err != nil {
		return fmt.Errorf("swapRecord is not a CID: %w", err)
	}
	o.want = &c
	return nil
}

func metaOf(d *repo.Diff) *commitMeta {
	if len(d.Ops) == 0 {
		return nil
	}
	return &commitMeta{CID: d.Head.CID.String(), Rev: d.Head.Commit.Rev.String()}
}

func recordURI(did syntax.DID, path string) string { return "at://" + did.String() + "/" + path }
