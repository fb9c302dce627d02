package pds

import (
	"context"
	"encoding/json"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/auth"
	"perch/repo"
	"perch/xrpc"
)

const applyWritesNSID = "com.atproto.repo.applyWrites"

type applyWritesInput struct {
	Repo       syntax.AtIdentifier `json:"repo"`
	Validate   *bool               `json:"validate"`
	Writes     []applyWrite        `json:"writes"`
	SwapCommit *string             `json:"swapCommit"`
}

type applyWrite struct {
	Type       string           `json:"$type"`
	Collection syntax.NSID      `json:"collection"`
	RKey       syntax.RecordKey `json:"rkey"`
	Value      json.RawMessage  `json:"value"`
}

// action reads the union's discriminator.
func (w *applyWrite) action() (repo.Action, error) {
	switch w.Type {
	case applyWritesNSID + "#create":
		return repo.Create, nil
	case applyWritesNSID + "#update":
		return repo.Update, nil
	case applyWritesNSID + "#delete":
		return repo.Delete, nil
	}
	return "", xrpc.InvalidRequest("Action not supported: %s", w.Type)
}

// cost is what the write counts against the account's rate limits.
func (w *applyWrite) cost() int {
	switch action, _ := w.action(); action {
	case repo.Create:
		return costCreate
	case repo.Update:
		return costUpdate
	}
	return costDelete
}

type applyWritesOutput struct {
	Commit  *commitMeta        `json:"commit,omitempty"`
	Results []applyWriteResult `json:"results"`
}

type applyWriteResult struct {
	Type             string `json:"$type"`
	URI              string `json:"uri,omitempty"`
	CID              string `json:"cid,omitempty"`
	ValidationStatus string `json:"validationStatus,omitempty"`
}

func (s *Server) applyWrites(ctx context.Context, in *applyWritesInput) (*applyWritesOutput, error) {
	acct, err := s.writableRepo(ctx, in.Repo)
	if err != nil {
		return nil, err
	}
	if len(in.Writes) > repo.MaxOps {
		return nil, xrpc.InvalidRequest("Too many writes. Max: %d", repo.MaxOps)
	}
	writes := make([]repo.Write, 0, len(in.Writes))
	results := make([]applyWriteResult, 0, len(in.Writes))
	for i := range in.Writes {
		w, res, err := s.prepareApply(ctx, acct.DID, &in.Writes[i], in.Validate)
		if err != nil {
			return nil, err
		}
		writes, results = append(writes, w), append(results, res)
	}
	d, err := s.commit(ctx, acct, in.SwapCommit, writes...)
	if err != nil {
		return nil, err
	}
	return &applyWritesOutput{Commit: metaOf(d), Results: results}, nil
}

// prepareApply checks the caller's right to one write of a batch and turns it into a repo.Write with its result.
func (s *Server) prepareApply(ctx context.Context, did syntax.DID, in *applyWrite, validate *bool) (repo.Write, applyWriteResult, error) {
	action, err := in.action()
	if err != nil {
		return repo.Write{}, applyWriteResult{}, err
	}
	if err := auth.From(ctx).MayWrite(did, in.Collection, action); err != nil {
		return repo.Write{}, applyWriteResult{}, err
	}
	if action == repo.Delete {
		w := repo.Write{Action: repo.Delete, Collection: in.Collection, RKey: in.RKey}
		return w, applyWriteResult{Type: in.Type + "Result"}, nil
	}
	w, status, err := s.newWrite(action, in.Collection, in.RKey, in.Value, validate)
	if err != nil {
		return repo.Write{}, applyWriteResult{}, err
	}
	return w, applyWriteResult{
		Type:             in.Type + "Result",
		URI:              recordURI(did, w.Path()),
		CID:              w.CID.String(),
		ValidationStatus: status,
	}, nil
}
