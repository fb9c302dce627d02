package pds

import (
	"context"
	"encoding/json"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/auth"
	"perch/xrpc"
)

type preferencesJSON struct {
	Preferences []json.RawMessage `json:"preferences"`
}

// preferencesOutput is what getPreferences answers: JSON from here, or from another AppView as it came.
type preferencesOutput struct{ json []byte }

// AppendJSON appends {"preferences"}.
func (o *preferencesOutput) AppendJSON(dst []byte) ([]byte, error) {
	return append(dst, o.json...), nil
}

func (s *Server) getPreferences(ctx context.Context, _ *struct{}) (*preferencesOutput, error) {
	resp, err := s.elsewhere(ctx, nil)
	if err != nil {
		return nil, err
	}
	if resp != nil {
		return &preferencesOutput{json: resp.Body}, nil
	}
	p := auth.From(ctx)
	if err := s.mayUsePreferences(ctx); err != nil {
		return nil, err
	}
	prefs, err := s.accounts.Preferences(ctx, p.Account.ID, p.IsFull())
	if err != nil {
		return nil, err
	}
	if prefs == nil {
		prefs = []json.RawMessage{}
	}
	body, err := json.Marshal(preferencesJSON{Preferences: prefs})
	return &preferencesOutput{json: body}, err
}

// mayUsePreferences asks whether an app may do with preferences what the method does. They are kept here, but belong to the AppView: the right is the one to
// call the method there.
func (s *Server) mayUsePreferences(ctx context.Context) error {
	p := auth.From(ctx)
	if p.Kind != auth.OAuth {
		return nil
	}
	return p.MayCall(syntax.NSID(xrpc.NSID(ctx)), s.cfg.AppViewDID+"#"+serviceAppView)
}

func (s *Server) putPreferences(ctx context.Context, in *preferencesJSON) (*struct{}, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	if resp, err := s.elsewhere(ctx, body); err != nil || resp != nil {
		return &struct{}{}, err
	}
	p := auth.From(ctx)
	if err := s.mayUsePreferences(ctx); err != nil {
		return nil, err
	}
	return &struct{}{}, s.accounts.PutPreferences(ctx, p.Account.ID, in.Preferences, p.IsFull())
}
