package pds

import (
	"context"
	"encoding/json"

	"perch/pds/auth"
)

type preferencesJSON struct {
	Preferences []json.RawMessage `json:"preferences"`
}

func (s *Server) getPreferences(ctx context.Context, _ *struct{}) (*preferencesJSON, error) {
	p := auth.From(ctx)
	prefs, err := s.accounts.Preferences(ctx, p.Account.ID, p.IsFull())
	if err != nil {
		return nil, err
	}
	if prefs == nil {
		prefs = []json.RawMessage{}
	}
	return &preferencesJSON{Preferences: prefs}, nil
}

func (s *Server) putPreferences(ctx context.Context, in *preferencesJSON) (*struct{}, error) {
	p := auth.From(ctx)
	return &struct{}{}, s.accounts.PutPreferences(ctx, p.Account.ID, in.Preferences, p.IsFull())
}
