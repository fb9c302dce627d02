package scope

import (
	"net/url"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// Resource is what a permission is about.
type Resource string

// The resources. Basic stands for "atproto", Transition for the scopes of that name.
const (
	Basic      Resource = "atproto"
	Transition Resource = "transition"
	Repo       Resource = "repo"
	RPC        Resource = "rpc"
	Blob       Resource = "blob"
	Account    Resource = "account"
	Identity   Resource = "identity"
	Include    Resource = "include"
)

// Any stands for all collections, methods, audiences or attributes.
const Any = "*"

// What may be done with records.
const (
	Create = "create"
	Update = "update"
	Delete = "delete"
)

// What may be done with an account. Manage includes Read.
const (
	Read   = "read"
	Manage = "manage"
)

// Attributes of accounts and identities.
const (
	Email  = "email"
	Repos  = "repo"
	Status = "status"
	Handle = "handle"
)

// Permission is one scope, understood. Only the fields of its Resource are set.
type Permission struct {
	Resource Resource

	Collections []string // of Repo: NSIDs, or Any
	Actions     []string // of Repo: Create, Update, Delete; of Account: Read, Manage
	Methods     []string // of RPC: NSIDs, or Any
	Audience    string   // of RPC: a DID with the id of a service, or Any; of Include: the DID with service that the set is for, or ""
	Accept      []string // of Blob: MIME types, image/*, */*
	Attr        string   // of Account: Email, Repos, Status; of Identity: Handle, Any; of Transition: what follows the colon
	Set         string   // of Include: the NSID of the permission set
}

var repoActions = []string{Create, Update, Delete}

// Parse understands one scope. It is false for one that is unknown or malformed, and so permits nothing.
func Parse(s string) (Permission, bool) {
	switch s {
	case Atproto:
		return Permission{Resource: Basic}, true
	case TransitionGeneric, TransitionChat, TransitionEmail:
		return Permission{Resource: Transition, Attr: strings.TrimPrefix(s, "transition:")}, true
	}
	if !isToken(s) || len(s) > maxScope {
		return Permission{}, false
	}
	name, params, ok := parseParams(s)
	if !ok {
		return Permission{}, false
	}
	return build(Resource(name), params)
}

// params are the parameters of a permission, from a scope string or from an entry of a permission set. The positional one has the key "".
type params map[string][]string

// parseParams reads resource[:positional][?key=value&key=value].
func parseParams(s string) (name string, p params, ok bool) {
	head, query, hasQuery := strings.Cut(s, "?")
	name, positional, hasPositional := strings.Cut(head, ":")
	p = params{}
	if hasQuery && query != "" {
		values, err := url.ParseQuery(query)
		if err != nil {
			return "", nil, false
		}
		if _, empty := values[""]; empty {
			return "", nil, false
		}
		p = params(values)
	}
	if hasPositional {
		v, err := url.PathUnescape(positional)
		if err != nil {
			return "", nil, false
		}
		p[""] = []string{v}
	}
	return name, p, true
}

// take removes the values of a parameter. A parameter given both in the positional place and by name is malformed.
func (p params) take(key string, positional bool) (values []string, ok bool) {
	values = p[key]
	delete(p, key)
	if at, has := p[""]; positional && has {
		if values != nil {
			return nil, false
		}
		values = at
		delete(p, "")
	}
	return values, true
}

// all takes a parameter that may have several values, each of which must be valid. Doubles go.
func (p params) all(key string, positional bool, valid func(string) bool) ([]string, bool) {
	values, ok := p.take(key, positional)
	if !ok || slices.ContainsFunc(values, func(v string) bool { return !valid(v) }) {
		return nil, false
	}
	values = slices.Clone(values)
	slices.Sort(values)
	return slices.Compact(values), true
}

// one takes a parameter that may have one value at most.
func (p params) one(key string, positional bool, valid func(string) bool) (string, bool) {
	values, ok := p.take(key, positional)
	if !ok || len(values) > 1 || len(values) == 1 && !valid(values[0]) {
		return "", false
	}
	if len(values) == 0 {
		return "", true
	}
	return values[0], true
}

// build makes a permission of its parameters; all must be understood.
func build(r Resource, p params) (Permission, bool) {
	out := Permission{Resource: r}
	var ok bool
	switch r {
	case Repo:
		ok = out.repo(p)
	case RPC:
		ok = out.rpc(p)
	case Blob:
		out.Accept, ok = p.all("accept", true, isAccept)
		ok = ok && len(out.Accept) > 0
	case Account:
		ok = out.account(p)
	case Identity:
		out.Attr, ok = p.one("attr", true, oneOf(Handle, Any))
		ok = ok && out.Attr != ""
	case Include:
		out.Set, ok = p.one("nsid", true, isNSID)
		ok = ok && out.Set != ""
		if ok {
			out.Audience, ok = p.one("aud", false, isAudience)
		}
	}
	return out, ok && len(p) == 0
}

func (out *Permission) repo(p params) (ok bool) {
	if out.Collections, ok = p.all("collection", true, anyOr(isNSID)); !ok || len(out.Collections) == 0 {
		return false
	}
	if out.Actions, ok = p.all("action", false, oneOf(repoActions...)); !ok {
		return false
	}
	if len(out.Actions) == 0 {
		out.Actions = repoActions
	}
	out.Collections = widest(out.Collections)
	return true
}

func (out *Permission) rpc(p params) (ok bool) {
	if out.Methods, ok = p.all("lxm", true, anyOr(isNSID)); !ok || len(out.Methods) == 0 {
		return false
	}
	if out.Audience, ok = p.one("aud", false, anyOr(isAudience)); !ok || out.Audience == "" {
		return false
	}
	out.Methods = widest(out.Methods)
	return out.Audience != Any || out.Methods[0] != Any // everything, everywhere, cannot be asked for
}

func (out *Permission) account(p params) (ok bool) {
	if out.Attr, ok = p.one("attr", true, oneOf(Email, Repos, Status)); !ok || out.Attr == "" {
		return false
	}
	if out.Actions, ok = p.all("action", false, oneOf(Read, Manage)); !ok {
		return false
	}
	if len(out.Actions) == 0 {
		out.Actions = []string{Read}
	}
	return true
}

// widest leaves only Any of values that have it.
func widest(values []string) []string {
	if slices.Contains(values, Any) {
		return []string{Any}
	}
	return values
}

func oneOf(values ...string) func(string) bool {
	return func(s string) bool { return slices.Contains(values, s) }
}

func anyOr(valid func(string) bool) func(string) bool {
	return func(s string) bool { return s == Any || valid(s) }
}

func isNSID(s string) bool {
	_, err := syntax.ParseNSID(s)
	return err == nil
}

// isAudience tells whether s is a DID with the id of a service.
func isAudience(s string) bool {
	did, service, ok := strings.Cut(s, "#")
	if _, err := syntax.ParseDID(did); err != nil || !ok || service == "" || len(service) > 128 {
		return false
	}
	return !strings.ContainsFunc(service, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("._:-~", c))
	})
}

// isAccept tells whether s is a MIME type, or a pattern of them: image/*, */*.
func isAccept(s string) bool {
	if s == "*/*" {
		return true
	}
	kind, sub, ok := strings.Cut(s, "/")
	return ok && isMIMEPart(kind) && (sub == Any || isMIMEPart(sub))
}

func isMIMEPart(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("!#$&-^_.+", c))
	})
}
