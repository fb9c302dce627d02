package pds

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/account"
	"perch/pds/store"
	"perch/xrpc"
)

const (
	maxSuggestions = 5
	maxNumbered    = 20 // names with a number that are tried
	maxNameLength  = 18 // of the label before the server's domain
)

type checkHandleParams struct {
	Handle    string `query:"handle"`
	Email     string `query:"email"`
	BirthDate string `query:"birthDate"`
}

type checkHandleOutput struct {
	Handle syntax.Handle     `json:"handle"`
	Result handleCheckResult `json:"result"`
}

type handleCheckResult struct {
	Type        string              `json:"$type"`
	Suggestions *[]handleSuggestion `json:"suggestions,omitempty"`
}

type handleSuggestion struct {
	Handle syntax.Handle `json:"handle"`
	Method string        `json:"method"`
}

// checkHandleAvailability tells whether somebody can sign up with a handle, and suggests others when not.
func (s *Server) checkHandleAvailability(ctx context.Context, p *checkHandleParams) (*checkHandleOutput, error) {
	if p.Email != "" {
		if _, err := account.NormalizeEmail(p.Email); err != nil {
			return nil, &xrpc.Error{Status: 400, Name: "InvalidEmail", Message: "Invalid email", Err: err}
		}
	}
	const result = "com.atproto.temp.checkHandleAvailability#result"
	out := &checkHandleOutput{Handle: syntax.Handle(p.Handle).Normalize()}
	free, err := s.handleFree(ctx, p.Handle)
	if err != nil {
		return nil, err
	}
	if free {
		out.Result.Type = result + "Available"
		return out, nil
	}
	suggestions, err := s.suggestHandles(ctx, p)
	if err != nil {
		return nil, err
	}
	out.Result = handleCheckResult{Type: result + "Unavailable", Suggestions: &suggestions}
	return out, nil
}

// handleFree tells whether a new account may take the handle.
func (s *Server) handleFree(ctx context.Context, raw string) (bool, error) {
	h, err := s.accounts.CheckHandle(ctx, raw, "", false)
	if err != nil {
		return false, nil // reserved, too long, of another domain: whatever it is, nobody can have it
	}
	_, err = s.store.AccountByHandle(ctx, h)
	if errors.Is(err, store.ErrNotFound) {
		return true, nil
	}
	return false, err
}

// suggestHandles looks for free handles that are like the one wanted.
func (s *Server) suggestHandles(ctx context.Context, p *checkHandleParams) ([]handleSuggestion, error) {
	found := []handleSuggestion{}
	domains := s.cfg.HandleDomains()
	if len(domains) == 0 {
		return found, nil
	}
	domain := domains[0]
	for _, d := range domains {
		if strings.HasSuffix(strings.ToLower(p.Handle), d) {
			domain = d
		}
	}
	for _, c := range nameCandidates(p) {
		handle := syntax.Handle(c.name + domain)
		free, err := s.handleFree(ctx, handle.String())
		if err != nil {
			return nil, err
		}
		if free {
			found = append(found, handleSuggestion{Handle: handle, Method: c.method})
		}
		if len(found) == maxSuggestions {
			break
		}
	}
	return found, nil
}

type nameCandidate struct{ name, method string }

// nameCandidates are names made of the label wanted, the address before the @, and the year of birth.
func nameCandidates(p *checkHandleParams) []nameCandidate {
	label, _, _ := strings.Cut(strings.ToLower(p.Handle), ".")
	base := shorten(plainName(label), "")
	all := []nameCandidate{{base, "handle"}}
	if local, _, ok := strings.Cut(strings.ToLower(p.Email), "@"); ok {
		all = append(all, nameCandidate{shorten(plainName(local), ""), "email"})
	}
	if born, err := time.Parse(time.RFC3339, p.BirthDate); err == nil {
		year := strconv.Itoa(born.Year())
		all = append(all, nameCandidate{shorten(base, year) + year, "handle_year"})
	}
	for i := 1; i <= maxNumbered; i++ {
		n := strconv.Itoa(i)
		all = append(all, nameCandidate{shorten(base, n) + n, "handle_number"})
	}
	return all
}

// plainName leaves out what a handle cannot hold.
func plainName(s string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return -1
	}, s), "-")
}

// shorten cuts a name so that it has room for what will follow it.
func shorten(name, suffix string) string {
	return strings.TrimRight(name[:min(len(name), maxNameLength-len(suffix))], "-")
}
