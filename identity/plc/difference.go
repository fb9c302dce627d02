package plc

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Change is one thing that an operation changes for a DID.
type Change struct {
	What   string `json:"what"`             // see ChangeHandle and the rest
	How    string `json:"how,omitempty"`    // changed, added or removed
	Name   string `json:"name,omitempty"`   // of a service or key
	Is     string `json:"is,omitempty"`     // "" for none
	Was    string `json:"was,omitempty"`    // "" for none
	Holder string `json:"holder,omitempty"` // of a rotation key: server, operator or owner
	Number int    `json:"number,omitempty"` // place of a rotation key among Of
	Of     int    `json:"of,omitempty"`
}

// What a Change is about.
const (
	ChangeHandle   = "handle"
	ChangeAlias    = "alias" // another name than the handle
	ChangeServer   = "server"
	ChangeService  = "service"
	ChangeSigning  = "signing"
	ChangeKey      = "key"
	ChangeRotation = "rotation"
	ChangeOrder    = "order" // of the rotation keys
	ChangeEnded    = "ended" // the DID is given up
	ChangeText     = "text"  // Is says all, in English
)

// How something changes.
const (
	Changed = "changed"
	Added   = "added"
	Removed = "removed"
)

// Differences says, one by one, what an operation changes for the DID. holder, unless nil, tells who holds a rotation key.
func Differences(before, after Operation, holder func(didKey string) string) []Change {
	if after.Type == TypeTombstone {
		return []Change{{What: ChangeEnded}}
	}
	all := aliasDifferences(before.AlsoKnownAs, after.AlsoKnownAs)
	all = append(all, mapDifferences(before.Services, after.Services, [3]string{PDSServiceName, ChangeServer, ChangeService}, func(s Service) string { return s.Endpoint })...)
	all = append(all, mapDifferences(before.VerificationMethods, after.VerificationMethods, [3]string{SigningKeyName, ChangeSigning, ChangeKey}, strings.Clone)...)
	return append(all, rotationDifferences(before.RotationKeys, after.RotationKeys, holder)...)
}

func aliasDifferences(before, after []string) (all []Change) {
	was, is := firstHandle(before), firstHandle(after)
	if was != is {
		all = append(all, Change{What: ChangeHandle, How: Changed, Is: clip(is), Was: clip(was)})
	}
	other := func(list []string) func(string) bool {
		return func(s string) bool { return s != "at://"+was && s != "at://"+is && !slices.Contains(list, s) }
	}
	for _, s := range filter(after, other(before)) {
		all = append(all, Change{What: ChangeAlias, How: Added, Is: clip(s)})
	}
	for _, s := range filter(before, other(after)) {
		all = append(all, Change{What: ChangeAlias, How: Removed, Was: clip(s)})
	}
	return all
}

func firstHandle(aliases []string) string {
	for _, a := range aliases {
		if h, ok := strings.CutPrefix(a, "at://"); ok {
			return h
		}
	}
	return ""
}

// mapDifferences compares services or keys. what has the name of the one that counts for accounts, what a change of that is about, and of any other.
func mapDifferences[V comparable](before, after map[string]V, what [3]string, show func(V) string) (all []Change) {
	names := maps.Clone(after)
	if names == nil {
		names = map[string]V{}
	}
	maps.Copy(names, before)
	for _, name := range sortedKeys(names) {
		was, had := before[name]
		is, has := after[name]
		if had && has && was == is {
			continue
		}
		c := Change{What: what[1], How: Changed, Is: clip(show(is)), Was: clip(show(was))}
		if name != what[0] {
			c.What, c.Name = what[2], clip(name)
		}
		switch {
		case !has:
			c.How, c.Is = Removed, ""
		case !had:
			c.How, c.Was = Added, ""
		}
		all = append(all, c)
	}
	return all
}

func rotationDifferences(before, after []string, holder func(string) string) (all []Change) {
	whose := func(key string) string {
		if holder == nil {
			return ""
		}
		return holder(key)
	}
	for _, key := range filter(after, func(k string) bool { return !slices.Contains(before, k) }) {
		all = append(all, Change{What: ChangeRotation, How: Added, Is: clip(key), Holder: whose(key), Number: slices.Index(after, key) + 1, Of: len(after)})
	}
	for _, key := range filter(before, func(k string) bool { return !slices.Contains(after, k) }) {
		all = append(all, Change{What: ChangeRotation, How: Removed, Was: clip(key), Holder: whose(key)})
	}
	if len(all) == 0 && !slices.Equal(before, after) {
		all = append(all, Change{What: ChangeOrder})
	}
	return all
}

// String says it in English, in a line.
func (c Change) String() string {
	switch c.What {
	case ChangeText:
		return c.Is
	case ChangeEnded:
		return "the DID is given up: it names nothing any more"
	case ChangeOrder:
		return "the rotation keys stand in another order, which is that of their authority"
	}
	what := map[string]string{
		ChangeHandle: "handle", ChangeAlias: "other name", ChangeServer: "server of the account", ChangeService: "service " + c.Name, ChangeSigning: "signing key",
		ChangeKey: "key " + c.Name, ChangeRotation: "rotation key",
	}[c.What]
	whose := ""
	if c.Holder != "" {
		whose = " (" + map[string]string{"server": "this server's", "operator": "the operator's", "owner": "not this server's"}[c.Holder] + ")"
	}
	switch {
	case c.How == Removed:
		return fmt.Sprintf("%s removed: %s%s", what, orNone(c.Was), whose)
	case c.How == Added && c.Of > 0:
		return fmt.Sprintf("%s added, number %d of %d: %s%s", what, c.Number, c.Of, orNone(c.Is), whose)
	case c.How == Added:
		return fmt.Sprintf("%s added: %s%s", what, orNone(c.Is), whose)
	}
	return fmt.Sprintf("%s: %s, before %s", what, orNone(c.Is), orNone(c.Was))
}

// UnmarshalJSON implements json.Unmarshaler. It takes a line of text, too, as changes were kept once.
func (c *Change) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*c = Change{What: ChangeText, Is: text}
		return nil
	}
	type plain Change
	return json.Unmarshal(b, (*plain)(c))
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
	return s
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
