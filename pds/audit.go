package pds

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/pds/account"
	"perch/pds/auth"
	"perch/pds/store"
	"perch/xrpc"
)

// CommandLineAgent is the User-Agent of the command line, by which the audit log tells it from others who know the admin password.
const CommandLineAgent = "perch-command-line"

// Kinds of actors in the audit log.
const (
	auditAccount     = "account"
	auditPassword    = "password"
	auditModerator   = "moderator"
	auditCommandLine = "command-line"
)

// maxAuditText bounds each text of a line in the audit log that comes from outside, in bytes.
const maxAuditText = 2000

// deed is an action of an administrator, for the audit log. No secret goes into it.
type deed struct {
	action  string // "": it changes nothing, and is not logged
	subject string // DID, handle or e-mail address of an account; "" for none
	detail  string // what else it is about
	reason  string
	steps   bool // more than one transaction, or something outside the database: the log has its begin and its end
	late    bool // the begin is logged when auditSubject tells whom it is about: before that nothing is changed
}

// doer is an input that is logged when it has been acted upon.
type doer interface{ deed() deed }

// audited has what a handler does to its input logged.
func audited[I, O any, P interface {
	*I
	doer
}](s *Server, h func(context.Context, *I) (O, error)) func(context.Context, *I) (O, error) {
	return func(ctx context.Context, in *I) (out O, err error) {
		err = s.audit(ctx, P(in).deed(), func(ctx context.Context) error {
			out, err = h(ctx, in)
			return err
		})
		return out, err
	}
}

// audit does what an administrator wants. The line of the log is in the first transaction that do makes with its context, or, of a deed with several steps, on
// disk before it; how those end, and what was refused, is a line afterwards.
func (s *Server) audit(ctx context.Context, d deed, do func(context.Context) error) error {
	if d.action == "" {
		return do(ctx)
	}
	line := s.auditLine(ctx, d)
	write := func(ctx context.Context, result string) error {
		line.Result = result
		return s.store.Update(ctx, func(tx *store.Tx) error { return tx.AddAudit(ctx, line) })
	}
	written := func() bool { return false }
	audited := context.WithValue(ctx, auditedKey{}, func(subject syntax.DID) error {
		known := line.Subject != ""
		line.Subject = subject.String()
		if !d.late || known {
			return nil
		}
		return write(ctx, store.AuditBegun)
	})
	switch {
	case !d.steps:
		line.Result = store.AuditDone
		audited, written = store.WithAudit(audited, line)
	case !d.late:
		if err := write(ctx, store.AuditBegun); err != nil {
			return err
		}
	}
	err := do(audited)
	if err == nil && written() {
		return nil
	}
	if logErr := write(context.WithoutCancel(ctx), auditResult(err)); logErr != nil {
		s.log.ErrorContext(ctx, "write the audit log", "action", d.action, "subject", line.Subject, "err", logErr)
		if err == nil {
			err = logErr
		}
	}
	return err
}

type auditedKey struct{}

// auditSubject tells the log whom a deed with several steps is about, for one that finds out while it is done.
func auditSubject(ctx context.Context, subject syntax.DID) error {
	tell, _ := ctx.Value(auditedKey{}).(func(syntax.DID) error)
	if tell == nil {
		return nil
	}
	return tell(subject)
}

// auditLine says who does it, from where, and on whom.
func (s *Server) auditLine(ctx context.Context, d deed) store.Audit {
	line := auditActor(ctx)
	line.Action, line.Detail, line.Reason = d.action, auditText(d.detail), auditText(given(reasonOf(ctx), func() string { return d.reason }))
	line.Subject = d.subject
	if acct, err := s.accounts.Find(ctx, d.subject); d.subject != "" && err == nil {
		line.Subject = acct.DID.String()
	} else if _, err := syntax.ParseDID(d.subject); err != nil {
		line.Subject, line.Detail = "", auditText(strings.TrimSpace(d.subject+" "+d.detail))
	}
	return line
}

// auditActor is a line that says who does something, and from where.
func auditActor(ctx context.Context) store.Audit {
	who := auth.From(ctx)
	line := store.Audit{Actor: who.DID.String(), Address: xrpc.ClientIP(ctx).String()}
	switch r := xrpc.Request(ctx); {
	case who.Kind == auth.Administrator:
		line.Kind = auditAccount
	case who.Kind == auth.Moderator:
		line.Kind = auditModerator
	case r != nil && isCommandLine(r):
		line.Kind = auditCommandLine
	default:
		line.Kind = auditPassword
	}
	return line
}

func isCommandLine(r *http.Request) bool { return strings.HasPrefix(r.UserAgent(), CommandLineAgent) }

func auditText(s string) string {
	if len(s) > maxAuditText {
		s = s[:maxAuditText] + "…"
	}
	return strings.ToValidUTF8(s, "")
}

// auditResult is how it ended, without what only the server's log may know.
func auditResult(err error) string {
	var e *xrpc.Error
	switch {
	case err == nil:
		return store.AuditDone
	case errors.As(err, &e):
	case errors.Is(err, store.ErrNotFound):
		return "NotFound"
	case errors.Is(err, context.Canceled):
		return "Cancelled"
	default:
		if e = wireError(err); e == nil {
			return xrpc.NameInternal
		}
	}
	return auditText(fmt.Sprintf("%s: %s", e.Name, e.Message))
}

// roleEnded logs that an administrator's role ended with the last strong factor: by what an administrator did, or by the owner, or whoever had a code from the
// owner's mail.
func (s *Server) roleEnded(ctx context.Context, tx *store.Tx, acct *store.Account) error {
	off := false
	d, line := (&RoleRequest{Role: &off}).deed(), auditActor(ctx)
	if who := auth.From(ctx); who.Kind != auth.Admin && who.Kind != auth.Administrator {
		line.Kind, line.Actor = auditAccount, acct.DID.String()
	}
	line.Action, line.Detail, line.Subject = d.action, d.detail, acct.DID.String()
	line.Reason, line.Result = "no second factor left", store.AuditDone
	s.log.WarnContext(ctx, "an administrator has no second factor left and lost the role", "did", acct.DID)
	return tx.AddAudit(ctx, line)
}

type reasonKey struct{}

// withReason returns a context in which the audit log gives that reason.
func withReason(ctx context.Context, reason string) context.Context {
	return context.WithValue(ctx, reasonKey{}, reason)
}

func reasonOf(ctx context.Context) string {
	reason, _ := ctx.Value(reasonKey{}).(string)
	return reason
}

// auditStopped returns a context in which a command that works on a stopped server's database is logged.
func auditStopped(ctx context.Context, accounts *account.Service, d deed) context.Context {
	line := store.Audit{Kind: auditCommandLine, Action: d.action, Detail: auditText(d.detail), Result: store.AuditDone}
	if acct, err := accounts.Find(ctx, d.subject); err == nil {
		line.Subject = acct.DID.String()
	}
	ctx, _ = store.WithAudit(ctx, line)
	return ctx
}
