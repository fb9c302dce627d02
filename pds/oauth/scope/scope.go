// Package scope is the language of OAuth permissions in AT Protocol: it reads scope strings, tells what they permit, and expands permission sets.
// It is pure code. What it does not understand permits nothing.
package scope

import (
	"errors"
	"slices"
	"strings"
)

// The scopes that are no permission for one resource.
const (
	// Atproto must be part of every grant; by itself it only tells who somebody is.
	Atproto = "atproto"
	// TransitionGeneric gives what an app password gives: all records, blobs and calls but direct messages, and nothing of the account itself.
	TransitionGeneric = "transition:generic"
	// TransitionChat adds direct messages to TransitionGeneric. Alone it gives nothing.
	TransitionChat = "transition:chat.bsky"
	// TransitionEmail shows the e-mail address.
	TransitionEmail = "transition:email"
)

// Supported are the scopes that do not need a parameter, for the server's metadata.
func Supported() []string {
	return []string{Atproto, TransitionEmail, TransitionGeneric, TransitionChat}
}

// Limits of scope strings from outside.
const (
	maxScope  = 16 << 10 // bytes of all together
	maxScopes = 200      // values
)

// ErrSyntax says that a text is no list of scopes as RFC 6749 writes it.
var ErrSyntax = errors.New("scope must be values in ASCII, with single spaces between them")

// Split takes a scope parameter apart: values of visible ASCII without quotes and backslashes, one space between them, none twice.
func Split(s string) ([]string, error) {
	if s == "" {
		return nil, nil
	}
	if len(s) > maxScope || strings.Count(s, " ") >= maxScopes {
		return nil, ErrSyntax
	}
	var values []string
	for v := range strings.SplitSeq(s, " ") {
		if !isToken(v) {
			return nil, ErrSyntax
		}
		if !slices.Contains(values, v) {
			values = append(values, v)
		}
	}
	return values, nil
}

// Join is the reverse of Split.
func Join(values []string) string { return strings.Join(values, " ") }

func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}

// Subset returns the values of wanted that are in allowed, in the order of wanted.
func Subset(wanted, allowed []string) []string {
	var out []string
	for _, v := range wanted {
		if slices.Contains(allowed, v) {
			out = append(out, v)
		}
	}
	return out
}
