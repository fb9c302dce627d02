package scope

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// PermissionSet is a lexicon of the type permission-set: permissions that somebody has put together and described.
type PermissionSet struct {
	Title       string
	TitleLang   map[string]string // by language
	Detail      string
	DetailLang  map[string]string
	permissions []map[string]json.RawMessage
}

// Limits of permission sets, which strangers write.
const (
	maxSet    = 64 << 10 // bytes of the lexicon
	maxTitle  = 200      // characters
	maxDetail = 2000
)

// ErrNoSet says that a lexicon holds no permission set.
var ErrNoSet = errors.New("the lexicon is no permission set")

// ParseSet reads the permission set of that name out of its lexicon document.
func ParseSet(name string, lexicon []byte) (*PermissionSet, error) {
	var doc struct {
		ID   string `json:"id"`
		Defs struct {
			Main struct {
				Type        string                       `json:"type"`
				Title       string                       `json:"title"`
				TitleLang   map[string]string            `json:"title:lang"`
				Detail      string                       `json:"detail"`
				DetailLang  map[string]string            `json:"detail:lang"`
				Permissions []map[string]json.RawMessage `json:"permissions"`
			} `json:"main"`
		} `json:"defs"`
	}
	if len(lexicon) > maxSet {
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrNoSet, maxSet)
	}
	if err := json.Unmarshal(lexicon, &doc); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoSet, err)
	}
	main := doc.Defs.Main
	if doc.ID != name || main.Type != "permission-set" {
		return nil, fmt.Errorf("%w: %s", ErrNoSet, name)
	}
	return &PermissionSet{
		PlainText(main.Title, maxTitle), plainTexts(main.TitleLang, maxTitle), PlainText(main.Detail, maxDetail), plainTexts(main.DetailLang, maxDetail), main.Permissions,
	}, nil
}

// maxMarks is how many accents a letter may carry. Languages need fewer; many of them are a tower of ink over the lines around.
const maxMarks = 4

// PlainText is text for people, on one line: without what turns its direction, hides, or covers what stands beside it, and not endless.
func PlainText(s string, most int) string {
	out, marks := make([]rune, 0, min(len(s), most)), 0
	for _, c := range s {
		if isBlank(c) {
			c = ' '
			if len(out) == 0 || out[len(out)-1] == ' ' {
				continue
			}
		}
		if unicode.IsControl(c) || unicode.Is(unicode.Cf, c) {
			continue
		}
		if marks++; !unicode.Is(unicode.M, c) {
			marks = 0
		}
		if marks > maxMarks {
			continue
		}
		if len(out) == most {
			return string(out) + "…"
		}
		out = append(out, c)
	}
	return strings.TrimSuffix(string(out), " ")
}

// isBlank tells whether a character is seen as a space of some width. Some are letters to Unicode.
func isBlank(c rune) bool {
	return unicode.IsSpace(c) || strings.ContainsRune("\u115f\u1160\u2800\u3164\uffa0", c)
}

func plainTexts(all map[string]string, most int) map[string]string {
	for lang, s := range all {
		all[lang] = PlainText(s, most)
	}
	return all
}

// Expand returns what a permission set gives to who includes it. Of entries that are unknown, malformed, have a field that is not known, or reach
// beyond the authority of the set's own name, it takes nothing.
func Expand(include Permission, set *PermissionSet) []Permission {
	var out []Permission
	for _, entry := range set.permissions {
		p, ok := parseEntry(entry, include.Audience)
		if ok && underAuthority(include.Set, append(slices.Clone(p.Collections), p.Methods...)) {
			out = append(out, p)
		}
	}
	return out
}

// parseEntry understands one permission of a set. inherit is the audience of the include.
func parseEntry(entry map[string]json.RawMessage, inherit string) (Permission, bool) {
	p := params{}
	for key, raw := range entry {
		switch key {
		case "type", "resource", "inheritAud":
			continue
		case "collection", "action", "lxm", "aud":
		default:
			return Permission{}, false // it may narrow the permission
		}
		values, ok := texts(raw)
		if !ok {
			return Permission{}, false
		}
		p[key] = values
	}
	resource := Resource(text(entry["resource"]))
	inherits, ok := flag(entry["inheritAud"])
	if !ok || text(entry["type"]) != "permission" || resource != Repo && resource != RPC || inherits && resource != RPC {
		return Permission{}, false
	}
	if aud, has := p["aud"]; has && (inherits || len(aud) != 1 || aud[0] != Any) {
		return Permission{}, false
	}
	if inherits {
		if inherit == "" {
			return Permission{}, false
		}
		p["aud"] = []string{inherit}
	}
	return build(resource, p)
}

// underAuthority tells whether all names are in the group of the set's name or below: a.b.authX covers a.b.c and a.b.c.d, not a.x.
func underAuthority(set string, names []string) bool {
	at := strings.LastIndexByte(set, '.')
	if at < 0 || len(names) == 0 {
		return false
	}
	return !slices.ContainsFunc(names, func(n string) bool { return !strings.HasPrefix(n, set[:at+1]) })
}

func text(raw json.RawMessage) (s string) {
	_ = json.Unmarshal(raw, &s)
	return s
}

func flag(raw json.RawMessage) (b, ok bool) {
	ok = raw == nil || json.Unmarshal(raw, &b) == nil
	return b, ok
}

// texts reads a text or a list of them.
func texts(raw json.RawMessage) ([]string, bool) {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}, true
	}
	var all []string
	err := json.Unmarshal(raw, &all)
	return all, err == nil && len(all) > 0
}
