package scope

import (
	"slices"
	"strings"
)

// Grant is what a session may do. The zero Grant may do nothing. It is never changed, and so is safe for use by many goroutines.
type Grant struct {
	permissions []Permission
	basic       bool
	generic     bool
	chat        bool
	email       bool
}

// NewGrant understands the scopes of a grant. Unknown ones permit nothing, and without "atproto" none does. Permission sets must have been expanded.
func NewGrant(values []string) *Grant {
	g := &Grant{basic: slices.Contains(values, Atproto)}
	if !g.basic {
		return g
	}
	g.generic, g.email = slices.Contains(values, TransitionGeneric), slices.Contains(values, TransitionEmail)
	g.chat = g.generic && slices.Contains(values, TransitionChat)
	for _, v := range values {
		if p, ok := Parse(v); ok {
			g.permissions = append(g.permissions, p)
		}
	}
	return g
}

// Valid tells whether the grant has what every grant must have.
func (g *Grant) Valid() bool { return g != nil && g.basic }

func (g *Grant) any(r Resource, match func(Permission) bool) bool {
	return g != nil && slices.ContainsFunc(g.permissions, func(p Permission) bool { return p.Resource == r && match(p) })
}

// AllowsRepo tells whether records of the collection may be created, updated or deleted.
func (g *Grant) AllowsRepo(collection, action string) bool {
	return g != nil && g.generic || g.any(Repo, func(p Permission) bool {
		return slices.Contains(p.Actions, action) && has(p.Collections, collection)
	})
}

// IsPrivileged tells whether the method is closed to plain app passwords and to TransitionGeneric: direct messages, moving the account away, and Any, which stands for all
// methods. Letter case does not count. A whole namespace, because a list of methods is out of date with every new one.
func IsPrivileged(method string) bool {
	method = strings.ToLower(method)
	return method == Any || strings.HasPrefix(method, "chat.bsky.") || method == "com.atproto.server.createaccount"
}

// AllowsRPC tells whether the method may be called at a service: a DID with the service's id. The method Any stands for all of them.
func (g *Grant) AllowsRPC(method, audience string) bool {
	if g != nil && g.generic && (g.chat || !IsPrivileged(method)) {
		return true
	}
	return g.any(RPC, func(p Permission) bool {
		return (p.Audience == Any || p.Audience == audience) && has(p.Methods, method)
	})
}

// AllowsBlob tells whether blobs of the MIME type may be uploaded.
func (g *Grant) AllowsBlob(mime string) bool {
	return g != nil && g.generic || g.any(Blob, func(p Permission) bool {
		return slices.ContainsFunc(p.Accept, func(a string) bool { return matches(a, mime) })
	})
}

// AllowsAccount tells whether the attribute of the account may be read or managed.
func (g *Grant) AllowsAccount(attr, action string) bool {
	if g != nil && g.email && attr == Email && action == Read {
		return true
	}
	return g.any(Account, func(p Permission) bool {
		return p.Attr == attr && (slices.Contains(p.Actions, action) || action == Read && slices.Contains(p.Actions, Manage))
	})
}

// AllowsIdentity tells whether the handle, or with Any the whole DID, may be changed.
func (g *Grant) AllowsIdentity(attr string) bool {
	return g.any(Identity, func(p Permission) bool { return p.Attr == Any || p.Attr == attr })
}

func has(values []string, v string) bool {
	return slices.Contains(values, Any) || slices.Contains(values, v)
}

// matches tells whether a MIME type fits a pattern. Letter case does not count.
func matches(pattern, mime string) bool {
	pattern, mime = strings.ToLower(pattern), strings.ToLower(mime)
	kind, sub, ok := strings.Cut(mime, "/")
	if !ok || !isMIMEPart(kind) || !isMIMEPart(sub) {
		return false
	}
	if pattern == "*/*" {
		return true
	}
	if base, any := strings.CutSuffix(pattern, "/*"); any {
		return base == kind
	}
	return pattern == mime
}
