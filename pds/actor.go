package pds

import (
	"context"
	"encoding/json"

	"perch/pds/auth"
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

func (s *Server) putPreferences(ctx context.Context, in *preferencesJSON) (*struct{}, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	if resp, err := s.elsewhere(ctx, body); err != nil || resp != nil {
		return &struct{}{}, err
	}
	p := auth.From(ctx)
	return &struct{}{}, s.accounts.PutPreferences(ctx, p.Account.ID, in.Preferences, p.IsFull())
}
