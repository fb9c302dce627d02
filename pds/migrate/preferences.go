package migrate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

const getPreferences = "app.bsky.actor.getPreferences"

// preferencesAt are those of the other host; nil when it keeps none.
func (m *Manager) preferencesAt(ctx context.Context, mv *move, h *host) (json.RawMessage, error) {
	var out struct {
		Preferences json.RawMessage `json:"preferences"`
	}
	err := h.json(ctx, call{method: getPreferences, token: accessToken}, &out)
	var refused *HostError
	if errors.As(err, &refused) && (refused.Status == http.StatusNotFound || refused.Status == http.StatusNotImplemented) {
		if !refused.Vague || mv.Failures >= lateTries {
			return nil, nil
		}
	}
	if err == nil && out.Preferences == nil {
		err = fmt.Errorf("the %s host answers without preferences", h.side)
	}
	return out.Preferences, err
}

// fetchPreferences brings the preferences and sees that those here are the same then.
func (m *Manager) fetchPreferences(ctx context.Context, mv *move, h *host) error {
	old, err := m.preferencesAt(ctx, mv, h)
	if err != nil {
		return err
	}
	if old == nil {
		mv.note(NoteNoPrefsOld, "")
		return nil
	}
	if mv.tokens.OAuth != nil && hidesBirthDate(old) {
		mv.note(NoteBirth, "")
	}
	if same, err := m.samePreferences(ctx, mv, old); same || err != nil {
		return err
	}
	if err := m.opts.Here.PutPreferences(ctx, mv.Account, old); err != nil {
		return fmt.Errorf("store the preferences: %w", err)
	}
	same, err := m.samePreferences(ctx, mv, old)
	if err == nil && !same {
		err = errors.New("the preferences here are not those of the old host")
	}
	return err
}

// hidesBirthDate tells of preferences that say how old somebody is, but not from what the host knows it.
func hidesBirthDate(list []byte) bool {
	return bytes.Contains(list, []byte("#declaredAgePref")) && !bytes.Contains(list, []byte("#personalDetailsPref"))
}

func (m *Manager) samePreferences(ctx context.Context, mv *move, old json.RawMessage) (bool, error) {
	here, err := m.opts.Here.Preferences(ctx, mv.Account)
	if err != nil {
		return false, err
	}
	return equalPreferences(old, here)
}

func equalPreferences(one, other []byte) (bool, error) {
	a, errA := preferenceSet(one)
	b, errB := preferenceSet(other)
	return slices.Equal(a, b), errors.Join(errA, errB)
}

// preferenceSet brings preferences into one form, without what every server computes anew.
func preferenceSet(list []byte) ([]string, error) {
	var items []map[string]any
	if err := json.Unmarshal(list, &items); err != nil {
		return nil, fmt.Errorf("preferences: %w", err)
	}
	set := make([]string, 0, len(items))
	for _, item := range items {
		if kind, _ := item["$type"].(string); strings.HasSuffix(kind, "#declaredAgePref") {
			continue
		}
		text, err := json.Marshal(item) // sorts the keys
		if err != nil {
			return nil, err
		}
		set = append(set, string(text))
	}
	slices.Sort(set)
	return set, nil
}
