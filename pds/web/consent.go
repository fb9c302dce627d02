package web

import (
	"slices"
	"strings"

	"perch/pds/account"
	"perch/pds/oauth"
	"perch/pds/oauth/scope"
)

// consent is what the question shows.
type consent struct {
	Account *account.SignedIn
	Groups  []consentGroup
	Others  bool   // whether another account may be chosen
	Untick  bool   // whether something can be unticked
	Address string // of the app
}

// maxNamed is how many names a list has beside a permission. All are among its details.
const maxNamed = 4

// consentGroup are permissions of one kind.
type consentGroup struct {
	Kind, Icon string // the kind is part of the key of its title
	Items      []consentItem
}

// consentItem is one permission that can be unticked.
type consentItem struct {
	Scope    string // or several, separated by spaces
	Title    string
	Detail   string
	Lines    []string // what it is made of
	Strong   bool     // it gives much
	Required bool
}

// consentKinds are the kinds in their order: what matters most comes first.
var consentKinds = []struct{ kind, icon string }{
	{"identity", "at"}, {"all", "alert"}, {"set", "app"}, {"repo", "post"}, {"blob", "picture"}, {"rpc", "service"}, {"account", "mail"},
}

func newConsent(r *request, f *flow, a *account.SignedIn) consent {
	c := consent{Account: a, Others: f.Hint == "", Groups: r.groups(f.Request.Permissions), Address: f.Request.Client.ID}
	c.Untick = slices.ContainsFunc(f.Request.Permissions, func(p oauth.Permission) bool { return !p.Required })
	if f.Request.Client.Localhost {
		c.Address, _, _ = strings.Cut(c.Address, "?") // the rest is what it asks for
	}
	return c
}

// groups puts permissions in order.
func (r *request) groups(permissions []oauth.Permission) (groups []consentGroup) {
	byKind := map[string][]consentItem{}
	for _, p := range permissions {
		kind, item := r.describe(p)
		byKind[kind] = addConsent(byKind[kind], kind, item)
	}
	for _, k := range consentKinds {
		if items := byKind[k.kind]; len(items) > 0 {
			groups = append(groups, consentGroup{k.kind, k.icon, items})
		}
	}
	return groups
}

// addConsent appends an item, unless one about the account says the same already: transition:email and account:email are one question, and its answer is both's.
func addConsent(items []consentItem, kind string, item consentItem) []consentItem {
	i := slices.IndexFunc(items, func(had consentItem) bool {
		return kind == "account" && had.Title == item.Title && had.Required == item.Required
	})
	if i < 0 {
		return append(items, item)
	}
	items[i].Scope += " " + item.Scope
	if items[i].Detail == "" {
		items[i].Detail = item.Detail
	}
	return items
}

// describe says in plain words what a permission lets an app do.
func (r *request) describe(p oauth.Permission) (kind string, item consentItem) {
	item = consentItem{Scope: p.Scope, Required: p.Required}
	if p.Set != nil {
		item.Title = p.Parsed.Set
		if title := localized(r.words.Tag, p.Set.Title, p.Set.TitleLang); title != "" {
			item.Title = isolate(title) + " (" + p.Parsed.Set + ")" // whoever owns the name has written the title
		}
		item.Detail = localized(r.words.Tag, p.Set.Detail, p.Set.DetailLang)
		for _, part := range p.Includes {
			_, title, lines, strong := r.explain(part)
			item.Lines = append(item.Lines, title)
			item.Lines = append(item.Lines, lines...)
			item.Strong = item.Strong || strong
		}
		return "set", item
	}
	kind, item.Title, item.Lines, item.Strong = r.explain(p.Parsed)
	switch {
	case p.Parsed.Resource == scope.Transition:
		item.Detail = r.t(transitionKey(p.Parsed) + "-detail")
	case p.Parsed.Resource == scope.RPC && len(item.Lines) > 0:
		item.Detail = r.t("scope.rpc-only", "what", r.few(item.Lines))
	}
	return kind, item
}

// explain gives a permission its kind, a sentence, and the names that it is about.
func (r *request) explain(p scope.Permission) (kind, title string, lines []string, strong bool) {
	switch p.Resource {
	case scope.Basic:
		return "identity", r.t("scope.basic"), nil, false
	case scope.Transition:
		kind := "all"
		if p.Attr == "email" {
			kind = "account"
		}
		return kind, r.t(transitionKey(p)), nil, p.Attr == "generic"
	case scope.Repo:
		return r.explainRepo(p)
	case scope.RPC:
		return r.explainRPC(p)
	case scope.Blob:
		return "blob", r.t("scope.blob-" + blobKind(p.Accept)), p.Accept, false
	case scope.Account:
		action := "read"
		if slices.Contains(p.Actions, scope.Manage) {
			action = "manage"
		}
		return "account", r.t("scope.account-" + p.Attr + "-" + action), nil, action == "manage"
	case scope.Identity:
		if p.Attr == scope.Any {
			return "identity", r.t("scope.identity-all"), nil, true
		}
		return "identity", r.t("scope.identity-handle"), nil, true
	}
	return "all", p.String(), nil, false
}

func (r *request) explainRepo(p scope.Permission) (kind, title string, lines []string, strong bool) {
	var doing []string
	for _, a := range []string{scope.Create, scope.Update, scope.Delete} {
		if len(p.Actions) == 0 || slices.Contains(p.Actions, a) {
			doing = append(doing, a)
		}
	}
	key := "scope.repo-" + strings.Join(doing, "-")
	if slices.Contains(p.Collections, scope.Any) {
		return "repo", r.t(key, "what", r.t("scope.collection-all")), nil, true
	}
	var names []string
	for _, c := range p.Collections {
		if name := "collection." + c; r.words.has(name) {
			names = append(names, r.t(name))
			lines = append(lines, c)
		} else {
			names = append(names, c)
		}
	}
	return "repo", r.t(key, "what", strings.Join(names, r.t("format.comma"))), lines, false
}

func (r *request) explainRPC(p scope.Permission) (kind, title string, lines []string, strong bool) {
	who := r.t("scope.rpc-any")
	if p.Audience != scope.Any {
		did, _, _ := strings.Cut(p.Audience, "#")
		who = strings.TrimPrefix(did, "did:web:")
	}
	if slices.Contains(p.Methods, scope.Any) {
		return "rpc", r.t("scope.rpc-all", "service", who), nil, true
	}
	return "rpc", r.t("scope.rpc", "service", who), p.Methods, p.Audience == scope.Any
}

// few is a list of names, or how it begins.
func (r *request) few(names []string) string {
	more := ""
	if len(names) > maxNamed {
		names, more = names[:maxNamed], r.t("format.comma")+"…"
	}
	return strings.Join(names, r.t("format.comma")) + more
}

// blobKind tells whether all that may be uploaded is pictures, or videos.
func blobKind(accept []string) string {
	for _, kind := range []string{"image", "video"} {
		if !slices.ContainsFunc(accept, func(a string) bool { return !strings.HasPrefix(a, kind+"/") }) {
			return kind
		}
	}
	return "any"
}

// transitionKey: "chat.bsky" is told of as "chat".
func transitionKey(p scope.Permission) string {
	what, _, _ := strings.Cut(p.Attr, ".")
	return "scope.transition-" + what
}

// localized picks the text in the visitor's language, or else the one without a language.
func localized(tag, text string, byLang map[string]string) string {
	if t := byLang[tag]; t != "" {
		return t
	}
	for lang, t := range byLang {
		if base, _, _ := strings.Cut(lang, "-"); base == tag && t != "" {
			return t
		}
	}
	return text
}
