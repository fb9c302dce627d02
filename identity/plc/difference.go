package plc

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Differences says in plain words, a line each, what an operation changes for the DID. holder, unless nil, tells whose a rotation key is, such as
// "this server's".
func Differences(before, after Operation, holder func(didKey string) string) []string {
	if after.Type == TypeTombstone {
		return []string{"the DID is given up: it names nothing any more"}
	}
	var lines []string
	lines = append(lines, aliasDifferences(before.AlsoKnownAs, after.AlsoKnownAs)...)
	lines = append(lines, serviceDifferences(before.Services, after.Services)...)
	lines = append(lines, methodDifferences(before.VerificationMethods, after.VerificationMethods)...)
	return append(lines, rotationDifferences(before.RotationKeys, after.RotationKeys, holder)...)
}

func aliasDifferences(before, after []string) (lines []string) {
	was, is := firstHandle(before), firstHandle(after)
	if was != is {
		lines = append(lines, fmt.Sprintf("handle: %s, before %s", orNone(is), orNone(was)))
	}
	other := func(list []string) func(string) bool {
		return func(s string) bool { return s != "at://"+was && s != "at://"+is && !slices.Contains(list, s) }
	}
	for _, s := range filter(after, other(before)) {
		lines = append(lines, "other name added: "+clip(s))
	}
	for _, s := range filter(before, other(after)) {
		lines = append(lines, "other name removed: "+clip(s))
	}
	return lines
}

func firstHandle(aliases []string) string {
	for _, a := range aliases {
		if h, ok := strings.CutPrefix(a, "at://"); ok {
			return h
		}
	}
	return ""
}

func serviceDifferences(before, after map[string]Service) []string {
	return mapDifferences(before, after, func(name string) string {
		if name == PDSServiceName {
			return "server of the account"
		}
		return "service " + name
	}, func(s Service) string { return s.Endpoint })
}

func methodDifferences(before, after map[string]string) []string {
	return mapDifferences(before, after, func(name string) string {
		if name == SigningKeyName {
			return "signing key"
		}
		return "key " + name
	}, func(s string) string { return s })
}

func mapDifferences[V comparable](before, after map[string]V, title func(string) string, show func(V) string) (lines []string) {
	all := maps.Clone(after)
	if all == nil {
		all = map[string]V{}
	}
	maps.Copy(all, before)
	for _, name := range sortedKeys(all) {
		was, had := before[name]
		is, has := after[name]
		switch {
		case had && !has:
			lines = append(lines, fmt.Sprintf("%s removed: %s", clip(title(name)), clip(show(was))))
		case has && !had:
			lines = append(lines, fmt.Sprintf("%s added: %s", clip(title(name)), clip(show(is))))
		case was != is:
			lines = append(lines, fmt.Sprintf("%s: %s, before %s", clip(title(name)), clip(show(is)), clip(show(was))))
		}
	}
	return lines
}

func rotationDifferences(before, after []string, holder func(string) string) (lines []string) {
	name := func(key string) string {
		if holder != nil {
			return clip(key) + " (" + holder(key) + ")"
		}
		return clip(key)
	}
	for _, key := range filter(after, func(k string) bool { return !slices.Contains(before, k) }) {
		lines = append(lines, fmt.Sprintf("rotation key added, number %d of %d: %s", slices.Index(after, key)+1, len(after), name(key)))
	}
	for _, key := range filter(before, func(k string) bool { return !slices.Contains(after, k) }) {
		lines = append(lines, "rotation key removed: "+name(key))
	}
	if len(lines) == 0 && !slices.Equal(before, after) {
		lines = append(lines, "the rotation keys stand in another order, which is that of their authority")
	}
	return lines
}

func filter(list []string, keep func(string) bool) (out []string) {
	for _, s := range list {
		if keep(s) {
			out = append(out, s)
		}
	}
	return out
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return clip(s)
}

// maxShown bounds what a stranger can write into a line.
const maxShown = 160

// clip makes text from a stranger fit for a line of a mail or a terminal.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), maxShown)]
}
