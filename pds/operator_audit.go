package pds

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/account"
	"perch/pds/store"
)

// Paths of what the command line asks the running server about its administrators.
const (
	RolePath  = "/perch/role"
	AuditPath = "/perch/audit"
)

const maxAuditsListed = 1000

// RoleRequest makes an account an administrator, or ends that.
type RoleRequest struct {
	Account string `json:"account"`        // handle, DID or e-mail address; "" lists all administrators
	Role    *bool  `json:"role,omitempty"` // nil only shows
}

// Administrator is an account and whether it may use the administration pages.
type Administrator struct {
	DID    syntax.DID    `json:"did"`
	Handle syntax.Handle `json:"handle"`
	Admin  bool          `json:"admin"`
	Factor bool          `json:"factor"` // a second factor that counts there is in force
}

func (s *Server) operatorRole(ctx context.Context, in *RoleRequest) ([]Administrator, error) {
	if in.Account == "" {
		return s.administrators(ctx)
	}
	acct, err := s.found(ctx, in.Account)
	if err != nil {
		return nil, err
	}
	if in.Role != nil {
		if acct, err = s.accounts.SetAdministrator(ctx, acct.ID, *in.Role); err != nil {
			return nil, err
		}
	}
	a, err := s.administrator(ctx, acct)
	return []Administrator{a}, err
}

func (s *Server) administrators(ctx context.Context) ([]Administrator, error) {
	list, err := s.store.ListAccounts(ctx, store.AccountQuery{Status: store.RoleAdmin, Order: store.ByHandle, Limit: maxAuditsListed})
	if err != nil {
		return nil, err
	}
	out := make([]Administrator, len(list))
	for i, l := range list {
		if out[i], err = s.administrator(ctx, l.Account); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Server) administrator(ctx context.Context, acct *store.Account) (Administrator, error) {
	f, err := s.accounts.Factors(ctx, acct.ID)
	return Administrator{DID: acct.DID, Handle: acct.Handle, Admin: acct.Role == store.RoleAdmin, Factor: f.Strong()}, err
}

// AuditRequest chooses lines of the audit log.
type AuditRequest struct {
	Subject string `json:"subject,omitempty"` // handle, DID or e-mail address
	Actor   string `json:"actor,omitempty"`   // the same; or password, moderator, command-line, account
	Before  int64  `json:"before,omitempty"`  // the id of a line
	Limit   int    `json:"limit,omitempty"`
}

// AuditLine is what an administrator has done.
type AuditLine struct {
	ID            int64     `json:"id"`
	At            time.Time `json:"at"`
	Kind          string    `json:"kind"`
	Actor         string    `json:"actor,omitempty"`       // DID
	ActorHandle   string    `json:"actorHandle,omitempty"` // now
	Address       string    `json:"address,omitempty"`
	Action        string    `json:"action"`
	Subject       string    `json:"subject,omitempty"`       // DID
	SubjectHandle string    `json:"subjectHandle,omitempty"` // now
	Detail        string    `json:"detail,omitempty"`
	Reason        string    `json:"reason,omitempty"`
	Result        string    `json:"result"`
}

func (s *Server) operatorAudit(ctx context.Context, in *AuditRequest) ([]AuditLine, error) {
	return auditLines(ctx, s.store, s.accounts, in)
}

// AuditLog lists lines of the audit log of a server that does not run, the newest first. The error is store.ErrLocked when it runs.
func AuditLog(ctx context.Context, cfg *Config, in AuditRequest) ([]AuditLine, error) {
	st, err := openStopped(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	return auditLines(ctx, st, account.New(account.Options{Store: st}), &in)
}

func auditLines(ctx context.Context, st *store.Store, accounts *account.Service, in *AuditRequest) ([]AuditLine, error) {
	didOf := func(name string) (string, error) { // what names no account, or one that is gone, is looked for as it is
		acct, err := accounts.Find(ctx, name)
		if errors.Is(err, store.ErrNotFound) || name == "" {
			return strings.TrimSpace(name), nil
		}
		if err != nil {
			return "", err
		}
		return acct.DID.String(), nil
	}
	q := store.AuditQuery{Before: in.Before, Limit: in.Limit}
	if q.Limit < 1 || q.Limit > maxAuditsListed {
		q.Limit = maxAuditsListed
	}
	var err error
	if q.Subject, err = didOf(in.Subject); err == nil {
		q.Actor, err = didOf(in.Actor)
	}
	if err != nil {
		return nil, err
	}
	lines, err := st.Audits(ctx, q)
	if err != nil {
		return nil, err
	}
	handle := func(did string) string {
		if acct, err := st.AccountByDID(ctx, syntax.DID(did)); err == nil {
			return acct.Handle.String()
		}
		return ""
	}
	out := make([]AuditLine, len(lines))
	for i, a := range lines {
		out[i] = AuditLine{a.ID, a.At, a.Kind, a.Actor, handle(a.Actor), a.Address, a.Action, a.Subject, handle(a.Subject), a.Detail, a.Reason, a.Result}
	}
	return out, nil
}
