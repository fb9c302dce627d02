package auth

import (
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/oauth/scope"
	"perch/repo"
)

// password is what a session must have been begun with.
type password int

const (
	anyPassword        password = iota // the main one or an app password
	privilegedPassword                 // the main one or a privileged app password
	mainPassword
)

// Right is something that callers may or may not do. All rights, of sessions and of apps, are decided in Principal.May.
type Right struct {
	password password
	// scope is what an app must have been granted, for the refusal, and granted tells whether it was. nil closes the right to apps.
	scope   string
	granted func(*scope.Grant) bool
}

// The rights that do not depend on what is asked for.
var (
	// SignedIn: whoever may act for the account at all.
	SignedIn = Right{scope: scope.Atproto, granted: (*scope.Grant).Valid}
	// Privileged: what plain app passwords and apps may not.
	Privileged = Right{password: privilegedPassword}
	// Owner: only who has shown the main password. No app.
	Owner = Right{password: mainPassword}
	// ConfirmEmail and ReadEmail are about the account's e-mail address.
	ConfirmEmail = accountRight(anyPassword, scope.Email, scope.Manage)
	ReadEmail    = accountRight(anyPassword, scope.Email, scope.Read)
	// ImportRepo: replace the whole repository.
	ImportRepo = accountRight(mainPassword, scope.Repos, scope.Manage)
	// ChangeStatus: deactivate the account, and activate it again.
	ChangeStatus = accountRight(mainPassword, scope.Status, scope.Manage)
	// ChangeHandle and ChangeDID are about who the account is. SubmitDID is to bring an operation that was signed before.
	ChangeHandle = identityRight(anyPassword, scope.Handle)
	ChangeDID    = identityRight(mainPassword, scope.Any)
	SubmitDID    = identityRight(anyPassword, scope.Any)
)

func accountRight(p password, attr, action string) Right {
	return Right{p, scope.Permission{Resource: scope.Account, Attr: attr, Actions: []string{action}}.String(),
		func(g *scope.Grant) bool { return g.AllowsAccount(attr, action) }}
}

func identityRight(p password, attr string) Right {
	return Right{p, scope.Permission{Resource: scope.Identity, Attr: attr}.String(),
		func(g *scope.Grant) bool { return g.AllowsIdentity(attr) }}
}

// write is the right to change records of a collection.
func write(collection syntax.NSID, actions ...string) Right {
	return Right{anyPassword, scope.Permission{Resource: scope.Repo, Collections: []string{collection.String()}, Actions: actions}.String(),
		func(g *scope.Grant) bool {
			for _, a := range actions {
				if !g.AllowsRepo(collection.String(), a) {
					return false
				}
			}
			return len(actions) > 0
		}}
}

// actionsOf are the scopes' names for what a write does.
func actionsOf(a repo.Action) []string {
	switch a {
	case repo.Create:
		return []string{scope.Create}
	case repo.Update:
		return []string{scope.Update}
	case repo.Delete:
		return []string{scope.Delete}
	case repo.Put:
		return []string{scope.Create, scope.Update}
	}
	return nil
}

// callRight is the right to have the method called at an audience, a DID with or without the id of a service. "" stands for all methods.
func callRight(method syntax.NSID, audience string) Right {
	lxm, need := method.String(), anyPassword
	if lxm == "" {
		lxm = scope.Any
	}
	if scope.IsPrivileged(lxm) {
		need = privilegedPassword
	}
	return Right{need, scope.Permission{Resource: scope.RPC, Methods: []string{lxm}, Audience: audience}.String(),
		func(g *scope.Grant) bool { return g.AllowsRPC(lxm, audience) }}
}

// Upload is the right to upload blobs of the MIME type, as it stands in a Content-Type header.
func Upload(mime string) Right {
	mime, _, _ = strings.Cut(mime, ";")
	if mime = strings.ToLower(strings.TrimSpace(mime)); mime == "" {
		mime = "application/octet-stream"
	}
	return Right{anyPassword, scope.Permission{Resource: scope.Blob, Accept: []string{mime}}.String(),
		func(g *scope.Grant) bool { return g.AllowsBlob(mime) }}
}

// May is the one place that decides about rights. A session that is good only for leaving has none: what it may do, access functions say (Takendown).
// Errors: ErrAuthMissing, ErrInvalidToken, ErrScopeMissing, ErrNotForApps.
func (p Principal) May(r Right) error {
	switch p.Kind {
	case Session:
		if p.Scope == ScopeTakendown || !p.has(r.password) {
			return ErrInvalidToken.with("Bad token scope")
		}
		return nil
	case OAuth:
		if r.granted == nil {
			return ErrNotForApps
		}
		if !r.granted(p.Grant) {
			return missing(r.scope)
		}
		return nil
	}
	return ErrAuthMissing
}

func (p Principal) has(need password) bool {
	switch need {
	case anyPassword:
		return p.Scope == ScopeAccess || p.IsAppPassword()
	case privilegedPassword:
		return p.IsPrivileged()
	}
	return p.IsFull()
}
