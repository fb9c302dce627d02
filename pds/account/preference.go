package account

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"perch/pds/store"
)

const (
	// preferenceNamespace is the only one that is stored.
	preferenceNamespace = "app.bsky"
	personalDetailsPref = "app.bsky.actor.defs#personalDetailsPref"
	declaredAgePref     = "app.bsky.actor.defs#declaredAgePref"

	maxPreferences     = 1000
	maxPreferenceBytes = 1 << 20 // of the whole list
)

// Preferences returns the account's preferences as JSON objects. Personal details, which hold a date of birth, are shown only to those with
// full access; what everybody sees of them is the declaredAgePref made from them here.
func (s *Service) Preferences(ctx context.Context, acct store.AccountID, full bool) ([]json.RawMessage, error) {
	all, err := s.store.Preferences(ctx, acct)
	if err != nil {
		return nil, err
	}
	out := make([]json.RawMessage, 0, len(all)+1)
	var age json.RawMessage
	for _, p := range all {
		if p.Name == personalDetailsPref {
			age = declaredAge(p.JSON, s.now())
			if !full {
				continue
			}
		}
		out = append(out, p.JSON)
	}
	if age != nil {
		out = append(out, age)
	}
	return out, nil
}

// PutPreferences replaces the account's preferences. Without full access personal details may not be given, and those that are there stay.
// declaredAgePref is computed, so what is given of it is left out. The error is ErrInvalidPreferences.
func (s *Service) PutPreferences(ctx context.Context, acct store.AccountID, given []json.RawMessage, full bool) error {
	fresh, err := checkPreferences(given, full)
	if err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		if full {
			return tx.ReplacePreferences(ctx, acct, fresh)
		}
		old, err := tx.Preferences(ctx, acct)
		if err != nil {
			return err
		}
		for _, p := range old {
			if p.Name == personalDetailsPref {
				fresh = append(fresh, p)
			}
		}
		return tx.ReplacePreferences(ctx, acct, fresh)
	})
}

// CheckPreferences tells whether PutPreferences would take the list from somebody with full access. The error is ErrInvalidPreferences.
func CheckPreferences(given []json.RawMessage) error {
	_, err := checkPreferences(given, true)
	return err
}

func checkPreferences(given []json.RawMessage, full bool) ([]store.Preference, error) {
	if len(given) > maxPreferences {
		return nil, refuse(ErrInvalidPreferences, "Too many preferences. Maximum: %d", maxPreferences)
	}
	size := 0
	var out []store.Preference
	for _, raw := range given {
		if size += len(raw); size > maxPreferenceBytes {
			return nil, refuse(ErrInvalidPreferences, "Preferences too large. Maximum: %d bytes", maxPreferenceBytes)
		}
		p, err := checkPreference(raw, full)
		if err != nil {
			return nil, err
		}
		if p.Name != declaredAgePref {
			out = append(out, p)
		}
	}
	return out, nil
}

func checkPreference(raw json.RawMessage, full bool) (store.Preference, error) {
	var fields map[string]json.RawMessage
	var name string
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return store.Preference{}, refuse(ErrInvalidPreferences, "Preference is not an object")
	}
	if err := json.Unmarshal(fields["$type"], &name); err != nil || name == "" {
		return store.Preference{}, refuse(ErrInvalidPreferences, "Preference is missing a $type")
	}
	if !strings.HasPrefix(name, preferenceNamespace+".") {
		return store.Preference{}, refuse(ErrInvalidPreferences, "Some preferences are not in the %s namespace", preferenceNamespace)
	}
	if name == personalDetailsPref && !full {
		return store.Preference{}, refuse(ErrInvalidPreferences, "Do not have authorization to set preferences: %s", name)
	}
	return store.Preference{Name: name, JSON: raw}, nil
}

// declaredAge tells which of the ages that apps ask for somebody has reached; nil when no date of birth is known.
func declaredAge(personalDetails []byte, now time.Time) json.RawMessage {
	var details struct {
		BirthDate string `json:"birthDate"`
	}
	if json.Unmarshal(personalDetails, &details) != nil {
		return nil
	}
	born, err := parseDate(details.BirthDate)
	if err != nil {
		return nil
	}
	age := yearsBetween(born, now)
	out, err := json.Marshal(struct {
		Type string `json:"$type"`
		At13 bool   `json:"isOverAge13"`
		At16 bool   `json:"isOverAge16"`
		At18 bool   `json:"isOverAge18"`
	}{declaredAgePref, age >= 13, age >= 16, age >= 18})
	if err != nil {
		return nil
	}
	return out
}

func parseDate(s string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t.UTC(), nil
	}
	return time.Parse(time.DateOnly, s)
}

func yearsBetween(born, now time.Time) int {
	years := now.Year() - born.Year()
	if now.Month() < born.Month() || now.Month() == born.Month() && now.Day() < born.Day() {
		years--
	}
	return years
}
