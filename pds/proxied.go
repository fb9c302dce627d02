package pds

import (
	"context"
	"net/http"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"perch/lexicons"
	"perch/pds/auth"
	"perch/pds/proxy"
	"perch/xrpc"
)

const createReportNSID = "com.atproto.moderation.createReport"

// spellingsOf lists the methods of a catalog by their name in lower case.
func spellingsOf(catalog *lexicons.Catalog) map[string]string {
	names := make(map[string]string)
	for _, kind := range []lexicons.Kind{lexicons.KindQuery, lexicons.KindProcedure, lexicons.KindSubscription} {
		for _, name := range catalog.List(kind) {
			names[strings.ToLower(name)] = name
		}
	}
	return names
}

// checkSpelling refuses the name of a known method in other letters, large or small. Such a name is not that of the method here, and must not be
// taken for it elsewhere: passed on, it would go around what this server does for the method itself.
func (s *Server) checkSpelling(name string) error {
	if known := s.spellings[strings.ToLower(name)]; known != "" && known != name {
		return xrpc.InvalidRequest("Names of methods tell capital letters from small ones: ask for %s", known)
	}
	return nil
}

// proxied answers methods that this server does not have, by passing them on in the caller's name.
func (s *Server) proxied(w http.ResponseWriter, r *http.Request) error {
	if err := s.checkSpelling(xrpc.NSID(r.Context())); err != nil {
		return err
	}
	ctx, err := s.auth.Standard(auth.Takendown, auth.Deactivated)(r.Context(), r)
	if err != nil {
		return err
	}
	return s.proxy.Serve(w, r.WithContext(ctx), callerOf(ctx))
}

// callerOf is who makes the request, in the terms of the proxy.
func callerOf(ctx context.Context) proxy.Caller {
	p := auth.From(ctx)
	caller := proxy.Caller{DID: p.DID, Allow: p.MayCall}
	if p.Account != nil {
		caller.Status = p.Account.Status()
		caller.Again = func(context.Context) error { return callerAgain(ctx) }
	}
	return caller
}

// callerAgain is the second look at who makes the request, and refuses an account that was active and is not any more.
func callerAgain(ctx context.Context) error {
	now, err := auth.Again(ctx)
	if err != nil {
		return err
	}
	before, after := auth.From(ctx).Account, auth.From(now).Account
	if before.Status() == after.Status() {
		return nil
	}
	return inactiveForWriter(after)
}

// callFor is the request of a registered method as a call to the service that it is for, if the caller may have it made.
func (s *Server) callFor(ctx context.Context, r *http.Request, caller proxy.Caller) (proxy.Call, error) {
	method := syntax.NSID(xrpc.NSID(ctx))
	target, err := s.proxy.Target(ctx, r.Header, method, caller)
	if err != nil {
		return proxy.Call{}, err
	}
	return proxy.Call{User: caller.DID, Method: method, Target: target, Query: r.URL.RawQuery, Header: r.Header, Again: caller.Again}, nil
}

// createReport passes a report on to the moderation service. An account that is taken down may send reports, too: that is how it appeals, and
// the service takes nothing else from it.
func (s *Server) createReport(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	caller := callerOf(ctx)
	if p := auth.From(ctx); p.IsTakendown() {
		caller.Status = ""
		caller.Allow = func(syntax.NSID, string) error { return nil }
	}
	call, err := s.callFor(ctx, r, caller)
	if err != nil {
		return err
	}
	return s.proxy.Forward(w, r, call)
}

// foreignRecord asks the AppView for a record of an account that is not (any more) on this server.
func (s *Server) foreignRecord(ctx context.Context, p *getRecordParams) (*recordOutput, error) {
	const method = syntax.NSID("com.atproto.repo.getRecord")
	notHere := xrpc.NewError(400, "RecordNotFound", "Could not locate record")
	target, err := s.proxy.Default(method)
	if err != nil {
		return nil, notHere
	}
	r := xrpc.Request(ctx)
	resp, err := s.proxy.Fetch(ctx, proxy.Call{Method: method, Target: target, Query: r.URL.RawQuery, Header: r.Header})
	if err != nil {
		return nil, err
	}
	return &recordOutput{json: resp.Body}, nil
}
