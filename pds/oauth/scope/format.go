package scope

import (
	"net/url"
	"slices"
	"strings"
)

// String writes the permission as a scope: the shortest form, always the same for the same permission.
func (p Permission) String() string {
	switch p.Resource {
	case Basic:
		return Atproto
	case Transition:
		return "transition:" + p.Attr
	case Repo:
		actions := p.Actions
		if len(actions) == len(repoActions) {
			actions = nil
		}
		return write(Repo, "collection", p.Collections, pair{"action", actions})
	case RPC:
		return write(RPC, "lxm", p.Methods, pair{"aud", []string{p.Audience}})
	case Blob:
		return write(Blob, "accept", p.Accept)
	case Account:
		actions := p.Actions
		if slices.Equal(actions, []string{Read}) {
			actions = nil
		}
		return write(Account, "attr", []string{p.Attr}, pair{"action", actions})
	case Identity:
		return write(Identity, "attr", []string{p.Attr})
	case Include:
		var aud []string
		if p.Audience != "" {
			aud = []string{p.Audience}
		}
		return write(Include, "nsid", []string{p.Set}, pair{"aud", aud})
	}
	return ""
}

type pair struct {
	key    string
	values []string
}

// write puts the first parameter in the positional place if it has one value.
func write(r Resource, first string, values []string, rest ...pair) string {
	out, sep := string(r), "?"
	if len(values) == 1 {
		out += ":" + escape(values[0])
	} else {
		rest = append([]pair{{first, values}}, rest...)
	}
	for _, p := range rest {
		for _, v := range p.values {
			out += sep + p.key + "=" + escape(v)
			sep = "&"
		}
	}
	return out
}

// readable are characters that need no escape in a scope, and read better so.
var readable = strings.NewReplacer("%3A", ":", "%2F", "/", "%2A", "*", "%2C", ",", "%40", "@")

func escape(s string) string { return readable.Replace(url.QueryEscape(s)) }
